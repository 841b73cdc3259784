"""Terms that couple two fields by their gradients, against hand computation, single fields, and their derivatives."""

import pickle
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    FullField,
    InputError,
    L2Misfit,
    NewtonModel,
    Parameter,
    Parameters,
    ReducedFunctional,
    cross_gradient,
    joint_total_variation,
    l2_product,
    total_variation,
)
from pdeopt.optimize import minimize
from pdeopt.verify import adjoint_identity, taylor_test

TICKS = np.linspace(0, 1, 4)
TRIANGLES = skfem.MeshTri.init_tensor(TICKS, TICKS)
NAMES = ("sigma", "source")
SPACES = {
    "P1": lambda: FunctionSpace(TRIANGLES, skfem.ElementTriP1()),
    "P2": lambda: FunctionSpace(TRIANGLES, skfem.ElementTriP2()),
    "3-D": lambda: FunctionSpace(skfem.MeshTet().refined(1), skfem.ElementTetP1()),
    "surface in 3-D": lambda: FunctionSpace(skfem.MeshTet().refined(1), skfem.ElementTetP1()).boundary(),
}
TERMS = {
    "cross-gradient": lambda space: cross_gradient(space, 3.0, NAMES),
    "joint total variation": lambda space: joint_total_variation(space, 3.0, NAMES, smoothing=0.4),
}
everywhere = pytest.mark.parametrize("where", SPACES)
every_term = pytest.mark.parametrize("what", TERMS)
rng = np.random.default_rng(2)


@cache
def space(where):
    return SPACES[where]()


def fields(a, b):
    return {"sigma": jnp.asarray(a), "source": jnp.asarray(b), "another": jnp.zeros(2)}


@cache
def functional(what, where):
    """The term alone, as a function of both fields one after the other; the misfit has no weight beside it."""
    V = space(where)
    term = TERMS[what](V)
    misfit = L2Misfit.of(FullField(), np.zeros(2 * V.n), 1e12)
    return ReducedFunctional(lambda m: m, misfit, lambda m: term(fields(m[: V.n], m[V.n :])))


def model_at(what, where, m):
    V = space(where)
    return TERMS[what](V).operator(fields(m[: V.n], m[V.n :]))


# --- values --------------------------------------------------------------------------------------------------------


@everywhere
def test_a_cross_gradient_vanishes_for_a_field_and_a_multiple_of_it(where):
    V = space(where)
    a, b = rng.standard_normal((2, V.n))
    term = cross_gradient(V, 1.0, NAMES)
    size = float(term(fields(a, b)))
    assert size > 0
    assert float(term(fields(a, -2.5 * a + 7))) < 1e-25 * size
    assert float(term(fields(a, np.ones(V.n)))) < 1e-25 * size, "a constant goes with every field"


def test_a_cross_gradient_vanishes_where_gradients_are_parallel():
    x, y = space("P2").locations
    term = cross_gradient(space("P2"), 1.0, NAMES)
    assert float(term(fields(x + y, (x + y) ** 2))) < 1e-25
    assert float(term(fields(x + y, (x - y) ** 2))) > 1


def test_a_cross_gradient_in_the_plane():
    """∇a = (2, 1) and ∇b = (2x, −3): ½ · 5 ∫ (2·(−3) − 1·2x)² = ½ · 5 · (36 + 12 + 4/3)."""
    x, y = space("P2").locations
    found = cross_gradient(space("P2"), 5.0, NAMES)(fields(2 * x + y, x**2 - 3 * y))
    assert float(found) == pytest.approx(2.5 * (36 + 12 + 4 / 3), rel=1e-12)


def test_a_cross_gradient_in_space():
    """∇a = (1, 2, 3) and ∇b = (0, 1, −1): their cross product is (−5, 1, 1), the volume of the cube is 1."""
    x, y, z = space("3-D").locations
    found = cross_gradient(space("3-D"), 2.0, NAMES)(fields(x + 2 * y + 3 * z, y - z))
    assert float(found) == pytest.approx(27, rel=1e-12)


def test_a_cross_gradient_on_a_surface_is_that_along_it():
    """Of x and y on the sides z = 0 and z = 1 of the cube it is ½; on the others one of them is constant."""
    x, y, _ = space("surface in 3-D").locations
    found = cross_gradient(space("surface in 3-D"), 1.0, NAMES)(fields(x, y))
    assert float(found) == pytest.approx(2 * 0.5, rel=1e-12)


@everywhere
def test_joint_variation_of_equal_fields_is_a_multiple_of_their_variation(where):
    V, a = space(where), rng.standard_normal(space(where).n)
    joint = joint_total_variation(V, 3.0, NAMES, smoothing=np.sqrt(2) * 0.4)
    alone = total_variation(V, 3.0, smoothing=0.4)
    assert float(joint(fields(a, a))) == pytest.approx(np.sqrt(2) * float(alone(jnp.asarray(a))), rel=1e-12)
    of_one = joint_total_variation(V, 3.0, NAMES, smoothing=0.4)
    assert float(of_one(fields(a, np.ones(V.n)))) == pytest.approx(float(alone(jnp.asarray(a))), rel=1e-12)


def test_joint_variation_in_the_plane():
    """|∇a|² + |∇b|² + ε² = 4 + (4 + 1) + 16 = 25, and the area of the square is 1."""
    x, y = space("P1").locations
    found = joint_total_variation(space("P1"), 7.0, NAMES, smoothing=4.0)(fields(2 * x, 2 * y - x))
    assert float(found) == pytest.approx(7.0 * (5 - 4), rel=1e-12)


def test_joint_variation_of_three_fields_and_of_vectors():
    V = FunctionSpace(TRIANGLES, skfem.ElementVector(skfem.ElementTriP1()))
    term = joint_total_variation(V, 1.0, ("a", "b", "c"), smoothing=1.0)
    linear = V.nodal(lambda x: np.array([2 * x[0], x[1]]))  # |∇|² = 5
    found = term({"a": linear, "b": linear, "c": linear})
    assert float(found) == pytest.approx(np.sqrt(16) - 1, rel=1e-12)


def test_edges_at_one_place_cost_less_than_edges_apart():
    V = space("P1")
    term = joint_total_variation(V, 1.0, NAMES, smoothing=1e-3)
    left, right = (1.0 * (V.locations[0] > at) for at in (0.2, 0.5))
    assert float(term(fields(left, left))) == pytest.approx(np.sqrt(2), rel=1e-2)
    assert float(term(fields(left, right))) == pytest.approx(2, rel=1e-2)


# --- derivatives ---------------------------------------------------------------------------------------------------


@every_term
@everywhere
def test_derivatives_of_first_and_second_order(what, where):
    J = functional(what, where)
    m, v, w = rng.standard_normal((3, 2 * space(where).n))
    test = taylor_test(J, J.derivative(m), m, 0.3 * v, hessian_action=J.hessian_action(m, 0.3 * v))
    assert test.passed, test
    assert set(test.orders) == {1, 2, 3}
    assert adjoint_identity(J.hessian(m), J.hessian(m), v, w) < 1e-11


@everywhere
def test_joint_variation_is_convex_and_the_cross_gradient_is_not(where):
    n = space(where).n
    m = rng.standard_normal(2 * n)
    convex, other = (
        np.linalg.eigvalsh(functional(what, where).hessian(m)(np.eye(2 * n)))
        for what in ("joint total variation", "cross-gradient")
    )
    assert convex.min() > -1e-11 * convex.max()
    assert other.min() < -1e-3 * other.max()


@every_term
@everywhere
def test_the_model_times_the_fields_is_a_multiple_of_the_derivative(what, where):
    """For ∇a × ∇b, which is of order two in both fields, it is 2; for lagged diffusivity 1."""
    m = rng.standard_normal(2 * space(where).n)
    model = model_at(what, where, m)
    assert abs(model - model.T).max() < 1e-12 * abs(model).max()
    order = 2 if what == "cross-gradient" else 1
    derivative = functional(what, where).derivative(m)
    np.testing.assert_allclose(model @ m, order * derivative, rtol=0, atol=1e-11 * abs(derivative).max())
    assert np.linalg.eigvalsh(model.toarray()).min() > -1e-12 * abs(model).max()


@everywhere
def test_the_model_of_a_cross_gradient_is_its_hessian_where_gradients_are_parallel(where):
    n = space(where).n
    a, v = rng.standard_normal(n), rng.standard_normal(2 * n)
    m = np.concatenate([a, 1 - 2 * a])
    exact = functional("cross-gradient", where).hessian_action(m, v)
    np.testing.assert_allclose(model_at("cross-gradient", where, m) @ v, exact, rtol=0, atol=1e-11 * abs(exact).max())


@everywhere
def test_the_model_of_joint_variation_with_its_dual_is_its_hessian(where):
    V, what = space(where), "joint total variation"
    m, v = rng.standard_normal((2, 2 * V.n))
    term, given = TERMS[what](V), fields(m[: V.n], m[V.n :])
    slopes = term.slopes(given)
    dual = slopes / np.sqrt((slopes**2).sum(tuple(range(slopes.ndim - 2))) + term.smoothing**2)
    exact = functional(what, where).hessian_action(m, v)
    np.testing.assert_allclose(term.operator(given, dual) @ v, exact, rtol=0, atol=1e-11 * abs(exact).max())
    np.testing.assert_allclose(term.next_dual(dual, given, given), dual, rtol=1e-12, atol=1e-14)


def test_newtons_method_needs_few_steps_with_the_dual_of_joint_variation():
    V = FunctionSpace(skfem.MeshTri.init_tensor(*[np.linspace(0, 1, 17)] * 2), skfem.ElementTriP1())
    step = 1.0 * (V.locations[0] > 0.5)
    data = np.concatenate([step, -2 * step]) + 0.1 * np.random.default_rng(0).standard_normal(2 * V.n)
    unknowns = Parameters({"sigma": Parameter(V, "σ"), "source": Parameter(V, "f")})
    misfit = L2Misfit.of(lambda u, _: u, data, 1.0)
    term = joint_total_variation(V, 2.0, NAMES, smoothing=1e-3)
    J = ReducedFunctional(lambda c: jnp.concatenate([c["sigma"], c["source"]]), misfit, term, unknowns)
    model = NewtonModel(J, unknowns)
    found = minimize(
        model,
        np.zeros(2 * V.n),
        optimizer="newton-cg",
        inner_product=l2_product(unknowns),
        preconditioner=model.preconditioner,
        gradient_tolerance=1e-8,
        objective_tolerance=0.0,
        max_iterations=40,
    )
    assert found.status == "converged"


# --- as terms ------------------------------------------------------------------------------------------------------


def test_coupling_terms_are_scaled_and_added_as_others():
    V = space("P1")
    given = fields(*rng.standard_normal((2, V.n)))
    one, other = TERMS["cross-gradient"](V), TERMS["joint total variation"](V)
    assert float((2.0 * one + other)(given)) == pytest.approx(2 * float(one(given)) + float(other(given)))
    assert (one.names, other.names) == (NAMES, NAMES)


@every_term
def test_coupling_terms_go_to_other_processes_after_their_use_too(what):
    V = space("P1")
    term, given = TERMS[what](V), fields(*rng.standard_normal((2, V.n)))
    matrix = term.operator(given)
    copy = pickle.loads(pickle.dumps(term))
    assert abs(copy.operator(given) - matrix).max() == 0


def test_the_stages_of_joint_variation_are_smoother():
    term = joint_total_variation(space("P1"), 2.0, NAMES, 0.5, continuation=(100, 10))
    assert term.continuation == (100, 10)
    stage = term.at_stage(100)
    assert (stage.smoothing, stage.continuation, stage.weight, stage.names) == (50.0, (), 2.0, NAMES)


LINE = FunctionSpace(skfem.MeshLine().refined(2), skfem.ElementLineP1())
VECTORS = FunctionSpace(TRIANGLES, skfem.ElementVector(skfem.ElementTriP1()))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda V: cross_gradient(V, -1.0, NAMES), "weight is -1.0"),
        (lambda V: cross_gradient(V, 1.0, ("a", "a")), "expected two or more, all different"),
        (lambda V: cross_gradient(V, 1.0, ("a", "b", "c")), "a cross product is that of two gradients"),
        (lambda V: cross_gradient(LINE, 1.0, NAMES), "ElementLineP1 in 1 dimensions; expected scalar"),
        (lambda V: cross_gradient(V.boundary(), 1.0, NAMES), "ElementTriP1 in 1 dimensions; expected scalar"),
        (lambda V: cross_gradient(VECTORS, 1.0, NAMES), "ElementVector in 2 dimensions; expected scalar"),
        (lambda V: cross_gradient(V.with_element(skfem.ElementTriP0()), 1.0, NAMES), "no gradient"),
        (lambda V: joint_total_variation(V, 1.0, ("a",)), "expected two or more, all different"),
        (lambda V: joint_total_variation(V, 1.0, NAMES, 0.0), "smoothing of joint total variation is 0.0"),
        (lambda V: joint_total_variation(V, 1.0, NAMES, 1.0, (10, -1)), "continuation of joint total variation is"),
        (
            lambda V: cross_gradient(V, 1.0, NAMES)(np.ones(V.n)),
            "CrossGradient takes fields by name, got an array; expected {'sigma': values, 'source': values}",
        ),
        (
            lambda V: cross_gradient(V, 1.0, NAMES)({"sigma": np.ones(V.n), "f": 0}),
            "couples sigma, source, and got sigma, f; 'source' is missing",
        ),
        (
            lambda V: joint_total_variation(V, 1.0, NAMES)(fields(np.ones(V.n), np.ones(3))),
            r"the field 'source' has shape \(3,\); expected \(16,\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(ask, message):
    with pytest.raises(InputError, match=message):
        ask(space("P1"))


def test_a_term_is_differentiated_by_jax_with_respect_to_the_fields_by_name():
    V = space("P1")
    x, y = V.locations
    slopes = jax.grad(TERMS["cross-gradient"](V))({"sigma": jnp.asarray(x), "source": jnp.asarray(y)})
    assert set(slopes) == set(NAMES)
    assert float(slopes["sigma"] @ x) == pytest.approx(3.0, rel=1e-12), "of order two in each field"
