"""A preconditioner made of one for each block of unknowns, for coupled systems such as saddle points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.solvers.krylov.preconditioners import Applied, Preconditioner


@dataclass(frozen=True, eq=False)
class Block:
    """A block of unknowns with its own preconditioner.

    Attributes:
        unknowns: The numbers of the unknowns among all, (k,).
        preconditioner: The preconditioner of the block.
        matrix: The matrix (k, k) that is preconditioned in place of the block of A, as the mass matrix of a pressure,
            whose own block is zero. None for the block of A.

    Raises:
        SolveError: The matrix has another size.
    """

    unknowns: np.ndarray
    preconditioner: Preconditioner
    matrix: sp.csr_matrix | None = None

    def __post_init__(self) -> None:
        size = len(self.unknowns)
        if self.matrix is not None and self.matrix.shape != (size, size):
            raise SolveError(f"a block of {size} unknowns has a matrix of shape {self.matrix.shape}; expected {size}")

    @property
    def content(self) -> tuple[object, ...]:
        """The content of the block, by which blocks are compared."""
        matrix = self.matrix
        parts = () if matrix is None else (matrix.indptr.tobytes(), matrix.indices.tobytes(), matrix.data.tobytes())
        return (self.unknowns.astype(np.int64).tobytes(), self.preconditioner, *parts)


@dataclass(frozen=True, eq=False)
class BlockDiagonal:
    """A preconditioner that is block diagonal, as for a saddle point.

    For the Stokes equations in a stable pair of elements, with a V-cycle for the velocity and the diagonal of the
    pressure's mass matrix over the viscosity, `MINRES` takes as many iterations on every mesh (Elman, Silvester and
    Wathen 2014, "Finite Elements and Fast Iterative Solvers", section 4.2). It is symmetric and definite where its
    blocks are. `pdeopt.pde.block_preconditioner` finds the unknowns by the parts of a state.

    Attributes:
        blocks: The blocks, whose unknowns are all, each once.
    """

    blocks: Sequence[Block]

    @property
    def name(self) -> str:
        """The names of the preconditioners of the blocks, "block(amg,jacobi)"."""
        return f"block({','.join(block.preconditioner.name for block in self.blocks)})"

    @cached_property
    def _content(self) -> tuple[object, ...]:
        return tuple(block.content for block in self.blocks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockDiagonal) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def set_up(self, matrix: sp.csr_matrix) -> Applied:
        """Return the approximate inverse of ``matrix`` (n, n).

        Raises:
            SolveError: The unknowns of the blocks are not those of the matrix, or a block has no preconditioner.
        """
        n = matrix.shape[0]
        unknowns = np.concatenate([block.unknowns for block in self.blocks])
        if not np.array_equal(np.sort(unknowns), np.arange(n)):
            raise report(
                SolveError(f"the blocks have {len(unknowns)} unknowns; expected each of the {n} of the matrix once")
            )
        return _Blocks(
            tuple(
                (
                    block.unknowns,
                    block.preconditioner.set_up(
                        sp.csr_matrix(matrix[block.unknowns][:, block.unknowns])
                        if block.matrix is None
                        else block.matrix
                    ),
                )
                for block in self.blocks
            )
        )


@dataclass(frozen=True, eq=False)
class _Blocks:
    applied: tuple[tuple[np.ndarray, Applied], ...]

    def apply(self, r: np.ndarray) -> np.ndarray:
        """Return M r for r (n,)."""
        x = np.empty_like(r)
        for unknowns, block in self.applied:
            x[unknowns] = block.apply(r[unknowns])
        return x

    def apply_transposed(self, r: np.ndarray) -> np.ndarray:
        """Return Mᵀ r for r (n,)."""
        x = np.empty_like(r)
        for unknowns, block in self.applied:
            x[unknowns] = block.apply_transposed(r[unknowns])
        return x
