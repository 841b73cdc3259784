"""A differentiable sparse linear solver for JAX. It knows arrays only: no meshes, no forms.

Importing it switches JAX to 64-bit floating point, which every solve here needs.
"""

import os

import jax

jax.config.update("jax_enable_x64", True)
if len(getattr(os, "sched_getaffinity", lambda _: (0, 1))(0)) == 1:
    # JAX copies the arguments of a host callback on the threads of its pool, and on a single core waits for ever for
    # the one that runs the callback (jax issue 24255). It takes the number of threads from here when it starts.
    os.environ.setdefault("NPROC", "2")

from pdeopt.sparse.blocks import block_matrix, diagonal_matrix
from pdeopt.sparse.dense import dense_solve_pullback
from pdeopt.sparse.errors import SolveError, solve_errors
from pdeopt.sparse.hoisting import compiled_program
from pdeopt.sparse.linear_map import LinearMap, materialized, with_stored_derivatives
from pdeopt.sparse.march.host import StateMemory, state_memory
from pdeopt.sparse.march.marching import linear_march
from pdeopt.sparse.march.schedule import Checkpoints, forward_steps
from pdeopt.sparse.matrix import CSRMatrix
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.process import ProcessError, check_process, clear_compiled
from pdeopt.sparse.solve import chosen_solver, linear_solve
from pdeopt.sparse.solvers import (
    AMG,
    CG,
    GMRES,
    ILU,
    MINRES,
    Applied,
    BiCGSTAB,
    Block,
    BlockDiagonal,
    DirectSolver,
    Jacobi,
    Preconditioner,
    Solver,
    Work,
    clear_memo,
    forgetting,
    resolve_solver,
    solver_accuracy,
    solver_names,
    work,
)

__all__ = [
    "AMG",
    "CG",
    "GMRES",
    "ILU",
    "MINRES",
    "Applied",
    "BiCGSTAB",
    "Block",
    "BlockDiagonal",
    "CSRMatrix",
    "Checkpoints",
    "DirectSolver",
    "Jacobi",
    "LinearMap",
    "Preconditioner",
    "ProcessError",
    "SolveError",
    "Solver",
    "SparsityPattern",
    "StateMemory",
    "Work",
    "block_matrix",
    "check_process",
    "chosen_solver",
    "clear_compiled",
    "clear_memo",
    "compiled_program",
    "dense_solve_pullback",
    "diagonal_matrix",
    "forgetting",
    "forward_steps",
    "linear_march",
    "linear_solve",
    "materialized",
    "resolve_solver",
    "solve_errors",
    "solver_accuracy",
    "solver_names",
    "state_memory",
    "with_stored_derivatives",
    "work",
]
