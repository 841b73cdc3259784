"""A digest of what a traced function computes: equal ones have read the same values from outside."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def fingerprint(jaxpr: Jaxpr, constants: Iterable[Any]) -> bytes:
    """Return a digest of a trace and of the arrays in it, by content.

    Python functions inside of operations (host callbacks, rules of ``jax.custom_jvp``) count by their kind alone.

    Args:
        jaxpr: The trace.
        constants: The arrays that the traced function took from outside.
    """
    content = hashlib.blake2b(digest_size=16)
    for part in _program(jaxpr, constants):
        content.update(part)
        content.update(b"\0")
    return content.digest()


def _program(jaxpr: Jaxpr, constants: Iterable[Any]) -> Iterable[bytes]:
    numbers: dict[Any, int] = {}

    def atom(x: Any) -> Iterable[bytes]:
        if isinstance(x, Literal):
            yield from _value(x.val)
        else:
            yield str(numbers.setdefault(x, len(numbers))).encode()

    for constant in constants:
        yield from _value(constant)
    for variable in (*jaxpr.constvars, *jaxpr.invars):
        numbers[variable] = len(numbers)
        yield str(variable.aval).encode()
    for equation in jaxpr.eqns:
        yield equation.primitive.name.encode()
        for key in sorted(equation.params):
            yield key.encode()
            yield from _value(equation.params[key])
        for x in (*equation.invars, *equation.outvars):
            yield from atom(x)
    for x in jaxpr.outvars:
        yield from atom(x)


def _value(value: Any) -> Iterable[bytes]:
    """Yield the content of a parameter of an operation, of a constant, or of a literal, for the digest."""
    if isinstance(value, ClosedJaxpr):
        yield from _program(value.jaxpr, value.consts)
    elif isinstance(value, Jaxpr):
        yield from _program(value, ())
    elif isinstance(value, (tuple, list)):
        yield str(len(value)).encode()
        for part in value:
            yield from _value(part)
    elif isinstance(value, (np.ndarray, np.generic, jax.Array)) or type(value).__name__ == "TypedNdArray":
        array = np.asarray(value)
        yield f"{array.shape} {array.dtype}".encode()
        yield array.tobytes()
    elif callable(value) and not isinstance(value, type):
        yield type(value).__name__.encode()
    else:
        yield re.sub(r" at 0x[0-9a-f]+", "", repr(value)).encode()
