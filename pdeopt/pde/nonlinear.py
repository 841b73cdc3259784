"""Nonlinear state equations: Newton's method, and derivatives by the implicit function rule.

The state u(κ) solves F(u, κ) = s on the free degrees of freedom, and u = g(κ) on those with prescribed values. With the
tangent matrix A = ∂F/∂u at the solution, differentiating the equation along κ̇ gives

    A u̇ = ṡ − (∂F/∂κ) κ̇,    u̇ = ġ where u is prescribed,

a linear solve whose own rule gives the adjoint and all higher derivatives. Newton's iterations are not differentiated.

Newton's method is damped by the natural monotonicity test (Deuflhard: Newton Methods for Nonlinear Problems, 2011,
section 3.3): a step of length t is taken where the correction A(u)⁻¹ F(u + t d) that is left after it is shorter than
the step, which no scaling of the equations changes. Near the solution that correction is added, too: it costs a solve
with factors that are there, and the next iterate has error O(e³) (two-step Newton, Traub 1964).
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

from pdeopt.fem import Dirichlet, FunctionSpace
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

#: A step of length t must shorten the correction at least by the factor 1 − t/4 (Deuflhard 2011, section 3.3).
DAMPING = 0.25
#: The factor by which the correction must have been shortened for what is left of it to be added as well.
CHORD_FACTOR = 0.25
#: The length of a step below which Newton's method gives up.
LEAST_STEP = 1e-6
#: A correction that is shorter, relative to the state, changes nothing any more.
NEGLIGIBLE_CORRECTION = 1e-15
#: A correction that is shorter, relative to the state, may end the iteration where rounding keeps the residual from
#: falling further.
ROUNDING_CORRECTION = 1e-9
#: The largest residual, relative to its parts, that rounding may leave.
ROUNDING_RESIDUAL = 1e-6


#: The state (n,), and the values (nnz,) of the tangent matrix there.
Solved = tuple[jax.Array, jax.Array]


class Inputs(NamedTuple):
    """The inputs of the state, with respect to all of which but the start it is differentiated.

    Attributes:
        coefficient: The coefficient κ.
        experiment: A tuple with what is special to an experiment, or an empty one.
        source: The load s, (n,), or None.
        start: The first iterate, (n,).
    """

    coefficient: Any
    experiment: Any
    source: Any
    start: Any


class Iterate(NamedTuple):
    """An iterate of Newton's method.

    Attributes:
        u: The state, (n,).
        residual: The residual F(u) − s, (n,).
        tangent: The values (nnz,) of the tangent matrix.
        steps: The number of corrections so far.
        added: What was added to the last step because little was left, (n,).
        length: The length of the last step, 1 for a full one.
        converged: Whether the iterate is the solution.
        stuck: Whether no step of any length was an improvement.
        log: The relative residual at each iterate, and the length of the step from there, (iterations, 2).
    """

    u: jax.Array
    residual: jax.Array
    tangent: jax.Array
    added: jax.Array
    steps: jax.Array | int
    length: jax.Array
    converged: jax.Array
    stuck: jax.Array
    log: jax.Array


@dataclass(frozen=True, eq=False)
class NonlinearStateEquation(StateEquation):
    """A nonlinear state equation: the map κ ↦ u with F(u, κ) = 0, which JAX differentiates.

    What ``system`` reads from outside is read at the first call with arguments of a kind.

    Attributes:
        system: The map (u, κ) ↦ (F, A) with the residual F (n,) and its tangent matrix A = ∂F/∂u, as `linearized` of
            a residual form or an energy returns them; with experiments (u, κ, experiment).
        dirichlet: The prescribed values, or the map κ ↦ prescribed values where they depend on the parameter; with
            experiments (κ, experiment).
        start: The first iterate, (n,); None for zero. The solution does not depend on it beyond the tolerance, unless
            the equation has several.
        load_steps: The number of steps in which what the start leaves unbalanced, and prescribed values that differ
            from those of the start, are applied, each one solved from the last.
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
    dirichlet: Dirichlet | Callable[..., Dirichlet | None] | None = None
    start: ArrayLike | None = None
    load_steps: int = 1
    experiments: Any = None
    tolerance: float = 1e-12
    max_iterations: int = 40
    solver: str | Solver = "auto"
    axes: tuple[str, ...] = ("dof",)
    parts: Mapping[str, FunctionSpace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings that would give another state than the solution.

        Raises:
            SolveError: Numbers of steps are no positive integers, the tolerance is not positive, or the axes are not
                those of experiments.
        """
        for name, count in (("load_steps", self.load_steps), ("max_iterations", self.max_iterations)):
            if not isinstance(count, int) or count < 1:
                raise SolveError(f"{name} is {count!r}; expected a positive integer")
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
        special = () if self.experiments is None else (self.experiments,)
        inputs = jax.tree.map(jnp.asarray, Inputs(coefficient, special, source, first))
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
        solve = jax.custom_jvp(equation._solved)
        solve.defjvp(lambda primals, tangents: equation._rule(solve, *primals, *tangents))
        if self.experiments is None:
            return solve(inputs)[0]
        columns = Inputs(None, 0, None if inputs.source is None else 1, None if inputs.start.ndim == 1 else 1)
        states: jax.Array = jax.vmap(lambda inputs: solve(inputs)[0], in_axes=(columns,), out_axes=1)(inputs)
        return states

    def _traced(self, inputs: Inputs) -> tuple[Self, Inputs]:
        """Return the equation with its functions traced once, and what they read from outside as a part of κ.

        `jax.custom_jvp` differentiates with respect to arguments only.
        """
        kind = jax.tree.map(lambda leaf: leaf[0], inputs.experiment)
        n = len(inputs.start)
        linearized, outside = _as_program(
            lambda u, kappa, experiment: self._linearized(u, Inputs(kappa, experiment, None, u)),
            jax.ShapeDtypeStruct((n,), inputs.start.dtype),
            inputs.coefficient,
            kind,
        )
        found: list[Dirichlet | None] = []

        def values(kappa: Any, experiment: Any) -> Any:
            found.append(self._condition(Inputs(kappa, experiment, None, None)))
            return None if found[-1] is None else found[-1].values

        prescribed, others = _as_program(values, inputs.coefficient, kind)
        condition = None if found[-1] is None else replace(found[-1], values=None)

        def dirichlet(known: Any, *experiment: Any) -> Dirichlet | None:
            if condition is None:
                return None
            return replace(condition, values=prescribed(known[2], known[0], experiment))

        equation = replace(
            self,
            system=lambda u, known, *experiment: linearized(known[1], u, known[0], experiment),
            dirichlet=dirichlet,
        )
        return equation, inputs._replace(coefficient=(inputs.coefficient, outside, others))

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
            residual, tangent = self._linearized(inputs.start, inputs)
            condition = self._condition(inputs)
            return (
                (tangent, -residual)
                if condition is None
                else replace(condition, values=None).condense(tangent, -residual)
            )

        return chosen_solver(first_system, coefficient, self.solver)

    def accuracy(self, coefficient: Any) -> float:
        """Return the relative accuracy of the state: the tolerance, or that of the solver where it is worse."""
        return max(self.tolerance, super().accuracy(coefficient))

    def backward_error(self, coefficient: Any) -> float:
        """Return ``max_i |F_i| / (|A| |u| + |F − A u|)_i`` at the solution, the largest of experiments.

        Raises:
            SolveError: Newton's method does not converge.
        """
        states = self(coefficient)[None] if self.experiments is None else self(coefficient).T
        errors = []
        for k, u in enumerate(states):
            inputs = self._first_inputs(coefficient, k)
            residual, tangent = self._linearized(u, inputs)
            errors.append(_relative(residual, tangent, u, self._condition(inputs)).max(initial=0.0))
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
        if isinstance(self.dirichlet, Dirichlet):
            return jnp.zeros(self.dirichlet.n)
        if self.parts:
            return jnp.zeros(sum({id(space.whole): space.whole.n for space in self.parts.values()}.values()))
        raise SolveError(
            "the number of degrees of freedom of the state is not known; state parts={name: space}, or "
            "start=np.zeros(n)"
        )

    def _condition(self, inputs: Inputs) -> Dirichlet | None:
        given = self.dirichlet
        found = given(inputs.coefficient, *inputs.experiment) if callable(given) else given
        if not isinstance(found, Dirichlet | None):
            raise SolveError(
                f"the condition of a nonlinear state equation is a {type(found).__name__}; expected a Dirichlet "
                "condition, or None: ties between degrees of freedom and means are those of linear equations"
            )
        if found is not None and len(found.free) == 0:
            raise SolveError(
                f"the Dirichlet condition prescribes all {found.n} degrees of freedom, so that there is nothing to "
                "solve for: refine the mesh until it has vertices inside, or prescribe fewer boundaries, by name"
            )
        return found

    def _linearized(self, u: jax.Array, inputs: Inputs) -> tuple[jax.Array, CSRMatrix]:
        """Return the residual F(u, κ) − s, (n,), and the tangent matrix."""
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
        return residual if inputs.source is None else residual - inputs.source, tangent

    def _correction(self, tangent: CSRMatrix, residual: jax.Array, lacking: Dirichlet | None) -> jax.Array:
        """Return d (n,) with A d = −F on the free degrees of freedom, and what is lacking on the others."""
        if lacking is None:
            return linear_solve(tangent, -residual, self.solver)
        return lacking.extend(linear_solve(*lacking.condense(tangent, -residual), self.solver))

    def _rule(self, solve: Callable[[Inputs], Solved], inputs: Inputs, moved: Inputs) -> tuple[Solved, Solved]:
        """Return the state and its derivative along a direction of the inputs, by the implicit function rule.

        The tangent matrix that Newton's method ended with has the values of the one that is differentiated, to the
        last bit: its factorization is found again.
        """
        u, known = solve(inputs)

        def defect(inputs: Inputs) -> tuple[tuple[jax.Array, jax.Array | None], CSRMatrix]:
            condition = self._condition(inputs)
            residual, tangent = self._linearized(u, inputs)
            return (residual, None if condition is None else condition.values), tangent

        _, (slope, values), tangent = jax.jvp(defect, (inputs,), (moved,), has_aux=True)
        condition = self._condition(inputs)
        lacking = None if condition is None else replace(condition, values=values)
        tangent = CSRMatrix(known + (tangent.data - jax.lax.stop_gradient(tangent.data)), tangent.pattern)
        return (u, known), (self._correction(tangent, slope, lacking), jnp.zeros_like(known))

    def _solved(self, inputs: Inputs) -> Solved:
        """Return the state (n,) of one experiment, and the values of the tangent matrix there."""
        condition = self._condition(inputs)
        tangent = jax.eval_shape(self._linearized, inputs.start, inputs)[1]
        unbalanced = jnp.zeros_like(inputs.start)
        if self.load_steps > 1:
            unbalanced = self._linearized(inputs.start, inputs)[0]

        def load_step(reached: Solved, part: jax.Array) -> tuple[Solved, None]:
            u, tangent = reached
            values = None
            if condition is not None:
                wanted = jnp.zeros(len(condition.dofs)) if condition.values is None else condition.values
                first = inputs.start[condition.dofs]
                values = jnp.where(part < 1, first + part * (wanted - first), wanted)
            last = self._newton(u, tangent, inputs, (1 - part) * unbalanced, condition, values)
            u = self._reported(last, inputs, part)
            u = u if condition is None else u.at[condition.dofs].set(values, unique_indices=True)
            return (u, last.tangent), None

        parts = jnp.arange(1, self.load_steps + 1) / self.load_steps
        return jax.lax.scan(load_step, (inputs.start, jnp.zeros(tangent.data.shape)), parts)[0]

    def _newton(
        self,
        u: jax.Array,
        tangent: jax.Array,
        inputs: Inputs,
        held: jax.Array,
        condition: Dirichlet | None,
        values: Any,
    ) -> Iterate:
        """Return the last iterate of Newton's method.

        Args:
            u: The first iterate, (n,).
            tangent: Values for the tangent matrix, (nnz,), until it is known.
            inputs: What the state depends on.
            held: The part of the residual that is held back in this load step, (n,).
            condition: The condition whose degrees of freedom are prescribed, or None.
            values: The values (k,) that are prescribed in this load step.
        """

        def linearized(u: jax.Array) -> tuple[jax.Array, CSRMatrix]:
            residual, tangent = self._linearized(u, inputs)
            return residual - held, tangent

        def lacking(u: jax.Array) -> Dirichlet | None:
            return None if condition is None else replace(condition, values=values - u[condition.dofs])

        def after_step(at: Iterate, tangent: CSRMatrix, d: jax.Array) -> Iterate:
            """Return the iterate after the longest step along d that passes the monotonicity test."""

            def tried(search: Any) -> Any:
                t = search[0] / 2
                u = at.u + t * d
                residual = linearized(u)[0]
                finite = jnp.isfinite(residual).all()
                rest = self._correction(tangent, jnp.where(finite, residual, 0.0), lacking(u))
                left = jnp.where(finite, jnp.linalg.norm(rest), jnp.inf)
                limit = (1 - DAMPING * t) * jnp.linalg.norm(d) + NEGLIGIBLE_CORRECTION * jnp.linalg.norm(u)
                return t, rest, left, left <= limit

            start = (jnp.minimum(2.0, 8 * at.length), jnp.zeros_like(d), jnp.array(jnp.inf), jnp.array(False))
            t, rest, left, passed = jax.lax.while_loop(
                lambda search: ~search[-1] & (search[0] > LEAST_STEP), tried, start
            )
            adds_rest = (t == 1.0) & (left <= CHORD_FACTOR * jnp.linalg.norm(d))
            added = jnp.where(adds_rest, rest, 0.0)
            u = jnp.where(passed, at.u + t * d + added, at.u)
            log = at.log.at[at.steps, 1].set(t)
            return at._replace(u=u, added=added, steps=at.steps + 1, length=t, stuck=~passed, log=log)

        def solved_or_moved(at: Iterate, tangent: CSRMatrix) -> Iterate:
            lack = lacking(at.u)
            d = self._correction(tangent, at.residual, lack)
            size, length = jnp.linalg.norm(d), jnp.linalg.norm(at.u)
            residual = _relative(at.residual, tangent, at.u, condition).max(initial=0.0)
            before = jnp.where(at.steps > 0, at.log[at.steps - 1, 0], jnp.inf)
            converged = residual <= self.tolerance
            if lack is not None and lack.values is not None:
                converged &= (abs(lack.values) <= NEGLIGIBLE_CORRECTION * length).all()
            no_further = (size <= ROUNDING_CORRECTION * length) & (residual >= before / 2)
            no_further |= size <= NEGLIGIBLE_CORRECTION * length
            converged |= no_further & (residual <= ROUNDING_RESIDUAL)
            at = at._replace(converged=converged, log=at.log.at[at.steps, 0].set(residual))
            is_last = at.steps >= self.max_iterations
            at = at._replace(stuck=is_last & ~converged)
            after: Iterate = jax.lax.cond(converged | is_last, lambda: at, lambda: after_step(at, tangent, d))
            return after

        def body(at: Iterate) -> Iterate:
            residual, tangent = linearized(at.u)
            at = at._replace(residual=residual, tangent=tangent.data)
            finite = jnp.isfinite(residual).all() & jnp.isfinite(tangent.data).all()
            after: Iterate = jax.lax.cond(finite, lambda: solved_or_moved(at, tangent), lambda: without_addition(at))
            return after

        def without_addition(at: Iterate) -> Iterate:
            """Return the iterate without what was added to it; it is stuck where nothing was."""
            return at._replace(u=at.u - at.added, added=jnp.zeros_like(at.u), stuck=~at.added.any())

        log = jnp.zeros((self.max_iterations + 1, 2))
        none = jnp.zeros_like(u)
        first = Iterate(u, none, tangent, none, 0, jnp.array(1.0), jnp.array(False), jnp.array(False), log)
        last: Iterate = jax.lax.while_loop(lambda at: ~at.converged & ~at.stuck, body, first)
        return last

    def _reported(self, last: Iterate, inputs: Inputs, part: jax.Array) -> jax.Array:
        """Return the state of the last iterate; on the host, raise a SolveError where it is no solution."""
        condition = self._condition(inputs)
        locations = None
        if condition is not None:
            locations = condition.locations
        elif len(self.parts) == 1:
            locations = next(iter(self.parts.values())).whole.locations
        free = np.arange(len(last.u)) if condition is None else condition.free

        def check(u: Any, residual: Any, tangent: Any, steps: Any, converged: Any, log: Any, part: Any) -> np.ndarray:
            work.newton_iterations += int(steps)
            if not converged:
                step = round(float(part) * self.load_steps)
                where = f" in load step {step} of {self.load_steps}" if self.load_steps > 1 else ""
                is_finite = bool(np.isfinite(tangent).all())
                raise report(
                    SolveError(_complaint(np.asarray(residual)[free], is_finite, free, locations, steps, log, where))
                )
            return np.asarray(u)

        kind = jax.ShapeDtypeStruct(last.u.shape, last.u.dtype)
        u: jax.Array = jax.pure_callback(
            check,
            kind,
            last.u,
            last.residual,
            last.tangent,
            last.steps,
            last.converged,
            last.log,
            part,
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


def _real(start: ArrayLike) -> jax.Array:
    if np.iscomplexobj(start):
        raise SolveError("the start is complex; nonlinear states are real")
    return jnp.asarray(start, float)


def _relative(residual: jax.Array, tangent: CSRMatrix, u: jax.Array, condition: Dirichlet | None) -> jax.Array:
    """Return |F_i| / (|A| |u| + |F − A u|)_i on the free degrees of freedom."""
    parts = CSRMatrix(abs(tangent.data), tangent.pattern) @ abs(u) + abs(residual - tangent @ u)
    relative = jnp.where(parts > 0, abs(residual) / jnp.where(parts > 0, parts, 1.0), 0.0)
    return relative if condition is None else relative[condition.free]


def _complaint(
    residual: np.ndarray,
    is_finite: bool,
    free: np.ndarray,
    locations: np.ndarray | None,
    steps: Any,
    log: Any,
    where: str,
) -> str:
    """Return the message of a Newton iteration that did not converge.

    Args:
        residual: The residual of the free degrees of freedom.
        is_finite: Whether the tangent matrix is finite.
        free: Their numbers.
        locations: The places (d, n) of all degrees of freedom, or None.
        steps: The number of steps.
        log: The relative residual before each step and the length of the step.
        where: The load step in words.
    """

    def place(k: int) -> str:
        number = int(free[k])
        return f"number {number}" if locations is None else f"at {np.round(locations[:, number], 6).tolist()}"

    steps = int(steps)
    when = f"after {steps} steps{where}" if steps else f"at the first iterate{where}"
    bad = np.flatnonzero(~np.isfinite(residual))
    if len(bad) == 0 and not is_finite:
        return (
            f"the tangent matrix of the nonlinear state equation is not finite {when}, though the residual is: the "
            "form has no derivative there, as a root or a power has none at zero; add a small number under it, or give "
            "a start where it has one"
        )
    if len(bad):
        return (
            f"the residual of the nonlinear state equation is not finite {when}: {len(bad)} of "
            f"{len(residual)} entries are NaN or infinite, the first {place(bad[0])}; give a start at which the form "
            "is finite (a logarithm or a root has nothing for negative numbers, as where a solid is turned inside out "
            "and the determinant of its deformation gradient is not positive), or check the parameters and coefficients"
        )
    known = [value for value in np.asarray(log)[: steps + 1, 0] if value > 0]  # none after a step that failed
    shown = ", ".join(f"{value:.1e}" for value in known[-4:])
    lengths = ", ".join(f"{value:.2g}" for value in np.asarray(log)[:steps, 1][-4:]) or "none"
    return (
        f"Newton's method did not converge{where}: after {steps} steps the residual is largest "
        f"{place(int(abs(residual).argmax()))}; the last residuals, relative to their parts, are {shown}, the last "
        f"step lengths {lengths}. More load_steps or another start may help; so may smaller changes of the parameter"
    )
