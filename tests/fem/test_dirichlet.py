"""Dirichlet conditions: elimination against the penalty-free dense system, symmetry, and derivatives in the values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import skfem

from pdeopt.fem import Dirichlet, FEMError, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtDofs, InputError, L2Misfit, Parameter, Problem, ReducedFunctional
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import CSRMatrix, SolveError, linear_solve

MESH = skfem.MeshTri.init_tensor(np.linspace(0, 1, 5), np.linspace(0, 1, 5)).with_boundaries(
    {"left": lambda x: x[0] == 0, "right": lambda x: x[0] == 1}
)
V = FunctionSpace(MESH, skfem.ElementTriP1())
diffusion = bilinear_form(lambda u, v, w: w["k"] * dot(grad(u), grad(v)))
advection = bilinear_form(lambda u, v, w: dot(grad(u), grad(v)) + 5.0 * grad(u)[0] * v)
load = linear_form(lambda v, w: (1.0 + w.x[0]) * v)
b = load.assemble(V)


def with_identity_rows(A, b, dofs, values):
    """The textbook's non-symmetric version, dense: rows of prescribed degrees of freedom say u = value."""
    dense, right = A.to_scipy().toarray(), np.array(b)
    dense[dofs] = np.eye(len(dense))[dofs]
    right[dofs] = values
    return np.linalg.solve(dense, right)


def solve(A, b, dirichlet):
    return dirichlet.extend(linear_solve(*dirichlet.condense(A, b)))


VALUES = {
    "zero": None,
    "a number": 2.0,
    "an integer": 2,
    "an array": np.linspace(0, 1, 5),
    "a function": lambda x: np.sin(3 * x[1]),
    "a function to columns": lambda x: x.T,
    "columns": np.arange(10.0).reshape(5, 2),
    "complex": 1.0 + 2.0j,
    "complex array": 1j * np.linspace(0, 1, 5),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("form", [diffusion, advection], ids=["symmetric", "non-symmetric"])
def test_elimination_solves_the_system_with_identity_rows(form, values):
    A = form.assemble(V, **({"k": 1.0} if form is diffusion else {}))
    dirichlet = Dirichlet.on(V, "left", values)
    given = values(V.locations[:, dirichlet.dofs]) if callable(values) else 0.0 if values is None else values
    right = b[:, None] * np.ones(2) if np.ndim(given) == 2 else b
    dtype = complex if np.iscomplexobj(given) else float
    expected = with_identity_rows(A, np.asarray(right, dtype), dirichlet.dofs, given)
    np.testing.assert_allclose(solve(A, b, dirichlet), expected, atol=1e-12)
    reduced, _ = dirichlet.condense(A, b)
    gap = reduced.to_scipy() - reduced.to_scipy().T
    assert (abs(gap).max() < 1e-14) == (form is diffusion)


@pytest.mark.parametrize("r", [1, 3, V.n])
def test_one_set_of_values_serves_many_right_hand_sides(r):
    """Also as many as there are unknowns, where a wrong broadcast would go unnoticed."""
    A = diffusion.assemble(V, k=1.0)
    many = np.random.default_rng(0).standard_normal((V.n, r))
    dirichlet = Dirichlet.on(V, values=lambda x: x[0])
    u = solve(A, jnp.asarray(many), dirichlet)
    for k in range(r):
        np.testing.assert_allclose(u[:, k], solve(A, jnp.asarray(many[:, k]), dirichlet), atol=1e-12)


def test_free_and_prescribed_are_a_partition_and_default_to_the_whole_boundary():
    everywhere, left = Dirichlet.on(V), Dirichlet.on(V, "left")
    np.testing.assert_array_equal(everywhere.dofs, V.dofs())
    np.testing.assert_array_equal(np.sort(np.concatenate([left.free, left.dofs])), np.arange(V.n))
    np.testing.assert_array_equal(left.extend(jnp.ones(len(left.free)))[left.dofs], 0)


@pytest.mark.parametrize("values", [np.ones(3), np.ones((5, 2, 1)), lambda x: x])
def test_values_of_the_wrong_shape_are_refused(values):
    with pytest.raises(FEMError, match=r"expected a number, \(5,\) or \(5, r\).*order of space.dofs"):
        Dirichlet.on(V, "left", values)


def test_a_space_without_free_degrees_of_freedom_is_solved():
    single = FunctionSpace(skfem.MeshTri.init_tensor(np.array([0, 1.0]), np.array([0, 1.0])), skfem.ElementTriP1())
    dirichlet = Dirichlet.on(single, values=lambda x: x[0])
    u = solve(diffusion.assemble(single, k=1.0), jnp.zeros(single.n), dirichlet)
    np.testing.assert_array_equal(u, single.locations[0])


@pytest.mark.slow
def test_the_derivative_in_the_values_is_the_dense_one():
    A = advection.assemble(V)
    values = np.random.default_rng(0).standard_normal(5)

    def state(values):
        return solve(A, b, Dirichlet.on(V, "left", values))

    dofs = V.dofs("left")
    expected = with_identity_rows(A, np.zeros((V.n, 5)), dofs, np.eye(5))
    np.testing.assert_allclose(jax.jacrev(state)(values), expected, atol=1e-12)
    np.testing.assert_allclose(jax.jacfwd(state)(values), expected, atol=1e-12)


def test_eliminated_rows_do_not_leak_into_gradients():
    """Entries of A in the rows of prescribed values do not change u; those in their columns do, with the values."""
    A = advection.assemble(V)
    dirichlet = Dirichlet.on(V, "left", lambda x: 1.0 + x[1])
    A_bar = jax.grad(lambda A: jnp.sum(solve(A, b, dirichlet)[dirichlet.free] ** 2))(A)
    in_row = np.isin(A.pattern.rows, dirichlet.dofs)
    in_column = np.isin(A.pattern.indices, dirichlet.dofs)
    np.testing.assert_array_equal(A_bar.data[in_row], 0)
    assert np.all(np.asarray(A_bar.data)[in_column & ~in_row] != 0)
    b_bar = jax.grad(lambda b: jnp.sum(solve(A, b, dirichlet) ** 2))(b)
    np.testing.assert_array_equal(b_bar[dirichlet.dofs], 0)


# --- the state equation ------------------------------------------------------------------------------------------


def system(k):
    return diffusion.assemble(V, k=V.interpolate(k)), b


@pytest.mark.parametrize("solver", ["auto", "superlu"])
def test_a_state_equation_solves_with_fixed_and_with_dependent_values(solver):
    k = 1 + MESH.p[0]
    fixed = LinearStateEquation(system, Dirichlet.on(V, "left", 1.0), solver)
    dependent = LinearStateEquation(system, lambda k: Dirichlet.on(V, "left", k[V.dofs("left")]), solver)
    np.testing.assert_allclose(fixed(k), dependent(k), atol=1e-13)
    A, _ = system(k)
    np.testing.assert_allclose(fixed(k), with_identity_rows(A, b, V.dofs("left"), 1.0), atol=1e-12)
    # doubling k on the left doubles the values there, and nothing else about them
    assert dependent(2 * k)[V.dofs("left")[0]] == pytest.approx(2)


def test_a_state_equation_without_dirichlet_values():
    reaction = bilinear_form(lambda u, v, w: w["c"] * u * v)
    ones = linear_form(lambda v, w: 1.0 * v).assemble(V)
    state = LinearStateEquation(lambda c: (reaction.assemble(V, c=c), ones))
    np.testing.assert_allclose(state(4.0), 0.25, atol=1e-13)
    neumann = LinearStateEquation(lambda k: (diffusion.assemble(V, k=k), ones))
    with pytest.raises(SolveError, match="pure Neumann"):
        neumann(1.0)


def test_condense_keeps_the_structure_of_a_given_matrix():
    S = sp.csr_matrix(np.array([[4.0, 1, 0], [1, 4, 1], [0, 1, 4]]))
    reduced, right = Dirichlet(3, np.array([1]), jnp.array([2.0])).condense(CSRMatrix.from_scipy(S), jnp.ones(3))
    np.testing.assert_array_equal(reduced.to_scipy().toarray(), np.diag([4.0, 4.0]))
    np.testing.assert_array_equal(right, [-1.0, -1.0])


def test_degrees_of_freedom_may_come_in_any_order():
    A, order = advection.assemble(V), np.array([3, 0, 4, 2, 1])
    dofs, values = V.dofs("left"), np.linspace(1, 2, 5)
    shuffled = Dirichlet(V.n, dofs[order], jnp.asarray(values[order]))
    np.testing.assert_allclose(
        solve(A, b, shuffled), solve(A, b, Dirichlet(V.n, dofs, jnp.asarray(values))), atol=1e-13
    )


# --- several conditions ------------------------------------------------------------------------------------------

SIDES = MESH.with_boundaries({"left": lambda x: x[0] == 0, "right": lambda x: x[0] == 1, "top": lambda x: x[1] == 1})
W = FunctionSpace(SIDES, skfem.ElementTriP1())


def prescribed(condition):
    values = np.zeros(len(condition.dofs)) if condition.values is None else np.asarray(condition.values)
    return dict(zip(condition.dofs.tolist(), values.tolist(), strict=True))


def test_values_by_name_give_the_exact_solution_between_two_plates():
    for condition in (
        Dirichlet.on(W, {"left": 80, "right": 20.0}),
        Dirichlet.on(W, "left", 80) + Dirichlet.on(W, "right", 20.0),
        Dirichlet.on(W, {"right": np.full(5, 20.0), ("left",): lambda x: 80.0 + 0 * x[0]}),
        Dirichlet.on(W, {"left": jnp.float64(80.0), "right": jnp.full(5, 20.0)}),
    ):
        u = solve(diffusion.assemble(W, k=3.0), jnp.zeros(W.n), condition)
        np.testing.assert_allclose(u, 80 - 60 * W.locations[0], rtol=1e-12)


def test_conditions_on_components_and_for_several_experiments_add_up():
    vector = FunctionSpace(SIDES, skfem.ElementVector(skfem.ElementTriP1()))
    rollers = Dirichlet.on(vector, "left", names=["u^1"]) + Dirichlet.on(vector, "top", 1.0, names=["u^2"])
    x = vector.locations
    first = np.arange(vector.n) % 2 == 0
    fixed = np.flatnonzero((first & (x[0] == 0)) | (~first & (x[1] == 1)))
    assert prescribed(rollers) == {dof: float(dof % 2) for dof in fixed.tolist()}
    columns = Dirichlet.on(W, "left", np.arange(10.0).reshape(5, 2)) + Dirichlet.on(W, "right", 7.0)
    assert prescribed(columns)[W.dofs("right")[0]] == [7.0, 7.0]
    assert prescribed(columns)[W.dofs("left")[-1]] == [8.0, 9.0]


def test_equal_values_in_a_shared_corner_pass_and_different_ones_are_refused_with_the_place():
    both = Dirichlet.on(W, {"left": lambda x: x[1] / 3, "top": lambda x: (1 + x[0]) / 3})
    np.testing.assert_array_equal(both.dofs, W.dofs(["left", "top"]))
    np.testing.assert_allclose(both.values, (W.locations[0] + W.locations[1])[both.dofs] / 3)
    assert len((Dirichlet.on(W, "left") + Dirichlet.on(W, "top")).dofs) == 9
    message = r"different values for 1 degrees of freedom, the first at \[0.0, 1.0\]: 80 and 20.*first \| second"
    with pytest.raises(FEMError, match=message):
        Dirichlet.on(W, {"left": 80, "top": 20})
    with pytest.raises(FEMError, match="2 degrees of freedom"):
        Dirichlet.on(W, {("left", "right"): 1.0, "top": None})
    walls, lid = Dirichlet.on(W, "left"), Dirichlet.on(W, "top", 1.0)
    corner = int(np.flatnonzero((W.locations.T == [0, 1]).all(1))[0])
    assert (prescribed(walls | lid)[corner], prescribed(lid | walls)[corner]) == (1.0, 0.0)


def test_values_by_name_are_differentiated_and_compared_also_inside_a_trace():
    A = diffusion.assemble(W, k=1.0)

    @jax.jit
    def middle(hot):
        return solve(A, jnp.zeros(W.n), Dirichlet.on(W, {"left": hot, "right": 20.0}))[12]

    assert middle(80.0) == pytest.approx(80 - 60 * W.locations[0, 12])
    assert jax.grad(middle)(80.0) == pytest.approx(1 - W.locations[0, 12])
    fixed = jax.jit(lambda k: k * Dirichlet.on(W, {"left": 1.0, "top": 1.0}).values)
    assert fixed(2.0).tolist() == [2.0] * 9
    with pytest.raises(FEMError, match="different values"):
        jax.jit(lambda k: k * Dirichlet.on(W, {"left": 1.0, "top": 2.0}).values)(2.0)
    with pytest.raises(FEMError, match=r"share 1 degrees of freedom, the first at \[0.0, 1.0\].*cannot be compared"):
        jax.jit(lambda k: Dirichlet.on(W, {"left": 1.0, "top": k}).values)(2.0)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Dirichlet.on(W, {"hot": 1.0}), "no boundary named 'hot'; it has 'left', 'right', 'top'"),
        (lambda: Dirichlet.on(W, {"left": 1.0}, 2.0), "without others"),
        (lambda: Dirichlet.on(W, {}), "by name are given as"),
        (lambda: Dirichlet.on(W, {"left": np.ones(3)}), r"shape \(3,\); expected a number, \(5,\)"),
        (lambda: Dirichlet.on(W) + Dirichlet(3, np.array([0])), "spaces of 25 and 3 degrees of freedom"),
        (lambda: Dirichlet.on(W, "left", np.ones((5, 2))) + Dirichlet.on(W, "right", np.ones((5, 3))), "2 and 3 exper"),
        (lambda: Dirichlet.on(W, "left") + 1.0, "unsupported operand"),
    ],
)
def test_conditions_that_do_not_fit_together_are_refused(ask, message):
    with pytest.raises((FEMError, TypeError), match=message):
        ask()


# --- nothing to solve for ----------------------------------------------------------------------------------------

ONE_CELL = FunctionSpace(skfem.MeshTri(np.array([[0, 1.0, 0], [0, 0, 1]]), np.array([[0], [1], [2]])), W.element)
COARSE = FunctionSpace(skfem.MeshQuad(), skfem.ElementQuad1())


@pytest.mark.parametrize("space", [ONE_CELL, COARSE], ids=["one triangle", "one quadrilateral"])
@pytest.mark.parametrize("values", [None, lambda x: x[0]], ids=["zero", "of x"])
def test_a_state_without_a_free_degree_of_freedom_is_refused(space, values):
    state = LinearStateEquation(
        lambda k: (diffusion.assemble(space, k=k), jnp.zeros(space.n)), Dirichlet.on(space, values=values)
    )
    with pytest.raises(SolveError, match=rf"prescribes all {space.n} degrees of freedom.*refine the mesh"):
        state(1.0)
    with pytest.raises(SolveError, match="prescribes all"):
        state(1.0, source=jnp.zeros(space.n))


def test_a_problem_without_parameters_or_without_data_is_refused():
    nothing = Parameter(V, "conductivity (W/(m K))", dofs=np.empty(0, int))
    with pytest.raises(InputError, match="the parameter has no degrees of freedom"):
        Problem(ReducedFunctional(lambda k: k, lambda u, k: 0.0), np.empty(0), nothing)
    for shape in ((0,), (0, 2)):
        with pytest.raises(InputError, match=r"there are no data \(shape \(0,"):
            L2Misfit.of(AtDofs(np.empty(0, int)), np.empty(shape), 1.0)


@pytest.mark.slow
def test_a_state_with_one_free_degree_of_freedom_is_solved():
    space = FunctionSpace(skfem.MeshTri.init_tensor(np.linspace(0, 1, 3), np.linspace(0, 1, 3)), W.element)
    state = LinearStateEquation(
        lambda k: (diffusion.assemble(space, k=k), jnp.zeros(space.n)), Dirichlet.on(space, values=lambda x: x[0])
    )
    np.testing.assert_allclose(state(1.0), space.locations[0], atol=1e-14)
