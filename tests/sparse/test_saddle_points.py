"""Saddle points of flow: every direct solver against a dense one, and the iterative way for large systems."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from direct_solvers import every_solver

from pdeopt.fem import (
    Dirichlet,
    FEMError,
    FunctionSpace,
    MeanValue,
    bilinear_form,
    ddot,
    div,
    dot,
    grad,
    linear_form,
    mul,
)
from pdeopt.inverse import mass
from pdeopt.pde import LinearStateEquation, block_preconditioner
from pdeopt.sparse import AMG, GMRES, MINRES, Block, BlockDiagonal, CSRMatrix, Jacobi, SolveError, linear_solve, work


@bilinear_form
def flow(y, p, v, q, w):
    wind = w["c"] * jnp.stack([w.x[1], -w.x[0]])
    return ddot(grad(y), grad(v)) + dot(mul(grad(y), wind), v) - p * div(v) - q * div(y)


@linear_form
def force(v, q, w):
    return dot(w.x, v)


def conditions(n, pin=True):
    ticks = np.linspace(0, 1, n + 1)
    element = skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1()
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), element)
    velocity, pressure = V.split()
    walls = Dirichlet.on(velocity, values=lambda x: np.stack([x[1], 0 * x[0]]))
    return V, walls + Dirichlet.at(pressure, [0, 0]) if pin else MeanValue.of(pressure, walls)


@every_solver
@pytest.mark.parametrize("wind", [0.0, 20.0])
@pytest.mark.parametrize("pin", [True, False])
def test_direct_solvers_take_the_flow_and_its_transpose(solver, wind, pin):
    V, condition = conditions(3, pin)
    A, b = condition.condense(flow.assemble(V, c=wind), force.assemble(V))
    dense = A.to_scipy().toarray()
    assert (np.abs(dense - dense.T).max() < 1e-14) == (wind == 0)
    x = linear_solve(A, b, solver)
    size = np.abs(x).max()
    np.testing.assert_allclose(x, np.linalg.solve(dense, b), atol=1e-11 * size)
    np.testing.assert_allclose(linear_solve(A.T, b, solver), np.linalg.solve(dense.T, b), atol=1e-11 * size)


def block_solver(method, V, condition, **options):
    velocity, pressure = V.split()
    blocks = {velocity: AMG(), pressure: (Jacobi(), mass.assemble(pressure))}
    return method(preconditioner=block_preconditioner(condition, blocks), **options)


@pytest.mark.slow
def test_a_block_preconditioner_needs_about_as_many_iterations_on_every_mesh():
    counts = []
    for n in (8, 16, 32):
        V, condition = conditions(n)
        A, b = condition.condense(flow.assemble(V, c=0.0), force.assemble(V))
        before = work.copy()
        x = linear_solve(A, b, block_solver(MINRES, V, condition, rtol=1e-8))
        counts.append(work.since(before).iterations)
        assert np.linalg.norm(A @ x - b) <= 1e-8 * np.linalg.norm(b)
    assert counts[-1] < 1.8 * counts[0], counts
    assert counts[-1] < 200, counts


@pytest.mark.slow
@pytest.mark.parametrize(("method", "wind"), [(MINRES, 0.0), (GMRES, 5.0)])
def test_derivatives_by_the_iterative_way_are_those_of_a_direct_solver(method, wind):
    V, condition = conditions(6)
    options = {"rtol": 1e-11} | ({"restart": 200} if method is GMRES else {})

    def objective(viscosity, solver):
        A = flow.assemble(V, c=wind)
        equation = LinearStateEquation(lambda k: (A * k, force.assemble(V)), condition, solver)
        return (equation(viscosity) ** 2).sum()

    exact = jax.value_and_grad(objective)(1.3, "superlu")
    found = jax.value_and_grad(objective)(1.3, block_solver(method, V, condition, **options))
    np.testing.assert_allclose(found, exact, rtol=1e-7)


def test_blocks_that_do_not_fit_are_refused():
    V, condition = conditions(3)
    velocity, pressure = V.split()
    A, b = condition.condense(flow.assemble(V, c=0.0), force.assemble(V))
    with pytest.raises(SolveError, match=rf"the blocks have \d+ unknowns; expected each of the {len(b)} of the matrix"):
        linear_solve(A, b, MINRES(preconditioner=block_preconditioner(condition, {velocity: AMG()})))
    with pytest.raises(FEMError, match="is part of"):
        block_preconditioner(condition, {V.with_element(pressure.element): Jacobi()})
    with pytest.raises(SolveError, match=r"a block of 2 unknowns has a matrix of shape \(3, 3\)"):
        Block(np.arange(2), Jacobi(), CSRMatrix.from_scipy(np.eye(3)).to_scipy())


def test_block_preconditioners_are_equal_where_their_content_is():
    V, condition = conditions(3)
    first, second = (block_solver(MINRES, V, condition) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    blocks = first.preconditioner.blocks
    assert BlockDiagonal(blocks) == first.preconditioner
    assert BlockDiagonal(blocks[::-1]) != first.preconditioner
    assert first.name == "minres+block(amg,jacobi)"


def test_zeros_that_are_stored_do_not_mislead_aggregation():
    """Components of a velocity share stored zeros; aggregates that join them would lose one of the two constants."""
    V, condition = conditions(16)
    A, _ = condition.condense(flow.assemble(V, c=0.0), force.assemble(V))
    blocks = block_solver(MINRES, V, condition).preconditioner.blocks
    K = A.to_scipy()[blocks[0].unknowns][:, blocks[0].unknowns]
    lean = K.copy()
    lean.data[np.abs(lean.data) < 1e-13] = 0
    lean.eliminate_zeros()
    assert lean.nnz < 0.5 * K.nnz
    r = np.random.default_rng(0).standard_normal(K.shape[0])
    np.testing.assert_allclose(AMG().set_up(K).apply(r), AMG().set_up(lean).apply(r), rtol=1e-9)
