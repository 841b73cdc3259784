"""The files of fields on their meshes, for ParaView and its like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdeopt.run.store.directory import SERIES_FOLDER, atomic_write, refuse_other_than_folder, write_text
from pdeopt.run.store.fields import FIELD_KIND, Fields
from pdeopt.run.store.placement import Placement, PlainMesh

#: The vertices of a cell in VTK's order, by name of the cell, where scikit-fem's order is another.
VTK_ORDER = {"hexahedron": [0, 3, 6, 2, 1, 5, 7, 4]}
#: The largest number of files of a series in time, each of which holds the mesh, too.
MAX_SERIES_FILES = 100


#: Fields by name: the kind of place, and the values there, (k,), or (k, 3) of vectors.
Data = dict[str, tuple[str, np.ndarray]]


@dataclass(frozen=True)
class MeshFile:
    """The content of one file for ParaView.

    Attributes:
        mesh: The mesh.
        data: The fields at its vertices or in its cells, by name.
    """

    mesh: PlainMesh
    data: Data


def mesh_files(fields: Fields) -> dict[str, MeshFile]:
    """Return the files by name: fields.vtu, and state.vtu where the state has a mesh of its own.

    What changes in time is not in them, but in `files_in_time`. They hold parameter, coefficient, truth, error, state,
    adjoint and a target state as cell or point data. Of several parameters each has its name at their ends, and those
    on another mesh than the first have a file fields_NAME.vtu. A coefficient on a boundary is left out (result.npz has
    it), as are state and adjoint of a space that is not known, and files that hold nothing.
    """
    mesh = fields.first.at.mesh
    found = {"fields.vtu": MeshFile(mesh, {})}
    for name, one in fields.each.items():
        has_first_mesh = one.at.mesh.is_same_as(mesh)
        path = "fields.vtu" if has_first_mesh else f"fields_{name}.vtu"
        file = found.setdefault(path, MeshFile(one.at.mesh, {}))
        if one.steps == 1:
            file.data.update(_of_parameter(one, name))
    if fields.state_at is not None and fields.times == 1:
        if fields.state_has_own_mesh:
            found["state.vtu"] = MeshFile(fields.state_at.mesh, {})
        found["state.vtu" if fields.state_has_own_mesh else "fields.vtu"].data.update(_of_state(fields))
    return {name: file for name, file in found.items() if file.mesh.cell and file.data}


def files_in_time(fields: Fields) -> Iterator[tuple[float, MeshFile]]:
    """Yield the times at which a state in time is kept, in order, and what there is at each of them.

    These are state, adjoint and a target state, and the coefficients in time that live on the same mesh, each in the
    step at whose end, or in which, the time is. Of more than `MAX_SERIES_FILES` times some are chosen evenly. Where
    times are not known they are counted from 0.
    """
    if fields.times == 1 or fields.state_at is None or not fields.state_at.mesh.cell:
        return
    times = np.arange(fields.times) if fields.state_times is None else fields.state_times
    some = np.linspace(0, fields.times - 1, min(fields.times, MAX_SERIES_FILES)).round().astype(int)
    for k in np.argsort(times, kind="stable")[some]:
        data = _of_state(fields.at_time(int(k)))
        for name, one in fields.each.items():
            if one.steps > 1 and one.at.mesh.is_same_as(fields.state_at.mesh):
                data.update(_of_parameter(one.at_step(one.step_at(times[k])), name))
        if data:
            yield float(times[k]), MeshFile(fields.state_at.mesh, data)


def write_series(directory: Path, files: Iterable[tuple[float, MeshFile]]) -> None:
    """Write files of several times, and fields.pvd, by which ParaView shows them as one series.

    Args:
        directory: The run directory.
        files: The times and what there is at each of them; where there are none, nothing is written.

    Raises:
        UsageError: Something other than a folder has the folder's name.
    """
    folder, entries = directory / SERIES_FOLDER, []
    for k, (time, file) in enumerate(files):
        refuse_other_than_folder(folder)
        folder.mkdir(exist_ok=True)
        name = f"{k:04d}.vtu"
        write_mesh(folder / name, file)
        entries.append(f'<DataSet timestep="{time:.17g}" part="0" file="{SERIES_FOLDER}/{name}"/>')
    if entries:
        head = '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n<Collection>'
        write_text(directory / "fields.pvd", "\n".join([head, *entries, "</Collection>\n</VTKFile>\n"]))


def write_mesh(path: Path, file: MeshFile) -> None:
    """Write a mesh and its fields in the format of the file's name, as a whole or not at all."""
    import meshio

    mesh = file.mesh
    points = np.zeros((mesh.vertices.shape[1], 3))
    points[:, : mesh.dim] = mesh.vertices.T
    cells = mesh.t[VTK_ORDER.get(mesh.cell, slice(None))].T
    at_vertices = {name: values for name, (kind, values) in file.data.items() if kind == "vertices"}
    in_cells = {name: [values] for name, (kind, values) in file.data.items() if kind == "cells"}
    with atomic_write(path) as temporary:
        meshio.Mesh(points, [(mesh.cell, cells)], point_data=at_vertices, cell_data=in_cells).write(temporary)


def _of_parameter(fields: Fields, name: str) -> Data:
    """Return the fields of a parameter; those of one of several have its name at their ends."""
    given = {"coefficient": fields.coefficient, "truth": fields.truth}
    if fields.parameter.shape == fields.coefficient.shape:  # weights of a network have no place
        given = {"parameter": fields.parameter, **given}
    if fields.truth is not None:
        given["error"] = fields.coefficient - fields.truth
    drawn = {
        what: _drawn(fields.at, values) for what, values in given.items() if values is not None and _has(fields.at)
    }
    return {f"{what}_{name}" if name else what: values for what, values in drawn.items()}


def _of_state(fields: Fields) -> Data:
    """Return state, adjoint and target as fields, for each experiment and part; complex ones as two."""
    found: Data = {}
    given = [(name, fields.state_at, values) for name, values in (("state", fields.state), ("adjoint", fields.adjoint))]
    if fields.parts:
        given = [(f"{name}_{part}", at, values) for name, _, values in given for part, at in fields.parts.items()]
    if fields.kind == FIELD_KIND:
        given.append(("target", fields.field_at, fields.data))
    for name, at, values in given:
        if values is not None and at is not None and _has(at):
            experiments = fields.by_experiment(values)
            names = [name] if len(experiments) == 1 else [f"{name}_{k + 1}" for k in range(len(experiments))]
            for key, one in zip(names, experiments, strict=True):
                found |= {name: _drawn(at, part) for name, part in _parts(key, one).items()}
    return found


def _parts(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return real and imaginary part of complex values by name, as files have no complex numbers."""
    if not np.iscomplexobj(values):
        return {name: values}
    return {f"{name}_real": values.real, f"{name}_imaginary": values.imag}


def _has(at: Placement) -> bool:
    return at.kind in ("vertices", "cells")


def _drawn(at: Placement, values: np.ndarray) -> tuple[str, np.ndarray]:
    """Return the kind of place, and the values there, of vectors three components as ParaView wants them."""
    drawn = at.drawn(values)
    if drawn.ndim > 1:
        drawn = np.pad(drawn, [(0, max(0, 3 - len(drawn))), (0, 0)]).T
    return at.kind, drawn
