"""Schedules of the states of a march that are kept for its adjoint.

All of them are kept, or some, from which the others are computed again.

The schedules are those of the library checkpoint_schedules: binomial checkpointing (revolve; Griewank, Walther 2000),
and the mixed one (Maddison 2024), which keeps the states of single steps, too. A schedule does not depend on numbers:
it is a table of actions, which is made once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pdeopt.sparse.errors import SolveError

#: The schedules by name.
SCHEDULES = ("revolve", "mixed")


@dataclass(frozen=True)
class Checkpoints:
    """A choice of the states that are kept for the adjoint of a march.

    Attributes:
        snapshots: The number of snapshots in memory; None keeps the states of all steps.
        on_disk: The number of further snapshots in a temporary file each.
        schedule: The schedule: "revolve", or "mixed", which runs fewer steps again and keeps all in memory.

    Raises:
        SolveError: A number is negative, or the schedule is not known.
    """

    snapshots: int | None = None
    on_disk: int = 0
    schedule: Literal["revolve", "mixed"] = "revolve"

    def __post_init__(self) -> None:
        counts = (self.snapshots, self.on_disk)
        if self.snapshots is not None and (
            not all(isinstance(count, int) and count >= 0 for count in counts) or not any(counts)
        ):
            raise SolveError(
                f"{self.snapshots!r} snapshots are kept in memory and {self.on_disk!r} on disk; expected at least one, "
                "or None in memory, which keeps all states"
            )
        if self.schedule not in SCHEDULES:
            raise SolveError(f"the schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}")
        if self.schedule == "mixed" and self.on_disk:
            raise SolveError("the mixed schedule keeps its snapshots in memory; expected on_disk=0 or 'revolve'")

    @property
    def total(self) -> int | None:
        """The number of all snapshots; None where all states are kept."""
        return None if self.snapshots is None else self.snapshots + self.on_disk

    def keeps_all(self, steps: int) -> bool:
        """Return whether the states of all of so many steps are kept."""
        return self.snapshots is None or self.snapshots >= steps

    @classmethod
    def within(cls, limit: float, steps: int, state_bytes: int) -> Checkpoints:
        """Return the choice that keeps within a memory limit: all states where they fit, else as many as do.

        Args:
            limit: The memory for states, in bytes.
            steps: The number of steps.
            state_bytes: The memory of what a step needs to go on from, in bytes.

        Raises:
            SolveError: Not even one snapshot fits.
        """
        fitting = int(limit // state_bytes)
        if fitting >= steps + 1:
            return cls()
        spare = 12  # the states that a step reads and makes, the adjoint ones, and products of both
        if fitting - spare < 1:
            raise SolveError(
                f"the memory limit of {limit:.3g} bytes holds {fitting} states of {state_bytes} bytes; expected at "
                f"least {(spare + 1) * state_bytes:.3g} bytes"
            )
        return cls(fitting - spare)


@dataclass(frozen=True)
class Action:
    """An action of a schedule.

    Attributes:
        kind: What is done: "forward", "reverse", "load" (a snapshot), or "end" of the first run forward.
        first: The step from whose start it goes, or the step of the snapshot.
        last: The step to whose start it goes.
        keeps_start: Whether the state at the first step is kept, to go on from.
        keeps_steps: Whether the states of these steps are kept, to be reversed.
        place: Where they are kept or loaded from: "ram", "disk", or "work" for what is reversed next.
        drops: Whether what is loaded is not needed there any more.
    """

    kind: str
    first: int = 0
    last: int = 0
    keeps_start: bool = False
    keeps_steps: bool = False
    place: str = "work"
    drops: bool = False


@lru_cache(maxsize=16)
def actions(steps: int, checkpoints: Checkpoints) -> tuple[Action, ...]:
    """Return the actions that run so many steps forward and back with the snapshots that are allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mixed schedule would be made faster with numba
        import checkpoint_schedules as library

        total = checkpoints.total
        assert total is not None, "a march that keeps all states has no schedule"
        if checkpoints.schedule == "mixed":
            kept = min(total, max(steps - 1, 1))
            schedule = library.MixedCheckpointSchedule(steps, kept, storage=library.StorageType.RAM)
        else:
            in_memory = min(checkpoints.snapshots or 0, max(steps - 1, 1))
            on_disk = min(checkpoints.on_disk, max(steps - 1, 1) - in_memory)
            schedule = library.MultistageCheckpointSchedule(steps, in_memory, on_disk)
        found: list[Action] = []
        for action in schedule:
            match action:
                case library.Forward():
                    place = action.storage.name.lower()
                    last = min(action.n1, steps)
                    found.append(Action("forward", action.n0, last, action.write_ics, action.write_adj_deps, place))
                case library.Reverse():
                    found.append(Action("reverse", action.n1, action.n0))
                case library.Copy() | library.Move():
                    moves = isinstance(action, library.Move)
                    found.append(Action("load", action.n, place=action.from_storage.name.lower(), drops=moves))
                case library.EndForward():
                    found.append(Action("end"))
                case library.EndReverse():
                    return tuple(found)
    raise AssertionError("a schedule has an end")


def forward_steps(steps: int, checkpoints: Checkpoints) -> int:
    """Return how many steps a value and its gradient run forward, those done again among them."""
    if checkpoints.keeps_all(steps):
        return steps
    return sum(one.last - one.first for one in actions(steps, checkpoints) if one.kind == "forward")
