"""The named groups of a mesh as meshio reads it: physical groups, sets, and numbers that cells are tagged with."""

from __future__ import annotations

from typing import Any

import numpy as np

#: An array with more different whole numbers than this counts cells and does not group them.
MOST_TAGS = 256
PHYSICAL, GEOMETRICAL = "gmsh:physical", "gmsh:geometrical"

#: For each block of cells of a meshio mesh, the indices of those that belong to a group.
Group = list[np.ndarray]


def groups_of(raw: Any) -> dict[str, Group]:
    """Name → group, of a meshio mesh, whatever the format calls them.

    A physical group, or a set, goes by its name. Without names, cells that are tagged with a whole number k in an array
    "material" are the group "material k"; Gmsh's physical groups are "physical k".
    """
    groups = {name: _indices(raw, sets) for name, sets in raw.cell_sets.items() if not name.startswith("gmsh:")}
    for name, (number, dimension) in _physical_names(raw).items():
        tagged = _tagged(raw, number, dimension)
        groups[name] = [np.union1d(*both) for both in zip(groups.get(name, tagged), tagged, strict=True)]
    return _tag_groups(raw) | groups


def _indices(raw: Any, sets: list) -> Group:
    return [np.empty(0, int) if members is None else np.asarray(members, int) for members in sets]


def _physical_names(raw: Any) -> dict[str, tuple[int, int]]:
    """Name → (number, dimension)."""
    entries = {name: np.asarray(value) for name, value in raw.field_data.items()} if PHYSICAL in raw.cell_data else {}
    return {name: (int(value[0]), int(value[1])) for name, value in entries.items() if value.shape == (2,)}


def _tagged(raw: Any, number: int, dimension: int) -> Group:
    """Each dimension numbers its groups anew; a negative number stands for a reversed curve."""
    tags = zip(raw.cells, raw.cell_data[PHYSICAL], strict=True)
    return [np.flatnonzero((np.abs(tag) == number) & (block.dim == dimension)) for block, tag in tags]


def _tag_groups(raw: Any) -> dict[str, Group]:
    named, groups = set(_physical_names(raw).values()), {}
    for array, data in raw.cell_data.items():
        if array == GEOMETRICAL or array.startswith("skfem:") or not _is_tag(data):
            continue
        for number in np.unique(np.concatenate(data)):
            ours = [
                array != PHYSICAL or (number != 0 and (abs(int(number)), block.dim) not in named) for block in raw.cells
            ]
            group = [np.flatnonzero((tag == number) & mine) for tag, mine in zip(data, ours, strict=True)]
            if any(map(len, group)):
                groups[f"{array.split(':')[-1]} {number}"] = group
    return groups


def _is_tag(data: list[np.ndarray]) -> bool:
    return all(tag.dtype.kind in "iu" and tag.ndim == 1 for tag in data) and (
        len(np.unique(np.concatenate(data))) <= MOST_TAGS
    )
