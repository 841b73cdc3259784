"""A form as JAX sees it: what identifies it, and what to say when it cannot be traced."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from typing import Any

import jax
import numpy as np

from pdeopt.fem.errors import FormError


@dataclass(frozen=True)
class TracedForm:
    """A form's function with the values of the variables that it takes from outside.

    Compiled assembly is found again by both, so that a form which reads a global variable follows its value.
    """

    function: Callable[..., Any]
    name: str
    outside: tuple[Any, ...]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def traced_form(function: Callable[..., Any], name: str) -> TracedForm:
    """Raises FormError where the function takes a value from outside that JAX differentiates."""
    try:
        variables = inspect.getclosurevars(function)
    except TypeError:  # not a plain function
        return TracedForm(function, name, ())
    outside = {**variables.globals, **variables.nonlocals}
    return TracedForm(function, name, tuple((key, _content(name, key, outside[key])) for key in sorted(outside)))


def _content(form: str, key: str, value: Any) -> Any:
    """The value of numbers, strings and arrays, also inside tuples and lists; the identity of anything else."""
    if isinstance(value, jax.core.Tracer):
        raise FormError(
            f"form '{form}' takes {key!r} from outside while JAX traces it; pass it by name, "
            f"form.assemble(..., {key}=...), and use w[{key!r}]"
        )
    if value is None or isinstance(value, (Number, str, bytes)):
        return type(value), value
    if isinstance(value, (np.ndarray, jax.Array)):
        array = np.asarray(value)
        return array.shape, array.dtype.str, hashlib.blake2b(array.tobytes(), digest_size=16).digest()
    if isinstance(value, (tuple, list)):
        return tuple(_content(form, key, entry) for entry in value)
    return id(value)


_NOT_TRACEABLE = (
    jax.errors.TracerArrayConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerIntegerConversionError,
)


@contextmanager
def form_errors(name: str) -> Iterator[None]:
    """Say what to replace in a form that JAX cannot trace."""
    try:
        yield
    except _NOT_TRACEABLE as error:
        raise FormError(
            f"form '{name}' cannot be traced by JAX. Replace NumPy functions of coefficients by JAX's: np.exp(...) → "
            "jnp.exp(...), np.where → jnp.where (import jax.numpy as jnp); helpers of skfem.helpers by those of "
            "pdeopt.fem; and `if` on values by jnp.where"
        ) from error
    except TypeError as error:
        if "__array_ufunc__" not in str(error):
            raise
        raise FormError(
            f"form '{name}' applies a NumPy function to a field; replace np. by jnp. (import jax.numpy as jnp): "
            "np.exp(w['m']) → jnp.exp(w['m'])"
        ) from error
    except ValueError as error:
        if "__jax_array__" not in str(error):
            raise
        raise FormError(
            f"form '{name}' passes a field to a function that takes arrays only; pass its values: "
            "jax.nn.sigmoid(w['m']) → jax.nn.sigmoid(w['m'].value)"
        ) from error
    except (KeyError, AttributeError) as error:
        if "the form asks for" not in str(error):
            raise
        raise FormError(f"form '{name}': {error.args[0]}") from error
