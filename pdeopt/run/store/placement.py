"""Where the values of a parameter or a state sit, in a form that a picture can be drawn from without the problem."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import Numbers
from pdeopt.inverse.problem import AnyParameter
from pdeopt.run.store.boundary import curve_coordinate

#: Cells that can be drawn, by dimension and number of vertices (in scikit-fem's order).
CELLS = {
    **{(1, 2): "line", (2, 3): "triangle", (2, 4): "quad"},
    **{(3, 4): "tetra", (3, 6): "wedge", (3, 8): "hexahedron"},
}


@dataclass(frozen=True, eq=False)
class PlainMesh:
    """A mesh as pictures and files need it, without scikit-fem.

    Attributes:
        p: (d, points); nodes of second-order cells follow the vertices. t: (vertices of a cell, cells).
        cell: a name of `CELLS`, "" for cells that cannot be drawn.
        unit: of the coordinates; "" where none is stated.

    Raises:
        ValueError: where cells name points that are not there.
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
        return cls(mesh.p, mesh.t, CELLS.get((mesh.dim(), len(mesh.t)), ""), unit)

    @property
    def dim(self) -> int:
        """d, the dimension of the space that the mesh lies in."""
        return len(self.p)

    @property
    def vertices(self) -> np.ndarray:
        """(d, k), the points that are vertices."""
        return self.p[:, : int(self.t.max(initial=-1)) + 1]

    @property
    def centers(self) -> np.ndarray:
        """(d, cells), the mean of the vertices of each cell."""
        return self.p[:, self.t].mean(1)

    def named(self, coordinate: str) -> str:
        """Return a coordinate's name with the unit, for an axis: "x (m)"."""
        return f"{coordinate} ({self.unit})" if self.unit else coordinate

    def is_same_as(self, other: PlainMesh) -> bool:
        return np.array_equal(self.p, other.p) and np.array_equal(self.t, other.t)


@dataclass(frozen=True, eq=False)
class Placement:
    """How the values (n,) of a finite-element function are drawn, on the mesh that it lives on.

    Attributes:
        kind: "vertices" or "cells" of the mesh, "boundary" for values along a boundary, or "numbers" for those that
            are nowhere.
        gather: (j, k) indices into the values, −1 where there is none; the mean over j is drawn. Of a vector-valued
            function (c, j, k), c components.
        x: (d, k), where each drawn value sits.
        abscissa: (k,), the coordinate along a boundary curve, or in 1-D; empty where it is not a curve.
        abscissa_label: its name.
        mesh: the function's own.

    Raises:
        ValueError: where the places are not those of the mesh.
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
        """Raise ValueError where there are fewer values than are drawn."""
        if len(values) <= self.gather.max(initial=-1):
            raise ValueError(f"{name} has {len(values)} values; expected more than {self.gather.max()}")

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """(k,), or (c, k) of a vector-valued function; NaN where the function has no value."""
        picked = np.where(self.gather >= 0, np.asarray(values, float)[self.gather], np.nan)
        return picked.mean(-2)

    def magnitude(self, values: np.ndarray) -> np.ndarray:
        """(k,), the length of the vectors; of a scalar function, its values."""
        drawn = self.drawn(values)
        return drawn if drawn.ndim == 1 else np.linalg.norm(drawn, axis=0)

    @property
    def components(self) -> int:
        """How many a vector-valued function has; 1 of a scalar one."""
        return len(self.gather) if self.gather.ndim == 3 else 1

    def to_arrays(self, name: str) -> dict[str, np.ndarray]:
        return {
            f"{name}_kind": np.array(self.kind),
            f"{name}_gather": self.gather,
            f"{name}_x": self.x,
            f"{name}_abscissa": self.abscissa,
            f"{name}_abscissa_label": np.array(self.abscissa_label),
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, np.ndarray], mesh: PlainMesh) -> Placement:
        return cls(
            str(arrays[f"{name}_kind"]),
            arrays[f"{name}_gather"],
            arrays[f"{name}_x"],
            arrays[f"{name}_abscissa"],
            str(arrays[f"{name}_abscissa_label"]),
            mesh,
        )


def place_parameter(parameter: AnyParameter, unit: str = "") -> Placement:
    """Along the boundary where all its degrees of freedom lie there, on the mesh otherwise; numbers nowhere.

    Args:
        unit: of the mesh's coordinates.
    """
    if isinstance(parameter, Numbers):
        nowhere = PlainMesh(np.empty((0, 0)), np.empty((0, 0), int), "")
        return Placement("numbers", np.arange(parameter.size)[None], parameter.locations, np.empty(0), "", nowhere)
    space, dofs = parameter.space, parameter.dofs
    facets = getattr(space.basis, "find", None)  # of a space on facets
    if facets is not None:
        on_facets = np.unique(space.basis.get_dofs(facets).flatten())
        return _on_boundary(space, np.arange(space.n) if dofs is None else dofs, on_facets, unit)
    if dofs is not None and np.isin(dofs, space.dofs()).all():
        return _on_boundary(space, dofs, dofs, unit)
    return place_field(space, dofs, unit)


def place_field(space: FunctionSpace, dofs: np.ndarray | None = None, unit: str = "") -> Placement:
    """At the vertices where the element has degrees of freedom there, as means over the cells otherwise.

    Of a mixed element its first part; of degrees of freedom of several kinds at a vertex, the values.

    Args:
        dofs: the degrees of freedom whose values are given, where they are not all.
        unit: of the mesh's coordinates.
    """
    position = np.arange(space.n)
    if dofs is not None:
        position = np.full(space.n, -1)
        position[dofs] = np.arange(len(dofs))
    mesh, nodal, count = PlainMesh.of(space.mesh, unit), space.basis.nodal_dofs, _components(space.element)
    if len(nodal):
        used = mesh.vertices.shape[1]
        return _on_mesh("vertices", position[nodal[:count, None, :used]], mesh.vertices, mesh)
    local = space.basis.element_dofs
    by_component = local.reshape(-1, count, local.shape[1]).swapaxes(0, 1)  # a local function after the other
    return _on_mesh("cells", position[by_component], mesh.centers, mesh)


def has_place(space: FunctionSpace) -> bool:
    """Whether `place_field` finds values: not where all degrees of freedom are fluxes or the like."""
    if len(space.basis.nodal_dofs):
        return True
    return not isinstance(space.element, skfem.ElementComposite) and all(
        re.fullmatch(r"u(\^\d+)*", name) for name in space.element.dofnames
    )


def _components(element: skfem.Element) -> int:
    """Of the vectors that the element gives, or its first part; 1 where it is scalar."""
    if isinstance(element, skfem.ElementComposite):
        return _components(element.elems[0])
    inner = element.elem if isinstance(element, skfem.ElementDG) else element
    return inner.dim if isinstance(inner, skfem.ElementVector) else 1


def _on_mesh(kind: str, gather: np.ndarray, x: np.ndarray, mesh: PlainMesh) -> Placement:
    """``gather`` (c, j, k). In 1-D the mesh is a curve itself."""
    abscissa, label = (x[0], mesh.named("x")) if len(x) == 1 else (np.empty(0), "")
    return Placement(kind, gather[0] if len(gather) == 1 else gather, x, abscissa, label, mesh)


def _on_boundary(space: FunctionSpace, given: np.ndarray, drawn: np.ndarray, unit: str) -> Placement:
    """Sorted along the curve in 2-D."""
    position = np.full(space.n, -1)
    position[given] = np.arange(len(given))
    drawn = drawn[position[drawn] >= 0]
    x = space.locations[:, drawn]
    s, label = curve_coordinate(space.mesh, x)
    order = np.argsort(s, kind="stable") if s.size else np.arange(len(drawn))
    mesh = PlainMesh.of(space.mesh, unit)
    named = mesh.named(label) if label else ""
    return Placement("boundary", position[drawn[order]][None], x[:, order], s[order] if s.size else s, named, mesh)
