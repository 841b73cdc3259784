"""The inner products of parameters that need matrices: L2, and that of the regularization.

Each is an `InnerProduct` as `pdeopt.optimize` defines it: ⟨a, b⟩ = aᵀ G b with G = (S Sᵀ)⁻¹, and the change of
variables m = S z in which it is Euclidean. Where G is diagonal, ``weights`` is its diagonal; elsewhere None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.functional.reduced_functional import ReducedFunctional
from pdeopt.inverse.local_mass import scaled_spectrum
from pdeopt.inverse.newton_model import softness
from pdeopt.inverse.regularization import Matern, OnParameters, Term
from pdeopt.inverse.unknowns.parameters import AnyParameter, Parameters, SingleParameter, blocks
from pdeopt.optimize.bounds import BoundsLike, full_bounds
from pdeopt.optimize.inner_product import InnerProduct
from pdeopt.sparse.matrix_function import MatrixFunction
from pdeopt.sparse.solvers.direct.cholesky import Cholesky


class MassProduct:
    """A product ⟨a, b⟩ = aᵀ M b with a mass matrix M (p, p).

    Its S is D^-½ (D^-½ M D^-½)^-½, where D is the diagonal of M. The scaled matrix has a small condition number
    on every mesh, so that its inverse root is a polynomial in it, of degree 36 for linear triangles, 41 for tetrahedra,
    56 for squares. Measured on linear triangles: 14 ms an application for 66 k degrees of freedom, 58 ms for 263 k, and
    0.1 and 0.5 s before the first; a Cholesky factor applies in 4 and 35 ms, but takes 0.4 and 3.5 s before, and in 3-D
    far more time and memory.

    Attributes:
        name: The name of the product, as `inner_product_named` takes it.
        weights: The diagonal (p,) of M where M is diagonal, else None.
    """

    def __init__(self, name: str, mass: sp.csr_matrix, interval: tuple[float, float]) -> None:
        """Make the product.

        Args:
            name: The name of the product.
            mass: The mass matrix M (p, p).
            interval: Bounds of the eigenvalues of D^-½ M D^-½, (low, high).
        """
        diagonal = mass.diagonal()
        self.name = name
        self.weights = diagonal if mass.nnz == mass.shape[0] else None
        self._mass, self._roots = mass, np.sqrt(diagonal)
        scaling = sp.diags_array(1 / self._roots)
        self._of_scaled = partial(MatrixFunction, (scaling @ mass @ scaling).tocsr(), interval)

    @cached_property
    def _inverse_root(self) -> MatrixFunction:
        return self._of_scaled(lambda x: x**-0.5)

    @cached_property
    def _inverse(self) -> MatrixFunction:
        return self._of_scaled(lambda x: 1 / x)

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return the parameter m = S z, (p,)."""
        m: np.ndarray = self._inverse_root(z) / self._roots
        return m

    def pullback(self, derivative: np.ndarray) -> np.ndarray:
        """Return the derivative Sᵀ d with respect to z, (p,), of a derivative d with respect to m."""
        return self._inverse_root(derivative / self._roots)

    def gradient(self, derivative: np.ndarray) -> np.ndarray:
        """Return the gradient M⁻¹ d, (p,), of a derivative d."""
        gradient: np.ndarray = self._inverse(derivative / self._roots) / self._roots
        return gradient

    def norm(self, m: np.ndarray) -> float:
        """Return the norm √(mᵀ M m)."""
        return float(np.sqrt(m @ (self._mass @ m)))


@dataclass(frozen=True, eq=False)
class FactoredProduct:
    """A product ⟨a, b⟩ = aᵀ G b with a sparse symmetric positive definite matrix G (p, p).

    Attributes:
        name: The name of the product, as `inner_product_named` takes it.
        matrix: The matrix G.
        factor: The Cholesky factor of G, by which the product is computed.
    """

    name: str
    matrix: sp.csr_matrix
    factor: Cholesky

    weights = None

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return the parameter m = S z, (p,)."""
        return self.factor.primal(z)

    def pullback(self, derivative: np.ndarray) -> np.ndarray:
        """Return the derivative Sᵀ d with respect to z, (p,), of a derivative d with respect to m."""
        return self.factor.transposed(derivative)

    def gradient(self, derivative: np.ndarray) -> np.ndarray:
        """Return the gradient G⁻¹ d, (p,), of a derivative d."""
        return self.factor.solve(derivative)

    def norm(self, m: np.ndarray) -> float:
        """Return the norm √(mᵀ G m)."""
        return float(np.sqrt(m @ (self.matrix @ m)))


@dataclass(frozen=True, eq=False)
class MaternProduct:
    """A product ⟨a, b⟩ = aᵀ (α Q) b with the precision α Q of a Matérn term.

    Its S whitens, S = A⁻¹ M^½ / √α: in z the term is ``½ |z|²`` (for m₀ = 0). (Bui-Thanh, Ghattas, Martin, Stadler, "A
    computational framework for infinite-dimensional Bayesian inverse problems I", SIAM J. Sci. Comput. 35, 2013.)

    Attributes:
        name: The name of the product, as `inner_product_named` takes it.
        term: The Matérn term.
    """

    name: str
    term: Matern

    weights = None

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return the parameter m = S z, (p,)."""
        return self.term.color(z)

    def pullback(self, derivative: np.ndarray) -> np.ndarray:
        """Return the derivative Sᵀ d with respect to z, (p,), of a derivative d with respect to m."""
        return self.term.color_transposed(derivative)

    def gradient(self, derivative: np.ndarray) -> np.ndarray:
        """Return the gradient (α Q)⁻¹ d, (p,), of a derivative d."""
        return self.term.color(self.term.color_transposed(derivative))

    def norm(self, m: np.ndarray) -> float:
        """Return the norm √(mᵀ α Q m)."""
        return float(np.linalg.norm(self.term.whiten(m)))


@dataclass(frozen=True, eq=False)
class BlockProduct:
    """A product Σ ⟨a_k, b_k⟩ of several parameters, each with a product of its own.

    Attributes:
        name: The name of the product, as `inner_product_named` takes it.
        products: The products, each with the place of its parameter in m.
    """

    name: str
    products: tuple[tuple[slice, InnerProduct], ...]

    @cached_property
    def weights(self) -> np.ndarray | None:
        """The diagonal (p,) of G where all are diagonal, else None."""
        diagonals = [product.weights for _, product in self.products]
        known = [diagonal for diagonal in diagonals if diagonal is not None]
        return np.concatenate(known) if len(known) == len(diagonals) else None

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return the parameter m = S z, (p,)."""
        return np.concatenate([product.primal(z[where]) for where, product in self.products])

    def pullback(self, derivative: np.ndarray) -> np.ndarray:
        """Return the derivative Sᵀ d with respect to z, (p,), of a derivative d with respect to m."""
        return np.concatenate([product.pullback(derivative[where]) for where, product in self.products])

    def gradient(self, derivative: np.ndarray) -> np.ndarray:
        """Return the gradient G⁻¹ d, (p,), of a derivative d."""
        return np.concatenate([product.gradient(derivative[where]) for where, product in self.products])

    def norm(self, m: np.ndarray) -> float:
        """Return the norm √(Σ ⟨m_k, m_k⟩)."""
        return float(np.linalg.norm([product.norm(m[where]) for where, product in self.products]))


def l2_product(parameter: AnyParameter) -> MassProduct | BlockProduct:
    """Return the product ∫ a b by the consistent mass matrix, which is diagonal for piecewise constants.

    Raises:
        InputError: Degrees of freedom of the parameter have no mass, or the mass matrix is nearly singular.
    """
    if isinstance(parameter, Parameters):
        return BlockProduct("l2", tuple((where, l2_product(part)) for where, part in blocks(parameter)))
    mass = parameter.mass.tocsr()
    _check_positive(parameter, mass.diagonal())
    if parameter.space is None or _is_diagonal(mass):
        return _diagonal("l2", mass.diagonal())
    low, high = scaled_spectrum(parameter.space)
    if low < 1e-3:
        raise InputError(
            f"the mass matrix of {parameter.space} is nearly singular: its quadrature has too few points; give the "
            "space a higher order, or use the inner product l2-lumped"
        )
    return MassProduct("l2", mass, (low * (1 - 1e-12), high * (1 + 1e-12)))


def lumped_product(parameter: AnyParameter) -> MassProduct | BlockProduct:
    """Return the product ∫ a b by the lumped mass matrix.

    This is diagonal, so that bounds on m stay bounds on z.

    Raises:
        InputError: Degrees of freedom of the parameter have no mass.
    """
    if isinstance(parameter, Parameters):
        return BlockProduct("l2-lumped", tuple((where, lumped_product(part)) for where, part in blocks(parameter)))
    weights = parameter.lumped_mass
    _check_positive(parameter, weights)
    return _diagonal("l2-lumped", weights)


def regularization_product(
    functional: ReducedFunctional, parameter: AnyParameter, initial: np.ndarray | None = None
) -> FactoredProduct | MaternProduct:
    """Return the prior's product ⟨a, b⟩ = aᵀ β Σ R b with the operators R of the regularization.

    One Matérn term whitens. The operators of other terms are added up and, where their null space asks for it, made
    definite by δ M with the δ of the softest mode (`softness`), of several parameters each with its own. Terms that are
    plain functions do not count.

    Args:
        functional: The functional, with the terms of the regularization and their strength β.
        parameter: The parameter, with the mass matrix M.
        initial: The m (p,) at which the operators are taken, 0 by default; it matters for total variation.

    Raises:
        InputError: No term states an operator, or the regularization is zero, of one of several parameters, too.
    """
    start = np.zeros(parameter.size) if initial is None else initial
    return _prior_product(functional.strength, functional.regularization_terms, parameter, start)


def _prior_product(
    strength: float, terms: Sequence[Term], parameter: AnyParameter, m: np.ndarray
) -> FactoredProduct | MaternProduct:
    if len(terms) == 1 and isinstance(terms[0], Matern) and strength * terms[0].weight > 0:
        return MaternProduct("regularization", strength * terms[0])
    found = [strength * sp.csr_array(term.operator(m)) for term in terms if term.operator is not None]
    operator = sum(found[1:], found[0]) if found else sp.csr_array((len(m), len(m)))
    softened = []
    names = tuple(parameter.parts) if isinstance(parameter, Parameters) else ("",)
    for name, (where, part) in zip(names, blocks(parameter), strict=True):
        own = operator[where, where]
        if not own.diagonal().any():
            raise InputError(
                f"the inner product of the regularization needs a term{f' of {name!r}' if name else ''} that states "
                "its operator, with a weight > 0; use the inner product l2"
                + (f", or one for each parameter: {','.join(f'{one}=l2' for one in names)}" if name else "")
            )
        is_definite = any(term.is_definite for term in (_terms_of_part(terms, name) if name else terms))
        softened.append((0.0 if is_definite else softness(own, part)) * sp.csr_array(part.mass))
    if any(block.count_nonzero() for block in softened):
        operator = operator + sp.csr_array(sp.block_diag(softened, format="csr"))
    return FactoredProduct("regularization", operator.tocsr(), Cholesky(operator))


def _terms_of_part(terms: Sequence[Term], name: str) -> list[Term]:
    """Return the terms of one of several parameters alone, of its own m."""
    return [term.term for term in terms if isinstance(term, OnParameters) and term.names == (name,)]


def inner_product_named(
    name: str,
    functional: ReducedFunctional,
    parameter: AnyParameter,
    bounds: BoundsLike = None,
    initial: np.ndarray | None = None,
) -> InnerProduct:
    """Return the product of a name: "l2", "l2-lumped", "regularization", "euclidean".

    With bounds on m, or an L1 term, "l2" is the lumped one (unless the mass matrix is diagonal): in the others bounds
    and kinks of single entries of m are none of entries of z. Several parameters have one for all, or each its own, as
    "sigma=l2,z=euclidean"; "l2" stands for those that are not named.

    Args:
        name: The name of the product.
        functional: The functional whose regularization "regularization" takes.
        parameter: The parameter whose mass matrix "l2" and "l2-lumped" take.
        bounds: The bounds of m, (lower, upper); None where there are none.
        initial: The m (p,) at which "regularization" takes the operators, 0 by default.

    Raises:
        InputError: The name is unknown, or is "regularization" where there are bounds or an L1 term.
    """
    chosen = inner_products_of(name, parameter)
    lower, upper = full_bounds(bounds, parameter.size)
    kinks = np.zeros(parameter.size) if functional.l1_weights is None else functional.l1_weights
    if isinstance(parameter, Parameters) and set(chosen.values()) != {"regularization"}:
        found: list[tuple[slice, InnerProduct]] = []
        for key, (where, part) in zip(chosen, blocks(parameter), strict=True):
            fitting = _fitting(chosen[key], part, (lower, upper), kinks)  # one part without mixes all
            if fitting == "regularization":
                terms = _terms_of_part(functional.regularization_terms, key)
                start = np.zeros(part.size) if initial is None else initial[where]
                found.append((where, _prior_product(functional.strength, terms, part, start)))
            else:
                found.append((where, _MAKERS[fitting](functional, part, None)))
        names = {key: product.name for key, (_, product) in zip(chosen, found, strict=True)}
        shared = set(names.values())
        joined = shared.pop() if len(shared) == 1 else ",".join(f"{key}={one}" for key, one in names.items())
        return BlockProduct(joined, tuple(found))
    one = "regularization" if isinstance(parameter, Parameters) else name
    return _MAKERS[_fitting(one, parameter, (lower, upper), kinks)](functional, parameter, initial)


def _fitting(name: str, parameter: AnyParameter, bounds: tuple[np.ndarray, np.ndarray], kinks: np.ndarray) -> str:
    """Return the name of the product that keeps bounds and kinks of single entries of m.

    Args:
        name: The name of the product that is asked for.
        parameter: The parameter.
        bounds: The bounds (lower, upper) of m, each (p,).
        kinks: The weights (p,) of an L1 term, zero where there is none.

    Raises:
        InputError: The product of the regularization keeps none.
    """
    bounded = has_bounds(bounds)
    if not (bounded or kinks.any()):
        return name
    if name == "regularization" and not bounded:
        raise InputError(
            "the inner product of the regularization mixes entries of m, so that no optimizer can treat an L1 term "
            "in it; use the inner product l2-lumped"
        )
    if name == "regularization":
        raise InputError(
            "the inner product of the regularization keeps no bounds on single entries of m; use the inner product "
            "l2-lumped, or a parametrization that is bounded (Log, Bounded)"
        )
    return "l2-lumped" if name == "l2" and not _is_diagonal(parameter.mass) else name


def inner_products_of(name: str, parameter: AnyParameter) -> dict[str, str]:
    """Return the names of the products of all parameters by their names, "" for a single one.

    Args:
        name: The name of the product of all, or "sigma=l2,z=euclidean".
        parameter: The parameter.

    Raises:
        InputError: A product or a parameter of such a name is not known.
    """
    parts = tuple(parameter.parts) if isinstance(parameter, Parameters) else ("",)
    if "=" not in name:
        chosen = dict.fromkeys(parts, name)
    else:
        pairs = [(key.strip(), product.strip()) for key, _, product in (one.partition("=") for one in name.split(","))]
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            raise InputError(f"inner product {name!r} names a parameter twice; expected one product for each")
        unknown = [key for key in keys if key not in parts or not key]
        if unknown:
            known = ", ".join(parts) if parts != ("",) else "one parameter without a name"
            raise InputError(f"inner product {name!r}: there is no parameter {unknown[0]!r}; the problem has {known}")
        chosen = dict.fromkeys(parts, "l2") | dict(pairs)
    for one in chosen.values():
        if one not in _MAKERS:
            raise InputError(f"unknown inner product {one!r}; expected one of {', '.join(_MAKERS)}")
    return chosen


def inner_product_names() -> list[str]:
    """Return the names that `inner_product_named` takes."""
    return list(_MAKERS)


def has_bounds(bounds: tuple[Any, Any] | None) -> bool:
    """Return whether bounds (lower, upper) have a side that is given and finite somewhere."""
    return bounds is not None and any(side is not None and np.isfinite(side).any() for side in bounds)


#: The functions that make a product of functional, parameter and initial m, by the name of the product.
_MAKERS: dict[str, Callable[[ReducedFunctional, AnyParameter, np.ndarray | None], InnerProduct]] = {
    "l2": lambda functional, parameter, initial: l2_product(parameter),
    "l2-lumped": lambda functional, parameter, initial: lumped_product(parameter),
    "regularization": regularization_product,
    "euclidean": lambda functional, parameter, initial: _diagonal("euclidean", np.ones(parameter.size)),
}


def _diagonal(name: str, weights: np.ndarray) -> MassProduct:
    return MassProduct(name, sp.diags_array(weights).tocsr(), (1.0, 1.0))


def _is_diagonal(mass: sp.csr_matrix) -> bool:
    return bool(mass.count_nonzero() == np.count_nonzero(mass.diagonal()))


def _check_positive(parameter: SingleParameter, diagonal: np.ndarray) -> None:
    empty = np.count_nonzero(diagonal <= 0)
    if empty:
        raise InputError(
            f"{empty} of {len(diagonal)} degrees of freedom of the parameter have no mass, such as those off the "
            "facets of its space; name those that have, Parameter(space, label, dofs=space.dofs(...))"
        )
