"""Basis functions as combinations of a few reference functions, the same in all cells, with coefficients per cell.

On affine cells the gradients are J⁻ᵀ ∇φ̂, those of the Piola-mapped elements J φ̂ / det J: of rank d over the cells.
Element matrices are then one product with a constant matrix. (The tensor representation of Kirby and Logg 2006, "A
compiler for variational forms", with coefficients at the quadrature points.) It is found by linear algebra on the
tables, so that nothing needs to be known of the element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: Cells from which the reference functions are taken.
SAMPLE = 32
#: Largest number of reference functions.
LARGEST_RANK = 4
#: Of the remainder, relative.
ROUNDING = 1e-13


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Reference:
    """A table (tensor axes, i, c, q) = Σ_r coefficients[tensor axes, r, c] · functions[r, i, q]."""

    coefficients: Any
    functions: Any


def reference_of(table: np.ndarray) -> Reference | None:
    """None where more than a few reference functions would be needed, as on curved cells."""
    *axes, count, cells, points = table.shape
    tensor = len(axes)
    flat = np.moveaxis(table, -2, tensor).reshape(-1, count * points)  # (tensor axes · c, i · q)
    step = max(1, len(flat) // (SAMPLE * max(1, int(np.prod(axes)))))
    _, sizes, functions = np.linalg.svd(flat[::step], full_matrices=False)
    rank = int((sizes > ROUNDING * sizes[0]).sum()) if len(sizes) and sizes[0] > 0 else 0
    if not 0 < rank <= LARGEST_RANK:
        return None
    functions = functions[:rank]
    coefficients = flat @ functions.T
    if np.abs(flat - coefficients @ functions).max() > 10 * ROUNDING * np.abs(flat).max():
        return None
    by_cell = np.moveaxis(coefficients.reshape(*axes, cells, rank), -1, -2)
    return Reference(jnp.asarray(np.ascontiguousarray(by_cell)), jnp.asarray(functions.reshape(rank, count, points)))
