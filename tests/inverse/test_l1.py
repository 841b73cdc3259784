"""The L1 term: its value, what a functional says of its kinks, and what is checked and minimized with it."""

import jax
import numpy as np
import pytest
import skfem

import pdeopt
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    FullField,
    InputError,
    L2Misfit,
    NewtonModel,
    Parameter,
    Problem,
    ReducedFunctional,
    inner_product_named,
    l1,
    tikhonov,
)

V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
M = np.random.default_rng(0).standard_normal(V.n)


def functional(*terms, strength=1.0):
    return ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), M, 1.0), terms, strength=strength)


def test_it_is_the_integral_of_the_size():
    assert l1(V, 0.1)(-3.0 * np.ones(V.n)) == pytest.approx(0.3)
    inside = np.setdiff1d(np.arange(V.n), V.dofs())
    masses = Parameter(V, "m", inside).lumped_mass
    assert l1(V, 0.1, inside)(M[inside]) == pytest.approx(0.1 * masses @ abs(M[inside]))


def test_its_derivative_is_the_sign_also_at_zero():
    m = np.where(M > 0.5, 0.0, M)
    term = 2.0 * l1(V, 0.1)
    np.testing.assert_allclose(jax.grad(term)(m), term.l1_weights * np.sign(m))
    np.testing.assert_array_equal(jax.jvp(jax.grad(term), (m,), (M,))[1], 0.0)


def test_a_functional_adds_up_its_weights_and_leaves_them_out_of_its_smooth_part():
    J = functional(tikhonov(V, 0.3) + l1(V, 0.1), l1(V, 0.2), strength=2.0)
    masses = Parameter(V, "m").lumped_mass
    np.testing.assert_allclose(J.l1_weights, 0.6 * masses)
    np.testing.assert_allclose(J.with_strength(1.0).l1_weights, 0.3 * masses)
    np.testing.assert_allclose(NewtonModel(J, Parameter(V, "m")).l1_weights, J.l1_weights)
    assert J(M) == pytest.approx(J.smooth_part(M) + J.l1_weights @ abs(M))
    assert J.smooth_part.l1_weights is None
    smooth = J.smooth_part
    assert smooth.smooth_part is smooth


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match="weight is -1"):
        l1(V, -1.0)


def test_the_inner_product_is_diagonal_with_it():
    J, parameter = functional(tikhonov(V, 0.3), l1(V, 0.1)), Parameter(V, "m")
    assert inner_product_named("l2", J, parameter).name == "l2-lumped"
    with pytest.raises(InputError, match="no optimizer can treat an L1 term in it; use the inner product l2-lumped"):
        inner_product_named("regularization", J, parameter)


@pytest.mark.slow
def test_a_run_of_a_problem_with_it_checks_minimizes_and_refuses():
    """The minimum of Σ ½ (m − d)² + w |m| is the data shrunk by w."""
    J = functional(l1(V, 20.0))
    problem = Problem(J, np.zeros(V.n), Parameter(V, "m"), optimizer="active-set", gradient_tolerance=1e-10)
    assert all(check.passed for check in pdeopt.check(problem))
    solution = pdeopt.solve(problem, progress=False)
    np.testing.assert_allclose(solution.coefficient, np.sign(M) * np.maximum(abs(M) - J.l1_weights, 0.0), atol=1e-9)
    assert solution.summary["status"] == "converged"
    assert solution.summary["verification"]["passed"]
    with pytest.raises(pdeopt.PdeoptError, match=r"l-bfgs-b treats no l1 term.*use one of active-set"):
        pdeopt.solve(problem, optimizer="l-bfgs-b", progress=False)
