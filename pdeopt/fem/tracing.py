"""A form as JAX sees it: what identifies it, and what to say when it cannot be traced."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.errors import FormError
from pdeopt.fem.jaxpr_digest import fingerprint


@dataclass(frozen=True)
class TracedForm:
    """A form's function with a digest of what it computes, the values that it reads from outside among it.

    Compiled assembly is found again by both, so that a form follows these values: globals and closures, also those of
    the functions that it calls, entries of dictionaries, attributes of objects and modules.
    """

    function: Callable[..., Any]
    name: str
    digest: bytes

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def traced_form(function: Callable[..., Any], name: str, *examples: Any) -> TracedForm:
    """Call the form once, with fields of which only shapes and types are known.

    Args:
        examples: its arguments, with `jax.ShapeDtypeStruct` in place of arrays.

    Raises:
        FormError: where the function takes a value from outside that JAX differentiates.
    """

    def arrays_of(arguments: tuple[Any, ...]) -> list[Any]:  # a fresh function, or JAX would find a former trace
        kinds = jax.Array | np.ndarray | np.generic | complex | float | int
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(function(*arguments)) if isinstance(leaf, kinds)]

    closed = jax.make_jaxpr(arrays_of)(examples)
    if any(isinstance(constant, jax.core.Tracer) for constant in closed.consts):
        key = _traced_variable(function)
        raise FormError(
            f"form '{name}' takes {key!r} from outside while JAX traces it; pass it by name, "
            f"form.assemble(..., {key}=...), and use w[{key!r}]"
        )
    return TracedForm(function, name, fingerprint(closed.jaxpr, closed.consts))


def _traced_variable(function: Callable[..., Any]) -> str:
    """Return the name of a variable that JAX traces, of those that the function itself reads."""
    if not inspect.isfunction(function):
        return "coefficient"
    variables = inspect.getclosurevars(function)
    outside = {**variables.globals, **variables.nonlocals}
    traced = (key for key, value in outside.items() if isinstance(value, jax.core.Tracer))
    return next(traced, "coefficient")


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
