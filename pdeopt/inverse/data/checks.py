"""Checks of data, of their noise, and of what is predicted of them, which misfits share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.inverse.errors import InputError


def fixed(values: ArrayLike) -> np.ndarray:
    """Return a copy of values in 64-bit floating point, real or complex, that nobody can change.

    Compiled functionals keep it.

    Raises:
        InputError: JAX traces the values.
    """
    if isinstance(values, jax.core.Tracer):
        raise InputError(
            "JAX traces what is given as data, target or noise; these are fixed: make the misfit outside of what is "
            "traced, or write it as a function of (u, coefficient)"
        )
    array = np.array(values, complex if np.iscomplexobj(values) else float)
    array.setflags(write=False)
    return array


def fixed_level(noise: ArrayLike) -> np.ndarray:
    """Return a copy of a noise level that nobody can change.

    Raises:
        InputError: The level is complex, or JAX traces it.
    """
    if np.iscomplexobj(noise):
        raise InputError(
            "the noise level is complex; expected a standard deviation, of complex data that of the real and of the "
            "imaginary part each"
        )
    return fixed(noise)


def checked_data(data: ArrayLike) -> np.ndarray:
    """Return measured values that nobody can change.

    Raises:
        InputError: There are no data, they are not finite, or JAX traces them.
    """
    values = fixed(data)
    if values.size == 0:
        raise InputError(f"there are no data (shape {values.shape}), so that nothing can be found from them")
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))
        raise InputError(
            f"{len(bad)} of {values.size} data are NaN or infinite, first at index {bad[0].tolist()}; remove them "
            "together with their observations"
        )
    return values


def checked_noise(noise: ArrayLike, values: np.ndarray) -> np.ndarray:
    """Return the noise level of data, which nobody can change.

    Args:
        noise: The standard deviation, a number or of the data's shape.
        values: The data.

    Raises:
        InputError: The noise is complex, not positive or of another shape than the data, or JAX traces it.
    """
    sigma = fixed_level(noise)
    if not (np.isfinite(sigma) & (sigma > 0)).all():
        raise InputError(f"the noise level must be a positive standard deviation, got {sigma.min()}")
    check_noise_shape(sigma, values)
    return sigma


def check_noise_shape(sigma: np.ndarray, values: np.ndarray) -> None:
    """Refuse a noise level that is neither a number nor of the shape of the data.

    Raises:
        InputError: It is of another shape.
    """
    if sigma.shape not in ((), values.shape):
        raise InputError(f"the noise level has shape {sigma.shape}; expected a number or the data's {values.shape}")


def check_predicted(predicted: jax.Array, data: np.ndarray) -> None:
    """Refuse predicted data of another shape or another kind than the data.

    Raises:
        InputError: The shapes differ, or the predicted data are complex and the data real, or the other way round.
    """
    if predicted.shape != data.shape:
        raise InputError(f"the data have shape {data.shape}; the observation predicts {predicted.shape}")
    check_kinds("the observation predicts", "the data are", predicted, data)


def check_kinds(predicting: str, aim: str, predicted: jax.Array, data: np.ndarray) -> None:
    """Refuse real data of complex predictions, and the other way round.

    Args:
        predicting: The words before "complex values" for what is predicted: "the observation predicts".
        aim: The words before "complex" for the data: "the data are".
        predicted: The predicted data.
        data: The data.

    Raises:
        InputError: One is complex and the other real.
    """
    if jnp.iscomplexobj(predicted) and not np.iscomplexobj(data):
        raise InputError(
            f"{predicting} complex values, {aim} real: give complex values, or observe magnitudes or phases"
            " (Magnitude, Phase)"
        )
    if np.iscomplexobj(data) and not jnp.iscomplexobj(predicted):
        raise InputError(f"{predicting} real values, {aim} complex: give real values, as their real parts")


def numbers_of_a_datum(data: np.ndarray) -> int:
    """Return the number of real numbers in a datum: 2 of complex data."""
    return 2 if np.iscomplexobj(data) else 1
