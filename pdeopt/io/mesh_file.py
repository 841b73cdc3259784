"""Meshes from files, of every format that meshio reads, with boundaries and subdomains by name."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import skfem

from pdeopt.fem import MeshError, check_mesh
from pdeopt.fem.conformity import require_conforming
from pdeopt.io.errors import FileError, did_you_mean, existing_file
from pdeopt.io.gmsh_sections import check_sections, is_gmsh, place_of_nonsense
from pdeopt.io.mesh_cells import Coincident, mesh_of
from pdeopt.io.mesh_groups import groups_of

XML = {".vtu", ".xdmf", ".xmf", ".xml"}


def read_mesh(
    path: str | Path,
    *,
    require: str | Sequence[str] = (),
    scale: float = 1.0,
    coincident: Coincident = "refuse",
    check_conformity: bool = True,
) -> skfem.Mesh:
    """The mesh in a file of any format that meshio reads: Gmsh's .msh, VTU, XDMF, …

    Groups of facets are its ``boundaries``, on its rim or inside, and groups of cells its ``subdomains``, by the names
    of physical groups or sets, "material 3" where cells are only tagged with a number in an array "material". Facets
    inside are oriented as in the file: the normal points to the right of a curve, out of a surface's positive side.
    Left out are vertices that no cell has, cells of lower dimension, and the z of a plane mesh.

    Args:
        require: names that boundaries or subdomains must have.
        scale: multiplies the coordinates: 1e-3 for a file in mm where all else is in m.
        coincident: what to do about vertices at the same place, across which nothing is connected: "refuse" them,
            "merge" them, or "keep" them, as a crack. Where it separates parts, `FunctionSpace` asks once more.
        check_conformity: False for a mesh that does not conform on purpose; `FunctionSpace` takes the same keyword.

    Raises:
        FileError: for a file that is missing, damaged or of an unknown format; for cells of several kinds, inverted or
            degenerate ones; for cells that do not meet in whole facets (hanging nodes, parts that do not match, that
            overlap, or that touch without a common facet); for a surface in space; for names that are required and
            missing.
    """
    path = existing_file(path, "a mesh file, such as Gmsh's .msh")
    raw = _read(path)
    try:
        groups = groups_of(raw)
        mesh = mesh_of(raw, groups, scale, coincident)
        check_mesh(mesh, check_conformity=False)
        if check_conformity:
            require_conforming(mesh, torn=coincident == "keep")
    except MeshError as error:
        raise FileError(f"{path}: {error}") from error
    for name in [require] if isinstance(require, str) else require:
        _check_name(path, mesh, name, name in groups)
    return mesh


def names_of(mesh: skfem.Mesh) -> str:
    """The boundaries and subdomains of a mesh, as part of a message."""
    kinds = {"boundaries": mesh.boundaries, "subdomains": mesh.subdomains}
    named = " and ".join(f"{kind} {', '.join(map(repr, parts))}" for kind, parts in kinds.items() if parts)
    return named or "no names at all"


def _read(path: Path) -> Any:
    """What meshio makes of the file. It prints what it has to say, and exits on files that it cannot read."""
    import meshio

    kinds = {"".join(path.suffixes[-k:]).lower() for k in (1, 2)} & set(meshio.extension_to_filetypes)
    if not kinds:
        known = " ".join(sorted(meshio.extension_to_filetypes))
        raise FileError(f"{path}: the ending {path.suffix!r} is of no format that is read; those are {known}")
    gmsh = is_gmsh(path)
    if gmsh:
        check_sections(path)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return meshio.read(path, "gmsh" if gmsh else None)
    except ImportError as error:
        raise FileError(
            f"{path}: to read this format, meshio needs the package {error.name!r}: install it (pip install "
            f"{error.name}), or take another format"
        ) from error
    except (Exception, SystemExit) as error:
        raise FileError(_unreadable(path, gmsh, error, " ".join(said.getvalue().split()))) from error


def _unreadable(path: Path, gmsh: bool, error: BaseException, said: str) -> str:
    cause = said if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    if isinstance(error, FileNotFoundError):
        return f"{path}: a file that it refers to is missing ({cause}); keep the two together"
    if "Incompatible cell data 'gmsh:physical'" in cause:
        return (
            f"{path}: some elements belong to no physical group, and others do: give all a group, or save only those "
            "that have one (in Gmsh: Mesh.SaveAll = 0)"
        )
    place = place_of_nonsense(path) if gmsh else _place_in_xml(path)
    return (
        f"{place}: not readable as a mesh ({' '.join(cause.split())}); the file may be cut short, or of another format "
        "than its ending says: write it anew, as Gmsh's .msh for example (Mesh.MshFileVersion = 4.1 or 2.2)"
    )


def _place_in_xml(path: Path) -> str:
    """Where an XML file breaks off, as the beginning of a message."""
    if path.suffix.lower() in XML:
        try:
            ElementTree.parse(path)
        except ElementTree.ParseError as error:
            return f"{path}, line {error.position[0]}: {error.msg.split(':')[0]}"
    return f"{path}"


def _check_name(path: Path, mesh: skfem.Mesh, name: str, is_group: bool) -> None:
    known = [*(mesh.boundaries or {}), *(mesh.subdomains or {})]
    if name in known:
        return
    if is_group:
        raise FileError(f"{path}: the group {name!r} is empty: no cell and no facet of a cell belongs to it")
    hint = did_you_mean(name, known) or "; in Gmsh, Physical Curve, Surface and Volume give names"
    raise FileError(f"{path}: the mesh has no boundary or subdomain named {name!r}; it has {names_of(mesh)}{hint}")
