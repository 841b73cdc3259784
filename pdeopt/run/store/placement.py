"""The places of the values of a parameter or a state, from which pictures are drawn without a problem."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.fem.meshes.periodic import unwrapped
from pdeopt.inverse import Parameter, ParameterInTime, Tree
from pdeopt.inverse.unknowns.parameters import SingleParameter
from pdeopt.run.store.boundary import curve_coordinate

#: The names of the cells that can be drawn, by dimension and number of vertices (in scikit-fem's order).
CELL_NAMES = {
    **{(1, 2): "line", (2, 3): "triangle", (2, 4): "quad"},
    **{(3, 4): "tetra", (3, 6): "wedge", (3, 8): "hexahedron"},
}


#: The kind of the place of values that are nowhere.
NUMBERS_KIND = "numbers"


@dataclass(frozen=True, eq=False)
class PlainMesh:
    """A mesh as pictures and files need it, without scikit-fem.

    Attributes:
        p: The points (d, points); nodes of second-order cells follow the vertices.
        t: The points of each cell, (vertices of a cell, cells).
        cell: A name of `CELL_NAMES`, or "" for cells that cannot be drawn.
        unit: The unit of the coordinates; "" where none is stated.

    Raises:
        ValueError: Cells name points that are not there.
    """

    p: np.ndarray
    t: np.ndarray
    cell: str
    unit: str = ""

    def __post_init__(self) -> None:
        if self.t.size and not 0 <= self.t.min() <= self.t.max() < self.p.shape[1]:
            raise ValueError(f"cells name points {self.t.min()} to {self.t.max()}; the mesh has {self.p.shape[1]}")

    @classmethod
    def of(cls, mesh: skfem.Mesh, unit: str = "") -> PlainMesh:
        """Return a mesh of scikit-fem in this form, a periodic one unwrapped, with the unit of its places."""
        mesh, _ = unwrapped(mesh)
        return cls(mesh.p, mesh.t, CELL_NAMES.get((mesh.dim(), len(mesh.t)), ""), unit)

    @property
    def dim(self) -> int:
        """The dimension d of the space that the mesh lies in."""
        return len(self.p)

    @property
    def vertices(self) -> np.ndarray:
        """The points that are vertices, (d, k)."""
        return self.p[:, : int(self.t.max(initial=-1)) + 1]

    @property
    def centers(self) -> np.ndarray:
        """The mean of the vertices of each cell, (d, cells)."""
        return self.p[:, self.t].mean(1)

    def named(self, coordinate: str) -> str:
        """Return a coordinate's name with the unit, for an axis: "x (m)"."""
        return f"{coordinate} ({self.unit})" if self.unit else coordinate

    def is_same_as(self, other: PlainMesh) -> bool:
        """Return whether another mesh has the same points and cells."""
        return np.array_equal(self.p, other.p) and np.array_equal(self.t, other.t)


@dataclass(frozen=True, eq=False)
class Placement:
    """The places at which the values (n,) of a finite-element function are drawn, on its mesh.

    Attributes:
        kind: "vertices" or "cells" of the mesh, "boundary" for values along a boundary, or "numbers" for those that are
            nowhere.
        gather: Indices (j, k) into the values, −1 where there is none; the mean over j is drawn. Of a vector-valued
            function with c components, (c, j, k).
        x: The place of each drawn value, (d, k).
        abscissa: The coordinate (k,) along a boundary curve, or in 1-D; empty where it is not a curve.
        abscissa_label: The name of that coordinate.
        mesh: The mesh that the function lives on.

    Raises:
        ValueError: The places are not those of the mesh.
    """

    kind: str
    gather: np.ndarray
    x: np.ndarray
    abscissa: np.ndarray
    abscissa_label: str
    mesh: PlainMesh

    def __post_init__(self) -> None:
        if self.gather.shape[-1:] != self.x.shape[1:]:
            raise ValueError(f"{self.gather.shape[-1]} values are to be drawn at {self.x.shape[1]} places")
        if self.kind not in ("vertices", "cells"):
            return
        places = self.mesh.vertices if self.kind == "vertices" else self.mesh.centers
        size = np.ptp(self.mesh.p, axis=1).max(initial=0)
        if places.shape != self.x.shape or not np.allclose(places, self.x, rtol=0, atol=1e-9 * size):
            raise ValueError(
                f"values at {self.x.shape[1]} {self.kind} do not belong to the mesh beside them, which has "
                f"{places.shape[1]} (files of former versions hold one mesh only): run the problem again"
            )

    def check(self, values: np.ndarray, name: str) -> None:
        """Check that there are as many values as are drawn.

        Args:
            values: The values (n,) or (n, r).
            name: The word for them, for messages.

        Raises:
            ValueError: There are fewer.
        """
        if len(values) <= self.gather.max(initial=-1):
            raise ValueError(f"{name} has {len(values)} values; expected more than {self.gather.max()}")

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """Return the values that are drawn, (k,), or (c, k) of a vector-valued function.

        They are NaN where the function has no value.
        """
        picked = np.where(self.gather >= 0, np.asarray(values, np.result_type(values, float))[self.gather], np.nan)
        return picked.mean(-2)

    def magnitude(self, values: np.ndarray) -> np.ndarray:
        """Return the length of the vectors that are drawn, (k,); of a scalar function its values, as they are."""
        drawn = self.drawn(values)
        return drawn if drawn.ndim == 1 else np.linalg.norm(drawn, axis=0)

    @property
    def components(self) -> int:
        """The number of components of a vector-valued function; 1 of a scalar one."""
        return len(self.gather) if self.gather.ndim == 3 else 1

    def among(self, indices: np.ndarray) -> Placement:
        """Return the places of the same values where they are those at ``indices`` (n,) of a longer array."""
        return replace(self, gather=np.where(self.gather >= 0, indices[self.gather], -1))

    def to_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the arrays that `from_arrays` reads, each with ``name`` at the beginning of its own name."""
        return {
            f"{name}_kind": np.array(self.kind),
            f"{name}_gather": self.gather,
            f"{name}_x": self.x,
            f"{name}_abscissa": self.abscissa,
            f"{name}_abscissa_label": np.array(self.abscissa_label),
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, np.ndarray], mesh: PlainMesh) -> Placement:
        """Return the placement that `to_arrays` made arrays of, on a mesh."""
        return cls(
            str(arrays[f"{name}_kind"]),
            arrays[f"{name}_gather"],
            arrays[f"{name}_x"],
            arrays[f"{name}_abscissa"],
            str(arrays[f"{name}_abscissa_label"]),
            mesh,
        )


def place_parameter(parameter: SingleParameter, unit: str = "") -> Placement:
    """Return the places of a parameter's values.

    They are along the boundary where all its degrees of freedom lie there, on the mesh otherwise; numbers, and entries
    of trees that are no function, are nowhere. Of a parameter in time they are those of the function in each step.

    Args:
        parameter: The parameter.
        unit: The unit of the mesh's coordinates.
    """
    if isinstance(parameter, Tree) and parameter.space is not None:
        return place_field(parameter.space, unit=unit)
    if not isinstance(parameter, Parameter | ParameterInTime):
        return nowhere(parameter.size)
    space, dofs = parameter.space, parameter.dofs
    facets = getattr(space.basis, "find", None)  # a space on facets has them
    if facets is not None:
        on_facets = np.unique(space.basis.get_dofs(facets).flatten())
        return _on_boundary(space, np.arange(space.n) if dofs is None else dofs, on_facets, unit)
    if dofs is not None and np.isin(dofs, space.dofs()).all():
        return _on_boundary(space, dofs, dofs, unit)
    found = place_field(space, dofs, unit)
    if isinstance(parameter, Parameter) and parameter.coordinate:
        return replace(found, abscissa_label=parameter.coordinate)
    return found


def nowhere(size: int) -> Placement:
    """Return the place of values (p,) that are nowhere."""
    no_mesh = PlainMesh(np.empty((0, 0)), np.empty((0, 0), int), "")
    return Placement(NUMBERS_KIND, np.arange(size)[None], np.empty((0, size)), np.empty(0), "", no_mesh)


def place_field(space: FunctionSpace, dofs: np.ndarray | None = None, unit: str = "") -> Placement:
    """Return the places of a function's values: vertices with degrees of freedom, or cells otherwise.

    Values in cells are means over each cell. Of a mixed element its first part is drawn; of degrees of freedom of
    several kinds at a vertex, the values.

    Args:
        space: The space of the function.
        dofs: The degrees of freedom whose values are given, where they are not all.
        unit: The unit of the mesh's coordinates.
    """
    position = np.arange(space.n)
    if dofs is not None:
        position = np.full(space.n, -1)
        position[dofs] = np.arange(len(dofs))
    mesh, nodal, count = PlainMesh.of(space.mesh, unit), space.basis.nodal_dofs, _components(space.element)
    if len(nodal):
        _, vertices = unwrapped(space.mesh)
        return _on_mesh("vertices", position[nodal[:count, None, vertices]], mesh.vertices, mesh)
    local = space.basis.element_dofs
    by_component = local.reshape(-1, count, local.shape[1]).swapaxes(0, 1)  # a local function after the other
    return _on_mesh("cells", position[by_component], mesh.centers, mesh)


def has_place(space: FunctionSpace) -> bool:
    """Return whether `place_field` finds values: it does not where all are fluxes or the like."""
    if len(space.basis.nodal_dofs):
        return True
    return not isinstance(space.element, skfem.ElementComposite) and all(
        re.fullmatch(r"u(\^\d+)*", name) for name in space.element.dofnames
    )


def _components(element: skfem.Element) -> int:
    """Return the number of components of the vectors of an element, or of its first part; 1 for scalars."""
    if isinstance(element, skfem.ElementComposite):
        return _components(element.elems[0])
    inner = element.elem if isinstance(element, skfem.ElementDG) else element
    return inner.dim if isinstance(inner, skfem.ElementVector) else 1


def _on_mesh(kind: str, gather: np.ndarray, x: np.ndarray, mesh: PlainMesh) -> Placement:
    """Return a placement on vertices or cells; in 1-D the mesh is a curve itself.

    Args:
        kind: "vertices" or "cells".
        gather: The indices (c, j, k) into the values.
        x: The place of each drawn value, (d, k).
        mesh: The mesh.
    """
    abscissa, label = (x[0], mesh.named("x")) if len(x) == 1 else (np.empty(0), "")
    return Placement(kind, gather[0] if len(gather) == 1 else gather, x, abscissa, label, mesh)


def _on_boundary(space: FunctionSpace, given: np.ndarray, drawn: np.ndarray, unit: str) -> Placement:
    """Return a placement along the boundary, sorted along the curve in 2-D.

    Args:
        space: The space of the function.
        given: The degrees of freedom whose values are given.
        drawn: The degrees of freedom on the boundary.
        unit: The unit of the mesh's coordinates.
    """
    position = np.full(space.n, -1)
    position[given] = np.arange(len(given))
    drawn = drawn[position[drawn] >= 0]
    x = space.locations[:, drawn]
    s, label = curve_coordinate(unwrapped(space.mesh)[0], x)
    order = np.argsort(s, kind="stable") if s.size else np.arange(len(drawn))
    mesh = PlainMesh.of(space.mesh, unit)
    named = mesh.named(label) if label else ""
    return Placement("boundary", position[drawn[order]][None], x[:, order], s[order] if s.size else s, named, mesh)
