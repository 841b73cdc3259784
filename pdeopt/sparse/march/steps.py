"""One step of a march forward and back, on the host, with its derivatives of any order.

A march is differentiated along m directions at once: the states of step k are u_S for all subsets S of the directions,
u_∅ the state itself and u_S its mixed derivative along those in S. Matrices are differentiated in their own values, so
that only first derivatives X_i of them exist, and

    A u_S = f_S + Σ_{lag ≥ 1} B u_S(k−lag) + Σ_{i in S} Σ_{lag ≥ 0} B_i u_{S∖i}(k−lag),        B = −Σ_m a[lag][m] X_m.

The adjoint states obey the same, backward and transposed:

    Aᵀ λ_S = g_S + Σ_{lag ≥ 1} Bᵀ λ_S(k+lag) + Σ_{i in S} Σ_{lag ≥ 0} B_iᵀ λ_{S∖i}(k+lag),

where g_∅ is the cotangent of what was read after step k, and g_S = 0 for other S. With D all directions, the mixed
derivative of the cotangents is then, on the pattern of X_m,

    X̄_m = −Σ_k Σ_lag a[lag][m] Σ_S λ_S(k) u_{D∖S}(k−lag)ᵀ,        F̄_k = λ_D(k).

Subsets are numbers whose bits are the directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.march.plan import MarchPlan, combination, is_diagonal
from pdeopt.sparse.solvers import Auto, DirectSolver
from pdeopt.sparse.solvers.counters import work

#: A linear map of states (n,) or (n, r).
Product = Callable[[np.ndarray], np.ndarray]
#: The states of a step, one a subset of the directions.
States = list[np.ndarray]

#: The part of entries of a load up to which it is added entry by entry.
SPARSE_LOAD = 0.1


@dataclass(frozen=True)
class Numbers:
    """The numbers of a march, or of a direction of differentiation, where None stands for zero.

    Attributes:
        matrices: The values (nnz,) of each matrix X_m.
        weights: The weights W (K, S).
        vectors: The vectors q (S, n) or (S, n, r).
        loads: The loads F (K, n) or (K, n, r).
        start: The states (lags, n) or (lags, n, r) before step 1, the last one first.
    """

    matrices: tuple[np.ndarray | None, ...]
    weights: np.ndarray | None
    vectors: np.ndarray | None
    loads: np.ndarray | None
    start: np.ndarray | None

    @classmethod
    def of(cls, leaves: Mapping[int, np.ndarray], matrices: int) -> Numbers:
        """Return the numbers of arrays by their places: matrices first, then the others in order."""
        others = (_flat(leaves.get(matrices + k), place) for k, place in enumerate((None, 1, 1, 1)))
        return cls(tuple(leaves.get(m) for m in range(matrices)), *others)

    @cached_property
    def sparse_vectors(self) -> list[tuple[np.ndarray | slice, np.ndarray]]:
        """The entries of each vector that are not zero, with their places, where they are few; else all."""
        assert self.vectors is not None
        found: list[tuple[np.ndarray | slice, np.ndarray]] = []
        for vector in self.vectors:
            rows = np.flatnonzero(vector.reshape(len(vector), -1).any(1))
            few = len(rows) < SPARSE_LOAD * len(vector)
            found.append((rows, vector[rows]) if few else (slice(None), vector))
        return found


def _flat(array: np.ndarray | None, axis: int | None) -> np.ndarray | None:
    """Return an array (…, n, r) as (…, n) where r is 1, which is faster."""
    return array[..., 0] if array is not None and axis is not None and array.shape[-1] == 1 else array


class Systems:
    """The matrices of all kinds of steps of a march: products of each lag, and solves with A."""

    def __init__(self, plan: MarchPlan, matrices: tuple[np.ndarray | None, ...]) -> None:
        self._plan, self._matrices = plan, matrices
        self._products: dict[tuple[int, int, bool], Product | None] = {}
        self._solves: dict[int, Callable[[np.ndarray, bool], np.ndarray]] = {}

    def product(self, kind: int, lag: int, transposed: bool = False) -> Product | None:
        """Return the product with B of a lag, or with Bᵀ; None where it is zero."""
        key = kind, lag, transposed
        if key not in self._products:
            self._products[key] = self._new_product(*key)
        return self._products[key]

    def solve(self, kind: int, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return x with A x = rhs, or Aᵀ x = rhs."""
        if kind not in self._solves:
            self._solves[kind] = self._new_solve(kind)
        return self._solves[kind](rhs, transposed)

    def _sum(self, kind: int, lag: int) -> tuple[Any, np.ndarray] | None:
        """Return the pattern and the values of Σ_m a[lag][m] X_m; None where it is zero."""
        plan = self._plan
        terms = [
            (factor, plan.patterns[m], values)
            for m, (factor, values) in enumerate(zip(plan.kinds[kind][lag], self._matrices, strict=True))
            if factor != 0 and values is not None
        ]
        if not terms:
            return None
        factors, patterns, data = zip(*terms, strict=True)
        found = combination(tuple(patterns))
        return found.pattern, found.values(factors, data)

    def _new_product(self, kind: int, lag: int, transposed: bool) -> Product | None:
        found = self._sum(kind, lag)
        if found is None:
            return None
        pattern, values = found
        if is_diagonal(pattern):
            return partial(_scaled, -values)
        B = sp.csr_matrix((-values, pattern.indices, pattern.indptr), pattern.shape)
        product: Product = (B.T if transposed else B).__matmul__
        return product

    def _new_solve(self, kind: int) -> Callable[[np.ndarray, bool], np.ndarray]:
        found = self._sum(kind, 0)
        if found is None:
            raise report(SolveError("a step of a march has no matrix of the new state; expected a number at lag 0"))
        pattern, values = found
        if is_diagonal(pattern):
            if not values.all() or not np.isfinite(values).all():
                raise report(
                    SolveError(
                        f"the diagonal matrix of a time step has {np.sum(values == 0)} zeros and "
                        f"{np.sum(~np.isfinite(values))} NaN or infinite values; expected none: a lumped mass of "
                        "quadratic elements has zeros at vertices, take linear ones"
                    )
                )
            inverse = 1 / values
            return lambda rhs, transposed: _scaled(inverse, rhs)
        solver = self._plan.solver
        if isinstance(solver, Auto):
            solver = solver.chosen(pattern, values, self._plan.count)  # so many right-hand sides
        if isinstance(solver, DirectSolver):
            prepared = solver.prepared(pattern, values)
            return lambda rhs, transposed: prepared(_column(rhs), transposed).reshape(rhs.shape)
        return lambda rhs, transposed: solver.solve(pattern, values, _column(rhs), transposed).reshape(rhs.shape)


class Stepper:
    """The steps of a march and of its derivatives along some directions, forward and back."""

    def __init__(self, plan: MarchPlan, numbers: Numbers, directions: list[Numbers]) -> None:
        self.plan, self.numbers, self.directions = plan, numbers, directions
        self.subsets = range(1 << len(directions))
        self.whole = len(self.subsets) - 1
        self._systems = Systems(plan, numbers.matrices)
        self._changes = [Systems(plan, direction.matrices) for direction in directions]
        self._numbers = {0: numbers} | {1 << i: direction for i, direction in enumerate(directions)}
        assert numbers.start is not None
        self.shape = numbers.start.shape[1:]
        self._read = slice(None) if plan.read_dofs is None else plan.read_dofs

    def numbers_of(self, subset: int) -> Numbers | None:
        """Return the numbers of no direction or of a single one; None of larger subsets."""
        return self._numbers.get(subset)

    def start(self) -> dict[int, States]:
        """Return the states before step 1, by the number of the step."""
        found: dict[int, States] = {}
        for back in range(self.plan.lags):
            found[-back] = [self._start(subset, back) for subset in self.subsets]
        return found

    def _start(self, subset: int, back: int) -> np.ndarray:
        numbers = self._numbers.get(subset)
        return np.zeros(self.shape) if numbers is None or numbers.start is None else numbers.start[back]

    def forward(self, states: Mapping[int, States], k: int, known: np.ndarray | None = None) -> States:
        """Return the states of step k from those of the steps before it.

        Args:
            states: The states of the steps before, by step.
            k: The step.
            known: The state u_∅ of the step itself, where it is known.

        Raises:
            SolveError: A system cannot be solved.
        """
        kind, new = self.plan.kind_of[k - 1], [] if known is None else [known]
        work.time_steps += 1
        for subset in self.subsets[len(new) :]:
            rhs = self._load(subset, k)
            for lag in range(1, self.plan.lags + 1):
                rhs = _added(rhs, self._systems.product(kind, lag), states[k - lag][subset])
            for i, rest in _removals(subset):
                for lag in range(self.plan.lags + 1):
                    of = new[rest] if lag == 0 else states[k - lag][rest]
                    rhs = _added(rhs, self._changes[i].product(kind, lag), of)
            new.append(self._systems.solve(kind, np.zeros(self.shape) if rhs is None else rhs, False))
        return new

    def back(self, adjoints: Mapping[int, States], cotangent: np.ndarray | None, k: int) -> States:
        """Return the adjoint states of step k from those of the steps after it.

        Args:
            adjoints: The adjoint states of the steps after it, by step.
            cotangent: The cotangent of what was read after step k, (d,) or (d, r); None where nothing was.
            k: The step.

        Raises:
            SolveError: A system cannot be solved.
        """
        new: States = []
        for subset in self.subsets:
            rhs = self._adjoint_load(adjoints, new, subset, k)
            if subset == 0 and cotangent is not None:
                rhs[self._read] += cotangent
            new.append(self._systems.solve(self.plan.kind_of[k - 1], rhs, True))
        return new

    def start_cotangent(self, adjoints: Mapping[int, States], cotangent: np.ndarray | None, back: int) -> np.ndarray:
        """Return the cotangent of the state ``back`` steps before the first one.

        Args:
            adjoints: The adjoint states of the first steps.
            cotangent: The cotangent of what was read of that state; None where nothing was.
            back: The number of steps.
        """
        rhs = self._adjoint_load(adjoints, [], self.whole, -back)
        if self.whole == 0 and cotangent is not None:
            rhs[self._read] += cotangent
        return rhs

    def _adjoint_load(self, adjoints: Mapping[int, States], new: States, subset: int, k: int) -> np.ndarray:
        """Return the right-hand side of an adjoint state, without what was read, an array of its own."""
        plan, rhs = self.plan, None
        for lag in range(plan.lags + 1):
            if not 1 <= k + lag <= plan.count:
                continue
            kind = plan.kind_of[k + lag - 1]
            if lag > 0:
                rhs = _added(rhs, self._systems.product(kind, lag, True), adjoints[k + lag][subset])
            for i, rest in _removals(subset):
                of = new[rest] if lag == 0 else adjoints[k + lag][rest]
                rhs = _added(rhs, self._changes[i].product(kind, lag, True), of)
        return np.zeros(self.shape) if rhs is None else rhs

    def load_factors(self, subset: int) -> list[tuple[Numbers, Numbers]]:
        """Return the pairs of weights and vectors whose products make f_S of a subset S."""
        pairs = ((self._numbers.get(part), self._numbers.get(subset ^ part)) for part in _parts(subset))
        return [(one, two) for one, two in pairs if one is not None and two is not None]

    def _load(self, subset: int, k: int) -> np.ndarray | None:
        """Return the load of a step, an array of its own; None for zero."""
        numbers = self._numbers.get(subset)
        rhs = None if numbers is None or numbers.loads is None else numbers.loads[k - 1].copy()
        for one, two in self.load_factors(subset):
            if one.weights is not None and two.vectors is not None:
                for weight, (rows, vector) in zip(one.weights[k - 1], two.sparse_vectors, strict=True):
                    if weight != 0:
                        rhs = np.zeros(self.shape) if rhs is None else rhs
                        rhs[rows] += weight * vector
        return rhs


def _removals(subset: int) -> list[tuple[int, int]]:
    """Return each direction of a subset, with the subset without it."""
    return [(i, subset & ~(1 << i)) for i in range(subset.bit_length()) if subset >> i & 1]


def _parts(subset: int) -> list[int]:
    """Return all subsets of a subset."""
    return [part for part in range(subset + 1) if part & ~subset == 0]


def _scaled(diagonal: np.ndarray, x: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = diagonal * x if x.ndim == 1 else diagonal[:, None] * x
    return scaled


def _column(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


def _added(rhs: np.ndarray | None, product: Product | None, x: np.ndarray) -> np.ndarray | None:
    """Return the sum of a right-hand side, which is changed, and of a product; None stands for zero."""
    if product is None:
        return rhs
    if rhs is None:
        return product(x)
    rhs += product(x)
    return rhs
