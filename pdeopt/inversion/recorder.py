"""The recorder, which evaluates the functional for the optimizer and keeps what each iterate cost."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from pdeopt.inverse import InputError, NewtonModel, Terms
from pdeopt.inversion.evaluation_log import EvaluationLog, Kind, LoggedEvaluation, SpentWork
from pdeopt.inversion.history import Row
from pdeopt.optimize import ConstraintValues, Differentiable, Evaluation, Iterate
from pdeopt.optimize.objective import Action
from pdeopt.sparse import SolveError, Work, work


class Clock:
    """A clock of the seconds since a run began, which stands still while old answers are given back.

    Old answers are those of a former process.
    """

    def __init__(self, spent: float) -> None:
        self._start: float | None = time.perf_counter() - spent
        self._stopped_at = 0.0

    def seconds(self) -> float:
        """Return the seconds since the run began."""
        return self._stopped_at if self._start is None else time.perf_counter() - self._start

    def stop_at(self, seconds: float) -> None:
        """Stop at a number of seconds."""
        self._start, self._stopped_at = None, seconds

    def resume(self) -> None:
        """Go on from where the clock has stopped."""
        if self._start is None:
            self._start = time.perf_counter() - self._stopped_at


class Recorder(Differentiable):
    """The objective that an optimizer sees, which evaluates a functional and records every iterate.

    Work is counted from its creation on.

    Attributes:
        model: The model of the functional that is evaluated; another of the same parameter may take its place between
            two minimizations.
        log: The log of answers; those of a former process are returned instead of being computed again.
        rows: The history, one row for each iterate so far.
        m: The last iterate (p,); None before the first.
        last: The last iterate with its constraints and their multipliers; None before the first.
    """

    def __init__(
        self,
        model: NewtonModel,
        on_row: Callable[[Row], None],
        stop: Callable[[], bool],
        log: EvaluationLog,
        spent: float = 0.0,
    ) -> None:
        """Begin to record.

        Args:
            model: The model of the functional that is evaluated first.
            on_row: Called with every new row of the history.
            stop: Whether the user asked to stop; Interrupted is raised then.
            log: The log of answers.
            spent: The seconds since the start of the command, at which the clock begins.
        """
        self.model = model
        self.log = log
        self.rows: list[Row] = []
        self.m: np.ndarray | None = None
        self.last: Iterate | None = None
        self._on_row = on_row
        self._stop = stop
        self._spent = SpentWork()
        self._cg_iterations = 0  # the sum over the minimizations before this one
        self._start_again: Iterate | None = None  # where a minimization starts at the end of the former
        self._last_terms: Terms | None = None  # the terms of J in the last row
        self._clock = Clock(spent)

    @property
    def fallbacks(self) -> dict[str, int]:
        """The `Work.fallbacks` of the state equation so far: numbers of matrices by the names of the solvers."""
        return self.spent_on_states.fallbacks

    @property
    def spent_on_states(self) -> Work:
        """The work on the state equation so far, that of a former process included."""
        total = self._spent.first.copy()
        total.add(self._spent.second)
        return total

    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J(m) and its derivative (p,), as `evaluate` does."""
        found = self.evaluate(m)
        return found.value, found.derivative

    def evaluate(self, m: np.ndarray) -> Evaluation:
        """Return J(m), its derivative (p,), the `Terms` of J, and the constraints.

        Args:
            m: The parameter (p,).

        Raises:
            Interrupted: The user asked the run to stop.
            SolveError: The state equation cannot be solved at m.
        """
        question = _digest(m)
        functional, size = self.model.functional, len(m)
        rows = functional.constraint_rows(size) if functional.constraints else None
        count = 0 if rows is None else len(rows.names)
        answer = self._recalled("value", question, (1 + count) * size) or self._evaluated(m, question)
        if answer.array is None:
            raise SolveError(answer.error)
        terms, values = Terms(*answer.numbers[:3]), np.array(answer.numbers[3:])
        if rows is None:
            return Evaluation(terms.objective, answer.array, terms)
        derivatives = answer.array.reshape(1 + count, size)
        return Evaluation(terms.objective, derivatives[0], terms, ConstraintValues(rows, values, derivatives[1:]))

    def _evaluated(self, m: np.ndarray, question: str) -> LoggedEvaluation:
        """Evaluate J and its derivative at m, and keep the answer; that a solve failed is an answer, too."""
        self._begin()
        try:
            with _counted(self._spent.first):
                found = self.model.functional.evaluate(m)
        except ArithmeticError as error:
            if not self.rows:
                raise
            return self._kept("value", question, (), None, str(error))
        self._spent.evaluations += 1
        if not self.rows and not np.isfinite(found.value):
            raise InputError(f"the objective is {found.value} at the initial guess")
        numbers, derivatives = found.terms, found.derivative
        if found.constraints is not None:
            numbers = (*numbers, *map(float, found.constraints.values))
            derivatives = np.concatenate([derivatives, found.constraints.jacobian.ravel()])
        return self._kept("value", question, numbers, derivatives)

    @property
    def constraint_kinds(self) -> frozenset[str]:
        """The kinds of the functional's constraints."""
        return self.model.constraint_kinds

    def constraint_hessian(self, m: np.ndarray, weights: np.ndarray) -> Action:
        """Return the function v ↦ ``Σ w_i ∂²g_i/∂m² v`` of directions v (p,), see `Differentiable`."""
        return self._product(lambda at: self.model.constraint_hessian(at, weights), m, weights)

    def hessian(self, m: np.ndarray) -> Action:
        """Return the function v ↦ H v of directions v (p,), where H is the exact Hessian at m (p,)."""
        return self._product(self.model.hessian, m)

    def gauss_newton(self, m: np.ndarray) -> Action:
        """Return the function v ↦ H v of directions v (p,), where H is the Gauss–Newton Hessian at m (p,)."""
        return self._product(self.model.gauss_newton, m)

    @property
    def l1_weights(self) -> np.ndarray | None:
        """The weights (p,) of the L1 term of J; None where there is none."""
        return self.model.l1_weights

    def accept(self, iterate: Iterate) -> None:
        """Add an iterate of the optimizer to the history.

        The first iterate of a minimization that starts where the one before it ended makes no new row.
        """
        self._start_again = None
        if self.m is not None and iterate.iteration == 0:
            self._cg_iterations = self.rows[-1].cg_iterations
            if np.array_equal(iterate.m, self.m):
                self._start_again = iterate
                return
        self._append(iterate)

    def finish(self) -> None:
        """Add a row where the last minimization took no step, but had a functional of its own.

        Terms and strength of the last row are otherwise those of the functional before it.
        """
        if self._start_again is not None and self._start_again.terms != self._last_terms:
            self._append(self._start_again)
        self._start_again = None

    def _append(self, iterate: Iterate) -> None:
        terms: Terms = iterate.terms
        self._last_terms = terms
        self.m, self.last = iterate.m, iterate
        first, second = self._spent.first, self._spent.second
        counts = (first.solves, first.adjoint_solves, second.solves, second.adjoint_solves)
        self.rows.append(
            Row(
                iteration=len(self.rows),
                objective=terms.objective,
                misfit=terms.misfit,
                regularization=terms.regularization,
                gradient_norm=iterate.gradient_norm,
                step=iterate.step,
                evaluations=self._spent.evaluations,
                cg_iterations=self._cg_iterations + iterate.cg_iterations,
                factorizations=first.factorizations + second.factorizations,
                solves=sum(counts),
                seconds=round(self._clock.seconds(), 6),
                strength=self.model.functional.strength,
                forward_solves=counts[0],
                adjoint_solves=counts[1],
                tangent_solves=counts[2],
                second_order_solves=counts[3],
                hessian_products=self._spent.products,
                newton_iterations=first.newton_iterations + second.newton_iterations,
                violation=iterate.violation,
            )
        )
        self._on_row(self.rows[-1])

    def _product(self, linearize: Callable[[np.ndarray], Action], m: np.ndarray, *asked: np.ndarray) -> Action:
        """Return the function v ↦ H v at m, whose products are recorded and counted.

        While answers are given back, the linearization waits until a product is to be computed.

        Args:
            linearize: The function m ↦ (v ↦ H v).
            m: The parameter (p,).
            *asked: Other arrays that H depends on.
        """
        made: list[Action] = []
        if self.log.replaying:
            self.model.follow(m)
        else:
            with _counted(self._spent.first):
                made.append(linearize(m))

        def action() -> Action:
            if not made:
                made.append(linearize(m))
            return made[0]

        def product(direction: np.ndarray) -> np.ndarray:
            question = _digest(m, *asked, direction)
            recalled = self._recalled("product", question, len(m))
            if recalled is not None:
                return action()(direction) if recalled.array is None else recalled.array
            self._begin()
            at_m = action()
            self._spent.products += 1
            with _counted(self._spent.second):
                image = at_m(direction)
            self._kept("product", question, (), image if image.ndim == 1 else None)  # blocks are large
            return image

        return product

    def _begin(self) -> None:
        """Begin a computation: let the clock go on.

        Raises:
            Interrupted: The user asked the run to stop.
        """
        if self._stop():
            raise Interrupted
        self._clock.resume()

    def _recalled(self, kind: Kind, question: str, size: int) -> LoggedEvaluation | None:
        """Return the answer that the log has kept, or None; set counters and clock to those of the answer."""
        answer = self.log.recall(kind, question, size)
        if answer is not None:
            self._spent = answer.spent
            self._clock.stop_at(answer.seconds)
        return answer

    def _kept(
        self, kind: Kind, question: str, numbers: tuple[float, ...], array: np.ndarray | None, error: str = ""
    ) -> LoggedEvaluation:
        spent, seconds = copy.deepcopy(self._spent), self._clock.seconds()
        answer = LoggedEvaluation(kind, question, tuple(numbers), array, error, spent, seconds)
        self.log.keep(answer)
        return answer


@contextmanager
def _counted(total: Work) -> Iterator[None]:
    """Add the work that is done inside the block to a total."""
    before = work.copy()
    try:
        yield
    finally:
        total.add(work.since(before))


class Interrupted(Exception):
    """The user asked the run to stop."""


def _digest(*arrays: np.ndarray) -> str:
    """Return a digest of arrays that is the same for equal ones, as −0 is taken for 0."""
    return hashlib.blake2b(b"".join((array + 0.0).tobytes() for array in arrays), digest_size=16).hexdigest()
