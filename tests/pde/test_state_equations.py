"""A state equation of one file, from outside of pdeopt, does all that the built-in ones do."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

import pdeopt
from pdeopt.fem import FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FullField, L2Misfit, Log, Parameter, Problem, ReducedFunctional, h1
from pdeopt.pde import StateEquation
from pdeopt.sparse import DirectSolver, resolve_solver

pytestmark = pytest.mark.usefixtures("without_pictures")

V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
STIFFNESS = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V).to_scipy().toarray()
MASS = bilinear_form(lambda u, v, w: u * v).assemble(V).to_scipy().toarray()
LOAD = np.asarray(linear_form(lambda v, w: (1 + w.x[0]) * v).assemble(V))


@dataclass(frozen=True)
class CubicReaction(StateEquation):
    """−Δu + κ (u + u³) = 1 + x + source, by Newton's method on dense matrices; derivatives by the implicit rule."""

    tolerance: float = 1e-13

    def __call__(self, kappa, *, source=None):
        load = LOAD if source is None else LOAD + source

        def residual(u, kappa):
            return STIFFNESS @ u + MASS @ (kappa * (u + u**3)) - load

        def newton(u):
            tangent = jax.jacobian(residual)(u, kappa)
            return u - jnp.linalg.solve(tangent, residual(u, kappa))

        def solve(function, start):
            return jax.lax.fori_loop(0, 12, lambda _, u: newton(u), start)

        return jax.lax.custom_root(
            lambda u: residual(u, kappa),
            jnp.zeros(V.n),
            solve,
            lambda tangent, b: jnp.linalg.solve(jax.jacobian(tangent)(jnp.zeros(V.n)), b),
        )

    def chosen_solver(self, coefficient):
        return resolve_solver("superlu")

    def accuracy(self, coefficient):
        return self.tolerance


def test_it_is_verified_minimized_and_reported():
    equation = CubicReaction()
    assert isinstance(equation, StateEquation)
    assert isinstance(equation.chosen_solver(None), DirectSolver)
    truth = V.nodal(lambda x: 1 + x[1])
    state = np.asarray(jax.jit(equation)(truth))
    assert np.abs(STIFFNESS @ state + MASS @ (truth * (state + state**3)) - LOAD).max() < 1e-12
    J = ReducedFunctional(equation, L2Misfit.of(FullField(), state, 1e-3), h1(V, 1e-6), Log())
    problem = Problem(J, np.zeros(V.n), Parameter(V, "reaction κ"), truth=truth, state_space=V)
    solution = pdeopt.solve(problem, optimizer="newton-cg", progress=False)
    assert solution.summary["status"] == "converged"
    assert solution.summary["verification"]["passed"] is True
    assert solution.summary["relative_error"] < 0.01
    assert solution.summary["solver"] == "superlu"
