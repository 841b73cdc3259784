"""The slots of trial and test functions, the unit functions of each, and which slots a form asks for.

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
    """A scalar entry of a trial or test function: which component, which part, which entry of the tensor."""

    component: int
    part: str
    index: tuple[int, ...]


Shapes = tuple[dict[str, tuple[int, ...]], ...]
"""For each component, part name → tensor shape."""


def slots_of(shapes: Shapes, used: set[tuple[int, str]]) -> tuple[Slot, ...]:
    """Return all slots of the used parts."""
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
    """Return random functions, always the same, as NumPy fields of one cell and one point, for all arguments."""
    rng = np.random.default_rng(0)
    return [
        Field({name: rng.standard_normal((*shape, 1, 1)) for name, shape in parts.items()})
        for shapes in arguments
        for parts in shapes
    ]


class _Recorder(dict):
    """The parts of a field, noting which ones are asked for."""

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
    """A random function that adds to ``used`` what a form asks of it."""
    return tuple(
        Field(_Recorder({name: rng.standard_normal((*shape, 1, 1)) for name, shape in parts.items()}, component, used))
        for component, parts in enumerate(shapes)
    )
