"""Newton's method for a nonlinear system of equations, damped by the natural monotonicity test.

A step of length t is taken where the correction A(u)⁻¹ F(u + t d) that is left after it is shorter than the step, which
no scaling of the equations changes (Deuflhard: Newton Methods for Nonlinear Problems, 2011, section 3.3). Near the
solution that correction is added, too: it costs a solve with factors that are there, and the next iterate has error
O(e³) (two-step Newton, Traub 1964).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem import Dirichlet, MultiPoint
from pdeopt.sparse import CSRMatrix

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


#: A condition that gives some degrees of freedom by the others, u = Z y + g.
Elimination = Dirichlet | MultiPoint


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


@dataclass(frozen=True)
class Newton:
    """Newton's method for F(u) = 0 under a condition on u.

    Attributes:
        linearized: The map u ↦ (F, A) to the residual (n,) and the tangent matrix A = ∂F/∂u.
        correction: The map (A, F, lacking) ↦ d, (n,), with A d = −F for the unknowns, where d satisfies the condition
            on what is lacking, or None.
        condition: The condition, or None.
        tolerance: The residual, relative to its parts, at which the equation counts as solved.
        max_iterations: The largest number of steps.
    """

    linearized: Callable[[jax.Array], tuple[jax.Array, CSRMatrix]]
    correction: Callable[[CSRMatrix, jax.Array, Elimination | None], jax.Array]
    condition: Elimination | None
    tolerance: float
    max_iterations: int

    def solve(self, u: jax.Array, tangent: jax.Array) -> Iterate:
        """Return the last iterate: the solution, or where no step was an improvement.

        Args:
            u: The first iterate, (n,).
            tangent: Values for the tangent matrix, (nnz,), until it is known.
        """
        log = jnp.zeros((self.max_iterations + 1, 2))
        none = jnp.zeros_like(u)
        first = Iterate(u, none, tangent, none, 0, jnp.array(1.0), jnp.array(False), jnp.array(False), log)
        last: Iterate = jax.lax.while_loop(lambda at: ~at.converged & ~at.stuck, self._next, first)
        return last

    def _next(self, at: Iterate) -> Iterate:
        """Return the next iterate, or the same one, marked as converged or stuck."""
        residual, tangent = self.linearized(at.u)
        at = at._replace(residual=residual, tangent=tangent.data)

        def without_addition() -> Iterate:
            """Return the iterate without what was added to it; it is stuck where nothing was."""
            return at._replace(u=at.u - at.added, added=jnp.zeros_like(at.u), stuck=~at.added.any())

        finite = jnp.isfinite(residual).all() & jnp.isfinite(tangent.data).all()
        after: Iterate = jax.lax.cond(finite, lambda: self._solved_or_moved(at, tangent), without_addition)
        return after

    def _solved_or_moved(self, at: Iterate, tangent: CSRMatrix) -> Iterate:
        d = self.correction(tangent, at.residual, self._lacking(at.u))
        size, length = jnp.linalg.norm(d), jnp.linalg.norm(at.u)
        residual = relative_residual(at.residual, tangent, at.u, self.condition).max(initial=0.0)
        before = jnp.where(at.steps > 0, at.log[at.steps - 1, 0], jnp.inf)
        converged = residual <= self.tolerance
        if self.condition is not None:
            converged &= (abs(self.condition.lacking(at.u)) <= NEGLIGIBLE_CORRECTION * length).all()
        no_further = (size <= ROUNDING_CORRECTION * length) & (residual >= before / 2)
        no_further |= size <= NEGLIGIBLE_CORRECTION * length
        converged |= no_further & (residual <= ROUNDING_RESIDUAL)
        at = at._replace(converged=converged, log=at.log.at[at.steps, 0].set(residual))
        is_last = at.steps >= self.max_iterations
        at = at._replace(stuck=is_last & ~converged)
        after: Iterate = jax.lax.cond(converged | is_last, lambda: at, lambda: self._after_step(at, tangent, d))
        return after

    def _after_step(self, at: Iterate, tangent: CSRMatrix, d: jax.Array) -> Iterate:
        """Return the iterate after the longest step along d that passes the monotonicity test."""

        def tried(search: Any) -> Any:
            t = search[0] / 2
            u = at.u + t * d
            residual = self.linearized(u)[0]
            finite = jnp.isfinite(residual).all()
            rest = self.correction(tangent, jnp.where(finite, residual, 0.0), self._lacking(u))
            left = jnp.where(finite, jnp.linalg.norm(rest), jnp.inf)
            limit = (1 - DAMPING * t) * jnp.linalg.norm(d) + NEGLIGIBLE_CORRECTION * jnp.linalg.norm(u)
            return t, rest, left, left <= limit

        start = (jnp.minimum(2.0, 8 * at.length), jnp.zeros_like(d), jnp.array(jnp.inf), jnp.array(False))
        t, rest, left, passed = jax.lax.while_loop(lambda search: ~search[-1] & (search[0] > LEAST_STEP), tried, start)
        adds_rest = (t == 1.0) & (left <= CHORD_FACTOR * jnp.linalg.norm(d))
        added = jnp.where(adds_rest, rest, 0.0)
        u = jnp.where(passed, at.u + t * d + added, at.u)
        log = at.log.at[at.steps, 1].set(t)
        return at._replace(u=u, added=added, steps=at.steps + 1, length=t, stuck=~passed, log=log)

    def _lacking(self, u: jax.Array) -> Elimination | None:
        """Return the condition on what must be added to u."""
        return None if self.condition is None else replace(self.condition, values=self.condition.lacking(u))


def relative_residual(
    residual: jax.Array, tangent: CSRMatrix, u: jax.Array, condition: Elimination | None
) -> jax.Array:
    """Return |F_i| / (|A| |u| + |F − A u|)_i for the unknowns."""
    parts = CSRMatrix(abs(tangent.data), tangent.pattern) @ abs(u) + abs(residual - tangent @ u)
    if condition is not None:
        residual, parts = condition.reduce(residual), condition.reduce_sizes(parts)
    return jnp.where(parts > 0, abs(residual) / jnp.where(parts > 0, parts, 1.0), 0.0)


def complaint(
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
        if locations is not None and number >= locations.shape[1]:
            return "in the condition on a mean value"
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
