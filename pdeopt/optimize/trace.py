"""The trace of a minimization, which evaluates, reports every iterate, and says when it has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pdeopt.optimize.bounds import held, projected
from pdeopt.optimize.constraints.multipliers import multipliers_of, of_lagrangian
from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.optimize.objective import Differentiable, Evaluation, Preconditioner
from pdeopt.optimize.optimizer import Iterate, Result
from pdeopt.optimize.recycling import Recycling

#: The part of the whole derivative below which the projected one is rounding.
PROJECTION_ROUNDING = 1e-12
#: The average number of evaluations that are allowed for each iteration.
MAX_MEAN_EVALUATIONS = 20
#: The largest number of evaluations between two iterates.
MAX_SEARCH_EVALUATIONS = 100
#: The number of iterations in a row that must hardly change the objective; a single one may have been cut short.
FLAT_ITERATIONS = 2
#: The number of such iterations in a row after which the method is given up where its model sees more to gain.
STALLED_ITERATIONS = 10
#: The number of steps between iterates whose differences of gradients make the model of a method that states none.
SECANT_PAIRS = 20
#: The part of the decrease so far that is nothing, if no more is asked for: J may fall to 0, so that no part of J is.
NEGLIGIBLE_FALL = 1e-12
#: The number of points that are remembered: a method comes back to the point before the last one, at most.
REMEMBERED_POINTS = 2
#: The part of their range (of the largest entry where that is infinite) within which entries count as at a bound for
#: the multipliers of constraints: interior-point methods come no closer.
BOUND_MARGIN = 1e-6
#: The remedy where a step should lower the objective and does not.
STEP_REMEDY = "verify the derivative with a Taylor test at this point, and look at the accuracy of the solver"
#: The distance from 1 to the next larger floating-point number.
EPS = float(np.finfo(float).eps)


class Finished(Exception):
    """An exception that says that the minimization has ended.

    Attributes:
        status: The status, "converged", "stopped" or "failed".
        message: The reason in words.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Goals:
    """The goals at which a minimization ends.

    It has converged where one of the first three is met, ``remaining`` as well, and all constraints are kept up to
    their tolerances.

    Attributes:
        gradient: The factor by which the norm of the projected gradient must fall; where there are constraints, that of
            the Lagrangian, below the gradient of J at the start or at the iterate, whichever is larger.
        absolute_gradient: The norm of the projected gradient that is small enough.
        decrease: The change of the objective in one iteration, relative to it, that is small enough.
        remaining: The decrease, relative to the objective, that a quadratic model may predict as left to gain.
        iterations: The largest number of iterations.
        accuracy: The relative accuracy to which J is computed.
    """

    gradient: float
    absolute_gradient: float
    decrease: float
    remaining: float
    iterations: int
    accuracy: float


class Trace:
    """A minimization on its way, which evaluates, reports every iterate, and raises `Finished`.

    Attributes:
        objective: The objective that is minimized; `evaluate` asks it, and remembers.
        preconditioner: The preconditioner of Newton systems; None where there is none.
        product: The inner product in which norms are reported.
        lower: The lower bounds (p,), infinite where there are none.
        upper: The upper bounds (p,), infinite where there are none.
        l1_weights: The weights (p,) of the L1 term that J contains; None where there is none.
        goals: The goals at which the minimization ends.
        cg_iterations: The number of iterations of conjugate gradients in Newton systems, counted by the method.
        secants: The steps between iterates, and the differences of the gradients at their ends.
        model: The function that returns what is left to gain at the last iterate, as a quadratic model of J predicts; a
            method that knows the Hessian sets its own.
    """

    def __init__(
        self,
        objective: Differentiable,
        product: InnerProduct,
        bounds: tuple[np.ndarray, np.ndarray],
        goals: Goals,
        callback: Callable[[Iterate], None] | None,
        preconditioner: Preconditioner | None = None,
    ) -> None:
        self.objective = objective
        self.preconditioner = objective.preconditioner if preconditioner is None else preconditioner
        self.product = product
        self.lower, self.upper = bounds
        self.l1_weights = objective.l1_weights
        self.goals = goals
        self.cg_iterations = 0
        self.secants = Recycling(SECANT_PAIRS, len(self.lower), product)
        self.model: Callable[[], float] = self._secant_model
        self._callback = callback
        self._found: deque[tuple[np.ndarray, Evaluation]] = deque(maxlen=REMEMBERED_POINTS)
        self._evaluations = 0
        self._iterates: list[Iterate] = []  # the first and the last two
        self._advanced = False
        self._first_norm = 0.0  # the norm of the gradient of J at the initial guess
        self._flat = 0
        self._trouble = ""
        self._derivative = np.zeros(0)  # the derivative of J at the last iterate
        self._predicted: tuple[int, float] | None = None  # an iterate, and what is left to gain there

    def evaluate(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and its Euclidean derivative (p,) at m (p,); the last two points are remembered.

        J is infinite where it cannot be evaluated.

        Raises:
            Finished: The search for a step, or the whole minimization, has taken too many evaluations.
            ArithmeticError: J cannot be evaluated at the initial guess.
        """
        found = self.evaluation(m)
        return found.value, found.derivative

    def evaluation(self, m: np.ndarray) -> Evaluation:
        """Return all that the objective answers at m (p,), the constraints among it; see `evaluate`."""
        for at, found in reversed(self._found):
            if np.array_equal(m, at):
                return found
        if self._evaluations >= MAX_MEAN_EVALUATIONS * max(self.goals.iterations, 1):
            raise Finished("stopped", f"the maximum number of evaluations, {self._evaluations}, was reached")
        spent = self._evaluations - (self._iterates[-1].evaluations if self._iterates else 0)
        if spent > MAX_SEARCH_EVALUATIONS:
            words = f"{spent} evaluations found no step that lowers the objective"
            raise self.ended(f"{words}, and a quadratic model promises none", words)
        self._evaluations += 1
        self._found.append((m.copy(), self._evaluated(m)))
        return self._found[-1][1]

    def _evaluated(self, m: np.ndarray) -> Evaluation:
        """Return what the objective answers at m (p,) when it is asked anew.

        J is infinite where it cannot be evaluated, so that a method steps back.

        Raises:
            ArithmeticError: J cannot be evaluated at the initial guess.
        """
        try:
            found = self.objective.evaluate(m)
        except ArithmeticError as error:
            if not self._iterates:
                raise
            self._trouble = f" (a step was tried where the objective cannot be evaluated: {error})"
            return Evaluation(np.inf, np.zeros_like(m))
        numbers = [found.derivative]
        if found.constraints is not None:
            numbers += [found.constraints.values, found.constraints.jacobian]
        if self._iterates and not all(np.isfinite(one).all() for one in numbers):
            return Evaluation(np.inf, np.zeros_like(m))
        return found

    def projected(self, m: np.ndarray) -> np.ndarray:
        """Return the derivative at m without the entries that a bound or an L1 term holds."""
        return projected(m, self.evaluate(m)[1], self.lower, self.upper, self.l1_weights)

    def gradient_norm(self, m: np.ndarray) -> float:
        """Return the norm of the projected gradient of J, in the inner product."""
        return float(np.linalg.norm(self.product.pullback(self.projected(m))))

    def multipliers(self, m: np.ndarray) -> np.ndarray | None:
        """Return the multipliers (k,) of the constraints at m; None where there are none.

        See `multipliers_of`.
        """
        found = self.evaluation(m)
        if found.constraints is None:
            return None

        width = self.upper - self.lower
        near = BOUND_MARGIN * np.where(np.isfinite(width), width, np.abs(m).max(initial=0))

        def at_bounds(derivative: np.ndarray) -> np.ndarray:
            return held(m, derivative, self.lower + near, self.upper - near)

        negligible = max(self.goals.remaining, self.goals.accuracy) * abs(found.value)
        return multipliers_of(found.derivative, found.constraints, at_bounds, self.product.pullback, negligible)

    def start(self, m: np.ndarray) -> None:
        """Take the initial guess, and report it.

        Raises:
            Finished: There is nothing to do, or J or its derivative is not finite.
        """
        found = self.evaluation(m)
        value, self._derivative = found.value, found.derivative
        self._append(self._iterate(0, m, 0.0))
        norm, feasible, self._first_norm = self.last.gradient_norm, self.last.feasible, self.gradient_norm(m)
        if not (np.isfinite(value) and np.isfinite(norm)):
            raise Finished("failed", "the objective or its derivative is not finite at the initial guess")
        largest = np.abs(found.derivative).max(initial=0)
        if feasible and np.abs(self._stationarity(self.last)).max(initial=0) <= PROJECTION_ROUNDING * largest:
            raise Finished("converged", "the initial guess is stationary within the bounds")
        if feasible and norm <= self.goals.absolute_gradient:
            raise Finished("converged", f"the gradient norm is below {self.goals.absolute_gradient:g} from the start")
        if self.goals.iterations < 1:
            raise Finished("stopped", "no iteration was asked for")

    def accept(self, m: np.ndarray) -> None:
        """Take the next iterate, and report it.

        Raises:
            Finished: The minimization has ended.
        """
        before, former = self.last, self._derivative
        self._derivative = self.evaluate(m)[1]
        iterate = self._iterate(before.iteration + 1, m, self.product.norm(m - before.m))
        curved = [
            of_lagrangian(derivative, at.constraints, iterate.multipliers)
            for derivative, at in ((self._derivative, iterate), (former, before))
        ]
        self.secants.remember(m - before.m, curved[0] - curved[1])
        self._advanced = (
            iterate.objective < before.objective
            or iterate.gradient_norm < 0.5 * before.gradient_norm
            or iterate.violation < before.violation
        )
        self._append(iterate)
        self._finish_where_done()

    def promised(self, candidate: np.ndarray) -> float:
        """Return by how much J falls from the last iterate to a candidate, were its smooth part linear.

        Args:
            candidate: The parameter (p,) after the step.
        """
        m = self.last.m
        fall = float(self._derivative @ (m - candidate))
        if self.l1_weights is None:
            return fall
        return fall - float(self.l1_weights @ (np.abs(candidate) - np.abs(m) - np.sign(m) * (candidate - m)))

    def _iterate(self, number: int, m: np.ndarray, step: float) -> Iterate:
        """Return the iterate at m (p,), whose derivative is known already."""
        found, multipliers = self.evaluation(m), self.multipliers(m)
        iterate = Iterate(
            number,
            m.copy(),
            found.value,
            0.0,
            step,
            self._evaluations,
            self.cg_iterations,
            found.terms,
            found.constraints,
            multipliers,
        )
        return replace(iterate, gradient_norm=float(np.linalg.norm(self.product.pullback(self._stationarity(iterate)))))

    def _stationarity(self, iterate: Iterate) -> np.ndarray:
        """Return the derivative (p,) that vanishes at a minimum.

        It is that of J, or of the Lagrangian, at the iterate that is taken last, without entries that bounds hold.
        """
        derivative = of_lagrangian(self._derivative, iterate.constraints, iterate.multipliers)
        return projected(iterate.m, derivative, self.lower, self.upper, self.l1_weights)

    @property
    def constrained(self) -> bool:
        """True where there are constraints besides bounds."""
        return bool(self.objective.constraint_kinds)

    @property
    def bounded(self) -> bool:
        """True where some entry has a bound."""
        return bool(np.isfinite(self.lower).any() or np.isfinite(self.upper).any())

    @property
    def started(self) -> bool:
        """True where there is an iterate to return."""
        return bool(self._iterates)

    @property
    def first(self) -> Iterate:
        """The initial guess."""
        return self._iterates[0]

    @property
    def last(self) -> Iterate:
        """The iterate that was accepted last."""
        return self._iterates[-1]

    def has_stagnated(self) -> bool:
        """Return whether the last iteration changed J by no more than asked for, its accuracy, or rounding."""
        if len(self._iterates) < 2 or not self._advanced:
            return False
        before, after = self._iterates[-2:]
        scale = max(abs(before.objective), abs(after.objective))
        enough = max(self.goals.decrease * scale, self.goals.accuracy * scale, EPS * abs(self.first.objective))
        return abs(before.objective - after.objective) <= enough

    def left_to_gain(self) -> float:
        """Return by how much J can still fall, as the model predicts; infinite where that has no minimum."""
        if self._predicted is None or self._predicted[0] != self.last.iteration:
            self._predicted = self.last.iteration, self.model()
        return self._predicted[1]

    def gain_is_negligible(self) -> bool:
        """Return whether what is left to gain is negligible."""
        return self.negligible(self.left_to_gain())

    def negligible(self, decrease: float) -> bool:
        """Return whether a decrease is as small as asked for, or lost in the accuracy of J or its fall so far."""
        first, last = self.first.objective, self.last.objective
        enough = max(self.goals.remaining, self.goals.accuracy) * abs(last)
        nothing = min(NEGLIGIBLE_FALL, self.goals.gradient**2)
        return decrease <= max(enough, nothing * (first - last), EPS * abs(first))

    def _secant_model(self) -> float:
        """Return ½ gᵀ B⁻¹ g with the inverse BFGS formula B⁻¹, the step being cut off at the bounds."""
        m, scale = self.last.m, self.secants.longest()
        if not scale > 0:
            return np.inf
        derivative = self._stationarity(self.last)
        free = derivative != 0
        inverse = self.secants.preconditioner(lambda x: np.where(free, scale * self.product.gradient(x), 0.0), free)
        step = np.clip(m - inverse(derivative), self.lower, self.upper) - m
        return -0.5 * float(derivative @ step)

    def ended(self, settled: str, failed: str) -> Finished:
        """Return the end of a search that lowers J no more.

        Args:
            settled: The reason in words where nothing is left to gain, and the minimization has converged.
            failed: The reason in words where the model still sees a decrease; how large that is, is added.
        """
        if not self.last.feasible:
            return Finished("failed", f"{failed}; {self.violation_in_words()}")
        if self.gain_is_negligible():
            return Finished("converged", settled)
        return Finished("failed", f"{failed}, but {self.gain_in_words()}; {STEP_REMEDY}")

    def result(self, end: Finished) -> Result:
        """Return the result of the minimization for its end."""
        last = self.last
        return Result(
            last.m,
            last.objective,
            last.gradient_norm,
            end.status,
            end.message + (self._trouble if end.status == "failed" else ""),
            last.iteration,
            self._evaluations,
            self.cg_iterations,
            last.constraints,
            last.multipliers,
        )

    def _append(self, iterate: Iterate) -> None:
        self._iterates = [*self._iterates[:1], *self._iterates[1:][-1:], iterate]
        if self._callback is None:
            return
        try:
            self._callback(iterate)
        except StopIteration:
            raise Finished("stopped", "the callback asked to stop") from None

    def _finish_where_done(self) -> None:
        goals, norm, first = self.goals, self.last.gradient_norm, self.first.gradient_norm
        if self.constrained:  # the multipliers may make that of the Lagrangian small at the start
            first = max(self._first_norm, self.gradient_norm(self.last.m))
        self._flat = self._flat + 1 if self.has_stagnated() else 0
        small = ""
        if norm <= goals.absolute_gradient:
            below = f"the gradient norm fell below {goals.absolute_gradient:g}"
            small = below if goals.absolute_gradient > 0 else "the gradient is zero"
        elif norm <= goals.gradient * first:
            small = f"the gradient norm fell by the factor {goals.gradient:g}"
        elif self._flat >= FLAT_ITERATIONS:
            small = f"the objective changed by less than {max(goals.decrease, goals.accuracy):g} of its value"
        if small and self.last.feasible and (norm == 0 or self.gain_is_negligible()):
            raise Finished("converged", small)
        why = "" if self.last.feasible else self.violation_in_words()
        if self._flat >= STALLED_ITERATIONS:
            words = f"{small}, but {why or self.gain_in_words()}; steps may be too short"
            raise Finished("failed" if why else "stopped", words)
        if self.last.iteration >= goals.iterations:
            more = f"; {small}, but {why or self.gain_in_words()}" if small else f"; {why}" if why else ""
            raise Finished("stopped", f"the maximum number of iterations, {goals.iterations}, was reached{more}")

    def violation_in_words(self) -> str:
        """Return which constraint is violated most at the last iterate, in words."""
        assert self.last.constraints is not None
        return f"the constraint {self.last.constraints.worst()}"

    def gain_in_words(self) -> str:
        """Return what is left to gain, in words."""
        left = self.left_to_gain()
        if not np.isfinite(left):
            return "nothing is known of its curvature there"
        return f"its quadratic model says that it can still fall by {left:.2g}, from {self.last.objective:.6g}"
