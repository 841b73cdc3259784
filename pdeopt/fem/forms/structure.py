"""The slots of trial and test functions, their unit functions, and the slots that a form asks for.

A bilinear form is a(u, v) = Σ_st C_st u_s v_t at every quadrature point, where s and t run over the *slots* of u and
v: an entry of the value, of the gradient, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdeopt.fem.field import Field


@dataclass(frozen=True, order=True)
class Slot:
    """A scalar entry of a trial or test function.

    Attributes:
        component: The number of the component of the element, 0 unless that is mixed.
        part: The name of the part: "value", "grad", …
        index: The place of the entry in the tensor.
    """

    component: int
    part: str
    index: tuple[int, ...]


Shapes = tuple[dict[str, tuple[int, ...]], ...]
"""The tensor shapes of a function: for each component of its element, the shape of each part by name."""


def slots_of(shapes: Shapes, used: set[tuple[int, str]]) -> tuple[Slot, ...]:
    """Return all slots of the used parts of a function.

    Args:
        shapes: The tensor shapes of the function's parts.
        used: The number of the component and the name of each used part.
    """
    return tuple(
        Slot(component, part, index)
        for component, parts in enumerate(shapes)
        for part, shape in parts.items()
        if (component, part) in used
        for index in np.ndindex(*shape)
    )


def unit(shapes: Shapes, slot: Slot) -> tuple[Field, ...]:
    """Return the function whose only nonzero entry is ``slot``, as NumPy fields of one cell and one point."""

    def part(component: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array = np.zeros((*shape, 1, 1))
        if (component, name) == (slot.component, slot.part):
            array[slot.index] = 1.0
        return array

    return tuple(
        Field({name: part(component, name, shape) for name, shape in parts.items()})
        for component, parts in enumerate(shapes)
    )


def samples(arguments: tuple[Shapes, ...]) -> list[Field]:
    """Return random functions for all arguments of a form, as NumPy fields of one cell and one point.

    They are always the same.
    """
    rng = np.random.default_rng(0)
    return [
        Field({name: rng.standard_normal((*shape, 1, 1)) for name, shape in parts.items()})
        for shapes in arguments
        for parts in shapes
    ]


class _Recorder(dict[str, Any]):
    """A mapping of the parts of a field that notes in ``used`` which ones are asked for."""

    def __init__(self, parts: dict[str, Any], component: int, used: set[tuple[int, str]]) -> None:
        super().__init__(parts)
        self._component, self._used = component, used

    def __getitem__(self, name: str) -> Any:
        self._used.add((self._component, name))
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        names = list(super().__iter__())
        self._used.update((self._component, name) for name in names)
        return iter(names)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def values(self) -> Any:
        return [self[name] for name in self]


def recording(shapes: Shapes, used: set[tuple[int, str]], rng: np.random.Generator) -> tuple[Field, ...]:
    """Return a random function that notes which of its parts a form asks for.

    Args:
        shapes: The tensor shapes of the function's parts.
        used: The set to which the component and the name of each part that is asked for are added.
        rng: The source of randomness.
    """
    return tuple(
        Field(_Recorder({name: rng.standard_normal((*shape, 1, 1)) for name, shape in parts.items()}, component, used))
        for component, parts in enumerate(shapes)
    )
