"""Preconditioners that know the spaces of the state: by parts, and of displacements."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from pdeopt.fem import Condition, FEMError, FunctionSpace, MeanValue, rigid_motions
from pdeopt.sparse import AMG, Block, BlockDiagonal, CSRMatrix, Preconditioner, Solver, resolve_solver
from pdeopt.sparse.solvers import informed


def block_preconditioner(
    condition: Condition, blocks: Mapping[FunctionSpace, Preconditioner | tuple[Preconditioner, CSRMatrix]]
) -> BlockDiagonal:
    """Return a preconditioner that is made of one for each part of a coupled state.

    Args:
        condition: The condition of the state equation, whose unknowns are those of the system that is solved.
        blocks: For each part, as `FunctionSpace.split` makes it, its preconditioner; with a matrix (part, part) where
            another one than the part's own block is preconditioned, as the mass matrix of a pressure.

    Raises:
        FEMError: The parts are not those of the space that the condition belongs to, or the condition is a mean value,
            whose multiplier is in no part.

    Example:
        Large Stokes systems take ``MINRES(preconditioner=block_preconditioner(walls, {velocity: AMG(), pressure:
        (Jacobi(), mass.assemble(pressure))}))``.
    """
    if isinstance(condition, MeanValue):
        raise FEMError(
            "the condition is a mean value, whose multiplier is in no part of the state; prescribe a value at a point, "
            "with Dirichlet.at, or take the condition without the mean and a Krylov method, which leaves it as it is"
        )
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


def displacement_solver(
    solver: str | Solver, parts: Mapping[str, FunctionSpace], condition: Condition | None
) -> str | Solver:
    """Return a solver whose multigrid knows the rigid motions where the state is a displacement.

    Args:
        solver: The solver or its name.
        parts: The spaces of the parts of the state, by name.
        condition: The condition of the state equation. Without one, or with a mean value, the solver is returned as it
            is; so it is for other states.
    """
    spaces = tuple(parts.values())
    if len(spaces) != 1 or spaces[0].is_part or rigid_motions(spaces[0]) is None:
        return solver
    if condition is None or condition.n != spaces[0].n or isinstance(condition, MeanValue):
        return solver
    return informed(resolve_solver(solver), _multigrid(spaces[0], condition.dofs.astype(np.int64).tobytes()))


@lru_cache(maxsize=4)
def _multigrid(space: FunctionSpace, dofs: bytes) -> AMG:
    """Return the multigrid that knows the rigid motions of a space, without prescribed values."""
    motions = rigid_motions(space)
    assert motions is not None
    return AMG(near_nullspace=np.delete(motions, np.frombuffer(dofs, np.int64), axis=0))
