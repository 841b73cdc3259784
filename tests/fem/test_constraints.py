"""Ties between degrees of freedom, periodicity and mean values, against dense solves and known solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import skfem
import skfem.utils

from pdeopt.fem import (
    Dirichlet,
    FEMError,
    FunctionSpace,
    MeanValue,
    MultiPoint,
    bilinear_form,
    ddot,
    div,
    dot,
    functional,
    grad,
    linear_form,
)
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import CSRMatrix
from pdeopt.verify import taylor_test

SQUARE = skfem.MeshTri.init_tensor(*[np.linspace(0, 1, 5)] * 2).with_defaults()
RNG = np.random.default_rng(0)


@bilinear_form
def reaction_diffusion(u, v, w):
    return w["k"] * dot(grad(u), grad(v)) + u * v


@linear_form
def source(v, w):
    return w["f"] * v


@functional
def squared_error(w):
    return (w["u"] - w["exact"]) ** 2


@pytest.fixture
def V():
    return FunctionSpace(SQUARE, skfem.ElementTriP1())


def system(V, symmetric=True):
    A = sp.csr_array(sp.random(V.n, V.n, 0.2, random_state=1) + 10 * sp.eye_array(V.n))
    return CSRMatrix.from_scipy(A + A.T if symmetric else A), jnp.asarray(RNG.standard_normal(V.n))


def dense_solution(condition, A, b):
    """u = Z y + g with Zᵀ A Z y = Zᵀ (b − A g), from the ties alone."""
    n, free = condition.n, condition.free
    Z, g = np.zeros((n, len(free))), np.zeros(n)
    Z[free, np.arange(len(free))] = 1
    Z[condition.dofs] = condition.ties.toarray()[:, free]
    g[condition.dofs] = 0 if condition.values is None else condition.values
    matrix = A.to_scipy().toarray()
    return Z @ np.linalg.solve(Z.T @ matrix @ Z, Z.T @ (np.asarray(b) - matrix @ g)) + g


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("values", [None, [2.0, -1.0]])
def test_tied_values_are_those_of_a_dense_solve(V, symmetric, values):
    A, b = system(V, symmetric)
    ties = MultiPoint.of(V, [7, 3], [1, 2, 9], [[0.5, 0.5, 0.0], [0.0, 2.0, -1.0]], values)
    u = np.asarray(LinearStateEquation(lambda _: (A, b), ties)(None))
    np.testing.assert_allclose(u, dense_solution(ties, A, b), atol=1e-12)
    g = values or [0.0, 0.0]
    assert u[7] == pytest.approx(0.5 * u[1] + 0.5 * u[2] + g[0])
    assert u[3] == pytest.approx(2 * u[2] - u[9] + g[1])
    reduced, _ = ties.condense(A, b)
    gap = abs(reduced.to_scipy() - reduced.to_scipy().T).max()
    assert (gap < 1e-13) == symmetric


def test_scikit_fem_ties_the_same_values_without_testing_by_them(V):
    """Its `mpc` leaves the rows of tied degrees of freedom out; where these are zero the solutions are the same."""
    A, b = system(V, symmetric=False)
    matrix = A.to_scipy().tolil()
    matrix[[7, 3]] = 0
    load = np.asarray(b).copy()
    load[[7, 3]] = 0
    theirs = skfem.solve(*skfem.utils.mpc(matrix.tocsr(), load, S=np.array([3, 7]), M=np.array([2, 1]), g=np.ones(2)))
    ties = MultiPoint.of(V, [3, 7], [2, 1], values=np.ones(2))
    ours = LinearStateEquation(lambda _: (CSRMatrix.from_scipy(matrix), jnp.asarray(load)), ties)(None)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.slow
def test_derivatives_through_ties_are_exact(V):
    direction = RNG.standard_normal(3)

    heat = V.dofs("bottom")

    def objective(m):
        A = reaction_diffusion.assemble(V, k=1 + m[0] ** 2)
        b = source.assemble(V, f=lambda x: m[1] * x[0])
        ties = MultiPoint.of(V, V.dofs("right"), V.dofs("left"), values=m[2] * jnp.ones(5))
        both = ties + Dirichlet.on(V, "bottom", m[2] * V.locations[0, heat])
        return (LinearStateEquation(lambda _: (A, b), both)(None) ** 2).sum()

    m, J = np.array([0.3, 1.0, 0.7]), jax.jit(objective)
    hessian = jax.jvp(jax.grad(objective), (m,), (direction,))[1]
    found = taylor_test(J, np.asarray(jax.grad(objective)(m)), m, direction, hessian_action=np.asarray(hessian))
    assert found.orders[2] == pytest.approx(2, abs=0.05)
    assert found.orders[3] == pytest.approx(3, abs=0.1)


def test_ties_to_ties_are_followed_and_circles_are_refused(V):
    first, second = MultiPoint.of(V, [4], [3], values=[1.0]), MultiPoint.of(V, [3], [2], [[2.0]], [10.0])
    both = first + second
    u = np.asarray(both.extend(jnp.arange(V.n - 2.0) + 1))
    assert u[3] == 2 * u[2] + 10
    assert u[4] == u[3] + 1
    with pytest.raises(FEMError, match="ties form a circle"):
        both + MultiPoint.of(V, [2], [4])


def test_what_is_prescribed_on_both_pieces_agrees_with_the_tie(V):
    ties = MultiPoint.periodic(V, "right", "left")
    both = Dirichlet.on(V, "top", 3.0) + ties
    assert set(both.dofs) == {*V.dofs("top"), *V.dofs("right")}
    with pytest.raises(FEMError, match=r"contradict each other for 1 degrees of freedom, the first at \[1.0, 1.0\]"):
        Dirichlet.on(V, "top", lambda x: x[0]) + ties
    with pytest.raises(FEMError, match="contradict each other for 5 degrees of freedom"):
        Dirichlet.on(V, "right") + ties


def test_shapes_that_do_not_fit_are_refused(V):
    with pytest.raises(FEMError, match=r"2 degrees of freedom are tied to 1 by a matrix \(2, 1\)"):
        MultiPoint.of(V, [1, 2], [3])
    with pytest.raises(FEMError, match=r"the values of 1 ties have shape \(2,\)"):
        MultiPoint.of(V, [1], [3], values=[1.0, 2.0])
    with pytest.raises(FEMError, match="tied twice"):
        MultiPoint.of(V, [1, 1], [3, 4])
    graded = skfem.MeshTri.init_tensor(np.linspace(0, 1, 5), np.linspace(0, 1, 5) ** 2).with_defaults()
    W = FunctionSpace(graded, skfem.ElementTriP1())
    with pytest.raises(FEMError, match="no translation maps the two pieces of the boundary to each other"):
        MultiPoint.periodic(W, "right", "bottom")
    with pytest.raises(FEMError, match="the two pieces have 5 and 4 degrees of freedom u"):
        MultiPoint.periodic(V, "right", lambda x: (x[0] == 0) & (x[1] < 0.75))


PERIODIC = {
    "P1": (skfem.MeshTri, skfem.ElementTriP1(), 2),
    "P2": (skfem.MeshTri, skfem.ElementTriP2(), 3),
    "quadrilaterals": (skfem.MeshQuad, skfem.ElementQuad1(), 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PERIODIC)
def test_a_doubly_periodic_solution_converges_with_the_order_of_its_element(name):
    """−Δu + u = f with u = sin(2π(x + 0.1)) cos(2πy)."""
    mesh, element, order = PERIODIC[name]

    def exact(x):
        return jnp.sin(2 * jnp.pi * (x[0] + 0.1)) * jnp.cos(2 * jnp.pi * x[1])

    errors = []
    for n in (8, 16, 32):
        V = FunctionSpace(mesh.init_tensor(*[np.linspace(0, 1, n + 1)] * 2).with_defaults(), element, order=6)
        ties = MultiPoint.periodic(V, "right", "left") + MultiPoint.periodic(V, "top", "bottom")
        load = source.assemble(V, f=lambda x: (8 * jnp.pi**2 + 1) * exact(x))
        state = LinearStateEquation(lambda _, V=V, b=load: (reaction_diffusion.assemble(V, k=1.0), b), ties)
        errors.append(np.sqrt(squared_error.assemble(V, u=V.interpolate(state(None)), exact=exact)))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders[-1] == pytest.approx(order, abs=0.1)


@bilinear_form
def stokes(y, p, v, q, _):
    return ddot(grad(y), grad(v)) - p * div(v) - q * div(y)


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, 2.5])
def test_a_mean_pressure_gives_the_flow_of_a_pinned_one(mean):
    V = FunctionSpace(SQUARE, skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1())
    velocity, pressure = V.split()
    A, b = stokes.assemble(V), linear_form(lambda v, q, w: w.x[0] * w.x[1] * v[0]).assemble(V)
    lid = Dirichlet.on(velocity) | Dirichlet.on(velocity, "top", lambda x: np.stack([x[0] * (1 - x[0]), 0 * x[0]]))
    pinned = LinearStateEquation(lambda _: (A, b), lid + Dirichlet.at(pressure, [0, 0]))(None)
    free = LinearStateEquation(lambda c: (A, b), lambda c: MeanValue.of(pressure, lid, c))
    u = free(mean)
    assert u.shape == (V.n,)
    np.testing.assert_allclose(velocity.restrict(u), velocity.restrict(pinned), atol=1e-12)
    gap = pressure.restrict(u) - pressure.restrict(pinned)
    np.testing.assert_allclose(gap, gap[0], atol=1e-10)
    integral = functional(lambda w: w["p"])
    p = pressure.interpolate(pressure.restrict(u))
    assert float(integral.assemble(pressure, p=p)) == pytest.approx(mean, abs=1e-12)
    slope = jax.grad(lambda c: pressure.restrict(free(c)).sum())(mean)
    assert float(slope) == pytest.approx(pressure.n)
    with pytest.raises(FEMError, match="a mean value is that of scalars"):
        MeanValue.of(velocity, lid)
    with pytest.raises(FEMError, match=f"the conditions belong to {velocity.n} degrees"):
        MeanValue.of(pressure, Dirichlet.on(V.with_element(velocity.element)))


def test_a_mean_value_fixes_a_neumann_problem_for_several_loads():
    V = FunctionSpace(SQUARE, skfem.ElementTriP1())
    K = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
    loads = jnp.stack([source.assemble(V, f=lambda x: x[0] - 0.5), source.assemble(V, f=lambda x: x[1] - 0.5)], axis=1)
    nothing = Dirichlet(V.n, np.zeros(0, int), None, V.locations)
    u = LinearStateEquation(lambda _: (K, loads), MeanValue.of(V, nothing), axes=("dof", "experiment"))(None)
    integrals = np.asarray(linear_form(lambda v, w: v).assemble(V))
    np.testing.assert_allclose(integrals @ u, 0, atol=1e-13)
    np.testing.assert_allclose(K.to_scipy() @ np.asarray(u), loads, atol=1e-13)
