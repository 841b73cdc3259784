"""Basis functions as combinations of a few reference functions.

These are the same in all cells, and the coefficients differ from cell to cell. On affine cells the gradients are
J⁻ᵀ ∇φ̂, the functions of Piola-mapped elements J φ̂ / det J: of rank d over the cells. Element matrices are then one
product with a constant matrix. (The tensor representation of Kirby and Logg 2006, "A compiler for variational forms",
with coefficients at the quadrature points.) It is found by linear algebra on the tables, so that nothing needs to be
known of the element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

#: The number of cells from which the reference functions are taken, about.
REFERENCE_CELLS = 32
#: The largest number of reference functions.
MAX_REFERENCE_FUNCTIONS = 4
#: The rounding of the tables, relative to the largest entry of the same cell.
TABLE_ROUNDING = 1e-13


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reference:
    """A table (tensor axes, i, c, q) as a sum over a few reference functions r.

    It is Σ_r coefficients[tensor axes, r, c] · functions[r, i, q].

    Attributes:
        coefficients: The coefficients in each cell, (tensor axes, r, c).
        functions: The reference functions of each local dof i at the quadrature points q, (r, i, q).
    """

    coefficients: Any
    functions: Any


def reference_of(table: np.ndarray) -> Reference | None:
    """Return a table (tensor axes, i, c, q) as a sum over reference functions.

    Return None where it takes more than a few, as on curved cells, or where the table vanishes in a cell.
    """
    *axes, count, cells, points = table.shape
    by_cell = np.moveaxis(table, -2, 0).reshape(cells, -1, count * points)  # (c, tensor axes, i · q)
    sizes = np.abs(by_cell).max((1, 2), initial=0)
    if not sizes.all():
        return None
    scaled = by_cell / sizes[:, None, None]
    functions = _row_space(scaled[:: max(1, cells // REFERENCE_CELLS)].reshape(-1, count * points))
    coefficients = scaled @ functions.T  # (c, tensor axes, r)
    if (
        len(functions) > MAX_REFERENCE_FUNCTIONS
        or np.abs(scaled - coefficients @ functions).max() > 10 * TABLE_ROUNDING
    ):
        return None
    coefficients = np.moveaxis(coefficients * sizes[:, None, None], 0, -1).reshape(*axes, len(functions), cells)
    return Reference(*jax.device_put((coefficients, functions.reshape(-1, count, points))))


def _row_space(rows: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (r, k) of the space that the rows (…, k) span."""
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    return basis[: int((sizes > TABLE_ROUNDING * sizes[0]).sum())]
