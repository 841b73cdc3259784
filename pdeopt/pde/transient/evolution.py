"""Linear equations in time after discretization in space, for the free degrees of freedom.

With u = Z y + g(t), prescribed values g in time, each matrix X of the scheme becomes Zᵀ X Z, and contributes −Zᵀ X g at
the times of the states that it is multiplied with in a step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem import Dirichlet, MultiPoint
from pdeopt.pde.transient.schemes import StepTable
from pdeopt.pde.transient.time_functions import Piece, TimeFunction, TimePoints, experiments_of, pieces
from pdeopt.sparse import CSRMatrix, SolveError, Solver, linear_solve
from pdeopt.sparse.march.plan import is_diagonal


@dataclass(frozen=True, eq=False)
class Evolution:
    """A linear equation in time, M ∂u/∂t + K u = f or M ∂²u/∂t² + C ∂u/∂t + K u = f.

    Attributes:
        mass: The matrix M, (n, n); a diagonal one, of a lumped mass, makes explicit schemes cheap.
        stiffness: The matrix K.
        load: The load f, a constant vector (n,) or (n, r), a `Modulated` or a `Sampled` one, or several of these, which
            are added.
        damping: The matrix C of an equation of second order; None for none.
        initial: The state at the first time, (n,) or (n, r); None for zero.
        velocity: Its derivative in time there, of equations of second order; None for zero.
        before: The state one step before the first time, in place of the velocity, of equations of second order.
    """

    mass: CSRMatrix
    stiffness: CSRMatrix
    load: TimeFunction = None
    damping: CSRMatrix | None = None
    initial: ArrayLike | None = None
    velocity: ArrayLike | None = None
    before: ArrayLike | None = None


@dataclass(frozen=True, eq=False)
class Reduced:
    """An equation in time for the degrees of freedom that are free.

    All vectors have an axis of r experiments. It is made by `reduced`.

    Attributes:
        evolution: The equation of all degrees of freedom.
        condition: The condition on them, or None.
        table: The steps of the scheme.
        grid: The times (K + 1,) of the equation.
        full: The matrices M, K, or M, C, K, of all degrees of freedom.
        matrices: Those of the free ones.
        load: The pieces of the load.
        boundary: The pieces of the prescribed values.
        columns: The number r of experiments.
    """

    evolution: Evolution
    condition: Dirichlet | MultiPoint | None
    table: StepTable
    grid: np.ndarray
    full: list[CSRMatrix]
    matrices: list[CSRMatrix]
    load: list[Piece]
    boundary: list[Piece]
    columns: int

    @property
    def n(self) -> int:
        """The number of all degrees of freedom."""
        return self.full[0].shape[0]

    @property
    def free_count(self) -> int:
        """The number of degrees of freedom that are free."""
        return self.matrices[0].shape[0]

    def restrict(self, load: jax.Array) -> jax.Array:
        """Return a load (n, …) of the free degrees of freedom, (free, …)."""
        return load if self.condition is None else self.condition.reduce(load)

    def free_values(self, u: jax.Array) -> jax.Array:
        """Return the values of the free degrees of freedom of a state u (n, …)."""
        return u if self.condition is None else u[self.condition.free]

    def prescribed(self, times: np.ndarray) -> jax.Array | None:
        """Return the prescribed values at times (T,) at or after the first, (k, r, T); None for zero."""
        points = TimePoints.of(times, self.grid)
        found = [piece.values_at(points) for piece in self.boundary]
        return jnp.moveaxis(sum(found[1:], start=found[0]), 0, -1) if found else None

    @cached_property
    def loads(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The weights (steps, S), the vectors (S, free, r) and the loads (steps, free, r) of the steps.

        Of weights and vectors there may be none, S = 0; where no piece is sampled, the loads are those of no steps.
        """
        weights: list[jax.Array] = []
        vectors: list[jax.Array] = []
        sampled: list[jax.Array] = []
        table = self.table
        points = [TimePoints(times, table.load_steps, self.grid) for times in table.load_times]
        for piece in self.load:
            parts = list(zip(table.load_weights, points, strict=True))
            if piece.is_sampled:
                total = sum(factor[:, None, None] * piece.values_at(point) for factor, point in parts)
                sampled.append(jnp.moveaxis(self.restrict(jnp.moveaxis(jnp.asarray(total), 0, -1)), -1, 0))
            else:
                weights.append(jnp.asarray(sum(factor * piece.weight_at(point) for factor, point in parts)))
                vectors.append(self.restrict(piece.vector))
        for piece in self.boundary:
            levels = self._at_levels(piece.values_at if piece.is_sampled else piece.weight_at)
            for m, X in enumerate(self.full):
                total = self._combined(levels, m)
                if piece.is_sampled:
                    sampled.append(jnp.moveaxis(self.lift(X, jnp.moveaxis(total, 0, -1)), -1, 0))
                else:
                    weights.append(total)
                    vectors.append(self.lift(X, piece.vector))
        empty = (0, self.free_count, self.columns)
        return (
            jnp.stack(weights, axis=1) if weights else jnp.zeros((len(table.ends), 0)),
            jnp.stack(vectors) if vectors else jnp.zeros(empty),
            sum(sampled[1:], start=sampled[0]) if sampled else jnp.zeros(empty),
        )

    def lift(self, X: CSRMatrix, values: jax.Array) -> jax.Array:
        """Return −Zᵀ X g for prescribed values g (k, …), (free, …)."""
        assert self.condition is not None, "values are prescribed by a condition"
        columns = replace(self.condition, values=values.reshape(len(values), -1))
        found = columns.condense(X, jnp.zeros(self.n))[1]
        return found.reshape(self.free_count, *values.shape[1:])

    def start(self, solver: str | Solver) -> jax.Array:
        """Return the states before the first step, the last one first, (lags, free, r)."""
        u = self._state(self.evolution.initial, "the initial state")
        first = self.free_values(u)
        lags = len(self.table.kinds[0]) - 1
        if lags == 1:
            return first[None]
        if len(self.full) < 3:
            return jnp.stack([first, jnp.zeros_like(first)])  # the numbers of a first step are zero there
        if self.evolution.before is not None:
            return jnp.stack([first, self.free_values(self._state(self.evolution.before, "the state before"))])
        size = self.grid[1] - self.grid[0]
        v, acceleration = self._start_of_motion(u, size, solver)
        return jnp.stack([first, first - size * v + 0.5 * size**2 * acceleration])

    def _start_of_motion(self, u: jax.Array, size: float, solver: str | Solver) -> tuple[jax.Array, jax.Array]:
        """Return velocity and acceleration (free, r) of an equation of second order at the first time."""
        _, C, K = self.full
        first = TimePoints.of(self.grid[:1], self.grid)
        force = jnp.zeros((self.n, self.columns))
        for piece in self.load:
            force = force + piece.values_at(first)[0]
        v = self._state(self.evolution.velocity, "the velocity")
        lifted = jnp.zeros((self.free_count, self.columns))
        if self.boundary and self.condition is not None:
            levels = [self._at_levels(piece.values_at)[:3] for piece in self.boundary]
            before, now, after = sum(levels[1:], start=levels[0])
            lifted = self.lift(self.full[0], (after - 2 * now + before) / size**2)
            if isinstance(self.condition, Dirichlet):
                u, dofs = u.at[self.condition.dofs].set(now), self.condition.dofs
                v = v.at[dofs].set((after - before) / (2 * size))
        load = self.restrict(force - C @ v - K @ u) + lifted
        M = self.matrices[0]
        if is_diagonal(M.pattern):
            return self.free_values(v), load / M.data[:, None]
        return self.free_values(v), linear_solve(M, load, solver)

    def _at_levels(self, function: Callable[[TimePoints], jax.Array]) -> jax.Array:
        """Return the values of a function of time at the states of the march.

        They are those one step before the start, at the start and after each step. Before the start the function is
        continued by a parabola, which keeps the second order of a scheme.
        """
        inner = function(TimePoints.of(np.concatenate([self.grid[:1], self.table.ends]), self.grid))
        two, three = inner[1], inner[2] if len(inner) > 2 else 2 * inner[1] - inner[0]
        return jnp.concatenate([(3 * inner[0] - 3 * two + three)[None], inner])

    def _combined(self, levels: jax.Array, m: int) -> jax.Array:
        """Return Σ_lag a[lag][m] g(t_{k−lag}) of all steps, from the values at the states of the march."""
        count = len(self.table.ends)
        total = jnp.zeros((count, *levels.shape[1:]))
        for lag in range(len(self.table.kinds[0])):
            factors = self.table.factors(lag, m).reshape(-1, *([1] * (levels.ndim - 1)))
            total = total + factors * levels[2 - lag : 2 - lag + count]
        return total

    def _state(self, given: ArrayLike | None, what: str) -> jax.Array:
        """Return a state (n, r), of a state (n,) or (n, r), or zero."""
        if given is None:
            return jnp.zeros((self.n, self.columns))
        return pieces(jnp.asarray(given, float), self.n, self.columns, what)[0].vector


def reduced(
    evolution: Evolution,
    condition: Dirichlet | MultiPoint | None,
    values: TimeFunction,
    table: StepTable,
    grid: np.ndarray,
    has_experiments: bool,
) -> Reduced:
    """Return the equation of the free degrees of freedom.

    Args:
        evolution: The equation of all degrees of freedom.
        condition: The condition on them, or None.
        values: The prescribed values in time; None for those of the condition.
        table: The steps of the scheme.
        grid: The times (K + 1,) of the equation.
        has_experiments: Whether arrays may have an axis of experiments.

    Raises:
        SolveError: Matrices or arrays do not fit each other, or no degree of freedom is free.
    """
    n = evolution.mass.shape[0]
    given_damping = 0.0 * evolution.mass if evolution.damping is None else evolution.damping
    damping = [given_damping] if len(table.kinds[0][0]) == 3 else []
    full = [evolution.mass, *damping, evolution.stiffness]
    for X in full:
        if not isinstance(X, CSRMatrix) or X.shape != (n, n):
            shape = X.shape if isinstance(X, CSRMatrix) else type(X).__name__
            raise SolveError(f"a matrix of an Evolution is {shape}; expected a CSRMatrix of shape {(n, n)}")
    if values is not None and not isinstance(condition, Dirichlet):
        raise SolveError("boundary gives prescribed values in time; expected a Dirichlet condition that says where")
    if values is None and condition is not None:
        values = condition.values
    matrices = full
    if condition is not None:
        zero = replace(condition, values=None)
        matrices = [zero.condense(X, jnp.zeros(n))[0] for X in full]
    if not matrices[0].shape[0]:
        raise SolveError(
            f"the condition prescribes all {n} degrees of freedom, so that there is nothing to solve for: refine the "
            "mesh until it has vertices inside, or prescribe fewer boundaries, by name"
        )
    given = [evolution.load, evolution.initial, evolution.velocity, evolution.before, values]
    counts = set().union(*(experiments_of(one) for one in given)) - {1}
    if len(counts) > 1 or (counts and not has_experiments):
        raise SolveError(
            f"arrays of an Evolution have {sorted(counts)} columns; expected one number of experiments for all, and "
            'the axes ("dof", "experiment", "time") where there are some'
        )
    columns = counts.pop() if counts else 1
    prescribed = 0 if condition is None else len(condition.dofs)
    return Reduced(
        evolution,
        condition,
        table,
        grid,
        full,
        matrices,
        pieces(evolution.load, n, columns, "the load"),
        pieces(values, prescribed, columns, "the prescribed values"),
        columns,
    )
