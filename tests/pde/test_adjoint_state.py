"""The adjoint state: Aᵀλ = ∂J/∂u, held against dense matrices and against the objective under a further load."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtDofs, FieldMisfit, L2Misfit, Log, Parameter, Problem, ReducedFunctional, h1
from pdeopt.pde import LinearStateEquation
from pdeopt.run.store.fields import fields_of, read_fields, write_fields
from pdeopt.sparse import clear_memo, work

TICKS = np.linspace(0, 1, 5)
V = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS), skfem.ElementTriP1())
rng = np.random.default_rng(3)
M = rng.normal(size=V.n)
OBSERVED = AtDofs(np.arange(2, V.n, 3))


@bilinear_form
def transport(u, v, w):
    return w["k"] * dot(grad(u), grad(v)) + (8 * grad(u)[0] + 4 * grad(u)[1] + u) * v


@linear_form
def emission(v, w):
    return (1 + w.x[0]) * v


LOAD = emission.assemble(V)
BLOCK = jnp.stack([LOAD, 2 - LOAD], axis=1)
#: Loads, and what is prescribed on the boundary.
EQUATIONS = {
    "one experiment": (LOAD, Dirichlet.on(V)),
    "two experiments": (BLOCK, Dirichlet.on(V, values=1.5)),
    "two boundary values": (LOAD, Dirichlet.on(V, values=lambda x: np.stack([x[0], x[1]], axis=1))),
    "a natural boundary": (BLOCK, None),
}


def functional(name, further=0.0):
    """With a further load of the state's shape."""
    load, dirichlet = EQUATIONS[name]
    load = (load if np.ndim(load) >= np.ndim(further) else load[:, None]) + further
    axes = ("dof", "experiment") if "two" in name or load.ndim == 2 else ("dof",)
    state = LinearStateEquation(lambda k: (transport.assemble(V, k=V.interpolate(k)), load), dirichlet, axes=axes)
    shape = jax.eval_shape(state, jnp.ones(V.n)).shape
    data = np.random.default_rng(0).normal(size=(len(OBSERVED.dofs), *shape[1:]))
    return ReducedFunctional(state, L2Misfit.of(OBSERVED, data, 0.1), h1(V, 1.0), Log())


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUATIONS)
def test_it_solves_the_transposed_system(name):
    J = functional(name)
    solved = J.solved(M)
    A = transport.assemble(V, k=V.interpolate(jnp.exp(M))).to_scipy().toarray()
    dirichlet = EQUATIONS[name][1]
    free = np.arange(V.n) if dirichlet is None else dirichlet.free
    right = np.zeros_like(solved.state)
    right[OBSERVED.dofs] = (solved.state[OBSERVED.dofs] - J.misfit.data) / 0.1**2
    expected = np.zeros_like(right)
    expected[free] = np.linalg.solve(A[np.ix_(free, free)].T, right[free])
    assert solved.adjoint == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())
    not_transposed = np.linalg.solve(A[np.ix_(free, free)], right[free])
    assert np.abs(solved.adjoint[free] - not_transposed).max() > 0.1 * np.abs(expected).max(), "A is not symmetric"
    np.testing.assert_allclose(solved.state, J.solution(M), rtol=1e-12)
    np.testing.assert_allclose(solved.prediction, J.prediction(M), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUATIONS)
def test_it_is_the_derivative_along_a_further_load(name):
    adjoint = functional(name).solved(M).adjoint
    direction = rng.normal(size=adjoint.shape)
    ahead, behind = (functional(name, step * direction)(M) for step in (1e-3, -1e-3))
    assert (ahead - behind) / 2e-3 == pytest.approx((adjoint * direction).sum(), rel=1e-6), "J is quadratic in the load"


@pytest.mark.parametrize("name", EQUATIONS)
def test_with_the_state_it_costs_one_factorization_and_two_solves(name):
    J = functional(name)
    J.solved(M)  # compiled
    clear_memo()
    before = work.copy()
    J.solved(M)
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 1)


def problem(J):
    return Problem(J, np.zeros(V.n), Parameter(V, "diffusivity"))


def test_a_run_stores_it(tmp_path):
    J = functional("one experiment")
    fields = fields_of(problem(J), M)
    write_fields(tmp_path / "result.npz", fields)
    assert read_fields(tmp_path / "result.npz").adjoint == pytest.approx(J.solved(M).adjoint)
    assert fields.predicted == pytest.approx(J.prediction(M))


def test_a_plain_function_has_none(tmp_path):
    J = ReducedFunctional(lambda k: k**2, FieldMisfit.of(V, np.zeros(V.n)))
    assert J.solved(M).adjoint is None
    fields = fields_of(problem(J), M)
    write_fields(tmp_path / "result.npz", replace(fields, truth=None))
    assert read_fields(tmp_path / "result.npz").adjoint is None
