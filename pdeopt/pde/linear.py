"""Linear state equations, as differentiable maps from the parameter to the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import numpy as np

from pdeopt.fem import Condition, FunctionSpace
from pdeopt.pde.preconditioners import displacement_solver
from pdeopt.pde.state_equation import StateEquation
from pdeopt.sparse import CSRMatrix, SolveError, Solver, chosen_solver, linear_solve, resolve_solver


@dataclass(frozen=True)
class LinearStateEquation(StateEquation):
    """A linear state equation: the map κ ↦ u with A(κ) u = b(κ), (n,) or (n, r), which JAX differentiates.

    Attributes:
        system: The map κ ↦ (A, b) with b of shape (n,), or (n, r) for r experiments that share A and its factorization.
        dirichlet: The prescribed values, a `Dirichlet`, or another condition: degrees of freedom that are tied to each
            other, `MultiPoint`, or a mean value, `MeanValue`; or the map κ ↦ condition where it depends on the
            parameter.
        solver: The solver or its name, as in `pdeopt.sparse.linear_solve`.
        axes: The names of the axes of the state: ("dof",), or ("dof", "experiment") where loads or prescribed values
            are those of r experiments.
        parts: The spaces of the parts of the state, by name, as in `StateEquation`; empty where no space is stated.

    Raises:
        SolveError: When it is called: the system cannot be solved, or no degree of freedom is free.
        FEMError: When it is called: its parts do not fit.

    Example:
        −κ u″ = 1 on (0, 1) with u = 0 at both ends, so that u(½) = 1/(8 κ):

        >>> import skfem
        >>> from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
        >>> V = FunctionSpace(skfem.MeshLine().refined(3), skfem.ElementLineP1())
        >>> stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
        >>> load = linear_form(lambda v, w: v).assemble(V)
        >>> state = LinearStateEquation(lambda kappa: (kappa * stiffness, load), Dirichlet.on(V))
        >>> float(state(2.0).max().round(6))
        0.0625
        >>> float(jax.grad(lambda kappa: state(kappa).max())(2.0).round(6))
        -0.03125
    """

    system: Callable[[Any], tuple[CSRMatrix, jax.Array]]
    dirichlet: Condition | Callable[[Any], Condition] | None = None
    solver: str | Solver = "auto"
    axes: tuple[str, ...] = ("dof",)
    parts: Mapping[str, FunctionSpace] = field(default_factory=dict, hash=False)

    def __call__(self, coefficient: Any, *, source: jax.Array | None = None) -> jax.Array:
        """Return the state u, (n,) or (n, r), for a coefficient κ.

        Args:
            coefficient: The coefficient κ.
            source: A load s, of the state's shape, that is added to the equation: A u = b + s. Where u is prescribed it
                has no effect.

        Raises:
            SolveError: The system is singular.
        """
        A, b, dirichlet = self._reduced_system(coefficient, source)
        u = linear_solve(A, b, displacement_solver(self.solver, self.parts, dirichlet))
        return u if dirichlet is None else dirichlet.extend(u)

    def with_solver(self, solver: str | Solver) -> Self:
        """Return the same equation, solved by another solver.

        Raises:
            SolveError: The solver is unknown or not installed.
        """
        resolve_solver(solver)
        return replace(self, solver=solver)

    def chosen_solver(self, coefficient: Any) -> Solver:
        """Return the solver that solves for the state: what "auto" stands for there, any other one itself.

        It is a function of the equation, its solver and the coefficient: what was solved before does not change it.
        """
        solver = displacement_solver(self.solver, self.parts, self._condition(coefficient))
        return chosen_solver(lambda kappa: self._reduced_system(kappa)[:2], coefficient, solver)

    def backward_error(self, coefficient: Any) -> float:
        """Return ``max_i |A u − b|_i / (|A| |u| + |b|)_i``, which tells how exactly the state is solved for.

        The maximum is over the free degrees of freedom. It is the least relative change of entries of A and b that
        makes u exact (Oettli, Prager 1964): rounding, below 1e-14, for a direct solver.

        Raises:
            SolveError: The system is singular.
        """
        A, b, dirichlet = self._reduced_system(coefficient)
        u = np.asarray(linear_solve(A, b, displacement_solver(self.solver, self.parts, dirichlet)))
        load, matrix = np.asarray(b), A.to_scipy()
        residual, size = abs(matrix @ u - load), abs(matrix) @ abs(u) + abs(load)
        return float(np.max(np.divide(residual, size, out=np.zeros_like(size), where=size > 0), initial=0.0))

    def _condition(self, coefficient: Any) -> Condition | None:
        return self.dirichlet(coefficient) if callable(self.dirichlet) else self.dirichlet

    def _reduced_system(
        self, coefficient: Any, source: jax.Array | None = None
    ) -> tuple[CSRMatrix, jax.Array, Condition | None]:
        """Return matrix and load of the unknowns, and the condition that gives all degrees of freedom."""
        A, b = self.system(coefficient)
        if not isinstance(A, CSRMatrix):
            raise SolveError(f"system must return (matrix, load); the matrix is a {type(A).__name__}")
        if source is not None:
            b = (b[:, None] if b.ndim < source.ndim else b) + source  # one load, and prescribed values of experiments
        dirichlet = self._condition(coefficient)
        if dirichlet is None:
            return A, b, None
        if len(np.unique(dirichlet.dofs)) == dirichlet.n:
            raise SolveError(
                f"the Dirichlet condition prescribes all {dirichlet.n} degrees of freedom, so that there is nothing to "
                "solve for: refine the mesh until it has vertices inside, or prescribe fewer boundaries, by name"
            )
        return *dirichlet.condense(A, b), dirichlet
