"""Misfits that outliers among the data do not dominate: Huber's, and that of Student's t distribution."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.special import digamma

from pdeopt.inverse.data.checks import check_predicted, checked_data, checked_noise, numbers_of_a_datum
from pdeopt.inverse.data.misfit import Misfit
from pdeopt.inverse.data.observation import Observation
from pdeopt.inverse.errors import InputError

#: The threshold of Huber's misfit, in noise levels, with which it is 95 % as efficient as least squares where all noise
#: is Gaussian (Holland, Welsch 1977).
HUBER_THRESHOLD = 1.345


@dataclass(frozen=True, eq=False)
class RobustMisfit(Misfit):
    """A misfit Σ_k ρ(t_k) of residuals t_k = ``|d_k(u) − data_k| / σ_k`` that grows slower than t².

    A complex residual counts by its modulus. The Gauss–Newton model has the secant of ρ in place of its second
    derivative: the weight ρ′(t)/t of iteratively reweighted least squares, which is positive also where ρ is not
    convex, and with which the model lies above the misfit, as ρ is concave in t² (Holland, Welsch, "Robust regression
    using iteratively reweighted least-squares", 1977). Hessians are exact.

    Attributes:
        observation: The observation, which predicts the data from the state.
        data: The measured values, real or complex, of the shape that the observation returns.
        noise: The scale σ in the data's unit, a number or of the data's shape; of complex data that of the real and of
            the imaginary part each.
    """

    observation: Observation = field()
    data: np.ndarray = field()
    noise: np.ndarray = field()

    @abstractmethod
    def loss(self, squares: jax.Array) -> jax.Array:
        """Return ρ of the squares t² of scaled residuals, of their shape; 0 at 0."""
        ...

    def __repr__(self) -> str:
        kind, seen = type(self).__name__, type(self.observation).__name__
        return f"{kind}({seen}, data {self.data.shape}, noise {np.min(self.noise):g} or more)"

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient."""
        return self.loss(self._squares(self.observation(u, coefficient))).sum()

    def distance(self, predicted: jax.Array) -> jax.Array:
        """Return the misfit of predicted data, whose second derivative JAX takes to be that of the secant.

        Raises:
            InputError: The predicted data are of another shape or kind than the data.
        """
        return _with_secant(self.loss, self._squares(predicted)).sum()

    def _squares(self, predicted: jax.Array) -> jax.Array:
        check_predicted(predicted, self.data)
        residual = (predicted - self.data) / self.noise
        return jnp.real(residual * jnp.conj(residual))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _with_secant(loss: Callable[[jax.Array], jax.Array], squares: jax.Array) -> jax.Array:
    """Return the loss of squares, whose derivative does not change with them, for JAX."""
    return loss(squares)


@_with_secant.defjvp
def _with_secant_jvp(loss: Any, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (squares,), (change,) = primals, tangents
    value, slope = jax.jvp(loss, (squares,), (jnp.ones_like(squares),))
    return value, jax.lax.stop_gradient(slope) * change


@dataclass(frozen=True, eq=False)
class HuberMisfit(RobustMisfit):
    """A misfit Σ_k ρ(t_k) of residuals t_k = ``|d_k(u) − data_k| / σ_k`` that is linear for large ones.

    ρ is ½ t² up to a threshold c, and c t − ½ c² beyond. It is convex: a datum far off pulls as much as one at the
    threshold. (Huber, "Robust estimation of a location parameter", 1964.) It is made
    by `of`. See `RobustMisfit` for complex data and the Gauss–Newton model.

    Attributes:
        observation: The observation, which predicts the data from the state.
        data: The measured values, real or complex, of the shape that the observation returns.
        noise: The scale σ in the data's unit, a number or of the data's shape: the standard deviation of the Gaussian
            bulk of the noise; of complex data that of the real and of the imaginary part each.
        threshold: The threshold c, in noise levels.

    Example:
        >>> from pdeopt.inverse import FullField
        >>> misfit = HuberMisfit.of(FullField(), [1.0, 2.0], noise=0.1, threshold=1.5)
        >>> misfit(jnp.array([1.1, 3.0]), None).round(6)  # ½ + (1.5 · 10 − ½ · 1.5²)
        Array(14.375, dtype=float64)
    """

    threshold: float = HUBER_THRESHOLD

    @classmethod
    def of(
        cls, observation: Observation, data: ArrayLike, noise: ArrayLike, threshold: float = HUBER_THRESHOLD
    ) -> HuberMisfit:
        """Return the misfit of an observation to data, after a check of them.

        Args:
            observation: The observation, which predicts the data from the state.
            data: The measured values, of the shape and the kind, real or complex, that the observation returns.
            noise: The scale σ in the data's unit, a number or of the data's shape.
            threshold: The threshold c in noise levels, from which on a residual counts linearly.

        Raises:
            InputError: There are no data, they are not finite, the noise is complex, not positive or of another shape,
                JAX traces one of them, or the threshold is not positive.
        """
        values = checked_data(data)
        if not 0 < threshold < np.inf:
            raise InputError(f"the threshold of Huber's misfit is {threshold}; expected noise levels > 0, as 1.345")
        return cls(observation, values, checked_noise(noise, values), float(threshold))

    def loss(self, squares: jax.Array) -> jax.Array:
        """Return ρ of the squares t² of scaled residuals: ½ t² up to the threshold c, c t − ½ c² beyond."""
        c = self.threshold
        far = jnp.sqrt(jnp.maximum(squares, c**2))  # no root near 0, where it has no derivative
        return jnp.where(squares <= c**2, 0.5 * squares, c * far - 0.5 * c**2)

    @property
    def expected(self) -> float:  # type: ignore[override]
        """The misfit that noise alone gives on average, with the density of which this is the likelihood.

        That is exp(−ρ) up to a factor: Gaussian inside, exponential outside. Its mean of ρ is taken over the
        line for real data, and over the plane for complex ones.
        """
        c, a = self.threshold, 0.5 * self.threshold**2
        outside = math.exp(-a)
        if np.iscomplexobj(self.data):  # ∫ ρ exp(−ρ) t dt and ∫ exp(−ρ) t dt, with t = (ρ + a)/c outside
            mean = 1 - (1 + a) * outside + outside * (2 * a**2 + 3 * a + 2) / c**2
            mass = 1 - outside + outside * (2 * a + 1) / c**2
        else:
            inside = math.sqrt(math.pi / 2) * math.erf(c / math.sqrt(2))
            mean = 0.5 * (inside - c * outside) + (a + 1) * outside / c
            mass = inside + outside / c
        return self.data.size * mean / mass


@dataclass(frozen=True, eq=False)
class StudentMisfit(RobustMisfit):
    """A misfit ½ (ν + p) Σ_k log(1 + t_k²/ν) of residuals t_k = ``|d_k(u) − data_k| / σ_k``.

    It is for data with heavy-tailed noise: the negative log-likelihood of Student's t distribution with ν degrees of
    freedom, without its constants, so that it is 0 where all residuals are. p is 1 for real data, and 2 for complex
    ones, whose distribution is the bivariate one, which depends on the modulus. A datum far off pulls less the farther
    it is: the misfit is not convex, has other minima, and should be started near, from the minimum of a `HuberMisfit`.
    (Lange, Little, Taylor, "Robust statistical modeling using the t distribution", 1989.) It is made by `of`.

    Where ``t² > ν`` its second derivative is negative. The Gauss–Newton model has the weight (ν + p)/(ν + t²) of
    iteratively reweighted least squares in its place, and is positive semidefinite: see `RobustMisfit`.

    Attributes:
        observation: The observation, which predicts the data from the state.
        data: The measured values, real or complex, of the shape that the observation returns.
        noise: The scale σ in the data's unit, a number or of the data's shape. The standard deviation of a datum is
            σ √(ν/(ν − 2)), which is infinite for ν ≤ 2.
        degrees_of_freedom: The degrees of freedom ν; the larger, the more Gaussian.

    Example:
        >>> from pdeopt.inverse import FullField
        >>> misfit = StudentMisfit.of(FullField(), [1.0, 2.0], noise=0.1, degrees_of_freedom=3)
        >>> misfit(jnp.array([1.3, 2.0]), None).round(6)  # 2 log(1 + 9/3)
        Array(2.772589, dtype=float64)
    """

    degrees_of_freedom: float = field()

    @classmethod
    def of(
        cls, observation: Observation, data: ArrayLike, noise: ArrayLike, degrees_of_freedom: float
    ) -> StudentMisfit:
        """Return the misfit of an observation to data, after a check of them.

        Args:
            observation: The observation, which predicts the data from the state.
            data: The measured values, of the shape and the kind, real or complex, that the observation returns.
            noise: The scale σ in the data's unit, a number or of the data's shape.
            degrees_of_freedom: The degrees of freedom ν, such as 4.

        Raises:
            InputError: There are no data, they are not finite, the noise is complex, not positive or of another shape,
                JAX traces one of them, or the degrees of freedom are not positive.
        """
        values = checked_data(data)
        if not 0 < degrees_of_freedom < np.inf:
            raise InputError(
                f"the degrees of freedom of Student's t are {degrees_of_freedom}; expected a number > 0, as 4; for "
                "Gaussian noise use L2Misfit"
            )
        return cls(observation, values, checked_noise(noise, values), float(degrees_of_freedom))

    def loss(self, squares: jax.Array) -> jax.Array:
        """Return ρ of the squares t² of scaled residuals, ½ (ν + p) log(1 + t²/ν)."""
        nu = self.degrees_of_freedom
        return 0.5 * (nu + numbers_of_a_datum(self.data)) * jnp.log1p(squares / nu)

    @property
    def expected(self) -> float:  # type: ignore[override]
        """The misfit that noise alone gives on average, of Student's t distribution.

        It is ½ (ν + p) (ψ((ν + p)/2) − ψ(ν/2)) a datum, with the digamma function ψ.
        """
        nu, p = self.degrees_of_freedom, numbers_of_a_datum(self.data)
        return float(self.data.size * 0.5 * (nu + p) * (digamma(0.5 * (nu + p)) - digamma(0.5 * nu)))
