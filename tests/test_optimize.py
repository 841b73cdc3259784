"""L-BFGS-B: the minima of functions with known ones, what it reports on the way, and how it ends."""

import re
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import Bounds, minimize, rosen, rosen_der

from pdeopt.optimize import Iterate, lbfgsb, minimize_lbfgsb

rng = np.random.default_rng(0)
SQUARE = rng.standard_normal((6, 6))
H = SQUARE @ SQUARE.T + np.eye(6)
CENTER = rng.standard_normal(6)


def quadratic(m):
    return 0.5 * (m - CENTER) @ H @ (m - CENTER), H @ (m - CENTER)


def rosenbrock(m):
    return rosen(m), rosen_der(m)


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
    want = minimize(function, clipped, jac=True, method="L-BFGS-B", bounds=box, options=options)
    result = minimize_lbfgsb(function, start, bounds=bounds, **TIGHT)
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m, want.x, atol=1e-6)
    assert result.objective == pytest.approx(want.fun, abs=1e-10)
    assert ((result.m >= box.lb) & (result.m <= box.ub)).all()


def test_every_iterate_is_reported_from_the_initial_guess_on():
    seen: list[Iterate] = []
    result = minimize_lbfgsb(rosenbrock, np.array([-1.2, 1.0]), callback=seen.append, **TIGHT)
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

    result = minimize_lbfgsb(recorded, np.array([-1.2, 1.0]))
    assert len(points) == len(set(points)) == result.evaluations


def test_the_gradient_norm_leaves_out_what_active_bounds_hold():
    seen: list[Iterate] = []
    minimize_lbfgsb(lambda m: (m.sum(), np.ones(3)), np.zeros(3), bounds=([0, 0, -1], None), callback=seen.append)
    assert seen[0].gradient_norm == 1.0
    assert seen[-1].gradient_norm == 0.0


def test_the_initial_guess_is_projected_onto_the_bounds():
    seen: list[Iterate] = []
    minimize_lbfgsb(quadratic, np.full(6, 9.0), bounds=(0.0, 1.0), callback=seen.append)
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
    "derivative": (rosenbrock, START, {"objective_tolerance": 0.0}, "converged", "fell by the factor 0.0001"),
    "objective": (rosenbrock, START, {"gradient_tolerance": 0.0}, "converged", "changed by less than 1e-09"),
    "at a minimum": (rosenbrock, np.ones(3), {}, "converged", "is stationary"),
    "iterations": (rosenbrock, START, {"max_iterations": 3}, "stopped", "maximum number of iterations"),
    "no iteration": (rosenbrock, START, {"max_iterations": 0}, "stopped", "no iteration was asked for"),
    "callback": (rosenbrock, START, {"callback": stop_at_two}, "stopped", "the callback asked to stop"),
    "callback at once": (rosenbrock, START, {"callback": stop_at_once}, "stopped", "the callback asked to stop"),
    "wrong sign": (flawed, START, {}, "failed", "line search failed.*verify the derivative with a Taylor test"),
    "wrong sign, no progress": (flawed, np.append(START, 2.0), {}, "failed", "no step lowers the objective"),
    "NaN": (lambda m: (np.nan, m), START, {}, "failed", "not finite at the initial guess"),
    "NaN derivative": (lambda m: (1.0, np.nan * m), START, {}, "failed", "not finite at the initial guess"),
}


@pytest.mark.parametrize(("function", "start", "options", "status", "message"), ENDS.values(), ids=ENDS.keys())
def test_each_end_is_named_with_its_reason(function, start, options, status, message):
    result = minimize_lbfgsb(function, start, **options)
    assert result.status == status
    assert re.search(message, result.message), result.message


@pytest.mark.parametrize("case", ENDS)
def test_the_end_does_not_hang_on_scipys_words(case, monkeypatch):
    def silent(*args, **options):
        found = minimize(*args, **options)
        found.message = ""
        return found

    monkeypatch.setattr(lbfgsb, "minimize", silent)
    function, start, options, status, _ = ENDS[case]
    assert minimize_lbfgsb(function, start, **options).status == status


def test_a_decrease_that_is_lost_in_rounding_is_converged():
    result = minimize_lbfgsb(lambda m: (1e6 + 0.5 * m @ m, m), np.full(3, 1e-6), gradient_tolerance=1e-12)
    assert result.status == "converged", result.message
    assert result.gradient_norm < 1e-12


@pytest.mark.parametrize(("name", "count"), [("iterations", 3), ("no iteration", 0), ("callback", 2), ("NaN", 0)])
def test_iterations_are_counted_to_the_end(name, count):
    function, start, options, *_ = ENDS[name]
    assert minimize_lbfgsb(function, start, **options).iterations == count


def test_a_value_that_is_not_finite_on_the_way_is_stepped_back_from():
    def beyond(m):
        return (np.inf if m[0] > 1.5 else (m[0] - 1.4) ** 2), 2 * (m - 1.4)

    result = minimize_lbfgsb(beyond, np.array([-10.0]))
    assert result.status == "converged"
    assert result.m[0] == pytest.approx(1.4, abs=1e-3)


def test_an_error_in_function_or_callback_passes_through():
    def fail(_):
        raise KeyError("mine")

    for arguments in ({"value_and_derivative": fail}, {"value_and_derivative": rosenbrock, "callback": fail}):
        with pytest.raises(KeyError, match="mine"):
            minimize_lbfgsb(initial=START, **arguments)


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
        minimize_lbfgsb(rosenbrock, START, bounds=bounds)


def test_a_start_that_the_bounds_hold_is_converged():
    """The part of the derivative that no bound holds is rounding only."""

    def held(m):
        return float(m[0] + 1e-15 * m[1]), np.array([1.0, 1e-15])

    result = minimize_lbfgsb(held, np.zeros(2), bounds=(np.array([0.0, -np.inf]), None))
    assert (result.status, result.iterations) == ("converged", 0)
