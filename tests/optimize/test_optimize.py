"""The optimizers: the minima of functions with known ones, what it reports on the way, and how it ends."""

import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import Bounds, rosen, rosen_der, rosen_hess

from pdeopt.optimize import (
    Diagonal,
    Iterate,
    NewtonCG,
    Objective,
    OptimizerError,
    minimize,
    optimizers,
)
from pdeopt.optimize.libraries import scipy_methods

OPTIMIZERS = tuple(optimizers())

rng = np.random.default_rng(0)
SQUARE = rng.standard_normal((6, 6))
H = SQUARE @ SQUARE.T + np.eye(6)
CENTER = rng.standard_normal(6)


def quadratic(m):
    return 0.5 * (m - CENTER) @ H @ (m - CENTER), H @ (m - CENTER)


def rosenbrock(m):
    return rosen(m), rosen_der(m)


def rosenbrock_hessian(m):
    return lambda v: rosen_hess(m) @ v


def identity(m):
    return lambda v: v


TIGHT = {"gradient_tolerance": 1e-9, "objective_tolerance": 0.0}
LOWER = np.array([-0.5, 0.2, -3.0, -3.0, -3.0, 0.0])
BOUNDS = {
    "none": None,
    "inactive": (-10.0, 10.0),
    "numbers": (-0.5, 0.3),
    "lower only": (0.1, None),
    "upper only": (None, 0.1),
    "arrays": (LOWER, LOWER + 1.0),
    "one value allowed": (0.3, 0.3),
}


@pytest.mark.parametrize("function", [quadratic, rosenbrock])
@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS.keys())
def test_the_minimum_is_scipys(function, bounds):
    start = np.full(6, -1.0)
    lower, upper = (None, None) if bounds is None else bounds
    box = Bounds(-np.inf if lower is None else lower, np.inf if upper is None else upper)
    options = {"ftol": 0.0, "gtol": 1e-10, "maxcor": 20, "maxiter": 1000}
    clipped = np.clip(start, box.lb, box.ub)
    want = scipy.optimize.minimize(function, clipped, jac=True, method="L-BFGS-B", bounds=box, options=options)
    result = minimize(Objective(function), start, bounds=bounds, **TIGHT)
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m, want.x, atol=1e-6)
    assert result.objective == pytest.approx(want.fun, abs=1e-10)
    assert ((result.m >= box.lb) & (result.m <= box.ub)).all()


def test_every_iterate_is_reported_from_the_initial_guess_on():
    seen: list[Iterate] = []
    result = minimize(Objective(rosenbrock), np.array([-1.2, 1.0]), callback=seen.append, **TIGHT)
    assert [it.iteration for it in seen] == list(range(result.iterations + 1))
    np.testing.assert_array_equal(seen[0].m, [-1.2, 1.0])
    assert (seen[0].step, seen[0].evaluations) == (0.0, 1)
    for before, after in pairwise(seen):
        assert after.objective < before.objective
        assert after.evaluations > before.evaluations
        assert after.step == pytest.approx(np.linalg.norm(after.m - before.m))
    for it in seen:
        value, derivative = rosenbrock(it.m)
        assert it.objective == value
        assert it.gradient_norm == pytest.approx(np.linalg.norm(derivative))
    np.testing.assert_array_equal(seen[-1].m, result.m)
    assert (seen[-1].objective, seen[-1].evaluations) == (result.objective, result.evaluations)


def test_no_point_is_evaluated_twice():
    points = []

    def recorded(m):
        points.append(m.tobytes())
        return rosenbrock(m)

    result = minimize(Objective(recorded), np.array([-1.2, 1.0]))
    assert len(points) == len(set(points)) == result.evaluations


def test_the_gradient_norm_leaves_out_what_active_bounds_hold():
    seen: list[Iterate] = []
    objective = Objective(lambda m: (m.sum(), np.ones(3)))
    minimize(objective, np.zeros(3), bounds=([0, 0, -1], None), callback=seen.append)
    assert seen[0].gradient_norm == 1.0
    assert seen[-1].gradient_norm == 0.0


def test_the_initial_guess_is_projected_onto_the_bounds():
    seen: list[Iterate] = []
    minimize(Objective(quadratic), np.full(6, 9.0), bounds=(0.0, 1.0), callback=seen.append)
    np.testing.assert_array_equal(seen[0].m, np.ones(6))


def flawed(m):
    return rosen(m), -rosen_der(m)


def stop_at_two(it):
    if it.iteration == 2:
        raise StopIteration


def stop_at_once(it):
    raise StopIteration


START = np.array([-1.2, 1.0, -1.0])
ENDS = {
    "derivative": (
        rosenbrock,
        START,
        {"objective_tolerance": 0.0},
        "converged",
        "gradient norm fell by the factor 0.0001",
    ),
    "objective": (rosenbrock, START, {"gradient_tolerance": 0.0}, "converged", "changed by less than 1e-09"),
    "at a minimum": (rosenbrock, np.ones(3), {}, "converged", "is stationary"),
    "iterations": (rosenbrock, START, {"max_iterations": 3}, "stopped", "maximum number of iterations"),
    "no iteration": (rosenbrock, START, {"max_iterations": 0}, "stopped", "no iteration was asked for"),
    "callback": (rosenbrock, START, {"callback": stop_at_two}, "stopped", "the callback asked to stop"),
    "callback at once": (rosenbrock, START, {"callback": stop_at_once}, "stopped", "the callback asked to stop"),
    "wrong sign": (flawed, START, {}, "failed", "search of l-bfgs-b failed.*verify the derivative with a Taylor test"),
    "wrong sign, no progress": (flawed, np.append(START, 2.0), {}, "failed", "no step lowers the objective"),
    "NaN": (lambda m: (np.nan, m), START, {}, "failed", "not finite at the initial guess"),
    "NaN derivative": (lambda m: (1.0, np.nan * m), START, {}, "failed", "not finite at the initial guess"),
}


@pytest.mark.parametrize(("function", "start", "options", "status", "message"), ENDS.values(), ids=ENDS.keys())
def test_each_end_is_named_with_its_reason(function, start, options, status, message):
    result = minimize(Objective(function), start, **options)
    assert result.status == status
    assert re.search(message, result.message), result.message


@pytest.mark.parametrize("case", ENDS)
def test_the_end_does_not_hang_on_scipys_words(case, monkeypatch):
    theirs = scipy.optimize.minimize

    def silent(*args, **options):
        found = theirs(*args, **options)
        found.message = ""
        return found

    monkeypatch.setattr(scipy.optimize, "minimize", silent)
    function, start, options, status, _ = ENDS[case]
    assert minimize(Objective(function), start, **options).status == status


def test_a_decrease_that_is_lost_in_rounding_is_converged():
    result = minimize(Objective(lambda m: (1e6 + 0.5 * m @ m, m)), np.full(3, 1e-6), gradient_tolerance=1e-12)
    assert result.status == "converged", result.message
    assert result.gradient_norm < 2e-7


@pytest.mark.parametrize(("name", "count"), [("iterations", 3), ("no iteration", 0), ("callback", 2), ("NaN", 0)])
def test_iterations_are_counted_to_the_end(name, count):
    function, start, options, *_ = ENDS[name]
    assert minimize(Objective(function), start, **options).iterations == count


def test_a_value_that_is_not_finite_on_the_way_is_stepped_back_from():
    def beyond(m):
        return (np.inf if m[0] > 1.5 else (m[0] - 1.4) ** 2), 2 * (m - 1.4)

    def refusing(m):
        if m[0] > 1.5:
            raise ZeroDivisionError("mine")
        return beyond(m)

    for optimizer in ("l-bfgs-b", "newton-cg", "cg", "bfgs", "trust-ncg"):
        for function in (beyond, refusing):
            objective = Objective(function, lambda m: lambda v: 0.3 * v)  # a Newton step is too long
            result = minimize(objective, np.array([-10.0]), optimizer=optimizer)
            assert result.status == "converged", (optimizer, result.message)
            assert result.m[0] == pytest.approx(1.4, abs=2e-3)


def test_what_cannot_be_evaluated_at_the_start_passes_through_and_later_is_named():
    def refusing(m):
        if m[0] != 1.0:
            raise ZeroDivisionError("no conductivity")
        return 1.0, np.ones(1)

    with pytest.raises(ZeroDivisionError):
        minimize(Objective(refusing), np.zeros(1))
    result = minimize(Objective(refusing, lambda m: lambda v: v), np.ones(1), optimizer="newton-cg")
    assert result.status == "failed"
    assert "cannot be evaluated: no conductivity" in result.message


def test_an_error_in_function_or_callback_passes_through():
    def fail(_):
        raise KeyError("mine")

    for arguments in ({"objective": Objective(fail)}, {"objective": Objective(rosenbrock), "callback": fail}):
        for optimizer in OPTIMIZERS:
            objective = dataclasses.replace(arguments["objective"], hessian=rosenbrock_hessian, gauss_newton=identity)
            with pytest.raises(KeyError, match="mine"):
                minimize(**{**arguments, "objective": objective}, initial=START, optimizer=optimizer)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ((1.0, 0.0), "lower bound 1.0 is above upper bound 0.0"),
        ((np.array([0.0, 2.0, 0.0]), 1.0), "lower bound 2.0 is above upper bound 1.0.* at entry 1"),
        ((np.nan, 1.0), "or one is NaN"),
        ((np.zeros(2), 1.0), r"a bound has shape \(2,\); expected a number or \(3,\)"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        minimize(Objective(rosenbrock), START, bounds=bounds)


PAIRS = r"give bounds=\(lower, upper\).*for the pairs, \(np.array\(\[1.0, 1.0.*\]\), np.array\(\[100.0, 200.0"


@pytest.mark.parametrize(
    ("bounds", "size", "message"),
    [
        ([(1.0, 100.0), (1.0, 200.0)], 2, "can be a lower and an upper bound or, as SciPy has it.*" + PAIRS),
        (((1.0, 1.0), (100.0, 200.0)), 2, "can be a lower and an upper bound or"),
        ([(1, 100), (1, 200), (None, None)], 3, "the bounds are pairs.*" + PAIRS + r", np.inf\]\)"),
        ([(1, 100), (1, None)], 2, r"the bounds are pairs.*np.array\(\[100.0, np.inf\]\)"),
        ([(0, 1)] * 50, 50, "the bounds are pairs.*of 50 numbers each"),
        (np.array([[1.0, 100.0], [1.0, 200.0]]), 2, r"the bounds are a ndarray; give bounds=\(lower, upper\)"),
        ((0.0, 1.0, 2.0), 3, r"the bounds have 3 entries; give bounds=\(lower, upper\)"),
        ("ab", 2, "the bounds are a str"),
        (3.0, 2, "the bounds are a float"),
        (("low", 1.0), 2, "the lower bound is 'low', not real numbers"),
        ((0.0, [1.0, 1j]), 3, "the upper bound is .*, not real numbers"),
        ((np.inf, None), 2, "leave no number"),
    ],
)
def test_bounds_in_another_form_are_refused_with_the_right_one(bounds, size, message):
    calls = []
    with pytest.raises(ValueError, match=message):
        minimize(Objective(lambda m: calls.append(m) or (0.0, m)), np.full(size, 0.5), bounds=bounds)
    assert not calls, "before anything is evaluated"


@pytest.mark.parametrize(
    "bounds",
    [
        (np.array([1.0, 1.0]), np.array([100.0, 50.0])),
        [np.array([1.0, 1.0]), np.array([100.0, 50.0])],
        ([1.0, 1.0], np.array([100.0, 50.0])),
        Bounds([1.0, 1.0], [100.0, 50.0]),
        Bounds(1.0, [100.0, 50.0]),
        (1.0, np.array([100.0, 50.0])),
    ],
)
def test_each_form_of_bounds_means_the_same(bounds):
    center = np.array([20.0, 100.0])
    result = minimize(Objective(lambda m: (((m - center) ** 2).sum(), 2 * (m - center))), [40.0, 40.0], bounds=bounds)
    np.testing.assert_allclose(result.m, [20.0, 50.0], rtol=1e-3)


def test_a_start_that_the_bounds_hold_is_converged():
    """The part of the derivative that no bound holds is rounding only."""

    def held(m):
        return float(m[0] + 1e-15 * m[1]), np.array([1.0, 1e-15])

    result = minimize(Objective(held), np.zeros(2), bounds=(np.array([0.0, -np.inf]), None))
    assert (result.status, result.iterations) == ("converged", 0)


EVERY = {
    "quadratic": Objective(quadratic, lambda m: lambda v: H @ v, lambda m: lambda v: H @ v),
    "rosenbrock": Objective(rosenbrock, rosenbrock_hessian),
}
#: Their models are sums of functions of one entry each, so that they crawl where entries depend on each other.
SEPARABLE = {"mma", "ccsa"}
#: No Gauss–Newton Hessian; an indefinite one; slow.
UNABLE = {(name, "rosenbrock") for name in ("gauss-newton", "levenberg-marquardt", "dogleg", *SEPARABLE)}
BOUNDED = (
    "l-bfgs-b, newton-cg, gauss-newton, levenberg-marquardt, tnc, slsqp, trust-constr, active-set, "
    "augmented-lagrangian, augmented-lagrangian+newton-cg, mma, ccsa, ipopt"
)
ATOL = {"trust-constr": 1e-4, "mma": 1e-5, "ccsa": 1e-5}
KEEPS_BOUNDS = set(BOUNDED.split(", "))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("weights", [np.ones(6), np.geomspace(0.01, 100, 6)], ids=["euclidean", "weighted"])
def test_every_optimizer_finds_the_minimum_in_every_product(optimizer, name, weights):
    if (optimizer, name) in UNABLE or optimizer in SEPARABLE:
        pytest.skip("the method does not apply")
    size = 6 if name == "quadratic" else 3  # with more variables Rosenbrock's function has a second minimum
    weights = weights[:size]
    product = Diagonal("weighted", weights)
    result = minimize(EVERY[name], np.full(size, -1.0), optimizer=optimizer, inner_product=product, **TIGHT)
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m, CENTER if name == "quadratic" else 1.0, atol=1e-5)
    value, derivative = EVERY[name].value_and_derivative(result.m)
    assert result.objective == value
    assert result.gradient_norm == pytest.approx(np.linalg.norm(derivative / np.sqrt(weights)), abs=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("bounds", [BOUNDS["numbers"], BOUNDS["arrays"], BOUNDS["upper only"]])
def test_bounds_are_kept_or_refused(optimizer, bounds):
    arguments = {"optimizer": optimizer, "bounds": bounds, "inner_product": Diagonal("w", np.geomspace(0.1, 10, 6))}
    if optimizer not in KEEPS_BOUNDS:
        with pytest.raises(ValueError, match=rf"{optimizer} keeps no bounds.*use one of {re.escape(BOUNDED)}$"):
            minimize(EVERY["quadratic"], np.zeros(6), **arguments)
        return
    result = minimize(EVERY["quadratic"], np.zeros(6), **arguments, **TIGHT)
    lower, upper = (
        np.broadcast_to(-np.inf if b is None and k == 0 else np.inf if b is None else b, 6)
        for k, b in enumerate(bounds)
    )
    want = scipy.optimize.lsq_linear(
        np.linalg.cholesky(H).T, np.linalg.cholesky(H).T @ CENTER, (lower, upper), method="bvls", tol=1e-14
    ).x
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m, want, atol=ATOL.get(optimizer, 1e-7))
    assert ((result.m >= lower) & (result.m <= upper)).all()


def test_coordinates_on_a_bound_are_parameters_on_it():
    """lower · √w / √w differs from lower in the last digit for some w; the entry would no longer count as held."""
    weights = np.geomspace(0.013, 7.7, 50)
    seen: list[Iterate] = []
    objective = Objective(lambda m: (m.sum(), np.ones(50)))
    minimize(objective, np.full(50, 0.9), bounds=(0.1, 1.0), inner_product=Diagonal("w", weights), callback=seen.append)
    assert (seen[-1].m == 0.1).all()
    assert seen[-1].gradient_norm == 0.0


class Mixed:
    """The inner product of H: its coordinates are no entries of m."""

    name, weights, root = "mixed", None, np.linalg.inv(np.linalg.cholesky(H)).T

    def primal(self, z):
        return self.root @ z

    def pullback(self, derivative):
        return self.root.T @ derivative

    def gradient(self, derivative):
        return np.linalg.solve(H, derivative)

    def norm(self, m):
        return float(np.sqrt(m @ H @ m))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_in_the_product_of_its_hessian_a_quadratic_takes_next_to_no_iterations(optimizer):
    result = minimize(EVERY["quadratic"], np.zeros(6), optimizer=optimizer, inner_product=Mixed(), **TIGHT)
    assert result.status == "converged"
    assert result.iterations <= 13  # trust regions start small; in the Euclidean product L-BFGS-B takes 17
    np.testing.assert_allclose(result.m, CENTER, atol=1e-7)
    if optimizer in ("newton-cg", "gauss-newton"):
        assert (result.iterations, result.cg_iterations) == (1, 1)


def test_a_product_that_mixes_entries_keeps_no_bounds():
    with pytest.raises(ValueError, match=r"'mixed' mixes entries.*use l2-lumped"):
        minimize(EVERY["quadratic"], np.zeros(6), bounds=(0.0, 1.0), inner_product=Mixed())


def test_newton_converges_fast_and_counts_its_products():
    products = []

    def counted(m):
        def product(v):
            products.append(1)
            return rosen_hess(m) @ v

        return product

    seen: list[Iterate] = []
    result = minimize(
        Objective(rosenbrock, counted), np.array([-1.2, 1.0, 0.5]), optimizer="newton-cg", callback=seen.append, **TIGHT
    )
    assert result.cg_iterations == len(products) == seen[-1].cg_iterations
    norms = [it.gradient_norm for it in seen]
    assert norms[-1] < 1e-5 * norms[-4]  # three iterations; a method that converges linearly takes dozens
    assert all(after.objective <= before.objective for before, after in pairwise(seen))


def test_newton_leaves_a_saddle_along_negative_curvature():
    objective = Objective(
        lambda m: (0.25 * m[0] ** 4 - 0.5 * m[0] ** 2 + m[1] ** 2, np.array([m[0] ** 3 - m[0], 2 * m[1]])),
        lambda m: lambda v: np.array([(3 * m[0] ** 2 - 1) * v[0], 2 * v[1]]),
    )
    result = minimize(objective, np.array([0.01, 1.0]), optimizer="newton-cg", **TIGHT)
    np.testing.assert_allclose(result.m, [1.0, 0.0], atol=1e-8)


def test_newton_cg_starts_with_gauss_newton_steps():
    calls = []
    objective = Objective(
        rosenbrock,
        lambda m: calls.append("newton") or rosenbrock_hessian(m),
        lambda m: calls.append("gauss-newton") or (lambda v: 200 * v),
    )
    minimize(objective, START, optimizer=NewtonCG(gauss_newton_steps=2), max_iterations=4)
    assert calls == ["gauss-newton", "gauss-newton", "newton", "newton"]


@pytest.mark.parametrize("optimizer", ["newton-cg", "gauss-newton", "trust-ncg"])
def test_a_missing_hessian_is_named(optimizer):
    name = "gauss_newton" if optimizer == "gauss-newton" else "hessian"
    with pytest.raises(ValueError, match=rf"{optimizer} needs {name}\(m\)"):
        minimize(Objective(rosenbrock), START, optimizer=optimizer)


@pytest.mark.parametrize("most", [0, -3])
def test_a_newton_system_without_iterations_is_refused(most):
    with pytest.raises(OptimizerError, match=f"max_cg_iterations is {most}; a Newton system needs at least 1"):
        minimize(Objective(rosenbrock, rosenbrock_hessian), START, optimizer=NewtonCG(max_cg_iterations=most))


@pytest.mark.parametrize("bounds", [None, (-10.0, 10.0)])
def test_each_product_is_measured_once(bounds):
    """And each step: a norm in an inner product may take a product with a matrix function."""

    class Counting(Diagonal):
        norms = 0

        def norm(self, m):
            Counting.norms += 1
            return super().norm(m)

    product = Counting("counting", np.ones(12))
    options = {"optimizer": "newton-cg", "gradient_tolerance": 1e-8, "inner_product": product, "bounds": bounds}
    result = minimize(FUNCTIONS["stiff"], np.zeros(12), **options)
    assert result.status == "converged"
    assert result.cg_iterations >= 12
    assert Counting.norms <= result.cg_iterations + 2 * result.iterations


def test_exact_data_without_regularization_converge_by_the_gradient_alone():
    """There J falls to 0, of which no part is negligible; as the page says, the caller asks for nothing of it then."""
    scales = np.geomspace(1, 1e-4, 50)
    objective = Objective(lambda m: (0.5 * m @ (scales * m), scales * m))
    ends = {tolerance: minimize(objective, np.ones(50), remaining_tolerance=tolerance) for tolerance in (None, np.inf)}
    assert ends[None].status == "stopped"
    assert "still fall by" in ends[None].message
    assert ends[np.inf].status == "converged"
    assert ends[np.inf].gradient_norm <= 1e-4 * np.linalg.norm(scales)


def test_an_unknown_optimizer_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown optimizer 'bfgs-l'; expected one of l-bfgs-b, newton-cg"):
        minimize(Objective(rosenbrock), START, optimizer="bfgs-l")


@pytest.mark.parametrize(("name", "meant"), [("lbfgs", "l-bfgs-b"), ("L-BFGS", "l-bfgs-b"), ("newton_cg", "newton-cg")])
def test_the_optimizer_that_was_meant_is_named(name, meant):
    with pytest.raises(ValueError, match=rf"did you mean '{meant}'\?$"):
        minimize(Objective(rosenbrock), START, optimizer=name)


@pytest.mark.parametrize("optimizer", ["bfgs", "trust-exact"])
def test_methods_with_dense_matrices_refuse_many_parameters(optimizer):
    m = np.zeros(scipy_methods.MAX_DENSE_PARAMETERS + 1)
    with pytest.raises(
        ValueError, match="at most 3000 parameters, and there are 3001; use one of l-bfgs-b, newton-cg, cg"
    ):
        minimize(Objective(lambda m: (0.5 * m @ m, m + 1), identity), m, optimizer=optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_absolute_goal_ends_every_method(optimizer):
    result = minimize(
        EVERY["quadratic"], np.zeros(6), optimizer=optimizer, absolute_gradient_tolerance=0.3, gradient_tolerance=0.0
    )
    assert (result.status, result.gradient_norm <= 0.3) == ("converged", True)
    assert "fell below 0.3" in result.message


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg"])
def test_a_noisy_objective_ends_in_words_and_not_in_a_loop(optimizer):
    """An inexact solver: J is wrong by 1e-6, its derivative by as much."""
    noise = np.random.default_rng(1)

    def noisy(m):
        value, derivative = quadratic(m)
        return value * (1 + 1e-6 * noise.standard_normal()), derivative + 1e-6 * noise.standard_normal(6)

    result = minimize(
        dataclasses.replace(EVERY["quadratic"], value_and_derivative=noisy),
        CENTER + 1e-3,
        optimizer=optimizer,
        accuracy=1e-5,
        gradient_tolerance=0.0,
        objective_tolerance=0.0,
    )
    assert result.iterations < 200
    assert np.linalg.norm(result.m - CENTER) < 2e-3


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg", "gauss-newton"])
@pytest.mark.parametrize("bounds", [None, (-0.5, 0.5)])
def test_a_goal_that_rounding_keeps_out_of_reach_ends_as_converged(optimizer, bounds):
    for seed in range(10):
        generator = np.random.default_rng(seed)
        root = generator.standard_normal((6, 6)) * np.geomspace(0.1, 10, 6)
        K, center = root @ root.T, generator.standard_normal(6)
        objective = Objective(
            lambda m, K=K, center=center: (3.7 + 0.5 * (m - center) @ K @ (m - center), K @ (m - center)),
            *[lambda m, K=K: lambda v: K @ v] * 2,
        )
        result = minimize(
            objective, np.zeros(6), optimizer=optimizer, bounds=bounds, gradient_tolerance=0.0, objective_tolerance=0.0
        )
        assert result.status == "converged", result.message
        assert result.iterations < 150


def double_well(m):
    """Minima at ±1 in each entry; concave near 0."""
    return float((0.25 * m**4 - 0.5 * m**2).sum()) + 3.0, m**3 - m


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg", "trust-ncg", "trust-krylov", "cg"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_negative_curvature_at_the_start_is_left(optimizer, scale):
    objective = Objective(
        lambda m: (double_well(m / scale)[0], double_well(m / scale)[1] / scale),
        lambda m: lambda v: (3 * (m / scale) ** 2 - 1) * v / scale**2,
    )
    start = scale * np.array([0.1, -0.2, 0.05])
    result = minimize(objective, start, optimizer=optimizer)
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m / scale, [1, -1, 1], atol=1e-2)


def test_slsqp_reports_no_point_that_is_worse():
    seen: list[Iterate] = []
    minimize(EVERY["quadratic"], np.full(6, 9.0), optimizer="slsqp", callback=seen.append)
    assert all(after.objective <= before.objective for before, after in pairwise(seen))


def test_trust_constr_with_a_wrong_derivative_has_failed():
    result = minimize(Objective(flawed, rosenbrock_hessian), START, optimizer="trust-constr")
    assert result.status != "converged"


def test_a_derivative_that_is_not_finite_is_stepped_back_from():
    def beyond(m):
        return (m[0] - 1.4) ** 2, 2 * (m - 1.4) if m[0] < 1.5 else np.full(1, np.nan)

    for optimizer in ("l-bfgs-b", "newton-cg"):
        result = minimize(Objective(beyond, lambda m: lambda v: 0.3 * v), np.array([-10.0]), optimizer=optimizer)
        assert (result.status, round(float(result.m[0]), 2)) == ("converged", 1.4)


def test_a_hessian_that_cannot_be_evaluated_ends_in_words():
    def refused(m):
        raise ZeroDivisionError("no factorization")

    result = minimize(Objective(rosenbrock, refused), START, optimizer="newton-cg")
    assert (result.status, result.message) == ("failed", "no factorization")


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-5])
def test_one_sided_bounds_do_not_depend_on_the_unit(unit):
    def scaled(m):
        value, derivative = quadratic(m / unit)
        return value, derivative / unit

    objective = Objective(scaled, lambda m: lambda v: H @ v / unit**2)
    product = Diagonal("unit", np.full(6, unit**-2))
    result = minimize(
        objective, np.full(6, unit), optimizer="newton-cg", bounds=(0.0, None), inner_product=product, **TIGHT
    )
    assert result.status == "converged"
    assert result.evaluations <= 15


# --- units -------------------------------------------------------------------------------------------------------

EIGENVECTORS = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 12)))[0]
STIFF = (EIGENVECTORS * np.geomspace(1, 1e-4, 12)) @ EIGENVECTORS.T
TARGET = np.linspace(-1, 2, 12)


def stiff(m):
    """A quadratic of condition 1e4; 0.3 at its minimum."""
    return 0.3 + 0.5 * (m - TARGET) @ STIFF @ (m - TARGET), STIFF @ (m - TARGET)


def valley(m):
    return 0.3 + rosen(m), rosen_der(m)


FUNCTIONS = {
    "stiff": Objective(stiff, lambda m: lambda v: STIFF @ v, lambda m: lambda v: STIFF @ v),
    "valley": Objective(valley, rosenbrock_hessian),
}
START_OF = {"stiff": np.zeros(12), "valley": np.full(3, -1.0)}


class Factored:
    """⟨a, b⟩ = aᵀ G b with a G that mixes entries, in the units of m."""

    name, weights = "factored", None

    def __init__(self, size, unit):
        root = np.random.default_rng(4).standard_normal((size, size))
        self.root = unit * np.linalg.cholesky(root @ root.T / size + np.eye(size))
        self.matrix = np.linalg.inv(self.root @ self.root.T)

    def primal(self, z):
        return self.root @ z

    def pullback(self, derivative):
        return self.root.T @ derivative

    def gradient(self, derivative):
        return self.root @ (self.root.T @ derivative)

    def norm(self, m):
        return float(np.sqrt(m @ self.matrix @ m))


def in_units(objective, factor, unit):
    """The same function as a multiple of itself, of m' = m · unit."""

    def scaled(action):
        return action and (lambda m: lambda v: factor / unit**2 * action(m / unit)(v))

    def value_and_derivative(m):
        value, derivative = objective.value_and_derivative(m / unit)
        return factor * value, factor / unit * derivative

    return Objective(value_and_derivative, scaled(objective.hessian), scaled(objective.gauss_newton))


PRODUCTS = {
    "euclidean": lambda size, unit: None,
    "weighted": lambda size, unit: Diagonal("weighted", np.geomspace(0.1, 10, size) / unit**2),
    "factored": Factored,
}
UNITS = [(1.0, 1.0), (1e-12, 1.0), (1e12, 1.0), (1.0, 1e-6), (1.0, 1e6), (1e-9, 1e6)]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_converged_means_does_not_depend_on_units(optimizer, name, product):
    if (optimizer, name.replace("valley", "rosenbrock")) in UNABLE or optimizer in SEPARABLE:
        pytest.skip("the method does not apply")
    methods = [optimizers()[optimizer]]
    if optimizer in ("newton-cg", "gauss-newton"):
        methods.append(dataclasses.replace(methods[0], recycled=0))
    for factor, unit in UNITS:
        for method in methods:
            start = START_OF[name]
            result = minimize(
                in_units(FUNCTIONS[name], factor, unit),
                unit * start,
                optimizer=method,
                inner_product=PRODUCTS[product](len(start), unit),
                max_iterations=1000,
            )
            case = f"J times {factor:g}, m in {unit:g}, {method}: {result}"
            assert result.status == "converged", case
            assert result.objective / factor == pytest.approx(0.3, rel=1e-4), case


@pytest.mark.parametrize("optimizer", sorted(KEEPS_BOUNDS - SEPARABLE))
@pytest.mark.parametrize("bounds", [(-0.5, 0.3), (0.1, None)])
def test_what_converged_means_within_bounds_does_not_depend_on_units(optimizer, bounds):
    best = None
    for factor, unit in UNITS:
        result = minimize(
            in_units(FUNCTIONS["stiff"], factor, unit),
            np.zeros(12),
            optimizer=optimizer,
            bounds=tuple(bound if bound is None else unit * bound for bound in bounds),
            inner_product=Diagonal("weighted", np.geomspace(0.1, 10, 12) / unit**2),
            max_iterations=1000,
        )
        case = f"J times {factor:g}, m in {unit:g}: {result}"
        assert result.status == "converged", case
        box = [(-np.inf, np.inf)[k] if bound is None else bound for k, bound in enumerate(bounds)]
        root = np.linalg.cholesky(STIFF).T
        best = scipy.optimize.lsq_linear(root, root @ TARGET, box, method="bvls", tol=1e-14).x
        assert result.objective / factor == pytest.approx(stiff(best)[0], rel=1e-4), case
