"""The complete electrode model: against Fourier series and dense matrices, its derivatives, its cost, and bad input."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from cem_oracle import cosine_patterns, electrode_resistances, polar_disk
from skfem.helpers import dot, grad

from pdeopt.eit.electrodes.electrode_model import complete_electrode_model
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.fem import FEMError, FunctionSpace, MeshError
from pdeopt.inverse import InputError, L2Misfit, Log, ReducedFunctional
from pdeopt.pde import StateEquation
from pdeopt.sparse import CG, clear_memo, work
from pdeopt.sparse.solvers.auto import fastest_direct
from pdeopt.verify import adjoint_identity, taylor_test

COUNT = 8
NAMES = tuple(f"e{l + 1}" for l in range(COUNT))
#: Neighbors, one of them twice and one the other way round, and opposite electrodes: 10 patterns in 7 dimensions.
ADJACENT = np.eye(COUNT) - np.roll(np.eye(COUNT), 1, 0)
CURRENTS = np.hstack([ADJACENT, -2 * ADJACENT[:, 2:3], np.eye(COUNT)[:, :1] - np.eye(COUNT)[:, 4:5]])
IMPEDANCES = np.linspace(0.05, 0.3, COUNT)


def cube():
    """Two electrodes on each of four sides of the unit cube, half of a side each."""
    mesh = skfem.MeshTet.init_tensor(*[np.linspace(0, 1, 3)] * 3)

    def patch(l):
        side, upper = divmod(l, 2)
        axis, end = divmod(side, 2)
        return lambda x: np.isclose(x[axis], end) & ((x[2] > 0.5) == bool(upper))

    return mesh.with_boundaries({name: mesh.facets_satisfying(patch(l), True) for l, name in enumerate(NAMES)})


SPACES = {
    "P1": lambda: FunctionSpace(polar_disk(4, 32, COUNT), skfem.ElementTriP1()),
    "P2": lambda: FunctionSpace(polar_disk(3, 32, COUNT), skfem.ElementTriP2()),
    "tetrahedra": lambda: FunctionSpace(cube(), skfem.ElementTetP1()),
}
space = cache(lambda name: SPACES[name]())


def joint_model(V, currents=CURRENTS):
    """The coefficient is (σ at the degrees of freedom, z)."""
    return complete_electrode_model(V, NAMES, currents, lambda c: V.interpolate(c[: V.n]), lambda c: c[V.n :])


def coefficients(V, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(np.concatenate([1 + rng.random(V.n), IMPEDANCES * (1 + rng.random(COUNT))]))


def bordered_solution(V, sigma, z, currents):
    """(u, U) by scikit-fem, dense, with Σ U_l = 0 as a constraint."""
    conduction = skfem.BilinearForm(lambda u, v, w: w["sigma"] * dot(grad(u), grad(v)))
    product, load = skfem.BilinearForm(lambda u, v, w: u * v), skfem.LinearForm(lambda v, w: v)
    n, count = V.n, len(z)
    A = np.zeros((n + count + 1, n + count + 1))
    A[:n, :n] = conduction.assemble(V.basis, sigma=np.asarray(sigma)).toarray()
    for l, name in enumerate(NAMES):
        facets = skfem.FacetBasis(V.mesh, V.element, facets=V.mesh.boundaries[name], intorder=V.order)
        integral = load.assemble(facets)
        A[:n, :n] += product.assemble(facets).toarray() / z[l]
        A[:n, n + l] = A[n + l, :n] = -integral / z[l]
        A[n + l, n + l] = integral.sum() / z[l]
    A[n:-1, -1] = A[-1, n:-1] = 1
    b = np.zeros((len(A), currents.shape[1]))
    b[n:-1] = currents
    return np.linalg.solve(A, b)[:-1]


# --- solutions ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("impedance", "core", "element", "orders"),
    [
        (1.0, 1.0, skfem.ElementTriP1(), (1.5, 2.0)),
        (1.0, 1.0, skfem.ElementTriP2(), (1.8, 2.1)),
        (0.1, 8.0, skfem.ElementTriP1(), (1.35, 2.0)),
        (0.1, 0.0, skfem.ElementTriP1(), (1.35, 2.0)),
        (1e-4, 1.0, skfem.ElementTriP1(), (0.8, 1.2)),
    ],
)
def test_voltages_converge_to_the_fourier_series(impedance, core, element, orders):
    """With order 2, less a logarithm, where z is far above the mesh width; with order 1 where electrodes shunt.

    The potential is then like √r at their edges. The disk is a polygon, which costs order 2, too.
    """
    exact = cosine_patterns(COUNT) * electrode_resistances(COUNT, np.pi / COUNT, impedance, core, modes=400)
    errors = []
    for sectors in (32, 64):
        mesh = polar_disk(sectors // 4, sectors, COUNT)
        V = FunctionSpace(mesh, element)
        inside = np.hypot(*mesh.p[:, mesh.t].mean(1)) < 0.5
        model = complete_electrode_model(V, NAMES, cosine_patterns(COUNT), V.per_element, impedance)
        voltages = ElectrodeVoltages.of(model)(model(jnp.where(inside, max(core, 1e-9), 1.0)))
        errors.append(np.abs(voltages - exact).max() / np.abs(exact).max())
    assert errors[-1] < (0.05 if impedance < 1e-3 else 0.02)
    assert orders[0] < np.log2(errors[0] / errors[1]) < orders[1], errors


def test_the_series_itself_at_large_impedance_and_without_contrast():
    """z/|e| + the resistance of a body, which is less than 1; a core of the same conductivity is none."""
    large = electrode_resistances(COUNT, np.pi / COUNT, 1e4, modes=100)
    contact = 1e4 / (np.pi / COUNT)
    assert (large > contact).all()
    np.testing.assert_allclose(large, contact, rtol=1e-4)
    first, second = (electrode_resistances(COUNT, 0.3, 0.1, 1.0, radius, modes=100) for radius in (0.2, 0.8))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_equal_to_the_dense_bordered_system(name):
    V = space(name)
    model, c = joint_model(V), coefficients(space(name))
    expected = bordered_solution(V, c[: V.n], np.asarray(c[V.n :]), CURRENTS)
    found = np.asarray(model(c)) @ model.combination
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
    assert np.abs(found[V.n :].sum(0)).max() < 1e-12 * np.abs(found).max()
    assert model.backward_error(c) < 1e-13


@pytest.mark.slow
def test_the_adjoint_state_is_the_derivative_along_a_source_and_costs_a_solve():
    V = space("P1")
    model, c = joint_model(V), coefficients(V)
    observation = ElectrodeVoltages.of(model, ADJACENT)
    misfit = L2Misfit.of(observation, np.zeros(observation(model(c), c).shape), 1.0)
    J = ReducedFunctional(model, misfit)
    adjoint = J.solved(c).adjoint
    assert adjoint.shape == (V.n + len(NAMES), model.basis.shape[1])
    direction = np.random.default_rng(0).standard_normal(adjoint.shape)
    along = jax.jit(lambda source: misfit(model(c, source=source), c))
    ahead, behind = along(1e-3 * direction), along(-1e-3 * direction)
    assert (ahead - behind) / 2e-3 == pytest.approx((adjoint * direction).sum(), rel=1e-7)
    clear_memo()
    before = work.copy()
    J.solved(c)
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 1)
    assert list(model.parts) == ["potential"]
    assert model.axes == ("dof", "experiment")


def test_the_model_tells_its_solver_and_accuracy():
    model, c = joint_model(space("P1")), coefficients(space("P1"))
    assert isinstance(model, StateEquation)
    assert (model.chosen_solver(c), model.accuracy(c)) == (fastest_direct(), 1e-13)
    inexact = model.with_solver(CG(rtol=1e-6))
    assert (inexact.chosen_solver(c), inexact.accuracy(c)) == (CG(rtol=1e-6), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_reciprocity(name):
    """The voltages of pattern j's kind under pattern k are those of k's kind under j."""
    model = joint_model(space(name))
    voltages = ElectrodeVoltages.of(model, CURRENTS)(model(coefficients(space(name))))
    np.testing.assert_allclose(voltages, voltages.T, atol=1e-12 * np.abs(voltages).max())
    assert np.linalg.eigvalsh(model.basis.T @ voltages_of_basis(model, space(name)))[0] > 0, "power is dissipated"


def voltages_of_basis(model, V):
    return np.asarray(model(coefficients(V)))[V.n :]


def test_fixed_impedances_and_one_number():
    V = space("P1")
    c = coefficients(V)
    fixed = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, np.asarray(c[V.n :]))
    np.testing.assert_allclose(fixed(c[: V.n]), joint_model(V)(c), atol=1e-13)
    number = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, 0.2)
    equal = joint_model(V)(c.at[V.n :].set(0.2))
    np.testing.assert_allclose(number(c[: V.n]), equal, atol=1e-13)


@pytest.mark.parametrize("impedance", [1e-7, 1e3])
def test_extreme_impedances_keep_residuals_small(impedance):
    V = space("P1")
    model = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, impedance)
    sigma = coefficients(V)[: V.n]
    assert model.backward_error(sigma) < 1e-13
    voltages = ElectrodeVoltages.of(model, CURRENTS)(model(sigma))
    np.testing.assert_allclose(voltages, voltages.T, atol=1e-8 * np.abs(voltages).max())
    near = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, 10 * impedance)
    change = np.linalg.norm(ElectrodeVoltages.of(near, CURRENTS)(near(sigma))) / np.linalg.norm(voltages)
    assert change == pytest.approx(1.0, abs=1e-4) if impedance < 1 else change == pytest.approx(10.0, rel=1e-2)


def test_a_model_that_was_first_used_under_jit():
    V, c = SPACES["P1"](), coefficients(space("P1"))
    model = joint_model(V)
    compiled = jax.jit(model)(c)
    np.testing.assert_allclose(model(c), compiled, atol=1e-13)
    np.testing.assert_allclose(jax.jit(lambda c: 2 * model(c))(c), 2 * compiled, atol=1e-13)


def test_electrodes_in_another_order():
    V = space("P1")
    order = np.random.default_rng(0).permutation(COUNT)
    names = [NAMES[l] for l in order]
    mixed = complete_electrode_model(V, names, CURRENTS[order], V.interpolate, IMPEDANCES[order])
    plain = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, IMPEDANCES)
    sigma = coefficients(V)[: V.n]
    found, expected = (np.asarray(ElectrodeVoltages.of(model)(model(sigma))) for model in (mixed, plain))
    np.testing.assert_allclose(found, expected[order], atol=1e-12)


# --- patterns ----------------------------------------------------------------------------------------------------


def test_only_independent_patterns_are_solved_for():
    V, c = space("P1"), coefficients(space("P1"))
    model = joint_model(V)
    assert model.basis.shape == (COUNT, COUNT - 1)
    np.testing.assert_allclose(model.basis @ model.combination, CURRENTS, atol=1e-14)
    np.testing.assert_allclose(model.basis.T @ model.basis, np.eye(COUNT - 1), atol=1e-14)
    direct = np.asarray(model.states(c, CURRENTS))
    np.testing.assert_allclose(model(c) @ model.combination, direct, atol=1e-12 * np.abs(direct).max())
    few = joint_model(V, CURRENTS[:, [2, 8]])
    assert few(c).shape == (V.n + COUNT, 1)
    np.testing.assert_allclose(few(c) @ few.combination, direct[:, [2, 8]], atol=1e-12 * np.abs(direct).max())


def test_a_mask_picks_pattern_by_pattern():
    model = joint_model(space("P1"))
    state = model(coefficients(space("P1")))
    valid = np.random.default_rng(0).random((3, CURRENTS.shape[1])) < 0.5
    whole = np.asarray(ElectrodeVoltages.of(model, ADJACENT[:, :3])(state))
    picked = ElectrodeVoltages.of(model, ADJACENT[:, :3], valid)(state)
    expected = [whole[j, k] for k in range(CURRENTS.shape[1]) for j in range(3) if valid[j, k]]
    np.testing.assert_array_equal(picked, expected)


# --- derivatives -------------------------------------------------------------------------------------------------

UNKNOWNS = {"conductivity": "P1", "impedances": "P1", "both": "P2", "both in 3-D": "tetrahedra"}


@cache
def functional(unknown):
    """Voltages of other coefficients as data; the parameter is the logarithm of σ, of z, or of both."""
    V = space(UNKNOWNS[unknown])
    c = coefficients(V)
    model = joint_model(V)
    if unknown == "conductivity":
        model = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, np.asarray(c[V.n :]))
    if unknown == "impedances":
        model = complete_electrode_model(V, NAMES, CURRENTS, lambda _: V.interpolate(c[: V.n]), lambda z: z)
    part = {"conductivity": slice(V.n), "impedances": slice(V.n, None)}.get(unknown, slice(None))
    observation = ElectrodeVoltages.of(model, ADJACENT[:, :6], np.arange(60).reshape(6, 10) % 7 > 0)
    data = observation(model(coefficients(V, 1)[part]))
    return ReducedFunctional(model, L2Misfit.of(observation, data, 0.05), (), Log()), np.log(np.asarray(c[part]))


@pytest.mark.slow
@pytest.mark.parametrize("unknown", UNKNOWNS)
def test_taylor_remainders_of_orders_one_two_three(unknown):
    J, m = functional(unknown)
    v = np.random.default_rng(2).standard_normal(m.shape)
    test = taylor_test(J, J.derivative(m), m, v, hessian_action=J.hessian(m)(v), first_step=0.05, halvings=6)
    assert test.passed, str(test)
    assert [test.orders[p] for p in (1, 2, 3)] == pytest.approx([1, 2, 3], abs=0.15)


@pytest.mark.parametrize("unknown", ["both"])
def test_tangent_and_adjoint_of_the_prediction_belong_together(unknown):
    J, m = functional(unknown)
    rng = np.random.default_rng(3)
    v, w = rng.standard_normal(m.shape), rng.standard_normal(J.misfit.data.shape)
    assert adjoint_identity(lambda v: J.prediction_tangent(m, v), lambda w: J.prediction_adjoint(m, w), v, w) < 1e-12


def test_one_factorization_for_all_patterns_and_the_gradient():
    J, m = functional("both")
    clear_memo()
    before = work.copy()
    J.terms(m)
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 0)
    clear_memo()
    before = work.copy()
    J.value_and_derivative(m)
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 1)


# --- bad input ---------------------------------------------------------------------------------------------------

UNBALANCED, INFINITE = CURRENTS.copy(), CURRENTS.copy()
UNBALANCED[0, 3] += 1e-3
INFINITE[1, 5] = np.nan


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"electrodes": ["e1", "e77"], "currents": [[1], [-1]]},
            MeshError,
            "no boundary named 'e77'; it has 'e1', 'e2'",
        ),
        ({"electrodes": ["e1", "e1"], "currents": [[1], [-1]]}, MeshError, "'e1' and 'e1' share a facet"),
        ({"electrodes": "e1", "currents": [[0]]}, InputError, "at least two"),
        ({"currents": CURRENTS[:-1]}, InputError, r"currents have shape \(7, 10\); expected \(8, k\)"),
        ({"currents": CURRENTS[:, 0]}, InputError, r"currents have shape \(8,\); expected \(8, k\)"),
        ({"currents": UNBALANCED}, InputError, "currents of pattern 3 sum to 0.001 .1 such patterns"),
        ({"currents": INFINITE}, InputError, "NaN or infinite in column 5"),
        ({"currents": 0 * CURRENTS}, InputError, "all currents are zero"),
        ({"currents": 1j * CURRENTS}, InputError, "complex"),
        ({"impedances": 1e-3 + 1e-4j}, InputError, r"impedances are complex.*real"),
        ({"impedances": 0.0}, InputError, r"electrode 1 is 0.0; expected a positive"),
        ({"impedances": IMPEDANCES - 0.1}, InputError, "electrode 1 is -0.05"),
        ({"impedances": IMPEDANCES[1:]}, InputError, r"shape \(7,\); expected a number or \(8,\)"),
        (
            {"space": FunctionSpace(polar_disk(2, 32, COUNT), skfem.ElementVector(skfem.ElementTriP1()))},
            FEMError,
            "scalar",
        ),
        ({"space": FunctionSpace(polar_disk(2, 32, COUNT), skfem.ElementTriMini())}, FEMError, "no point values"),
    ],
)
def test_bad_input_is_refused(changes, error, message):
    V = space("P1")
    given = {
        "space": V,
        "electrodes": NAMES,
        "currents": CURRENTS,
        "conductivity": V.interpolate,
        "impedances": 0.1,
    }
    with pytest.raises(error, match=message):
        complete_electrode_model(**{**given, **changes})


def test_complex_impedances_that_a_function_returns_are_refused():
    V = space("P1")
    model = complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, lambda c: c[0] * (1 + 1j))
    with pytest.raises(InputError, match=r"impedances are complex.*real"):
        jax.eval_shape(model, np.ones(V.n))


def test_electrodes_inside_the_mesh_are_refused():
    mesh = polar_disk(2, 32, COUNT)
    inside = np.setdiff1d(np.arange(mesh.facets.shape[1]), mesh.boundary_facets())[:2]
    V = FunctionSpace(mesh.with_boundaries({"inner": inside}), skfem.ElementTriP1())
    with pytest.raises(MeshError, match="'inner' has 2 facets inside the mesh"):
        complete_electrode_model(V, ["e1", "inner"], [[1], [-1]], V.interpolate, 0.1)


def test_electrodes_without_facets_are_refused():
    V = FunctionSpace(polar_disk(2, 16, COUNT), skfem.ElementTriP1())
    with pytest.raises(MeshError, match="electrode 'e1' has no facets: the mesh is coarser"):
        complete_electrode_model(V, NAMES, CURRENTS, V.interpolate, 0.1)


def test_impedances_of_the_coefficient_are_checked_where_they_are_known():
    V = space("P1")
    with pytest.raises(InputError, match=r"electrode 3 is -1\.0; expected a positive number"):
        joint_model(V)(coefficients(V).at[V.n + 2].set(-1.0))


@pytest.mark.parametrize(
    ("differences", "valid", "message"),
    [
        (ADJACENT[1:], None, r"voltage differences have shape \(7, 8\); expected \(8, k\)"),
        (ADJACENT, np.ones((3, 3), bool), r"valid has shape \(3, 3\).*expected booleans of shape \(8, 10\)"),
        (ADJACENT, np.ones((8, 10)), "dtype float64"),
        (ADJACENT, np.zeros((8, 10), bool), "not all False"),
    ],
)
def test_observations_that_do_not_fit_are_refused(differences, valid, message):
    with pytest.raises(InputError, match=message):
        ElectrodeVoltages.of(joint_model(space("P1")), differences, valid)
