"""The active set method on quadratic functions with bounds and an L1 term, against conditions of optimality."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize

from pdeopt.optimize import ActiveSet, Diagonal, Goals, Objective, OptimizerError, Trace, euclidean, minimize
from pdeopt.optimize.bounds import projected

RNG = np.random.default_rng(5)
SIZE = 40


def quadratic(softness=1e-6, l1_weights=None):
    """½ |L m − b|² + Σ w |m|, where L smooths: its Hessian has condition 1/softness; also L and b."""
    rotation = np.linalg.qr(RNG.standard_normal((SIZE, SIZE)))[0]
    L = rotation * np.geomspace(1, softness**0.5, SIZE) @ rotation.T
    b = L @ (3 * RNG.standard_normal(SIZE))
    w = 0.0 if l1_weights is None else l1_weights

    def value_and_derivative(m):
        return 0.5 * np.sum((L @ m - b) ** 2) + np.sum(w * abs(m)), L.T @ (L @ m - b) + w * np.sign(m)

    return Objective(value_and_derivative, lambda m: lambda v: L.T @ (L @ v), l1_weights=l1_weights), L, b


def violation(m, smooth_derivative, lower, upper, weights):
    """The largest violation of 0 ∈ ∂J(m), entry by entry: the distance of −∇J to the subgradients of the rest."""
    least = np.where(m > 0, weights, -weights)
    most = np.where(m < 0, -weights, weights)
    least = np.where(m <= lower, -np.inf, least)
    most = np.where(m >= upper, np.inf, most)
    return np.max(np.maximum(np.maximum(least + smooth_derivative, -smooth_derivative - most), 0.0))


@pytest.mark.parametrize("softness", [1e-2, 1e-6, 1e-9])
def test_bounded_quadratic_functions_have_their_minimum_exactly(softness):
    objective, L, b = quadratic(softness)
    found = minimize(objective, np.zeros(SIZE), optimizer="active-set", bounds=(-1.0, 0.5), gradient_tolerance=1e-11)
    exact = scipy.optimize.lsq_linear(L, b, (-1.0, 0.5), method="bvls", tol=1e-15)
    assert found.status == "converged"
    assert found.objective == pytest.approx(exact.cost, rel=1e-11)
    np.testing.assert_array_equal(1 * (found.m == 0.5) - (found.m == -1.0), exact.active_mask)


@pytest.mark.parametrize("bounds", [None, (-0.5, 0.8), (None, np.linspace(0.0, 1.0, SIZE)), (0.1, 0.7), (0.0, 0.0)])
@pytest.mark.parametrize("softness", [1e-2, 1e-8])
def test_an_l1_term_is_minimized_with_and_without_bounds(bounds, softness):
    weights = np.geomspace(1e-3, 1e-1, SIZE)
    weights[3] = 0.0
    objective, L, b = quadratic(softness, weights)
    iterates = []
    found = minimize(
        objective,
        np.zeros(SIZE),
        optimizer="active-set",
        bounds=bounds,
        gradient_tolerance=1e-10,
        callback=iterates.append,
    )
    assert found.status == "converged"
    lower, upper = (
        np.full(SIZE, none) if side is None else side
        for none, side in zip((-np.inf, np.inf), bounds or (None, None), strict=True)
    )
    assert violation(found.m, L.T @ (L @ found.m - b), lower, upper, weights) < 1e-9
    rounding = 1e-14 * abs(found.objective)
    assert all(after.objective <= before.objective + rounding for before, after in pairwise(iterates))
    if bounds is None:
        assert 0 < np.count_nonzero(found.m == 0) < SIZE


def test_it_takes_weights_of_the_inner_product():
    """Entries in other units, a thousand times as large as others, take as many iterations."""
    units = np.where(np.arange(SIZE) % 2, 1e3, 1.0)
    objective, L, _ = quadratic(1e-4, np.full(SIZE, 0.01))
    scaled = Objective(
        lambda z: (objective.value_and_derivative(units * z)[0], units * objective.value_and_derivative(units * z)[1]),
        lambda z: lambda v: units * (L.T @ (L @ (units * v))),
        l1_weights=units * 0.01,
    )
    found = minimize(objective, np.zeros(SIZE), optimizer="active-set", gradient_tolerance=1e-9)
    other = minimize(
        scaled,
        np.zeros(SIZE),
        optimizer="active-set",
        inner_product=Diagonal("units", units**2),
        gradient_tolerance=1e-9,
    )
    np.testing.assert_allclose(units * other.m, found.m, atol=1e-7)
    assert other.iterations == found.iterations


def test_a_smooth_function_that_is_not_quadratic_is_minimized_between_bounds_with_an_l1_term():
    """The loss of logistic regression."""
    A, weights = RNG.standard_normal((60, 12)), np.full(12, 2.0)

    def smooth(m):
        return np.sum(np.logaddexp(0, A @ m)) - A[:20].sum(0) @ m, A.T @ (1 / (1 + np.exp(-A @ m))) - A[:20].sum(0)

    def hessian(m):
        p = 1 / (1 + np.exp(-A @ m))
        return lambda v: A.T @ (p * (1 - p) * (A @ v))

    def value_and_derivative(m):
        value, derivative = smooth(m)
        return value + weights @ abs(m), derivative + weights * np.sign(m)

    found = minimize(
        Objective(value_and_derivative, hessian, l1_weights=weights),
        np.zeros(12),
        optimizer="active-set",
        bounds=(-0.3, 0.3),
        gradient_tolerance=1e-9,
    )
    assert found.status == "converged"
    assert violation(found.m, smooth(found.m)[1], -0.3, 0.3, weights) < 1e-6
    assert {True, False} == set(found.m == 0)


def test_the_projected_derivative_is_the_subgradient_of_least_size():
    m, derivative = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]), np.array([0.5, 3.0, -3.0, 0.5, 3.0, -3.0])
    lower, upper = np.array([-1.0, -1, -1, -1, 0, -1]), np.array([1.0, 1, 1, 2, 1, 0])
    found = projected(m, derivative, lower, upper, np.full(6, 1.0))
    np.testing.assert_array_equal(found, [0.0, 2.0, -2.0, 0.5, 0.0, 0.0])


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg", "trust-constr"])
def test_optimizers_that_know_no_kinks_are_refused(optimizer):
    objective, _, _ = quadratic(l1_weights=np.ones(SIZE))
    with pytest.raises(OptimizerError, match=f"{optimizer} treats no l1 term.*use one of active-set$"):
        minimize(objective, np.zeros(SIZE), optimizer=optimizer)


@pytest.mark.parametrize("weights", [np.ones(SIZE - 1), -np.ones(SIZE), np.full(SIZE, np.nan), np.full(SIZE, np.inf)])
def test_weights_that_are_none_are_refused(weights):
    objective = Objective(lambda m: (0.0, m), lambda m: lambda v: v, l1_weights=weights)
    with pytest.raises(OptimizerError, match=r"weights of an L1 term.*expected \(40,\) finite numbers"):
        minimize(objective, np.zeros(SIZE), optimizer="active-set")


@pytest.mark.parametrize("options", [{"max_cg_iterations": 0}, {"system_tolerance": 0.0}, {"system_tolerance": 1.0}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(OptimizerError, match="expected at least 1, and a number between 0 and 1"):
        ActiveSet(**options)


def test_the_fall_that_is_promised_of_a_linear_function_and_an_l1_term_is_exact():
    slopes, weights = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.5, 1.0, 2.0, 0.0])
    start, candidate = np.array([0.0, 2.0, -1.0, 0.0]), np.array([-1.0, -1.0, -3.0, 1.0])

    def value_and_derivative(m):
        return slopes @ m + weights @ abs(m), slopes + weights * np.sign(m)

    everywhere = np.full(4, -np.inf), np.full(4, np.inf)
    goals = Goals(1e-4, 0.0, 1e-9, 1e-5, 10, 1e-13)
    trace = Trace(Objective(value_and_derivative, l1_weights=weights), euclidean(4), everywhere, goals, None)
    trace.start(start)
    fall = value_and_derivative(start)[0] - value_and_derivative(candidate)[0]
    assert trace.promised(candidate) == pytest.approx(fall, rel=1e-14)
