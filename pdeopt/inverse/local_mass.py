"""Element mass matrices: lumping, and bounds of the spectrum of the whole matrix."""

from __future__ import annotations

import numpy as np

from pdeopt.fem import FunctionSpace

#: The number of cells whose element matrices are made at a time.
CELLS_PER_CHUNK = 50_000


def lumped_mass(space: FunctionSpace) -> np.ndarray:
    """Return the diagonal (n,) of the lumped mass matrix.

    It is the sums of the rows where they are all positive; elsewhere (quadratic triangles and tetrahedra) it is the
    diagonal, scaled in each cell to the cell's mass. (Hinton, Rock, Zienkiewicz, "A note on mass lumping and related
    processes in the finite element method", 1976; Zienkiewicz, Taylor, "The Finite Element Method", volume 1, appendix
    I.) On facets it is zero at degrees of freedom off them.
    """
    matrices = element_masses(space)
    sums = _added(space, matrices.sum(-1).T)
    diagonals = np.einsum("cii->ic", matrices)
    scaled = diagonals * (matrices.sum((1, 2)) / diagonals.sum(0))
    floor = 1e-12 * sums.max()
    seen = _added(space, diagonals) > 1e-12 * diagonals.max()
    return np.where(seen, sums if (sums[seen] > floor).all() else _added(space, scaled), 0.0)


def scaled_spectrum(space: FunctionSpace) -> tuple[float, float]:
    """Return bounds (low, high) of the eigenvalues of D^-½ M D^-½, M the mass matrix, D its diagonal.

    They also hold for blocks of M. The extreme eigenvalues of the elements bound those of the whole, on every mesh and
    however it is graded: 1/2 and 2 for linear triangles. (Wathen, "Realistic eigenvalue bounds for the Galerkin mass
    matrix", IMA J. Numer. Anal. 7, 1987.)
    """
    matrices = element_masses(space)
    diagonals = np.einsum("cii->ci", matrices)
    seen = diagonals > 1e-12 * diagonals.max(1, keepdims=True)  # functions off the facets have none
    roots = np.sqrt(np.where(seen, diagonals, 1.0))
    scaled = np.where(seen[:, :, None] & seen[:, None, :], matrices / (roots[:, :, None] * roots[:, None, :]), 0.0)
    scaled += np.where(seen, 0.0, 1.0)[:, :, None] * np.eye(seen.shape[1])  # 1 lies between the bounds anyway
    if np.abs(scaled - scaled[0]).max() < 1e-13:
        scaled = scaled[:1]
    eigenvalues = np.linalg.eigvalsh(scaled)
    return float(eigenvalues.min()), float(eigenvalues.max())


def element_masses(space: FunctionSpace) -> np.ndarray:
    """Return the mass matrix of each cell or facet, (c, i, i)."""
    dx, values = np.asarray(space.basis.dx), np.asarray(space.tables.components[0]["value"])
    values = values.reshape(-1, *values.shape[-3:])  # (tensor entry, i, c or 1, q or 1)
    starts = range(0, len(dx), CELLS_PER_CHUNK)
    return np.concatenate([_products(values, dx, slice(start, start + CELLS_PER_CHUNK)) for start in starts])


def _products(values: np.ndarray, dx: np.ndarray, cells: slice) -> np.ndarray:
    if values.shape[2] == 1:
        at_points = np.einsum("tiq,tjq->qij", values[:, :, 0], values[:, :, 0])
        at_points = np.broadcast_to(at_points, (dx.shape[1], *at_points.shape[1:]))
        return np.tensordot(dx[cells], at_points, 1)
    part = values[:, :, cells]
    matrices: np.ndarray = np.einsum("ticq,tjcq,cq->cij", part, part, dx[cells], optimize=True)
    return matrices


def _added(space: FunctionSpace, local: np.ndarray) -> np.ndarray:
    """Return for each degree of freedom the sum (n,) over cells of its values (i, c) in them."""
    return np.bincount(space.basis.element_dofs.ravel(), local.ravel(), minlength=space.n)
