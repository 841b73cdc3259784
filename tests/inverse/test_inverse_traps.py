"""The mistakes that a user of inverse problems will make: each must fail loudly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import skfem

from pdeopt.errors import raise_interrupt
from pdeopt.fem import Dirichlet, FEMError, FunctionSpace, cells_at
from pdeopt.inverse import (
    AtDofs,
    AtPoints,
    FullField,
    InputError,
    L2Misfit,
    Log,
    Parameter,
    Problem,
    Quadratic,
    ReducedFunctional,
    Term,
    as_term,
    h1,
    mass,
    total_variation,
)
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import CSRMatrix, SolveError

MESH = skfem.MeshTri().refined(2).with_defaults()
V = FunctionSpace(MESH, skfem.ElementTriP1())


def identity_problem(data):
    return ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), data, 1.0))


def test_changing_the_data_afterwards_changes_nothing():
    data = np.ones(4)
    J = identity_problem(data)
    before = J(np.zeros(4))
    data[:] = 0
    assert J(np.zeros(4)) == before == pytest.approx(2.0)


def test_functional_is_immutable_and_replaced_as_a_whole():
    J = identity_problem(np.ones(4))
    J(np.zeros(4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        J.misfit = L2Misfit.of(FullField(), np.zeros(4), 1.0)
    assert dataclasses.replace(J, misfit=L2Misfit.of(FullField(), np.zeros(4), 1.0))(np.zeros(4)) == 0.0


def test_complex_values_are_refused_and_lower_precision_is_raised():
    with pytest.raises(InputError, match="the noise level is complex"):
        L2Misfit.of(FullField(), [1 + 2j, 3 - 1j], 1j)
    J = identity_problem(np.ones(4))
    with pytest.raises(InputError, match="complex"):
        J(1j * np.ones(4))
    for dtype in (np.float32, np.int32):
        assert J.derivative(jnp.zeros(4, dtype)).dtype == np.float64


@pytest.mark.parametrize("term", [h1, total_variation])
def test_gradient_terms_refuse_piecewise_constants(term):
    with pytest.raises(InputError, match="ElementTriP0 have no gradient"):
        term(V.with_element(skfem.ElementTriP0()), 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("continuation", (10.0,)),
        ("next_dual", lambda dual, before, m: dual),
        ("null_space", "{0}"),
        ("operator", lambda m: 2 * sp.eye_array(len(m)).tocsr()),
        ("quadratic", True),
    ],
)
def test_an_object_that_states_more_than_a_function_and_is_no_term_is_told_so(name, value):
    with pytest.raises(InputError, match=rf"Mine states {name}, but is no pdeopt.inverse.Term.*class Mine\(Term\)"):
        as_term(type("Mine", (), {"__call__": lambda self, m: m.sum(), name: value})())


def test_a_plain_function_with_a_name_and_a_weight_is_a_term():
    Mine = type("Mine", (), {"__call__": lambda self, m: self.weight * m.sum(), "weight": 2.0, "name": "mine"})
    term = as_term(Mine())
    assert (float(term(np.ones(3))), float((3.0 * term)(np.ones(3)))) == (6.0, 18.0)


def test_a_term_whose_weight_is_no_field_cannot_be_scaled():
    class Mine(Term):
        null_space = "{0}"

        def __call__(self, m):
            return (m**2).sum()

    assert Mine().is_definite
    with pytest.raises(InputError, match="Mine cannot be scaled; make it a dataclass with a field weight"):
        2.0 * Mine()


def test_an_operator_of_a_derived_term_is_used():
    class Mine(Term):
        def __call__(self, m):
            return (m**2).sum()

        def operator(self, m):
            return 2 * sp.eye_array(len(m)).tocsr()

    J = ReducedFunctional(lambda m: m, lambda u, _: u.sum(), Mine())
    assert (J.regularization_operator(np.ones(3)) @ np.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert not J.regularization_terms[0].is_definite


def test_quadratic_term_refuses_a_matrix_that_is_not_symmetric():
    with pytest.raises(InputError, match="symmetric"):
        Quadratic(1.0, CSRMatrix.from_scipy(sp.csr_matrix([[2.0, 1.0], [0.0, 3.0]])))


@pytest.mark.slow
def test_variation_along_a_boundary_sees_tangential_slopes_only():
    bottom, dofs = V.boundary("bottom"), V.dofs("bottom")
    x, y = V.locations
    along = total_variation(bottom, 1.0, smoothing=1e-6)
    assert float(along(jnp.asarray(y))) == pytest.approx(0.0, abs=1e-12)
    assert float(along(jnp.asarray(3 * x))) == pytest.approx(3.0, rel=1e-5)
    restricted = total_variation(bottom, 1.0, smoothing=1e-6, dofs=dofs)
    assert float(restricted(jnp.asarray(3 * x[dofs]))) == pytest.approx(3.0, rel=1e-5)


def test_observed_degree_of_freedom_must_exist():
    with pytest.raises(InputError, match="degree of freedom 999"):
        AtDofs(np.array([0, 999]))(jnp.arange(5.0), None)


def test_system_of_another_size_is_refused_by_dirichlet_values():
    with pytest.raises(FEMError, match=r"load of shape \(5,\)"):
        Dirichlet.on(V).condense(mass.assemble(V), jnp.ones(5))


@pytest.mark.parametrize("element", [skfem.ElementTriRT1(), skfem.ElementTriMorley(), skfem.ElementTriArgyris()])
def test_functions_are_not_written_into_fluxes_and_slopes(element):
    space = FunctionSpace(MESH, element)
    with pytest.raises(FEMError, match="no point values"):
        space.nodal(lambda x: x[0])
    with pytest.raises(FEMError, match="no point values"):
        Dirichlet.on(space, values=lambda x: x[0])


def test_components_are_prescribed_by_name():
    space = FunctionSpace(MESH, skfem.ElementVector(skfem.ElementTriP2()))
    both, first = space.dofs("left"), space.dofs("left", ["u^1"])
    assert 2 * len(first) == len(both)
    roller = Dirichlet.on(space, "left", names=["u^1"])
    np.testing.assert_array_equal(roller.dofs, first)
    with pytest.raises(FEMError, match=r"no degrees of freedom named.*u\^1, u\^2"):
        space.dofs("left", ["u_x"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"truth": np.full(V.n, np.nan)}, "truth has NaN"),
        ({"points": np.zeros((7, 2))}, r"points have shape \(7, 2\); expected \(2, k\)"),
    ],
)
def test_what_a_picture_needs_is_checked_before_the_run(given, message):
    with pytest.raises(InputError, match=message):
        Problem(identity_problem(np.ones(V.n)), np.zeros(V.n), Parameter(V, "m"), **given)


def test_system_returned_in_the_wrong_order_is_named():
    state = LinearStateEquation(lambda k: (jnp.ones(V.n), mass.assemble(V)), Dirichlet.on(V))
    with pytest.raises(SolveError, match=r"must return \(matrix, load\)"):
        state(None)


def test_interrupt_inside_a_callback_stays_an_interrupt():
    with pytest.raises(KeyboardInterrupt):
        raise_interrupt(RuntimeError("INTERNAL: CpuCallback error … KeyboardInterrupt: "))
    raise_interrupt(RuntimeError("something else"))


# --- what JAX traces, and what is no object ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda x: V.point_evaluation(jnp.stack([x, x])[:, None]).data.sum(), FEMError, "JAX traces the points.*w.x"),
        (lambda x: AtPoints.of(V, [[x], [0.5]]).matrix.data.sum(), FEMError, "JAX traces the points"),
        (lambda x: cells_at(MESH, jnp.stack([x, x])[:, None]).sum(), FEMError, "JAX traces the points"),
        (lambda x: V.nodal(lambda p: p[0] * x).sum(), FEMError, "JAX traces what the function returns"),
        (lambda x: L2Misfit.of(FullField(), x * jnp.ones(4), 1.0).noise.sum(), InputError, "JAX traces what is given"),
        (lambda x: identity_problem(np.ones(4))(x * jnp.ones(4)), InputError, "JAX traces these; use J.objective"),
    ],
    ids=["points", "observation", "cells", "nodal values", "data", "functional"],
)
def test_what_cannot_be_traced_says_what_to_do(use, error, message):
    for transform in (jax.grad, jax.jit):
        with pytest.raises(error, match=message):
            transform(use)(0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parametrization": "log"}, r"parametrization is 'log'; expected a parametrization, as Log\(\)"),
        ({"parametrization": Log}, "parametrization is the class Log; expected an object"),
        ({"misfit": "l2"}, "misfit is 'l2'; expected a misfit as"),
        ({"state": None}, "state is None; expected a LinearStateEquation"),
        ({"regularization": "h1"}, r"regularization is 'h1'; expected a term as h1\(V, 1.0\)"),
        ({"regularization": [lambda m: 0.0, "tv"]}, "regularization is 'tv'"),
        ({"regularization": 1e-3}, "regularization is 0.001"),
        ({"strength": "cooling"}, "strength of the regularization is 'cooling'; expected a number"),
    ],
)
def test_parts_that_are_none_are_refused_at_construction(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(identity_problem(np.ones(4)), **changes)


def test_a_functional_and_a_problem_are_shown_in_a_line():
    state = LinearStateEquation(lambda k: (mass.assemble(V, k=k), jnp.ones(V.n)), Dirichlet.on(V))
    J = ReducedFunctional(state, L2Misfit.of(FullField(), np.ones(V.n), 1.0), (h1(V, 1.0), lambda m: 0.0), Log(), 2.0)
    assert repr(J) == (
        "ReducedFunctional(L2Misfit of LinearStateEquation, 2 × (Quadratic + <lambda>), Log(reference=1.0))"
    )
    problem = Problem(J, np.zeros(V.n), Parameter(V, "k (S/m)"))
    assert repr(problem) == f"Problem(k (S/m): 25 parameters, {J!r}, optimizer 'l-bfgs-b')"
    assert len(repr(J.misfit)) < 200
