"""The Jacobian by reciprocity against the one that JAX makes, and its cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from cem_oracle import polar_disk

from pdeopt.eit.electrodes.electrode_model import complete_electrode_model
from pdeopt.eit.electrodes.sensitivity import VoltageJacobian, voltage_jacobian
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import Identity, Log
from pdeopt.sparse import clear_memo, work

COUNT = 8
NAMES = tuple(f"e{l + 1}" for l in range(COUNT))
V = FunctionSpace(polar_disk(3, 32, COUNT), skfem.ElementTriP1())
#: Only every other electrode drives, in five patterns of three dimensions; all neighbors are compared.
DRIVEN = np.eye(COUNT)[:, [0, 2, 4, 6, 0]] - np.eye(COUNT)[:, [2, 4, 6, 0, 4]]
DIFFERENCES = np.eye(COUNT)[:, :-1] - np.eye(COUNT)[:, 1:]
VALID = np.random.default_rng(5).random((7, 5)) < 0.6
JOINT = complete_electrode_model(V, NAMES, DRIVEN, lambda c: V.interpolate(c[: V.n]), lambda c: c[V.n :])
CELLS = complete_electrode_model(V, NAMES, DRIVEN, V.per_element, 0.1)
M = 0.5 * np.random.default_rng(6).standard_normal(V.n + COUNT)


def by_jax(model, observation, parametrization, m):
    def predict(m):
        return observation(model(parametrization(m)))

    return np.asarray(jax.jit(jax.jacobian(predict))(jnp.asarray(m)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("differences", "valid"),
    [(DIFFERENCES, None), (DIFFERENCES, VALID), (None, None), (DRIVEN, None)],
    ids=["all", "some", "voltages themselves", "dependent differences"],
)
def test_in_conductivity_and_impedances(differences, valid):
    observation = ElectrodeVoltages.of(JOINT, differences, valid)
    found = voltage_jacobian(JOINT, observation, Log(2.0), M)
    expected = by_jax(JOINT, observation, Log(2.0), M)
    assert found.shape == expected.shape
    for part in (slice(V.n), slice(V.n, None)):
        np.testing.assert_allclose(
            found[..., part], expected[..., part], atol=1e-10 * np.abs(expected[..., part]).max()
        )


@pytest.mark.slow
def test_of_a_conductivity_in_each_cell():
    observation, sigma = ElectrodeVoltages.of(CELLS, DIFFERENCES), np.linspace(1, 2, V.mesh.nelements)
    expected = by_jax(CELLS, observation, Identity(), sigma)
    found = voltage_jacobian(CELLS, observation, Identity(), sigma)
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.slow
def test_of_few_parameters():
    def conductivity(c):
        return lambda x: jnp.exp(c[0] + c[1] * x[0] + c[2] * x[0] * x[1])

    model = complete_electrode_model(V, NAMES, DRIVEN, conductivity, lambda c: 0.1 * jnp.exp(c[3]) + jnp.zeros(COUNT))
    observation, c = ElectrodeVoltages.of(model, DIFFERENCES, VALID), np.array([0.3, -0.2, 0.5, 0.1])
    expected = by_jax(model, observation, Identity(), c)
    np.testing.assert_allclose(
        voltage_jacobian(model, observation, Identity(), c), expected, atol=1e-10 * np.abs(expected).max()
    )


@pytest.mark.slow
def test_one_factorization_and_one_solve_for_all_states():
    jacobian = VoltageJacobian(JOINT, ElectrodeVoltages.of(JOINT, DIFFERENCES), Log())
    clear_memo()
    before = work.copy()
    jacobian(M)
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 1, 0)


@pytest.mark.slow
def test_a_solve_has_a_column_for_each_independent_current_and_difference(monkeypatch):
    seen = []
    states = type(JOINT).states
    monkeypatch.setattr(type(JOINT), "states", lambda *args: seen.append(args[2].shape[1]) or states(*args))
    voltage_jacobian(JOINT, ElectrodeVoltages.of(JOINT, np.hstack([DIFFERENCES, DRIVEN])), Log(), M)
    assert seen == [3 + 7]


@pytest.mark.slow
def test_compiled_once():
    traces = []

    def conductivity(c):
        traces.append(1)
        return V.interpolate(c)

    model = complete_electrode_model(V, NAMES, DRIVEN, conductivity, 0.1)
    jacobian = VoltageJacobian(model, ElectrodeVoltages.of(model), Log())
    first = jacobian(M[: V.n])
    traces.clear()
    assert np.abs(jacobian(M[: V.n] + 0.1) - first).max() > 0
    assert not traces
