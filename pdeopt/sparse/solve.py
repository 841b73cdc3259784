"""The differentiable sparse solve: one rule, forward and reverse mode, any order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.sparse.errors import SolveError, solve_errors
from pdeopt.sparse.host import host_call
from pdeopt.sparse.matrix import CSRMatrix, matrix_product
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.process import check_process
from pdeopt.sparse.solvers import Auto, Solver, resolve_solver
from pdeopt.sparse.solvers.auto import fastest_direct


def linear_solve(A: CSRMatrix, b: ArrayLike, solver: str | Solver = "auto") -> jax.Array:
    """Solve A x = b, differentiably in ``A.data`` and ``b``.

    The derivatives are of both modes and of any order, also under ``jit`` and ``vmap``.

    Args:
        A: The square matrix (n, n), real or complex, `float64` or `complex128`.
        b: The right-hand side (n,), or (n, k) for k right-hand sides that share the factorization.
        solver: A name of `solver_names` ("auto", "rslab", "pardiso", "cg+amg", …) or a solver object, as
            ``CG(rtol=1e-8, preconditioner=AMG())``.

    Returns:
        The solution x, of the shape of b.

    Raises:
        SolveError: The matrix is not square, singular or not finite, a shape or dtype does not fit, or no solver
            reaches a small residual. Under ``jax.jit`` it arrives inside a ``JaxRuntimeError`` or ``ValueError``,
            unless the call stands in ``with solve_errors():``.
        ProcessError: JAX's 64-bit mode was switched off, or the process was forked from one that has computed.

    Example:
        >>> import scipy.sparse as sp
        >>> A = CSRMatrix.from_scipy(sp.csr_array([[2.0, 1.0], [0.0, 4.0]]))
        >>> linear_solve(A, [4.0, 8.0])
        Array([1., 2.], dtype=float64)
        >>> jax.grad(lambda b: linear_solve(A, b).sum())(jnp.ones(2))
        Array([0.5  , 0.125], dtype=float64)
    """
    check_process()
    b = jnp.asarray(b)
    _check(A, b)
    dtype = jnp.result_type(A.data, b)
    data, b = A.data.astype(dtype), b.astype(dtype)
    with solve_errors():
        x = _solve(A.pattern, resolve_solver(solver), data, b)
        return x if isinstance(x, jax.core.Tracer) else jax.block_until_ready(x)


def chosen_solver(
    system: Callable[[Any], tuple[CSRMatrix, jax.Array]], coefficient: Any, solver: str | Solver = "auto"
) -> Solver:
    """Return the solver that `linear_solve` takes for a system.

    For "auto" it is the solver that this stands for there, for any other solver that solver itself. It depends on the
    arguments and on what is installed, and not on what was solved before. The system is evaluated only where the choice
    depends on its values; its shapes are enough for most.

    Args:
        system: The function coefficient ↦ (A, b), which JAX traces; A and b are those of `linear_solve`, with b of
            shape (n,) or (n, k).
        coefficient: Any pytree of arrays.
        solver: A name or a solver object, as `linear_solve` takes it.

    Raises:
        SolveError: The solver is unknown, or its library is not installed.
    """
    found = resolve_solver(solver)
    if not isinstance(found, Auto):
        return found
    A, b = jax.eval_shape(system, coefficient)
    dtype, columns = np.result_type(A.data.dtype, b.dtype), b.shape[1] if b.ndim == 2 else 1
    if not found.may_be_multigrid(A.pattern, dtype, columns):
        return fastest_direct()
    return found.chosen(A.pattern, np.asarray(system(coefficient)[0].data), columns)


def _solve(pattern: SparsityPattern, solver: Solver, data: jax.Array, b: jax.Array) -> jax.Array:
    """Solve A x = b with the derivative rule of the solve.

    With x = A⁻¹ b and the cotangent x̄ of x, the rule is (`dense_solve_pullback` derives it)::

        Aᵀ λ = x̄,    b̄ = λ,    Ā.data[z] = −λ[row[z]] · x[col[z]]

    `custom_linear_solve` states it as the identity A x = b: its tangent solves A ẋ = ḃ − Ȧ x with the same `solve`, and
    transposing that gives the three formulas, Aᵀ λ = x̄ with `transpose_solve` and Ā as the transpose of the product
    Ȧ x, which visits stored entries only. Both are linear solves again, hence derivatives of every order.
    """
    x: jax.Array = jax.lax.custom_linear_solve(
        matvec=partial(matrix_product, pattern, data),
        b=b,
        solve=lambda _, rhs: _host_solve(pattern, solver, False, data, rhs),
        transpose_solve=lambda _, rhs: _host_solve(pattern, solver, True, data, rhs),
    )
    return x


def _host_solve(
    pattern: SparsityPattern, solver: Solver, transposed: bool, data: jax.Array, rhs: jax.Array
) -> jax.Array:
    solve = partial(_solve_batch, pattern, solver, transposed)
    return host_call(solve, jax.ShapeDtypeStruct(rhs.shape, rhs.dtype), data, rhs)


def _solve_batch(
    pattern: SparsityPattern, solver: Solver, transposed: bool, data: np.ndarray, rhs: np.ndarray
) -> np.ndarray:
    """Solve a batch of systems on the host, with NumPy only.

    Right-hand sides that share a matrix are solved together, in one call.

    Args:
        pattern: The pattern of the matrices.
        solver: The solver.
        transposed: Whether to solve with the transposed matrices.
        data: The values (..., nnz) of the matrices; the leading axes of `vmap` are broadcast.
        rhs: The right-hand sides (..., n) or (..., n, k), with leading axes like those of ``data``.

    Returns:
        The solutions, of the shape of ``rhs`` with its leading axes broadcast.
    """
    lead = data.ndim - 1
    if lead == 0 and rhs.size:  # no batch, hence no copies
        return solver.solve(pattern, data, rhs if rhs.ndim == 2 else rhs[:, None], transposed).reshape(rhs.shape)
    columns = rhs if rhs.ndim == lead + 2 else rhs[..., None]
    batch = np.broadcast_shapes(data.shape[:-1], columns.shape[:lead])
    columns = np.broadcast_to(columns, batch + columns.shape[lead:])
    result = np.empty(columns.shape, columns.dtype)
    for index in np.ndindex(*data.shape[:-1]) if result.size else ():
        shared = tuple(i if size > 1 else slice(None) for i, size in zip(index, data.shape[:-1], strict=True))
        block = np.moveaxis(columns[shared], -2, 0)  # (n, …, k)
        x = solver.solve(pattern, data[index], np.ascontiguousarray(block.reshape(len(block), -1)), transposed)
        result[shared] = np.moveaxis(x.reshape(block.shape), 0, -2)
    return result.reshape(batch + rhs.shape[lead:])


def _check(A: CSRMatrix, b: jax.Array) -> None:
    if not isinstance(A, CSRMatrix):
        raise SolveError(f"A must be a CSRMatrix, got {type(A).__name__}; use CSRMatrix.from_scipy(A)")
    if not A.pattern.is_square:
        raise SolveError(f"A must be square, got shape {A.shape}")
    n = A.shape[0]
    if b.ndim not in (1, 2) or b.shape[0] != n:
        raise SolveError(f"b has shape {b.shape}; expected ({n},) or ({n}, k) for a matrix of shape {A.shape}")
    if A.data.shape != (A.pattern.nnz,):
        raise SolveError(f"A.data has shape {A.data.shape}; its pattern stores {A.pattern.nnz} entries")
    for name, array in (("A.data", A.data), ("b", b)):
        if array.dtype not in (jnp.float64, jnp.complex128):
            kind = "complex" if jnp.issubdtype(array.dtype, jnp.complexfloating) else "float"
            raise SolveError(
                f"{name} has dtype {array.dtype}; expected float64 or complex128: use {name}.astype({kind})"
            )
