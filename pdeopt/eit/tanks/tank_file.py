"""A tank mesh of the user's own: from a file, with electrodes as named boundaries."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import skfem

from pdeopt.fem import MeshError
from pdeopt.io import FileError, read_mesh
from pdeopt.io.meshes.mesh_file import names_of

#: The name of an electrode: "electrode 1", and also "Electrode_1" or "electrode01".
ELECTRODE_NAME = re.compile(r"electrode[\s_-]*0*([1-9]\d*)", re.IGNORECASE)


def electrode_names_of(mesh: skfem.Mesh) -> tuple[str, ...]:
    """Return the names of the mesh's boundaries "electrode 1", "electrode 2", …, in numerical order.

    Args:
        mesh: The mesh.

    Raises:
        MeshError: There are none, numbers are missing or given twice, or an electrode has no facets, facets of another
            electrode, or facets inside the mesh.
    """
    found = [
        (int(match[1]), name) for name in mesh.boundaries or () if (match := ELECTRODE_NAME.fullmatch(name.strip()))
    ]
    if not found:
        raise MeshError(
            f"the mesh has no boundary named 'electrode 1', 'electrode 2', …; it has {names_of(mesh)}. Name the "
            "facets under electrodes so: mesh.with_boundaries({...}), or Physical Curve (in 3D: Surface) in Gmsh"
        )
    numbers, names = zip(*sorted(found), strict=True)
    _check_numbers(numbers, names)
    for name in names:
        _check_facets(mesh, name)
    _check_overlap(mesh, names)
    return names


def read_tank_mesh(path: str | Path) -> skfem.Mesh:
    """Return the mesh in a file, with its electrodes.

    The file is read by `pdeopt.io.read_mesh`, and the electrodes are checked by `electrode_names_of`.

    Args:
        path: The path of the file.

    Raises:
        FileError: The file is missing, damaged or of an unknown format, or its cells are of second order.
        MeshError: The mesh has no proper electrodes.
    """
    mesh = read_mesh(path)
    if mesh.p.shape[1] > mesh.nvertices:
        raise FileError(f"{path}: its cells are of second order; save a first-order mesh (Mesh.ElementOrder = 1)")
    try:
        electrode_names_of(mesh)
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from None
    return mesh


def _check_numbers(numbers: tuple[int, ...], names: tuple[str, ...]) -> None:
    for k in range(1, len(numbers)):
        if numbers[k] == numbers[k - 1]:
            raise MeshError(f"boundaries {names[k - 1]!r} and {names[k]!r} have the same number; rename one")
    missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if missing:
        raise MeshError(
            f"the mesh's electrodes reach from {names[0]!r} to {names[-1]!r}, without {missing[:8]}"
            f"{' …' if len(missing) > 8 else ''}; number them 1, 2, … without gaps"
        )
    if len(numbers) < 2:
        raise MeshError(f"the mesh has one electrode only, {names[0]!r}; a current needs two")


def _check_facets(mesh: skfem.Mesh, name: str) -> None:
    facets = np.asarray(mesh.boundaries[name])
    if not len(facets):
        raise MeshError(f"boundary {name!r} has no facets; leave it out, or name the facets under it")
    inner = facets[mesh.f2t[1, facets] >= 0]
    if len(inner):
        where = np.round(mesh.p[:, mesh.facets[:, inner[0]]].mean(1), 4).tolist()
        raise MeshError(
            f"boundary {name!r} has {len(inner)} facets inside the mesh, of {len(facets)}, the first at {where}; "
            "electrodes lie on the outer boundary"
        )


def _check_overlap(mesh: skfem.Mesh, names: tuple[str, ...]) -> None:
    owner = np.full(mesh.nfacets, -1)
    for l, name in enumerate(names):
        facets = np.asarray(mesh.boundaries[name])
        taken = facets[owner[facets] >= 0]
        if len(taken):
            raise MeshError(
                f"boundaries {names[owner[taken[0]]]!r} and {name!r} have {len(taken)} facets in common; "
                "electrodes must not overlap"
            )
        owner[facets] = l
