"""A trace that owns the arrays that it read: those of NumPy can be changed in place afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

#: The parts of a trace that may hold arrays. In JAX 0.12 a trace has its constants itself, and `ClosedJaxpr` is another
#: name of `Jaxpr`.
PARTS_OF_JAXPR = ("eqns", "outvars", "consts") if issubclass(ClosedJaxpr, Jaxpr) else ("eqns", "outvars")


def with_copied_arrays(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Return a trace with copies of its NumPy arrays, also in the traces inside of its operations.

    JAX keeps these arrays as they are, those of a function under `jax.jit` inside of the operation that calls it.
    Where there are none the trace is returned itself, so that JAX finds what it compiled for its parts.
    """
    copy: ClosedJaxpr = _owned(closed, {})
    return copy


def _owned(value: Any, known: dict[int, Any]) -> Any:
    """Return a part of a trace with copies of the NumPy arrays in it; what is shared inside stays shared.

    Args:
        value: A trace, a parameter of an operation, a constant, or a literal.
        known: The parts made so far, by the identity of the value that each was made from.
    """
    if type(value) in (tuple, list):
        parts = [_owned(part, known) for part in value]
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else type(value)(parts)
    if isinstance(value, dict):
        changed = {key: _owned(part, known) for key, part in value.items()}
        return value if all(changed[key] is part for key, part in value.items()) else changed
    if id(value) not in known:
        known[id(value)] = _copied(value, known)
    return known[id(value)]


def _copied(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, Jaxpr):
        return _replaced(value, known, *PARTS_OF_JAXPR)
    if isinstance(value, ClosedJaxpr):
        return _replaced(value, known, "jaxpr", "consts")
    if isinstance(value, JaxprEqn):
        return _replaced(value, known, "invars", "params")
    if isinstance(value, Literal):
        content = _owned(value.val, known)
        return value if content is value.val else Literal(content, value.aval)
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value).__name__ == "TypedNdArray":  # in some versions of JAX it is no array of NumPy, but made of one
        return np.array(value)
    return value


def _replaced(value: Any, known: dict[int, Any], *names: str) -> Any:
    parts = {name: (getattr(value, name), _owned(getattr(value, name), known)) for name in names}
    changed = {name: new for name, (old, new) in parts.items() if new is not old}
    return value.replace(**changed) if changed else value
