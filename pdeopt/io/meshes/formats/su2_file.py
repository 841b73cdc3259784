"""Meshes of SU2: cells, and boundaries by the names of their markers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.io.errors import FileError

#: The kind of a cell and its number of nodes, by the type that SU2 shares with VTK.
CELL_TYPES = {3: ("line", 2), 5: ("triangle", 3), 9: ("quad", 4), 10: ("tetra", 4), 12: ("hexahedron", 8)}
CELL_TYPES |= {13: ("wedge", 6), 14: ("pyramid", 5)}

#: The number and the text of each line that says something.
Lines = Iterator[tuple[int, str]]


def read_su2(path: Path) -> tuple[Any, list[str]]:
    """Return the mesh in a .su2 file as a meshio mesh, with its markers as cell sets.

    Args:
        path: The path of the file.

    Returns:
        The mesh, and an empty list: there are no warnings.

    Raises:
        FileError: Rows are no cells or points, or fewer than announced, or there are several zones.
    """
    import meshio

    text = path.read_bytes().decode(errors="replace").splitlines()
    lines = iter([(k, content) for k, line in enumerate(text, 1) if (content := line.partition("%")[0].strip())])
    dimension, markers, name, points, key = 0, 0, "", None, ""
    blocks: list[tuple[str, str, list[list[int]]]] = []  # marker, kind, rows
    for number, line in lines:
        if key.startswith("FFD_") and "=" not in line:
            continue  # boxes of free-form deformation
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "NDIME":
            dimension = _count(path, number, value)
        elif key == "NMARK":
            markers = _count(path, number, value)
        elif key == "MARKER_TAG":
            name = value
        elif key == "NPOIN":
            rows = [_numbers(path, k, line, float)[:dimension] for k, line in _rows(path, number, lines, value)]
            if dimension not in (2, 3) or any(len(row) != dimension for row in rows):
                raise FileError(
                    f"{path}, line {number}: points of NDIME= {dimension}; expected 2 or 3 coordinates each"
                )
            points = np.array(rows).reshape(-1, dimension)
        elif key in ("NELEM", "MARKER_ELEMS"):
            found: dict[str, list[list[int]]] = {}
            for k, row in _rows(path, number, lines, value):
                cell = _numbers(path, k, row, int)
                kind, count = CELL_TYPES.get(cell[0], ("", 0))
                if not count or len(cell) not in (count + 1, count + 2):
                    raise FileError(f"{path}, line {k}: {row!r} is no cell; expected a type, its nodes and a number")
                found.setdefault(kind, []).append(cell[1 : count + 1])
            blocks += [("" if key == "NELEM" else name, kind, cells) for kind, cells in found.items()]
        elif key == "NZONE" and value != "1":
            raise FileError(f"{path}, line {number}: there are {value} zones; expected one: write each to its own file")
        elif not key[:1].isalpha():
            raise FileError(f"{path}, line {number}: {line!r} stands between the sections: a count above is too small")
    named = {marker for marker, _, _ in blocks if marker}
    if points is None or not blocks or len(named) < markers:
        raise FileError(
            f"{path}: points, cells or some of {markers} markers are missing: it is cut short; write it anew"
        )
    sets = {
        name: [np.arange(len(rows)) if marker == name else np.empty(0, int) for marker, _, rows in blocks]
        for name in sorted(named)
    }
    return meshio.Mesh(points, [(kind, np.array(rows)) for _, kind, rows in blocks], cell_sets=sets), []


def _rows(path: Path, number: int, lines: Lines, value: str) -> Lines:
    """Yield as many lines as a section announces, each with its number.

    Args:
        path: The path of the file, for messages.
        number: The number of the line that announces them.
        lines: The lines that follow it.
        value: The number of rows, as it is written.

    Raises:
        FileError: The value is no count, or there are fewer lines.
    """
    for k in range(count := _count(path, number, value)):
        row = next(lines, None)
        if row is None or "=" in row[1]:
            raise FileError(f"{path}, line {number}: the section announces {count} rows and has {k}: it is cut short")
        yield row


def _count(path: Path, number: int, value: str) -> int:
    word = (value.split() or [""])[0]
    if not word.isdecimal():
        raise FileError(f"{path}, line {number}: {value!r} is no count; expected a whole number")
    return int(word)


def _numbers(path: Path, number: int, line: str, kind: type) -> list[Any]:
    try:
        return [kind(word) for word in line.split()]
    except (ValueError, OverflowError) as error:
        raise FileError(f"{path}, line {number}: {line[:40]!r} is no row of numbers") from error
