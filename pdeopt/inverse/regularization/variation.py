"""Total variation, smoothed.

It has continuation in the smoothing, lagged diffusivity and a primal-dual Newton model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from pdeopt.fem import FunctionSpace, bilinear_form, functional
from pdeopt.inverse.compiled import Compiled
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization.forms import check_gradient, null_space, restricted, slope, stiffness, total
from pdeopt.inverse.regularization.terms import Term, nonnegative


@functional
def _smoothed_variation(w: Any) -> Any:
    return _smoothed_length(w) - w["smoothing"]


@bilinear_form
def _lagged_diffusion(u: Any, v: Any, w: Any) -> Any:
    return total(slope(u, w) * slope(v, w)) / _smoothed_length(w)


@bilinear_form
def _primal_dual_diffusion(u: Any, v: Any, w: Any) -> Any:
    length, gradient, dual = _smoothed_length(w), slope(w["m"], w), w["dual"]
    a, b = slope(u, w), slope(v, w)
    coupled = total(dual * a) * total(gradient * b) + total(gradient * a) * total(dual * b)
    return (total(a * b) - 0.5 * coupled / length) / length


def _smoothed_length(w: Any) -> Any:
    """Return the smoothed length ``√(|∇m|² + ε²)`` of the gradient, (c, q)."""
    return jnp.sqrt(total(slope(w["m"], w) ** 2) + w["smoothing"] ** 2)


@dataclass(frozen=True, eq=False)
class TotalVariation(Term):
    """A term ``α ∫ (√(|∇m|² + ε²) − ε)``, for piecewise constant parameters, whose edges it keeps.

    It is made by `total_variation`.

    Attributes:
        space: The parameter's space, on cells or on boundary facets.
        weight: The factor α.
        smoothing: The smoothing ε, in the unit of ``|∇m|``.
        dofs: The degrees of freedom of ``space`` that are parameters; None for all.
        continuation: The factors of ε to minimize with first, in this order, each from the minimum of the one before:
            (100, 10) stands for 100 ε, 10 ε, then ε. Newton's method converges from afar for a large ε only.

    Raises:
        InputError: The smoothing or a factor of the continuation is not positive.
    """

    space: FunctionSpace
    weight: float = field()
    smoothing: float
    dofs: np.ndarray | None = None
    continuation: tuple[float, ...] = ()

    inner_product = "H1 seminorm weighted by 1/√(|∇m|² + ε²)"

    def __post_init__(self) -> None:
        if not self.smoothing > 0:
            raise InputError(f"the smoothing of total variation is {self.smoothing}; expected > 0, e.g. 1")
        if not all(factor > 0 for factor in self.continuation):
            raise InputError(f"the continuation of total variation is {self.continuation}; expected factors > 0")

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        return self.weight * _smoothed_variation.assemble(self.space, **self._coefficients(m))

    def operator(self, m: np.ndarray, dual: np.ndarray | None = None) -> sp.csr_matrix:
        """Return the lagged diffusivity ``α ∫ ∇u·∇v / √(|∇m|² + ε²)``, (p, p), or the model with a dual.

        Times m it is the derivative of the term, exactly. The Hessian is this minus a positive semidefinite part. In
        its place it makes Newton's method converge from everywhere, linearly (Vogel, Oman, "Iterative methods for total
        variation denoising", SIAM J. Sci. Comput. 17, 1996).

        Args:
            m: The parameter, (p,).
            dual: The dual w, (…, d, c, q) as the gradient. With it the result is the symmetrized Hessian of the
                primal-dual system (`next_dual`), semidefinite where ``|w| ≤ 1``, and the Hessian itself where
                ``w = ∇m/√(|∇m|² + ε²)``.
        """
        coefficients = self._coefficients(jnp.asarray(m, float))
        if dual is None:
            matrix = _lagged_diffusion.assemble(self.space, **coefficients)
        else:
            matrix = _primal_dual_diffusion.assemble(self.space, **coefficients, dual=dual)
        return self.weight * restricted(matrix.to_scipy(), self.dofs)

    def first_dual(self, m: np.ndarray) -> np.ndarray:
        """Return the dual to start with, 0, of the gradient's shape (…, d, c, q).

        With it `operator` is the lagged diffusivity.
        """
        return np.zeros_like(self._slope(m))

    def next_dual(self, dual: np.ndarray, before: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Return the dual at m, after a step from another iterate with its dual.

        The dual w solves ``√(|∇m|² + ε²) w = ∇m``, kept as an equation of its own and linearized at ``before``: that
        system is far less nonlinear than without w, so that Newton's method converges from afar, quadratically. Where
        ``|w| > 1`` it is cut back. (Chan, Golub, Mulet, "A nonlinear primal-dual method for total variation-based image
        restoration", SIAM J. Sci. Comput. 20, 1999.)

        Args:
            dual: The dual at ``before``, (…, d, c, q) as the gradient.
            before: The iterate before the step, (p,).
            m: The iterate after the step, (p,).
        """
        return following_dual(dual, self._slope(before), self._slope(m), self.smoothing)

    def at_stage(self, factor: float) -> TotalVariation:
        """Return the same term with ε times a factor, and no continuation."""
        return self.with_smoothing(factor * self.smoothing)

    def with_smoothing(self, smoothing: float) -> TotalVariation:
        """Return the same term with another ε and no continuation."""
        return replace(self, smoothing=smoothing, continuation=())

    @cached_property
    def null_space(self) -> str:  # type: ignore[override]
        """The functions that the term does not see, in words."""
        return null_space(stiffness.assemble(self.space).to_scipy(), self.dofs, constants=True)

    def _slope(self, m: np.ndarray) -> np.ndarray:
        return np.asarray(self._compiled_slope(m))

    @cached_property
    def _compiled_slope(self) -> Compiled:
        return Compiled(self._traced_slope)

    def _traced_slope(self, m: jax.Array) -> jax.Array:
        gradient: jax.Array = slope(self._coefficients(m)["m"], self.space.tables.geometry)
        return gradient

    def _coefficients(self, m: jax.Array) -> dict[str, Any]:
        if self.dofs is not None:
            m = jnp.zeros(self.space.n, m.dtype).at[self.dofs].set(m)
        return {"m": self.space.interpolate(m), "smoothing": self.smoothing}


def following_dual(dual: np.ndarray, gradient: np.ndarray, at_m: np.ndarray, smoothing: float) -> np.ndarray:
    """Return the dual after a step, as `TotalVariation.next_dual` describes it.

    Args:
        dual: The dual before the step, (…, c, q) as the gradient.
        gradient: The gradient before the step, (…, c, q).
        at_m: The gradient after the step, (…, c, q).
        smoothing: The smoothing ε.
    """
    axes = tuple(range(gradient.ndim - 2))
    length = np.sqrt((gradient**2).sum(axes) + smoothing**2)
    change = at_m - gradient
    found = (gradient + change - dual * (gradient * change).sum(axes) / length) / length
    dual_at_m: np.ndarray = found / np.maximum(1.0, np.sqrt((found**2).sum(axes)))
    return dual_at_m


def total_variation(
    space: FunctionSpace,
    weight: float,
    smoothing: float = 1.0,
    dofs: np.ndarray | None = None,
    continuation: Sequence[float] = (),
) -> TotalVariation:
    """Return the term ``α ∫ (√(|∇m|² + ε²) − ε)``, which is total variation for slopes far above ε.

    Constants are its null space. (Rudin, Osher, Fatemi 1992, smoothed as in Vogel, "Computational Methods for Inverse
    Problems", 2002, eq. 8.2.)

    Args:
        space: The parameter's space, on cells or on boundary facets.
        weight: The factor α.
        smoothing: The smoothing ε, in the unit of ``|∇m|``; a jump over a cell of size h counts as an edge when it
            exceeds ε h.
        dofs: The degrees of freedom of ``space`` that are parameters; None for all.
        continuation: The factors of ε to minimize with first, such as (100, 10).

    Raises:
        InputError: The weight is negative or not a number, the smoothing or a factor of the continuation is not
            positive, or the functions of the space have no gradient.
    """
    check_gradient(space)
    return TotalVariation(space, nonnegative(weight), float(smoothing), dofs, tuple(continuation))
