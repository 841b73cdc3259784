"""Synthetic data without the inverse crime: simulate on a finer mesh, add noise of a stated level and seed."""

from __future__ import annotations

import numpy as np

from pdeopt.inverse.errors import InputError


def add_noise(clean: np.ndarray, level: float, seed: int) -> tuple[np.ndarray, float]:
    """Add Gaussian noise with standard deviation σ = level · (root mean square of the data), one σ for all.

    Args:
        clean: simulated data. level: e.g. 0.01 for 1 %. seed: of NumPy's default generator.

    Returns:
        (noisy data, of the shape of the clean ones, σ), in their unit.

    Raises:
        InputError: for a level that is not positive.
    """
    if not level > 0:
        raise InputError(f"the noise level is {level}; expected a number > 0, e.g. 0.01 for 1 %")
    sigma = float(level * np.sqrt(np.mean(np.abs(clean) ** 2)))
    return clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape), sigma
