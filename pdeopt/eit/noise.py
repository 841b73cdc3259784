"""How far measured voltages are to be trusted, read off the measurement itself.

A body that does not change is linear: voltages depend linearly on currents, whatever the conductivity and the contact
impedances are. Where there are more patterns than independent ones, what is left of the best linear fit is error. It is
part of the error only: what a wrong geometry, or a body taken for flat, leaves is linear, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pdeopt.eit.ktc import CURRENT_TOLERANCE, TankData
from pdeopt.eit.patterns import RANK
from pdeopt.inverse import InputError

#: Noise of differences over their superposition violation: the part of the error that is not linear is the smaller one.
FACTOR = 2.5
#: Noise of differences, relative to their rms, where nothing is redundant.
WITHOUT_REDUNDANCY = 0.15
#: Least noise relative to the rms of the differences: what repeated patterns of the challenge's training data show.
LEAST = 1e-3
#: Variance where the reference vanishes, over that where it has its rms.
OFFSET = 0.02


def superposition_violation(currents: ArrayLike, voltages: ArrayLike, valid: ArrayLike | None = None) -> float | None:
    """Standard deviation of what no linear body can produce in the voltages; None where nothing is redundant.

    Each row's voltages are fitted over its valid patterns by a linear function of the currents; the sum of the squared
    residuals of all rows is divided by the number of redundant measurements, Σ (patterns − rank). Without bias: white
    noise of standard deviation s gives s² on average.

    Measured on the challenge's training data, relative to the rms of the voltages themselves: 0.048 for the water
    alone; for the differences due to targets 1 to 4 0.079, 0.090, 0.070 and 0.036.

    Args:
        currents: (L, K). voltages: (q, K), in any unit, which is that of the result. valid: (q, K) bool, all if None.

    Raises InputError for shapes that do not fit.
    """
    currents, voltages, valid = _checked(currents, voltages, valid)
    squares = redundant = 0.0
    for mask in np.unique(valid, axis=0):
        rows = np.flatnonzero((valid == mask).all(1))
        residual, left = _nonlinear(currents[:, mask], voltages[np.ix_(rows, mask)])
        squares, redundant = squares + (residual**2).sum(), redundant + left * len(rows)
    return float(np.sqrt(squares / redundant)) if redundant else None


def repeat_noise(currents: ArrayLike, voltages: ArrayLike, valid: ArrayLike | None = None) -> float | None:
    """Standard deviation of a voltage between repetitions of the same pattern; None where no pattern is repeated.

    Patterns of opposite sign are no repetitions: offsets that do not change sign with the current, 0.1 of the rms in
    the challenge's data, are no noise. The data repeat four of 76 patterns; a single voltage has a standard deviation
    of 1.6e-4 V (a drift of minutes), a difference due to a target one of 2e-5 V.

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


def difference_noise(data: TankData, factor: float = FACTOR) -> np.ndarray:
    """Standard deviations (q, K), V, of the differences ``data.voltages − data.reference``.

    They are √(0.02 + |reference| / rms(reference)), scaled: error grows with the voltage, more slowly than it. Their
    rms over the valid entries is ``factor`` times the superposition violation of the differences, or where nothing is
    redundant 0.15 of their rms; none is less than `repeat_noise` or 0.001 of the rms.

    On the training data the model error with the best-fitting objects is 0.1 to 0.3 of the differences, 100 times the
    noise of repetitions; this gives 0.20, 0.22, 0.18 and 0.09 for targets 1 to 4.

    Raises InputError for a factor that is not positive, and for differences that all vanish.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise InputError(f"factor = {factor}; expected a positive number, such as {FACTOR}")
    differences = data.voltages - data.reference
    size = _rms(differences[data.valid])
    if not size:
        raise InputError(
            "the voltages with objects equal those of water alone; nothing can be seen in them: give the file of a "
            "target, and that of the reference, and not one for both"
        )
    violation = superposition_violation(data.currents, differences, data.valid)
    wanted = WITHOUT_REDUNDANCY * size if violation is None else factor * violation
    least = max(repeat_noise(data.currents, differences, data.valid) or 0.0, LEAST * size)
    return np.maximum(shaped_noise(data.reference, data.valid, wanted), least)


def absolute_noise(data: TankData, predicted: ArrayLike) -> np.ndarray:
    """Standard deviations (q, K), V, of the voltages themselves, where a model of water alone predicts ``predicted``.

    They have the shape of `difference_noise`, and the rms of what the model misses the reference by.

    Raises InputError for another shape than (q, K), and where the model misses nothing.
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
    """(q, K), √(0.02 + |reference| / rms(reference)) scaled to an rms over the valid entries."""
    shape = np.sqrt(OFFSET + np.abs(reference) / _rms(reference[valid]))
    return shape * (rms / _rms(shape[valid]))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _nonlinear(currents: np.ndarray, voltages: np.ndarray) -> tuple[np.ndarray, int]:
    """The part of voltages (rows, K) that is not linear in currents (L, K), and how many dimensions are left for it."""
    _, values, right = np.linalg.svd(currents, full_matrices=False)
    basis = right[values > RANK * values.max(initial=0)]
    return voltages - (voltages @ basis.T) @ basis, currents.shape[1] - len(basis)


def _repeated(currents: np.ndarray) -> list[np.ndarray]:
    """Patterns that are equal, from 0, in groups of two and more."""
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
