"""The named groups of a meshio mesh: physical groups, sets, and numbers that cells are tagged with."""

from __future__ import annotations

from typing import Any

import numpy as np

#: The largest number of different whole numbers in an array that groups cells; with more it counts them.
MOST_TAGS = 256
#: The array with Gmsh's geometrical entities, which are no groups.
GEOMETRY_ARRAY = "gmsh:geometrical"
#: The array with the families of a MED file, and meshio's attribute with the groups of each family.
FAMILY_ARRAY = "cell_tags"
#: The arrays of numbers that may have names by number and dimension, and where 0 stands for none.
GROUP_ARRAYS = ("gmsh:physical", "netgen:index", "ugrid:ref")

#: The indices of the cells that belong to a group, for each block of cells of a meshio mesh.
Group = list[np.ndarray]


def groups_of(raw: Any) -> dict[str, Group]:
    """Return the groups of cells of a meshio mesh by name, whatever the format calls them.

    A physical group, or a set, goes by its name, also where meshio has made an array of sets. Without names, cells that
    are tagged with a whole number k in an array "material" are the group "material k"; Gmsh's groups are "physical k".
    Tags may be stored as floating-point numbers, and as (cells, 1): legacy VTK has them so.

    Args:
        raw: The meshio mesh.
    """
    groups = {name: _indices(raw, sets) for name, sets in raw.cell_sets.items() if not name.startswith("gmsh:")}
    for name, (number, dimension) in _physical_names(raw).items():
        tagged = _tagged(raw, number, dimension)
        groups[name] = [np.union1d(*both) for both in zip(groups.get(name, tagged), tagged, strict=True)]
    return _tag_groups(raw) | groups


def node_sets_of(raw: Any) -> dict[str, np.ndarray]:
    """Return the indices of points by name: sets of nodes, and the groups of nodes of a MED file.

    Args:
        raw: The meshio mesh.
    """
    families = getattr(raw, "point_tags", {}) if "point_tags" in raw.point_data else {}
    names = {name for members in families.values() for name in members}
    numbers = {name: [number for number, members in families.items() if name in members] for name in sorted(names)}
    groups = {name: np.flatnonzero(np.isin(raw.point_data["point_tags"], own)) for name, own in numbers.items()}
    return groups | {name: np.asarray(members, int) for name, members in raw.point_sets.items()}


def _indices(raw: Any, sets: list) -> Group:
    return [np.empty(0, int) if members is None else np.asarray(members, int) for members in sets]


def _physical_names(raw: Any) -> dict[str, tuple[int, int]]:
    """Return the number and the dimension of each group that has a name, by its name."""
    numbered = any(array in raw.cell_data for array in GROUP_ARRAYS)
    entries = {name: np.asarray(value) for name, value in raw.field_data.items()} if numbered else {}
    return {name: (int(value[0]), int(value[1])) for name, value in entries.items() if value.shape == (2,)}


def _tagged(raw: Any, number: int, dimension: int) -> Group:
    """Return the group of the cells of one dimension that are tagged with a number.

    Each dimension numbers its groups anew; a negative number stands for a reversed curve.
    """
    array = next(array for array in GROUP_ARRAYS if array in raw.cell_data)
    tags = zip(raw.cells, raw.cell_data[array], strict=True)
    return [np.flatnonzero((np.abs(tag) == number) & (block.dim == dimension)) for block, tag in tags]


def _tag_groups(raw: Any) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    for array, values in raw.cell_data.items():
        data = [] if array == GEOMETRY_ARRAY or array.startswith("skfem:") else _tags(values)
        if not data:
            continue
        numbers = [int(number) for number in _numbers(data)]
        if array in GROUP_ARRAYS:
            groups |= _unnamed(raw, data, numbers, array.split(":")[1])
        elif array == FAMILY_ARRAY and hasattr(raw, FAMILY_ARRAY):
            groups |= _family_groups(raw.cell_tags, data)
        else:
            names = _joined_names(array, numbers)
            groups |= {name: [np.flatnonzero(tag == number) for tag in data] for number, name in names.items()}
    return groups


def _unnamed(raw: Any, data: list[np.ndarray], numbers: list[int], label: str) -> dict[str, Group]:
    """Return the groups that have a number and no name, as "physical 3"; 0 stands for no group.

    Args:
        raw: The meshio mesh.
        data: The number of each cell, by block.
        numbers: The different numbers.
        label: What the groups are called, such as "physical".
    """
    named, groups = set(_physical_names(raw).values()), {}
    for number in numbers:
        group = [
            np.flatnonzero((tag == number) & (number != 0 and (abs(number), block.dim) not in named))
            for block, tag in zip(raw.cells, data, strict=True)
        ]
        if any(map(len, group)):
            groups[f"{label} {number}"] = group
    return groups


def _family_groups(families: dict[int, list[str]], data: list[np.ndarray]) -> dict[str, Group]:
    """Return the groups of cells of a MED file by name.

    A cell has the number of a family, and a family belongs to groups.

    Args:
        families: The names of the groups that each family belongs to, by its number.
        data: The number of the family of each cell, by block.
    """
    names = {name for members in families.values() for name in members}
    numbers = {name: [number for number, members in families.items() if name in members] for name in names}
    return {name: [np.flatnonzero(np.isin(tag, numbers[name])) for tag in data] for name in sorted(names)}


def _joined_names(array: str, numbers: list[int]) -> dict[int, str]:
    """Return the name of the group of each number in an array.

    meshio joins the sets "hot" and "cold" to one array of 0 and 1, −1 for neither.

    Args:
        array: The name of the array.
        numbers: The different numbers in it.
    """
    names = array.split("-")
    if len(names) > 1 and [number for number in numbers if number != -1] == list(range(len(names))):
        return dict(enumerate(names))
    return {number: f"{array.split(':')[-1]} {number}" for number in numbers}


def _tags(values: list[np.ndarray]) -> list[np.ndarray]:
    """Return the whole numbers (cells,) of an array by block, or [] where it does not tag cells.

    An array of vectors is no tag, nor is a field of many values.

    Args:
        values: The values of the array, by block.
    """
    data = [np.asarray(tag) for tag in values]
    data = [tag[:, 0] if tag.ndim == 2 and tag.shape[1] == 1 else tag for tag in data]
    if not data or any(tag.dtype.kind not in "biuf" or tag.ndim != 1 for tag in data):
        return []
    numbers = _numbers(data)
    whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return data if whole and len(numbers) <= MOST_TAGS else []


def _numbers(data: list[np.ndarray]) -> np.ndarray:
    """Return the different numbers of an array, sorted; NaN stands for no number and is left out.

    Args:
        data: The numbers (cells,), by block.
    """
    numbers = np.unique(np.concatenate(data))
    return numbers[~np.isnan(numbers)]
