"""A form as JAX sees it: what identifies it, and what to say when it cannot be traced."""

from __future__ import annotations

import inspect
import os
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy
import skfem

from pdeopt.fem.errors import FormError
from pdeopt.fem.tracing.jaxpr_constants import with_copied_arrays
from pdeopt.fem.tracing.jaxpr_digest import fingerprint
from pdeopt.fem.tracing.partial_evaluation import evaluated


@dataclass(frozen=True)
class TracedForm:
    """A form's function with a digest of what it computes.

    The digest includes the values that the function reads from outside. Compiled assembly is found again by both,
    so that a form follows these values: globals and closures, also those of the functions that it calls, entries of
    dictionaries, attributes of objects and modules.

    Attributes:
        function: The form's function.
        name: The name of the form, for messages.
        digest: The digest of what the function computes.
    """

    function: Callable[..., Any]
    name: str
    digest: bytes

    def __call__(self, *arguments: Any) -> Any:
        """Return what the form returns."""
        return self.function(*arguments)

    def kept(self, *arguments: Any) -> Any:
        """Return what the form returns, for a trace that is kept.

        The trace has copies of the arrays of NumPy that the function reads: these can be changed in place, and what is
        kept under a digest must go on computing what the digest says.
        """
        return self.kept_for_all([arguments])[0]

    def kept_for_all(self, cases: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return what the form returns for each of several sequences of arguments, as `kept` does.

        What they have in common is computed once.
        """
        closed, shape = jax.make_jaxpr(lambda: [self.function(*case) for case in cases], return_shape=True)()
        results: list[Any] = jax.tree.unflatten(jax.tree.structure(shape), evaluated(with_copied_arrays(closed)))
        return results


def traced_form(function: Callable[..., Any], name: str, fields: Sequence[Any], w: Any) -> TracedForm:
    """Return a form with its digest.

    The form is called once, with coefficients of which only shapes and types are known.

    Args:
        function: The form's function.
        name: The name of the form, for messages.
        fields: The trial and test functions, from `pdeopt.fem.forms.structure.samples`; NumPy may compute with them.
        w: The coefficients, with `jax.ShapeDtypeStruct` in place of arrays.

    Raises:
        FormError: The function takes a value from outside that JAX differentiates.
    """

    def arrays_of(w: Any) -> list[Any]:  # a fresh function, or JAX would find a former trace
        kinds = jax.Array | np.ndarray | np.generic | complex | float | int
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(function(*fields, w)) if isinstance(leaf, kinds)]

    closed = jax.make_jaxpr(arrays_of)(w)
    if any(isinstance(constant, jax.core.Tracer) for constant in closed.consts):
        key = _traced_variable(function)
        raise FormError(
            f"form '{name}' takes {key!r} from outside while JAX traces it; pass it by name, "
            f"form.assemble(..., {key}=...), and use w[{key!r}]"
        )
    return TracedForm(function, name, fingerprint(closed.jaxpr, closed.consts))


def _traced_variable(function: Callable[..., Any]) -> str:
    """Return the name of a variable that JAX traces, among those that the function itself reads."""
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return "coefficient"
    variables = inspect.getclosurevars(function)
    outside = {**variables.globals, **variables.nonlocals}
    traced = (key for key, value in outside.items() if isinstance(value, jax.core.Tracer))
    return next(traced, "coefficient")


#: The errors of JAX where a function asks for values while it is traced: type, a word of the message, and what to
#: write instead.
_UNTRACEABLE: tuple[tuple[type[Exception], str, str], ...] = (
    (
        jax.errors.TracerArrayConversionError,
        "",
        "NumPy and SciPy cannot compute with what JAX differentiates; replace {call} (import jax.numpy as jnp), and "
        "helpers of skfem.helpers by those of pdeopt.fem",
    ),
    (
        jax.errors.TracerBoolConversionError,
        "",
        "a decision depends on a value that JAX differentiates; replace `if` on values by jnp.where(condition, a, b), "
        "`and` by jnp.logical_and, max by jnp.maximum",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "",
        "an array is indexed by a mask that JAX traces, so that its size is not known; use jnp.where(mask, a, b)",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        "",
        "a list, a tuple or range is indexed by a number that JAX traces; index an array, jnp.array(...)[k]",
    ),
    (
        jax.errors.ConcretizationTypeError,
        "",
        "the value of what JAX differentiates is asked for, as by float(...), int(...) or .item(); leave that out, "
        "q[0] is a number to compute with already",
    ),
    (TypeError, "__array_ufunc__", "it applies a NumPy function to a field; replace {call} (import jax.numpy as jnp)"),
    (
        ValueError,
        "__jax_array__",
        "it passes a field to a function that takes arrays only; pass its values, {values}",
    ),
)
#: The folders of code that is not the user's, each with a separator at its end.
_LIBRARY_FOLDERS = (
    *(f"{Path(inspect.getfile(package)).parent}{os.sep}" for package in (jax, np, scipy, skfem)),
    f"{Path(__file__).parents[2]}{os.sep}",
)


@contextmanager
def tracing_errors(what: str) -> Iterator[None]:
    """Raise JAX's complaint of a function as a FormError with the user's own line and a remedy.

    Args:
        what: The function, as the beginning of a sentence: "form 'diffusion'", "the state equation".

    Raises:
        FormError: JAX cannot trace the function that is called inside the block.
    """
    try:
        yield
    except FormError:
        raise
    except Exception as error:
        found = (text for kind, word, text in _UNTRACEABLE if isinstance(error, kind) and word in str(error))
        advice = next(found, None)
        if advice is None:
            raise
        place, line = _last_line(error)
        calls = [f"np.{name}(...) → jnp.{name}(...)" for name in re.findall(r"\bnp\.(\w+)\(", line)]
        call = ", ".join(["np. by jnp.", *dict.fromkeys(calls)])
        field = re.search(r"\bw(\[\s*['\"]\w+['\"]\s*\]|\.\w+\b)(?!\.value)", line)
        values = f"{field[0]}.value instead of {field[0]}" if field else "with .value"
        raise FormError(f"{what} cannot be traced by JAX{place}: {advice.format(call=call, values=values)}") from error


def _last_line(error: Exception) -> tuple[str, str]:
    """Return the place and the text of the last line of the user's own code that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*_LIBRARY_FOLDERS, "<frozen"))]
    if not own:
        return "", ""
    name, line = Path(own[-1].filename).name, own[-1].line or ""
    return f" ({name}, line {own[-1].lineno}{f': {line}' if line else ''})", line


@contextmanager
def form_errors(name: str) -> Iterator[None]:
    """Raise the errors of a form as a FormError that names the form and says what to change.

    Args:
        name: The name of the form.

    Raises:
        FormError: JAX cannot trace the form that is called inside the block, or the form misses a coefficient.
    """
    try:
        with tracing_errors(f"form '{name}'"):
            yield
    except (KeyError, AttributeError) as error:
        if "the form asks for" not in str(error):
            raise
        raise FormError(f"form '{name}': {error.args[0]}") from error
