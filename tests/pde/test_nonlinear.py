"""Nonlinear state equations: their solutions, their derivatives of all orders, and what is said where there is none."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import (
    Dirichlet,
    FunctionSpace,
    MeanValue,
    MultiPoint,
    bilinear_form,
    dot,
    functional,
    grad,
    linear_form,
    residual_form,
)
from pdeopt.inverse import AtDofs, L2Misfit, ReducedFunctional, h1
from pdeopt.optimize import Objective, minimize
from pdeopt.pde import LinearStateEquation, NonlinearStateEquation
from pdeopt.pde.newton import Newton
from pdeopt.sparse import CSRMatrix, SolveError, clear_memo, work
from pdeopt.verify import adjoint_identity, taylor_test

TICKS = np.linspace(0, 1, 6)
MESH = skfem.MeshTri.init_tensor(TICKS, TICKS).with_defaults()
V = FunctionSpace(MESH, skfem.ElementTriP1(), order=4)
rng = np.random.default_rng(0)
M = 0.3 * rng.standard_normal(V.n)
DIRECTION = rng.standard_normal(V.n)


@residual_form
def heat(u, v, w):
    """Diffusion by a conductivity that grows with the state, with transport: not symmetric."""
    return jnp.exp(w["m"]) * (1 + u**2) * dot(grad(u), grad(v)) + (3 * grad(u)[0] + u**3) * v - w["f"] * v


def system(u, m, load=10.0):
    return heat.linearized(V, u, m=V.interpolate(m), f=load)


def prescribed(m):
    """A Dirichlet condition whose values depend on the parameter."""
    return Dirichlet.on(V, "left", 1.0 + m[:6] ** 2) + Dirichlet.on(V, "right", 0.5)


def tied(m):
    """A state that jumps between the left and the right side, by ties, and is prescribed at the bottom."""
    left, right = V.dofs("left"), V.dofs("right")
    jump = MultiPoint.of(V, right, left, 0.5 * np.eye(6), values=m[:6])
    return jump + Dirichlet.on(V, V.mesh.facets_satisfying(lambda x: (x[1] == 0) & (x[0] < 0.7)), 1.0)


def held(m):
    """A state whose mean depends on the parameter, that is prescribed at one point, and tied elsewhere."""
    ties = MultiPoint.periodic(V, "right", "left")
    return MeanValue.of(V, ties + Dirichlet.at(V, [0.4, 0.4], m[3]), mean=1 + m[0])


#: Equations with loads, prescribed values and experiments in all combinations that are solved differently.
EQUATIONS = {
    "fixed boundary": NonlinearStateEquation(system, Dirichlet.on(V)),
    "boundary of the parameter": NonlinearStateEquation(system, prescribed, parts={"u": V}),
    "natural boundary": NonlinearStateEquation(system, start=np.ones(V.n)),
    "load steps": NonlinearStateEquation(system, prescribed, parts={"u": V}, load_steps=3),
    "continuation": NonlinearStateEquation(
        system, prescribed, parts={"u": V}, load_steps=3, continuation=lambda m, t: t * m
    ),
    "ties": NonlinearStateEquation(system, tied, parts={"u": V}, load_steps=2),
    "mean values": NonlinearStateEquation(system, held, parts={"u": V}, load_steps=2),
    "experiments": NonlinearStateEquation(
        system, Dirichlet.on(V), experiments=np.array([10.0, -20.0, 5.0]), axes=("dof", "experiment")
    ),
}


@cache
def objective(name):
    state = EQUATIONS[name]
    observed = AtDofs(np.arange(3, V.n, 2))
    shape = (len(observed.dofs), *((3,) if name == "experiments" else ()))
    data = np.random.default_rng(1).standard_normal(shape)
    return ReducedFunctional(state, L2Misfit.of(observed, data, 0.1), h1(V, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUATIONS)
def test_taylor_remainders_fall_with_orders_one_two_and_three(name):
    J = objective(name)
    test = taylor_test(
        J, J.derivative(M), M, DIRECTION, hessian_action=J.hessian(M)(DIRECTION), first_step=0.05, halvings=7
    )
    assert test.passed, test
    assert test.orders[3] > 2.9


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUATIONS)
def test_tangent_and_adjoint_belong_together(name):
    J = objective(name)
    cotangent = rng.standard_normal(J.prediction(M).shape)
    tangent, adjoint = J.tangent_and_adjoint(M, DIRECTION, cotangent)
    assert adjoint_identity(lambda _: tangent, lambda _: adjoint, DIRECTION, cotangent) < 1e-12


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if "fixed" in name else pytest.mark.slow) for name in EQUATIONS]
)
def test_the_state_solves_the_equation_as_far_as_rounding_allows(name):
    state = EQUATIONS[name]
    assert state.backward_error(jnp.asarray(M)) < 1e-13
    u = state(jnp.asarray(M))
    columns = u.T if u.ndim == 2 else u[None]
    for load, column in zip((10.0, -20.0, 5.0), columns, strict=False):
        residual = system(column, M, load)[0]
        condition = state.dirichlet(M) if callable(state.dirichlet) else state.dirichlet
        weights = jnp.zeros(V.n)
        if isinstance(condition, MeanValue):
            weights = condition.weights
            assert weights @ column == pytest.approx(float(condition.integral), abs=1e-14)
            condition = condition.condition
        if condition is not None:
            np.testing.assert_allclose(condition.lacking(column), 0.0, atol=2e-16 * abs(column).max())
            residual, weights = condition.reduce(residual), condition.reduce(weights)
        multiplier = np.linalg.lstsq(weights[:, None], residual)[0]
        assert abs(residual - weights * multiplier).max() < 1e-12


@pytest.mark.slow
def test_experiments_are_those_of_one_after_the_other():
    m = jnp.asarray(M)
    together = EQUATIONS["experiments"](m)
    alone = replace(EQUATIONS["fixed boundary"], system=lambda u, m: system(u, m, -20.0))
    np.testing.assert_allclose(together[:, 1], alone(m), rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_under_jit_and_vmap_it_is_the_same():
    state = EQUATIONS["boundary of the parameter"]
    ms = jnp.stack([M, -M])
    batched = jax.jit(jax.vmap(state))(ms)
    np.testing.assert_allclose(batched[1], state(ms[1]), rtol=1e-12)


@pytest.mark.slow
def test_what_the_equation_reads_from_outside_may_be_what_jax_differentiates():
    def total(p, value):
        cube = residual_form(lambda u, v, w: dot(grad(u), grad(v)) + w["p"] * u**3 * v - 10.0 * v)
        condition = Dirichlet.on(V, values=value)
        return NonlinearStateEquation(lambda u, _: cube.linearized(V, u, p=p), condition)(None).sum()

    found = jax.grad(total, argnums=(0, 1))(2.0, 0.5)
    h = 1e-4
    slopes = (total(2 + h, 0.5) - total(2 - h, 0.5), total(2.0, 0.5 + h) - total(2.0, 0.5 - h))
    np.testing.assert_allclose(found, np.array(slopes) / (2 * h), rtol=1e-6)


@pytest.mark.slow
def test_a_linear_equation_is_solved_in_one_step():
    stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v)) + grad(u)[0] * v).assemble(V)
    load = linear_form(lambda v, w: v).assemble(V)
    condition = Dirichlet.on(V, "left", 2.0)
    linear = LinearStateEquation(lambda k: (k * stiffness, load), condition)
    newton = NonlinearStateEquation(lambda u, k: (k * (stiffness @ u) - load, k * stiffness), condition)
    before = work.copy()
    np.testing.assert_allclose(newton(3.0), linear(3.0), rtol=1e-12)
    assert work.since(before).newton_iterations == 1
    assert jax.grad(lambda k: newton(k).sum())(3.0) == pytest.approx(float(jax.grad(lambda k: linear(k).sum())(3.0)))


@pytest.mark.slow
def test_one_factorization_at_the_solution_serves_adjoint_tangent_and_second_order():
    """The last factorization of Newton's method, which shows that the state is the solution."""
    J = objective("fixed boundary")
    clear_memo()
    before = work.copy()
    J.value_and_derivative(M)
    spent = work.since(before)
    assert spent.factorizations == spent.newton_iterations + 1
    assert spent.adjoint_solves == 1
    apply = J.hessian(M)
    before = work.copy()
    apply(DIRECTION)
    apply(2 * DIRECTION)
    assert work.since(before).factorizations == 0


@pytest.mark.slow
def test_a_gradient_costs_one_solve_and_a_hessian_product_two():
    J = objective("fixed boundary")
    before = work.copy()
    J(M)
    value = work.since(before)
    before = work.copy()
    J.value_and_derivative(M)
    both = work.since(before)
    assert (both.solves, both.adjoint_solves) == (value.solves, 1)
    apply = J.hessian(M)
    before = work.copy()
    apply(DIRECTION)
    product = work.since(before)
    assert (product.solves, product.adjoint_solves) == (1, 1)


def iterates(state, steps):
    """The iterates of Newton's method from zero."""
    start, tangent = jnp.zeros(V.n), jnp.zeros(state.system(jnp.zeros(V.n), M)[1].pattern.nnz)
    return [
        Newton(lambda u: state.system(u, M), state._correction, state.dirichlet, state.tolerance, k)
        .solve(start, tangent)
        .u
        for k in range(1, steps + 1)
    ]


@pytest.mark.slow
def test_newton_converges_at_least_quadratically():
    state = replace(EQUATIONS["fixed boundary"], system=lambda u, m: system(u, m, 500.0))
    exact = state(jnp.asarray(M))
    errors = np.array([float(jnp.linalg.norm(u - exact)) for u in (0 * exact, *iterates(state, 5))])
    errors = errors[(errors > 1e-13 * errors[0]) & (errors < errors[0] / 5)]
    assert len(errors) >= 3, errors
    assert (np.log(errors[2:] / errors[1:-1]) / np.log(errors[1:-1] / errors[:-2]) > 1.9).all(), errors


@pytest.mark.slow
def test_the_start_does_not_change_the_answer():
    state, m = EQUATIONS["fixed boundary"], jnp.asarray(M)
    u = state(m)
    for start in (0.9 * u, rng.standard_normal(V.n), u):
        np.testing.assert_allclose(state(m, start=start), u, rtol=1e-11, atol=1e-13)
    before = work.copy()
    state(m, start=u)
    assert work.since(before).newton_iterations == 0


@pytest.mark.slow
def test_a_source_is_added_and_its_derivative_is_the_adjoint():
    state, m = EQUATIONS["fixed boundary"], jnp.asarray(M)
    source = jnp.asarray(rng.standard_normal(V.n))
    u = state(m, source=source)
    np.testing.assert_allclose((system(u, m)[0] - source)[state.dirichlet.free], 0, atol=1e-12)
    weights = jnp.asarray(rng.standard_normal(V.n))
    adjoint = jax.grad(lambda s: weights @ state(m, source=s))(source)
    A = system(u, m)[1].to_scipy().toarray()[np.ix_(state.dirichlet.free, state.dirichlet.free)]
    np.testing.assert_allclose(adjoint[state.dirichlet.free], np.linalg.solve(A.T, weights[state.dirichlet.free]))


@pytest.mark.slow
@pytest.mark.parametrize(("element", "order"), [(skfem.ElementTriP1(), 2), (skfem.ElementTriP2(), 3)])
def test_the_error_falls_with_the_order_of_the_element(element, order):
    """−∇·((1 + u²) ∇u) + u³ = f with u = sin πx sin πy."""

    def exact(x):
        return jnp.sin(np.pi * x[0]) * jnp.sin(np.pi * x[1])

    def source(x):
        u, slope = exact(x), np.pi * jnp.cos(np.pi * x[0]) * jnp.sin(np.pi * x[1])
        other = np.pi * jnp.sin(np.pi * x[0]) * jnp.cos(np.pi * x[1])
        return 2 * np.pi**2 * (1 + u**2) * u - 2 * u * (slope**2 + other**2) + u**3

    form = residual_form(lambda u, v, w: (1 + u**2) * dot(grad(u), grad(v)) + u**3 * v - source(w["x"]) * v)
    distance = functional(lambda w: (w["u"] - exact(w["x"])) ** 2)
    errors = []
    for n in (8, 16):
        W = FunctionSpace(skfem.MeshTri.init_tensor(*2 * [np.linspace(0, 1, n + 1)]), element, order=8)
        state = NonlinearStateEquation(lambda u, _, W=W: form.linearized(W, u), Dirichlet.on(W))
        u = state(0.0)
        errors.append(float(distance.assemble(W, u=W.interpolate(u))) ** 0.5)
    assert np.log2(errors[0] / errors[1]) > order - 0.15, errors


STIFF = residual_form(lambda u, v, w: dot(grad(u), grad(v)) + jnp.exp(w["k"] * u) * v)


@pytest.mark.slow
def test_long_steps_are_shortened():
    """Bratu's problem with an exponential that overflows along the full first step."""
    state = NonlinearStateEquation(lambda u, k: STIFF.linearized(V, u, k=k), Dirichlet.on(V, values=12.0))
    u = state(2.0)
    assert state.backward_error(2.0) < 1e-12
    assert float(u.min()) < 11


@pytest.mark.slow
def test_a_load_without_equilibrium_says_what_happened():
    """−Δu = 50 exp(u) has no solution (the largest factor is 6.8)."""
    form = residual_form(lambda u, v, w: dot(grad(u), grad(v)) - w["load"] * jnp.exp(u) * v)
    state = NonlinearStateEquation(lambda u, load: form.linearized(V, u, load=load), Dirichlet.on(V), max_iterations=15)
    assert float(state(5.0).max()) > 0.3
    with pytest.raises(
        SolveError,
        match=r"Newton's method did not converge: after \d+ steps the residual is largest "
        r"at \[.*\]; the last residuals, relative to their parts, are .*, the last step lengths ",
    ):
        state(50.0)
    with pytest.raises(SolveError, match=r"in load step \d of 4"):
        replace(state, load_steps=4)(50.0)


def test_an_optimizer_steps_back_from_where_there_is_no_state():
    """With J = ½ (max u − 0.5)²; full steps lead beyond the largest load."""
    form = residual_form(lambda u, v, w: dot(grad(u), grad(v)) - w["load"] * jnp.exp(u) * v)
    state = NonlinearStateEquation(
        lambda u, load: form.linearized(V, u, load=load[0]), Dirichlet.on(V), max_iterations=15
    )
    center = AtDofs(np.array([int(np.argmin(np.hypot(*(V.locations - 0.5))))]))
    J = ReducedFunctional(state, L2Misfit.of(center, np.array([0.7]), 0.01))
    found = minimize(Objective(J.value_and_derivative), np.array([1.0]), optimizer="l-bfgs-b")
    assert found.objective < 1e-8
    assert 5 < found.m[0] < 6.9


def test_a_start_where_the_form_is_not_finite_is_named():
    form = residual_form(lambda u, v, w: jnp.log(u.value - 1.0) * v + dot(grad(u), grad(v)))
    state = NonlinearStateEquation(lambda u, _: form.linearized(V, u), Dirichlet.on(V, values=2.0))
    with pytest.raises(
        SolveError, match=r"not finite at the first iterate: \d+ of \d+ entries are NaN .* give a start"
    ):
        state(0.0)
    assert replace(state, start=np.full(V.n, 2.0)).backward_error(0.0) < 1e-12


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (lambda u, m: system(u, m)[0], r"must return \(residual, tangent matrix\).*it returns \(array\)"),
        (lambda u, m: system(u, m)[::-1], r"it returns \(CSRMatrix, array\)"),
        (lambda u, m: (system(u, m)[0][:3], system(u, m)[1]), r"residual of shape \(3,\) and a tangent matrix of "),
    ],
)
def test_a_system_that_does_not_fit_is_refused(returned, expected):
    with pytest.raises(SolveError, match=expected):
        NonlinearStateEquation(returned, Dirichlet.on(V))(jnp.asarray(M))


def test_a_small_unknown_beside_a_large_one_is_solved_for_as_exactly():
    """u₀ = 10¹², exp(u₁) = 2: relative to the norm of both, u₁ changes by nothing."""
    pattern = CSRMatrix.from_scipy(np.eye(2))
    state = NonlinearStateEquation(
        lambda u, _: (
            jnp.stack([u[0] - 1e12, jnp.exp(u[1]) - 2]),
            replace(pattern, data=jnp.stack([1.0, jnp.exp(u[1])])),
        ),
        start=np.array([1e12, 30.0]),
    )
    assert float(state(0.0)[1]) == pytest.approx(np.log(2), rel=1e-9)


def test_a_tangent_that_does_not_exist_at_the_start_is_named():
    form = residual_form(lambda u, v, w: jnp.sqrt(dot(grad(u), grad(u))) * dot(grad(u), grad(v)) - v)
    with pytest.raises(
        SolveError, match=r"tangent matrix .* is not finite at the first iterate, though the residual is"
    ):
        NonlinearStateEquation(lambda u, _: form.linearized(V, u), Dirichlet.on(V))(0.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"load_steps": 0}, "load_steps is 0; expected a positive integer"),
        ({"load_steps": 2.5}, "load_steps is 2.5"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"experiments": (np.ones(2), np.ones(3))}, r"first axes \[\(2,\), \(3,\)\]"),
        ({"experiments": np.ones(2)}, "expected \\('dof', 'experiment'\\)"),
        ({"axes": ("dof", "experiment")}, "expected \\('dof',\\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, expected):
    with pytest.raises(SolveError, match=expected):
        NonlinearStateEquation(system, Dirichlet.on(V), **settings)


def test_complex_states_and_conditions_on_everything_are_refused():
    with pytest.raises(SolveError, match="the residual or the tangent matrix is complex"):
        NonlinearStateEquation(lambda u, m: (1j * u, system(u, M)[1]), Dirichlet.on(V))(0.0)
    with pytest.raises(SolveError, match="the start is complex"):
        NonlinearStateEquation(system, Dirichlet.on(V))(jnp.asarray(M), start=1j * np.ones(V.n))
    everything = Dirichlet(V.n, np.arange(V.n))
    with pytest.raises(SolveError, match="prescribes all 36 degrees of freedom"):
        NonlinearStateEquation(system, everything)(jnp.asarray(M))


def test_a_condition_of_another_kind_is_refused():
    with pytest.raises(SolveError, match="is a str; expected a Dirichlet condition"):
        NonlinearStateEquation(system, lambda m: "left", start=np.zeros(V.n))(jnp.asarray(M))


@pytest.mark.slow
def test_a_mean_value_has_a_multiplier_where_the_load_is_not_balanced():
    """−Δu + λ = f with natural boundary conditions and mean 2: λ is the mean of f."""
    form = residual_form(lambda u, v, w: (1 + u**2) * dot(grad(u), grad(v)) - w["f"] * v)
    load = V.interpolate(V.nodal(lambda x: 3 + 4 * x[0]))
    state = NonlinearStateEquation(
        lambda u, mean: form.linearized(V, u, f=load), lambda mean: MeanValue.of(V, mean=mean), parts={"u": V}
    )
    u = state(2.0)
    assert u.shape == (V.n,)
    weights = np.asarray(linear_form(lambda v, w: v).assemble(V))
    assert weights @ u == pytest.approx(2.0, abs=1e-14)
    np.testing.assert_allclose(form.assemble(V, u, f=load), -5 * weights, atol=1e-13)
    assert state.backward_error(2.0) < 1e-12
    assert float(jax.grad(lambda c: weights @ state(c))(2.0)) == pytest.approx(1.0)


def test_a_mean_value_that_is_not_finite_is_told():
    """And other conditions, starts and sources that do not fit."""
    left = Dirichlet.on(V, "left")
    with pytest.raises(SolveError, match="in the condition on a mean value"):
        NonlinearStateEquation(system, MeanValue.of(V, left, np.nan), parts={"u": V})(jnp.asarray(M))
    state = NonlinearStateEquation(system, left)
    with pytest.raises(SolveError, match=r"the start has shape \(3, 1\), the source None; expected \(3,\)"):
        state(jnp.asarray(M), start=np.ones((3, 1)))
    with pytest.raises(SolveError, match=r"the source \(3,\); expected \(36,\)"):
        state(jnp.asarray(M), source=jnp.ones(3))


def test_a_continuation_takes_whole_numbers():
    state = NonlinearStateEquation(
        lambda u, kappa: STIFF.linearized(V, u, k=kappa["k"]),
        Dirichlet.on(V, values=1.0),
        load_steps=2,
        continuation=lambda kappa, t: {"k": t * kappa["k"]},
    )
    np.testing.assert_array_equal(state({"k": 2}), state({"k": 2.0}))


def test_a_periodic_state_repeats_and_satisfies_the_reduced_equation():
    condition = MultiPoint.periodic(V, "right", "left") + Dirichlet.on(V, ("bottom", "top"))
    u = NonlinearStateEquation(system, condition)(jnp.asarray(M))
    np.testing.assert_array_equal(u[V.dofs("right")], u[V.dofs("left")])
    residual, tangent = system(u, M)
    assert abs(condition.reduce(residual)).max() < 1e-12 * abs(tangent.data).max() * abs(u).max()


@pytest.mark.slow
def test_a_continuation_leads_to_the_same_state():
    """The exponent of Bratu's problem grows with the steps."""
    path = []

    def continuation(kappa, t):
        path.append(t)
        return {**kappa, "k": t * kappa["k"]}

    state = NonlinearStateEquation(
        lambda u, kappa: STIFF.linearized(V, u, k=kappa["k"]),
        Dirichlet.on(V, values=12.0),
        load_steps=4,
        continuation=continuation,
    )
    u = state({"k": 2.0})
    assert path[:3] == [0.25, 0.5, 0.75]
    np.testing.assert_allclose(u, replace(state, load_steps=1, continuation=None)({"k": 2.0}), rtol=1e-10)
    with pytest.raises(SolveError, match=r"continuation returns arrays of shapes \[\] in .*; expected a coefficient"):
        replace(state, continuation=lambda kappa, t: {})({"k": 2.0})


def test_the_size_of_the_state_must_be_known():
    with pytest.raises(SolveError, match=r"state parts=\{name: space\}, or start=np.zeros\(n\)"):
        NonlinearStateEquation(system)(jnp.asarray(M))


def test_a_singular_tangent_is_said_to_be_singular():
    zero = CSRMatrix.from_scipy(bilinear_form(lambda u, v, w: u * v).assemble(V).to_scipy() * 0)
    with pytest.raises(SolveError, match="singular"):
        NonlinearStateEquation(lambda u, m: (u - 1.0, zero), Dirichlet.on(V))(0.0)


def test_the_solver_is_chosen_from_outside():
    state, m = EQUATIONS["fixed boundary"], jnp.asarray(M)
    other = state.with_solver("superlu")
    np.testing.assert_allclose(other(m), state(m), rtol=1e-12)
    assert other.chosen_solver(m).name == "superlu"
    assert other.accuracy(m) >= state.tolerance
