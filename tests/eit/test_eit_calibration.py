"""Conductivity and contact impedances of a tank from its reference measurement."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import skfem

from pdeopt.eit.electrodes.electrode_model import complete_electrode_model
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.eit.images.phantom import ktc_patterns
from pdeopt.eit.measurements.calibration import MIN_IMPEDANCE, calibrate
from pdeopt.eit.measurements.ktc import TankData, read_ktc
from pdeopt.eit.measurements.simulation import simulated_data
from pdeopt.eit.tanks.tank import Tank, electrode_names
from pdeopt.eit.tanks.tank_disk import disk_mesh
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import InputError

MEASURED = Path(__file__).parents[3] / "shared" / "ktc2023"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the challenge's data are not here")

TANK = Tank(radius=1.0, electrodes=8)
NAMES = electrode_names(8)
IMPEDANCES = np.array([0.02, 0.05, 0.1, 0.02, 0.04, 0.03, 0.2, 0.05])


@cache
def space(tank=TANK, size=1 / 8):
    return FunctionSpace(disk_mesh(tank, size * tank.radius), skfem.ElementTriP1())


@cache
def exact(conductivity=0.8):
    """Data of the mesh that is calibrated with."""
    V = space()
    currents, differences = ktc_patterns(8)
    model = complete_electrode_model(V, NAMES, currents, V.per_element, IMPEDANCES)
    observation = ElectrodeVoltages.of(model, differences)
    voltages = np.asarray(observation(model(np.full(V.mesh.nelements, conductivity))))
    return TankData.of(currents, differences, voltages, voltages, np.ones(voltages.shape, bool), left_out=np.arange(0))


@pytest.mark.slow
def test_conductivity_and_impedances_are_recovered():
    found = calibrate(space(), NAMES, exact())
    assert found.conductivity == pytest.approx(0.8, rel=1e-4)
    np.testing.assert_allclose(found.impedances[::2], IMPEDANCES[::2], rtol=2e-3)
    np.testing.assert_allclose(found.impedances[1::2], IMPEDANCES[1::2], rtol=0.2)
    np.testing.assert_allclose(found.predicted, exact().reference, atol=2e-4 * abs(exact().reference).max())
    assert found.misfit < 1e-4
    assert found.common_misfit > 0.01
    assert found.superposition < 1e-12


@pytest.mark.slow
def test_errors_leave_what_the_impedances_cannot_explain():
    tank = Tank(radius=1.0, electrodes=16)
    data = simulated_data(tank, [], background=2.0, impedances=0.02, offset=0.05, size=1 / 20)
    found = calibrate(space(tank), electrode_names(16), data)
    assert found.conductivity == pytest.approx(2.0, rel=0.02)
    np.testing.assert_allclose(found.impedances[::2], 0.02, rtol=0.4)
    assert 0.04 < found.misfit < found.common_misfit < 0.06
    assert found.superposition == pytest.approx(0.05, rel=0.2)


@pytest.mark.slow
def test_what_is_not_valid_does_not_matter():
    data = exact()
    valid = data.valid.copy()
    valid[3], valid[:, 5] = False, False
    masked = replace(data, valid=valid, reference=np.where(valid, data.reference, 1e3))
    found = calibrate(space(), NAMES, masked)
    assert found.conductivity == pytest.approx(0.8, rel=1e-3)
    assert found.misfit < 1e-4
    np.testing.assert_allclose(found.predicted, data.reference, atol=1e-3 * abs(data.reference).max())


@pytest.mark.slow
def test_few_patterns_have_no_redundancy():
    data = exact()
    few = replace(data, **{name: getattr(data, name)[:, :3] for name in ("currents", "reference", "voltages", "valid")})
    found = calibrate(space(), NAMES, few)
    assert found.superposition is None
    assert found.conductivity == pytest.approx(0.8, rel=0.02)


def test_reversed_signs_are_refused():
    with pytest.raises(InputError, match=r"conductivity of -0\.8.* mS best.*check the signs"):
        calibrate(space(), NAMES, replace(exact(), reference=-exact().reference))


@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_wrong_units_are_refused(factor):
    with pytest.raises(InputError, match="check the units"):
        calibrate(space(), NAMES, replace(exact(), reference=factor * exact().reference))


def test_a_mesh_of_another_tank_is_refused():
    with pytest.raises(InputError, match="the mesh has 7 electrodes and the data 8"):
        calibrate(space(), NAMES[:-1], exact())


def test_electrodes_in_another_order_are_refused():
    with pytest.raises(InputError, match=r"relative misfit of 0\.\d+; expected one below 0\.2.*order"):
        calibrate(space(), [NAMES[k] for k in (3, 6, 1, 5, 0, 7, 2, 4)], exact())


@pytest.mark.slow
@measured
def test_measured_reference():
    found = calibrate(space(Tank(), 1 / 10), electrode_names(32), read_ktc(MEASURED, 1))
    assert 0.75 < found.conductivity < 0.85
    assert found.misfit < 0.081
    assert found.misfit < found.common_misfit < 0.084
    assert found.superposition == pytest.approx(0.048, abs=5e-4)
    assert found.impedances.min() > 0.99 * MIN_IMPEDANCE * 0.115 / found.conductivity
