"""The helpers of weak forms, with the names and meanings of `skfem.helpers`.

They take NumPy and JAX arrays alike. Tensor axes come first, then cells and quadrature points. Products are written as
elementwise products and sums, which XLA fuses into the loops around them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.field import Field, value_of


def _stack(rows: list[Any]) -> Any:
    xp = jnp if any(isinstance(row, jax.Array) for row in rows) else np
    return xp.stack(xp.broadcast_arrays(*rows))


def grad(u: Field) -> Any:
    """Return the gradient (…, d, c, q) of a function (…, c, q)."""
    return u.grad


def div(u: Field) -> Any:
    """Return the divergence (c, q) of a function of an H(div) element or of a vector field (d, c, q)."""
    if u.div is not None:
        return u.div
    return trace(u.grad) if u.grad.ndim >= 4 else u.grad[0]


def curl(u: Field) -> Any:
    """Return the curl of a function.

    Args:
        u: A function of an H(curl) element, a vector field (d, c, q), or in 2-D a scalar (c, q).

    Returns:
        The curl, (d, c, q) of an H(curl) element or a vector field in 3-D, and of a scalar in 2-D; otherwise (c, q).
    """
    if u.curl is not None:
        return u.curl
    g = u.grad
    if g.ndim == 3:
        return _stack([g[1], -g[0]])
    if g.shape[0] == 2:
        return g[1, 0] - g[0, 1]
    return _stack([g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1]])


def d(u: Field) -> Any:
    """Return the gradient, divergence or curl, whichever the element has."""
    return next(part for part in (u.grad, u.div, u.curl) if part is not None)


def dd(u: Field) -> Any:
    """Return the second derivatives (d, d, c, q), for elements that have them."""
    return u.hess


def sym_grad(u: Field) -> Any:
    """Return the symmetric part (d, d, c, q) of the gradient of a vector field (d, c, q)."""
    return 0.5 * (u.grad + transpose(u.grad))


def dot(u: Any, v: Any) -> Any:
    """Return the product u_i v_i (c, q) of two vector fields (d, c, q)."""
    return (value_of(u) * value_of(v)).sum(0)


def ddot(u: Any, v: Any) -> Any:
    """Return the product u_ij v_ij (c, q) of two tensor fields (d, d, c, q)."""
    return (value_of(u) * value_of(v)).sum((0, 1))


def dddot(u: Any, v: Any) -> Any:
    """Return the product u_ijk v_ijk (c, q) of two tensor fields (d, d, d, c, q)."""
    return (value_of(u) * value_of(v)).sum((0, 1, 2))


def inner(u: Any, v: Any) -> Any:
    """Return the inner product (c, q) of two tensor fields of the same rank.

    Of tuples, as of mixed elements, it is the sum over their parts.
    """
    if isinstance(u, tuple):
        return sum(inner(a, b) for a, b in zip(u, v, strict=True))
    product = value_of(u) * value_of(v)
    return product.sum(tuple(range(product.ndim - 2)))


def prod(u: Any, v: Any, w: Any = None) -> Any:
    """Return the tensor u_i v_j (d, d, c, q), or u_i v_j w_k (d, d, d, c, q), of vector fields (d, c, q)."""
    pair = value_of(u)[:, None] * value_of(v)[None]
    return pair if w is None else pair[:, :, None] * value_of(w)[None, None]


def mul(A: Any, x: Any) -> Any:
    """Return the product A_ij x_j (d, c, q) with a vector, or A_ij B_jk (d, d, c, q) with a tensor field."""
    A, x = value_of(A), value_of(x)
    if x.ndim >= A.ndim:
        return (A[:, :, None] * x[None]).sum(1)
    return (A * x[None]).sum(1)


def trace(T: Any) -> Any:
    """Return the trace T_ii (c, q) of a tensor field (d, d, c, q)."""
    T = value_of(T)
    return sum(T[i, i] for i in range(1, T.shape[0])) + T[0, 0]


def transpose(T: Any) -> Any:
    """Return the transpose T_ji of a tensor field: its first two axes are exchanged."""
    return value_of(T).swapaxes(0, 1)


def eye(w: Any, n: int) -> Any:
    """Return the diagonal tensor (n, n, c, q) with w (c, q) on its diagonal."""
    w = value_of(w)
    return _stack([_stack([w if i == j else 0.0 * w for j in range(n)]) for i in range(n)])


def identity(w: Any, N: int | None = None) -> Any:
    """Return the identity tensor (N, N, 1, 1) at the quadrature points of w (…, N, c, q)."""
    size = value_of(w).shape[-3] if N is None else N
    return eye(np.ones((1, 1)), size)


def det(A: Any) -> Any:
    """Return the determinant (c, q) of a 2 × 2 or 3 × 3 tensor (d, d, c, q)."""
    A = value_of(A)
    if A.shape[0] == 2:
        return A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]
    return (
        A[0, 0] * (A[1, 1] * A[2, 2] - A[1, 2] * A[2, 1])
        + A[0, 1] * (A[1, 2] * A[2, 0] - A[1, 0] * A[2, 2])
        + A[0, 2] * (A[1, 0] * A[2, 1] - A[1, 1] * A[2, 0])
    )


def inv(A: Any) -> Any:
    """Return the inverse of a 2 × 2 or 3 × 3 tensor (d, d, c, q)."""
    A = value_of(A)
    if A.shape[0] == 2:
        cofactors = _stack([_stack([A[1, 1], -A[0, 1]]), _stack([-A[1, 0], A[0, 0]])])
    else:  # the columns of the inverse are cross products of rows
        cofactors = transpose(_stack([cross(A[1], A[2]), cross(A[2], A[0]), cross(A[0], A[1])]))
    return cofactors / det(A)


def cross(a: Any, b: Any) -> Any:
    """Return the cross product a × b of two vector fields: (c, q) in 2-D, (3, c, q) in 3-D."""
    a, b = value_of(a), value_of(b)
    if a.shape[0] == 2:
        return a[0] * b[1] - a[1] * b[0]
    return _stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def jump(w: Any, *args: Any) -> Any:
    """Return functions with the sign of the side of the interior facet that each comes from.

    Summed over both sides this is the jump. In a bilinear form: ``ju, jv = jump(w, u, v)``.

    Args:
        w: The coefficients of the form, which know the sides.
        *args: The trial and the test function, or the test function alone.

    Returns:
        A tuple of ±args, or one array for one argument; away from interior facets the arguments unchanged.
    """
    sides = w.get("idx", (0,) * len(args))[: len(args)]
    signed = [(-1.0) ** side * value_of(arg) for side, arg in zip(sides, args, strict=True)]
    return signed[0] if len(signed) == 1 else tuple(signed)
