"""One minimization, whatever the method: evaluates, reports every iterate, and says when it has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.bounds import projected
from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.optimize.objective import Differentiable
from pdeopt.optimize.result import Iterate, Result

#: A projected derivative below this part of the whole one is rounding.
ROUNDING = 1e-12
#: So many evaluations an iteration are allowed, on average.
EVALUATIONS = 20
#: And at most so many between two iterates.
SEARCH = 100
#: So many iterations in a row must hardly change the objective: a single one may have been cut short.
FLAT = 2
#: A method comes back to the point before the last one, at most.
REMEMBERED = 2
#: What to do about a step that should lower the objective and does not.
REMEDY = "verify the derivative with a Taylor test at this point, and look at the accuracy of the solver"
EPS = float(np.finfo(float).eps)


class Finished(Exception):
    """The minimization has ended.

    Attributes:
        status: "converged", "stopped" or "failed". message: the reason in words.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Goals:
    """When a minimization ends: any one is enough.

    Attributes:
        gradient: factor by which the norm of the projected gradient must fall. absolute_gradient: or below this.
        decrease: of the objective in one iteration, relative.
        iterations: at most so many.
        accuracy: relative, to which J is computed.
    """

    gradient: float
    absolute_gradient: float
    decrease: float
    iterations: int
    accuracy: float


class Trace:
    """Stands between an objective and a method.

    Attributes:
        product: the inner product in which norms are reported.
        lower, upper: bounds (p,), infinite where there are none.
        goals: when to end.
    """

    def __init__(
        self,
        objective: Differentiable,
        product: InnerProduct,
        bounds: tuple[np.ndarray, np.ndarray],
        goals: Goals,
        callback: Callable[[Iterate], None] | None,
    ) -> None:
        self.objective = objective
        self.product = product
        self.lower, self.upper = bounds
        self.goals = goals
        self._callback = callback
        self._found: deque[tuple[np.ndarray, tuple[float, np.ndarray]]] = deque(maxlen=REMEMBERED)
        self._evaluations = 0
        self._iterates: list[Iterate] = []  # the first and the last two
        self._advanced = False
        self._flat = 0
        self._trouble = ""

    def evaluate(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J and its Euclidean derivative; the points asked for last are remembered."""
        for at, found in reversed(self._found):
            if np.array_equal(m, at):
                return found
        if self._evaluations >= EVALUATIONS * max(self.goals.iterations, 1):
            raise Finished("stopped", f"the maximum number of evaluations, {self._evaluations}, was reached")
        spent = self._evaluations - (self._iterates[-1].evaluations if self._iterates else 0)
        if spent > SEARCH:
            raise Finished("failed", f"{spent} evaluations found no step that lowers the objective; {REMEDY}")
        self._evaluations += 1
        self._found.append((m.copy(), self._evaluated(m)))
        return self._found[-1][1]

    def _evaluated(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J is infinite where it cannot be evaluated, so that a method steps back; at the initial guess that raises."""
        try:
            value, derivative = self.objective.value_and_derivative(m)
        except ArithmeticError as error:
            if not self._iterates:
                raise
            self._trouble = f" (a step was tried where the objective cannot be evaluated: {error})"
            return np.inf, np.zeros_like(m)
        if self._iterates and not np.isfinite(derivative).all():
            return np.inf, np.zeros_like(m)
        return value, derivative

    def projected(self, m: np.ndarray) -> np.ndarray:
        """The derivative at m without the entries that push against an active bound."""
        return projected(m, self.evaluate(m)[1], self.lower, self.upper)

    def gradient_norm(self, m: np.ndarray) -> float:
        """Norm of the projected gradient, in the inner product."""
        return float(np.linalg.norm(self.product.pullback(self.projected(m))))

    def start(self, m: np.ndarray) -> None:
        """The initial guess. Raises Finished where there is nothing to do."""
        value, derivative = self.evaluate(m)
        norm = self.gradient_norm(m)
        self._append(Iterate(0, m.copy(), value, norm, 0.0, self._evaluations, 0))
        if not (np.isfinite(value) and np.isfinite(norm)):
            raise Finished("failed", "the objective or its derivative is not finite at the initial guess")
        if np.abs(self.projected(m)).max(initial=0) <= ROUNDING * np.abs(derivative).max(initial=0):
            raise Finished("converged", "the initial guess is stationary within the bounds")
        if norm <= self.goals.absolute_gradient:
            raise Finished("converged", f"the gradient norm is below {self.goals.absolute_gradient:g} from the start")
        if self.goals.iterations < 1:
            raise Finished("stopped", "no iteration was asked for")

    def accept(self, m: np.ndarray, cg_iterations: int = 0) -> None:
        """The next iterate, with the conjugate-gradient iterations spent on it. Raises Finished at an end."""
        before = self.last
        value, norm = self.evaluate(m)[0], self.gradient_norm(m)
        step, spent = self.product.norm(m - before.m), before.cg_iterations + cg_iterations
        self._advanced = value < before.objective or norm < 0.5 * before.gradient_norm
        self._append(Iterate(before.iteration + 1, m.copy(), value, norm, step, self._evaluations, spent))
        self._finish_where_done()

    @property
    def started(self) -> bool:
        """Whether there is an iterate to return."""
        return bool(self._iterates)

    @property
    def first(self) -> Iterate:
        return self._iterates[0]

    @property
    def last(self) -> Iterate:
        return self._iterates[-1]

    def decreases_no_more(self) -> bool:
        """Whether the last iteration changed J by no more than asked for, its accuracy, or the rounding of J(m₀)."""
        if len(self._iterates) < 2 or not self._advanced:
            return False
        before, after = self._iterates[-2:]
        scale = max(abs(before.objective), abs(after.objective))
        enough = max(self.goals.decrease * scale, self.goals.accuracy * scale, EPS * abs(self.first.objective))
        return abs(before.objective - after.objective) <= enough

    def result(self, end: Finished) -> Result:
        last = self.last
        return Result(
            last.m,
            last.objective,
            last.gradient_norm,
            end.status,
            end.message + (self._trouble if end.status == "failed" else ""),
            last.iteration,
            self._evaluations,
            last.cg_iterations,
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
        goals, norm = self.goals, self.last.gradient_norm
        if norm <= goals.absolute_gradient:
            below = f"the gradient norm fell below {goals.absolute_gradient:g}"
            raise Finished("converged", below if goals.absolute_gradient > 0 else "the gradient is zero")
        if norm <= goals.gradient * self.first.gradient_norm:
            raise Finished("converged", f"the gradient norm fell by the factor {goals.gradient:g}")
        self._flat = self._flat + 1 if self.decreases_no_more() else 0
        if self._flat >= FLAT:
            small = f"the objective changed by less than {max(goals.decrease, goals.accuracy):g} of its value"
            if norm <= 0.5 * self.first.gradient_norm:
                raise Finished("converged", small)
            raise Finished("stopped", f"{small}, though its gradient has hardly fallen; steps may be too short")
        if self.last.iteration >= goals.iterations:
            raise Finished("stopped", f"the maximum number of iterations, {goals.iterations}, was reached")
