"""What a functional answered, in the order in which an optimizer asked, so that a stopped run can go on from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pdeopt.errors import PdeoptError


class DamagedLogError(PdeoptError):
    """A log of evaluations holds what no run has written."""


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer to one question of an optimizer.

    Attributes:
        kind: "value" or "product".
        question: What was asked, as a digest in hexadecimal digits.
        numbers: Objective, misfit and regularization of a value.
        array: The derivative (p,) or the product (p,); None where it is computed again instead of being kept.
        error: Why there is no answer; empty where there is one.
        spent: What the run has spent so far.
        seconds: The time since its start.
    """

    kind: str
    question: str
    numbers: tuple[float, ...]
    array: np.ndarray | None
    error: str
    spent: dict[str, Any]
    seconds: float


class EvaluationLog(Protocol):
    """Keeps answers, and gives those of a former process back first."""

    @property
    def replaying(self) -> bool:
        """Whether there is an answer to be given back."""
        ...

    def recall(self, kind: str, question: str, size: int | None = None) -> Answer | None:
        """Return the next answer that was kept where it is one to this question; None otherwise, and from then on."""
        ...

    def keep(self, answer: Answer) -> None:
        """Keep an answer. Raises OSError where it cannot be written."""
        ...


class NoLog:
    """A log that keeps nothing, of an inversion that is not to be gone on with."""

    @property
    def replaying(self) -> bool:
        """Always False."""
        return False

    def recall(self, kind: str, question: str, size: int | None = None) -> Answer | None:
        """Return None: nothing was kept."""
        return None

    def keep(self, answer: Answer) -> None:
        """Forget the answer."""
