"""Electrodes on a boundary, and the integrals over them in the complete electrode model."""

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
    """The L electrodes of a mesh, and the part of the model's matrix that belongs to them.

    It is made by `of`.

    Attributes:
        trace: The potential's space on the facets of all electrodes together.
        electrode: The number (facets,) of each facet's electrode, from 0.
        coupling: The integrals ``∫_{e_l} φ_i``, (n, L).
        measures: The length or area ``|e_l|`` of each electrode, (L,).
    """

    trace: FunctionSpace
    electrode: np.ndarray
    coupling: CSRMatrix
    measures: np.ndarray

    @classmethod
    def of(cls, space: FunctionSpace, names: Sequence[str]) -> Contacts:
        """Return the contacts of boundaries of the mesh, which are the electrodes 1 … L in this order.

        Args:
            space: The space of the potential, of n degrees of freedom.
            names: The names of the L boundaries.

        Raises:
            MeshError: The mesh has no boundary of a name, or electrodes are empty, overlap, or have facets inside the
                mesh.
            FEMError: The element has degrees of freedom that are not values of a scalar function.
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
        """Return the model's matrix (n + L, n + L): that of the interior plus that of the contacts.

        The latter belongs to ``Σ_l (1/z_l) ∫_{e_l} (u − U_l)(v − V_l)``.

        Args:
            interior: The matrix (n, n) of the conduction in the interior.
            impedances: The contact impedances z (L,).
        """
        conductance = 1.0 / impedances
        inside = interior + _contact.assemble(self.trace, conductance=conductance[self.electrode][:, None])
        columns = self.coupling.pattern
        across = CSRMatrix(-self.coupling.data * conductance[columns.indices], columns)
        return block_matrix([[inside, across], [across.T, diagonal_matrix(conductance * self.measures)]])


def _facets(space: FunctionSpace, name: str) -> np.ndarray:
    """Return the facets of one electrode, which are checked to lie on the boundary.

    Raises:
        MeshError: The electrode has no facets, or facets inside the mesh.
    """
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
    """Return ``∫_{e_l} φ_i``, (n, L), without the functions that vanish on the electrode.

    Args:
        trace: The potential's space on the facets of all electrodes together.
        electrode: The number (facets,) of each facet's electrode, from 0.
        count: The number L of electrodes.
    """
    tables = trace.tables
    parts = np.asarray((tables.components[0]["value"] * tables.dx).sum(-1))  # (i, facets)
    rows, cols = trace.basis.element_dofs, np.broadcast_to(electrode, parts.shape)
    seen = np.abs(parts) > 1e-13 * np.abs(parts).max()
    return CSRMatrix.from_scipy(sp.coo_array((parts[seen], (rows[seen], cols[seen])), (trace.n, count)).tocsr())
