"""A tank mesh of the user's own: from a file, with electrodes as named boundaries."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import skfem

from pdeopt.fem import MeshError, check_mesh
from pdeopt.inverse import InputError

#: "electrode 1", and also "Electrode_1" or "electrode01".
ELECTRODE = re.compile(r"electrode[\s_-]*0*([1-9]\d*)", re.IGNORECASE)


def electrode_names_of(mesh: skfem.Mesh) -> tuple[str, ...]:
    """The names of the mesh's boundaries "electrode 1", "electrode 2", …, in numerical order.

    Raises:
        MeshError: where there are none, or numbers are missing or given twice, or an electrode has no facets, facets
            of another electrode, or facets inside the mesh.
    """
    found = [(int(match[1]), name) for name in mesh.boundaries or () if (match := ELECTRODE.fullmatch(name.strip()))]
    if not found:
        raise MeshError(
            f"the mesh has no boundary named 'electrode 1', 'electrode 2', …; {_list_of(mesh)}. Name the facets "
            "under electrodes so: mesh.with_boundaries({...}), or Physical Curve (in 3D: Surface) in Gmsh"
        )
    numbers, names = zip(*sorted(found), strict=True)
    _check_numbers(numbers, names)
    for name in names:
        _check_facets(mesh, name)
    _check_overlap(mesh, names)
    return names


def read_tank_mesh(path: str | Path) -> skfem.Mesh:
    """The mesh in a file of any format that meshio reads (such as Gmsh's .msh), with its electrodes.

    Boundaries are named by physical groups; see `electrode_names_of`. Vertices that no element has are left out.

    Raises:
        InputError: for a file that is missing, damaged or of an unknown format.
        MeshError: for a mesh without proper electrodes, or with degenerate elements.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected a mesh file, such as Gmsh's .msh")
    mesh = _loaded(path)
    try:
        check_mesh(mesh)
        electrode_names_of(mesh)
    except MeshError as error:
        lost = _curved(mesh) and not mesh.boundaries
        hint = "; boundaries of second-order meshes are not read: save a first-order mesh" if lost else ""
        raise MeshError(f"{path}: {error}{hint}") from None
    return mesh


def _loaded(path: Path) -> skfem.Mesh:
    said = io.StringIO()
    out = ["field_data"]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            mesh = _without_orphans(skfem.Mesh.load(str(path), out=out))
    except ImportError as error:
        raise InputError(
            f"{path}: to read this format, meshio needs the package {error.name!r}: install it, or take another format"
        ) from error
    except (Exception, SystemExit) as error:  # meshio exits on files that it cannot read
        cause = said.getvalue() if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path}: not readable as a mesh ({' '.join(cause.split())}); the file may be cut short, or of another "
            "format than its ending says: write it anew, as Gmsh's .msh (format 4.1) for example"
        ) from error
    return _with_own_names(mesh, out[0] if isinstance(out[0], dict) else {})


def _without_orphans(mesh: skfem.Mesh) -> skfem.Mesh:
    """Without vertices that no element has, such as the centers of arcs: they would make every matrix singular."""
    return mesh if _curved(mesh) else mesh.remove_unused_nodes()


def _curved(mesh: skfem.Mesh) -> bool:
    """Whether elements have nodes besides their vertices."""
    return bool(mesh.elem.facet_dofs or mesh.elem.edge_dofs or mesh.elem.interior_dofs)


def _with_own_names(mesh: skfem.Mesh, groups: dict[str, np.ndarray]) -> skfem.Mesh:
    """Undo a confusion of scikit-fem: in old .msh formats it ignores that each dimension numbers its groups anew.

    ``groups``: name → (number, dimension), as in the file.
    """

    def renamed(parts: dict[str, np.ndarray] | None, dimension: int) -> dict[str, np.ndarray] | None:
        own = {int(number): name for name, (number, dim) in groups.items() if dim == dimension}
        true = {name: own.get(int(groups[name][0])) if name in groups else name for name in parts or ()}
        return {new: parts[name] for name, new in true.items() if new} if parts else None

    boundaries, subdomains = renamed(mesh.boundaries, mesh.dim() - 1), renamed(mesh.subdomains, mesh.dim())
    return replace(mesh, _boundaries=boundaries, _subdomains=subdomains)


def _list_of(mesh: skfem.Mesh) -> str:
    kinds = {"boundaries": mesh.boundaries, "subdomains": mesh.subdomains}
    listed = [f"{kind} {', '.join(map(repr, parts))}" for kind, parts in kinds.items() if parts]
    return f"it has {' and '.join(listed)}" if listed else "it has no named boundaries at all"


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
