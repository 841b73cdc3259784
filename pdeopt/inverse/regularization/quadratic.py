"""Quadratic terms: Tikhonov, H1, and any sparse symmetric matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization.forms import check_gradient, mass, null_space, restricted, stiffness
from pdeopt.inverse.regularization.terms import TRIVIAL_NULL_SPACE, Term, nonnegative
from pdeopt.sparse import CSRMatrix


@dataclass(frozen=True, eq=False)
class Quadratic(Term):
    """A term ½ α (m − m₀)ᵀ R (m − m₀) with a sparse symmetric matrix R.

    Attributes:
        weight: The factor α.
        matrix: The matrix R, (p, p).
        reference: The reference m₀, a number or (p,).
        inner_product: The inner product of R, in words.
        null_space: The null space of R, in words.

    Raises:
        InputError: The matrix is not symmetric.
    """

    weight: float = field()
    matrix: CSRMatrix
    reference: jax.Array | float = 0.0
    inner_product: str = "that of its matrix"
    null_space: str = "that of its matrix"

    quadratic = True

    def __post_init__(self) -> None:
        R = self.matrix.to_scipy()
        if R.shape[0] != R.shape[1] or abs(R - R.T).max() > 1e-12 * abs(R).max():
            raise InputError("the matrix of a quadratic term must be symmetric; use (R + R.T) / 2")

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        return self.weight * half_square(self.matrix, m - self.reference)

    def operator(self, m: np.ndarray) -> sp.csr_matrix:
        """Return the matrix α R, (p, p), whatever m is."""
        return self._operator

    @cached_property
    def _operator(self) -> sp.csr_matrix:
        return self.weight * self.matrix.to_scipy()


class Symmetric(Protocol):
    """A symmetric matrix, or an object that multiplies like one."""

    def __matmul__(self, x: jax.Array) -> jax.Array: ...


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def half_square(R: Symmetric, x: jax.Array) -> jax.Array:
    """Return the number ½ xᵀ R x of a symmetric R.

    Its derivative R x costs one product, where JAX's rule would take two.
    """
    return 0.5 * jnp.dot(x, R @ x)


@half_square.defjvp
def _half_square_jvp(R: Any, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x,), (direction,) = primals, tangents
    product = R @ x
    return 0.5 * jnp.dot(x, product), jnp.dot(product, direction)


def tikhonov(
    space: FunctionSpace, weight: float, reference: ArrayLike = 0.0, dofs: np.ndarray | None = None
) -> Quadratic:
    """Return the term ½ α ∫ (m − m₀)²: it pulls towards the reference m₀, and its null space is {0}.

    Args:
        space: The parameter's space, on cells or on boundary facets.
        weight: The factor α.
        reference: The reference m₀, a number or (p,).
        dofs: The degrees of freedom of ``space`` that are parameters; None for all.

    Raises:
        InputError: The weight is negative or not a number.
    """
    M = mass.assemble(space).to_scipy()
    words = "L2", null_space(M, dofs, constants=False)
    return Quadratic(nonnegative(weight), _block(M, dofs), jnp.array(reference), *words)


def each_step(term: Quadratic, weights: ArrayLike) -> Quadratic:
    """Return the term Σ_k w_k term(m_k) of a parameter in time, m = (m_1, …, m_K).

    Args:
        term: The term of one step, without a reference.
        weights: The weights (K,), as the sizes of the steps.

    Raises:
        InputError: The term has a reference, or a weight is negative.
    """
    factors = np.atleast_1d(np.asarray(weights, float))
    if np.any(np.asarray(term.reference)):
        raise InputError("the term of each step has a reference m₀ that is not zero; expected one without")
    if factors.ndim != 1 or not (np.isfinite(factors) & (factors >= 0)).all():
        raise InputError(
            f"the weights of steps are {factors}; expected numbers ≥ 0 in a row, as the sizes of the steps"
        )
    matrix = CSRMatrix.from_scipy(sp.kron(sp.diags_array(factors), term.matrix.to_scipy(), format="csr"))
    return Quadratic(term.weight, matrix, 0.0, f"{term.inner_product} in each step", term.null_space)


def gaussian(mean: ArrayLike, deviation: ArrayLike) -> Quadratic:
    """Return the term ½ Σ_i ((m_i − mean_i) / σ_i)², a normal prior of a few numbers.

    It is the negative logarithm of the density of independent normal variables.

    Args:
        mean: The means (p,) of m.
        deviation: The standard deviations σ of m, a number or (p,).

    Raises:
        InputError: The means are no row of finite numbers, or a deviation is not positive or of another shape.

    Example:
        >>> gaussian([1.0, 2.0], 0.5)(jnp.array([1.5, 2.0]))
        Array(0.5, dtype=float64)
    """
    means, sigma = np.asarray(mean, float), np.asarray(deviation, float)
    if means.ndim != 1 or not np.isfinite(means).all() or sigma.shape not in ((), means.shape):
        raise InputError(
            f"the means have shape {means.shape}, the deviations {sigma.shape}; expected (p,) finite numbers, and one "
            "number or as many"
        )
    if not ((sigma > 0) & np.isfinite(sigma)).all():
        raise InputError(f"the standard deviations of m are {sigma.min()} and more; expected numbers > 0")
    matrix = CSRMatrix.from_scipy(sp.diags_array(np.broadcast_to(sigma**-2.0, means.shape)).tocsr())
    return Quadratic(1.0, matrix, jnp.array(means), "weighted Euclidean", TRIVIAL_NULL_SPACE)


def h1(space: FunctionSpace, weight: float, dofs: np.ndarray | None = None) -> Quadratic:
    """Return the term ``½ α ∫ |∇m|²``, which makes m smooth; constants are its null space.

    For a space on facets the gradient is that along the boundary.

    Args:
        space: The parameter's space, on cells or on boundary facets.
        weight: The factor α.
        dofs: The degrees of freedom of ``space`` that are parameters; None for all.

    Raises:
        InputError: The weight is negative or not a number, or the functions of the space have no gradient.

    Example:
        >>> import skfem
        >>> V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
        >>> smoothness = h1(V, 0.1)
        >>> smoothness(3.0 * V.locations[0]).round(6)  # ½ · 0.1 · 3²
        Array(0.45, dtype=float64)
    """
    check_gradient(space)
    K = stiffness.assemble(space).to_scipy()
    words = "H1 seminorm", null_space(K, dofs, constants=True)
    return Quadratic(nonnegative(weight), _block(K, dofs), 0.0, *words)


def _block(matrix: sp.csr_matrix, dofs: np.ndarray | None) -> CSRMatrix:
    return CSRMatrix.from_scipy(restricted(matrix, dofs))
