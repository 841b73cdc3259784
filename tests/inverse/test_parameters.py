"""Several parameters by name: taken apart and put together, in terms, inner products and Newton's method."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse as sp
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import (
    AtDofs,
    Bounded,
    InputError,
    L2Misfit,
    Log,
    NewtonModel,
    Numbers,
    Parameter,
    Parameters,
    Problem,
    ReducedFunctional,
    Tree,
    cross_gradient,
    h1,
    inner_product_named,
    inner_products_of,
    l1,
    l2_product,
    regularization_product,
    tikhonov,
    total_variation,
)
from pdeopt.inversion.checking import check_problem
from pdeopt.optimize import OptimizerError, minimize
from pdeopt.pde import LinearStateEquation
from pdeopt.verify import adjoint_identity, taylor_test

TICKS = np.linspace(0, 1, 6)
V = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS), skfem.ElementTriP1())
INSIDE = np.setdiff1d(np.arange(V.n), V.dofs())
rng = np.random.default_rng(0)
FIELD = Parameter(V, "κ")


@bilinear_form
def conduction(u, v, w):
    return w["kappa"] * dot(grad(u), grad(v))


@linear_form
def heating(v, w):
    return (w["left"] * w.x[0] + w["right"] * w["shape"]) * v


def unknowns(unit=1.0):
    """A field, two numbers, whose unit may be another, and a tree of three entries."""
    return Parameters(
        {
            "kappa": Parameter(V, "conductivity κ", parametrization=Log(2.0), truth=2 + V.locations[0]),
            "rates": Numbers(["left (W)", "right (W)"], "rates", initial=unit * np.ones(2), truth=unit * np.ones(2)),
            "net": Tree({"slope": np.array([0.5, -0.5]), "shift": np.array(0.1)}, "weights"),
        }
    )


def state(unit=1.0):
    def system(c):
        x = V.locations
        shape = c["net"]["slope"] @ x + jnp.tanh(c["net"]["shift"])
        left, right = c["rates"] / unit
        load = heating.assemble(V, left=left, right=right, shape=V.interpolate(shape))
        return conduction.assemble(V, kappa=V.interpolate(c["kappa"])), load

    return LinearStateEquation(system, Dirichlet.on(V), parts={"u": V})


def functional(given, unit=1.0):
    data = 0.01 * np.random.default_rng(1).standard_normal(len(INSIDE))
    terms = [
        h1(V, 0.1).on("kappa") + 0.5 * tikhonov(V, 0.2).on("kappa"),
        lambda m: 0.3 * jnp.sum((m["rates"] / unit) ** 2) + jnp.sum(m["net"] ** 4),
    ]
    return ReducedFunctional(state(unit), L2Misfit.of(AtDofs(INSIDE), data, 0.01), terms, given)


def test_m_is_put_together_and_taken_apart():
    given = unknowns()
    m = np.arange(given.size, dtype=float) / 10
    coefficient = given(jnp.asarray(m))
    assert list(coefficient) == ["kappa", "rates", "net"]
    np.testing.assert_allclose(coefficient["kappa"], 2 * np.exp(m[: V.n]))
    np.testing.assert_array_equal(coefficient["rates"], m[V.n : V.n + 2])
    np.testing.assert_allclose(given.inverse(coefficient), m, rtol=1e-14)
    flat = given.flat(coefficient)
    np.testing.assert_array_equal(given.flat(given.unflat(flat)), flat)
    np.testing.assert_array_equal(given.initial, [*np.zeros(V.n), 1, 1, 0.1, 0.5, -0.5])
    assert np.isnan(given.truth[-3:]).all()
    errors = given.relative_errors(flat, given.truth)
    assert errors["net"] is None
    known = [errors["kappa"], errors["rates"]]
    assert given.relative_error(flat, given.truth) == pytest.approx(np.sqrt(np.mean(np.square(known))))
    with pytest.raises(InputError, match="the coefficient 'net' is missing; expected kappa, rates, net"):
        given.inverse({"kappa": coefficient["kappa"], "rates": np.ones(2)})


def test_a_pytree_goes_in_wherever_a_flat_m_does():
    given = unknowns()
    J = functional(given)
    m, v = 0.1 * rng.standard_normal((2, given.size))
    net = {"shift": m[V.n + 2], "slope": m[V.n + 3 :]}
    tree = {"kappa": m[: V.n], "rates": list(m[V.n : V.n + 2]), "net": net}
    direction = given.split(v)
    assert J(tree) == J(m)
    np.testing.assert_array_equal(J.derivative(tree), J.derivative(m))
    np.testing.assert_array_equal(J.hessian(tree)(direction), J.hessian(m)(v))
    np.testing.assert_array_equal(J.gauss_newton(tree)(direction), J.gauss_newton(m)(v))
    np.testing.assert_array_equal(J.prediction_tangent(tree, direction), J.prediction_tangent(m, v))
    np.testing.assert_array_equal(J.solved(tree).adjoint, J.solved(m).adjoint)
    np.testing.assert_array_equal(J.coefficient(tree)["kappa"], J.coefficient(m)["kappa"])
    np.testing.assert_array_equal(J.regularization_operator(tree).toarray(), J.regularization_operator(m).toarray())
    found = jax.grad(J.objective)(tree | {"rates": tree["rates"]})
    np.testing.assert_allclose(given.join(found), J.derivative(m), rtol=1e-12, atol=1e-12)
    assert set(found["net"]) == {"shift", "slope"}
    assert found["net"]["slope"].shape == (2,)
    np.testing.assert_array_equal(Problem(J, tree).initial, m)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda tree: tree | {"net": {"shift": 0.1}}, "the m of weights has the structure"),
        (
            lambda tree: {name: tree[name] for name in ("kappa", "net")},
            "m is given by kappa, net; expected kappa, rate",
        ),
        (lambda tree: tree | {"kappa": np.ones(3)}, r"the m of 'kappa' has shape \(3,\); expected a number, or"),
        (lambda tree: tree | {"net": {"shift": 0.1, "slope": np.ones(3)}}, r"the arrays of weights have the shapes"),
        (lambda tree: tree | {"net": [0.1, {"slope": np.ones(2)}]}, "the m of weights has the structure"),
        (lambda tree: tree | {"kappa": None}, rf"the m of 'kappa' is None; expected a number, or \({V.n},\)"),
        (lambda tree: tree | {"kappa": tree["kappa"] + 1j}, "the m of 'kappa' is complex; expected real numbers"),
        (lambda tree: tree | {"net": {"shift": 0.1j, "slope": np.ones(2)}}, "the m of 'net' is complex"),
    ],
)
def test_a_pytree_of_other_parameters_is_refused(wrong, message):
    given = unknowns()
    J = functional(given)
    tree = given.split(given.initial) | {"net": given.parts["net"].example}
    for evaluate in (J, J.objective, jax.grad(J.objective)):
        with pytest.raises(InputError, match=message):
            evaluate(wrong(tree))


def test_what_is_no_array_is_refused_where_an_array_is_expected():
    J = functional(unknowns())
    with pytest.raises(InputError, match="a list was given where an array of numbers is expected"):
        J([{"kappa": 1.0}])
    with pytest.raises(OptimizerError, match="the initial guess is a dict; expected numbers in a row"):
        minimize(J, {"kappa": 1.0})


@pytest.mark.parametrize("more", [-2, 5])
def test_an_m_of_another_size_is_refused(more):
    given = unknowns()
    with pytest.raises(
        InputError, match=rf"m has shape \({V.n + 5 + more},\); expected \({V.n + 5},\), kappa, rates, net"
    ):
        functional(given)(np.zeros(given.size + more))
    with pytest.raises(InputError, match="the m of weights has shape"):
        given.parts["net"](np.zeros(3 + more))


def test_a_dict_where_there_are_no_parameters_by_name_is_refused():
    J = ReducedFunctional(lambda kappa: kappa, L2Misfit.of(AtDofs([0]), [1.0], 0.1))
    with pytest.raises(InputError, match="m is a dict of kappa; expected numbers in a row"):
        J({"kappa": np.ones(2)})


def test_transformations_of_optax_work_on_a_pytree():
    given = unknowns()
    J = functional(given)
    start = given.split(given.initial) | {"net": given.parts["net"].example}
    adam, sgd = optax.adam(0.03), optax.sgd(1e-3, momentum=0.5)
    rules = optax.multi_transform({"fast": adam, "slow": sgd}, {"kappa": "fast", "rates": "fast", "net": "slow"})
    value_and_grad = jax.jit(jax.value_and_grad(J.objective))
    m, memory = start, rules.init(start)
    for _ in range(30):
        _, gradient = value_and_grad(m)
        updates, memory = rules.update(gradient, memory, m)
        m = optax.apply_updates(m, updates)
    assert J(m) < 0.2 * J(start)
    assert jax.tree.structure(m) == jax.tree.structure(start)


def test_the_objective_is_that_of_the_parts():
    J, m = functional(unknowns()), 0.1 * rng.standard_normal(V.n + 5)
    kappa, rates, net = np.split(m, [V.n, V.n + 2])
    expected = float(h1(V, 0.1)(kappa) + 0.5 * tikhonov(V, 0.2)(kappa)) + 0.3 * rates @ rates + np.sum(net**4)
    assert J.terms(m).regularization == pytest.approx(expected, rel=1e-13)
    operator = J.regularization_operator(m)
    assert operator.shape == (len(m), len(m))
    v = rng.standard_normal(len(m))
    plain = J.plain_regularization_hessian(m)(v)
    np.testing.assert_allclose(plain[: V.n], 0, atol=1e-15)
    np.testing.assert_allclose(plain[V.n :], [*(0.6 * v[V.n : V.n + 2]), *(12 * net**2 * v[-3:])], rtol=1e-12)
    np.testing.assert_array_equal((operator @ v)[V.n :], 0)
    gradient = J.derivative(m) - J.with_strength(0.0).derivative(m)
    np.testing.assert_allclose((operator @ m)[: V.n], gradient[: V.n], atol=1e-10)


@pytest.mark.parametrize("unit", [1e12, pytest.param(1.0, marks=pytest.mark.slow)])
def test_derivatives_of_parameters_in_any_units(unit):
    given = unknowns(unit)
    J = functional(given, unit)
    sizes = np.concatenate([np.ones(V.n), unit * np.ones(2), np.ones(3)])
    m = given.initial + 0.1 * sizes * rng.standard_normal(given.size)
    v, w = (sizes * rng.standard_normal(given.size) for _ in range(2))
    test = taylor_test(J, J.derivative(m), m, v, hessian_action=J.hessian_action(m, v))
    assert test.passed, str(test)
    assert J.hessian_action(m, v) @ w == pytest.approx(J.hessian_action(m, w) @ v, rel=1e-9)
    cotangent = rng.standard_normal(J.prediction(m).shape)
    tangent, adjoint = J.tangent_and_adjoint(m, v, cotangent)
    assert adjoint_identity(lambda _: tangent, lambda _: adjoint, v, cotangent) < 1e-12


@pytest.mark.slow
def test_the_check_of_a_problem_passes_in_units_that_differ_by_twelve_orders():
    given = unknowns(1e12)
    checks = check_problem(Problem(functional(given, 1e12)))
    assert all(check.passed for check in checks), [str(check) for check in checks]


def test_total_variation_of_one_parameter_has_its_dual():
    given = Parameters({"a": Parameter(V, "a"), "b": Parameter(V, "b")})
    term = total_variation(V, 1.0, smoothing=0.1)
    J = ReducedFunctional(lambda c: c["a"] + c["b"], lambda u, c: 0.5 * jnp.sum((u - 1) ** 2), [term.on("b")], given)
    model, m = NewtonModel(J, given), rng.standard_normal(given.size)
    model.hessian(m)
    operator = model._operator(m)
    np.testing.assert_allclose(
        operator[V.n :, V.n :].toarray(), term.operator(m[V.n :], term.first_dual(m[V.n :])).toarray()
    )
    assert operator[: V.n].count_nonzero() == 0
    later = m + 0.1 * rng.standard_normal(given.size)
    model.hessian(later)
    dual = term.next_dual(term.first_dual(m[V.n :]), m[V.n :], later[V.n :])
    np.testing.assert_allclose(
        model._operator(later)[V.n :, V.n :].toarray(), term.operator(later[V.n :], dual).toarray()
    )


@pytest.mark.slow
def test_newton_solves_for_all_at_once_with_a_preconditioner_of_blocks():
    """The block of the numbers, of which no term states an operator, has the size of the misfit's Hessian."""
    given = unknowns()
    J = functional(given)
    model = NewtonModel(J, given)
    action = model.gauss_newton(given.initial)
    apply = model.preconditioner(given.initial, np.ones(given.size, bool))
    e = np.eye(given.size)
    P = np.column_stack([apply(column) for column in e])
    np.testing.assert_allclose(P, P.T, atol=1e-12 * abs(P).max())
    assert np.linalg.eigvalsh(P).min() > 0
    np.testing.assert_allclose(P[: V.n, V.n :], 0, atol=1e-14 * abs(P).max())
    H = np.column_stack([action(column) for column in e])
    block = slice(V.n, V.n + 2)
    assert 0.01 < np.trace(P[block, block] @ H[block, block]) / 2 < 100
    found = minimize(NewtonModel(J, given), given.initial, optimizer="newton-cg", gradient_tolerance=1e-8)
    assert found.status == "converged", found.message


def test_inner_products_are_those_of_the_blocks():
    given, J = unknowns(), functional(unknowns())
    a, d = rng.standard_normal((2, given.size))
    mass = sp.block_diag([given.parts["kappa"].mass, sp.identity(5)]).toarray()
    for product in (l2_product(given), inner_product_named("l2", J, given)):
        assert product.name == "l2"
        assert product.weights is None
        np.testing.assert_allclose(product.gradient(d), np.linalg.solve(mass, d), rtol=1e-10)
        assert product.norm(a) == pytest.approx(np.sqrt(a @ mass @ a))
        np.testing.assert_allclose(product.primal(product.pullback(d)), product.gradient(d), rtol=1e-10)
    mixed = inner_product_named("kappa=regularization,net=euclidean", J, given)
    assert mixed.name == "kappa=regularization,rates=l2,net=euclidean"
    operator = J.regularization_operator(a)[: V.n, : V.n].toarray()
    np.testing.assert_allclose(mixed.gradient(d)[: V.n], np.linalg.solve(operator, d[: V.n]), rtol=1e-8)
    np.testing.assert_array_equal(mixed.gradient(d)[V.n :], d[V.n :])
    lower = np.full(given.size, -np.inf)
    lower[:5] = -9.0
    assert inner_product_named("l2", J, given, (lower, None)).name == "kappa=l2-lumped,rates=l2,net=l2"
    assert inner_product_named("l2", J, given, (lower, None)).weights is not None
    with pytest.raises(InputError, match="needs a term of 'rates' that states its operator"):
        regularization_product(J, given)
    with pytest.raises(InputError, match="there is no parameter 'kapa'; the problem has kappa, rates, net"):
        inner_product_named("kapa=l2", J, given)
    with pytest.raises(InputError, match="unknown inner product 'h2'"):
        inner_product_named("kappa=h2", J, given)
    with pytest.raises(InputError, match="keeps no bounds on single entries of m"):
        inner_product_named("kappa=regularization", J, given, (lower, None))


def test_terms_with_kinks_and_terms_that_couple_are_those_of_their_parameters():
    given = Parameters({"a": Parameter(V, "a"), "b": Parameter(V, "b"), "c": Numbers(["c"])})
    coupling = cross_gradient(V, 2.0, ("b", "a"))
    J = ReducedFunctional(lambda c: c["a"], lambda u, c: jnp.sum(u**2), [l1(V, 0.5).on("b"), coupling], given, 3.0)
    m = rng.standard_normal(given.size)
    parts = given.split(m)
    expected = 3 * (float(l1(V, 0.5)(parts["b"])) + float(coupling({"a": parts["a"], "b": parts["b"]})))
    assert J.terms(m).regularization == pytest.approx(expected)
    np.testing.assert_allclose(J.l1_weights, 3 * np.concatenate([np.zeros(V.n), l1(V, 0.5).l1_weights, [0.0]]))
    assert J.smooth_part.terms(m).regularization == pytest.approx(3 * float(coupling(parts)))
    assert inner_product_named("l2", J, given).name == "a=l2-lumped,b=l2-lumped,c=l2"
    with pytest.raises(InputError, match="no optimizer can treat an L1 term"):
        inner_product_named("b=regularization", J, given)
    with pytest.raises(InputError, match="is one of 'b'; the parameters are a"):
        ReducedFunctional(lambda c: c["a"], lambda u, c: 0.0, coupling, Parameters({"a": FIELD}))


@pytest.mark.slow
def test_bounds_and_kinks_of_one_of_two_fields_are_kept():
    """With the defaults, in which the products of both are lumped."""
    given = Parameters({"a": Parameter(V, "a", bounds=(None, 0.5)), "b": Parameter(V, "b")})
    terms = [tikhonov(V, 10.0).on("a"), tikhonov(V, 10.0).on("b")]
    J = ReducedFunctional(lambda c: c["a"] + 2 * c["b"], lambda u, c: 0.5 * jnp.sum((u - 3) ** 2), terms, given)
    product = inner_product_named("l2", J, given, given.bounds)
    found = minimize(
        NewtonModel(J, given), given.initial, optimizer="newton-cg", bounds=given.bounds, inner_product=product
    )
    assert (found.status, float(given.split(found.m)["a"].max())) == ("converged", 0.5)
    kinks = ReducedFunctional(J.state, J.misfit, [*terms, l1(V, 1.0).on("b")], given)
    product = inner_product_named("l2", kinks, given)
    found = minimize(NewtonModel(kinks, given), given.initial, optimizer="active-set", inner_product=product)
    assert found.status == "converged", found.message


def test_a_tree_may_stand_for_a_function():
    tree = Tree(
        [np.array([0.5, -1.0]), np.array(0.2)],
        "κ",
        space=V,
        function=lambda weights: weights[0] @ V.locations + weights[1],
        truth=np.ones(V.n),
    )
    np.testing.assert_allclose(tree(tree.initial), 0.5 * V.locations[0] - V.locations[1] + 0.2)
    given = Parameters({"kappa": tree, "rate": Numbers(["rate"], truth=np.array([2.0]))})
    J = ReducedFunctional(lambda c: c["kappa"] * c["rate"], lambda u, c: jnp.sum((u - 1) ** 2), (), given)
    problem = Problem(J)
    assert (given.size, given.coefficient_size) == (4, V.n + 1)
    values = given.flat(J.coefficient(problem.initial))
    assert given.relative_errors(values, problem.truth)["rate"] == 1.0
    one = np.sqrt(np.ones(V.n) @ FIELD.mass @ np.ones(V.n))
    assert given.relative_errors(values, problem.truth)["kappa"] == pytest.approx(FIELD.norm(values[:-1] - 1) / one)
    np.testing.assert_array_equal(given.flat(given.unflat(values)), values)
    test = taylor_test(J, J.derivative(np.ones(4)), np.ones(4), np.arange(4.0))
    assert test.passed
    with pytest.raises(InputError, match="the weights of a function are not found from its values"):
        tree.inverse(np.ones(V.n))
    with pytest.raises(InputError, match="a function of a tree goes with its space"):
        Tree([np.ones(2)], space=V)


def test_a_problem_takes_what_its_parameters_state():
    given = Parameters(
        {
            "kappa": Parameter(V, "κ", bounds=(-1, 1), truth=np.ones(V.n)),
            "rates": Numbers(["a", "b"], "rates", initial=2.0, bounds=(None, [3, 4])),
        }
    )
    J = ReducedFunctional(lambda c: c["kappa"] * c["rates"][0], lambda u, c: jnp.sum(u**2), (), given)
    problem = Problem(J)
    assert problem.parameter is given
    np.testing.assert_array_equal(problem.initial, [*np.zeros(V.n), 2, 2])
    np.testing.assert_array_equal(problem.bounds[0], [*-np.ones(V.n), -np.inf, -np.inf])
    np.testing.assert_array_equal(problem.bounds[1], [*np.ones(V.n), 3, 4])
    assert problem.relative_error(np.ones(V.n + 2)) == 0.0
    assert problem.relative_error(2 * np.ones(V.n + 2)) == pytest.approx(1.0)


def test_a_single_parameter_states_its_initial_guess_and_truth_as_well():
    J = ReducedFunctional(lambda k: k, lambda u, c: jnp.sum(u**2), (), Log())
    problem = Problem(J, parameter=Parameter(V, "κ", initial=0.5, truth=np.ones(V.n)))
    np.testing.assert_array_equal(problem.initial, np.full(V.n, 0.5))
    assert problem.relative_error(np.zeros(V.n)) == 0.0
    tree = Tree({"a": np.ones(3)}, "weights", parametrization=Bounded(0, 2))
    of_tree = Problem(ReducedFunctional(lambda c: c["a"], lambda u, c: jnp.sum(u**2), (), tree))
    np.testing.assert_allclose(of_tree.functional.coefficient(of_tree.initial)["a"], 1.0)


FAULTS = {
    "no parameters": (lambda: Parameters({}), "expected some by name"),
    "a name that is no word": (lambda: Parameters({"two words": FIELD}), "'two words'; expected a word"),
    "no parameter": (lambda: Parameters({"kappa": V}), "'kappa' is a FunctionSpace; expected a Parameter"),
    "a number twice": (
        lambda: Parameters({"a": Numbers(["rate"]), "b": Numbers(["rate"])}),
        "two parameters have a number 'rate'",
    ),
    "no degrees of freedom": (
        lambda: Parameters({"a": Parameter(V, "κ", dofs=np.zeros(0, int))}),
        "'a' has no degrees of freedom",
    ),
    "a wrong shape": (
        lambda: Parameters({"a": Parameter(V, "κ", initial=np.ones(3))}).initial,
        r"the initial guess of 'a' has shape \(3,\); expected a number, or \(36,\)",
    ),
    "wrong bounds": (lambda: Parameters({"a": Parameter(V, "κ", bounds=(2, 1))}).bounds, "the parameter 'a': "),
    "integers in a tree": (lambda: Tree({"a": np.ones(3, int)}), "floating-point numbers"),
    "an empty tree": (lambda: Tree({}), "expected at least one"),
    "a term of no parameter": (
        lambda: ReducedFunctional(lambda c: c["a"], lambda u, c: 0.0, h1(V, 1.0), Parameters({"a": FIELD})),
        r"does not say of which parameter it is, a; give it as h1\(V, 1.0\).on\('a'\)",
    ),
    "a term of another": (
        lambda: ReducedFunctional(lambda c: c["a"], lambda u, c: 0.0, h1(V, 1.0).on("b"), Parameters({"a": FIELD})),
        "is one of 'b'; the parameters are a",
    ),
    "a named term without names": (
        lambda: ReducedFunctional(lambda c: c, lambda u, c: jnp.sum(u), h1(V, 1.0).on("b"))(np.ones(V.n)),
        "the functional has no parameters by name",
    ),
    "another parametrization": (
        lambda: Problem(ReducedFunctional(lambda c: c, lambda u, c: 0.0), parameter=Parameters({"a": FIELD})),
        "give both the same object",
    ),
    "no parameter at all": (
        lambda: Problem(ReducedFunctional(lambda c: c, lambda u, c: 0.0), initial=np.zeros(3)),
        "the parameter is missing",
    ),
    "a term twice on parameters": (lambda: h1(V, 1.0).on("a").on("b"), "says already of which parameters it is"),
    "a mask in place of numbers": (
        lambda: Parameter(V, "κ", dofs=V.locations[0] > 0.5),
        "the dofs of a parameter are an array of bool; expected their numbers",
    ),
    "a term of nothing": (lambda: h1(V, 1.0).on(), r"the parameters \(\); expected names"),
    "a term of another size": (
        lambda: ReducedFunctional(
            lambda c: c["a"], lambda u, c: 0.0, h1(V, 1.0).on("b"), Parameters({"a": FIELD, "b": Numbers(["b"])})
        ),
        r"Quadratic of b cannot be computed; it gets the part of m, of the sizes \{'b': 1\}",
    ),
    "a function of the flat m": (
        lambda: ReducedFunctional(
            lambda c: c["a"], lambda u, c: 0.0, lambda m: jnp.sum(m**2), Parameters({"a": FIELD})
        ),
        "it gets a dict of the parts of m",
    ),
    "a truth that is not finite": (
        lambda: Parameters({"a": Numbers(["a", "b"], truth=np.array([1.0, np.nan]))}).truth,
        "the truth of 'a' has NaN or infinite values",
    ),
    "a number for text": (
        lambda: Parameters({"a": Numbers(["a"], initial="one")}).initial,
        "the initial guess of 'a' is a str; expected numbers",
    ),
    "m of other parts": (
        lambda: Parameters({"a": FIELD}).join({"b": 1.0}),
        "m is given by b; expected a",
    ),
    "a product named twice": (
        lambda: inner_products_of("a=l2,a=euclidean", Parameters({"a": FIELD})),
        "names a parameter twice",
    ),
    "a function of a tree of another size": (
        lambda: Tree([np.ones(2)], space=V, function=lambda weights: weights[0].sum()),
        r"returns an array of shape \(\); expected \(36,\)",
    ),
    "two parametrizations": (
        lambda: Problem(
            ReducedFunctional(lambda c: c, lambda u, c: 0.0), parameter=Parameter(V, "κ", parametrization=Log())
        ),
        "states a parametrization, and the functional has another",
    ),
}


@pytest.mark.parametrize(("make", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_input_faults_are_told(make, message):
    with pytest.raises(InputError, match=message):
        make()
