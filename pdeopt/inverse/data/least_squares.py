"""Sums of squares: of data with independent Gaussian noise, and of a state that is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.data.checks import (
    check_kinds,
    check_noise_shape,
    check_predicted,
    checked_data,
    checked_noise,
    fixed,
    fixed_level,
    numbers_of_a_datum,
)
from pdeopt.inverse.data.misfit import Misfit
from pdeopt.inverse.data.observation import FullField, Observation, OfPart
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization import mass
from pdeopt.sparse import CSRMatrix


@dataclass(frozen=True, eq=False)
class L2Misfit(Misfit):
    """A misfit ½ Σ_k ``|(d_k(u) − data_k) / σ_k|²`` of data with independent Gaussian noise.

    It is the negative log-likelihood. At the true parameter its expectation is half the number of data (Morozov's
    discrepancy principle asks a reconstruction to reach that, not less). A complex datum counts as two: the noise of
    its real and of its imaginary part are independent (circular), each with the standard deviation σ.

    Attributes:
        observation: The observation, which predicts the data from the state.
        data: The measured values, real or complex, of the shape that the observation returns.
        noise: The standard deviation σ in the data's unit, a number or of the data's shape; of complex data that of the
            real and of the imaginary part each.

    Example:
        >>> misfit = L2Misfit.of(FullField(), [1.0, 2.0], noise=0.1)
        >>> misfit(jnp.array([1.1, 1.9]), None).round(6), misfit.expected
        (Array(1., dtype=float64), 1.0)
    """

    observation: Observation = field()
    data: np.ndarray = field()
    noise: np.ndarray = field()

    @classmethod
    def of(cls, observation: Observation, data: ArrayLike, noise: ArrayLike) -> L2Misfit:
        """Return the misfit of an observation to data, after a check of them.

        Args:
            observation: The observation, which predicts the data from the state.
            data: The measured values, of the shape and the kind, real or complex, that the observation returns.
            noise: The standard deviation σ in the data's unit, a number or of the data's shape.

        Raises:
            InputError: There are no data, they are not finite, the noise is complex, not positive or of another shape,
                or JAX traces one of them.
        """
        values = checked_data(data)
        return cls(observation, values, checked_noise(noise, values))

    def __repr__(self) -> str:
        return (
            f"L2Misfit({type(self.observation).__name__}, data {self.data.shape}, noise {np.min(self.noise):g} or more)"
        )

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient."""
        return self.distance(self.observation(u, coefficient))

    def distance(self, predicted: jax.Array) -> jax.Array:
        """Return the misfit ½ Σ_k ``|(predicted_k − data_k) / σ_k|²`` of predicted data.

        Raises:
            InputError: The predicted data are of another shape than the data, or complex where these are real, or real
                where these are complex.
        """
        check_predicted(predicted, self.data)
        residual = (predicted - self.data) / self.noise
        return 0.5 * jnp.real(residual * jnp.conj(residual)).sum()

    @property
    def expected(self) -> float:  # type: ignore[override]
        """The misfit that noise alone gives on average, half the number of data; a complex one counts as two."""
        return 0.5 * self.data.size * numbers_of_a_datum(self.data)


@dataclass(frozen=True, eq=False)
class FieldMisfit(Misfit):
    """A misfit ½ ∫ ``|u − d|²`` of a state u that is wanted, or known everywhere, as the function d.

    It is made by `of`. Experiments or times (columns) and components of vector-valued states are summed up, columns
    with weights where these are given: ½ Σ_k w_k ∫ ``|u_k − d_k|²``, as a rule for an integral in time has them.

    Attributes:
        data: The degrees of freedom of d, (n,) or (n, r), in the state's space, complex for a complex state.
        noise: The standard deviation of independent errors of these, a number or of their shape; of complex values that
            of the real and of the imaginary part each. None for a wanted state.
        mass: The mass matrix (n, n) of the space, which gives its L² product.
        observation: The observation of the whole state, or of the part of it that is wanted.
        weights: The weights (r,) of the columns; None for ones.
    """

    data: np.ndarray = field()
    noise: np.ndarray | None = field()
    mass: CSRMatrix
    observation: Observation = field(default_factory=FullField)
    weights: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        space: FunctionSpace,
        target: ArrayLike,
        noise: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> FieldMisfit:
        """Return the misfit of the state to a target, after a check of it.

        Args:
            space: The state's space, on cells, on a part of them, or on boundary facets: there the difference is
                integrated. With a part that `FunctionSpace.split` made, that part of the state is compared.
            target: The degrees of freedom of d, (n,) or (n, r), complex for a complex state.
            noise: The standard deviation of the target's values where these were measured, a number or of their shape;
                zero where they are exact, as on a Dirichlet boundary. None for a wanted state.
            weights: The weights (r,) of the columns of d, ≥ 0; None for ones.

        Raises:
            InputError: The target is not finite or not of the space, weights do not fit it, the noise is complex,
                negative, zero everywhere or of another shape, or JAX traces one of them.
        """
        values = fixed(target)
        if values.ndim not in (1, 2) or len(values) != space.n:
            raise InputError(f"the target has shape {values.shape}; expected ({space.n},), a value a degree of freedom")
        if not np.isfinite(values).all():
            raise InputError(f"{np.sum(~np.isfinite(values))} of {values.size} target values are NaN or infinite")
        sigma = None if noise is None else _field_noise(noise, values)
        factors = None if weights is None else fixed(weights)
        if factors is not None and (factors.shape != values.shape[1:] or values.ndim == 1 or not (factors >= 0).all()):
            raise InputError(
                f"the weights have shape {factors.shape}, the target {values.shape}; expected a number ≥ 0 for each "
                "column of the target"
            )
        return cls(values, sigma, mass.assemble(space), OfPart(space) if space.is_part else FullField(), factors)

    def __repr__(self) -> str:
        return f"FieldMisfit(data {self.data.shape})"

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u, (n,) or (n, r)."""
        return self.distance(self.observation(u, coefficient))

    def distance(self, predicted: jax.Array) -> jax.Array:
        """Return the misfit ½ ∫ ``|predicted − d|²`` of a state.

        Raises:
            InputError: The state is of another shape than the target, or complex where this is real, or real where this
                is complex.
        """
        if predicted.shape != self.data.shape:
            raise InputError(f"the target has shape {self.data.shape}; the state has {predicted.shape}")
        check_kinds("the state has", "the target is", predicted, self.data)
        difference = predicted - self.data
        weighted = difference if self.weights is None else difference * self.weights
        return 0.5 * jnp.real(jnp.vdot(weighted, self.mass @ difference))

    @property
    def expected(self) -> float | None:  # type: ignore[override]
        """The misfit that noise alone gives, on average; None for a wanted state.

        It is ½ Σ_i σ_i² ∫ φ_i², which for one σ is ½ σ² trace(M); twice that of a complex target.
        """
        if self.noise is None:
            return None
        variance = np.broadcast_to(self.noise**2, self.data.shape).reshape(len(self.data), -1)
        variance = variance if self.weights is None else variance * self.weights
        return 0.5 * numbers_of_a_datum(self.data) * float(self.mass.to_scipy().diagonal() @ variance.sum(1))


def _field_noise(noise: ArrayLike, values: np.ndarray) -> np.ndarray:
    sigma = fixed_level(noise)
    check_noise_shape(sigma, values)
    if not (np.isfinite(sigma) & (sigma >= 0)).all() or not sigma.any():
        raise InputError(f"the noise level must be a standard deviation, got {sigma.min()}; leave it out for no noise")
    return sigma
