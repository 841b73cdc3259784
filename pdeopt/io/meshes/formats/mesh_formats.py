"""The formats of mesh files: which reader each has, and why some have none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pdeopt.io.errors import FileError, did_you_mean
from pdeopt.io.meshes.formats.abaqus_deck import read_deck
from pdeopt.io.meshes.formats.gmsh_sections import announced_elements, check_sections, first_unreadable_place, is_gmsh
from pdeopt.io.meshes.formats.meshio_process import MESHIO
from pdeopt.io.meshes.formats.numbering import numbering_warnings
from pdeopt.io.meshes.formats.su2_file import read_su2
from pdeopt.io.meshes.formats.tetgen_files import read_tetgen

#: The formats with a reader of our own, since meshio's loses groups or never ends, by the ending of the file.
OWN_READERS: dict[str, Callable[[Path], tuple[Any, list[str]]]] = {
    ".inp": read_deck,
    ".ele": read_tetgen,
    ".node": read_tetgen,
    ".su2": read_su2,
}
#: The formats that meshio reads, by the ending of the file, with meshio's name of each.
MESHIO_FORMATS = {
    **{".msh": "gmsh", ".vtu": "vtu", ".vtk": "vtk", ".xdmf": "xdmf", ".xmf": "xdmf", ".med": "med"},
    **{".mesh": "medit", ".meshb": "medit", ".bdf": "nastran", ".nas": "nastran", ".fem": "nastran"},
    **{".vol": "netgen", ".vol.gz": "netgen", ".ugrid": "ugrid", ".avs": "avsucd"},
}
#: The formats that meshio reads and pdeopt refuses, by the ending of the file, with the reason.
REFUSED_FORMATS = {
    **dict.fromkeys((".ply", ".stl", ".obj", ".off", ".wkt"), "it holds a surface without groups"),
    **dict.fromkeys(
        (".cgns", ".h5m", ".hmf", ".mdpa", ".tec", ".dat", ".e", ".exo", ".ex2"), "its groups would be lost"
    ),
    **dict.fromkeys((".post", ".dato", ".f3grid", ".xml"), "its reader takes a file that is cut short for a whole one"),
}
#: The endings of XML files.
XML_ENDINGS = {".vtu", ".xdmf", ".xmf"}


def read_raw(path: Path) -> tuple[Any, list[str]]:
    """Return the mesh in a file as a meshio mesh, and what may be wrong with it.

    Args:
        path: The path of the file; its ending says the format.

    Raises:
        FileError: The format is not read, its reader fails on the file or takes too long, or the file holds fewer cells
            than it announces.
    """
    endings = [path.suffix.lower(), "".join(path.suffixes[-2:]).lower()]
    ending = next((ending for ending in endings if ending in (*OWN_READERS, *MESHIO_FORMATS, *REFUSED_FORMATS)), None)
    if ending is None:
        known = sorted([*OWN_READERS, *MESHIO_FORMATS])
        hint = did_you_mean(path.suffix, known)
        listed = " ".join(known) + hint
        raise FileError(f"{path}: the ending {path.suffix!r} is of no format that is read; those are {listed}")
    if ending in REFUSED_FORMATS:
        raise FileError(
            f"{path}: meshes in {ending} are not read, since {REFUSED_FORMATS[ending]}; write it as Gmsh's .msh, VTU, "
            "XDMF or Abaqus' .inp"
        )
    return OWN_READERS[ending](path) if ending in OWN_READERS else _by_meshio(path, MESHIO_FORMATS[ending])


def _by_meshio(path: Path, file_format: str) -> tuple[Any, list[str]]:
    if file_format == "gmsh" and not is_gmsh(path):
        raise FileError(f"{path}: not readable as a mesh: a .msh file of Gmsh begins with $MeshFormat; write it anew")
    if file_format == "gmsh":
        check_sections(path)
    raw, failure, said = MESHIO.read(path, file_format)
    if failure:
        raise FileError(_unreadable(path, file_format, failure, said))
    announced = {"gmsh": announced_elements, "vtk": _announced_in_vtk}.get(file_format)
    found, expected = sum(map(len, raw.cells)), announced(path) if announced else None
    if expected not in (None, found):
        raise FileError(f"{path}: it announces {expected} cells, and {found} are there: it is damaged; write it anew")
    notes = [f"{path}: {said}"] if said else []
    if file_format == "nastran":
        cells = np.concatenate(raw.cells_id) if raw.cells else np.empty(0, int)
        notes += numbering_warnings(path, raw.points_id, [block.data for block in raw.cells], cells)
    return raw, notes


def _unreadable(path: Path, file_format: str, failure: str, said: str) -> str:
    if failure == "ImportError":
        return (
            f"{path}: to read this format, meshio needs the package {said!r}: install it (pip install {said}), or take "
            "another format"
        )
    if failure == "FileNotFoundError":
        return f"{path}: a file that it refers to is missing ({failure}: {said}); keep the two together"
    if "Incompatible cell data 'gmsh:physical'" in said:
        return (
            f"{path}: some elements belong to no physical group, and others do: give all a group, or save only those "
            "that have one (in Gmsh: Mesh.SaveAll = 0)"
        )
    place = first_unreadable_place(path) if file_format == "gmsh" else _place_in_xml(path)
    cause = said if failure == "SystemExit" else f"{failure}: {said}"
    return (
        f"{place}: not readable as a mesh ({cause}); the file may be cut short, or of another format than its ending "
        "says: write it anew, as Gmsh's .msh for example (Mesh.MshFileVersion = 4.1 or 2.2)"
    )


def _announced_in_vtk(path: Path) -> int | None:
    """Return the number of cells that a legacy VTK file announces, or None where it announces none.

    In version 5.1 the file announces its offsets, which are one more.
    """
    content = path.read_bytes()
    cells = re.search(rb"^CELLS\s+(\d+)", content, re.MULTILINE | re.IGNORECASE)
    has_offsets = re.match(rb"# vtk DataFile Version 5", content)
    return int(cells[1]) - bool(has_offsets) if cells else None


def _place_in_xml(path: Path) -> str:
    """Return the place where an XML file breaks off, as the beginning of a message."""
    if path.suffix.lower() in XML_ENDINGS:
        try:
            ElementTree.parse(path)
        except ElementTree.ParseError as error:
            return f"{path}, line {error.position[0]}: {error.msg.split(':')[0]}"
    return f"{path}"
