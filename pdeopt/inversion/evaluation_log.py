"""The log of what a functional returned to an optimizer, in order, from which a stopped run goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from pdeopt.sparse import Work

#: The kinds of answers: a value with its derivative, or a product with a Hessian.
Kind = Literal["value", "product"]


@dataclass
class SpentWork:
    """The work on the state equation so far; that of preconditioners and inner products is not in it.

    Attributes:
        first: The work of values, derivatives and linearizations.
        second: The work of products with a Hessian.
        products: The number of products with a Hessian.
        evaluations: The number of evaluations of J and its derivative.
    """

    first: Work = field(default_factory=Work)
    second: Work = field(default_factory=Work)
    products: int = 0
    evaluations: int = 0


@dataclass(frozen=True, eq=False)
class LoggedEvaluation:
    """An evaluation in the log: the answer to one question of an optimizer.

    Attributes:
        kind: The kind of the answer.
        question: What was asked, as a digest in hexadecimal digits.
        numbers: Objective, misfit and regularization of a value, and the values of the k constraints.
        array: The derivative (p,) with those of the constraints after it, ((1 + k) p,), or the product (p,); None where
            it is computed again instead of being kept.
        error: Why there is no answer; empty where there is one.
        spent: What the run has spent so far.
        seconds: The time since its start.
    """

    kind: Kind
    question: str
    numbers: tuple[float, ...]
    array: np.ndarray | None
    error: str
    spent: SpentWork
    seconds: float


class EvaluationLog(Protocol):
    """A log that keeps the answers of this process, and gives those of a former process back first."""

    @property
    def replaying(self) -> bool:
        """True while an answer of a former process is still to be given back."""
        ...

    def recall(self, kind: Kind, question: str, size: int | None = None) -> LoggedEvaluation | None:
        """Return the next answer of the log where it belongs to this question, None otherwise.

        From the first other question on, None is returned to all.

        Args:
            kind: The kind of the answer.
            question: The digest of what is asked.
            size: The number of parameters p, where it is known.
        """
        ...

    def keep(self, answer: LoggedEvaluation) -> None:
        """Keep an answer.

        Raises:
            OSError: It cannot be written.
        """
        ...


class NoLog:
    """A log that keeps nothing, of an inversion that will not be resumed."""

    @property
    def replaying(self) -> bool:
        """The value False, as nothing is ever given back."""
        return False

    def recall(self, kind: Kind, question: str, size: int | None = None) -> LoggedEvaluation | None:
        """Return None, as no answer was kept."""
        return None

    def keep(self, answer: LoggedEvaluation) -> None:
        """Discard the answer."""
