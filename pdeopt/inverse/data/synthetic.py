"""Synthetic data without the inverse crime.

They are simulated on a finer mesh, and get noise of a stated level and seed.
"""

from __future__ import annotations

import numpy as np

from pdeopt.inverse.errors import InputError


def add_noise(clean: np.ndarray, level: float, seed: int) -> tuple[np.ndarray, float]:
    """Return data with Gaussian noise, and the standard deviation σ of the noise, one for all data.

    It is σ = level · (root mean square of the data). Of complex data the real and the imaginary part get independent
    noise of σ = level / √2 · (root mean square of the data) each, so that the noise is again this part of the data.

    Args:
        clean: The simulated data.
        level: The level of the noise as a part of the data, 0.01 for 1 %.
        seed: The seed of NumPy's default generator.

    Returns:
        The noisy data, of the shape of the clean ones, and σ, in their unit.

    Raises:
        InputError: The level is not positive.
    """
    if not level > 0:
        raise InputError(f"the noise level is {level}; expected a number > 0, e.g. 0.01 for 1 %")
    size, rng = float(level * np.sqrt(np.mean(np.abs(clean) ** 2))), np.random.default_rng(seed)
    if not np.iscomplexobj(clean):
        return clean + size * rng.standard_normal(clean.shape), size
    sigma = size / np.sqrt(2)
    return clean + sigma * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape)), float(sigma)
