"""Objects of known contrast: their parameter, their conductivity, and what is found of them in simulated voltages."""

from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
import skfem

from pdeopt.eit import shape_fit
from pdeopt.eit.experiment import Experiment
from pdeopt.eit.images.inclusions import (
    NUMBERS_PER_INCLUSION,
    Inclusion,
    ShapePrior,
    bounds_of,
    inclusions_of,
    labels_at,
    log_conductivity,
    parameter_of,
)
from pdeopt.eit.images.phantom import PhantomObject, ktc_patterns
from pdeopt.eit.images.pixels import pixel_centers
from pdeopt.eit.images.score import segmentation_score
from pdeopt.eit.measurements.calibration import calibrate
from pdeopt.eit.measurements.ktc import TankData, read_ktc
from pdeopt.eit.measurements.noise import absolute_noise, difference_noise
from pdeopt.eit.measurements.simulation import simulated_data
from pdeopt.eit.shape_fit import ShapeFitter
from pdeopt.eit.tanks.tank import Tank, electrode_names
from pdeopt.eit.tanks.tank_disk import disk_mesh
from pdeopt.fem import FunctionSpace
from pdeopt.verify import taylor_test

KTC = Path(__file__).parents[3] / "shared" / "ktc2023"
PLASTIC = Inclusion.disk(1, np.array([-0.4, 0.3]), 0.25)
METAL = Inclusion.disk(2, np.array([0.5, -0.2]), 0.2)


@pytest.fixture
def quick_outlines(monkeypatch):
    """The first iterations find an object; the others make its outline more exact."""
    monkeypatch.setattr(shape_fit, "MAX_REFINEMENT_ITERATIONS", 6)


def test_objects_survive_being_a_parameter():
    parameter = parameter_of([PLASTIC, METAL], background=0.1)
    assert parameter.shape == (1 + 2 * NUMBERS_PER_INCLUSION,)
    found = inclusions_of(parameter)
    assert [inclusion.label for inclusion in found] == [1, 2]
    np.testing.assert_allclose(found[1].center, METAL.center)
    assert inclusions_of(parameter_of([])) == []


def test_bounds_fix_contrasts_alone():
    lower, upper = bounds_of(parameter_of([PLASTIC, METAL]))
    np.testing.assert_array_equal(np.flatnonzero(lower == upper), [1, 1 + NUMBERS_PER_INCLUSION])


@pytest.mark.slow
def test_objects_are_kept_off_each_other_and_off_the_wall():
    def prior(*centers):
        return float(ShapePrior()(parameter_of([Inclusion.disk(1, np.array(c), 0.25) for c in centers])))

    def free(*centers):
        return sum(0.5 * (np.array(c) ** 2).sum() / 0.6**2 for c in centers)

    assert prior((0.3, 0.0), (-0.3, 0.0)) == pytest.approx(free((0.3, 0.0), (-0.3, 0.0)))
    assert prior((0.2, 0.0), (-0.2, 0.0)) == pytest.approx(free((0.2, 0.0), (-0.2, 0.0)) + 0.5 * (0.1 / 0.05) ** 2)
    assert prior((0.0, 0.8)) == pytest.approx(free((0.0, 0.8)) + 0.5 * (0.05 / 0.05) ** 2)


@pytest.mark.slow
def test_conductivity_is_the_contrast_inside_and_the_water_outside():
    x = np.array([[-0.4, 0.5, 0.0], [0.3, -0.2, 0.8]])
    values = log_conductivity(parameter_of([PLASTIC, METAL], background=0.2), x)
    np.testing.assert_allclose(values, 0.2 + np.log([1e-2, 1e2, 1.0]), atol=1e-4)
    assert labels_at([PLASTIC, METAL], x).tolist() == [1, 2, 0]


@pytest.mark.parametrize("label", [1, 2])
def test_a_rim_acts_as_a_jump_at_the_outline(label):
    disk = Inclusion.disk(label, np.zeros(2), 0.5)
    x = np.linspace(0.2, 0.8, 20001)
    contrast = 1e-2 if label == 1 else 1e2
    values = np.exp(log_conductivity(parameter_of([disk]), np.stack([x, 0 * x])))
    mean = np.mean(values) if label == 1 else 1 / np.mean(1 / values)
    expected = (1 + contrast) / 2 if label == 1 else 2 / (1 + 1 / contrast)
    assert mean == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_conductivity_is_differentiable_also_at_a_center():
    parameter = parameter_of([PLASTIC])
    gradient = jax.grad(lambda p: log_conductivity(p, PLASTIC.center[:, None]).sum())(parameter)
    assert np.isfinite(gradient).all()


def measured(target, level):
    tank = Tank()
    V = FunctionSpace(disk_mesh(tank, tank.radius / 10), skfem.ElementTriP1())
    data = read_ktc(KTC, target, level)
    names = electrode_names(32)
    water = calibrate(V, names, data)
    shifted = data.voltages + water.predicted - data.reference
    experiment = Experiment(V, names, data, shifted, difference_noise(data), water.impedances)
    return data, ShapeFitter.of(experiment, water.conductivity, tank.radius)


@pytest.mark.skipif(not KTC.is_dir(), reason="the challenge's data are not beside the project")
@pytest.mark.slow
def test_a_measured_target_is_found(quick_outlines):
    data, fitter = measured(3, 1)
    fit = fitter.best()
    assert [inclusion.label for inclusion in fit.inclusions] == [2]
    assert segmentation_score(data.truth, labels_at(fit.inclusions, pixel_centers(1.0))) > 0.9


@cache
def simulated():
    """Two objects in a tank of 16 electrodes, and what fits them."""
    tank = Tank(electrodes=16)
    V = FunctionSpace(disk_mesh(tank, tank.radius / 12), skfem.ElementTriP1())
    radius = tank.radius
    objects = [
        PhantomObject(1, (-0.4 * radius, 0.3 * radius), 0.25 * radius),
        PhantomObject(2, (0.5 * radius, -0.2 * radius), 0.2 * radius),
    ]
    data = simulated_data(tank, objects, noise=0.01, size=radius / 20)
    names = electrode_names(16)
    water = calibrate(V, names, data)
    experiment = Experiment(V, names, data, data.voltages, absolute_noise(data, water.predicted), water.impedances)
    return data, ShapeFitter.of(experiment, water.conductivity, tank.radius)


@pytest.mark.slow
def test_simulated_objects_are_found_from_water_alone_and_one_too_many_is_dropped(quick_outlines):
    data, fitter = simulated()
    fit = fitter.best()
    assert sorted(inclusion.label for inclusion in fit.inclusions) == [1, 2]
    assert segmentation_score(data.truth, labels_at(fit.inclusions, pixel_centers(1.0))) > 0.9
    speck = Inclusion.disk(1, np.array([0.0, -0.7]), 0.05)
    pruned = fitter.pruned(fitter.refined([*fit.inclusions, speck]))
    assert len(pruned.inclusions) == 2


@pytest.mark.parametrize("rows", [np.arange(15), np.arange(0, 15, 2), np.array([3])])
def test_independent_data_are_the_dimensions_of_symmetric_maps(rows):
    """Voltages are dᵀ G c with a symmetric G; here of all G."""
    currents, differences = ktc_patterns(16)
    valid = np.isin(np.arange(15), rows)[:, None] & np.ones(currents.shape[1], bool)
    empty = np.zeros(valid.shape)
    data = TankData.of(currents, differences, empty, empty, valid, left_out=np.arange(0))
    rng = np.random.default_rng(0)
    maps = [g + g.T for g in rng.standard_normal((150, 16, 16))]
    rank = np.linalg.matrix_rank([(differences[:, rows].T @ g @ currents).ravel() for g in maps])
    assert Experiment(None, (), data, empty, empty, empty).information == rank


@pytest.mark.slow
def test_the_jacobian_of_outlines_makes_the_gauss_newton_matrix():
    fitter = simulated()[1]
    parameter = parameter_of([PLASTIC, METAL])
    direction = np.random.default_rng(1).standard_normal(len(parameter))
    found = fitter._gauss_newton(parameter)(direction)
    np.testing.assert_allclose(found, fitter.functional.gauss_newton(parameter)(direction), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.skipif(not KTC.is_dir(), reason="the challenge's data are not beside the project")
def test_derivatives_of_outlines():
    functional = measured(1, 7)[1].functional
    parameter = parameter_of([PLASTIC, METAL])
    direction = np.random.default_rng(0).standard_normal(len(parameter)) * 0.05
    derivative, product = functional.derivative(parameter), functional.hessian(parameter)(direction)
    test = taylor_test(functional, derivative, parameter, direction, hessian_action=product, halvings=7)
    assert test.passed, test
