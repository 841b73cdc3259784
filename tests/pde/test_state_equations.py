"""A state equation of one file, from outside of pdeopt, does all that the built-in ones do."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import skfem

import pdeopt
from pdeopt.fem import (
    Dirichlet,
    FunctionSpace,
    bilinear_form,
    ddot,
    div,
    dot,
    grad,
    linear_form,
    rigid_motions,
    sym_grad,
)
from pdeopt.inverse import FullField, InputError, L2Misfit, Log, Parameter, Problem, ReducedFunctional, h1
from pdeopt.inversion.minimization import accuracy_of
from pdeopt.pde import FunctionState, LinearStateEquation, StateEquation
from pdeopt.run.store.fields import fields_of
from pdeopt.sparse import CSRMatrix, DirectSolver, SolveError, resolve_solver, work
from pdeopt.sparse.solvers import auto

V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
STIFFNESS = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V).to_scipy().toarray()
MASS = bilinear_form(lambda u, v, w: u * v).assemble(V).to_scipy().toarray()
LOAD = np.asarray(linear_form(lambda v, w: (1 + w.x[0]) * v).assemble(V))


@dataclass(frozen=True)
class CubicReaction(StateEquation):
    """−Δu + κ (u + u³) = 1 + x + source, by Newton's method on dense matrices; derivatives by the implicit rule."""

    tolerance: float = 1e-13

    def __call__(self, kappa, *, source=None):
        load = LOAD if source is None else LOAD + source

        def residual(u, kappa):
            return STIFFNESS @ u + MASS @ (kappa * (u + u**3)) - load

        def newton(u):
            tangent = jax.jacobian(residual)(u, kappa)
            return u - jnp.linalg.solve(tangent, residual(u, kappa))

        def solve(function, start):
            return jax.lax.fori_loop(0, 12, lambda _, u: newton(u), start)

        return jax.lax.custom_root(
            lambda u: residual(u, kappa),
            jnp.zeros(V.n),
            solve,
            lambda tangent, b: jnp.linalg.solve(jax.jacobian(tangent)(jnp.zeros(V.n)), b),
        )

    def chosen_solver(self, coefficient):
        return resolve_solver("superlu")

    def accuracy(self, coefficient):
        return self.tolerance


def test_it_is_verified_minimized_and_reported():
    equation = CubicReaction()
    assert isinstance(equation, StateEquation)
    assert isinstance(equation.chosen_solver(None), DirectSolver)
    truth = V.nodal(lambda x: 1 + x[1])
    state = np.asarray(jax.jit(equation)(truth))
    assert np.abs(STIFFNESS @ state + MASS @ (truth * (state + state**3)) - LOAD).max() < 1e-12
    J = ReducedFunctional(equation, L2Misfit.of(FullField(), state, 1e-3), h1(V, 1e-6), Log())
    problem = Problem(J, np.zeros(V.n), Parameter(V, "reaction κ"), truth=truth, state_space=V)
    solution = pdeopt.solve(problem, optimizer="newton-cg", progress=False)
    assert solution.summary["status"] == "converged"
    assert solution.summary["verification"]["passed"] is True
    assert solution.summary["relative_error"] < 0.01
    assert solution.summary["solver"] == "superlu"


def test_its_adjoint_state_is_the_derivative_along_a_source():
    equation, m = CubicReaction(), 0.1 * np.arange(V.n) / V.n
    observed = L2Misfit.of(FullField(), np.zeros(V.n), 0.5)
    adjoint = ReducedFunctional(equation, observed, parametrization=Log()).solved(m).adjoint
    direction = np.random.default_rng(0).standard_normal(V.n)

    @jax.jit
    def misfit(source):
        return observed(equation(jnp.exp(m), source=source), None)

    ahead, behind = misfit(1e-4 * direction), misfit(-1e-4 * direction)
    assert (ahead - behind) / 2e-4 == pytest.approx(adjoint @ direction, rel=1e-7)


def test_what_it_does_not_state_has_defaults():
    equation = CubicReaction()
    assert (dict(equation.parts), equation.axes, equation.backward_error(1.0)) == ({}, ("dof",), None)
    with pytest.raises(SolveError, match=r"CubicReaction cannot be chosen from outside; give it a method with_solver"):
        equation.with_solver("superlu")


def misfit(u, _):
    return (u**2).sum()


def test_a_plain_function_has_no_solver_and_takes_no_source():
    state = ReducedFunctional(lambda k: k, misfit).state
    assert isinstance(state, FunctionState)
    assert (state.chosen_solver(1.0), state.accuracy(1.0), dict(state.parts)) == (None, 1e-13, {})
    with pytest.raises(SolveError, match="a plain function of the coefficient, whose solver cannot be chosen"):
        ReducedFunctional(state, misfit).with_solver("superlu")
    with pytest.raises(SolveError, match="no source can be added"):
        state(1.0, source=0.0)


@pytest.mark.parametrize(
    ("name", "value"), [("backward_error", lambda k: 0.0), ("parts", {"u": V}), ("axes", ("dof", "experiment"))]
)
def test_no_member_of_a_state_equation_is_lost(name, value):
    state = type("Mine", (), {"__call__": lambda self, k: k, name: value})()
    with pytest.raises(InputError, match=rf"Mine states {name}, but is no pdeopt.pde.StateEquation"):
        ReducedFunctional(state, misfit)


def test_half_a_state_equation_is_told_what_it_lacks():
    class Former:
        def __call__(self, coefficient):
            return coefficient

        def accuracy(self, coefficient):
            return 1e-3

    class WithoutSource(StateEquation):
        def __call__(self, coefficient):
            return coefficient

    with pytest.raises(InputError, match=r"Former states accuracy, .* class Former\(StateEquation\)"):
        ReducedFunctional(Former(), misfit)
    with pytest.raises(InputError, match="WithoutSource takes no source"):
        ReducedFunctional(WithoutSource(), misfit)


def test_experiments_are_told_by_the_axes_of_the_state():
    state = FunctionState(lambda k: jnp.stack([k, 2 * k]), ("experiment", "dof"))
    problem = Problem(ReducedFunctional(state, misfit), np.ones(V.n), Parameter(V, "k"))
    fields = fields_of(problem, np.arange(V.n) / V.n)
    assert fields.by_experiment(fields.state)[1].tolist() == (2 * fields.parameter).tolist()
    one = fields_of(replace(problem, functional=ReducedFunctional(lambda k: k, misfit)), np.ones(V.n))
    assert one.by_experiment(one.state).shape == (1, V.n)


@pytest.mark.parametrize(
    ("columns", "axes", "remedy"),
    [
        ((2,), ("dof",), "of the state, as axes = ('dof', 'experiment') of LinearStateEquation"),
        ((2,), ("dof", "experiment", "time"), "of the state, as axes = ('dof', 'experiment') of LinearStateEquation"),
        ((), ("dof", "experiment"), "of the state, as axes = ('dof',) of LinearStateEquation"),
    ],
)
def test_another_number_of_axes_than_the_states_is_refused(columns, axes, remedy):
    identity = CSRMatrix.from_scipy(sp.eye_array(4).tocsr())
    state = LinearStateEquation(lambda k: (identity, jnp.zeros((4, *columns)) + k[0]), axes=axes)
    with pytest.raises(InputError) as error:
        ReducedFunctional(state, misfit)(np.ones(4))
    assert f"the state has shape {(4, *columns)}, and its equation states the axes {axes}; " in str(error.value)
    assert str(error.value).endswith(remedy)
    named = replace(state, axes=("dof", "experiment")[: 1 + len(columns)])
    assert ReducedFunctional(named, misfit)(np.ones(4)) == pytest.approx(4.0 * 2 ** len(columns))


def test_a_state_of_three_axes_is_told_to_name_each():
    state = FunctionState(lambda k: k.reshape(2, 1, 2))
    with pytest.raises(InputError, match=r"states the axes \('dof',\); state one name an axis of the state(?!,)"):
        ReducedFunctional(state, misfit)(np.ones(4))


def test_a_state_is_placed_where_its_only_part_lives():
    cells = V.with_element(skfem.ElementTriP0())
    identity = CSRMatrix.from_scipy(sp.eye_array(V.n).tocsr())
    state = LinearStateEquation(lambda k: (identity, k.sum() * jnp.ones(V.n)), parts={"temperature": V})
    problem = Problem(ReducedFunctional(state, misfit), np.ones(cells.n), Parameter(cells, "k"))
    assert fields_of(problem, np.ones(cells.n)).state_at.kind == "vertices"
    for parts in ({}, {"temperature": V, "flow": V}, {"a part of the state": cells}):
        unknown = replace(problem, functional=ReducedFunctional(replace(state, parts=parts), misfit))
        assert fields_of(unknown, np.ones(cells.n)).state_at is None


def test_the_solver_is_chosen_from_outside():
    identity = CSRMatrix.from_scipy(2.0 * sp.eye_array(4).tocsr())
    J = ReducedFunctional(LinearStateEquation(lambda k: (identity, k), solver="superlu"), misfit)
    chosen = J.with_solver("rslab")
    assert [one.state.chosen_solver(jnp.ones(4)).name for one in (J, chosen)] == ["superlu", "rslab"]
    assert chosen(np.ones(4)) == pytest.approx(1.0)
    with pytest.raises(SolveError, match="did you mean 'superlu'"):
        J.with_solver("supelu")


def test_a_plain_function_of_several_coefficients_is_minimized():
    def split(m):
        return {"a": m[:2], "b": m[2:]}

    J = ReducedFunctional(lambda c: jnp.concatenate([c["a"], 2 * c["b"]]), misfit, parametrization=split)
    assert {name: part.tolist() for name, part in J.coefficient(np.arange(4.0)).items()} == {"a": [0, 1], "b": [2, 3]}
    assert accuracy_of(SimpleNamespace(functional=J, initial=np.arange(4.0))) == 1e-13


def stretched_bar(mesh, element, **options):
    """The displacement of a bar that is held at x = 0 and pulled down, with modulus κ."""
    space = FunctionSpace(mesh, skfem.ElementVector(element))
    resistance = bilinear_form(lambda u, v, w: ddot(sym_grad(u), sym_grad(v)) + div(u) * div(v)).assemble(space)
    weight = linear_form(lambda v, w: v[1]).assemble(space)
    held = Dirichlet.on(space, lambda x: x[0] == 0)
    return LinearStateEquation(lambda k: (k * resistance, weight), held, parts={"displacement": space}, **options)


@pytest.mark.parametrize(
    ("mesh", "element"),
    [(skfem.MeshTri().refined(2), skfem.ElementTriP2()), (skfem.MeshTet().refined(1), skfem.ElementTetP1())],
)
def test_linear_elasticity_does_not_resist_rigid_motions(mesh, element):
    space = FunctionSpace(mesh, skfem.ElementVector(element))
    motions = rigid_motions(space)
    strain = bilinear_form(lambda u, v, w: ddot(sym_grad(u), sym_grad(v))).assemble(space).to_scipy()
    assert np.abs(strain @ motions).max() < 1e-13
    assert np.linalg.matrix_rank(motions) == motions.shape[1] == {2: 3, 3: 6}[mesh.dim()]
    assert rigid_motions(V) is None


def test_multigrid_for_a_displacement_knows_the_rigid_motions_by_itself():
    bar = skfem.MeshTri.init_tensor(np.linspace(0, 4, 65), np.linspace(0, 1, 17))
    informed = stretched_bar(bar, skfem.ElementTriP1(), solver="cg+amg")
    counts = []
    for state in (informed, replace(informed, parts={})):
        before = work.copy()
        u = state(1.0)
        counts.append(work.since(before).iterations)
        np.testing.assert_allclose(u, replace(state, solver="superlu")(1.0), rtol=1e-6, atol=1e-6)
    assert counts[0] < 0.6 * counts[1]
    modes = informed.chosen_solver(1.0).preconditioner.near_nullspace
    space = informed.parts["displacement"]
    np.testing.assert_array_equal(modes, rigid_motions(space)[informed.dirichlet.free])
    assert informed.with_solver("rslab").chosen_solver(1.0) is resolve_solver("rslab")


def test_auto_takes_aggregation_for_displacements_where_it_takes_multigrid(monkeypatch):
    monkeypatch.setattr(auto, "MAX_DIRECT_WIDTH", 10)
    state = stretched_bar(skfem.MeshTri().refined(3), skfem.ElementTriP1())
    chosen = state.chosen_solver(1.0)
    assert chosen.name == "cg+amg"
    assert chosen.preconditioner.near_nullspace.shape == (len(state.dirichlet.free), 3)
    before = work.copy()
    u = state(1.0)
    assert 0 < work.since(before).iterations < 40
    np.testing.assert_allclose(u, state.with_solver("superlu")(1.0), rtol=1e-7, atol=1e-8)
    assert replace(state, parts={}).chosen_solver(1.0).name == "cg+ruge-stuben"
