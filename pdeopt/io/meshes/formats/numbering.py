"""Signs that lines of a mesh file were lost, for formats that state no counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: The part of all numbers below which missing ones are a sign of lost lines; more of them are a way of numbering.
MAX_LOST_PART = 0.1


def numbering_warnings(path: Path, numbers: np.ndarray, nodes: Sequence[np.ndarray], elements: np.ndarray) -> list[str]:
    """Return warnings about nodes that no element has, and about gaps between the numbers of elements.

    Args:
        path: The path of the file, for the warnings.
        numbers: The numbers (points,) of the nodes in the file.
        nodes: The places of the nodes of the elements, one array (elements, nodes of an element) for each kind.
        elements: The numbers (elements,) of the elements in the file.
    """
    used = np.unique(np.concatenate([block.ravel() for block in nodes] or [np.empty(0, int)]))
    alone = np.setdiff1d(np.arange(len(numbers)), used)
    found = []
    if len(alone):
        found.append(
            f"{len(alone)} of {len(numbers)} nodes belong to no element, the first is number {numbers[alone[0]]}"
        )
    known = np.unique(elements)
    missing = int(known[-1] - known[0]) + 1 - len(known) if len(known) else 0
    if 0 < missing < MAX_LOST_PART * len(known):
        first = known[np.flatnonzero(np.diff(known) > 1)[0]] + 1
        found.append(f"elements are numbered from {known[0]} to {known[-1]} without {missing}, the first is {first}")
    return [f"{path}: {what}: lines may be missing from the file" for what in found]
