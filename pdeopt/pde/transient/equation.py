"""Transient linear state equations, all of whose steps are one call of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem import Condition, Dirichlet, FunctionSpace, MultiPoint
from pdeopt.pde.transient.evolution import Evolution, Reduced, reduced
from pdeopt.pde.transient.schemes import Scheme, StepTable, scheme_named, step_table
from pdeopt.pde.transient.state_in_time import TIME_AXES, StateInTime
from pdeopt.pde.transient.time_functions import TimeFunction
from pdeopt.sparse import Checkpoints, CSRMatrix, SolveError, Solver, chosen_solver, linear_march


@dataclass(frozen=True, eq=False)
class TransientStateEquation(StateInTime):
    """A linear equation in time: the map from κ to the states at given times, which JAX differentiates.

    The matrices do not depend on time. Each matrix of a step is factored once, for all steps of that size and for the
    adjoint. The states of all steps are kept only where they are asked for: an observation `pdeopt.inverse.InTime` is
    made while they are computed.

    Attributes:
        system: The map κ ↦ `Evolution`, all of which may depend on κ.
        times: The times (K + 1,), increasing, from the initial to the last one, in the problem's unit.
        scheme: The scheme in time or its name: "implicit-euler", "crank-nicolson", "explicit-euler", "bdf2", "sdirk2";
            for equations of second order "newmark" and "leapfrog".
        dirichlet: The prescribed values, a `Dirichlet`, or degrees of freedom that are tied to each other, a
            `MultiPoint`; or the map κ ↦ condition.
        boundary: The prescribed values of a `Dirichlet` in time, in the order of its ``dofs``: the map from κ to a
            `Modulated` or `Sampled` vector, or several that are added; None for those of the condition at all times.
        kept: The times at which a call returns the state; None for all.
        solver: The solver or its name, as in `pdeopt.sparse.linear_solve`.
        checkpoints: Which states are kept for the adjoint, or the memory for them in bytes; None for all.
        axes: The names of the axes of the state: ("dof", "time"), or ("dof", "experiment", "time") where loads, initial
            states or prescribed values are those of r experiments (shots), which share all matrices.
        parts: The spaces of the parts of the state, by name, as in `StateEquation`.

    Raises:
        SolveError: The times do not increase, or the scheme, its steps or the axes are not known. When it is called: a
            system cannot be solved, a step is too large for an explicit scheme, or its parts do not fit.

    Example:
        ∂u/∂t = κ ∂²u/∂x² on (0, 1) with u = 0 at both ends and u = sin πx at first, which decays as exp(−κ π² t):

        >>> import skfem
        >>> from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
        >>> V = FunctionSpace(skfem.MeshLine().refined(5), skfem.ElementLineP1())
        >>> mass = bilinear_form(lambda u, v, w: u * v).assemble(V)
        >>> stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
        >>> start = np.sin(np.pi * V.locations[0])
        >>> state = TransientStateEquation(
        ...     lambda kappa: Evolution(mass, kappa * stiffness, initial=start),
        ...     np.linspace(0, 0.1, 21), "crank-nicolson", Dirichlet.on(V), kept=[0.1],
        ... )
        >>> float(state(1.0).max().round(3)), float(np.exp(-0.1 * np.pi**2).round(3))
        (0.372, 0.373)
    """

    system: Callable[[Any], Evolution]
    times: ArrayLike
    scheme: str | Scheme = "implicit-euler"
    dirichlet: Condition | Callable[[Any], Condition] | None = None
    boundary: Callable[[Any], TimeFunction] | None = None
    kept: ArrayLike | None = None
    solver: str | Solver = "auto"
    checkpoints: Checkpoints | float | None = None
    axes: tuple[str, ...] = TIME_AXES[0]
    parts: Mapping[str, FunctionSpace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check_axes_and_times()
        _ = self.table  # which is refused where the scheme does not take the steps

    @cached_property
    def table(self) -> StepTable:
        """The steps that the scheme makes of the times."""
        return step_table(scheme_named(self.scheme), self.grid)

    def read(
        self,
        coefficient: Any,
        times: ArrayLike,
        dofs: np.ndarray | None = None,
        *,
        source: jax.Array | None = None,
    ) -> jax.Array:
        """Return degrees of freedom of the state at some times, (d, T) or (d, r, T); see `StateInTime.read`."""
        points = self.check_times(times, "the state is read")
        left, right = points.grid[points.steps - 1], points.grid[points.steps]
        part = (points.times - left) / (right - left)
        ends = self.table.step_ends[points.steps], self.table.step_ends[points.steps - 1]
        steps = np.unique(np.concatenate([ends[0][part > 0], ends[1][part < 1]]))
        u = self._marched(coefficient, steps, dofs, source)
        after, before = (np.clip(np.searchsorted(steps, end), 0, len(steps) - 1) for end in ends)
        between: jax.Array = part * u[..., after] + (1 - part) * u[..., before]
        return between

    def with_memory(self, limit: float) -> Self:
        """Return the same equation, which keeps states for its adjoint in at most so much memory.

        Args:
            limit: The memory, in bytes.
        """
        return replace(self, checkpoints=float(limit))

    def chosen_solver(self, coefficient: Any) -> Solver:
        """Return the solver of the steps: what "auto" stands for there, any other one itself."""

        def system(kappa: Any) -> tuple[CSRMatrix, jax.Array]:
            equation = self._reduced(kappa)
            factors = self.table.kinds[-1][0]
            A, *others = (factor * X for factor, X in zip(factors, equation.matrices, strict=True) if factor)
            for X in others:
                A = A + X
            return A, jnp.zeros((equation.free_count, len(self.table.ends)))

        return chosen_solver(system, coefficient, self.solver)

    def _marched(
        self, coefficient: Any, steps: np.ndarray, dofs: np.ndarray | None, source: jax.Array | None
    ) -> jax.Array:
        """Return the states (d, T) or (d, r, T) at the ends of some steps of the march."""
        equation, table = self._reduced(coefficient), self.table
        weights, vectors, loads = equation.loads
        if source is not None:
            of_source, sources = self._source_loads(equation, source)
            weights, vectors = jnp.concatenate([weights, of_source], axis=1), jnp.concatenate([vectors, sources])
        selected = selected_dofs(equation, dofs)
        found = linear_march(
            equation.matrices,
            table.kinds,
            table.kind_of,
            equation.start(self.solver),
            weights=weights,
            vectors=vectors,
            loads=loads if len(loads) else None,
            times=table.ends.tolist(),
            dofs=selected,
            steps=steps,
            solver=self.solver,
            checkpoints=self._checkpoints(equation),
        )
        times = np.concatenate([self.grid[:1], table.ends])[steps]
        u = all_dofs(equation, dofs, selected, jnp.moveaxis(found, 0, -1), equation.prescribed(times))
        return u if len(self.axes) == 3 else u[:, 0]

    def _checkpoints(self, equation: Reduced) -> Checkpoints | None:
        if self.checkpoints is None or isinstance(self.checkpoints, Checkpoints):
            return self.checkpoints
        lags = len(self.table.kinds[0]) - 1
        return Checkpoints.within(
            self.checkpoints, len(self.table.ends), 8 * lags * equation.free_count * equation.columns
        )

    def _source_loads(self, equation: Reduced, source: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return weights (steps, T) and vectors (T, free, r) of a source at the times that are kept."""
        shape = (equation.n, equation.columns, len(self.kept_times))
        if source.shape != (shape if len(self.axes) == 3 else (shape[0], shape[2])):
            raise SolveError(f"the source has shape {source.shape}; expected that of the state, {shape}")
        points = self.check_times(self.kept_times, "a source acts")
        acts = (self.table.load_steps[:, None] == points.steps) & (points.times > self.grid[0])
        weights = self.table.load_weights.sum(0)[:, None] * acts
        return jnp.asarray(weights), jnp.moveaxis(equation.restrict(source.reshape(shape)), -1, 0)

    def _reduced(self, coefficient: Any) -> Reduced:
        """Return the equation of the degrees of freedom that are free."""
        evolution = self.system(coefficient)
        if not isinstance(evolution, Evolution):
            raise SolveError(f"system must return an Evolution; it returns a {type(evolution).__name__}")
        scheme = scheme_named(self.scheme)
        if evolution.damping is not None and not scheme.is_second:
            raise SolveError(
                f"the scheme {scheme.name} is for equations of first order in time, and there is a damping matrix; "
                "expected 'newmark' or 'leapfrog'"
            )
        condition = self.dirichlet(coefficient) if callable(self.dirichlet) else self.dirichlet
        if condition is not None and not isinstance(condition, Dirichlet | MultiPoint):
            raise SolveError(
                f"the condition of a transient equation is a {type(condition).__name__}; expected a Dirichlet or a "
                "MultiPoint condition"
            )
        values = None if self.boundary is None else self.boundary(coefficient)
        return reduced(evolution, condition, values, self.table, self.grid, len(self.axes) == 3)


def selected_dofs(equation: Reduced, dofs: np.ndarray | None) -> np.ndarray | None:
    """Return the numbers among the free degrees of freedom of those that are read; None for all of them.

    Of tied degrees of freedom all are read.
    """
    if dofs is None or isinstance(equation.condition, MultiPoint):
        return None
    if equation.condition is None:
        return dofs
    number = np.full(equation.n, -1)
    number[equation.condition.free] = np.arange(equation.free_count)
    selected: np.ndarray = number[dofs][number[dofs] >= 0]
    return selected


def all_dofs(
    equation: Reduced,
    dofs: np.ndarray | None,
    selected: np.ndarray | None,
    found: jax.Array,
    prescribed: jax.Array | None,
) -> jax.Array:
    """Return the degrees of freedom that are asked for, (d, r, T), the prescribed ones among them.

    Args:
        equation: The equation.
        dofs: The degrees of freedom that are asked for; None for all.
        selected: What `selected_dofs` returns for them.
        found: The values of those, (…, r, T).
        prescribed: The prescribed values, (k, r, T); None for zero.
    """
    condition = equation.condition
    if condition is None:
        return found
    if dofs is None or selected is None:
        columns = None if prescribed is None else prescribed.reshape(len(prescribed), -1)
        u = replace(condition, values=columns).extend(found.reshape(len(found), -1))
        u = u.reshape(equation.n, *found.shape[1:])
        return u if dofs is None else u[dofs]
    known = np.isin(dofs, condition.dofs)
    u = jnp.zeros((len(known), *found.shape[1:])).at[np.flatnonzero(~known)].set(found)
    if prescribed is None or not known.any():
        return u
    order = np.argsort(condition.dofs)
    places = order[np.searchsorted(condition.dofs, np.asarray(dofs)[known], sorter=order)]
    return u.at[np.flatnonzero(known)].set(prescribed[places])
