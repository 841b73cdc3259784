"""The judges judged: right derivatives pass, and each kind of wrong one fails."""

import numpy as np
import pytest

from pdeopt.verify import adjoint_identity, taylor_test

rng = np.random.default_rng(0)
M, V = rng.standard_normal((2, 5))
A = rng.standard_normal((5, 5))
S = A + A.T

FUNCTIONS = {
    "exponentials": (lambda m: np.exp(m).sum(), np.exp, lambda m, v: np.exp(m) * v),
    "quartic": (lambda m: (m**4).sum(), lambda m: 4 * m**3, lambda m, v: 12 * m**2 * v),
    "sine of a form": (
        lambda m: np.sin(m @ S @ m / 9),
        lambda m: 2 / 9 * np.cos(m @ S @ m / 9) * (S @ m),
        lambda m, v: (
            2 / 9 * np.cos(m @ S @ m / 9) * S @ v - (2 / 9) ** 2 * np.sin(m @ S @ m / 9) * (S @ m @ v) * (S @ m)
        ),
    ),
    "large offset": (lambda m: 1e4 + np.exp(m).sum(), np.exp, lambda m, v: np.exp(m) * v),
    "small values": (lambda m: 1e-9 * np.exp(m).sum(), lambda m: 1e-9 * np.exp(m), lambda m, v: 1e-9 * np.exp(m) * v),
}
every_function = pytest.mark.parametrize(("f", "df", "hf"), FUNCTIONS.values(), ids=FUNCTIONS.keys())


@every_function
def test_right_derivatives_have_orders_two_and_three(f, df, hf):
    test = taylor_test(f, df(M), M, V, hessian_action=hf(M, V), first_step=0.05)
    assert test.passed, str(test)
    assert test.orders[2] == pytest.approx(2, abs=0.1)
    assert test.orders[3] == pytest.approx(3, abs=0.1)
    assert set(taylor_test(f, df(M), M, V).orders) == {1, 2}


WRONG = {
    "sign": lambda d: -d,
    "factor": lambda d: 1.01 * d,
    "zero": lambda d: 0 * d,
    "one entry": lambda d: d * np.array([1, 1, 1.1, 1, 1]),
    "transposed": lambda d: d[::-1],
    "NaN": lambda d: np.nan * d,
}


@every_function
@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG.keys())
def test_wrong_derivatives_and_hessians_fail(f, df, hf, spoil):
    first = taylor_test(f, spoil(df(M)), M, V)
    assert not first.passed, str(first)
    second = taylor_test(f, df(M), M, V, hessian_action=spoil(hf(M, V)), first_step=0.05)
    assert not second.passed, str(second)
    assert second.orders[2] == pytest.approx(2, abs=0.1)


def quadratic(m):
    return 0.5 * m @ S @ m


def test_a_quadratic_is_expanded_exactly():
    test = taylor_test(quadratic, S @ M, M, V, hessian_action=S @ V)
    assert test.passed
    assert test.orders[3] == np.inf
    assert str(test) == f"order 1: {test.orders[1]:.2f}, order 2: 2.00, order 3: inf"
    assert not taylor_test(quadratic, S @ M, M, V, hessian_action=A @ V).passed


def test_a_linear_function_is_expanded_exactly():
    test = taylor_test(lambda m: float(M @ m), M, M, V, hessian_action=0 * V)
    assert test.passed
    assert test.orders[2] == np.inf


@pytest.mark.parametrize("size", 10.0 ** np.arange(-13.0, 0.0, 0.5))
def test_a_nearly_quadratic_function_passes_however_small_the_rest_is(size):
    """Its third remainder meets rounding after a few halvings, or at once."""
    test = taylor_test(
        lambda m: quadratic(m) + size * (m**3).sum(),
        S @ M + 3 * size * M**2,
        M,
        V,
        hessian_action=S @ V + 6 * size * M * V,
    )
    assert test.passed, str(test)


def nothing_measured():
    """Value, derivative, direction: J that rounding hides, or that does not change."""
    tiny = 1e-5 * np.ones(5)
    return {
        "zero derivative of a hidden change": (lambda m: 1e6 + 1e-5 * m @ m, 0 * M, V),
        "right derivative of a hidden change": (lambda m: 1e6 + 1e-5 * m @ m, 2e-5 * M, V),
        "zero direction": (lambda m: np.exp(m).sum(), np.exp(M), 0 * V),
        "constant": (lambda m: 3.0, 0 * M, V),
        "zero": (lambda m: 0.0, 0 * M, V),
        "rounding alone": (lambda m: 1.0 + 1e-15 * np.sin(1e9 * m).sum(), tiny, 1e-9 * V),
    }


@pytest.mark.parametrize(("f", "derivative", "v"), nothing_measured().values(), ids=nothing_measured().keys())
def test_nothing_passes_where_nothing_was_measured(f, derivative, v):
    test = taylor_test(f, derivative, M, v, hessian_action=0 * M)
    assert not test.passed, str(test)
    assert not test.resolved
    assert np.inf not in test.orders.values()


def test_the_rounding_is_measured_not_assumed():
    """Values of a solver that reaches 1e-11 only: its noise is no error of the derivative."""
    noise = np.random.default_rng(1)

    def noisy(m):
        return np.exp(m).sum() * (1 + 1e-11 * noise.standard_normal())

    assert taylor_test(noisy, np.exp(M), M, V, hessian_action=np.exp(M) * V).passed
    assert not taylor_test(noisy, 1.001 * np.exp(M), M, V).passed


def test_a_remainder_that_changes_its_sign_has_its_order():
    """Third and fourth order cancel at h = 0.01, between the last steps."""

    def f(m):
        return float(1 + m[0] + m[0] ** 2 + 0.01 * m[0] ** 3 - m[0] ** 4)

    one, zero = np.ones(1), np.zeros(1)
    test = taylor_test(f, one, zero, one, hessian_action=2 * one, halvings=4)
    last = np.log2(test.remainders[3][-2] / test.remainders[3][-1])
    assert last < 2.5, "by itself it shows another order"
    assert test.orders[3] == pytest.approx(3, abs=1e-3)
    assert not taylor_test(f, one, zero, one, hessian_action=2.001 * one).passed
    assert not taylor_test(f, 1.001 * one, zero, one).passed


def test_what_is_hidden_by_the_third_order_may_change_its_sign_at_large_steps():
    """The terms of orders 4 and 5 nearly cancel at the two largest steps; rounding hides them at all others."""

    def f(m):
        return float(np.polyval([-0.156, 0.135, 8.9, 3048, 18558, 69171], m[0]))

    for hessian, passes in ((6096.0, True), (6096.01, False)):
        test = taylor_test(
            f, np.array([18558.0]), np.zeros(1), np.ones(1), hessian_action=np.array([hessian]), first_step=0.5
        )
        assert test.passed == passes, str(test)


def test_at_a_stationary_point_the_first_order_is_two():
    test = taylor_test(quadratic, np.zeros(5), np.zeros(5), V, hessian_action=S @ V)
    assert test.passed
    assert test.orders[1] == pytest.approx(2)


def test_a_function_that_is_not_finite_fails():
    assert not taylor_test(lambda m: np.log(-np.exp(m).sum() + 0j).real * np.nan, M, M, V).passed


def test_steps_are_halved():
    test = taylor_test(quadratic, S @ M, M, V, first_step=0.8, halvings=3)
    np.testing.assert_array_equal(test.steps, [0.8, 0.4, 0.2, 0.1])
    assert test.remainders[1].shape == (4,)
    np.testing.assert_allclose(test.remainders[2], 0.5 * test.steps**2 * abs(V @ S @ V), rtol=1e-8)


def test_the_adjoint_identity_holds_for_the_transpose_only():
    w = rng.standard_normal(5)
    assert adjoint_identity(lambda v: A @ v, lambda w: A.T @ w, V, w) < 1e-14
    assert adjoint_identity(lambda v: A @ v, lambda w: A @ w, V, w) > 1e-3
    assert adjoint_identity(lambda v: A @ v, lambda w: -A.T @ w, V, w) > 1e-3
    assert adjoint_identity(lambda v: A @ v, lambda w: (1 + 1e-6) * A.T @ w, V, w) > 1e-8
    assert not adjoint_identity(lambda v: A @ v, lambda w: np.nan * w, V, w) < 1e-10


def test_the_adjoint_identity_of_rectangular_complex_and_zero_operators():
    B = rng.standard_normal((3, 5)) + 1j * rng.standard_normal((3, 5))
    w = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    assert adjoint_identity(lambda v: B @ v, lambda w: B.conj().T @ w, V, w) < 1e-14
    assert adjoint_identity(lambda v: B @ v, lambda w: B.T @ w, V, w) > 1e-3
    assert adjoint_identity(lambda v: 0 * v, lambda w: 0 * w, V, V) == 0.0
    assert adjoint_identity(lambda v: 0 * v, lambda w: w, V, V) > 0.1
