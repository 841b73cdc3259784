"""A misfit whose noise level is known up to a factor, which is one of the unknowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.inverse.data.correlated import CorrelatedMisfit
from pdeopt.inverse.data.least_squares import L2Misfit
from pdeopt.inverse.data.misfit import Misfit
from pdeopt.inverse.data.observation import Observation
from pdeopt.inverse.errors import InputError


@dataclass(frozen=True, eq=False)
class EstimatedScale(Misfit):
    """A misfit N log s + φ/s² of data with Gaussian noise of level s σ, whose factor s is unknown.

    φ = ``½ ‖(d(u) − data)/σ‖²`` is a misfit with the level σ that was assumed, and N the number of real numbers in its
    data, so that this is the negative log-likelihood without its constant. For given residuals it is least at
    s² = 2 φ/N. The coefficient is a dict, with s > 0 as one of its entries: give it a `Log` parametrization. Where s is
    not positive, the misfit is infinite, from which minimizers step back.

    It may be negative, and has no `expected`: any residuals are explained by some s, so that rules for the strength of
    the regularization that aim at the misfit of the noise do not apply. It is not convex, and has no `distance`: the
    Gauss–Newton model takes its second derivative in state and scale, which is indefinite away from the minimum.
    Newton–CG and Gauss–Newton–CG stop at directions of negative curvature, and go on.

    Attributes:
        misfit: The misfit φ of the noise that was assumed.
        key: The name of the factor s in the coefficient.

    Raises:
        InputError: The misfit is not one of Gaussian noise.

    Example:
        >>> from pdeopt.inverse import FullField
        >>> misfit = EstimatedScale(L2Misfit.of(FullField(), [1.0, 2.0], noise=0.1), "scale")
        >>> misfit(jnp.array([1.2, 2.0]), {"scale": 2.0}).round(6)  # 2 log 2 + ½ · 2²/2²
        Array(1.886294, dtype=float64)
    """

    misfit: L2Misfit | CorrelatedMisfit
    key: str

    def __post_init__(self) -> None:
        if not isinstance(self.misfit, (L2Misfit, CorrelatedMisfit)):
            raise InputError(
                f"the noise scale of a {type(self.misfit).__name__} cannot be estimated; expected a misfit of Gaussian "
                "noise, an L2Misfit or a CorrelatedMisfit"
            )

    @property
    def observation(self) -> Observation:  # type: ignore[override]
        """The observation of the misfit, which is called with the whole coefficient."""
        return self.misfit.observation

    @property
    def data(self) -> np.ndarray:  # type: ignore[override]
        """The data of the misfit."""
        return self.misfit.data

    @property
    def noise(self) -> np.ndarray | None:  # type: ignore[override]
        """The standard deviation that was assumed, without the factor s."""
        return self.misfit.noise

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient, a dict with the factor s.

        Raises:
            InputError: The coefficient is no dict with one number s by its name.
        """
        if not isinstance(coefficient, Mapping) or self.key not in coefficient:
            got = f"the names {', '.join(coefficient)}" if isinstance(coefficient, Mapping) else "no names"
            raise InputError(
                f"the coefficient has {got}; expected a dict with the noise scale {self.key!r} besides what is looked "
                "for"
            )
        if jnp.size(coefficient[self.key]) != 1:
            raise InputError(
                f"the noise scale {self.key!r} has shape {jnp.shape(coefficient[self.key])}; expected one number"
            )
        given = jnp.reshape(coefficient[self.key], ())
        scale = jnp.where(given > 0, given, 1.0)  # the logarithm has derivatives also where it is not used
        numbers = 2 * self.misfit.expected
        value = numbers * jnp.log(scale) + self.misfit(u, coefficient) / scale**2
        return jnp.where(given > 0, value, jnp.inf)
