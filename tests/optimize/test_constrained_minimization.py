"""Minimization with constraints: against dense systems and published minima, what is said of faults, and the units."""

from itertools import combinations

import numpy as np
import pytest

from pdeopt.optimize import (
    AugmentedLagrangian,
    ConstraintRows,
    ConstraintValues,
    Diagonal,
    GaussNewton,
    NewtonCG,
    Objective,
    Optimizer,
    OptimizerError,
    dispatch,
    minimize,
    optimizer_named,
    optimizers,
)

EVERY = [name for name, one in optimizers().items() if "inequalities" in one.keeps]
SEPARABLE = {"mma", "ccsa"}
ALL = [name for name in EVERY if name not in SEPARABLE]

rng = np.random.default_rng(0)
SQUARE = rng.standard_normal((12, 12))
H = SQUARE @ SQUARE.T / 12 + 0.1 * np.eye(12)
SLOPE = rng.standard_normal(12)
A = rng.standard_normal((2, 12))
B = np.array([1.0, 2.0])
WEIGHTS = np.exp(rng.standard_normal(12))


def with_constraints(value_and_derivative, constraints, kinds, tolerance=1e-6, hessian=None, curvature=None):
    """An objective with constraints m ↦ (values, jacobian) of these kinds, "<=" or "==", one a row."""
    equality = np.array([kind == "==" for kind in kinds])
    rows = ConstraintRows(tuple("abcd"[: len(kinds)]), equality, np.full(len(kinds), tolerance))
    return Objective(
        value_and_derivative,
        hessian,
        hessian,
        constraints=lambda m: ConstraintValues(rows, *constraints(m)),
        constraint_kinds=rows.kinds,
        constraint_hessian=curvature,
    )


def quadratic(sign, kinds, unit=1.0, scale=1.0, tolerance=1e-6):
    """½ mᵀHm − slope·m with ±(A m − b) ≤ 0 or = 0; m in units, constraints in scales."""
    return with_constraints(
        lambda m: (0.5 * m @ H @ m / unit**2 - SLOPE @ m / unit, H @ m / unit**2 - SLOPE / unit),
        lambda m: (sign * scale * (A @ m / unit - B), sign * scale * A / unit),
        kinds,
        tolerance * scale,
        lambda m: lambda v: H @ v / unit**2,
        lambda m, weights: np.zeros_like,
    )


def dense_minimum(sign, kinds):
    """The minimum and its multipliers, as that of all active sets whose multipliers have the right signs."""
    for active in [[0, 1], [0], [1], []]:
        size = len(active)
        system = np.block([[H, sign * A[active].T], [sign * A[active], np.zeros((size, size))]])
        found = np.linalg.solve(system, np.append(SLOPE, sign * B[active]))
        multipliers = np.zeros(2)
        multipliers[active] = found[12:]
        kept = all(k in active if kind == "==" else multipliers[k] >= 0 for k, kind in enumerate(kinds))
        if kept and (sign * (A @ found[:12] - B) <= 1e-9).all():
            return found[:12], multipliers
    raise AssertionError("no active set")


@pytest.mark.parametrize("kinds", [("==", "=="), ("<=", "<="), ("<=", "==")], ids=" ".join)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("optimizer", ALL)
def test_a_quadratic_has_the_minimum_and_the_multipliers_of_the_dense_system(optimizer, sign, kinds):
    minimum, multipliers = dense_minimum(sign, kinds)
    result = minimize(
        quadratic(sign, kinds, tolerance=1e-8),
        np.zeros(12),
        optimizer=optimizer,
        gradient_tolerance=1e-7,
        inner_product=Diagonal("w", WEIGHTS),
    )
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m, minimum, atol=1e-3 if optimizer == "slsqp" else 1e-4)
    np.testing.assert_allclose(result.multipliers, multipliers, atol=1e-5)
    assert result.constraints.violation <= 1e-8
    assert result.gradient_norm < 1e-4


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("optimizer", sorted(SEPARABLE))
def test_moving_asymptotes_come_near_it(optimizer, sign):
    minimum, multipliers = dense_minimum(sign, ("<=", "<="))
    result = minimize(quadratic(sign, ("<=", "<=")), np.zeros(12), optimizer=optimizer)
    assert result.status == "converged", result.message
    value = quadratic(sign, ("<=", "<=")).value_and_derivative
    assert value(result.m)[0] == pytest.approx(value(minimum)[0], rel=1e-5)
    np.testing.assert_allclose(result.multipliers, multipliers, atol=1e-3)


def hs71(m):
    """Hock and Schittkowski (1981), problem 71: the minimum is 17.0140173 at (1, 4.743, 3.82115, 1.379408)."""
    a, b, c, d = m
    return a * d * (a + b + c) + c, np.array([d * (2 * a + b + c), a * d, a * d + 1, a * (a + b + c)])


def hs71_hessian(m):
    a, b, c, d = m
    matrix = np.array([[2 * d, d, d, 2 * a + b + c], [d, 0, 0, a], [d, 0, 0, a], [2 * a + b + c, a, a, 0]])
    return lambda v: matrix @ v


def hs71_constraints(m):
    product = np.prod(m)
    return np.array([25 - product, m @ m - 40]), np.array([-product / m, 2 * m])


def hs71_curvature(m, weights):
    matrix = np.diag(np.full(4, 2 * weights[1]))
    for i, j in combinations(range(4), 2):
        matrix[i, j] = matrix[j, i] = -weights[0] * np.prod(m) / (m[i] * m[j])
    return lambda v: matrix @ v


@pytest.mark.parametrize("optimizer", ALL)
@pytest.mark.parametrize("curvature", [hs71_curvature, None], ids=["exact", "by updates"])
def test_problem_71_of_hock_and_schittkowski(optimizer, curvature):
    if curvature is None and "newton" in optimizer:
        pytest.skip("Newton's method needs them, where J itself is not convex")
    objective = with_constraints(hs71, hs71_constraints, ("<=", "=="), 1e-7, hs71_hessian, curvature)
    start = np.array([1.0, 5.0, 5.0, 1.0])
    result = minimize(objective, start, optimizer=optimizer, bounds=(1.0, 5.0), gradient_tolerance=1e-6)
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m, [1, 4.742999, 3.821150, 1.379408], atol=1e-4)
    assert result.objective == pytest.approx(17.0140173, abs=1e-5)
    np.testing.assert_allclose(result.multipliers, [0.5522937, 0.1614686], atol=1e-4)
    assert ((result.m >= 1) & (result.m <= 5)).all()


@pytest.mark.parametrize("optimizer", ALL)
@pytest.mark.parametrize(("unit", "scale"), [(1e-6, 1.0), (1e6, 1.0), (1.0, 1e9), (1.0, 1e-9)])
def test_units_of_parameters_and_constraints_change_nothing(optimizer, unit, scale):
    minimum, multipliers = dense_minimum(1, ("<=", "=="))
    product = Diagonal("w", np.full(12, unit**-2))
    result = minimize(quadratic(1, ("<=", "=="), unit, scale), np.zeros(12), optimizer=optimizer, inner_product=product)
    assert result.status == "converged", result.message
    np.testing.assert_allclose(result.m / unit, minimum, atol=1e-2)
    np.testing.assert_allclose(scale * result.multipliers, multipliers, atol=1e-3)


@pytest.mark.parametrize("optimizer", ALL)
def test_every_iterate_reports_violation_and_multipliers(optimizer):
    seen = []
    minimize(quadratic(1, ("<=", "==")), np.zeros(12), optimizer=optimizer, callback=seen.append)
    assert seen[0].violation == 2.0
    assert not seen[0].feasible
    assert seen[-1].feasible
    for iterate in seen:
        derivative = H @ iterate.m - SLOPE + iterate.multipliers @ iterate.constraints.jacobian
        assert iterate.gradient_norm == pytest.approx(np.linalg.norm(derivative))
        assert iterate.multipliers[0] >= 0


def test_products_are_those_of_the_augmented_lagrangian():
    """With wrong second derivatives of the constraints, Newton's method takes more iterations."""
    counts = {}
    for name, curvature in (("exact", hs71_curvature), ("none", None)):
        objective = with_constraints(hs71, hs71_constraints, ("<=", "=="), 1e-7, hs71_hessian, curvature)
        optimizer = AugmentedLagrangian(NewtonCG())
        result = minimize(objective, np.array([1.0, 5.0, 5.0, 1.0]), optimizer=optimizer, bounds=(1.0, 5.0))
        counts[name] = result.iterations
    assert counts["exact"] < counts["none"]


def test_any_optimizer_of_ours_can_be_inside_but_none_that_keeps_constraints():
    minimum, _ = dense_minimum(1, ("<=", "=="))
    result = minimize(quadratic(1, ("<=", "==")), np.zeros(12), optimizer=AugmentedLagrangian(GaussNewton()))
    assert result.status == "converged"
    np.testing.assert_allclose(result.m, minimum, atol=1e-3)
    with pytest.raises(OptimizerError, match="slsqp keeps constraints by itself; use it alone"):
        AugmentedLagrangian(optimizer_named("slsqp"))


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", EVERY)
def test_constraints_that_contradict_each_other_are_told_with_the_least_violation(optimizer):
    """m₀ ≤ −1 and m₀ ≥ 2: at m₀ = ½ both are violated by 1.5, and nowhere by less."""

    def constraints(m):
        return np.array([m[0] + 1, 2 - m[0]]), np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])

    objective = with_constraints(
        lambda m: (0.5 * m @ m + m.sum(), m + 1), constraints, ("<=", "<="), hessian=lambda m: lambda v: v
    )
    result = minimize(objective, np.zeros(3), optimizer=optimizer, max_iterations=60)
    assert result.status == "failed", result.message
    assert "'a' and 'b' contradict each other, at least nearby: where they are violated least, '" in result.message
    assert result.message.endswith("is violated by 1.5")


@pytest.mark.parametrize("optimizer", ALL)
def test_a_constraint_that_bounds_contradict_is_told(optimizer):
    """m₀ + m₁ ≥ 5 within 0 ≤ m ≤ 1."""
    objective = with_constraints(
        lambda m: (0.5 * m @ m, m.copy()),
        lambda m: (np.array([5 - m.sum()]), -np.ones((1, 2))),
        ("<=",),
        hessian=lambda m: lambda v: v,
    )
    result = minimize(objective, np.zeros(2), optimizer=optimizer, bounds=(0.0, 1.0), max_iterations=60)
    assert result.status == "failed", result.message
    assert "no point nearby keeps it, within the bounds" in result.message
    assert result.message.endswith("'a' is violated by 3")


class Feasible(Optimizer):
    name = "feasible"
    keeps = frozenset({"inequalities", "equalities"})
    starts_feasible = True

    def run(self, trace):
        return


def test_a_start_outside_is_refused_where_the_method_needs_one_inside():
    with pytest.raises(
        OptimizerError,
        match=r"feasible starts where all constraints are kept, and at the initial "
        r"guess 'b' is violated by 2; use one of slsqp, .*, ipopt$",
    ):
        minimize(quadratic(1, ("==", "==")), np.zeros(12), optimizer=Feasible())


def test_a_library_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(dispatch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        OptimizerError,
        match=r"ipopt needs a package that is not installed: pip install ipyopt; "
        r"use one of slsqp, trust-constr, augmented-lagrangian, augmented-lagrangian.newton-cg$",
    ):
        minimize(quadratic(1, ("==", "==")), np.zeros(12), optimizer="ipopt")


def test_constraints_without_their_kinds_are_refused():
    with pytest.raises(OptimizerError, match="give both: constraints=…"):
        Objective(hs71, constraints=hs71_constraints)


# --- Levenberg–Marquardt without bounds ---------------------------------------------------------------------------


def test_levenberg_marquardt_fits_few_parameters_without_bounds():
    """Rosenbrock's residuals (10 (m₁ − m₀²), 1 − m₀), in fewer than 30 evaluations from the usual start."""

    def jacobian(m):
        return np.array([[-20 * m[0], 10.0], [-1.0, 0.0]])

    def value_and_derivative(m):
        residual = np.array([10 * (m[1] - m[0] ** 2), 1 - m[0]])
        return 0.5 * residual @ residual, jacobian(m).T @ residual

    objective = Objective(value_and_derivative, gauss_newton=lambda m: lambda v: jacobian(m).T @ (jacobian(m) @ v))
    result = minimize(objective, np.array([-1.2, 1.0]), optimizer="levenberg-marquardt", gradient_tolerance=1e-8)
    assert (result.status, result.evaluations < 30) == ("converged", True), result
    np.testing.assert_allclose(result.m, [1, 1], atol=1e-6)
