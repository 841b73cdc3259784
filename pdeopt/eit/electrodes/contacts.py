"""Electrodes on a boundary: the integrals over them that the complete electrode model is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
import scipy.sparse as sp

from pdeopt.fem import FunctionSpace, MeshError, bilinear_form
from pdeopt.sparse import CSRMatrix, block_matrix, diagonal_matrix


@bilinear_form
def _contact(u, v, w):
    return w["conductance"] * u * v


@dataclass(frozen=True, eq=False)
class Contacts:
    """The L electrodes of a mesh, and the part of the model's matrix that belongs to them. Made by `of`.

    Attributes:
        trace: the potential's space on the facets of all electrodes together.
        electrode: (facets,) the number of each facet's electrode, from 0.
        coupling: (n, L), ∫_{e_l} φ_i.
        measures: (L,) length or area |e_l|.
    """

    trace: FunctionSpace
    electrode: np.ndarray
    coupling: CSRMatrix
    measures: np.ndarray

    @classmethod
    def of(cls, space: FunctionSpace, names: Sequence[str]) -> Contacts:
        """Return the contacts of the boundaries ``names`` of the mesh, in the order 1 … L.

        Raises MeshError for names that the mesh does not have, for empty or overlapping electrodes, and for facets
        inside; FEMError for an element whose degrees of freedom are not values of a scalar function.
        """
        facets = [_facets(space, name) for name in names]
        owner = np.repeat(np.arange(len(names)), [len(part) for part in facets])
        together = np.concatenate(facets)
        _check_disjoint(names, together, owner)
        order = np.argsort(together)
        trace, owner = space.boundary(together[order]), owner[order]
        measures = np.bincount(owner, np.asarray(trace.tables.dx).sum(1), len(names))
        return cls(trace, owner, _coupling(trace, owner, len(names)), measures)

    def matrix(self, interior: CSRMatrix, impedances: jax.Array) -> CSRMatrix:
        """Return ``interior`` (n, n) plus Σ_l (1/z_l) ∫_{e_l} (u − U_l)(v − V_l), (n + L, n + L); impedances z (L,)."""
        conductance = 1.0 / impedances
        inside = interior + _contact.assemble(self.trace, conductance=conductance[self.electrode][:, None])
        columns = self.coupling.pattern
        across = CSRMatrix(-self.coupling.data * conductance[columns.indices], columns)
        return block_matrix([[inside, across], [across.T, diagonal_matrix(conductance * self.measures)]])


def _facets(space: FunctionSpace, name: str) -> np.ndarray:
    """Return the facets of one electrode, checked."""
    if len((space.mesh.boundaries or {}).get(name, [name])) == 0:
        raise MeshError(f"electrode {name!r} has no facets: the mesh is coarser than the electrode")
    part = space.boundary(name)
    inside = np.setdiff1d(part.basis.find, space.mesh.boundary_facets())
    if len(inside):
        raise MeshError(f"electrode {name!r} has {len(inside)} facets inside the mesh; it must lie on the boundary")
    return np.asarray(part.basis.find)


def _check_disjoint(names: Sequence[str], facets: np.ndarray, owner: np.ndarray) -> None:
    unique, counts = np.unique(facets, return_counts=True)
    if len(unique) < len(facets):
        both = owner[facets == unique[np.argmax(counts)]]
        raise MeshError(f"the electrodes {names[both[0]]!r} and {names[both[1]]!r} share a facet; make them disjoint")


def _coupling(trace: FunctionSpace, electrode: np.ndarray, count: int) -> CSRMatrix:
    """Return ∫_{e_l} φ_i, without the functions that vanish on the electrode."""
    tables = trace.tables
    parts = np.asarray((tables.components[0]["value"] * tables.dx).sum(-1))  # (i, facets)
    rows, cols = trace.basis.element_dofs, np.broadcast_to(electrode, parts.shape)
    seen = np.abs(parts) > 1e-13 * np.abs(parts).max()
    return CSRMatrix.from_scipy(sp.coo_array((parts[seen], (rows[seen], cols[seen])), (trace.n, count)).tocsr())
