"""Transient nonlinear state equations: a loop of JAX over steps, each solved by Newton's method.

Each step is differentiated by the implicit function rule of `NonlinearStateEquation`, and the loop by JAX. Where memory
is short, the loop is nested: of each part of the steps only the first state is kept, and the others are computed again,
part by part, when the adjoint comes there (`jax.checkpoint`).
"""

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
from pdeopt.pde.nonlinear import Inputs, NonlinearStateEquation, Solved
from pdeopt.pde.transient.operation import Operation
from pdeopt.pde.transient.schemes import Scheme, StepTable, scheme_named, step_table
from pdeopt.pde.transient.state_in_time import TIME_AXES, StateInTime
from pdeopt.sparse import CSRMatrix, SolveError, Solver, solve_errors, work
from pdeopt.sparse.solvers.counters import march


@dataclass(frozen=True, eq=False)
class StepEquation(NonlinearStateEquation):
    """The nonlinear equation of one step in time.

    Attributes:
        ends: The time at the end of each step, for messages.
    """

    ends: tuple[float, ...] = ()

    def _with_rule(self, inputs: Inputs) -> Callable[[Inputs], Solved]:
        """Return the solve with its derivative rule, which a loop that is differentiated twice does not lose."""
        return Operation.of(self._solved, self._rule, inputs)

    def _marker(self, inputs: Inputs) -> jax.Array:
        """Return the number of the step."""
        step: jax.Array = inputs.coefficient[0]["step"]
        return step

    def _where(self, part: float, marker: float) -> str:
        """Return which step in time Newton's method is in, and count it."""
        work.time_steps += 1
        step = int(marker)
        march.reach(step, len(self.ends))
        return f" in time step {step} of {len(self.ends)} (t = {self.ends[step - 1]:.6g})"


@dataclass(frozen=True, eq=False)
class NonlinearTransientStateEquation(StateInTime):
    """A nonlinear equation in time, M ∂u/∂t + F(u, κ, t) = 0: the map from κ to the states at given times.

    Attributes:
        system: The map (u, κ, t) ↦ (F, A) with the residual F (n,) and its tangent matrix A = ∂F/∂u, as `linearized` of
            a residual form or an energy returns them.
        mass: The map κ ↦ M, a `CSRMatrix`.
        times: The times (K + 1,), increasing, from the initial to the last one, in the problem's unit.
        initial: The map from κ to the state (n,) at the first time.
        scheme: The scheme in time or its name: "implicit-euler", "crank-nicolson", "bdf2" or "sdirk2".
        dirichlet: The prescribed values, a `Dirichlet`, or degrees of freedom that are tied to each other, a
            `MultiPoint`; or the map (κ, t) ↦ condition.
        kept: The times at which a call returns the state; None for all.
        tolerance: The residual at which a step counts as solved, as of a `NonlinearStateEquation`.
        max_iterations: The largest number of Newton steps for each step in time.
        solver: The linear solver or its name, as in `pdeopt.sparse.linear_solve`.
        snapshots: The number of states that are kept for the adjoint at a time; None for all.
        axes: The names of the axes of the state, ("dof", "time").
        parts: The spaces of the parts of the state, by name, as in `StateEquation`.

    Raises:
        SolveError: The times do not increase, or the scheme is not known or is not for such equations. When it is
            called: Newton's method does not converge, and the message says in which step.

    Example:
        ∂u/∂t = −κ u³ for one number u with u(0) = 1, so that u(t) = (1 + 2 κ t)^−½:

        >>> import scipy.sparse as sp
        >>> one = CSRMatrix.from_scipy(sp.csr_array([[1.0]]))
        >>> state = NonlinearTransientStateEquation(
        ...     lambda u, kappa, t: (kappa * u**3, CSRMatrix(3 * kappa * u**2, one.pattern)),
        ...     lambda kappa: one, np.linspace(0, 1, 51), lambda kappa: np.ones(1), "sdirk2", kept=[1.0],
        ... )
        >>> float(state(1.5).round(4)[0, 0])
        0.5
    """

    system: Callable[[jax.Array, Any, jax.Array], tuple[jax.Array, CSRMatrix]]
    mass: Callable[[Any], CSRMatrix]
    times: ArrayLike
    initial: Callable[[Any], ArrayLike]
    scheme: str | Scheme = "implicit-euler"
    dirichlet: Condition | Callable[[Any, jax.Array], Condition] | None = None
    kept: ArrayLike | None = None
    tolerance: float = 1e-12
    max_iterations: int = 40
    solver: str | Solver = "auto"
    snapshots: int | float | None = None
    axes: tuple[str, ...] = TIME_AXES[0]
    parts: Mapping[str, FunctionSpace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check_axes_and_times()
        scheme = scheme_named(self.scheme)
        if scheme.is_second or self.axes != TIME_AXES[0]:
            raise SolveError(
                f"the scheme is {scheme.name} and the axes are {self.axes}; expected a scheme of first order in time, "
                f"and {TIME_AXES[0]}: a nonlinear equation in time has one experiment"
            )
        if self.table.kinds[0][0][1] == 0:
            raise SolveError("an explicit scheme needs no Newton's method; expected 'implicit-euler', or another one")
        if self.snapshots is not None and not self.snapshots >= 1:
            raise SolveError(
                f"{self.snapshots!r} states are kept for the adjoint; expected at least 1, or None for all"
            )

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
        """Return degrees of freedom of the state at some times, (d, T); see `StateInTime.read`.

        They are taken of every step; all degrees of freedom are then all states.
        """
        points = self.check_times(times, "the state is read")
        part = (points.times - points.grid[points.steps - 1]) / np.diff(points.grid)[points.steps - 1]
        with solve_errors():
            u = self._marched(coefficient, slice(None) if dofs is None else dofs, source)
            u = u if isinstance(u, jax.core.Tracer) else jax.block_until_ready(u)
        after, before = (u[..., self.table.step_ends[points.steps - back]] for back in (0, 1))
        between: jax.Array = part * after + (1 - part) * before
        return between

    def with_memory(self, limit: float) -> Self:
        """Return the same equation, which keeps states for its adjoint in at most so much memory, about.

        Args:
            limit: The memory, in bytes.
        """
        spaces = {id(space.whole): space.whole.n for space in self.parts.values()}
        if not spaces:
            raise SolveError("the size of the state is not known; expected parts={name: space} of the equation")
        return replace(self, snapshots=max(1, int(limit // (8 * sum(spaces.values())))))

    def chosen_solver(self, coefficient: Any) -> Solver:
        """Return the solver of the linear systems: what "auto" stands for first, any other one itself."""
        start = self._start(coefficient)
        step = self._step_equation(start)
        return step.chosen_solver(self._inputs_of_step(coefficient, [start] * self._lags, self._numbers, 0))

    def accuracy(self, coefficient: Any) -> float:
        """Return the relative accuracy of the state: the tolerance, or that of the solver where it is worse."""
        return max(self.tolerance, super().accuracy(coefficient))

    @property
    def _lags(self) -> int:
        return len(self.table.kinds[0]) - 1

    @cached_property
    def _numbers(self) -> dict[str, np.ndarray]:
        """The numbers of all steps of the march: a[lag][M, F], times of the states of all lags, load factors."""
        table = self.table
        levels = np.concatenate([self.grid[:1] - (self._lags == 2), self.grid[:1], table.ends])
        count = len(table.ends)
        return {
            "factors": np.array([table.kinds[kind] for kind in table.kind_of]),
            "times": np.stack([levels[2 - lag : 2 - lag + count] for lag in range(self._lags + 1)], axis=1),
            "step": np.arange(1, count + 1),
            "load": table.load_weights.sum(0),
        }

    def _condition(self, coefficient: Any, time: jax.Array) -> Condition | None:
        return self.dirichlet(coefficient, time) if callable(self.dirichlet) else self.dirichlet

    def _start(self, coefficient: Any) -> jax.Array:
        """Return the state at the first time, (n,), with its prescribed values."""
        u = jnp.asarray(self.initial(coefficient), float)
        condition = self._condition(coefficient, jnp.asarray(self.grid[0]))
        if isinstance(condition, Dirichlet | MultiPoint):
            return condition.extend(u[condition.free])
        return u

    def _step_equation(self, start: jax.Array) -> StepEquation:
        def system(u: jax.Array, at: Any) -> tuple[jax.Array, CSRMatrix]:
            residual, tangent = self.system(u, at["kappa"], at["time"])
            of_mass, of_residual = at["factors"][0], at["factors"][1]
            total = of_mass * (at["mass"] @ u) + of_residual * residual + at["history"]
            return total, of_mass * at["mass"] + of_residual * tangent

        condition: Any = self.dirichlet
        if callable(self.dirichlet):
            given = self.dirichlet
            condition = lambda at: given(at["kappa"], at["time"])  # noqa: E731  # a function of the step's inputs
        return StepEquation(
            system,
            condition,
            start=np.zeros(start.shape),
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            solver=self.solver,
            parts=self.parts,
            ends=tuple(self.table.ends.tolist()),
        )

    def _inputs_of_step(
        self, coefficient: Any, before: Any, numbers: Mapping[str, Any], k: int | None = None
    ) -> dict[str, Any]:
        """Return what the equation of a step depends on.

        Args:
            coefficient: The coefficient κ.
            before: The states before the step, the last one first.
            numbers: The numbers of the step, or of all steps.
            k: The place of the step among all; None where the numbers are its own.
        """
        factors, times, step = (
            numbers[name] if k is None else numbers[name][k] for name in ("factors", "times", "step")
        )
        M = self.mass(coefficient)
        history = jnp.zeros(before[0].shape)
        for lag, u in enumerate(before, start=1):
            history = history + factors[lag, 0] * (M @ u)
            if self._numbers["factors"][:, lag, 1].any():
                history = history + factors[lag, 1] * self.system(u, coefficient, times[lag])[0]
        return {
            "kappa": coefficient,
            "mass": M,
            "history": history,
            "factors": jnp.asarray(factors[0]),
            "time": jnp.asarray(times[0]),
            "step": jnp.asarray(step, float),
        }

    def _marched(self, coefficient: Any, dofs: Any, source: jax.Array | None) -> jax.Array:
        """Return degrees of freedom of the states at the start and after all steps, (d, steps + 1)."""
        start = self._start(coefficient)
        equation = self._step_equation(start)
        numbers = {name: jnp.asarray(values) for name, values in self._numbers.items()}
        if source is not None:
            points = self.check_times(self.kept_times, "a source acts")
            acts = (points.times > self.grid[0])[:, None]
            in_steps = jnp.zeros((len(self.grid) - 1, len(start))).at[points.steps - 1].add(acts * source.T)
            numbers["source"] = in_steps[self.table.load_steps - 1]

        def step(before: tuple[jax.Array, ...], numbers: dict[str, Any]) -> tuple[tuple[jax.Array, ...], jax.Array]:
            at = self._inputs_of_step(coefficient, before, numbers)
            load = None if source is None else numbers["load"] * numbers["source"]
            u = equation(at, source=load, start=before[0])
            return (u, *before[:-1]), u[dofs]

        first = (start, *(jnp.zeros_like(start) for _ in range(self._lags - 1)))
        snapshots = None if self.snapshots is None else max(2, int(self.snapshots) // self._lags)
        _, found = nested_scan(step, first, numbers, len(self.table.ends), snapshots)
        return jnp.concatenate([start[dofs][:, None], found.T], axis=1)


def nested_scan(
    step: Callable[[Any, Any], tuple[Any, Any]], start: Any, inputs: Any, count: int, snapshots: int | None
) -> tuple[Any, Any]:
    """Return what `jax.lax.scan` returns, with at most so many states kept at a time for the adjoint.

    With d levels of nesting, b states at each, ``b^d`` steps are run d times, and d b states are kept.

    Args:
        step: The function (state, inputs of the step) ↦ (next state, output).
        start: The state before the first step.
        inputs: The inputs of all steps, along the first axes.
        count: The number of steps.
        snapshots: The number of states; None keeps all.
    """
    if snapshots is None or count <= max(snapshots, 2):
        return jax.lax.scan(step, start, inputs)
    depth = next((d for d in range(2, 60) if d * int(np.ceil(count ** (1 / d))) <= snapshots), 60)
    size = max(2, int(np.ceil(count ** (1 / depth))))
    inner = -(-count // size)
    whole = count // inner
    below = max(2, snapshots - size)

    @jax.checkpoint
    def part(state: Any, own: Any) -> tuple[Any, Any]:
        return nested_scan(step, state, own, inner, below)

    first = jax.tree.map(lambda leaf: leaf[: whole * inner].reshape(whole, inner, *leaf.shape[1:]), inputs)
    state, outputs = jax.lax.scan(part, start, first)
    outputs = jax.tree.map(lambda leaf: leaf.reshape(whole * inner, *leaf.shape[2:]), outputs)
    if whole * inner == count:
        return state, outputs
    state, rest = nested_scan(
        step, state, jax.tree.map(lambda leaf: leaf[whole * inner :], inputs), count % inner, below
    )
    return state, jax.tree.map(lambda *both: jnp.concatenate(both), outputs, rest)
