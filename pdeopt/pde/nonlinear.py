"""Nonlinear state equations: Newton's method, and derivatives by the implicit function rule.

The state u(κ) solves F(u, κ) = s on the free degrees of freedom, and u = g(κ) on those with prescribed values. With the
tangent matrix A = ∂F/∂u at the solution, differentiating the equation along κ̇ gives

    A u̇ = ṡ − (∂F/∂κ) κ̇,    u̇ = ġ where u is prescribed,

a linear solve whose own rule gives the adjoint and all higher derivatives. Newton's iterations are not differentiated.

Conditions that tie degrees of freedom, u = Z y + g, are eliminated: Newton's method finds y. A mean value adds a
Lagrange multiplier to the state and to the equation while it is solved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem import Condition, Dirichlet, FunctionSpace, MeanValue, MultiPoint, bordered
from pdeopt.pde.newton import Elimination, Iterate, Newton, complaint, relative_residual
from pdeopt.pde.preconditioners import displacement_solver
from pdeopt.pde.state_equation import StateEquation
from pdeopt.sparse import (
    CSRMatrix,
    SolveError,
    Solver,
    chosen_solver,
    compiled_program,
    linear_solve,
    resolve_solver,
    solve_errors,
    work,
)
from pdeopt.sparse.errors import report

#: The state (n,), and the values (nnz,) of the tangent matrix there.
Solved = tuple[jax.Array, jax.Array]


class Inputs(NamedTuple):
    """The inputs of the state, with respect to all of which but start and path it is differentiated.

    Attributes:
        coefficient: The coefficient κ.
        experiment: A tuple with what is special to an experiment, or an empty one.
        source: The load s, (n,), or None.
        start: The first iterate, (n,).
        path: The coefficients of all load steps, of which each array has an axis of load steps first, or None.
    """

    coefficient: Any
    experiment: Any
    source: Any
    start: Any
    path: Any = None


@dataclass(frozen=True, eq=False)
class NonlinearStateEquation(StateEquation):
    """A nonlinear state equation: the map κ ↦ u with F(u, κ) = 0, which JAX differentiates.

    What ``system`` reads from outside is read at the first call with arguments of a kind.

    Attributes:
        system: The map (u, κ) ↦ (F, A) with the residual F (n,) and its tangent matrix A = ∂F/∂u, as `linearized` of
            a residual form or an energy returns them; with experiments (u, κ, experiment).
        dirichlet: The prescribed values, a `Dirichlet`, or another condition: degrees of freedom that are tied to each
            other, `MultiPoint`, or a mean value, `MeanValue`; or the map κ ↦ condition where it depends on the
            parameter; with experiments (κ, experiment).
        start: The first iterate, (n,); None for zero. The solution does not depend on it beyond the tolerance, unless
            the equation has several.
        load_steps: The number of steps in which what the start leaves unbalanced, and prescribed values that differ
            from those of the start, are applied, each one solved from the last; those of the continuation where there
            is one.
        continuation: The map (κ, t) ↦ κ_t to the coefficient that is solved for after the part t of the load steps,
            0 < t < 1, of the same structure as κ, as ``lambda kappa, t: {**kappa, "reynolds": t * kappa["reynolds"]}``.
            The last step is solved with κ itself, so that the answer does not depend on it. None applies loads and
            prescribed values in parts.
        experiments: A pytree whose arrays have an axis of length r first: what is special to each of r experiments,
            the third argument of ``system``. None for one experiment.
        tolerance: The residual at which the equation counts as solved: ``max_i |F_i| / (|A| |u| + |F − A u|)_i``, the
            least relative change of the equation that makes u exact where it is linear. It also does where that is
            below 1e-6 and no longer falls while the correction is below 1e-9 ‖u‖, or the correction is below 1e-15 ‖u‖:
            rounding allows no more.
        max_iterations: The largest number of Newton steps, for each load step.
        solver: The linear solver or its name, as in `pdeopt.sparse.linear_solve`.
        axes: The names of the axes of the state: ("dof",), or ("dof", "experiment") with experiments.
        parts: The spaces of the parts of the state, by name, as in `StateEquation`; empty where no space is stated.

    Raises:
        SolveError: When it is called: Newton's method does not converge, which an optimizer steps back from; a tangent
            matrix is singular; or the system does not fit.

    Example:
        −u″ + u³ = κ on (0, 1), with u = 0 at both ends:

        >>> import skfem
        >>> from pdeopt.fem import FunctionSpace, dot, grad, residual_form
        >>> V = FunctionSpace(skfem.MeshLine().refined(3), skfem.ElementLineP1())
        >>> F = residual_form(lambda u, v, w: dot(grad(u), grad(v)) + u**3 * v - w["kappa"] * v)
        >>> state = NonlinearStateEquation(lambda u, kappa: F.linearized(V, u, kappa=kappa), Dirichlet.on(V))
        >>> float(state(10.0).max().round(4))
        1.1322
        >>> float(jax.grad(lambda kappa: state(kappa).max())(10.0).round(4))
        0.0951
    """

    system: Callable[..., tuple[jax.Array, CSRMatrix]]
    dirichlet: Condition | Callable[..., Condition | None] | None = None
    start: ArrayLike | None = None
    load_steps: int = 1
    continuation: Callable[[Any, float], Any] | None = None
    experiments: Any = None
    tolerance: float = 1e-12
    max_iterations: int = 40
    solver: str | Solver = "auto"
    axes: tuple[str, ...] = ("dof",)
    parts: Mapping[str, FunctionSpace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings that would give another state than the solution.

        Raises:
            SolveError: Numbers of steps are no positive integers, a continuation has no steps, the tolerance is not
                positive, or the axes are not those of experiments.
        """
        for name, count in (("load_steps", self.load_steps), ("max_iterations", self.max_iterations)):
            if not isinstance(count, int) or count < 1:
                raise SolveError(f"{name} is {count!r}; expected a positive integer")
        if self.continuation is not None and self.load_steps == 1:
            raise SolveError("a continuation has one load step, which is the equation itself; expected load_steps > 1")
        if not self.tolerance > 0:
            raise SolveError(f"tolerance is {self.tolerance!r}; expected a positive number")
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(self.experiments)}
        if self.experiments is not None and (lengths == {()} or len(lengths) != 1):
            raise SolveError(f"arrays of experiments have first axes {sorted(lengths)}; expected one length r")
        expected = ("dof",) if self.experiments is None else ("dof", "experiment")
        if self.axes != expected:
            raise SolveError(f"the axes of the state are {self.axes}; expected {expected}")

    def __call__(
        self, coefficient: Any, *, source: jax.Array | None = None, start: ArrayLike | None = None
    ) -> jax.Array:
        """Return the state u, (n,) or (n, r), for a coefficient κ.

        Args:
            coefficient: The coefficient κ.
            source: A load s, of the state's shape, with F(u, κ) = s. Where u is prescribed it has no effect.
            start: The first iterate, of the state's shape, in place of the equation's own.

        Raises:
            SolveError: Newton's method does not converge, or a tangent matrix is singular.
        """
        first = self._start() if start is None else _real(start)
        shapes = (first.shape, None if source is None else source.shape)
        rows, columns = len(first) if first.ndim else 0, jax.tree.leaves(self.experiments)[:1]
        whole = (rows, *(len(column) for column in columns))
        if shapes[0] not in ((rows,), whole) or rows == 0 or shapes[1] not in (None, whole):
            raise SolveError(
                f"the start has shape {shapes[0]}, the source {shapes[1]}; expected {whole} of both, or one start for "
                f"all experiments, ({rows or 'n'},)"
            )
        unknowns = self._unknowns(coefficient, source, first)
        return unknowns if len(unknowns) == len(first) else unknowns[: len(first)]

    def _unknowns(self, coefficient: Any, source: jax.Array | None, first: jax.Array) -> jax.Array:
        """Return the state, and the multipliers of mean values after it, (n + k,) or (n + k, r)."""
        special = () if self.experiments is None else (self.experiments,)
        inputs = jax.tree.map(jnp.asarray, Inputs(coefficient, special, source, first))
        if self.continuation is not None:  # a part of a whole number is none
            floats = jax.tree.map(lambda leaf: leaf.astype(jnp.result_type(leaf, 0.0)), inputs.coefficient)
            inputs = inputs._replace(coefficient=floats)
        leaves, structure = jax.tree.flatten(inputs)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._states(inputs)
        with solve_errors():
            key = structure, tuple((leaf.shape, leaf.dtype.str) for leaf in leaves)
            program = self._programs.get(key) or compiled_program(self._states, inputs)
            if program is None:  # system reads what JAX traces
                return self._states(inputs)
            self._programs[key] = program
            states: jax.Array = jax.block_until_ready(program(inputs))
            return states

    @cached_property
    def _programs(self) -> dict[Any, Callable[[Inputs], jax.Array]]:
        """The programs of calls that JAX does not trace, by the kind of their arguments."""
        return {}

    def _states(self, inputs: Inputs) -> jax.Array:
        """Return the state of all experiments, (n,) or (n, r)."""
        equation, inputs = self._traced(inputs)
        solve = equation._with_rule(inputs)
        if self.experiments is None:
            return solve(inputs)[0]
        columns = Inputs(None, 0, None if inputs.source is None else 1, None if inputs.start.ndim == 1 else 1, None)
        states: jax.Array = jax.vmap(lambda inputs: solve(inputs)[0], in_axes=(columns,), out_axes=1)(inputs)
        return states

    def _with_rule(self, inputs: Inputs) -> Callable[[Inputs], Solved]:
        """Return the solve for inputs of this kind, with its derivative rule."""
        solve = jax.custom_jvp(self._solved)
        solve.defjvp(lambda primals, tangents: self._rule(solve, *primals, *tangents))
        return solve

    def _traced(self, inputs: Inputs) -> tuple[Self, Inputs]:
        """Return the equation with its functions traced once, and what they read from outside as a part of κ.

        `jax.custom_jvp` differentiates with respect to arguments only. Multipliers of mean values are a part of its
        state.
        """
        kind = jax.tree.map(lambda leaf: leaf[0], inputs.experiment)
        found: list[tuple[Elimination | None, list[MeanValue]]] = []

        def values(kappa: Any, experiment: Any) -> Any:
            found.append(self._condition(Inputs(kappa, experiment, None, None)))
            return None if found[-1][0] is None else found[-1][0].values

        prescribed, others = _as_program(values, inputs.coefficient, kind)
        condition, means = found[-1]
        condition = None if condition is None else replace(condition, values=None)
        start = _padded(inputs.start, len(means))
        linearized, outside = _as_program(
            lambda u, kappa, experiment: self._linearized(u, Inputs(kappa, experiment, None, u)),
            jax.ShapeDtypeStruct(start.shape[:1], start.dtype),
            inputs.coefficient,
            kind,
        )

        def dirichlet(known: Any, *experiment: Any) -> Elimination | None:
            if condition is None:
                return None
            return replace(condition, values=prescribed(known[2], known[0], experiment))

        equation = replace(
            self,
            system=lambda u, known, *experiment: linearized(known[1], u, known[0], experiment),
            dirichlet=dirichlet,
        )
        return equation, Inputs(
            (inputs.coefficient, outside, others),
            inputs.experiment,
            None if inputs.source is None else _padded(inputs.source, len(means)),
            start,
            self._path(inputs.coefficient),
        )

    def _path(self, coefficient: Any) -> Any:
        """Return the coefficients of all load steps, along an axis that is the first one, or None."""
        if self.continuation is None:
            return None
        reached = [self.continuation(coefficient, k / self.load_steps) for k in range(1, self.load_steps)]
        structure, shapes = jax.tree.structure(coefficient), [jnp.shape(leaf) for leaf in jax.tree.leaves(coefficient)]
        for other in reached:
            given = [jnp.shape(leaf) for leaf in jax.tree.leaves(other)]
            if str(jax.tree.structure(other)) != str(structure) or given != shapes:
                raise SolveError(
                    f"continuation returns arrays of shapes {given} in {jax.tree.structure(other)}; expected a "
                    f"coefficient as that of the equation, {shapes} in {structure}"
                )
        return jax.lax.stop_gradient(jax.tree.map(lambda *leaves: jnp.stack(leaves), *reached, coefficient))

    def with_solver(self, solver: str | Solver) -> Self:
        """Return the same equation, whose linear systems another solver solves.

        Raises:
            SolveError: The solver is unknown or not installed.
        """
        resolve_solver(solver)
        return replace(self, solver=solver)

    def chosen_solver(self, coefficient: Any) -> Solver:
        """Return the solver of the linear systems: what "auto" stands for at the start, any other one itself."""

        def first_system(kappa: Any) -> tuple[CSRMatrix, jax.Array]:
            inputs = self._first_inputs(kappa)
            condition, means = self._condition(inputs)
            residual, tangent = self._linearized(_padded(inputs.start, len(means)), inputs)
            if condition is None:
                return tangent, -residual
            return replace(condition, values=None).condense(tangent, -residual)

        condition = self._condition(self._first_inputs(coefficient))[0]
        return chosen_solver(first_system, coefficient, displacement_solver(self.solver, self.parts, condition))

    def accuracy(self, coefficient: Any) -> float:
        """Return the relative accuracy of the state: the tolerance, or that of the solver where it is worse."""
        return max(self.tolerance, super().accuracy(coefficient))

    def backward_error(self, coefficient: Any) -> float:
        """Return ``max_i |F_i| / (|A| |u| + |F − A u|)_i`` at the solution, the largest of experiments.

        Raises:
            SolveError: Newton's method does not converge.
        """
        unknowns = self._unknowns(coefficient, None, self._start())
        states = unknowns[None] if self.experiments is None else unknowns.T
        errors = []
        for k, u in enumerate(states):
            inputs = self._first_inputs(coefficient, k)
            residual, tangent = self._linearized(u, inputs)
            errors.append(relative_residual(residual, tangent, u, self._condition(inputs)[0]).max(initial=0.0))
        return float(max(errors))

    def _first_inputs(self, coefficient: Any, experiment: int = 0) -> Inputs:
        """Return what one of the experiments starts from."""
        start = self._start()
        if self.experiments is None:
            return Inputs(coefficient, (), None, start)
        special = jax.tree.map(lambda leaf: leaf[experiment], self.experiments)
        return Inputs(coefficient, (special,), None, start if start.ndim == 1 else start[:, experiment])

    def _start(self) -> jax.Array:
        if self.start is not None:
            return _real(self.start)
        if isinstance(self.dirichlet, Dirichlet | MultiPoint | MeanValue):
            return jnp.zeros(self.dirichlet.n)
        if self.parts:
            return jnp.zeros(sum({id(space.whole): space.whole.n for space in self.parts.values()}.values()))
        raise SolveError(
            "the number of degrees of freedom of the state is not known; state parts={name: space}, or "
            "start=np.zeros(n)"
        )

    def _condition(self, inputs: Inputs) -> tuple[Elimination | None, list[MeanValue]]:
        """Return the condition that is eliminated, of states with a multiplier for each mean value, and these."""
        given = self.dirichlet
        found = given(inputs.coefficient, *inputs.experiment) if callable(given) else given
        means = []
        while isinstance(found, MeanValue):
            means.append(found)
            found = found.condition
        if found is None:
            return None, means
        if not isinstance(found, Dirichlet | MultiPoint):
            raise SolveError(
                f"the condition of a nonlinear state equation is a {type(found).__name__}; expected a Dirichlet "
                "condition, a MultiPoint or MeanValue one, or None"
            )
        if len(found.free) == 0:
            raise SolveError(
                f"the Dirichlet condition prescribes all {found.n} degrees of freedom, so that there is nothing to "
                "solve for: refine the mesh until it has vertices inside, or prescribe fewer boundaries, by name"
            )
        return found.enlarged(len(means)) if means else found, means

    def _linearized(self, u: jax.Array, inputs: Inputs) -> tuple[jax.Array, CSRMatrix]:
        """Return the residual F(u, κ) − s, (n,), and the tangent matrix.

        With mean values, u has a multiplier λ for each after the state, and the residual is (F + Σ λ w, wᵀ u − c) with
        the integrals w of the basis functions and the integral c that is wanted.
        """
        means = self._condition(inputs)[1]
        u, multipliers = (u[: len(u) - len(means)], u[len(u) - len(means) :]) if means else (u, ())
        found = self.system(u, inputs.coefficient, *inputs.experiment)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], CSRMatrix)):
            parts = found if isinstance(found, tuple) else (found,)
            returned = ", ".join("array" if isinstance(part, jax.Array) else type(part).__name__ for part in parts)
            raise SolveError(
                "system must return (residual, tangent matrix), as form.linearized(space, u, …) does; it returns "
                f"({returned})"
            )
        residual, tangent = found
        if jnp.shape(residual) != u.shape or tangent.shape != (len(u), len(u)):
            raise SolveError(
                f"system returns a residual of shape {jnp.shape(residual)} and a tangent matrix of shape "
                f"{tangent.shape} for a state of {len(u)} degrees of freedom"
            )
        if jnp.iscomplexobj(residual) or jnp.iscomplexobj(tangent.data):
            raise SolveError("the residual or the tangent matrix is complex; nonlinear states are real")
        residual = residual if inputs.source is None else residual - inputs.source
        for mean, multiplier in zip(means, multipliers, strict=True):
            weights = _padded(mean.weights, len(residual) - len(mean.weights))
            tangent = bordered(tangent, weights)
            lacking = mean.weights @ u - mean.integral
            residual = jnp.append(residual + multiplier * weights, lacking)
        return residual, tangent

    def _correction(self, tangent: CSRMatrix, residual: jax.Array, lacking: Elimination | None) -> jax.Array:
        """Return d (n,) with A d = −F for the unknowns, and what is lacking on the others."""
        solver = displacement_solver(self.solver, self.parts, lacking)
        if lacking is None:
            return linear_solve(tangent, -residual, solver)
        return lacking.extend(linear_solve(*lacking.condense(tangent, -residual), solver))

    def _rule(self, solve: Callable[[Inputs], Solved], inputs: Inputs, moved: Inputs) -> tuple[Solved, Solved]:
        """Return the state and its derivative along a direction of the inputs, by the implicit function rule.

        The tangent matrix that Newton's method ended with has the values of the one that is differentiated, to the
        last bit: its factorization is found again.
        """
        u, known = solve(inputs)

        def defect(inputs: Inputs) -> tuple[tuple[jax.Array, jax.Array | None], CSRMatrix]:
            condition = self._condition(inputs)[0]
            residual, tangent = self._linearized(u, inputs)
            return (residual, None if condition is None else condition.values), tangent

        _, (slope, values), tangent = jax.jvp(defect, (inputs,), (moved,), has_aux=True)
        condition = self._condition(inputs)[0]
        lacking = None if condition is None else replace(condition, values=values)
        tangent = CSRMatrix(known + (tangent.data - jax.lax.stop_gradient(tangent.data)), tangent.pattern)
        return (u, known), (self._correction(tangent, slope, lacking), jnp.zeros_like(known))

    def _solved(self, inputs: Inputs) -> Solved:
        """Return the state (n,) of one experiment, and the values of the tangent matrix there."""
        tangent = jax.eval_shape(self._linearized, inputs.start, inputs)[1]
        unbalanced = jnp.zeros_like(inputs.start)
        if self.load_steps > 1 and self.continuation is None:
            unbalanced = self._linearized(inputs.start, inputs)[0]

        def load_step(reached: Solved, step: tuple[jax.Array, Any]) -> tuple[Solved, None]:
            part, on_path = step
            at = inputs if on_path is None else inputs._replace(coefficient=(on_path, *inputs.coefficient[1:]))
            condition = self._condition(at)[0]
            if condition is not None and self.continuation is None:
                given = jnp.zeros(len(condition.dofs)) if condition.values is None else condition.values
                held = (1 - part) * condition.lacking(inputs.start)
                condition = replace(condition, values=jnp.where(part < 1, given - held, given))

            def linearized(u: jax.Array) -> tuple[jax.Array, CSRMatrix]:
                residual, tangent = self._linearized(u, at)
                return residual - (1 - part) * unbalanced, tangent

            newton = Newton(linearized, self._correction, condition, self.tolerance, self.max_iterations)
            last = newton.solve(*reached)
            u = self._reported(last, condition, part, self._marker(at))
            return (u if condition is None else condition.extend(u[condition.free]), last.tangent), None

        parts = jnp.arange(1, self.load_steps + 1) / self.load_steps
        return jax.lax.scan(load_step, (inputs.start, jnp.zeros(tangent.data.shape)), (parts, inputs.path))[0]

    def _marker(self, inputs: Inputs) -> jax.Array:
        """Return a number that tells which of several equations this is, for messages."""
        return jnp.zeros(())

    def _where(self, part: float, marker: float) -> str:
        """Return where Newton's method is, in words that follow others: the load step of several."""
        step = round(part * self.load_steps)
        return f" in load step {step} of {self.load_steps}" if self.load_steps > 1 else ""

    def _reported(self, last: Iterate, condition: Elimination | None, part: jax.Array, marker: jax.Array) -> jax.Array:
        """Return the state of the last iterate; on the host, raise a SolveError where it is no solution."""
        locations = None
        if condition is not None:
            locations = condition.locations
        elif len(self.parts) == 1:
            locations = next(iter(self.parts.values())).whole.locations
        free = np.arange(len(last.u)) if condition is None else condition.free
        residual = last.residual if condition is None else condition.reduce(last.residual)

        def check(u: Any, residual: Any, tangent: Any, steps: Any, converged: Any, log: Any, *at: Any) -> np.ndarray:
            work.newton_iterations += int(steps)
            where = self._where(*map(float, at))
            if not converged:
                is_finite = bool(np.isfinite(tangent).all())
                raise report(SolveError(complaint(np.asarray(residual), is_finite, free, locations, steps, log, where)))
            return np.asarray(u)

        kind = jax.ShapeDtypeStruct(last.u.shape, last.u.dtype)
        u: jax.Array = jax.pure_callback(
            check,
            kind,
            last.u,
            residual,
            last.tangent,
            last.steps,
            last.converged,
            last.log,
            part,
            marker,
            vmap_method="sequential",
        )
        return u


def _as_program(function: Callable[..., Any], *arguments: Any) -> tuple[Callable[..., Any], list[jax.Array]]:
    """Return a function, traced once, of what it reads from outside that JAX traces and of its arguments.

    The second result is what it reads.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    structure = jax.tree.structure(shapes)
    is_traced = [isinstance(constant, jax.core.Tracer) for constant in closed.consts]

    def evaluated(outside: list[jax.Array], *arguments: Any) -> Any:
        given = iter(outside)
        constants = [next(given) if traced else c for c, traced in zip(closed.consts, is_traced, strict=True)]
        return jax.tree.unflatten(structure, jax.core.eval_jaxpr(closed.jaxpr, constants, *jax.tree.leaves(arguments)))

    return evaluated, [c for c, traced in zip(closed.consts, is_traced, strict=True) if traced]


def _padded(values: jax.Array, count: int) -> jax.Array:
    """Return values (n,) or (n, r) with a number of zeros, or rows of zeros, at their end."""
    return jnp.concatenate([values, jnp.zeros((count, *values.shape[1:]))]) if count else values


def _real(start: ArrayLike) -> jax.Array:
    if np.iscomplexobj(start):
        raise SolveError("the start is complex; nonlinear states are real")
    return jnp.asarray(start, float)
