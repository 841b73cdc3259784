"""Meshes from files of many formats, with boundaries and subdomains by name."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import skfem

from pdeopt.errors import did_you_mean
from pdeopt.fem import MeshError, check_mesh
from pdeopt.fem.meshes.conformity import require_conforming
from pdeopt.io.errors import FileError, existing_file
from pdeopt.io.meshes.formats.mesh_formats import read_raw
from pdeopt.io.meshes.mesh_cells import Coincident, mesh_of
from pdeopt.io.meshes.mesh_groups import Group, groups_of, node_sets_of


def read_mesh(
    path: str | Path,
    *,
    require: str | Collection[str] = (),
    boundaries: str | Collection[str] = (),
    subdomains: str | Collection[str] = (),
    scale: float = 1.0,
    coincident: Coincident = "refuse",
    check_conformity: bool = True,
) -> skfem.Mesh:
    """Return the mesh in a file: Gmsh's .msh, VTU, XDMF, Abaqus' .inp, or another format.

    Groups of facets are its ``boundaries``, on its rim or inside, and groups of cells its ``subdomains``, by the names
    of physical groups or sets, "material 3" where cells are only tagged with a number in an array "material". Facets
    inside are oriented as in the file: the normal points to the right of a curve, out of a surface's positive side. A
    set of nodes is a boundary: of the facets on the rim all of whose vertices are in it, and of those inside that reach
    further vertices of it; a set with all nodes of a region is none. Left out are vertices that no cell has, cells of
    lower dimension, and the z of a plane mesh. What may be wrong with the file is a `UserWarning`.

    Args:
        path: The path of the file; its ending says the format.
        require: The names that boundaries or subdomains must have.
        boundaries: The names that boundaries must have.
        subdomains: The names that subdomains must have.
        scale: The factor of the coordinates: 1e-3 for a file in mm where all else is in m.
        coincident: What to do about vertices at the same place, across which nothing is connected: "refuse" them,
            "merge" them, or "keep" them, as a crack. Where it separates parts, `FunctionSpace` asks once more.
        check_conformity: Whether the mesh must conform; False for a mesh that does not on purpose. `FunctionSpace`
            takes the same keyword.

    Raises:
        FileError: The file is missing, damaged or of a format that is not read; its cells are of several kinds,
            inverted or degenerate; they do not meet in whole facets (hanging nodes, parts that do not match, that
            overlap, or that touch without a common facet); they are a surface in space; names that are required are
            missing.
    """
    path = existing_file(path, "a mesh file, such as Gmsh's .msh")
    raw, notes = read_raw(path)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    try:
        groups = groups_of(raw)
        mesh = mesh_of(raw, groups, scale, coincident)
        check_mesh(mesh, check_conformity=False)
        if check_conformity:
            require_conforming(mesh, torn=coincident == "keep")
    except MeshError as error:
        raise FileError(f"{path}: {error}") from error
    has = {"boundary": [*(mesh.boundaries or {})], "subdomain": [*(mesh.subdomains or {})]}
    for kind, wanted in {"boundary or subdomain": require, "boundary": boundaries, "subdomain": subdomains}.items():
        known = has.get(kind, has["boundary"] + has["subdomain"])
        for name in [wanted] if isinstance(wanted, str) else wanted:
            if name not in known:
                raise FileError(f"{path}: {_missing(mesh, kind, name, known, raw, groups)}")
    return mesh


def _missing(mesh: skfem.Mesh, kind: str, name: str, known: list[str], raw: Any, groups: Mapping[str, Group]) -> str:
    if name in [*(mesh.boundaries or {}), *(mesh.subdomains or {})]:
        what, other = ("cells", "facets") if kind == "boundary" else ("facets", "cells")
        return f"{name!r} is a group of {what}; expected a {kind}, a group of {other}; the mesh has {names_of(mesh)}"
    if name in groups:
        return f"the group {name!r} is empty: no cell and no facet of a cell belongs to it"
    if name in node_sets_of(raw):
        return (
            f"the set of nodes {name!r} is no boundary: no facet has all its vertices in it, or it holds those of "
            "whole cells; give a set of the nodes on the boundary, or of its facets"
        )
    hint = did_you_mean(name, known) or "; in Gmsh, Physical Curve, Surface and Volume give names"
    return f"the mesh has no {kind} named {name!r}; it has {names_of(mesh)}{hint}"


def names_of(mesh: skfem.Mesh) -> str:
    """Return the names of the boundaries and subdomains of a mesh, as a part of a message."""
    kinds = {"boundaries": mesh.boundaries, "subdomains": mesh.subdomains}
    named = " and ".join(f"{kind} {', '.join(map(repr, parts))}" for kind, parts in kinds.items() if parts)
    return named or "no names at all"
