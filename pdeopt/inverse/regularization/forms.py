"""The forms that regularization is made of, on cells and on facets."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from pdeopt.fem import FunctionSpace, bilinear_form, grad, inner
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization.terms import TRIVIAL_NULL_SPACE

#: The size below which entries of a matrix, relative to its largest, are rounding of the assembly.
ASSEMBLY_ROUNDING = 1e-12


@bilinear_form
def mass(u: Any, v: Any, _: Any) -> Any:
    """Return the integrand of the bilinear form ∫ u v."""
    return inner(u, v)


@bilinear_form
def stiffness(u: Any, v: Any, w: Any) -> Any:
    """Return the integrand of the bilinear form ∫ ∇u·∇v.

    On facets it is that of the tangential gradients, which the traces of u and v determine.
    """
    return total(slope(u, w) * slope(v, w))


def slope(field: Any, w: Any) -> Any:
    """Return the gradient (…, d, c, q) of a field; on facets its tangential part."""
    gradient = grad(field)
    return gradient if "n" not in w else _tangential(gradient, w["n"])


def total(product: Any) -> Any:
    """Return the sum (c, q) of a product over all tensor axes."""
    return product.sum(tuple(range(product.ndim - 2)))


def _tangential(gradient: Any, normal: Any) -> Any:
    n = normal.value
    return gradient - (gradient * n).sum(-3, keepdims=True) * n


def restricted(matrix: sp.csr_matrix, dofs: np.ndarray | None) -> sp.csr_matrix:
    """Return the block of a matrix for some degrees of freedom.

    It is the matrix of functions that are zero at the others.
    """
    return matrix if dofs is None else matrix[dofs][:, dofs]


def null_space(matrix: sp.csr_matrix, dofs: np.ndarray | None, constants: bool) -> str:
    """Return in words the null space of a block of a mass matrix or of a stiffness matrix.

    Where degrees of freedom that are no parameters (zero there) couple with those that are, constants are not in it.

    Args:
        matrix: The matrix (n, n).
        dofs: The degrees of freedom of the block; None for all.
        constants: Whether constants are in the null space of the whole matrix, as in that of a stiffness matrix.
    """
    kept = np.arange(matrix.shape[0]) if dofs is None else dofs
    rest = np.setdiff1d(np.arange(matrix.shape[0]), kept)
    tolerance = ASSEMBLY_ROUNDING * abs(matrix).max()
    parts = []
    if constants and not (abs(matrix[kept][:, rest]) > tolerance).nnz:
        parts.append("constants")
    if not (matrix.diagonal()[kept] > tolerance).all():
        parts.append("functions that vanish where it is integrated")
    return ", ".join(parts) or TRIVIAL_NULL_SPACE


def check_gradient(space: FunctionSpace) -> None:
    """Refuse a space of piecewise constants, for which a term in ∇m would be zero, silently.

    Raises:
        InputError: The functions of the space have no gradient.
    """
    if not any("grad" in parts and bool((parts["grad"] != 0).any()) for parts in space.tables.components):
        raise InputError(
            f"functions of {type(space.element).__name__} have no gradient to regularize; use tikhonov, or a "
            "continuous element for the parameter"
        )
