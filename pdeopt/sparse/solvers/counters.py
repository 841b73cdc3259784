"""Counters of the expensive operations; they can be deleted without changing a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Work:
    """How often each operation ran in this process. A block of right-hand sides counts as one solve.

    Attributes:
        analyses: symbolic analyses, one per pattern and backend.
        factorizations: numeric factorizations.
        solves: solves with A. adjoint_solves: solves with Aᵀ.
        iterations: of Krylov methods, with A and Aᵀ. set_ups: of their preconditioners.
    """

    analyses: int = 0
    factorizations: int = 0
    solves: int = 0
    adjoint_solves: int = 0
    iterations: int = 0
    set_ups: int = 0

    def copy(self) -> Work:
        """The counts as they are now."""
        return Work(**asdict(self))

    def since(self, before: Work) -> Work:
        """The work done after ``before`` was copied."""
        return Work(**{key: value - getattr(before, key) for key, value in asdict(self).items()})

    def add(self, other: Work) -> None:
        """Count what another counted, too."""
        for key, value in asdict(other).items():
            setattr(self, key, getattr(self, key) + value)


work = Work()
