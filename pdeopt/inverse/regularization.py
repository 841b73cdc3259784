"""Regularization terms: functionals of the parameter m that is optimized."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace, bilinear_form, functional, grad, inner
from pdeopt.inverse.errors import InputError
from pdeopt.sparse import CSRMatrix


class Regularization(Protocol):
    def __call__(self, m: jax.Array) -> jax.Array: ...


@bilinear_form
def mass(u, v, _):
    """∫ u v."""
    return inner(u, v)


@bilinear_form
def stiffness(u, v, w):
    """∫ ∇u·∇v; on facets of the tangential gradients, which the traces of u and v determine."""
    gradients = (grad(u), grad(v)) if "n" not in w else (_tangential(grad(u), w.n), _tangential(grad(v), w.n))
    product = gradients[0] * gradients[1]
    return product.sum(tuple(range(product.ndim - 2)))


def _tangential(gradient, normal):
    n = normal.value
    return gradient - (gradient * n).sum(-3, keepdims=True) * n


@dataclass(frozen=True, eq=False)
class Quadratic:
    """½ α (m − m₀)ᵀ R (m − m₀) with a sparse symmetric R; InputError for another R."""

    weight: float
    matrix: CSRMatrix
    reference: jax.Array | float = 0.0

    def __post_init__(self) -> None:
        R = self.matrix.to_scipy()
        if R.shape[0] != R.shape[1] or abs(R - R.T).max() > 1e-12 * abs(R).max():
            raise InputError("the matrix of a quadratic term must be symmetric; use (R + R.T) / 2")

    def __call__(self, m: jax.Array) -> jax.Array:
        return self.weight * _half_square(self.matrix, m - self.reference)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _half_square(R: CSRMatrix, x: jax.Array) -> jax.Array:
    """½ xᵀ R x of a symmetric R; its derivative R x costs one product, where JAX's own rule would take two."""
    return 0.5 * jnp.dot(x, R @ x)


@_half_square.defjvp
def _half_square_jvp(R, primals, tangents):
    (x,), (direction,) = primals, tangents
    product = R @ x
    return 0.5 * jnp.dot(x, product), jnp.dot(product, direction)


def tikhonov(
    space: FunctionSpace, weight: float, reference: ArrayLike = 0.0, dofs: np.ndarray | None = None
) -> Quadratic:
    """½ α ∫ (m − m₀)²: pulls towards the reference m₀.

    Args:
        space: the parameter's, on cells or on boundary facets. weight: α.
        dofs: the degrees of freedom of ``space`` that are parameters, where they are not all.
    """
    return Quadratic(_positive(weight), _block(mass.assemble(space), dofs), jnp.asarray(reference))


def h1(space: FunctionSpace, weight: float, dofs: np.ndarray | None = None) -> Quadratic:
    """½ α ∫ |∇m|² (along the boundary for a space on facets): smooth; constants are its null space.

    Arguments as for `tikhonov`.
    """
    _check_gradient(space)
    return Quadratic(_positive(weight), _block(stiffness.assemble(space), dofs))


def _block(matrix: CSRMatrix, dofs: np.ndarray | None) -> CSRMatrix:
    return matrix if dofs is None else CSRMatrix.from_scipy(matrix.to_scipy()[dofs][:, dofs])


@functional
def _smoothed_variation(w):
    gradient = w["m"].grad if "n" not in w else _tangential(w["m"].grad, w.n)
    squared = (gradient * gradient).sum(tuple(range(gradient.ndim - 2)))
    return jnp.sqrt(squared + w["smoothing"] ** 2) - w["smoothing"]


@dataclass(frozen=True, eq=False)
class TotalVariation:
    """α ∫ (√(|∇m|² + ε²) − ε): piecewise constant parameters, edges kept. Made by `total_variation`."""

    space: FunctionSpace
    weight: float
    smoothing: float
    dofs: np.ndarray | None

    def __call__(self, m: jax.Array) -> jax.Array:
        if self.dofs is not None:
            m = jnp.zeros(self.space.n, m.dtype).at[self.dofs].set(m)
        field = self.space.interpolate(m)
        return self.weight * _smoothed_variation.assemble(self.space, m=field, smoothing=self.smoothing)


def total_variation(
    space: FunctionSpace, weight: float, smoothing: float = 1.0, dofs: np.ndarray | None = None
) -> TotalVariation:
    """α ∫ (√(|∇m|² + ε²) − ε), the total variation for slopes far above ε.

    (Rudin, Osher, Fatemi 1992, smoothed as in Vogel, "Computational Methods for Inverse Problems", 2002, eq. 8.2.)

    Args:
        space: the parameter's, on cells or on boundary facets. weight: α.
        smoothing: ε, in the unit of |∇m|; a jump over a cell of size h counts as an edge when it exceeds ε h.
        dofs: the degrees of freedom of ``space`` that are parameters, where they are not all.
    """
    if not smoothing > 0:
        raise InputError(f"the smoothing of total variation is {smoothing}; expected > 0, e.g. 1")
    _check_gradient(space)
    return TotalVariation(space, _positive(weight), smoothing, dofs)


def _check_gradient(space: FunctionSpace) -> None:
    """Of piecewise constants a term in ∇m would be zero, silently."""
    if not any("grad" in parts and bool((parts["grad"] != 0).any()) for parts in space.tables.components):
        raise InputError(
            f"functions of {type(space.element).__name__} have no gradient to regularize; use tikhonov, or a "
            "continuous element for the parameter"
        )


def _positive(weight: float) -> float:
    if not weight >= 0:
        raise InputError(f"the regularization weight is {weight}; expected a number ≥ 0")
    return float(weight)
