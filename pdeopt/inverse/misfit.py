"""Misfit between predicted and measured data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.observation import Observation


@dataclass(frozen=True, eq=False)
class L2Misfit:
    """½ Σ_k ((d_k(u) − data_k) / σ_k)², the negative log-likelihood of independent Gaussian noise.

    At the true parameter its expectation is half the number of data (Morozov's discrepancy principle asks a
    reconstruction to reach that, not less).

    Attributes:
        observation: what predicts the data from the state.
        data: measured values, of the shape that the observation returns.
        noise: standard deviation σ in the data's unit, a number or of the data's shape.
    """

    observation: Observation
    data: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, observation: Observation, data: ArrayLike, noise: ArrayLike) -> L2Misfit:
        """Checked: raises InputError for data that are not finite and for a noise level that is not positive."""
        if np.iscomplexobj(data):
            raise InputError("the data are complex; give their real and imaginary parts as separate observations")
        values, sigma = np.array(data, float), np.array(noise, float)
        values.setflags(write=False)  # compiled functionals keep them
        sigma.setflags(write=False)
        if not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(values))
            raise InputError(
                f"{len(bad)} of {values.size} data are NaN or infinite, first at index {bad[0].tolist()}; remove them "
                "together with their observations"
            )
        if not (np.isfinite(sigma) & (sigma > 0)).all():
            raise InputError(f"the noise level must be a positive standard deviation, got {sigma.min()}")
        if sigma.shape not in ((), values.shape):
            raise InputError(f"the noise level has shape {sigma.shape}; expected a number or the data's {values.shape}")
        return cls(observation, values, sigma)

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        predicted = self.observation(u, coefficient)
        if predicted.shape != self.data.shape:
            raise InputError(f"the data have shape {self.data.shape}; the observation predicts {predicted.shape}")
        residual = (predicted - self.data) / self.noise
        return 0.5 * (residual * residual).sum()

    @property
    def expected(self) -> float:
        """The misfit that noise alone gives, half the number of data."""
        return 0.5 * self.data.size
