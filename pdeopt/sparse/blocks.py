"""Sparse matrices made of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.linear_map import LinearMap
from pdeopt.sparse.matrix import CSRMatrix
from pdeopt.sparse.pattern import SparsityPattern

#: The patterns of the blocks, row by row; None stands for a block of zeros.
Layout = tuple[tuple[SparsityPattern | None, ...], ...]


def block_matrix(blocks: Sequence[Sequence[CSRMatrix | None]]) -> CSRMatrix:
    """Return the matrix made of blocks, as `scipy.sparse.block_array` does.

    It is differentiable in the data of every block. Its pattern follows from those of the blocks, and is remembered by
    them.

    Args:
        blocks: The rows of blocks; None stands for a block of zeros.

    Raises:
        SolveError: The rows have different lengths, the shapes of the blocks do not fit together, or a row or a column
            of blocks is all None.
    """
    layout = tuple(tuple(_pattern(block) for block in row) for row in blocks)
    pattern, order = _layout(layout)
    data = jnp.concatenate([block.data for row in blocks for block in row if block is not None])
    return CSRMatrix(order(data), pattern)


def diagonal_matrix(values: ArrayLike) -> CSRMatrix:
    """Return the diagonal matrix with ``values`` (n,) on the diagonal, differentiable in them."""
    size = np.shape(values)[0]
    indptr, indices = np.arange(size + 1, dtype=np.int32), np.arange(size, dtype=np.int32)
    return CSRMatrix(jnp.asarray(values), SparsityPattern(indptr, indices, (size, size)))


def _pattern(block: CSRMatrix | None) -> SparsityPattern | None:
    if block is not None and not isinstance(block, CSRMatrix):
        raise SolveError(f"a block is a {type(block).__name__}; expected a CSRMatrix or None: CSRMatrix.from_scipy(A)")
    return None if block is None else block.pattern


@lru_cache(maxsize=8)
def _layout(layout: Layout) -> tuple[SparsityPattern, LinearMap]:
    """Return the pattern of the whole matrix, and the map that makes its values.

    The map takes the concatenated values of the blocks to those of the whole matrix.
    """
    _check_rectangular(layout)
    top = np.concatenate([[0], np.cumsum([_extent(row, 0, f"row {i}") for i, row in enumerate(layout)])])
    columns = enumerate(zip(*layout, strict=True))
    left = np.concatenate([[0], np.cumsum([_extent(column, 1, f"column {j}") for j, column in columns])])
    present = [(i, j, block) for i, row in enumerate(layout) for j, block in enumerate(row) if block is not None]
    rows = np.concatenate([top[i] + block.rows for i, _, block in present])
    cols = np.concatenate([left[j] + block.indices for _, j, block in present])
    pattern, place = SparsityPattern.from_entries(rows, cols, (int(top[-1]), int(left[-1])))
    return pattern, LinearMap.selection(np.argsort(place), len(place))


def _check_rectangular(layout: Layout) -> None:
    lengths = [len(row) for row in layout]
    if not lengths or lengths[0] == 0 or len(set(lengths)) > 1:
        raise SolveError(f"the rows of blocks have lengths {lengths}; expected at least one row, all of one length")


def _extent(line: tuple[SparsityPattern | None, ...], axis: int, name: str) -> int:
    """Return the height of a row of blocks (axis 0), or the width of a column of blocks (axis 1)."""
    extents = [block.shape[axis] for block in line if block is not None]
    what = ("heights", "widths")[axis]
    if not extents:
        raise SolveError(f"{name} of the blocks is all None, its size is unknown; give a matrix without entries there")
    if len(set(extents)) > 1:
        raise SolveError(f"the blocks in {name} have different {what}: {extents}; expected one size")
    return extents[0]
