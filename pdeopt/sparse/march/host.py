"""Whole marches on the host, forward and back, with all states kept or with snapshots.

Nothing here calls JAX.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import IO, Any

import numpy as np

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.march.plan import MarchPlan, is_diagonal
from pdeopt.sparse.march.schedule import Action, actions
from pdeopt.sparse.march.stability import check_stability
from pdeopt.sparse.march.steps import Numbers, States, Stepper
from pdeopt.sparse.solvers.counters import timed_solving, watched_march, work

#: The number of steps after which states are looked at, whether they are finite.
CHECKED_STEPS = 16
#: The size of a state that is taken as a sign of an unstable scheme.
LARGE_STATE = 1e100
#: The number of products λ uᵀ that are summed at once.
OUTER_COLUMNS = 16
#: Their number where memory is short.
FEW_COLUMNS = 4
#: The number of entries of a pattern for which they are summed at once.
OUTER_ENTRIES = 8192
#: The number of marches whose states are remembered.
REMEMBERED = 2


@dataclass
class StateMemory:
    """The memory of the states of marches, in this process.

    Attributes:
        peak: The largest memory of the states of one march that were at hand together, in bytes.
    """

    peak: int = 0


#: The memory of the states of marches in this process; it may be set to zero at any time.
state_memory = StateMemory()


@dataclass
class Kept:
    """A record of what a run forward left for the run back.

    Attributes:
        states: The states by step, of all steps or of the last ones.
        snapshots: The snapshots by their place and step: states by step.
        next: The number of the next action of the schedule.
    """

    states: dict[int, States] = field(default_factory=dict)
    snapshots: dict[tuple[str, int], dict[int, States] | IO[bytes]] = field(default_factory=dict)
    next: int = 0

    def nbytes(self) -> int:
        """Return the memory of all different states, in bytes."""
        groups = [self.states, *(one for one in self.snapshots.values() if isinstance(one, dict))]
        arrays = {id(array): array.nbytes for group in groups for states in group.values() for array in states}
        return sum(arrays.values())


#: What the last runs forward left, by the number that each was given. It only saves time: what is not here any more is
#: computed again from the numbers of the march, which come with every call.
_remembered: OrderedDict[int, Kept] = OrderedDict()
_numbers = count(1)


def forget_marches() -> None:
    """Forget the states of all marches."""
    _remembered.clear()


def march_forward(plan: MarchPlan, numbers: Numbers, directions: list[Numbers], keeps: bool) -> tuple[np.ndarray, int]:
    """Return what is read of the states, or of their mixed derivative, (T, d) or (T, d, r).

    Args:
        plan: The march.
        numbers: Its numbers.
        directions: The numbers of directions.
        keeps: Whether states are kept for a run back.

    Returns:
        What is read, and the number by which the run back finds what was kept; 0 where nothing was.

    Raises:
        SolveError: A system cannot be solved, or a state is not finite.
    """
    with timed_solving(), watched_march(plan.count):
        check_stability(plan, numbers.matrices)
        stepper = Stepper(plan, numbers, directions)
        run = _Run(stepper)
        if not keeps:
            run.advance(0, plan.count)
            return run.readings, 0
        if plan.checkpoints.keeps_all(plan.count):
            run.keep_all()
        else:
            run.follow(actions(plan.count, plan.checkpoints), until="end")
        number = next(_numbers)
        _remembered[number] = run.kept
        while len(_remembered) > REMEMBERED:
            _remembered.popitem(last=False)
        return run.readings, number


def march_back(
    plan: MarchPlan,
    numbers: Numbers,
    directions: list[Numbers],
    cotangent: np.ndarray,
    number: int,
    wanted: Sequence[int],
    reuses: bool,
) -> list[np.ndarray]:
    """Return the cotangents of the numbers of a march, or their mixed derivative along directions.

    Args:
        plan: The march.
        numbers: Its numbers.
        directions: The numbers of directions.
        cotangent: The cotangent of what is read, (T, d) or (T, d, r).
        number: The number by which what was kept is found.
        wanted: The places of the numbers whose cotangents are returned, in the order of `Numbers.of`.
        reuses: Whether what was kept serves a further run.

    Raises:
        SolveError: A system cannot be solved, or a state is not finite.
    """
    with timed_solving(), watched_march(plan.count, is_adjoint=True):
        stepper = Stepper(plan, numbers, directions)
        run = _Run(stepper, cotangent, tuple(wanted))
        if not run.needs_states:
            run.reverse(plan.count, 0)
            return run.cotangents()
        kept = _remembered.get(number) if reuses else _remembered.pop(number, None)
        if plan.checkpoints.keeps_all(plan.count):
            run.keep_all(kept)
            run.reverse(plan.count, 0)
            return run.cotangents()
        if kept is not None and not directions:
            _remembered.pop(number, None)  # it is used up
            run.kept = kept
        run.follow(actions(plan.count, plan.checkpoints), until=None)
        return run.cotangents()


class _Run:
    """A run of a march forward and back, with the states that it has at hand."""

    def __init__(self, stepper: Stepper, cotangent: np.ndarray | None = None, wanted: tuple[int, ...] = ()) -> None:
        self._stepper, self._plan = stepper, stepper.plan
        self._cotangent, self._wanted = cotangent, wanted
        plan, shape = self._plan, stepper.shape
        self.kept = Kept(stepper.start())
        self.readings = np.zeros((*plan.read_shape(1)[:2], *shape[1:]))
        self._adjoints: dict[int, States] = {}
        self._to_reverse: dict[int, States] = {}
        self._totals = _Totals(stepper, wanted)

    @property
    def needs_states(self) -> bool:
        """It is true where a cotangent depends on the states."""
        return any(m < len(self._plan.patterns) for m in self._wanted) or bool(self._stepper.directions)

    def keep_all(self, kept: Kept | None = None) -> None:
        """Compute and keep the states of all steps, but for those that a former run has kept."""
        if kept is not None and not self._stepper.directions:
            self.kept = kept
            return
        self.advance(0, self._plan.count, keeps=True, known=None if kept is None else kept.states)

    def advance(self, first: int, last: int, keeps: bool = False, known: Mapping[int, States] | None = None) -> None:
        """Go from the start of one step, counted from 0, to that of another.

        Args:
            first: The step at whose start the states are.
            last: The step at whose start they are afterwards.
            keeps: Whether the states of these steps are kept, to be reversed.
            known: The states by step without directions, where they are known.

        Raises:
            SolveError: A system cannot be solved, or a state is not finite.
        """
        states, plan = self.kept.states, self._plan
        if first == 0:
            for k in range(1 - plan.lags, 1):
                self._read(k, states[k])
        for k in range(first + 1, last + 1):
            states[k] = self._stepper.forward(states, k, None if known is None else known[k][0])
            self._look_at(k, states[k])
            self._read(k, states[k])
            if not keeps:
                states.pop(k - plan.lags, None)
        self._count_memory()

    def follow(self, schedule: Sequence[Action], until: str | None) -> None:
        """Do the actions of a schedule from the next one on, up to one of a kind, or all of them."""
        while self.kept.next < len(schedule):
            action = schedule[self.kept.next]
            self.kept.next += 1
            if action.kind == until:
                return
            if action.kind == "forward":
                self._forward(action)
            elif action.kind == "load":
                self._load(action)
            elif action.kind == "reverse":
                self.reverse(action.first, action.last)

    def _forward(self, action: Action) -> None:
        states, plan = self.kept.states, self._plan
        if action.keeps_start:
            window = {k: states[k] for k in range(action.first + 1 - plan.lags, action.first + 1)}
            self._save(action.place, action.first, window)
        self.advance(action.first, action.last, keeps=action.keeps_steps)
        if action.keeps_steps and action.place != "work":
            self._save(action.place, action.first, dict(states))
            self.kept.states = {k: states[k] for k in range(action.last + 1 - plan.lags, action.last + 1)}

    def _save(self, place: str, step: int, states: dict[int, States]) -> None:
        self.kept.snapshots[place, step] = _written(states) if place == "disk" else states

    def _load(self, action: Action) -> None:
        key = action.place, action.first
        found = self.kept.snapshots.pop(key) if action.drops else self.kept.snapshots[key]
        self.kept.states = dict(found if isinstance(found, dict) else _read_back(found))

    def reverse(self, first: int, last: int) -> None:
        """Go back from the start of one step to that of an earlier one."""
        plan, states = self._plan, self.kept.states
        for k in range(first, last, -1):
            new = self._stepper.back(self._adjoints, self._cotangent_at(k), k)
            work.adjoint_time_steps += 1
            self._adjoints[k] = new
            self._look_at(k, new)
            self._adjoints.pop(k + plan.lags, None)
            self._totals.add(k, new, states)
        if last == 0:
            self._totals.finish()

    def cotangents(self) -> list[np.ndarray]:
        """Return the cotangents that are wanted, after the run back."""
        matrices, plan = len(self._plan.patterns), self._plan
        found = []
        for place in self._wanted:
            if place == matrices + 3:
                start = np.zeros((plan.lags, *self._stepper.shape))
                for back in range(plan.lags):
                    start[back] = self._stepper.start_cotangent(self._adjoints, self._cotangent_at(-back), back)
                found.append(start)
            else:
                found.append(self._totals.values[place])
        return found

    def _read(self, k: int, states: States) -> None:
        place = self._plan.places.get(k)
        if place is not None:
            dofs, state = self._plan.read_dofs, states[self._stepper.whole]
            self.readings[place] = state if dofs is None else state[dofs]

    def _cotangent_at(self, k: int) -> np.ndarray | None:
        """Return the cotangent of what was read after step k; None where nothing was."""
        place = self._plan.places.get(k)
        if place is None or self._cotangent is None:
            return None
        given: np.ndarray = self._cotangent[place]
        return given

    def _look_at(self, k: int, states: States) -> None:
        """Refuse a state that grew beyond all bounds.

        Raises:
            SolveError: It is not finite, or larger than any physical number.
        """
        if k % CHECKED_STEPS and k != self._plan.count:
            return
        size = np.abs(states[-1]).max(initial=0.0)
        if not size < LARGE_STATE:
            raise report(
                SolveError(
                    f"the state after time step {k} of {self._plan.count} (t = {self._plan.times[k - 1]:.6g}) is "
                    f"not finite, or as large as {size:.0e}: the scheme is not stable with this step, or a load is not "
                    "finite; take smaller steps, or an implicit scheme"
                )
            )

    def _count_memory(self) -> None:
        state_memory.peak = max(state_memory.peak, self.kept.nbytes())


class _Totals:
    """The sums over all steps that make cotangents of matrices, weights, vectors and loads."""

    def __init__(self, stepper: Stepper, wanted: tuple[int, ...]) -> None:
        plan, numbers = stepper.plan, stepper.numbers
        self._stepper, self._plan, matrices = stepper, plan, len(plan.patterns)
        self._products = {m: _OuterProducts(stepper, m) for m in wanted if m < matrices}
        self.values = {m: products.total for m, products in self._products.items()}
        for name, place in (("weights", matrices), ("vectors", matrices + 1), ("loads", matrices + 2)):
            if place in wanted:
                self.values[place] = np.zeros(getattr(numbers, name).shape)
        self._place = matrices

    def add(self, k: int, adjoints: States, states: Mapping[int, States]) -> None:
        """Add what step k contributes."""
        whole = self._stepper.whole
        for products in self._products.values():
            products.add(k, adjoints, states)
        if self._place + 2 in self.values:
            self.values[self._place + 2][k - 1] = adjoints[whole]
        if self._place in self.values or self._place + 1 in self.values:
            self._add_load_factors(k, adjoints)

    def finish(self) -> None:
        """Add what was put off."""
        for products in self._products.values():
            products.finish()

    def _add_load_factors(self, k: int, adjoints: States) -> None:
        for subset in self._stepper.subsets:
            rest = self._stepper.whole ^ subset
            numbers = self._stepper.numbers_of(rest)
            if numbers is None:
                continue
            if self._place in self.values and numbers.vectors is not None:
                for s, (rows, vector) in enumerate(numbers.sparse_vectors):
                    self.values[self._place][k - 1, s] += np.vdot(vector, adjoints[subset][rows])
            if self._place + 1 in self.values and numbers.weights is not None:
                for s, weight in enumerate(numbers.weights[k - 1]):
                    if weight != 0:
                        self.values[self._place + 1][s] += weight * adjoints[subset]


class _OuterProducts:
    """The sum −Σ_k Σ_lag a[lag] λ(k) u(k−lag)ᵀ on the pattern of one matrix.

    Several products are summed at once: the numbers of all of them at one degree of freedom lie beside each other, so
    that the pattern is read once, and each of its entries is one product of two short rows.

    Attributes:
        total: The values (nnz,) of the sum, complete after `finish`.
    """

    def __init__(self, stepper: Stepper, matrix: int) -> None:
        self._stepper, self._plan, self._matrix = stepper, stepper.plan, matrix
        self._pattern = self._plan.patterns[matrix]
        self._width = int(np.prod(stepper.shape[1:]))
        keeps_all = self._plan.checkpoints.keeps_all(self._plan.count)
        self._columns = self._width * max(1, (OUTER_COLUMNS if keeps_all else FEW_COLUMNS) // self._width)
        self._filled = 0
        self._left, self._right = np.empty((2, self._columns, self._plan.size))
        self._taken = np.empty((2, min(OUTER_ENTRIES, self._pattern.nnz), self._columns))
        self.total = np.zeros(self._pattern.nnz)

    def add(self, k: int, adjoints: States, states: Mapping[int, States]) -> None:
        """Add the products of step k."""
        kind = self._plan.kinds[self._plan.kind_of[k - 1]]
        terms = [(lag, row[self._matrix]) for lag, row in enumerate(kind) if row[self._matrix] != 0]
        for subset in self._stepper.subsets if terms else ():
            other = self._stepper.whole ^ subset
            place = slice(self._filled, self._filled + self._width)
            left, right = self._left[place], self._right[place]
            left[:] = adjoints[subset].reshape(-1, self._width).T
            (lag, factor), *others = terms
            np.multiply(states[k - lag][other].reshape(-1, self._width).T, factor, out=right)
            for lag, factor in others:
                right += factor * states[k - lag][other].reshape(-1, self._width).T
            self._filled += self._width
            if self._filled == self._columns:
                self.finish()

    def finish(self) -> None:
        """Add the products that were put off."""
        left, right = (np.ascontiguousarray(rows[: self._filled].T) for rows in (self._left, self._right))
        self._filled = 0
        if is_diagonal(self._pattern):
            self.total -= np.vecdot(left, right)
            return
        taken = self._taken if left.shape[1] == self._columns else np.empty((*self._taken.shape[:2], left.shape[1]))
        for first in range(0, self._pattern.nnz, OUTER_ENTRIES):
            part = slice(first, first + OUTER_ENTRIES)
            rows, columns = self._pattern.rows[part], self._pattern.indices[part]
            one, two = taken[:, : len(rows)]
            left.take(rows, axis=0, mode="clip", out=one)
            right.take(columns, axis=0, mode="clip", out=two)
            self.total[part] -= np.vecdot(one, two)


def _written(states: dict[int, States]) -> IO[bytes]:
    """Return a temporary file with states, which is gone when it is closed, or the process ends."""
    file = tempfile.TemporaryFile(prefix="pdeopt-")  # noqa: SIM115  # it stays open as long as it is needed
    arrays: dict[str, Any] = {f"{k}_{i}": array for k, one in states.items() for i, array in enumerate(one)}
    np.savez(file, **arrays)
    return file


def _read_back(file: IO[bytes]) -> dict[int, States]:
    file.seek(0)
    found: dict[int, States] = {}
    with np.load(file) as arrays:
        for name in arrays.files:
            found.setdefault(int(name.split("_")[0]), []).append(arrays[name])
    return found
