"""Projected Levenberg–Marquardt against SciPy's bounded least squares, and its rules one by one."""

import numpy as np
import pytest
from scipy.optimize import least_squares, lsq_linear

from pdeopt.optimize import Diagonal, Objective, gauss_newton, minimize
from pdeopt.optimize.levenberg_marquardt import BLOCK_COLUMNS, FIRST_DAMPING, MAX_GAUSS_NEWTON_PARAMETERS, Damping

rng = np.random.default_rng(4)
T = np.linspace(0, 2, 30)
TIGHT = {"gradient_tolerance": 1e-12, "objective_tolerance": 0.0, "optimizer": "gauss-newton"}


def squares(residual, jacobian):
    """½ |r|² with the Gauss–Newton matrix JᵀJ; its last argument lists the directions that it was asked for."""
    asked = []

    def gauss_newton(m):
        J = jacobian(m)

        def product(v):
            asked.append(np.shape(v))
            return J.T @ (J @ v)

        return product

    objective = Objective(
        lambda m: (0.5 * residual(m) @ residual(m), jacobian(m).T @ residual(m)), gauss_newton=gauss_newton
    )
    return objective, asked


def linear(rank=8):
    """Eight parameters whose sensitivities differ by four orders of magnitude."""
    A = rng.standard_normal((20, rank)) @ rng.standard_normal((rank, 8)) * np.geomspace(1e-2, 1e2, 8)
    b = A @ rng.uniform(-1, 1, 8) + 0.1 * rng.standard_normal(20)
    return A, b


@pytest.mark.parametrize("bounds", [(-0.3, 0.4), (-0.3, np.inf), (-np.inf, 0.1), (-9.0, 9.0)])
def test_linear_least_squares_are_scipys(bounds):
    A, b = linear()
    lower, upper = bounds
    found = minimize(
        squares(lambda m: A @ m - b, lambda m: A)[0],
        np.zeros(8),
        bounds=(None if lower == -np.inf else lower, None if upper == np.inf else upper),
        **TIGHT,
    )
    want = lsq_linear(A, b, bounds, method="bvls", tol=1e-15)
    assert found.status == "converged", found.message
    assert found.objective == pytest.approx(want.cost, rel=1e-8)  # a small gradient, where the condition is 1e10
    np.testing.assert_allclose(A @ found.m, A @ want.x, atol=1e-4)
    assert ((found.m >= lower) & (found.m <= upper)).all()
    assert found.evaluations < 60


def decay(m):
    """Two exponentials: amplitudes and rates."""
    return m[0] * np.exp(-m[1] * T) + m[2] * np.exp(-m[3] * T)


def decay_jacobian(m):
    first, second = np.exp(-m[1] * T), np.exp(-m[3] * T)
    return np.stack([first, -m[0] * T * first, second, -m[2] * T * second], axis=1)


def rosenbrock(m):
    return np.array([10 * (m[1] - m[0] ** 2), 1 - m[0]])


def rosenbrock_jacobian(m):
    return np.array([[-20 * m[0], 10.0], [-1.0, 0.0]])


DATA = decay(np.array([2.0, 1.0, 1.0, 6.0])) + 0.01 * rng.standard_normal(len(T))
NONLINEAR = {
    "exponentials": (lambda m: decay(m) - DATA, decay_jacobian, np.array([1.0, 0.5, 1.0, 3.0]), (0.0, 10.0)),
    "a rate at its bound": (
        *(lambda m: decay(m) - DATA, decay_jacobian),
        np.array([1.0, 0.5, 1.0, 3.0]),
        (np.array([0.0, 0.0, 0.0, 0.0]), np.array([5.0, 5.0, 5.0, 4.0])),
    ),
    "Rosenbrock": (rosenbrock, rosenbrock_jacobian, np.array([-1.2, 1.0]), (-5.0, 5.0)),
    "Rosenbrock, the minimum outside": (
        rosenbrock,
        rosenbrock_jacobian,
        np.array([-1.2, 1.0]),
        (np.array([-1.5, -1.0]), np.array([0.8, 2.0])),
    ),
}


@pytest.mark.parametrize(("residual", "jacobian", "start", "bounds"), NONLINEAR.values(), ids=NONLINEAR.keys())
@pytest.mark.parametrize("weighted", [False, True])
def test_nonlinear_least_squares_are_scipys(residual, jacobian, start, bounds, weighted):
    product = Diagonal("w", np.geomspace(0.01, 100, len(start))) if weighted else None
    objective, asked = squares(residual, jacobian)
    found = minimize(objective, start, bounds=bounds, inner_product=product, **TIGHT)
    want = least_squares(residual, start, jacobian, bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    assert found.status == "converged", found.message
    assert found.objective == pytest.approx(want.cost, rel=1e-8, abs=1e-15)
    np.testing.assert_allclose(found.m, want.x, atol=1e-4)
    assert found.evaluations <= 80
    assert set(asked) == {(len(start), BLOCK_COLUMNS), (len(start),)}, "one block a step, and a column to check it"


def test_parameters_that_the_data_do_not_see_stay():
    A, b = linear(rank=3)
    A[:, 2] = 0
    found = minimize(squares(lambda m: A @ m - b, lambda m: A)[0], np.full(8, 0.1), bounds=(-5.0, 5.0), **TIGHT)
    assert found.status == "converged", found.message
    assert found.objective == pytest.approx(lsq_linear(A, b, (-5, 5)).cost, rel=1e-6)
    assert found.m[2] == 0.1


def test_a_matrix_that_is_not_semidefinite_is_damped_until_it_is():
    """A term of one's own may be anything; and rounding makes singular matrices indefinite."""

    def double_well(m):
        return 0.25 * np.sum((m**2 - 1) ** 2), m**3 - m

    objective = Objective(double_well, gauss_newton=lambda m: lambda v: ((3 * m**2 - 1) * v.T).T)
    found = minimize(objective, np.array([0.1, -0.3, 0.55]), bounds=(-0.9, 3.0), **TIGHT)
    assert found.status == "converged", found.message
    np.testing.assert_allclose(found.m, [1, -0.9, 1], atol=1e-6)


def test_a_negative_diagonal_is_no_scale():
    coupling = 5 * np.array([[0, 1], [1, 0]])

    def value_and_derivative(m):
        return 0.25 * np.sum((m**2 - 1) ** 2) + 0.5 * m @ coupling @ m, m**3 - m + coupling @ m

    objective = Objective(
        value_and_derivative, gauss_newton=lambda m: lambda v: ((3 * m**2 - 1) * v.T).T + coupling @ v
    )
    found = minimize(objective, np.array([0.1, -0.3]), bounds=(-5.0, 5.0), **TIGHT)
    np.testing.assert_allclose(found.m, np.sqrt(6) * np.array([1, -1]), atol=1e-6)


def test_a_wrong_derivative_is_a_failure_that_says_what_to_look_at():
    objective, _ = squares(lambda m: m - 1, lambda m: -np.eye(len(m)))
    found = minimize(objective, np.zeros(3), bounds=(-2.0, 2.0), **TIGHT)
    assert found.status == "failed"
    assert "no damped Gauss–Newton step lowers the objective" in found.message


def test_points_that_cannot_be_evaluated_are_stepped_back_from():
    def residual(m):
        if m[0] > 1.5:
            raise ZeroDivisionError("mine")
        return np.array([np.log(m[0]) - 0.3, 0.01 * m[0]])

    objective, _ = squares(residual, lambda m: np.array([[1 / m[0]], [0.01]]))
    found = minimize(objective, np.array([0.05]), bounds=(1e-3, 2.0), **TIGHT)
    assert found.status == "converged"
    assert found.m[0] == pytest.approx(np.exp(0.3), abs=2e-3)


# --- which method ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "bounds", "dense"),
    [
        (MAX_GAUSS_NEWTON_PARAMETERS, (0.0, 1.0), True),
        (MAX_GAUSS_NEWTON_PARAMETERS + 1, (0.0, 1.0), False),
        (5, None, False),
        (5, (None, None), False),
        (5, (-np.inf, np.inf), False),
        (5, (None, 3.0), True),
        (5, (np.array([-np.inf, 0, -np.inf, -np.inf, -np.inf]), None), True),
    ],
)
def test_few_bounded_parameters_have_their_matrix_formed_and_many_are_left_to_cg(monkeypatch, size, bounds, dense):
    taken = []
    for name in ("minimize_levenberg_marquardt", "minimize_newton"):
        monkeypatch.setattr(gauss_newton, name, lambda *_, name=name: taken.append(name))
    objective = Objective(lambda m: (0.5 * m @ m, m), gauss_newton=lambda m: lambda v: v)
    minimize(objective, np.full(size, 0.5), bounds=bounds, optimizer="gauss-newton")
    assert taken == ["minimize_levenberg_marquardt" if dense else "minimize_newton"]


def test_beyond_the_limit_a_bounded_problem_is_solved_with_vectors():
    size, asked = MAX_GAUSS_NEWTON_PARAMETERS + 1, []
    target = rng.uniform(-0.5, 1.5, size)
    objective = Objective(
        lambda m: (0.5 * (m - target) @ (m - target), m - target),
        gauss_newton=lambda m: lambda v: asked.append(v.ndim) or v,
    )
    found = minimize(objective, np.full(size, 0.5), bounds=(0.0, 1.0), **TIGHT)
    np.testing.assert_allclose(found.m, np.clip(target, 0, 1), atol=1e-12)
    assert set(asked) == {1}


# --- damping -----------------------------------------------------------------------------------------------------


def test_damping_falls_with_good_steps_and_rises_faster_with_each_bad_one():
    damping = Damping()
    assert damping.value == FIRST_DAMPING
    damping.accept(1.0)
    assert damping.value == pytest.approx(FIRST_DAMPING / 3), "no more than a third at a time"
    damping.accept(0.5)
    assert damping.value == pytest.approx(FIRST_DAMPING / 3), "half of what was predicted: as it is"
    damping.accept(0.01)
    assert damping.value > FIRST_DAMPING / 3, "hardly any"
    damping = Damping(1.0)
    values = []
    for _ in range(4):
        damping.reject()
        values.append(damping.value)
    assert values == [2, 8, 64, 1024]
    damping.accept(1.0)
    damping.reject()
    assert damping.value == pytest.approx(2 * 1024 / 3), "growth starts over after a step"


def test_damping_of_the_first_step_is_that_of_its_formula():
    """(H + μD) s = −g with D = √(H_ii max H_jj), seen from the first point that is tried."""
    A, b = linear()
    tried = []

    def residual(m):
        tried.append(m.copy())
        return A @ m - b

    minimize(squares(residual, lambda m: A)[0], np.zeros(8), bounds=(-1e9, 1e9), max_iterations=1, **TIGHT)
    H = A.T @ A
    D = np.sqrt(np.diag(H) * np.diag(H).max())
    step = np.linalg.solve(H + FIRST_DAMPING * np.diag(D), A.T @ b)
    np.testing.assert_allclose(next(m for m in tried if m.any()), step, rtol=1e-6)
