"""Linear state equations, as differentiable maps from the parameter to the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from pdeopt.fem import Dirichlet
from pdeopt.sparse import CSRMatrix, SolveError, Solver, linear_solve


@dataclass(frozen=True)
class LinearStateEquation:
    """The map from a coefficient κ to the state u of A(κ) u = b(κ).

    Attributes:
        system: κ ↦ (A, b) with b of shape (n,), or (n, r) for r experiments that share A and its factorization.
        dirichlet: prescribed values, or κ ↦ prescribed values where they depend on the parameter.
        solver: as in `pdeopt.sparse.linear_solve`.
    """

    system: Callable[[Any], tuple[CSRMatrix, jax.Array]]
    dirichlet: Dirichlet | Callable[[Any], Dirichlet] | None = None
    solver: str | Solver = "auto"

    def __call__(self, coefficient: Any) -> jax.Array:
        """The state, (n,) or (n, r). Raises SolveError where the system is singular."""
        A, b = self.system(coefficient)
        if not isinstance(A, CSRMatrix):
            raise SolveError(f"system must return (matrix, load); the matrix is a {type(A).__name__}")
        dirichlet = self.dirichlet(coefficient) if callable(self.dirichlet) else self.dirichlet
        if dirichlet is None:
            return linear_solve(A, b, self.solver)
        A_free, b_free = dirichlet.condense(A, b)
        return dirichlet.extend(linear_solve(A_free, b_free, self.solver))
