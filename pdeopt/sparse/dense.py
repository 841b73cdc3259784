"""The derivative rule of a linear solve on dense arrays: the derivation, and the oracle of the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def dense_solve_pullback(A: ArrayLike, b: ArrayLike, x_bar: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pull the cotangent x̄ of x = A⁻¹ b back to A and b, with dense linear algebra.

    Derivation: differentiate A x = b:  dA x + A dx = db, so dx = A⁻¹ (db − dA x). A cotangent x̄ pairs with dx as
    x̄ᵀ dx (no conjugation, JAX's convention also for complex values). With λ defined by Aᵀ λ = x̄::

        x̄ᵀ dx = x̄ᵀ A⁻¹ (db − dA x) = λᵀ db − λᵀ dA x = ⟨λ, db⟩ − ⟨λ xᵀ, dA⟩,

    so b̄ = λ and Ā = −λ xᵀ. For b of shape (n, k) the columns add up: Ā = −Σ_k λ_k x_kᵀ. For a matrix stored on a
    pattern only its entries can vary, so Ā.data[z] = −λ[row[z]] · x[col[z]]: the rest of Ā is never needed, and
    `linear_solve` never forms it. (Giles 2008, "Collected matrix derivative results for forward and reverse mode
    algorithmic differentiation", section 2.3.1.)

    Args:
        A: The dense matrix (n, n).
        b: The right-hand side (n,), or several (n, k).
        x_bar: The cotangent of x, of the shape of b.

    Returns:
        The solution x of the shape of b, the cotangent Ā (n, n), and the cotangent b̄ of the shape of b.
    """
    A, b, x_bar = np.asarray(A), np.asarray(b), np.asarray(x_bar)
    n = len(A)
    x = np.linalg.solve(A, b)
    adjoint = np.linalg.solve(A.T, x_bar)
    A_bar = -adjoint.reshape(n, -1) @ x.reshape(n, -1).T
    return x, A_bar, adjoint
