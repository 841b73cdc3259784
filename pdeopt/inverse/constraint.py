"""Constraints of a problem: what a state and its coefficient must satisfy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pdeopt.inverse.errors import InputError
from pdeopt.optimize.constraints.values import ConstraintRows

#: The kinds of constraints, by what is written for them.
KINDS = {"<=": "inequalities", "==": "equalities"}


@dataclass(frozen=True, eq=False)
class Constraint:
    """A constraint g(u, coefficient) ≤ 0 or g(u, coefficient) = 0.

    It is scalar, as a volume or a budget, or has several numbers, as a state has in points. Each number costs one
    column in the block of adjoint solves of every derivative, and one row (p,) of memory.

    Attributes:
        name: The name, as summaries and messages have it.
        function: The function of the state u and the physical coefficient that returns one real number, or some (k,);
            JAX differentiates it.
        kind: The kind, "<=" for ≤ 0 in each entry, "==" for = 0.
        tolerance: The violation that is small enough, in the unit of g. Make g a ratio, as volume / limit − 1, where
            numbers are not about 1.

    Raises:
        InputError: The name is empty, the function cannot be called, the kind is another, or the tolerance is not
            positive.

    Example:
        >>> import jax.numpy as jnp
        >>> Constraint("volume", lambda u, kappa: jnp.mean(kappa) - 0.4)
        Constraint('volume' <= 0)
    """

    name: str
    function: Callable[[Any, Any], jax.Array]
    kind: str = "<="
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"the name of a constraint is {self.name!r}; expected a text, as 'volume'")
        if not callable(self.function):
            raise InputError(
                f"the constraint {self.name!r} is {self.function!r}; expected a function of (u, coefficient)"
            )
        if self.kind not in KINDS:
            raise InputError(f"the constraint {self.name!r} is of the kind {self.kind!r}; expected '<=' or '==', for 0")
        if not (isinstance(self.tolerance, (int, float)) and 0 < self.tolerance < np.inf):
            raise InputError(
                f"the tolerance of the constraint {self.name!r} is {self.tolerance!r}; expected a number > 0, as 1e-6"
            )

    def __repr__(self) -> str:
        return f"Constraint({self.name!r} {self.kind} 0)"


def as_constraints(given: Constraint | Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Return one constraint or several as a tuple.

    Raises:
        InputError: One is no constraint, or two have the same name.
    """
    found = (given,) if isinstance(given, Constraint) else tuple(given)
    for one in found:
        if not isinstance(one, Constraint):
            raise InputError(f"a constraint is {one!r}; expected Constraint(name, function, '<=' or '==')")
    names = [one.name for one in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"two constraints have the name {twice[0]!r}; give each another one")
    return found


def constraint_rows(constraints: Sequence[Constraint], sizes: Sequence[int]) -> ConstraintRows:
    """Return which constraint each of all numbers belongs to, with its kind and its tolerance.

    Args:
        constraints: The constraints.
        sizes: How many numbers each has.
    """
    each = [one for one, size in zip(constraints, sizes, strict=True) for _ in range(size)]
    return ConstraintRows(
        tuple(one.name for one in each),
        np.array([one.kind == "==" for one in each], bool),
        np.array([one.tolerance for one in each], float),
    )
