"""Objects, patterns and simulated data."""

from pathlib import Path

import numpy as np
import pytest

from pdeopt.eit.images.phantom import PhantomObject, ktc_patterns, labels, picture, random_objects
from pdeopt.eit.images.pixels import pixel_centers
from pdeopt.eit.measurements.ktc import read_ktc
from pdeopt.eit.measurements.noise import shaped_noise, superposition_violation
from pdeopt.eit.measurements.simulation import simulated_data
from pdeopt.eit.tanks.tank import Tank
from pdeopt.inverse import InputError

MEASURED = Path(__file__).parents[3] / "shared" / "ktc2023"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the challenge's data are not here")

SMALL = Tank(radius=1.0, electrodes=8)
COARSE = 1 / 12


def simulated(inclusions=(), tank=SMALL, size=COARSE, **options):
    return simulated_data(tank, list(inclusions), size=size, **{"impedances": 1e-2, **options})


def rms(values):
    return np.sqrt(np.mean(values**2))


# -- objects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corners", "area"), [(0, np.pi), (3, 3 * np.sqrt(3) / 4), (4, 2.0), (5, 2.5 * np.sin(2 * np.pi / 5))]
)
@pytest.mark.parametrize("aspect", [1.0, 0.6])
def test_areas(corners, area, aspect):
    inside = PhantomObject(1, (0.1, -0.2), 0.5, corners, 0.7, aspect).contains(pixel_centers(1.0, 800))
    assert inside.sum() * (2 / 800) ** 2 == pytest.approx(0.25 * area * aspect, rel=4e-3)


def test_the_first_corner_points_along_the_angle():
    inclusion = PhantomObject(2, (1.0, 2.0), 0.5, 3, np.pi / 2)
    np.testing.assert_array_equal(inclusion.contains(np.array([[1, 1, 1], [2.499, 1.751, 1.749]])), [True, True, False])
    ellipse = PhantomObject(2, (0.0, 0.0), 1.0, 0, np.pi / 2, 0.5)
    np.testing.assert_array_equal(ellipse.contains(np.array([[0, 0.51], [0.99, 0]])), [True, False])


def test_labels_take_the_last_object():
    both = [PhantomObject(1, (0.0, 0.0), 0.5), PhantomObject(2, (0.0, 0.0), 0.2)]
    found = labels(both, np.array([[0.0, 0.3, 0.6], [0.0, 0.0, 0.0]]))
    np.testing.assert_array_equal(found, [2, 1, 0])
    assert found.dtype == np.uint8


def test_a_picture_ends_at_the_wall():
    drawn = picture([PhantomObject(2, (0.9, 0.0), 0.4)], SMALL)
    assert drawn.shape == (256, 256)
    assert drawn[np.hypot(*pixel_centers(1.0)) >= 1].max() == 0
    assert drawn[128, 200] == 2
    assert drawn[40, 128] == 0


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_random_objects_do_not_touch(count):
    for seed in range(20):
        found = random_objects(np.random.default_rng(seed), count)
        assert len(found) == count
        centers, radii = np.array([i.center for i in found]).reshape(-1, 2), np.array([i.radius for i in found])
        assert (np.hypot(*centers.T) + radii < 0.955 * 0.115).all()
        gaps = np.hypot(*(centers[:, None] - centers).transpose(2, 0, 1)) - radii[:, None] - radii
        assert (gaps[~np.eye(count, dtype=bool)] > 0.049 * 0.115).all()


def test_random_objects_are_those_of_the_seed():
    first, again, other = (random_objects(np.random.default_rng(seed), 3, SMALL) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"label": 0}, "label"),
        ({"radius": -1.0}, "radius"),
        ({"corners": 2}, "2 corners"),
        ({"aspect": 0.0}, "aspect"),
        ({"aspect": 1.5}, "aspect"),
        ({"center": (np.nan, 0.0)}, "center"),
    ],
)
def test_objects_that_cannot_be(values, word):
    with pytest.raises(InputError, match=word):
        PhantomObject(**{"label": 1, "center": (0.0, 0.0), "radius": 0.1, **values})


def test_too_many_objects():
    with pytest.raises(InputError, match="found no place"):
        random_objects(np.random.default_rng(0), 30, SMALL, (0.3, 0.3))
    with pytest.raises(InputError, match="radii"):
        random_objects(np.random.default_rng(0), 1, SMALL, (0.3, 0.2))


# -- patterns ---------------------------------------------------------------------------------------------------------


@measured
def test_patterns_are_those_of_the_challenge():
    data = read_ktc(MEASURED, 1)
    currents, differences = ktc_patterns()
    np.testing.assert_array_equal(np.sign(currents), np.sign(data.currents))
    np.testing.assert_array_equal(differences, data.differences)
    np.testing.assert_allclose(abs(data.currents).max(0), 1.5, rtol=0.061)


@pytest.mark.parametrize(("electrodes", "count"), [(4, 4), (8, 16), (12, 26), (16, 36), (32, 76)])
def test_patterns_span_what_the_driving_electrodes_can(electrodes, count):
    currents, differences = ktc_patterns(electrodes, 2.0)
    assert currents.shape == (electrodes, count)
    assert differences.shape == (electrodes, electrodes - 1)
    assert np.linalg.matrix_rank(currents) == electrodes // 2 - 1
    assert not currents[1::2].any()
    np.testing.assert_array_equal(currents.sum(0), 0)
    np.testing.assert_array_equal(abs(currents).sum(0), 4)


@pytest.mark.parametrize("electrodes", [2, 7, 31])
def test_patterns_need_pairs_of_electrodes(electrodes):
    with pytest.raises(InputError, match="expected an even number"):
        ktc_patterns(electrodes)


# -- simulated data ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_without_objects_nothing_changes():
    data = simulated()
    np.testing.assert_allclose(data.voltages, data.reference, rtol=0, atol=1e-13)
    assert superposition_violation(data.currents, data.voltages) < 1e-12
    assert not data.truth.any()
    assert data.counts["kept"] == data.valid.size == 7 * 16


def test_the_background_scales_voltages():
    """U(σ, z) = U(1, σ z) / σ."""
    unit = simulated(background=1.0, impedances=0.02)
    data = simulated(background=2.0, background_change=np.log(2), impedances=0.01)
    np.testing.assert_allclose(data.reference, unit.reference / 2, rtol=0, atol=1e-12)
    back = simulated(background=4.0, impedances=0.01)
    np.testing.assert_allclose(data.voltages, back.reference, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_objects_change_the_power_as_they_must():
    """Plastic raises what it takes to drive a current, metal lowers it."""
    for label, sign in ((1, 1), (2, -1)):
        data = simulated([PhantomObject(label, (0.3, 0.2), 0.3, 4)])
        weights = np.linalg.lstsq(data.differences, data.currents, rcond=None)[0]
        before, after = (np.einsum("qk,qk->k", weights, v) for v in (data.reference, data.voltages))
        assert (before > 0).all()
        assert (sign * (after - before) > 0).all()
        np.testing.assert_array_equal(np.unique(data.truth), [0, label])


@pytest.mark.slow
def test_a_concentric_disk_is_solved_exactly():
    """Potentials cos nθ see a disk of radius r and contrast κ as a factor (1 + μ r^{2n}) / (1 − μ r^{2n})."""
    tank, r, kappa = Tank(radius=1.0, electrodes=16), 0.6, 4.0
    data = simulated([PhantomObject(2, (0.0, 0.0), r)], tank, 1 / 40, contrast=(1e-3, kappa), impedances=1.0)
    mu = (1 - kappa) / (1 + kappa)
    inverse = np.linalg.pinv(data.differences.T)
    before, after = ((inverse @ v) for v in (data.reference, data.voltages))
    half = np.arange(1, 40)
    arc = tank.pitch * tank.coverage / 2
    # with a large impedance the current is spread evenly over each electrode
    spectrum = (np.sin(half * arc) / (half * arc)) ** 2 / half
    change = spectrum * ((1 + mu * r ** (2 * half)) / (1 - mu * r ** (2 * half)) - 1)
    angles = tank.angles[:, None] - tank.angles
    expected = (np.cos(half * angles[..., None]) * change).sum(-1) / np.pi / 0.8 @ data.currents
    expected -= expected.mean(0)
    assert rms(after - before - expected) < 0.02 * rms(expected)


@pytest.mark.slow
def test_noise_has_the_stated_size_and_shape():
    objects, tank = [PhantomObject(1, (0.3, 0.2), 0.3)], Tank(radius=1.0, electrodes=16)
    clean = simulated(objects, tank)
    change = rms(clean.voltages - clean.reference)
    found = [simulated(objects, tank, noise=0.1, seed=seed) for seed in range(5)]
    errors = np.stack([data.voltages - clean.voltages for data in found])
    np.testing.assert_array_equal(found[0].reference, clean.reference)
    scaled = errors / shaped_noise(clean.reference, clean.valid, 0.1 * change)
    assert rms(scaled) == pytest.approx(1, abs=4 / np.sqrt(2 * scaled.size))
    assert abs(np.corrcoef(errors.reshape(5, -1)) - np.eye(5)).max() < 0.2


@pytest.mark.slow
def test_an_offset_is_in_both_and_cancels():
    objects = [PhantomObject(1, (0.3, 0.2), 0.3)]
    clean, data = simulated(objects), simulated(objects, offset=0.05)
    np.testing.assert_allclose(data.voltages - data.reference, clean.voltages - clean.reference, atol=1e-14)
    assert rms(data.reference - clean.reference) == pytest.approx(0.05 * rms(clean.reference), rel=0.3)


def test_a_level_leaves_out_what_it_does_of_measured_data():
    tank = Tank(radius=1.0, electrodes=16)
    data, full = simulated(tank=tank, level=3, noise=0.1, seed=1, offset=0.1), simulated(tank=tank)
    assert data.counts["electrodes_left_out"] == 4
    assert not data.currents[:4].any()
    assert not data.valid[:4].any()
    assert data.valid[4:].all()
    assert not data.voltages[~data.valid].any()
    np.testing.assert_array_equal(data.currents, full.currents[:, data.patterns])


@pytest.mark.slow
@measured
def test_levels_of_the_challenge_tank():
    data, real = simulated(tank=Tank(), size=0.115 / 8, level=7, impedances=1e-3), read_ktc(MEASURED, 1, 7)
    np.testing.assert_array_equal(data.valid, real.valid)
    np.testing.assert_array_equal(data.patterns, real.patterns)
    assert data.counts == real.counts


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": 8}, "level = 8"),
        ({"level": 5}, "leaves nothing of a tank with 8 electrodes"),
        ({"background": 0.0}, "conductivity of the background"),
        ({"background_change": np.inf}, "logarithm"),
        ({"contrast": (0.0, 1e3)}, "contrast of label 1"),
        ({"noise": -0.1}, "noise = -0.1"),
        ({"offset": np.nan}, "offset = nan"),
        ({"impedances": 0.0}, "contact impedance"),
    ],
)
def test_what_cannot_be_simulated(options, words):
    with pytest.raises(InputError, match=words):
        simulated(**options)
