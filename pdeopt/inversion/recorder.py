"""Evaluates the functional for the optimizer, and writes down what each iterate cost."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pdeopt.inverse import InputError, NewtonModel, Terms
from pdeopt.inversion.evaluation_log import Answer, DamagedLogError, EvaluationLog
from pdeopt.inversion.history import Row
from pdeopt.optimize import Differentiable, Iterate
from pdeopt.optimize.objective import Action
from pdeopt.sparse import SolveError, Work, work

#: A line search evaluates at most about 20 points before one is accepted.
REMEMBERED = 64


@dataclass
class Spent:
    """Work on the state equation; that of preconditioners and inner products is not in it.

    Attributes:
        first: of values, derivatives and linearizations. second: of products with a Hessian, and their number.
    """

    first: Work = field(default_factory=Work)
    second: Work = field(default_factory=Work)
    products: int = 0
    evaluations: int = 0

    @classmethod
    def of(cls, words: dict[str, Any]) -> Spent:
        """Return what `dataclasses.asdict` made words of. Raises TypeError or KeyError for other words."""
        spent = cls(**{**words, "first": Work(**words["first"]), "second": Work(**words["second"])})
        counts = [spent.products, spent.evaluations]
        for part in (spent.first, spent.second):  # those of the version before tell no fallbacks
            numbers = vars(part).copy()
            fallbacks = numbers.pop("fallbacks")
            if not isinstance(fallbacks, dict):
                raise TypeError("the fallbacks are no counts by name")
            counts += [*fallbacks.values(), *numbers.values()]
        if any(type(count) not in (int, float) for count in counts):
            raise TypeError("a count is no number")
        return spent


class Clock:
    """Seconds since the start of a run; stands still while answers of a former process are given back."""

    def __init__(self, spent: float) -> None:
        self._start: float | None = time.perf_counter() - spent
        self._stands_at = 0.0

    def seconds(self) -> float:
        return self._stands_at if self._start is None else time.perf_counter() - self._start

    def stand(self, seconds: float) -> None:
        self._start, self._stands_at = None, seconds

    def go_on(self) -> None:
        if self._start is None:
            self._start = time.perf_counter() - self._stands_at


class Recorder(Differentiable):
    """Stands between the model of a functional and an optimizer; counts from its creation on.

    ``seconds`` begin with what was spent before, since the start of the command.

    Attributes:
        model: what is evaluated; another of the same parameter may take its place between two minimizations.
        log: where its answers are kept; those that are kept already are given instead of being computed.
        rows: one for each iterate so far.
        m: the last iterate, None before the first.
    """

    def __init__(
        self,
        model: NewtonModel,
        on_row: Callable[[Row], None],
        stop: Callable[[], bool],
        log: EvaluationLog,
        spent: float = 0.0,
    ) -> None:
        self.model = model
        self.log = log
        self.rows: list[Row] = []
        self.m: np.ndarray | None = None
        self._on_row = on_row
        self._stop = stop
        self._terms: OrderedDict[str, Terms] = OrderedDict()
        self._spent = Spent()
        self._cg_iterations = 0  # of the minimizations before this one
        self._start_again: Iterate | None = None  # of a minimization that starts where the one before it ended
        self._last_terms: Terms | None = None  # of the last row
        self._clock = Clock(spent)

    @property
    def fallbacks(self) -> dict[str, int]:
        """Return the `Work.fallbacks` of the state equation so far."""
        total = self._spent.first.copy()
        total.add(self._spent.second)
        return total.fallbacks

    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J(m) and its derivative. Raises Interrupted where the run was asked to stop."""
        question = _digest(m)
        answer = self._recalled("value", question, len(m)) or self._evaluated(m, question)
        if answer.array is None:
            raise SolveError(answer.error)
        self._terms[question] = terms = Terms(*answer.numbers)
        if len(self._terms) > REMEMBERED:
            self._terms.popitem(last=False)
        return terms.objective, answer.array

    def _evaluated(self, m: np.ndarray, question: str) -> Answer:
        """A failed solve is an answer, too."""
        self._begin()
        try:
            with _counted(self._spent.first):
                terms, derivative = self.model.functional.terms_and_derivative(m)
        except ArithmeticError as error:
            if not self.rows:
                raise
            return self._kept("value", question, (), None, str(error))
        self._spent.evaluations += 1
        if not self.rows and not np.isfinite(terms.objective):
            raise InputError(f"the objective is {terms.objective} at the initial guess")
        return self._kept("value", question, terms, derivative)

    def hessian(self, m: np.ndarray) -> Action:
        """v ↦ the exact Hessian at m times v."""
        return self._product(self.model.hessian, m)

    def gauss_newton(self, m: np.ndarray) -> Action:
        """v ↦ the Gauss–Newton Hessian at m times v."""
        return self._product(self.model.gauss_newton, m)

    def accept(self, iterate: Iterate) -> None:
        """The optimizer's callback. What starts where the minimization before it ended is no new row."""
        self._start_again = None
        if self.m is not None and iterate.iteration == 0:
            self._cg_iterations = self.rows[-1].cg_iterations
            if np.array_equal(iterate.m, self.m):
                self._start_again = iterate
                return
        self._append(iterate)

    def finish(self) -> None:
        """A last row where the last minimization took no step: its functional is another than that of the last row."""
        if self._start_again is not None and self._terms[_digest(self._start_again.m)] != self._last_terms:
            self._append(self._start_again)
        self._start_again = None

    def _append(self, iterate: Iterate) -> None:
        terms = self._last_terms = self._terms[_digest(iterate.m)]
        self.m = iterate.m
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
            )
        )
        self._on_row(self.rows[-1])

    def _product(self, linearize: Callable[[np.ndarray], Action], m: np.ndarray) -> Action:
        """Where products are kept, the linearization waits until one is to be computed."""
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
            question = _digest(m, direction)
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
        """Of a computation."""
        if self._stop():
            raise Interrupted
        self._clock.go_on()

    def _recalled(self, kind: str, question: str, size: int) -> Answer | None:
        """An answer that is kept; counters and clock are then those of the time when it was given."""
        answer = self.log.recall(kind, question, size)
        if answer is not None:
            try:
                self._spent = Spent.of(answer.spent)
            except (KeyError, TypeError) as error:
                raise DamagedLogError(f"the answers that are kept are damaged ({error}); start a new run") from error
            self._clock.stand(answer.seconds)
        return answer

    def _kept(
        self, kind: str, question: str, numbers: tuple[float, ...], array: np.ndarray | None, error: str = ""
    ) -> Answer:
        spent, seconds = asdict(self._spent), self._clock.seconds()
        answer = Answer(kind, question, tuple(numbers), array, error, spent, seconds)
        self.log.keep(answer)
        return answer


@contextmanager
def _counted(total: Work) -> Iterator[None]:
    """Add what the block spends."""
    before = work.copy()
    try:
        yield
    finally:
        total.add(work.since(before))


class Interrupted(Exception):
    """The user asked the run to stop."""


def _digest(*arrays: np.ndarray) -> str:
    """The same for equal arrays: −0 becomes 0."""
    return hashlib.blake2b(b"".join((array + 0.0).tobytes() for array in arrays), digest_size=16).hexdigest()
