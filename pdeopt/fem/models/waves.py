"""Forms of time-harmonic waves, and two ways to end a domain through which waves leave.

The sign convention is that of ``exp(−iωt)``: a wave that runs along a unit vector d is ``exp(i k d·x)``, and outgoing
waves are ``exp(i k r)``. The Helmholtz equation Δu + k² c u = −f has the weak form::

    ∫ ∇u·∇v − k² ∫ c u v = ∫ f v + ∫_∂Ω ∂u/∂n v

Matrices of these forms are complex and symmetric (Aᵀ = A, not Hermitian).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pdeopt.fem.errors import FEMError
from pdeopt.fem.forms.weak_forms import bilinear_form
from pdeopt.fem.helpers import dot, grad, mul


@bilinear_form
def wave_stiffness(u: Any, v: Any, w: Any) -> Any:
    """Return D∇u·∇v with a tensor ``w["D"]``, (d, d, c, q), as a layer's `diffusion`."""
    return dot(mul(w["D"], grad(u)), grad(v))


@bilinear_form
def wave_mass(u: Any, v: Any, w: Any) -> Any:
    """Return c u v with a coefficient ``w["c"]``, as a layer's `mass` times the permittivity."""
    return w["c"] * u * v


@bilinear_form
def impedance(u: Any, v: Any, w: Any) -> Any:
    """Return −(ik − κ/2) u v, the absorbing condition ∂u/∂n = (ik − κ/2) u on a boundary, for the matrix.

    ``w["k"]`` is the wavenumber and ``w["curvature"]`` the curvature κ of the boundary in 2-D, 1/R of a circle and 0 of
    a straight one; in 3-D the sum of the two principal curvatures. Waves that hit the boundary at right angles leave;
    at the angle θ a straight boundary reflects the part (1 − cos θ)/(1 + cos θ).

    For straight boundaries it is the first condition of Engquist and Majda, Math. Comp. 31 (1977); with the curvature
    the first one of Bayliss, Gunzburger and Turkel, SIAM J. Appl. Math. 42 (1982), for circles and spheres.
    """
    return -(1j * w["k"] - 0.5 * w["curvature"]) * u * v


def plane_wave(x: ArrayLike, wavenumber: float, directions: ArrayLike) -> np.ndarray:
    """Return the plane waves ``exp(i k d·x)``, (n, r), one column a direction.

    Args:
        x: The points, (d, n).
        wavenumber: The wavenumber k.
        directions: The unit vectors d, (d, r), one column each.
    """
    waves: np.ndarray = np.exp(1j * wavenumber * np.asarray(x).T @ np.asarray(directions))
    return waves


@dataclass(frozen=True)
class Absorption:
    """An absorption σ that grows with the depth in a layer, and the stretching 1 + iσ/k that it makes.

    It is zero where the layer begins. A wave that hits the layer at right angles, and that its end reflects completely,
    comes back with the amplitude `reflection`; what the mesh reflects comes on top of that, and grows with σ.

    Attributes:
        wavenumber: The wavenumber k outside of the layer.
        thickness: The thickness of the layer; at least half a wavelength is wise.
        reflection: The amplitude of what comes back, between 0 and 1.
        degree: The degree p of the growth, σ ∝ depthᵖ.

    Raises:
        FEMError: A number is out of its range.
    """

    wavenumber: float
    thickness: float
    reflection: float
    degree: int

    def __post_init__(self) -> None:
        if not (self.wavenumber > 0 and self.thickness > 0):
            raise FEMError(
                f"the layer has wavenumber {self.wavenumber} and thickness {self.thickness}; expected numbers > 0"
            )
        if not (0 < self.reflection < 1 and self.degree >= 0):
            raise FEMError(
                f"the layer has reflection {self.reflection} and degree {self.degree}; expected 0 < reflection < 1, as "
                "1e-6, and a degree of at least 0"
            )

    def stretching(self, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return 1 + iσ/k and its integral over the depth, at depths in the layer, negative outside of it."""
        relative = np.maximum(depth, 0.0) / self.thickness
        total = -0.5 * np.log(self.reflection) / self.wavenumber  # the integral of σ/k over the layer
        sigma = total * (self.degree + 1) / self.thickness * relative**self.degree * (depth > 0)
        return 1 + 1j * sigma, depth + 1j * total * relative ** (self.degree + 1)


@dataclass(frozen=True)
class RadialLayer:
    """A perfectly matched layer between two circles, or spheres, around the origin.

    In the layer r is continued to r̃ = r + (i/k) ∫σ; with s = dr̃/dr the equation Δu + k²c u = 0 in stretched
    coordinates is ∇·(D∇u) + k² q c u = 0, with::

        D = q (s⁻² e eᵀ + (r/r̃)² (I − e eᵀ)),    q = s (r̃/r)^(d−1),    e = x/r

    Outside of the layer D = I and q = 1. At the outer circle u = 0 is prescribed, or nothing (∂u/∂n = 0).
    The layer is that of Bérenger, J. Comput. Phys. 114 (1994), as a stretching (Chew and Weedon, Microw. Opt. Technol.
    Lett. 7, 1994) in curved coordinates (Collino and Monk, SIAM J. Sci. Comput. 19, 1998).

    Attributes:
        wavenumber: The wavenumber k outside of the layer.
        inner: The radius where the layer begins.
        outer: The radius where it ends.
        reflection: The amplitude that comes back of a wave that hits the layer at right angles.
        degree: The degree of the growth of the absorption in the layer.

    Raises:
        FEMError: A number is out of its range.
    """

    wavenumber: float
    inner: float
    outer: float
    reflection: float = 1e-6
    degree: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.inner < self.outer:
            raise FEMError(f"the layer is between the radii {self.inner} and {self.outer}; expected 0 < inner < outer")
        self._absorption()

    def diffusion(self, x: ArrayLike) -> np.ndarray:
        """Return the tensor D, (d, d, …), at points x (d, …)."""
        x = np.asarray(x)
        r, s, continued = self._stretched(x)
        e = x / r
        radial = e[:, None] * e[None]
        unit = np.eye(len(x)).reshape(len(x), len(x), *[1] * (x.ndim - 1))
        volume = s * (continued / r) ** (len(x) - 1)
        tensor: np.ndarray = volume * (radial / s**2 + (unit - radial) * (r / continued) ** 2)
        return tensor

    def mass(self, x: ArrayLike) -> np.ndarray:
        """Return the factor q of k²c, of shape (…), at points x (d, …)."""
        x = np.asarray(x)
        r, s, continued = self._stretched(x)
        factor: np.ndarray = s * (continued / r) ** (len(x) - 1)
        return factor

    def _absorption(self) -> Absorption:
        return Absorption(self.wavenumber, self.outer - self.inner, self.reflection, self.degree)

    def _stretched(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return r, s and r̃; at the origin r is the least positive number."""
        r = np.maximum(np.sqrt((x**2).sum(0)), np.finfo(float).tiny)
        s, beyond = self._absorption().stretching(r - self.inner)
        return r, s, np.where(r > self.inner, self.inner + beyond, r)


@dataclass(frozen=True)
class BoxLayer:
    """A perfectly matched layer inside of the walls of a box, each coordinate stretched for itself.

    With the stretching s_j = 1 + iσ/k of each coordinate, D = q diag(s_j⁻²) and q = Π_j s_j, as for `RadialLayer`
    (Bérenger 1994; Chew and Weedon 1994). Within the box without its layer D = I and q = 1.

    Attributes:
        wavenumber: The wavenumber k outside of the layer.
        lower: The corner of the box with the least coordinates, (d,).
        upper: The opposite corner, (d,).
        thickness: The thickness of the layer.
        reflection: The amplitude that comes back of a wave that hits the layer at right angles.
        degree: The degree of the growth of the absorption in the layer.

    Raises:
        FEMError: A number is out of its range, or the layers of opposite walls meet.
    """

    wavenumber: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    thickness: float
    reflection: float = 1e-6
    degree: int = 2

    def __post_init__(self) -> None:
        widths = np.subtract(self.upper, self.lower)
        if not (widths > 2 * self.thickness).all():
            raise FEMError(
                f"the layer is {self.thickness} thick in a box from {self.lower} to {self.upper}; expected layers that "
                "do not meet"
            )
        self._absorption()

    def diffusion(self, x: ArrayLike) -> np.ndarray:
        """Return the tensor D, (d, d, …), at points x (d, …)."""
        s = self._stretchings(np.asarray(x))
        unit = np.eye(len(s)).reshape(len(s), len(s), *[1] * (s.ndim - 1))
        tensor: np.ndarray = s.prod(0) * unit / s**2
        return tensor

    def mass(self, x: ArrayLike) -> np.ndarray:
        """Return the factor q of k²c, of shape (…), at points x (d, …)."""
        factor: np.ndarray = self._stretchings(np.asarray(x)).prod(0)
        return factor

    def _absorption(self) -> Absorption:
        return Absorption(self.wavenumber, self.thickness, self.reflection, self.degree)

    def _stretchings(self, x: np.ndarray) -> np.ndarray:
        lower, upper = (np.reshape(corner, (-1, *[1] * (x.ndim - 1))) for corner in (self.lower, self.upper))
        return self._absorption().stretching(np.maximum(lower - x, x - upper) + self.thickness)[0]
