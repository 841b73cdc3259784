"""What measured voltages say of their own errors."""

from pathlib import Path

import numpy as np
import pytest

from pdeopt.eit.measurements.ktc import TankData, read_ktc
from pdeopt.eit.measurements.noise import (
    absolute_noise,
    difference_noise,
    repeat_noise,
    shaped_noise,
    superposition_violation,
    violation_by_row,
)
from pdeopt.inverse import InputError

MEASURED = Path(__file__).parents[3] / "shared" / "ktc2023"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the challenge's data are not here")

L, K, Q = 8, 40, 7
rng = np.random.default_rng(5)
CURRENTS = rng.standard_normal((L, K))
CURRENTS -= CURRENTS.mean(0)
LINEAR = rng.standard_normal((Q, L)) @ CURRENTS
MASK = rng.random((Q, K)) < 0.8


def tank_data(reference, voltages, currents=CURRENTS, valid=MASK):
    return TankData(
        currents=np.array(currents),
        differences=np.eye(L)[:, :-1] - np.eye(L)[:, 1:],
        reference=np.where(valid, reference, 0),
        voltages=np.where(valid, voltages, 0),
        valid=valid.copy(),
        patterns=np.arange(currents.shape[1]),
        truth=None,
        counts={},
    )


def rms(values):
    return np.sqrt(np.mean(values**2))


def test_linear_voltages_violate_nothing():
    assert superposition_violation(CURRENTS, LINEAR, MASK) < 1e-14
    assert superposition_violation(CURRENTS, LINEAR) < 1e-14


def test_white_noise_is_found_without_bias():
    found = [
        superposition_violation(CURRENTS, LINEAR + 0.3 * np.random.default_rng(k).standard_normal((Q, K)), MASK) ** 2
        for k in range(200)
    ]
    redundant = MASK.sum() - Q * (L - 1)
    error = 0.09 * np.sqrt(2 / redundant / len(found))
    assert abs(np.mean(found) - 0.09) < 4 * error


def test_what_is_not_valid_does_not_matter():
    spoiled = np.where(MASK, LINEAR, np.nan)
    assert superposition_violation(CURRENTS, spoiled, MASK) < 1e-14
    assert superposition_violation(CURRENTS, np.where(MASK, LINEAR, 1e9), MASK) < 1e-14


def test_without_redundancy_nothing_is_known():
    assert superposition_violation(CURRENTS[:, : L - 1], LINEAR[:, : L - 1]) is None
    assert repeat_noise(CURRENTS, LINEAR) is None


@pytest.mark.parametrize(("times", "count"), [(2, 300), (4, 100)])
def test_repetitions(times, count):
    currents = np.tile(np.linspace(-1, 1, L)[:, None], times)
    found = [
        repeat_noise(currents, 5 + 0.2 * np.random.default_rng(k).standard_normal((Q, times))) ** 2
        for k in range(count)
    ]
    error = 0.04 * np.sqrt(2 / (Q * (times - 1) * count))
    assert abs(np.mean(found) - 0.04) < 4 * error


def test_reversed_patterns_and_invalid_ones_are_no_repetitions():
    currents = np.stack([CURRENTS[:, 0], -CURRENTS[:, 0], CURRENTS[:, 1], CURRENTS[:, 1]], 1)
    voltages = np.ones((1, 4)) * [0, 9, 3, 4]
    assert repeat_noise(currents, voltages) == pytest.approx(np.sqrt(0.5))
    assert repeat_noise(currents, voltages, np.array([[True, True, True, False]])) is None


def test_bad_rows_are_found():
    sizes = np.array([0.1, 0.1, 0.1, 0.5, 0.1, 0.1, 0.0])
    noisy = LINEAR + sizes[:, None] * np.random.default_rng(3).standard_normal((Q, K))
    found = violation_by_row(CURRENTS, noisy, MASK)
    np.testing.assert_allclose(found, sizes, rtol=0.4, atol=1e-13)
    weights = MASK.sum(1) - (L - 1)
    total = superposition_violation(CURRENTS, noisy, MASK)
    assert total == pytest.approx(np.sqrt((weights * found**2).sum() / weights.sum()))
    few = MASK.copy()
    few[2, 7:] = False
    np.testing.assert_array_equal(np.isnan(violation_by_row(CURRENTS, noisy, few)), np.arange(Q) == 2)


def test_noise_of_differences_follows_the_violation():
    sizes = np.array([0.01, 0.01, 0.01, 0.05, 0.01, 0.01, 0.01])
    noisy = LINEAR + sizes[:, None] * rng.standard_normal((Q, K))
    data = tank_data(LINEAR, 1.1 * noisy)
    noise = difference_noise(data, factor=3)
    change = data.voltages - data.reference
    violation = superposition_violation(CURRENTS, change, MASK)
    assert rms(noise[MASK]) == pytest.approx(3 * violation, rel=1e-3)
    assert noise.shape == (Q, K)
    shape = shaped_noise(LINEAR * MASK, MASK, violation)
    own = noise**2 - 4.5 * shape**2
    assert np.ptp(own, axis=1).max() < 1e-12
    rows = violation_by_row(CURRENTS, change, MASK)
    np.testing.assert_allclose(np.sqrt(own[:, 0] / own[0, 0]), rows / rows[0], rtol=1e-9)


def test_noise_of_differences_has_a_floor():
    data = tank_data(LINEAR, 1.1 * LINEAR)
    np.testing.assert_allclose(difference_noise(data), 1e-3 * rms(0.1 * LINEAR[MASK]), rtol=1e-10)
    assert (difference_noise(tank_data(LINEAR, 2 * LINEAR)) > 0).all()
    doubled = np.hstack([CURRENTS, CURRENTS])
    wide = np.ones((Q, 2 * K), bool)
    jump = np.repeat([0.0, 0.2], K)
    data = tank_data(np.tile(LINEAR, 2), np.tile(1.1 * LINEAR, 2) + jump, doubled, wide)
    assert difference_noise(data, factor=1e-6).min() == pytest.approx(0.2 / np.sqrt(2))


def test_noise_of_differences_of_few_patterns():
    few = L - 1
    data = tank_data(LINEAR[:, :few], 1.2 * LINEAR[:, :few], CURRENTS[:, :few], MASK[:, :few])
    part = MASK[:, :few]
    assert rms(difference_noise(data)[part]) == pytest.approx(0.15 * rms(0.2 * LINEAR[:, :few][part]))


def test_absolute_noise_is_what_the_model_misses():
    data = tank_data(LINEAR, 1.1 * LINEAR)
    noise = absolute_noise(data, LINEAR + 0.05)
    assert rms(noise[MASK]) == pytest.approx(0.05)
    np.testing.assert_allclose(noise[MASK] / shaped_noise(LINEAR * MASK, MASK, 1.0)[MASK], 0.05)


@pytest.mark.parametrize("factor", [0, -1, np.nan])
def test_a_factor_must_be_positive(factor):
    with pytest.raises(InputError, match=r"factor = .*; expected a positive number"):
        difference_noise(tank_data(LINEAR, 1.1 * LINEAR), factor)


def test_equal_voltages_are_refused():
    with pytest.raises(InputError, match="equal those of water alone"):
        difference_noise(tank_data(LINEAR, LINEAR))
    with pytest.raises(InputError, match="not the measured ones"):
        absolute_noise(tank_data(LINEAR, LINEAR), LINEAR)


def test_shapes_must_fit():
    with pytest.raises(InputError, match=r"\(8, 40\) and voltages \(7, 39\)"):
        superposition_violation(CURRENTS, LINEAR[:, 1:])
    with pytest.raises(InputError, match=r"valid has shape \(7, 39\)"):
        repeat_noise(CURRENTS, LINEAR, MASK[:, 1:])
    with pytest.raises(InputError, match="dtype float64"):
        superposition_violation(CURRENTS, LINEAR, MASK * 1.0)
    with pytest.raises(InputError, match=r"prediction has shape \(40, 7\)"):
        absolute_noise(tank_data(LINEAR, LINEAR), LINEAR.T)


@measured
@pytest.mark.parametrize(("target", "expected"), [(1, 0.079), (2, 0.090), (3, 0.070), (4, 0.036)])
def test_measured_differences(target, expected):
    data = read_ktc(MEASURED, target)
    change = data.voltages - data.reference
    violation = superposition_violation(data.currents, change, data.valid)
    assert violation / rms(change) == pytest.approx(expected, abs=6e-4)
    assert 1.9e-5 < repeat_noise(data.currents, change, data.valid) < 2.5e-5
    assert rms(difference_noise(data)) == pytest.approx(2.5 * violation, rel=1e-3)
    rows = violation_by_row(data.currents, change, data.valid)
    assert rows[29:].min() > 2.3 * np.median(rows)
    assert superposition_violation(data.currents, change[29:].sum(0, keepdims=True)) < 2 * np.median(rows)
