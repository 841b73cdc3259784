"""The standard deviation of measured voltages, estimated from the measurement itself.

A body that does not change is linear: voltages depend linearly on currents, whatever the conductivity and the contact
impedances are. Where there are more patterns than independent ones, what is left of the best linear fit is error. It is
part of the error only: what a wrong geometry, or a body taken for flat, leaves is linear, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pdeopt.eit.electrodes.patterns import RANK_TOLERANCE
from pdeopt.eit.measurements.ktc import CURRENT_TOLERANCE, TankData
from pdeopt.inverse import InputError

#: The noise of differences over their superposition violation: the part of the error that is not linear is the smaller
#: one.
NOISE_PER_VIOLATION = 2.5
#: The noise of differences, relative to their rms, where nothing is redundant.
DEFAULT_NOISE = 0.15
#: The least noise, relative to the rms of the differences: what repeated patterns of the challenge's training data
#: show.
MIN_NOISE = 1e-3
#: The variance where the reference vanishes, over what is added to it where the reference has its rms.
NOISE_OFFSET = 0.02


def superposition_violation(currents: ArrayLike, voltages: ArrayLike, valid: ArrayLike | None = None) -> float | None:
    """Return the standard deviation of what no linear body can produce; None where nothing is redundant.

    Each row's voltages are fitted over its valid patterns by a linear function of the currents; the sum of the squared
    residuals of all rows is divided by the number of redundant measurements, Σ (patterns − rank). It is without bias:
    white noise of standard deviation s gives s² on average.

    Measured on the challenge's training data, relative to the rms of the voltages themselves: 0.048 for the water
    alone; for the differences due to targets 1 to 4 0.079, 0.090, 0.070 and 0.036.

    Args:
        currents: The currents (L, K), a column for each pattern.
        voltages: The voltages (q, K), in any unit, which is that of the result.
        valid: Which voltages are valid, (q, K) bool; all if None.

    Raises:
        InputError: The shapes do not fit.
    """
    squares, redundant = _violation(*_checked(currents, voltages, valid))
    return float(np.sqrt(squares.sum() / redundant.sum())) if redundant.any() else None


def violation_by_row(currents: ArrayLike, voltages: ArrayLike, valid: ArrayLike | None = None) -> np.ndarray:
    """Return the violation of superposition by each row of the voltages alone, (q,).

    It is NaN where nothing of the row is redundant, and shows bad electrodes. In the training data it is the one whose
    number is 31: of the differences due to targets 1 to 4, both voltages that it is part of violate superposition by
    14, 11, 6 and 3 mV, the median one by 1.9, 1.4, 1.3 and 0.9 mV. The difference between its neighbors is as sound as
    others.

    Arguments and errors are those of `superposition_violation`.
    """
    squares, redundant = _violation(*_checked(currents, voltages, valid))
    return np.sqrt(np.divide(squares, redundant, out=np.full(len(squares), np.nan), where=redundant > 0))


def repeat_noise(currents: ArrayLike, voltages: ArrayLike, valid: ArrayLike | None = None) -> float | None:
    """Return the standard deviation of a voltage between repetitions of a pattern, or None without any.

    Patterns of opposite sign are no repetitions: offsets that do not change sign with the current, 0.04 to 0.08 of the
    rms in the challenge's data, are no noise. The data repeat four of 76 patterns; a single voltage has a standard
    deviation of 1.6e-4 V (a drift of minutes), a difference due to a target one of 2e-5 V.

    Arguments and errors are those of `superposition_violation`.
    """
    currents, voltages, valid = _checked(currents, voltages, valid)
    squares = redundant = 0.0
    for group in _repeated(currents):
        here = valid[:, group]
        count = here.sum(1)
        mean = (voltages[:, group] * here).sum(1) / np.maximum(count, 1)
        squares += ((voltages[:, group] - mean[:, None]) ** 2 * here).sum()
        redundant += np.maximum(count - 1, 0).sum()
    return float(np.sqrt(squares / redundant)) if redundant else None


def difference_noise(data: TankData, factor: float = NOISE_PER_VIOLATION) -> np.ndarray:
    """Return the standard deviations (q, K) of the differences ``data.voltages − data.reference``, V.

    Their rms over the valid entries is ``factor`` times the superposition violation of the differences. Half of the
    variance goes as ``0.02 + |reference| / rms(reference)``, as error grows with the voltage, more slowly. The other
    half goes to each row as the square of its own violation: there are bad electrodes. (So it is in the reference of
    the training data: row by row the best homogeneous model misses it by 1.3 to 4, in the median 1.7 times the row's
    violation, with a correlation of 0.9 between the logarithms.) Where nothing is redundant, the first half is all, and
    the rms is 0.15 of that of the differences. None is less than `repeat_noise` or 0.001 of that.

    On the training data the model error with the best-fitting objects is 0.1 to 0.3 of the differences, 100 times the
    noise of repetitions; this gives 0.20, 0.22, 0.18 and 0.09 for targets 1 to 4.

    Args:
        data: The measurement.
        factor: The rms of the noise over the superposition violation.

    Raises:
        InputError: The factor is not positive, or all differences vanish.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise InputError(f"factor = {factor}; expected a positive number, such as {NOISE_PER_VIOLATION}")
    differences = data.voltages - data.reference
    size = _rms(differences[data.valid])
    if not size:
        raise InputError(
            "the voltages with objects equal those of water alone; nothing can be seen in them: give the file of a "
            "target, and that of the reference, and not one for both"
        )
    violation = superposition_violation(data.currents, differences, data.valid)
    least = max(repeat_noise(data.currents, differences, data.valid) or 0.0, MIN_NOISE * size)
    if violation is None:
        return np.maximum(shaped_noise(data.reference, data.valid, DEFAULT_NOISE * size), least)
    shares = shaped_noise(data.reference, data.valid, violation), _row_noise(data, differences, violation)
    return np.maximum(factor * np.sqrt((shares[0] ** 2 + shares[1] ** 2) / 2), least)


def absolute_noise(data: TankData, predicted: ArrayLike) -> np.ndarray:
    """Return the standard deviations (q, K) of voltages that a model of water alone predicts, V.

    They go as ``√(0.02 + |reference| / rms(reference))``, and have the rms of what the model misses the reference by.

    Args:
        data: The measurement.
        predicted: The voltages (q, K) that the model gives for water alone, V.

    Raises:
        InputError: The prediction has another shape than (q, K), or misses nothing.
    """
    table = np.asarray(predicted, float)
    if table.shape != data.reference.shape:
        raise InputError(f"the prediction has shape {table.shape}; expected that of the data, {data.reference.shape}")
    missed = _rms((table - data.reference)[data.valid])
    if not (np.isfinite(missed) and missed > 0):
        raise InputError(
            f"the prediction misses the reference by {missed:.3g} V (rms); expected the voltages that a model gives, "
            "not the measured ones"
        )
    return shaped_noise(data.reference, data.valid, missed)


def shaped_noise(reference: np.ndarray, valid: np.ndarray, rms: float) -> np.ndarray:
    """Return ``√(0.02 + |reference| / rms(reference))``, (q, K), scaled to an rms over the valid entries.

    Args:
        reference: The voltages (q, K) of water alone, V.
        valid: Which of them are valid, (q, K) bool.
        rms: The rms of the result over the valid entries.
    """
    shape = np.sqrt(NOISE_OFFSET + np.abs(reference) / _rms(reference[valid]))
    return shape * (rms / _rms(shape[valid]))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _row_noise(data: TankData, differences: np.ndarray, rms: float) -> np.ndarray:
    """Return what each row violates superposition by, (q, K), scaled to an rms over the valid entries.

    Args:
        data: The measurement.
        differences: The voltages (q, K) with objects less those of water alone, V.
        rms: The rms of the result, V; also the value of rows of which nothing is redundant before the scaling.
    """
    rows = violation_by_row(data.currents, differences, data.valid)
    table = np.broadcast_to(np.where(np.isnan(rows), rms, rows)[:, None], differences.shape)
    return table * (rms / max(_rms(table[data.valid]), np.finfo(float).tiny))


def _violation(currents: np.ndarray, voltages: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each row the sum of squared residuals (q,) and the number of redundant measurements (q,).

    Args:
        currents: The currents (L, K).
        voltages: The voltages (q, K).
        valid: Which voltages are valid, (q, K) bool.
    """
    squares, redundant = np.zeros(len(voltages)), np.zeros(len(voltages))
    for mask in np.unique(valid, axis=0):
        rows = np.flatnonzero((valid == mask).all(1))
        residual, redundant[rows] = _nonlinear(currents[:, mask], voltages[np.ix_(rows, mask)])
        squares[rows] = (residual**2).sum(1)
    return squares, redundant


def _nonlinear(currents: np.ndarray, voltages: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the part of voltages that is not linear in currents, and its number of dimensions.

    Args:
        currents: The currents (L, K).
        voltages: The voltages (rows, K).
    """
    _, values, right = np.linalg.svd(currents, full_matrices=False)
    basis = right[values > RANK_TOLERANCE * values.max(initial=0)]
    return voltages - (voltages @ basis.T) @ basis, currents.shape[1] - len(basis)


def _repeated(currents: np.ndarray) -> list[np.ndarray]:
    """Return the numbers of patterns that are equal, from 0, in groups of two and more.

    Args:
        currents: The currents (L, K), a column for each pattern.
    """
    unit = CURRENT_TOLERANCE * max(np.abs(currents).max(initial=0), np.finfo(float).tiny)
    group = np.unique(np.rint(currents / unit), axis=1, return_inverse=True)[1].ravel()
    members = (np.flatnonzero(group == k) for k in range(group.max(initial=-1) + 1))
    return [found for found in members if len(found) > 1]


def _checked(currents: ArrayLike, voltages: ArrayLike, valid: ArrayLike | None) -> tuple[np.ndarray, ...]:
    injected, measured = np.asarray(currents, float), np.asarray(voltages, float)
    mask = np.ones(measured.shape, bool) if valid is None else np.asarray(valid)
    if injected.ndim != 2 or measured.ndim != 2 or injected.shape[1] != measured.shape[1]:
        raise InputError(
            f"currents have shape {injected.shape} and voltages {measured.shape}; expected (L, K) and (q, K), a column "
            "for each pattern in both"
        )
    if mask.shape != measured.shape or mask.dtype != bool:
        raise InputError(f"valid has shape {mask.shape} and dtype {mask.dtype}; expected bool of {measured.shape}")
    return injected, np.where(mask, measured, 0.0), mask
