"""The misfit of counted data: photons, particles, events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jax.typing import ArrayLike
from scipy.special import gammaln
from scipy.special import xlogy as numpy_xlogy

from pdeopt.inverse.data.checks import check_predicted, checked_data, fixed
from pdeopt.inverse.data.misfit import Misfit
from pdeopt.inverse.data.observation import Observation
from pdeopt.inverse.errors import InputError

#: The expected count from which on the mean deviance is taken from its series, which is then right to 1e-7.
SERIES_COUNT = 50.0


@dataclass(frozen=True, eq=False)
class PoissonMisfit(Misfit):
    """A misfit Σ_k (d_k − n_k + n_k log(n_k/d_k)) of predicted mean counts d_k(u) to counts n_k.

    It is the negative log-likelihood of independent Poisson counts, less that of the best prediction, the counts
    themselves: half the deviance, which is 0 where predicted and counted agree (n log n is 0 at n = 0). It is convex in
    d. Mean counts are positive: where a prediction is negative, or is zero where something was counted, the misfit is
    infinite, from which minimizers step back. A `Log` parametrization, or an observation that adds a background, keeps
    predictions positive. It is made by `of`.

    Attributes:
        observation: The observation, which predicts the mean counts from the state.
        data: The counts, of the shape that the observation returns.
        noise: The standard deviation √n_k of the counts, of their shape, for pictures; 1 where nothing was counted.
        expected: The misfit that noise alone gives on average, see `of`.

    Example:
        >>> from pdeopt.inverse import FullField
        >>> misfit = PoissonMisfit.of(FullField(), [0, 5])
        >>> misfit(jnp.array([1.0, 5.0]), None), misfit(jnp.array([1.0, -1.0]), None)
        (Array(1., dtype=float64), Array(inf, dtype=float64))
    """

    observation: Observation = field()
    data: np.ndarray = field()
    noise: np.ndarray = field()
    expected: float = field()

    @classmethod
    def of(cls, observation: Observation, counts: ArrayLike, mean_counts: ArrayLike | None = None) -> PoissonMisfit:
        """Return the misfit of an observation to counts, after a check of them.

        Args:
            observation: The observation, which predicts the mean counts from the state.
            counts: The counts n_k, of the shape that the observation returns; zero or more.
            mean_counts: The true mean counts μ_k, a number or of the counts' shape, where they are known, for the
                misfit that noise alone gives: Σ_k E[μ_k − n + n log(n/μ_k)], about ½ + 1/(12 μ) each for large ones.
                Where they are not, each is taken to be n_k + ½; the sum is then right on average to 6 % for mean counts
                of ½ and more, to 1 % from 5 on, and too large for smaller ones.

        Raises:
            InputError: There are no counts, they are complex, not finite or negative, or so are the mean counts.
        """
        values = checked_data(counts)
        _check_counts("counts", values)
        if mean_counts is None:
            means = values + 0.5
        else:
            means = fixed(mean_counts)
            _check_counts("mean counts", means)
            if means.shape not in ((), values.shape):
                raise InputError(f"the mean counts have shape {means.shape}; expected a number or {values.shape}")
        different, places = np.unique(np.broadcast_to(means, values.shape), return_inverse=True)
        expected = float(np.bincount(places.ravel()) @ np.array([_mean_half_deviance(mean) for mean in different]))
        return cls(observation, values, np.sqrt(np.maximum(values, 1.0)), expected)

    def __repr__(self) -> str:
        return f"PoissonMisfit({type(self.observation).__name__}, data {self.data.shape})"

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient."""
        return self.distance(self.observation(u, coefficient))

    def distance(self, predicted: jax.Array) -> jax.Array:
        """Return the misfit of predicted mean counts, infinite where one is impossible.

        Raises:
            InputError: The predicted counts are complex, or of another shape than the counts.
        """
        check_predicted(predicted, self.data)
        counts = self.data
        possible = (predicted > 0) | ((predicted == 0) & (counts == 0))
        mean = jnp.where(predicted > 0, predicted, 1.0)  # the logarithm has derivatives also where it is not used
        terms = predicted - counts + numpy_xlogy(counts, counts) - xlogy(counts, mean)
        return jnp.where(possible, terms, jnp.inf).sum()


def _check_counts(what: str, values: np.ndarray) -> None:
    if np.iscomplexobj(values):
        raise InputError(f"the {what} are complex; expected numbers ≥ 0")
    if not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(
            f"the {what} range from {values.min()} to {values.max()}; expected finite numbers ≥ 0: a background that "
            "was subtracted belongs to the observation, which adds it to what is predicted"
        )


def _mean_half_deviance(mean: float) -> float:
    """Return E[μ − n + n log(n/μ)] of a Poisson count n with the mean μ."""
    if mean >= SERIES_COUNT:
        return 0.5 + 1 / (12 * mean) + 1 / (12 * mean**2) + 19 / (120 * mean**3)
    n = np.arange(int(mean + 12 * np.sqrt(mean)) + 30)
    probability = np.exp(numpy_xlogy(n, mean) - mean - gammaln(n + 1.0))
    return float(probability @ (mean - n + numpy_xlogy(n, n) - numpy_xlogy(n, mean)))
