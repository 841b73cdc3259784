"""Regularization terms: functionals of the parameter m that is optimized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace, bilinear_form, ddot, dot, functional, grad, inner
from pdeopt.inverse.errors import InputError
from pdeopt.sparse import CSRMatrix


class Regularization(Protocol):
    def __call__(self, m: jax.Array) -> jax.Array: ...


@bilinear_form
def mass(u, v, _):
    """∫ u v."""
    return inner(u, v)


@bilinear_form
def stiffness(u, v, _):
    """∫ ∇u·∇v."""
    return (grad(u) * grad(v)).sum(tuple(range(grad(u).ndim - 2)))


@dataclass(frozen=True, eq=False)
class Quadratic:
    """½ α (m − m₀)ᵀ R (m − m₀) with a sparse symmetric R."""

    weight: float
    matrix: CSRMatrix
    reference: jax.Array | float = 0.0

    def __call__(self, m: jax.Array) -> jax.Array:
        deviation = m - self.reference
        return 0.5 * self.weight * jnp.dot(deviation, self.matrix @ deviation)


def tikhonov(space: FunctionSpace, weight: float, reference: ArrayLike = 0.0) -> Quadratic:
    """½ α ∫ (m − m₀)²: pulls towards the reference m₀. ``space`` is the parameter's, cells or boundary facets."""
    return Quadratic(_positive(weight), mass.assemble(space), jnp.asarray(reference))


def h1(space: FunctionSpace, weight: float) -> Quadratic:
    """½ α ∫ |∇m|²: smooth parameters; constants are free (they are its null space)."""
    return Quadratic(_positive(weight), stiffness.assemble(space))


@functional
def _smoothed_variation(w):
    gradient = w["m"].grad
    squared = dot(gradient, gradient) if gradient.ndim == 3 else ddot(gradient, gradient)
    return jnp.sqrt(squared + w["smoothing"] ** 2) - w["smoothing"]


@dataclass(frozen=True, eq=False)
class TotalVariation:
    """α ∫ (√(|∇m|² + ε²) − ε): piecewise constant parameters, edges kept.

    (Rudin, Osher, Fatemi 1992, smoothed as in Vogel, "Computational Methods for Inverse Problems", 2002, eq. 8.2.)

    Attributes:
        space: the parameter's space.
        weight: α. smoothing: ε, in the unit of |∇m|; jumps over a cell of size h count as edges when they exceed ε h.
    """

    space: FunctionSpace
    weight: float
    smoothing: float

    def __post_init__(self) -> None:
        _positive(self.weight)
        if not self.smoothing > 0:
            raise InputError(f"the smoothing of total variation is {self.smoothing}; expected > 0, e.g. 0.1")

    def __call__(self, m: jax.Array) -> jax.Array:
        field = self.space.interpolate(m)
        return self.weight * _smoothed_variation.assemble(self.space, m=field, smoothing=self.smoothing)


def total_variation(space: FunctionSpace, weight: float, smoothing: float = 0.1) -> TotalVariation:
    """α ∫ √(|∇m|² + ε²), see `TotalVariation`."""
    return TotalVariation(space, weight, smoothing)


def _positive(weight: float) -> float:
    if not weight >= 0:
        raise InputError(f"the regularization weight is {weight}; expected a number ≥ 0")
    return float(weight)
