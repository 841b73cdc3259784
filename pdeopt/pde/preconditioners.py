"""Preconditioners of coupled states, by their parts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pdeopt.fem import Condition, FEMError, FunctionSpace
from pdeopt.sparse import Block, BlockDiagonal, CSRMatrix, Preconditioner


def block_preconditioner(
    condition: Condition, blocks: Mapping[FunctionSpace, Preconditioner | tuple[Preconditioner, CSRMatrix]]
) -> BlockDiagonal:
    """Return a preconditioner that is made of one for each part of a coupled state.

    Args:
        condition: The condition of the state equation, whose unknowns are those of the system that is solved.
        blocks: For each part, as `FunctionSpace.split` makes it, its preconditioner; with a matrix (part, part) where
            another one than the part's own block is preconditioned, as the mass matrix of a pressure.

    Raises:
        FEMError: The parts are not those of the space that the condition belongs to.

    Example:
        Large Stokes systems take ``MINRES(preconditioner=block_preconditioner(walls, {velocity: AMG(), pressure:
        (Jacobi(), mass.assemble(pressure))}))``.
    """
    free = np.setdiff1d(np.arange(condition.n), condition.dofs)
    found = []
    for space, given in blocks.items():
        if space.whole.n != condition.n:
            raise FEMError(f"{space} is part of {space.whole.n} degrees of freedom, the condition has {condition.n}")
        preconditioner, matrix = given if isinstance(given, tuple) else (given, None)
        own = np.flatnonzero(np.isin(space.indices, free))
        unknowns = np.searchsorted(free, space.indices[own])
        found.append(Block(unknowns, preconditioner, None if matrix is None else matrix.to_scipy()[own][:, own]))
    return BlockDiagonal(tuple(found))
