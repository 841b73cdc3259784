"""Steps to the solution do not grow with the mesh, and it is the inner product, or the preconditioner, that does it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pdeopt.inverse import NewtonModel, Parameter, inner_product_named
from pdeopt.optimize import minimize
from pdeopt.run.problem_files.loading import load_build, problem_files


def build(name, **options):
    return load_build(problem_files()[name])(**options)


def minimized(problem, optimizer, inner_product="l2", **options):
    """The last iterate, with the problem's tolerances."""
    iterates = []
    given = {
        "gradient_tolerance": problem.gradient_tolerance,
        "absolute_gradient_tolerance": problem.absolute_gradient_tolerance,
        "preconditioner": NewtonModel(problem.functional, problem.parameter).preconditioner,
        **options,
    }
    product = inner_product_named(inner_product, problem.functional, problem.parameter)
    result = minimize(
        problem.functional,
        problem.initial,
        optimizer=optimizer,
        inner_product=product,
        callback=iterates.append,
        **given,
    )
    return result, iterates


@pytest.mark.slow
def test_newtons_method_on_poisson_coefficient_does_not_see_the_mesh():
    steps, products = [], []
    for n in (16, 32):
        result, iterates = minimized(build("poisson_coefficient", n=n), "newton-cg")
        assert result.status == "converged"
        assert result.gradient_norm <= 1e-5 * iterates[0].gradient_norm
        steps.append(result.iterations)
        products.append(result.cg_iterations)
    assert max(steps) <= 10
    assert max(products) <= 60
    assert max(steps) - min(steps) <= 2
    assert max(products) < 1.25 * min(products)


@pytest.mark.slow
def test_on_graded_meshes_it_is_the_inner_product_that_keeps_l_bfgs_short():
    problem = build("poisson_mother", n=16, graded=True)
    goal = {"gradient_tolerance": 1e-6, "absolute_gradient_tolerance": 0.0, "objective_tolerance": 0.0}
    own, _ = minimized(problem, "l-bfgs-b", **goal)
    euclidean, _ = minimized(problem, "l-bfgs-b", "euclidean", **goal)
    assert own.status == "converged"
    assert own.iterations <= 60
    assert euclidean.iterations > 2 * own.iterations


@pytest.mark.slow
def test_the_peers_problem_is_solved_as_far_on_finer_meshes():
    """J after 50 iterations of L-BFGS grows by at most 10 % (theirs slow down, beyond the sizes tested here)."""
    path = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    spec = importlib.util.spec_from_file_location("benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    reached = []
    for n in (32, 64):
        V, _, J = benchmark.problem(n, "auto")
        result = minimize(
            J,
            np.zeros(V.n),
            inner_product=inner_product_named("regularization", J, Parameter(V, "m")),
            max_iterations=50,
            gradient_tolerance=0.0,
            objective_tolerance=0.0,
        )
        assert result.iterations == 50
        reached.append(result.objective)
    assert reached[1] < 1.1 * reached[0]
    assert reached[1] < 6.5e-9, "1.01 of the minimum"
