"""The complete electrode model on a disk by Fourier series, which shares nothing with finite elements; and disks."""

import numpy as np
import skfem


def electrode_resistances(count, width, impedance, core=1.0, radius=0.5, modes=1000):
    """R_m for m = 1 … count/2 on the unit disk: I_l = cos(m θ_l) raises the voltages U_l = R_m cos(m θ_l).

    ``count`` equal electrodes of angular ``width`` around θ_l = 2πl/count; conductivity ``core`` for r < ``radius`` and
    1 outside. By symmetry the potential has the frequencies k = m + j·count only, on the circle u = Σ f_j exp(i k_j θ)
    with the flux Σ |k_j| μ_j f_j exp(i k_j θ); μ follows from A r^k + B r^-k outside and C r^k inside. Galerkin's
    method for (f, U) with these functions, ``modes`` of them, divided by ``count``.
    """
    eta = (1 - core) / (1 + core)

    def resistance(m):
        k = m + count * np.arange(-modes // 2, modes // 2)
        inside = eta * radius ** (2.0 * abs(k))
        on_electrode = width * np.sinc((k[:, None] - k) * width / (2 * np.pi)) / impedance
        across = -width * np.sinc(k * width / (2 * np.pi)) / impedance
        system = np.empty((len(k) + 1, len(k) + 1))
        system[:-1, :-1] = on_electrode + np.diag(2 * np.pi / count * abs(k) * (1 - inside) / (1 + inside))
        system[:-1, -1] = system[-1, :-1] = across
        system[-1, -1] = width / impedance
        return np.linalg.solve(system, np.eye(len(k) + 1)[-1])[-1]

    return np.array([resistance(m) for m in range(1, count // 2 + 1)])


def cosine_patterns(count):
    """(count, count/2), cos(m θ_l) for m = 1 … count/2."""
    return np.cos(2 * np.pi / count * np.outer(np.arange(count), np.arange(1, count // 2 + 1)))


def polar_disk(rings, sectors, count, covered=0.5):
    """The unit disk in ``sectors`` sectors and rings of equal height, and electrodes "e1" … around θ = 2πl/count.

    They cover a part ``covered`` of the circle and end at nodes, where sectors · covered is an even multiple of count.
    """
    theta = 2 * np.pi * np.arange(sectors) / sectors
    r = np.arange(1, rings + 1)[:, None] / rings
    points = np.hstack([np.zeros((2, 1)), np.stack([(r * np.cos(theta)).ravel(), (r * np.sin(theta)).ravel()])])
    here, following = np.arange(sectors), np.roll(np.arange(sectors), -1)
    fan = np.stack([0 * here, 1 + here, 1 + following])
    inner = 1 + sectors * np.arange(rings - 1)[:, None]
    a, b, c, d = (
        x.ravel() for x in (inner + here, inner + following, inner + sectors + here, inner + sectors + following)
    )
    mesh = skfem.MeshTri(points, np.hstack([fan, np.stack([a, c, d]), np.stack([a, d, b])]))
    facets = mesh.boundary_facets()
    middle = mesh.p[:, mesh.facets[:, facets]].mean(1)
    offset = np.arctan2(middle[1], middle[0]) * count / (2 * np.pi)
    owner = np.where(abs(offset - np.round(offset)) < covered / 2, np.round(offset) % count, -1)
    return mesh.with_boundaries({f"e{l + 1}": facets[owner == l] for l in range(count)})
