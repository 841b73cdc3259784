"""Meshes from TetGen's and Triangle's files: nodes, elements with regions, and marked facets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.io.errors import FileError, existing_file

#: The kind of the cells, the kind of the facets and the ending of the file of facets, by dimension.
KINDS_BY_DIMENSION = {2: ("triangle", "line", ".edge"), 3: ("tetra", "triangle", ".face")}


def read_tetgen(path: Path) -> tuple[Any, list[str]]:
    """Return the mesh in the .node and .ele files of one name as a meshio mesh.

    An attribute of the elements is an array "region". The markers in a file of facets beside them are an array
    "marker"; 0 stands for no marker.

    Args:
        path: The path of either file.

    Returns:
        The mesh, and an empty list: there are no warnings.

    Raises:
        FileError: A file is missing, or its rows are no numbers or fewer than announced.
    """
    import meshio

    (_, dimension, *_), points = _table(path.with_suffix(".node"), 2)
    if dimension not in KINDS_BY_DIMENSION:
        raise FileError(f"{path.with_suffix('.node')}: points have {dimension} coordinates; expected 2 or 3")
    kind, facet_kind, ending = KINDS_BY_DIMENSION[dimension]
    (_, corners, *_), rows = _table(path.with_suffix(".ele"), 2)
    if corners != dimension + 1:
        raise FileError(f"{path}: elements have {corners} nodes; expected {dimension + 1}: write them without -o2")
    numbers = points[:, 0]
    cells = [(kind, _places(path.with_suffix(".ele"), numbers, rows[:, 1 : 1 + corners]))]
    regions, markers = [rows[:, 1 + corners] if rows.shape[1] > 1 + corners else np.full(len(rows), np.nan)], []
    facet_file = path.with_suffix(ending)
    if facet_file.is_file():
        (_, marked, *_), facets = _table(facet_file, 1)
        if facets.shape[1] < 1 + dimension + bool(marked):
            raise FileError(f"{facet_file}: rows of {facets.shape[1]} numbers; expected {dimension} nodes and a marker")
        facets = facets[facets[:, 1 + dimension] != 0] if marked else facets[:0]
        cells.append((facet_kind, _places(facet_file, numbers, facets[:, 1 : 1 + dimension])))
        regions.append(np.full(len(facets), np.nan))
        markers = [np.full(len(rows), np.nan), facets[:, 1 + dimension] if marked else np.empty(0)]
    data = {"region": regions} | ({"marker": markers} if markers else {})
    return meshio.Mesh(points[:, 1 : 1 + dimension], cells, cell_data=data), []


def _table(path: Path, counts: int) -> tuple[list[int], np.ndarray]:
    """Return the header and the rows of a file.

    Args:
        path: The path of the file.
        counts: How many numbers of a header, after the number of rows, say how long a row is.

    Returns:
        The numbers of the header, and those of the rows (rows, numbers of a row).

    Raises:
        FileError: The file is missing, has no header, or its rows are no numbers or fewer than announced.
    """
    path = existing_file(path, "one of TetGen's files, .node and .ele of one name")
    lines = path.read_bytes().decode(errors="replace").splitlines()
    rows = [(k, words) for k, line in enumerate(lines, 1) if (words := line.partition("#")[0].split())]
    try:
        header = [int(word) for word in rows[0][1]] if rows else []
    except ValueError:
        header = []
    if len(header) < counts + 1 or min(header) < 0:
        raise FileError(f"{path}: there is no header; expected the number of rows and what is in them")
    if len(rows) - 1 != header[0]:
        raise FileError(
            f"{path}: it announces {header[0]} rows, and {len(rows) - 1} are there: it is cut short or damaged"
        )
    for line, words in rows[1:]:
        if len(words) != len(rows[1][1]):
            raise FileError(f"{path}, line {line}: {len(words)} numbers; expected {len(rows[1][1])}, as in the others")
    width = len(rows[1][1]) if header[0] else 5  # a number with four nodes, or with three and a marker
    try:
        return header, np.array([[float(word) for word in words] for _, words in rows[1:]]).reshape(header[0], width)
    except ValueError as error:
        raise FileError(f"{path}: not readable as numbers ({error})") from error


def _places(path: Path, numbers: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return the places of nodes that are given by their numbers.

    Args:
        path: The path of the file that names the nodes, for the message.
        numbers: The numbers (points,) of the nodes that there are.
        nodes: The numbers (cells, nodes of a cell) of the nodes of the cells.

    Raises:
        FileError: There is no node of a number.
    """
    order = np.argsort(numbers)
    place = np.searchsorted(numbers, nodes, sorter=order).clip(max=len(numbers) - 1)
    if not len(numbers) or (numbers[order][place] != nodes).any():
        raise FileError(f"{path}: it names nodes that the .node file does not hold; keep files of one mesh together")
    return order[place]
