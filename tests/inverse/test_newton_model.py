"""What Newton's method uses of a functional: total variation with its dual, preconditioners, and recycled products."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    AtDofs,
    FullField,
    L2Misfit,
    NewtonModel,
    Parameter,
    ReducedFunctional,
    Term,
    continuation,
    h1,
    mass,
    stiffness,
    tikhonov,
    total_variation,
)
from pdeopt.inverse.newton_model import softness
from pdeopt.optimize import NewtonCG, Objective, euclidean, minimize
from pdeopt.optimize.recycling import MAX_MEMORY_BYTES, Recycling

TICKS = np.linspace(0, 1, 11)
V = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS), skfem.ElementTriP1())
PARAMETER = Parameter(V, "m")
M, K = mass.assemble(V).to_scipy().toarray(), stiffness.assemble(V).to_scipy().toarray()
rng = np.random.default_rng(0)
EDGE = 1.0 * (V.locations[0] > 0.45) + 0.05 * rng.standard_normal(V.n)


def denoising(*terms, **options):
    """The state is the parameter: the optimizers at work without a solve."""
    return ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), EDGE, 0.3), terms, **options)


VARIATION = total_variation(V, 50.0, 1e-3)


def own_term(m):
    return jnp.sum(m**4)


def random(p):
    return np.random.default_rng(p).standard_normal(p)


def dense(action, p=V.n):
    return np.stack([action(column) for column in np.eye(p)], axis=1)


# --- the model ---------------------------------------------------------------------------------------------------


def test_without_total_variation_the_model_is_the_functional():
    J = denoising(h1(V, 2.0), own_term, strength=0.3)
    model, m, v = NewtonModel(J, PARAMETER), random(V.n), rng.standard_normal(V.n)
    assert model.value_and_derivative(m)[0] == J.value_and_derivative(m)[0]
    np.testing.assert_array_equal(model.value_and_derivative(m)[1], J.derivative(m))
    np.testing.assert_allclose(model.hessian(m)(v), J.hessian(m)(v), rtol=1e-11)
    np.testing.assert_allclose(model.gauss_newton(m)(v), J.gauss_newton(m)(v), rtol=1e-11)
    block = rng.standard_normal((V.n, 2))
    np.testing.assert_allclose(model.hessian(m)(block), J.hessian(m)(block), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "wrap", [lambda term: (term,), lambda term: (0.5 * (h1(V, 2.0) + 2.0 * term),)], ids=["alone", "in a sum"]
)
def test_total_variation_is_lagged_at_first_and_carries_its_dual_then(wrap):
    terms, strength = wrap(VARIATION), 0.7
    J = denoising(*terms, strength=strength)
    rest = np.eye(V.n) / 0.3**2 + strength * (K if len(J.regularization_terms) > 1 else 0.0)
    model, points, dual = NewtonModel(J, PARAMETER), 0.1 * rng.standard_normal((3, V.n)), VARIATION.first_dual(EDGE)
    for k, m in enumerate(points):
        if k > 0:
            dual = VARIATION.next_dual(dual, points[k - 1], m)
        expected = rest + strength * VARIATION.operator(m, dual).toarray()
        scale = np.abs(expected).max()
        lagged = rest + strength * VARIATION.operator(m).toarray()
        assert (np.abs(expected - lagged).max() < 1e-13 * scale) == (k == 0)
        for action in (model.hessian(m), model.gauss_newton(m), model.hessian(m)):  # asked again: no further step
            np.testing.assert_allclose(action(np.eye(V.n)), expected, atol=1e-12 * scale)
        system = expected - np.eye(V.n) / 0.3**2
        system = system + softness(J.regularization_operator(m) * 0 + system, PARAMETER) * M
        inverse = dense(model.preconditioner(m, np.ones(V.n, bool)))
        np.testing.assert_allclose(inverse @ system, np.eye(V.n), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [1.0, 0.05])
def test_primal_dual_newton_finds_the_minimum_of_l_bfgs_b_in_few_steps(strength):
    J = denoising(VARIATION, strength=strength)
    model = NewtonModel(J, PARAMETER)
    goal = {"gradient_tolerance": 1e-5, "objective_tolerance": 0.0, "max_iterations": 3000}
    newton = {"optimizer": "newton-cg", "preconditioner": model.preconditioner, **goal}
    found, plain = minimize(model, EDGE, **newton), minimize(J, EDGE, **newton)
    other = minimize(J, EDGE, **goal)
    assert found.status == "converged"
    assert np.linalg.norm(J.derivative(found.m)) <= 1e-5 * np.linalg.norm(J.derivative(EDGE))
    assert found.iterations <= 25
    assert plain.iterations > 1.2 * found.iterations, "the dual is what does it"
    assert other.iterations > 5 * found.iterations
    assert found.objective == pytest.approx(other.objective, rel=1e-9)
    np.testing.assert_allclose(found.m, other.m, atol=2e-3)


def test_every_minimization_starts_with_a_new_dual():
    J = denoising(VARIATION)
    goal = {"optimizer": "newton-cg", "gradient_tolerance": 1e-5, "max_iterations": 5}
    first, second = (
        minimize(model, EDGE, preconditioner=model.preconditioner, **goal)
        for model in (NewtonModel(J, PARAMETER), NewtonModel(J, PARAMETER))
    )
    np.testing.assert_array_equal(first.m, second.m)


# --- preconditioners ---------------------------------------------------------------------------------------------

FREE = rng.random(V.n) < 0.6
PRECONDITIONED = {
    "H1": (h1(V, 3.0),),
    "Tikhonov": (tikhonov(V, 1e-3),),
    "total variation": (VARIATION,),
    "several": (h1(V, 3.0) + tikhonov(V, 2.0), VARIATION, own_term),
}


@pytest.mark.parametrize("terms", PRECONDITIONED.values(), ids=PRECONDITIONED.keys())
@pytest.mark.parametrize("free", [np.ones(V.n, bool), FREE, np.arange(V.n) == 7], ids=["all", "some", "one"])
def test_preconditioners_are_definite_on_free_entries_and_zero_elsewhere(terms, free):
    model = NewtonModel(denoising(*terms), PARAMETER)
    P = dense(model.preconditioner(EDGE, free))
    assert not P[~free].any()
    assert not P[:, ~free].any()
    block = P[np.ix_(free, free)]
    np.testing.assert_allclose(block, block.T, atol=1e-8 * np.abs(block).max())
    assert np.linalg.eigvalsh(0.5 * (block + block.T)).min() > 0
    residual = np.where(free, EDGE, 0.0)
    before = residual.copy()
    model.preconditioner(EDGE, free)(residual)
    np.testing.assert_array_equal(residual, before)


def test_preconditioners_are_the_inverse_of_what_they_stand_for():
    whole = np.ones(V.n, bool)
    J = denoising(h1(V, 3.0), strength=0.5)
    delta = softness(J.regularization_operator(EDGE), PARAMETER)
    P = dense(NewtonModel(J, PARAMETER).preconditioner(EDGE, whole))
    np.testing.assert_allclose(P @ (1.5 * K + delta * M), np.eye(V.n), atol=1e-9)
    R = (1.5 * K + delta * M)[np.ix_(FREE, FREE)]
    P = dense(NewtonModel(J, PARAMETER).preconditioner(EDGE, FREE))[np.ix_(FREE, FREE)]
    np.testing.assert_allclose(P @ R, np.eye(FREE.sum()), atol=1e-9)


@pytest.mark.parametrize("terms", [(), (own_term,), (h1(V, 0.0),)], ids=["none", "plain", "weight 0"])
def test_without_an_operator_there_is_no_preconditioner(terms):
    """Nothing has the scale of the Hessian: the optimizer scales the inner product's by what it sees."""
    model = NewtonModel(denoising(*terms), PARAMETER)
    assert model.preconditioner(EDGE, np.ones(V.n, bool)) is None
    found = minimize(model, EDGE, optimizer="newton-cg", preconditioner=model.preconditioner)
    assert found.status == "converged"


def test_the_softest_mode_of_h1_is_near_twelve():
    for mesh in (V.mesh, V.mesh.refined(1)):
        parameter = Parameter(FunctionSpace(mesh, skfem.ElementTriP1()), "m")
        for weight in (1.0, 1e-8):
            operator = h1(parameter.space, weight).operator(np.zeros(parameter.size))
            assert softness(operator, parameter) == pytest.approx(12 * weight, rel=0.02)
    flat = skfem.MeshTri.init_tensor(np.linspace(0, 4, 9), TICKS)  # the softest mode is along the long side
    parameter = Parameter(FunctionSpace(flat, skfem.ElementTriP1()), "m")
    assert softness(h1(parameter.space, 1.0).operator(np.zeros(parameter.size)), parameter) == pytest.approx(12 / 16)


def test_softness_of_what_has_no_coordinates():
    inside = Parameter(V, "m", dofs=np.array([7]))
    operator = h1(V, 2.0, dofs=np.array([7])).operator(np.zeros(1))
    assert softness(operator, inside) == pytest.approx(2 * K[7, 7] / M[7, 7])
    edge = V.boundary(lambda x: x[0] == 0)  # x is constant there
    dofs = edge.dofs(lambda x: x[0] == 0)
    along = Parameter(edge, "m", dofs=dofs)
    assert softness(h1(edge, 1.0, dofs=dofs).operator(np.zeros(len(dofs))), along) == pytest.approx(12)


@pytest.mark.slow
def test_preconditioned_with_the_regularization_counts_do_not_depend_on_the_mesh():
    """And that it is the regularization that does it: the L² product alone takes more steps, and ever more."""
    counts = {"regularization": [], "mass": []}
    for n in (8, 16, 32):
        ticks = np.linspace(0, 1, n + 1)
        space = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
        some = np.flatnonzero((space.locations * 8 % 1 == 0).all(0))[::3]  # the same points on every mesh
        misfit = L2Misfit.of(AtDofs(some), np.cos(9 * space.locations[0, some]), 0.1)
        J = ReducedFunctional(lambda m: m, misfit, h1(space, 1.0))
        parameter = Parameter(space, "m")
        bare = NewtonModel(replace(J, regularization=()), parameter)
        for name, model in (("regularization", NewtonModel(J, parameter)), ("mass", bare)):
            goal = {"optimizer": "newton-cg", "gradient_tolerance": 1e-6}
            found = minimize(J, np.zeros(space.n), preconditioner=model.preconditioner, **goal)
            assert found.status == "converged"
            counts[name].append(found.cg_iterations)
    smooth, rough = counts["regularization"], counts["mass"]
    assert max(smooth) - min(smooth) <= 3
    assert rough[2] > 1.5 * rough[0] > smooth[0]


# --- recycling ---------------------------------------------------------------------------------------------------

SIZE = 12
ROOT = rng.standard_normal((SIZE, SIZE))
HESSIAN = ROOT @ ROOT.T + np.eye(SIZE)
GIVEN = np.diag(rng.uniform(0.1, 10, SIZE))


def conjugate_directions(count, matrix=HESSIAN):
    """Directions vᵢ with vᵢᵀ H vⱼ = 0, by Gram–Schmidt."""
    found = []
    for v in np.random.default_rng(5).standard_normal((count, len(matrix))):
        for w in found:
            v = v - (v @ matrix @ w) / (w @ matrix @ w) * w
        found.append(v)
    return np.array(found)


def recycled(directions, free=None, memory=40, matrix=HESSIAN):
    recycling = Recycling(memory, len(matrix), euclidean(len(matrix)))
    action = recycling.recorded(lambda v: matrix @ v)
    for v in directions:
        np.testing.assert_array_equal(action(v), matrix @ v)
    mask = np.ones(len(matrix), bool) if free is None else free
    given = np.where(np.outer(mask, mask), GIVEN, 0.0)
    return dense(recycling.preconditioner(lambda r: given @ r, mask), len(matrix))


def test_on_conjugate_directions_the_recycled_inverse_is_exact():
    directions = conjugate_directions(5)
    P = recycled(directions)
    np.testing.assert_allclose(P @ HESSIAN @ directions.T, directions.T, atol=1e-9)
    span = sum(np.outer(v, v) / (v @ HESSIAN @ v) for v in directions)
    projection = np.eye(SIZE) - span @ HESSIAN
    np.testing.assert_allclose(P, span + projection @ GIVEN @ projection.T, atol=1e-10)  # given on the rest
    np.testing.assert_allclose(recycled(conjugate_directions(SIZE)), np.linalg.inv(HESSIAN), atol=1e-9)


def test_without_products_the_given_preconditioner_stays():
    np.testing.assert_array_equal(recycled([]), GIVEN)
    np.testing.assert_array_equal(recycled(conjugate_directions(3), memory=0), GIVEN)


def test_only_the_latest_products_are_kept():
    directions = conjugate_directions(8)
    np.testing.assert_allclose(recycled(directions, memory=3), recycled(directions[5:]), atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("indefinite", [False, True])
def test_recycled_preconditioners_are_definite(masked, indefinite):
    """Whatever the directions: not conjugate, of another Hessian, of negative curvature, across the bounds."""
    generator = np.random.default_rng(9)
    matrix = HESSIAN - 8.0 * np.eye(SIZE) if indefinite else HESSIAN
    assert (np.linalg.eigvalsh(matrix).min() < 0) == indefinite
    for _ in range(20):
        free = generator.random(SIZE) < 0.5 if masked else np.ones(SIZE, bool)
        P = recycled(generator.standard_normal((9, SIZE)), free, matrix=matrix)
        assert not P[~free].any()
        assert not P[:, ~free].any()
        block = P[np.ix_(free, free)]
        np.testing.assert_allclose(block, block.T, atol=1e-9 * np.abs(P).max(initial=1))
        assert (np.linalg.eigvalsh(0.5 * (block + block.T)) > 0).all()


def test_recycling_saves_products():
    """Where the Hessian changes little, and the given preconditioner does not fit it."""
    scales = np.geomspace(1, 1e4, 60)
    objective = Objective(
        lambda m: (0.5 * m @ (scales * m) + 0.1 * np.sum((m - 1) ** 4), scales * m + 0.4 * (m - 1) ** 3),
        lambda m: lambda v: (scales + 1.2 * (m - 1) ** 2) * v,
    )
    goal = {"gradient_tolerance": 1e-8}
    without, few, many = (
        minimize(objective, np.ones(60), optimizer=NewtonCG(recycled=memory), **goal) for memory in (0, 20, 60)
    )
    assert {result.status for result in (without, few, many)} == {"converged"}
    assert many.cg_iterations < 0.6 * without.cg_iterations
    assert many.cg_iterations < few.cg_iterations <= without.cg_iterations


def test_what_is_remembered_is_limited_in_bytes():
    recycling = Recycling(40, MAX_MEMORY_BYTES // 32, euclidean(4))  # of which two fit
    action = recycling.recorded(lambda v: 2.0 * v)
    for v in np.eye(4):
        action(v)
    P = dense(recycling.preconditioner(lambda r: r, np.ones(4, bool)), 4)
    np.testing.assert_allclose(P, np.diag([1.0, 1.0, 0.5, 0.5]))


# --- continuation ------------------------------------------------------------------------------------------------


def smoothings(functional):
    return [getattr(term, "smoothing", None) for term in functional.regularization_terms]


def test_continuation_smooths_in_the_given_order_and_ends_with_the_given_functional():
    term = total_variation(V, 3.0, 0.5, continuation=(100, 10))
    J = denoising(term, strength=0.3)
    stages = continuation(J)
    assert [smoothings(stage) for stage in stages] == [[50.0], [5.0], [0.5]]
    assert stages[-1] is J
    for stage in stages:
        assert (stage.strength, stage.misfit, stage.parametrization) == (0.3, J.misfit, J.parametrization)
        assert stage.regularization_terms[0].weight == 3.0
    assert not any(term.continuation for stage in stages[:-1] for term in stage.regularization_terms)


def test_a_term_of_ones_own_says_what_its_stages_are():
    @dataclass(frozen=True)
    class Smoothed(Term):
        smoothing: float = 0.5
        continuation = (100, 10)

        def __call__(self, m):
            return jnp.sqrt(m**2 + self.smoothing**2).sum()

        def at_stage(self, factor):
            return Smoothed(factor * self.smoothing)

    J = ReducedFunctional(lambda m: m, lambda u, _: 0.0 * u.sum(), Smoothed())
    assert [float(stage(np.zeros(2))) for stage in continuation(J)] == [100.0, 10.0, 1.0]


def test_shorter_continuations_start_later_and_other_terms_stay():
    long, short = total_variation(V, 3.0, 0.5, continuation=(100, 10)), total_variation(V, 1.0, 2.0, continuation=(4,))
    quadratic = h1(V, 1.0)
    J = denoising(2.0 * (long + quadratic), short, own_term)
    stages = continuation(J)
    assert [smoothings(stage) for stage in stages] == [
        [50.0, None, 2.0, None],
        [5.0, None, 8.0, None],
        [0.5, None, 2.0, None],
    ]
    assert [term.weight for term in stages[0].regularization_terms[:3]] == [6.0, 2.0, 1.0]
    assert stages[0].regularization_terms[3].function is own_term


@pytest.mark.parametrize("terms", [(), (h1(V, 1.0), own_term), (VARIATION,)])
def test_without_continuation_there_is_one_stage(terms):
    J = denoising(*terms)
    assert continuation(J) == [J]


def test_each_stage_is_rougher_than_the_next():
    """ε smaller, value larger: the minimum of a stage is one of a problem nearby."""
    J = denoising(total_variation(V, 3.0, 0.5, continuation=(100, 10)))
    values = [stage.terms(EDGE).regularization for stage in continuation(J)]
    assert values[0] < values[1] < values[2]
    curvatures = [
        np.linalg.eigvalsh(stage.regularization_operator(EDGE).toarray())[-1] for stage in continuation(J)[::2]
    ]
    assert curvatures[0] < curvatures[1]


@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg", "trust-ncg", "slsqp"])
def test_every_iterate_carries_the_terms_of_the_objective(optimizer):
    J, seen = denoising(h1(V, 2.0), strength=0.3), []
    minimize(J, np.zeros(V.n), optimizer=optimizer, max_iterations=4, callback=seen.append)
    assert len(seen) > 2
    for iterate in seen:
        assert iterate.terms.objective == iterate.objective
        np.testing.assert_allclose(iterate.terms, J.terms(iterate.m), rtol=1e-12)
    seen.clear()
    bare = Objective(J.value_and_derivative, J.hessian)
    minimize(bare, np.zeros(V.n), optimizer=optimizer, max_iterations=1, callback=seen.append)
    assert [iterate.terms for iterate in seen] == [None, None], "a function says nothing of terms"
