"""The problem's interpretation of the last iterate: scalars for summary.json, arrays for result.npz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdeopt.inverse import InputError, Parameters, Problem
from pdeopt.inverse.problem import SUMMARY_NAMES
from pdeopt.run.store.fields import is_result_name

#: The kinds of arrays that a file can hold without pickling: numbers, and text.
STORABLE_KINDS = "biufcU"
#: The names that NumPy's writer has for arguments of its own.
RESERVED_NAMES = frozenset({"file", "allow_pickle"})


@dataclass(frozen=True)
class Interpretation:
    """The interpretation of an iterate.

    Attributes:
        scalars: The values for summary.json by name: bool, int, float or str.
        arrays: The arrays for result.npz by name.
    """

    scalars: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def with_part(self, part: Interpretation) -> Interpretation:
        """Return this interpretation with another part of it.

        Raises:
            InputError: A name is in both.
        """
        _refuse({*self.scalars, *self.arrays} & {*part.scalars, *part.arrays}, "an earlier part")
        return Interpretation({**self.scalars, **part.scalars}, {**self.arrays, **part.arrays})


def interpretations(problem: Problem, m: np.ndarray) -> Iterator[Interpretation]:
    """Yield what the problem's `interpret` says at m, more with every part that it yields.

    Where it returns instead, all comes at once.

    Args:
        problem: The problem, which has a function `interpret`.
        m: The parameter (p,).

    Raises:
        InputError: A name is taken, or a value is of another kind than a file can hold.
    """
    assert problem.interpret is not None
    found = problem.interpret(np.array(m))
    interpretation = Interpretation()
    for part in found if isinstance(found, Iterator) else [found]:
        interpretation = interpretation.with_part(_checked(problem, part))
        yield interpretation


def _checked(problem: Problem, found: Any) -> Interpretation:
    if not isinstance(found, Mapping):
        raise InputError(f"interpret returned {type(found).__name__}; expected a dictionary: name → number or array")
    values = {_name(name): _value(name, value) for name, value in found.items()}
    scalars = {name: value.item() for name, value in values.items() if value.ndim == 0}
    arrays = {name: value for name, value in values.items() if value.ndim}
    _refuse(set(scalars) & (SUMMARY_NAMES | set(problem.quantities)), "summary.json")
    unknowns = problem.parameter.parts if isinstance(problem.parameter, Parameters) else ()
    taken = {name for name in arrays if is_result_name(name, unknowns) or name in RESERVED_NAMES}
    _refuse(taken, "result.npz")
    return Interpretation(scalars, arrays)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(
            f"interpret named a value {name!r}; expected a name of letters, digits and _, as in 'peak_value'"
        )
    return name


def _value(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # nested lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in STORABLE_KINDS:
        raise InputError(
            f"interpret returned {name} of type {type(value).__name__}; expected a number, a text or an array of them: "
            "convert it, or leave it out where there is none"
        )
    if array.dtype.kind == "c" and not array.ndim:
        raise InputError(f"interpret returned {name} = {value}; summary.json has no complex numbers: return its parts")
    return array


def _refuse(taken: set[str], file: str) -> None:
    if taken:
        raise InputError(f"interpret named a value {min(taken)!r}, which {file} has already; choose another name")
