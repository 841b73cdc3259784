"""Matérn regularization.

It is the precision of a Gaussian random field, made of the square of an elliptic operator.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace, bilinear_form, inner
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.local_mass import lumped_mass
from pdeopt.inverse.regularization.forms import check_gradient, mass, restricted, slope, total
from pdeopt.inverse.regularization.quadratic import half_square
from pdeopt.inverse.regularization.terms import TRIVIAL_NULL_SPACE, Term, nonnegative
from pdeopt.sparse import CSRMatrix, resolve_solver

#: The length of the Robin condition over √(γ/δ) with which the variance at the boundary is near that of the interior.
ROBIN_LENGTH_RATIO = 1.42
#: The least correlation length, in longest edges of a cell; where it is less in more than `REFUSED_PART` of the domain,
#: the field is refused. Measured standard deviations at the center of the unit square or cube, where 1 was asked for,
#: with the length as so many times the longest edge of linear cells: triangles 0.69 at 0.18, 1.29 at 0.7, 1.22 at 1.4,
#: 1.15 at 2.1, 1.06 at 4; squares 1.72 at 0.7, 1.48 at 1.4, 1.31 at 2.1, 1.12 at 4; tetrahedra 0.49 at 0.14, 1.04 at
#: 0.6, 1.07 at 1.7; lines 1.33 at 1.
LEAST_LENGTH = 1.0
#: The least correlation length, in longest edges of a cell, of a field that the mesh resolves; where it is less in more
#: than `LOGGED_PART` of the domain, a warning is logged.
RESOLVED_LENGTH = 2.0
#: The part of the domain, by measure, whose cells may be larger before a field is refused: a graded mesh has coarse
#: cells away from what matters.
REFUSED_PART = 0.5
#: The part of the domain, by measure, whose cells may be larger before a warning is logged.
LOGGED_PART = 0.1

_log = logging.getLogger(__name__)


@bilinear_form
def _anisotropic_stiffness(u: Any, v: Any, w: Any) -> Any:
    return total(_flux(w["tensor"], slope(u, w)) * slope(v, w))


@bilinear_form
def _robin(u: Any, v: Any, w: Any) -> Any:
    n = w.n.value
    return jnp.sqrt((n * _flux(w["tensor"], n)).sum(0)) * inner(u, v)


def _flux(tensor: Any, gradient: Any) -> Any:
    """Return the product Θ g (…, d, c, q) with gradients g (…, d, c, q)."""
    return (tensor * gradient[..., None, :, :, :]).sum(-3)


@dataclass(frozen=True, eq=False)
class Matern(Term):
    """A term ½ α (m − m₀)ᵀ Q (m − m₀), Q = A M⁻¹ A, A = γ K(Θ) + δ M + β M_boundary.

    It is made by `matern`. With α = 1 it is the negative log-density of a Gaussian random field with mean m₀ and
    covariance Q⁻¹, the solution of A (m − m₀) = white noise. The mass M is lumped, so that Q is sparse (Lindgren, Rue,
    Lindström, "An explicit link between Gaussian fields and Gaussian Markov random fields", J. R. Stat. Soc. B 73,
    2011).

    Attributes:
        weight: The factor α.
        gamma: The factor γ of the stiffness matrix.
        delta: The factor δ of the mass matrix.
        matrix: The matrix A, symmetric positive definite, (p, p).
        lumped: The diagonal of the lumped mass matrix M, (p,).
        reference: The mean m₀, a number or (p,).
        dim: The dimension of the domain on which m lives, cells or facets.
        stretch: The determinant of Θ.
    """

    weight: float = field()
    gamma: float
    delta: float
    matrix: CSRMatrix
    lumped: np.ndarray
    reference: jax.Array | float
    dim: int
    stretch: float = 1.0

    inner_product = "Matérn: L2 of −γ ∇·Θ∇m + δ m"
    null_space = TRIVIAL_NULL_SPACE
    quadratic = True

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        return self.weight * half_square(_Precision(self.matrix, self.lumped), m - self.reference)

    def operator(self, m: np.ndarray) -> sp.csr_matrix:
        """Return the matrix α Q, (p, p), whatever m is; it is sparse, with the neighbors of neighbors."""
        return self._operator

    @property
    def deviation(self) -> float:
        """The standard deviation of the field far from the boundary, by `matern_from_length`'s formula."""
        variance = _unit_variance(self.dim) * (self.gamma / self.delta) ** (2 - self.dim / 2) / self.gamma**2
        return math.sqrt(variance / (self.weight * math.sqrt(self.stretch)))

    @property
    def length(self) -> float:
        """The distance at which the correlation has fallen to 0.14 (for Θ = I), in the unit of the mesh."""
        return math.sqrt(8 * _smoothness(self.dim) * self.gamma / self.delta)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random field m₀ + A⁻¹ M^½ ξ / √α, (p,), with ξ standard normal."""
        field: np.ndarray = np.asarray(self.reference) + self.color(rng.standard_normal(len(self.lumped)))
        return field

    def color(self, z: np.ndarray) -> np.ndarray:
        """Return the field S z = A⁻¹ M^½ z / √α, (p,), of coordinates z that are standard normal.

        It has the covariance S Sᵀ = (α Q)⁻¹.
        """
        return self.solve(np.sqrt(self.lumped) * z) / self._root_of_weight

    def color_transposed(self, derivative: np.ndarray) -> np.ndarray:
        """Return the transposed product Sᵀ d = M^½ A⁻¹ d / √α, (p,)."""
        product: np.ndarray = np.sqrt(self.lumped) * self.solve(derivative) / self._root_of_weight
        return product

    def whiten(self, m: np.ndarray) -> np.ndarray:
        """Return the coordinates S⁻¹ m = √α M^-½ A m, (p,), of a field m.

        The square of their Euclidean norm is twice the term (for m₀ = 0).
        """
        white: np.ndarray = self._root_of_weight * (self._matrix @ m) / np.sqrt(self.lumped)
        return white

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return the solution A⁻¹ b of one right-hand side b (p,), or of several (p, k)."""
        columns = np.asarray(rhs, float).reshape(len(self.lumped), -1)
        data = np.asarray(self.matrix.data)
        return resolve_solver("auto").solve(self.matrix.pattern, data, columns, False).reshape(np.shape(rhs))

    @property
    def _root_of_weight(self) -> float:
        if self.weight == 0:
            raise InputError("a Matérn term of weight 0 has no covariance; give a weight > 0")
        return math.sqrt(self.weight)

    @cached_property
    def _matrix(self) -> sp.csr_matrix:
        return self.matrix.to_scipy()

    @cached_property
    def _operator(self) -> sp.csr_matrix:
        A = self._matrix
        return (self.weight * (A @ sp.diags_array(1 / self.lumped) @ A)).tocsr()


@dataclass(frozen=True, eq=False)
class _Precision:
    """A precision Q = A M⁻¹ A that is applied factor by factor.

    That takes fewer operations than the product.

    Attributes:
        matrix: The matrix A, (p, p).
        lumped: The diagonal of the lumped mass matrix M, (p,).
    """

    matrix: CSRMatrix
    lumped: np.ndarray

    def __matmul__(self, x: jax.Array) -> jax.Array:
        return self.matrix @ ((self.matrix @ x) / self.lumped)


def matern(
    space: FunctionSpace,
    *,
    gamma: float,
    delta: float,
    anisotropy: ArrayLike | None = None,
    robin: bool = True,
    reference: ArrayLike = 0.0,
    weight: float = 1.0,
    dofs: np.ndarray | None = None,
) -> Matern:
    """Return the Matérn term ½ α (m − m₀)ᵀ A M⁻¹ A (m − m₀), A = γ K(Θ) + δ M + β M_boundary.

    Its smoothness is ν = 2 − d/2, its null space {0}. (Villa, Petra, Ghattas, "hIPPYlib", ACM Trans. Math.
    Softw. 47, 2021, BiLaplacianPrior.)

    Args:
        space: The parameter's space, of continuous functions, on cells or on boundary facets.
        gamma: The factor γ > 0 of the stiffness matrix K; √(γ/δ) is a length. `matern_from_length` takes a standard
            deviation and a length in place of γ and δ.
        delta: The factor δ > 0 of the mass matrix M.
        anisotropy: The matrix Θ, symmetric positive definite, (d, d), in K(Θ) = ∫ ∇u·Θ∇v: along an eigenvector with
            eigenvalue θ the correlation length is √θ times longer. None stands for I.
        robin: Whether there is a term on the boundary, with β = γ √(δ/γ) √(n·Θn) / 1.42. It is against the excess of
            variance there, which without it is twofold along a side and fourfold in a corner (Roininen, Huttunen,
            Lasanen, "Whittle–Matérn priors for Bayesian statistical inversion", Inverse Probl. Imaging 8, 2014; Daon,
            Stadler, "Mitigating the influence of the boundary on PDE-based covariance operators", Inverse Probl.
            Imaging 12, 2018). Spaces on facets have no such term.
        reference: The mean m₀, a number or (p,).
        weight: The factor α; the variance is divided by it.
        dofs: The degrees of freedom of ``space`` that are parameters; None for all. At others m is zero.

    Raises:
        InputError: Parameters are out of their range, or the functions of the space have no gradient.
    """
    check_gradient(space)
    for name, value in (("gamma", gamma), ("delta", delta)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} of a Matérn term is {value}; expected a number > 0")
    tensor = _checked_tensor(space, anisotropy)
    on_facets = _on_facets(space)
    _log_unresolved(space, math.sqrt(8 * _smoothness(space.mesh.dim() - on_facets) * gamma / delta), tensor)
    A = gamma * _anisotropic_stiffness.assemble(space, tensor=tensor[:, :, None, None]) + delta * mass.assemble(space)
    if robin and not on_facets:
        edge = _robin.assemble(space.boundary(), tensor=tensor[:, :, None, None])
        A = A + (gamma * math.sqrt(delta / gamma) / ROBIN_LENGTH_RATIO) * edge
    return Matern(
        nonnegative(weight),
        float(gamma),
        float(delta),
        CSRMatrix.from_scipy(restricted(A.to_scipy(), dofs)),
        _checked_lumped(space, dofs),
        jnp.array(reference, float),
        space.mesh.dim() - on_facets,
        float(np.linalg.det(tensor)),
    )


def matern_from_length(
    space: FunctionSpace,
    deviation: float,
    length: float,
    *,
    anisotropy: ArrayLike | None = None,
    robin: bool = True,
    reference: ArrayLike = 0.0,
    weight: float = 1.0,
    dofs: np.ndarray | None = None,
) -> Matern:
    """Return a Matérn term of standard deviation σ and correlation length ρ.

    The field has these far from the boundary, for weight 1. With κ² = δ/γ and ν = 2 − d/2 (Lindgren, Rue,
    Lindström 2011, section 2.1)::

        ρ = √(8ν) / κ,        σ² = Γ(ν) / ((4π)^(d/2) κ^(2ν) γ² √det Θ),

    that is σ² = 1/(4 √γ δ^(3/2)) for d = 1, 1/(4π γ δ) for d = 2, 1/(8π γ^(3/2) √δ) for d = 3. At the distance ρ the
    correlation is 0.14.

    Args:
        space: The parameter's space, as for `matern`.
        deviation: The standard deviation σ, in the unit of m.
        length: The correlation length ρ, in the unit of the mesh; several cells. With one of two cells σ is up to a
            third too large, and a logged warning says so.
        anisotropy: The matrix Θ, as for `matern`; the length along an eigenvector of Θ is ρ √θ.
        robin: Whether there is a term on the boundary, as for `matern`.
        reference: The mean m₀, as for `matern`.
        weight: The factor α, as for `matern`.
        dofs: The degrees of freedom that are parameters, as for `matern`.

    Raises:
        InputError: The length is below the size of most cells, or `matern` refuses its arguments.
    """
    for name, value in (("standard deviation", deviation), ("correlation length", length)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"the {name} of a Matérn term is {value}; expected a number > 0")
    tensor = _checked_tensor(space, anisotropy)
    dim = space.mesh.dim() - _on_facets(space)
    sizes, parts = _sizes_of_cells(space, tensor)
    coarse = parts[sizes > length / LEAST_LENGTH].sum()
    if coarse > REFUSED_PART:
        raise InputError(
            f"the correlation length {length:g} of a Matérn term is below the size of the cells in {coarse:.0%} of the "
            f"domain, which are from {sizes.min():.3g} to {sizes.max():.3g} long: the field on them would have neither "
            "this length nor the standard deviation; take a length of several cells, or a finer mesh"
        )
    stretch = float(np.linalg.det(tensor))
    kappa = math.sqrt(8 * _smoothness(dim)) / length
    gamma = math.sqrt(_unit_variance(dim) / math.sqrt(stretch)) / (kappa ** (2 - dim / 2) * deviation)
    return matern(
        space,
        gamma=gamma,
        delta=kappa**2 * gamma,
        anisotropy=anisotropy,
        robin=robin,
        reference=reference,
        weight=weight,
        dofs=dofs,
    )


def _sizes_of_cells(space: FunctionSpace, tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each cell or facet its size, (c,), and its part of the whole measure, (c,).

    The size is the longest edge divided by the degree of the element. Where the field is anisotropic, edges are
    measured in the metric in which it is not.

    Args:
        space: The parameter's space.
        tensor: The anisotropy Θ, (d, d).
    """
    basis = space.basis
    if _on_facets(space):
        vertices = space.mesh.facets[:, np.asarray(basis.find)]
    else:
        vertices = space.mesh.t if basis.tind is None else space.mesh.t[:, basis.tind]
    corners = np.linalg.solve(np.linalg.cholesky(tensor), space.mesh.p.copy())[:, vertices]
    longest = [np.sqrt(((corners[:, [k]] - corners[:, k:]) ** 2).sum(0).max(0)) for k in range(len(vertices))]
    dim = space.mesh.dim() - _on_facets(space)
    is_simplex = len(vertices) == dim + 1
    degree = space.element.maxdeg / (1 if is_simplex else dim)  # of products of polynomials in each coordinate
    measures = basis.dx.sum(1)
    return np.max(longest, axis=0) / max(degree, 1), measures / measures.sum()


def _log_unresolved(space: FunctionSpace, length: float, tensor: np.ndarray) -> None:
    sizes, parts = _sizes_of_cells(space, tensor)
    coarse = parts[sizes > length / RESOLVED_LENGTH].sum()
    if coarse > LOGGED_PART:
        _log.warning(
            "the correlation length %.3g of a Matérn term is less than %g cells in %.0f %% of the domain (cells of %.3g"
            " to %.3g): the standard deviation there is not the one that was asked for",
            length,
            RESOLVED_LENGTH,
            100 * coarse,
            sizes.min(),
            sizes.max(),
        )


def _smoothness(dim: int) -> float:
    """Return the smoothness ν of the field that the square of a second-order operator gives."""
    return 2 - dim / 2


def _unit_variance(dim: int) -> float:
    """Return the variance Γ(ν) / (4π)^(d/2) of the field for γ = κ = 1 and Θ = I."""
    return math.gamma(_smoothness(dim)) / math.pow(4 * math.pi, dim / 2)


def _on_facets(space: FunctionSpace) -> bool:
    return "n" in space.tables.geometry


def _checked_tensor(space: FunctionSpace, anisotropy: ArrayLike | None) -> np.ndarray:
    dim = space.mesh.dim()
    if anisotropy is None:
        return np.eye(dim)
    tensor = np.asarray(anisotropy, float)
    if _on_facets(space):
        raise InputError("a Matérn term on facets takes no anisotropy; leave it out")
    if tensor.shape != (dim, dim):
        raise InputError(f"the anisotropy has shape {tensor.shape}; expected ({dim}, {dim})")
    if not (np.isfinite(tensor).all() and np.allclose(tensor, tensor.T) and np.linalg.eigvalsh(tensor).min() > 0):
        raise InputError(f"the anisotropy must be symmetric positive definite, got {tensor.tolist()}")
    return tensor


def _checked_lumped(space: FunctionSpace, dofs: np.ndarray | None) -> np.ndarray:
    lumped = lumped_mass(space) if dofs is None else lumped_mass(space)[dofs]
    if not (lumped > 0).all():
        raise InputError(
            f"{(lumped <= 0).sum()} of {len(lumped)} functions vanish on the facets of the parameter's space; pass "
            "dofs=space.dofs(...), those that do not"
        )
    lumped.setflags(write=False)
    return lumped
