"""A derivative that is broken in any one of a dozen ways is found, in any units and from the initial guess 0."""

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import ReducedFunctional
from pdeopt.inversion import checking
from pdeopt.inversion.recorder import Interrupted
from pdeopt.inversion.verification import DerivativeError, LaterVerification, verify_derivatives
from pdeopt.pde import FunctionState, LinearStateEquation
from pdeopt.sparse import resolve_solver
from pdeopt.verify import taylor_test

UNITS = (1e-9, 1.0, 1e9)
#: Of m and of J.
PAIRS = ((1e-9, 1e-9), (1e-9, 1e9), (1.0, 1.0), (1e9, 1e-9), (1e9, 1e9))


@bilinear_form
def transport(u, v, w):
    return w["k"] * (1 + 0.3 * w["T"] ** 2) * dot(grad(u), grad(v)) + 2.0 * grad(u)[0] * v


@linear_form
def heating(v, w):
    return (3 + w["k"]) * v


@linear_form
def cooling(v, w):
    return -(w["k"] ** 2) * v


class Untransposed:
    """A solver that forgets to transpose."""

    name = "untransposed"

    def solve(self, pattern, data, b, transposed):
        return resolve_solver("superlu").solve(pattern, data, b, False)


#: Where the derivative is broken, and the factor that it has there instead of 1.
BREAKS = {
    "the state in a coefficient detached": ("state", 0.0),
    "the chain rule of the parametrization forgotten": ("parametrization", 0.0),
    "the wrong sign of a load": ("cooling", -1.0),
    "a factor of two in one term": ("cooling", 2.0),
    "a factor of 1.001 in one term": ("cooling", 1.001),
    "a load detached": ("heating", 0.0),
    "a boundary value detached": ("boundary", 0.0),
    "the regularization detached": ("regularization", 0.0),
    "the observation of one experiment detached": ("observation", 0.0),
    "half of the entries detached": ("entries", 0.0),
}
PLACES = sorted({place for place, _ in BREAKS.values()} | {"power"})
SIZE = 16


def gained(x, factor):
    """x, with so many times its derivative."""
    fixed = jax.lax.stop_gradient(x)
    return fixed + factor * (x - fixed)


def exponential(m, factor):
    """exp(m); its derivative is 1 where the factor is 0."""
    return gained(jnp.exp(m), factor) + (1 - factor) * (m - jax.lax.stop_gradient(m))


def fourth_power(m, factor):
    """m⁴; its second derivative is 0 where the factor is 0."""
    fixed = jax.lax.stop_gradient(m)
    return factor * m**4 + (1 - factor) * (fixed**4 + 4 * fixed**3 * (m - fixed))


@cache
def functional_of(solver):
    """Two experiments on 3 × 3 squares: an inflow and a conductivity that grows with the state, in two Picard steps.

    It is a function of m and of a factor for each place, so that all breaks share one program.
    """
    V = FunctionSpace(skfem.MeshTri.init_tensor(*[np.linspace(0, 1, 4)] * 2).with_defaults(), skfem.ElementTriP1())

    def equation(u, k, gain):
        left = jnp.stack([jnp.mean(k), -jnp.mean(k**2)])
        values = jnp.broadcast_to(gained(left, gain["boundary"]), (len(V.dofs("left")), 2))
        field, T = V.interpolate(k), V.interpolate(gained(u[:, 0], gain["state"]))
        loads = (
            gained(heating.assemble(V, k=field), gain["heating"]),
            gained(cooling.assemble(V, k=field), gain["cooling"]),
        )
        system = lambda _: (transport.assemble(V, k=field, T=T), jnp.stack(loads, axis=1))  # noqa: E731
        return LinearStateEquation(system, Dirichlet.on(V, "left", values), solver)(None)

    def parametrization(x):
        m, gain = x[:SIZE], dict(zip(PLACES, x[SIZE:], strict=True))
        m = m.at[::2].set(gained(m[::2], gain["entries"]))
        return exponential(m, gain["parametrization"]), gain

    def state(given):
        k, gain = given
        return equation(equation(jnp.zeros((V.n, 2)), k, gain), k, gain)

    def misfit(u, given):
        u = u.at[:, 1].set(gained(u[:, 1], given[1]["observation"]))
        return jnp.sum((u - jnp.array([0.3, 0.1])) ** 2)

    def smooth(x):
        m, gain = x[:SIZE], dict(zip(PLACES, x[SIZE:], strict=True))
        bend = 1e-2 * jnp.sum(fourth_power(m, gain["power"]))
        return 1e-3 * jnp.sum((gained(m, gain["regularization"]) - 0.2) ** 2) + bend

    return ReducedFunctional(FunctionState(state, ("dof", "experiment")), misfit, smooth, parametrization)


class InUnits:
    """s J(m / p): a functional of which m is measured in another unit, entry by entry, and J in another one.

    It has no tangent, so that the adjoint identity does not help the Taylor test.
    """

    def __init__(self, place, factor, m=1.0, J=1.0, solver="superlu"):
        self.functional, self.m, self.J = functional_of(solver), m, J
        self.state = self.functional.state
        self.smooth_part = self  # it has no kinks
        self.gain = np.where(np.array(PLACES) == place, factor, 1.0)

    def _full(self, m, gain=None):
        return np.concatenate([m / self.m, self.gain if gain is None else gain])

    def coefficient(self, m):
        return self.functional.coefficient(self._full(m))

    def __call__(self, m):
        return self.value_and_derivative(m)[0]

    def value_and_derivative(self, m):
        value, derivative = self.functional.value_and_derivative(self._full(m))
        return self.J * value, self.J * derivative[:SIZE] / self.m

    def derivative(self, m):
        return self.value_and_derivative(m)[1]

    def hessian_action(self, m, direction):
        image = self.functional.hessian_action(self._full(m), self._full(direction, 0 * self.gain))
        return self.J / self.m * image[:SIZE]


RIGHT = ("nowhere", 1.0)


def problem_of(break_=RIGHT, initial=0.0, m=1.0, J=1.0, bounds=None, solver="superlu"):
    given = InUnits(*break_, m=m, J=J, solver=solver)
    return SimpleNamespace(functional=given, initial=m * np.broadcast_to(initial, (SIZE,)), bounds=bounds)


def verify(problem):
    return verify_derivatives(problem, lambda: False)


def taylor_rows(problem):
    point = checking.verification_point(problem, problem.functional.value_and_derivative)
    return {check.name.split(", ")[1]: check for check in checking._taylor(problem.functional, point)}


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_found_in_every_unit(name):
    """From the initial guess 0, and once from another one."""
    others = [(np.linspace(-0.5, 0.5, SIZE), 1e9, 1e-9)]
    for initial, m, J in [(0.0, *pair) for pair in PAIRS] + others:
        found = verify(problem_of(BREAKS[name], initial, m, J))
        assert found.passed is False, (m, J, found)
        assert "its derivative says" in found.fault
        assert found.orders[2] < 1.5


@pytest.mark.slow
def test_an_adjoint_solve_without_the_transpose_is_found():
    for m, J in PAIRS[1::2]:
        assert verify(problem_of(m=m, J=J, solver=Untransposed())).passed is False


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BREAKS)[::3])
def test_a_break_is_found_by_the_thorough_checks(name):
    assert not taylor_rows(problem_of(BREAKS[name], m=1e9, J=1e-9))["with the derivative"].passed


@pytest.mark.slow
def test_the_right_derivative_passes_in_every_unit_with_a_real_third_order():
    for m, J in PAIRS:
        problem = problem_of(m=m, J=J)
        found = verify(problem)
        assert found.passed is True, (m, J, found)
        assert found.orders[2] == pytest.approx(2, abs=0.1)
        rows = taylor_rows(problem)
        assert all(row.passed for row in rows.values()), rows
        assert rows["with the Hessian"].value.startswith("order "), "it bends, and not as a parabola does"


def test_a_lagged_hessian_is_found_in_every_unit():
    for m, J in PAIRS:
        rows = taylor_rows(problem_of(("power", 0.0), m=m, J=J))
        assert rows["with the derivative"].passed
        assert not rows["with the Hessian"].passed, rows


MIXED = np.where(np.arange(SIZE) < 4, 1e-9, 1e9)


def test_entries_of_units_that_differ_by_18_orders_are_each_tested():
    for unit in (MIXED, 1 / MIXED):
        assert verify(problem_of(m=unit)).passed is True
        assert verify(problem_of(BREAKS["half of the entries detached"], m=unit)).passed is False


@pytest.mark.parametrize("hidden", [np.s_[:4], np.s_[4:]], ids=["small unit", "large unit"])
def test_an_error_in_entries_of_one_unit_alone_is_found(hidden):
    class Wrong(InUnits):
        def value_and_derivative(self, m):
            value, derivative = super().value_and_derivative(m)
            derivative[hidden] *= 1.01
            return value, derivative

    problem = problem_of()
    problem.functional = Wrong(*RIGHT, m=MIXED)
    assert verify(problem).passed is False


@pytest.mark.parametrize("bounds", [(0.0, None), (None, 0.0), (-0.1, 0.2)], ids=str)
@pytest.mark.parametrize("unit", UNITS)
def test_bounds_at_the_initial_guess_do_not_hide_an_error(bounds, unit):
    limits = tuple(None if side is None else unit * side for side in bounds)
    assert verify(problem_of(m=unit, bounds=limits)).passed is True
    broken = BREAKS["the state in a coefficient detached"]
    assert verify(problem_of(broken, m=unit, bounds=limits)).passed is False


class Parabola:
    """s times a parabola; its Hessian is wrong by a factor."""

    def __init__(self, scale, factor):
        self.scale, self.factor, self.goal = scale, factor, np.linspace(-1, 1, SIZE)
        self.H = scale * (2 * np.eye(SIZE) + np.pad([[0, 1], [1, 0]], (0, SIZE - 2)))

    def __call__(self, m):
        return 0.5 * (m - self.goal) @ self.H @ (m - self.goal)

    def derivative(self, m):
        return self.H @ (m - self.goal)

    def value_and_derivative(self, m):
        return self(m), self.derivative(m)

    def hessian_action(self, m, direction):
        return self.factor * self.H @ direction


@pytest.mark.parametrize("scale", UNITS)
@pytest.mark.parametrize(("factor", "value"), [(1.0, "exact: J is quadratic"), (1.001, "order 2.00")])
def test_a_parabola_is_shown_to_be_one_where_it_bends(scale, factor, value):
    rows = taylor_rows(SimpleNamespace(functional=Parabola(scale, factor), initial=np.zeros(SIZE), bounds=None))
    assert rows["with the Hessian"].value == value
    assert rows["with the Hessian"].passed == (factor == 1)


@pytest.mark.slow
def test_a_step_too_short_to_bend_proves_no_hessian():
    """J changes by 1e-5 of itself; its third derivative changes it by less than rounding."""
    functional = InUnits(*RIGHT)
    m, v = np.zeros(SIZE), 1e-4 * np.random.default_rng(0).standard_normal(SIZE)
    action = functional.hessian_action(m, v)
    test = taylor_test(functional, functional.derivative(m), m, v, hessian_action=action)
    assert test.orders[2] == pytest.approx(2, abs=0.1)
    assert np.isnan(test.orders[3])
    assert not test.passed
    assert checking.inconclusive_reason(test, 3) == "cannot be told: J does not bend along this direction"


# --- once more, where the optimizer went -------------------------------------------------------------------------


def look(later, recorder, last=False):
    if later.is_due(recorder, last):
        later.verify(recorder)


def looked_at(problem, iterates, last=False):
    """What a run finds that has these iterates; the last one is its end."""
    later = LaterVerification(problem, lambda: False)
    for k, m in enumerate(iterates):
        recorder = SimpleNamespace(
            rows=[SimpleNamespace(iteration=k)], m=m, model=SimpleNamespace(functional=problem.functional)
        )
        look(later, recorder)
    if last:
        look(later, recorder, last=True)
    return later.report


WAY = np.linspace(-0.5, 0.6, SIZE)


@pytest.mark.parametrize("unit", UNITS)
def test_the_third_iterate_is_looked_at_and_no_other(unit):
    iterates = [unit * k * WAY for k in range(5)]
    found = looked_at(problem_of(m=unit), iterates)
    assert (found["iteration"], found["passed"]) == (3, True)
    assert found["taylor_orders"]["2"] == pytest.approx(2, abs=0.1)
    with pytest.raises(DerivativeError, match="the derivative is wrong there: Taylor test"):
        looked_at(problem_of(BREAKS["the state in a coefficient detached"], m=unit), iterates)


def test_a_run_of_fewer_iterations_is_looked_at_at_its_end():
    assert looked_at(problem_of(), [0 * WAY, WAY]) is None
    assert looked_at(problem_of(), [0 * WAY, WAY], last=True)["iteration"] == 1
    assert looked_at(problem_of(), [WAY, WAY], last=True) is None, "it went nowhere"


def test_an_iterate_held_by_its_bounds_tells_nothing():
    found = looked_at(problem_of(bounds=(0.0, 0.0)), [0 * WAY, 0 * WAY + 1e-300], last=True)
    assert found["passed"] is None
    assert "derivatives could not be verified: the bounds hold every entry there" in found["message"]


def test_who_asks_to_stop_meanwhile_interrupts_the_run():
    later = LaterVerification(problem_of(), lambda: True)
    functional = SimpleNamespace(functional=problem_of().functional)
    look(later, SimpleNamespace(rows=[SimpleNamespace(iteration=0)], m=0 * WAY, model=functional))
    with pytest.raises(Interrupted):
        look(later, SimpleNamespace(rows=[SimpleNamespace(iteration=3)], m=WAY, model=functional))
