"""The problems with nonlinear equations, against numbers that independent codes and the literature have."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg as spla
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, residual_form
from pdeopt.fem.models import stabilized_navier_stokes
from pdeopt.inverse import (
    AtPoints,
    FieldMisfit,
    NewtonModel,
    Parameter,
    Problem,
    ReducedFunctional,
    inner_product_named,
    tikhonov,
)
from pdeopt.optimize import minimize
from pdeopt.pde import NonlinearStateEquation
from pdeopt.run.problem_files.loading import load_build, problem_files


def build(name, **options):
    return load_build(problem_files()[name])(**options)


def riesz_norm(problem, derivative):
    """The norm of the gradient in L², with the consistent mass matrix."""
    M = bilinear_form(lambda u, v, w: u * v).assemble(problem.parameter.space).to_scipy().tocsc()
    return np.sqrt(derivative @ spla.spsolve(M, derivative))


def minimized(problem):
    """What Newton's method finds at the problem's tolerances, in the inner product of L²."""
    return minimize(
        problem.functional,
        problem.initial,
        optimizer="newton-cg",
        inner_product=inner_product_named("l2", problem.functional, problem.parameter, problem.bounds),
        preconditioner=NewtonModel(problem.functional, problem.parameter).preconditioner,
        bounds=problem.bounds,
        gradient_tolerance=problem.gradient_tolerance,
        max_iterations=50,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "objective", "gradient_norm"),
    [
        ("semilinear_control", {}, 0.1224024929641499, 0.00616921129256575),
        ("p_laplace", {"p": 3.0}, 0.00171434319512461, 0.00341964065826922),
    ],
)
def test_nonlinear_problems_start_where_independent_codes_do(name, options, objective, gradient_norm):
    problem = build(name, **options)
    value, derivative = problem.functional.value_and_derivative(problem.initial)
    assert value == pytest.approx(objective, rel=1e-11)
    assert riesz_norm(problem, derivative) == pytest.approx(gradient_norm, rel=1e-10)


@pytest.mark.slow
def test_semilinear_control_has_the_known_minimum():
    problem = build("semilinear_control")
    assert minimized(problem).objective == pytest.approx(0.00214101523308638, rel=1e-9)


def obstacle_like(y, v, w):
    """−Δy − s(−y)/a = f + u, with a smooth s that is 0 where y > 0 and grows linearly where y < 0."""
    r, eps = -y.value, 1e-4
    s = jnp.where(r < 0, 0.0, jnp.where(r <= eps, r**2 / (2 * eps), r - eps / 2))
    return dot(grad(y), grad(v)) - s / w["a"] * v - (w["f"] + w["u"]) * v


@pytest.mark.slow
def test_bounded_control_of_a_smoothed_obstacle_has_the_published_value():
    """Hintermüller, Kopacka: Computational Optimization and Applications 50, 2011; a = 1e-2 / 16, reached from 1e-2."""
    ticks = np.linspace(0, 1, 129)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1(), order=4)
    wanted = V.nodal(lambda x: -abs(x[0] * x[1] - 0.5) + 0.25)
    form, given, control, start = residual_form(obstacle_like), V.interpolate(wanted), np.full(V.n, 0.02), None
    for a in (1e-2, 1e-2 / 16):
        state = NonlinearStateEquation(
            lambda y, u, a=a: form.linearized(V, y, u=V.interpolate(u), f=given, a=a), Dirichlet.on(V), start=start
        )
        functional = ReducedFunctional(state, FieldMisfit.of(V, wanted), tikhonov(V, 0.01))
        problem = Problem(functional, initial=control, parameter=Parameter(V, "u"), bounds=(0.01, 0.03))
        found = minimized(problem)
        control, start = found.m, np.asarray(functional.solved(found.m).state)
    assert found.objective == pytest.approx(1.20641866e-2, rel=1e-7)
    assert control.min() >= 0.01
    assert control.max() <= 0.03


@pytest.mark.slow
def test_linear_elements_with_stabilization_have_them_too():
    """The same cavity, −0.2091 and 0.1796 by Taylor–Hood, with pairs of elements that are unstable by themselves."""
    errors = []
    for n in (8, 16):
        mesh = skfem.MeshTri.init_tensor(*2 * [np.linspace(0, 1, n + 1)])
        mesh = mesh.with_boundaries({"lid": lambda x: x[1] == 1, "walls": lambda x: x[1] < 1})
        V = FunctionSpace(mesh, skfem.ElementVector(skfem.ElementTriP1()) * skfem.ElementTriP1(), order=4)
        velocity, pressure = V.split()
        along, across = velocity.split()
        still = Dirichlet.on(across, "lid") + Dirichlet.on(velocity, "walls")
        condition = (Dirichlet.on(along, "lid", 1.0) | still) + Dirichlet.at(pressure, [0, 0])
        form = residual_form(stabilized_navier_stokes)
        u = NonlinearStateEquation(lambda u, re, V=V, form=form: form.linearized(V, u, Re=re), condition)(100.0)
        found = np.asarray(AtPoints.of(velocity, [[0.5, 0.2344], [0.5, 0.5]])(u, None))
        errors.append(np.abs(found[[0, 3]] - [-0.2091, 0.1796]).max())
    assert errors[1] < 0.006
    assert errors[0] / errors[1] > 2


@pytest.mark.slow
def test_the_lid_driven_cavity_has_the_velocities_of_the_literature():
    """Ghia, Ghia, Shin 1982 print −0.2058, −0.2109, 0.1753, −0.2453; here Taylor–Hood on 32 × 32 squares."""
    problem_file = load_build(problem_files()["navier_stokes"]).__globals__
    V = problem_file["cavity"](32)
    u = problem_file["state_equation"](V, 100.0, lambda m, x: m * np.ones(x.shape[1]))(1.0)
    velocity, _ = V.split()
    height = np.linspace(0, 1, 101)[1:-1]
    points = np.concatenate([[np.full(99, 0.5), height], [[0.2344, 0.8047], [0.5, 0.5]]], axis=1)
    along, across = np.asarray(AtPoints.of(velocity, points)(u, None)).reshape(2, -1)
    assert along[49] == pytest.approx(-0.209, abs=0.001)
    assert along[:99].min() == pytest.approx(-0.214, abs=0.001)
    assert across[99:] == pytest.approx([0.180, -0.254], abs=0.001)
