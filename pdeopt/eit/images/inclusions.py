"""Inclusions in a homogeneous tank, as few numbers: star-shaped objects of known contrast.

An object is the set of points at a distance from its center below::

    ρ(θ) = exp(s + Σ_{n=2}^{4} a_n cos nθ + b_n sin nθ),

of log-radius s; n = 1 is left out, the center stands for it. The conductivity of all of them together is::

    σ(x) = σ₀ exp(β + Σ_k c_k H((ρ_k(θ_k) − |x − x_k|) / w)),     H(t) = ½ (1 + tanh(t − t₀)),

with the log-contrasts c_k and a rim of width w. The shift t₀ makes the rim act as a jump at ρ_k does: across it the
mean conductivity of an insulator is that of the jump, ∫ exp(c H(t)) − [t < 0] − e^c [t > 0] dt = 0, and so is the mean
resistivity of a conductor. (Without it objects are found too small by t₀ w.) Lengths are in units of the tank's radius.
Few parameters are a strong regularization: where the data are wrong by 15 %, they do not follow the errors, as a free
field would.
(Shape parametrization for impedance tomography: Kolehmainen, Arridge, Lionheart, Vauhkonen, Kaipio, "Recovery of region
boundaries of piecewise constant coefficients of an elliptic PDE from boundary data", Inverse Problems 15, 1999.)
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.eit.images.pixels import CONDUCTIVE, RESISTIVE, WATER

#: The log-contrast of each label: plastic insulates, metal conducts at least 50 times as well as water.
LOG_CONTRASTS = {RESISTIVE: float(np.log(1e-2)), CONDUCTIVE: float(np.log(1e2))}
#: The numbers n of the Fourier modes of the outline.
FOURIER_MODES = (2, 3, 4)
#: The number of numbers of an object: contrast, center (2), log-radius, a and b of each mode.
NUMBERS_PER_INCLUSION = 4 + 2 * len(FOURIER_MODES)
#: The standard deviations of center, log-radius and modes: objects are round rather than not, and of any size.
SHAPE_DEVIATIONS = np.array([0.6, 0.6, 0.6, *np.repeat([0.25, 0.12, 0.08], 2)])
#: The standard deviation of how deep objects may be in each other, or in the wall, as disks of their radii, relative
#: to the tank's radius.
OVERLAP_DEVIATION = 0.05
#: The radius of an object of which nothing else is known, relative to the tank's.
TYPICAL_RADIUS = 0.25
#: The width w of the rim, relative to the tank's radius. It is half a cell of the meshes that it is used on: narrower,
#: derivatives would miss it.
RIM_WIDTH = 0.03
#: The shift t₀ of the rim for the contrasts above, the root of that integral.
RIM_SHIFT = 0.9222
#: The largest distance of a center from the tank's axis along each coordinate, relative to the tank's radius.
MAX_CENTER = 0.95


@dataclass(frozen=True)
class Inclusion:
    """An object, with lengths relative to the tank's radius.

    Attributes:
        label: The label, 1 resistive or 2 conductive.
        center: The center (2,).
        log_radius: The logarithm s of the radius.
        modes: The Fourier modes a_n, b_n of the outline, (6,).
    """

    label: int
    center: np.ndarray
    log_radius: float
    modes: np.ndarray

    @classmethod
    def disk(cls, label: int, center: np.ndarray, radius: float) -> Inclusion:
        """Return a disk; its center is moved to within `MAX_CENTER` of the axis along each coordinate.

        Args:
            label: The label, 1 resistive or 2 conductive.
            center: The center (2,), relative to the tank's radius.
            radius: The radius, relative to the tank's.
        """
        kept = np.clip(center, -MAX_CENTER, MAX_CENTER)
        return cls(label, kept, float(np.log(radius)), np.zeros(2 * len(FOURIER_MODES)))

    @property
    def numbers(self) -> np.ndarray:
        """The object as a part of the parameter, (NUMBERS_PER_INCLUSION,)."""
        return np.concatenate([[LOG_CONTRASTS[self.label]], self.center, [self.log_radius], self.modes])


def parameter_of(inclusions: list[Inclusion], background: float = 0.0) -> np.ndarray:
    """Return the parameter (1 + K · NUMBERS_PER_INCLUSION,) of K objects: β, then the objects.

    Args:
        inclusions: The objects.
        background: β of the water, log(σ / σ₀).
    """
    return np.concatenate([[background], *(inclusion.numbers for inclusion in inclusions)])


def inclusions_of(parameter: np.ndarray) -> list[Inclusion]:
    """Return the objects of a parameter.

    Args:
        parameter: The parameter (1 + K · NUMBERS_PER_INCLUSION,).
    """
    rows = np.reshape(parameter[1:], (-1, NUMBERS_PER_INCLUSION))
    return [Inclusion(RESISTIVE if row[0] < 0 else CONDUCTIVE, row[1:3], float(row[3]), row[4:]) for row in rows]


def bounds_of(parameter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds that keep the contrasts as they are, and the centers in the tank.

    Args:
        parameter: The parameter (1 + K · NUMBERS_PER_INCLUSION,).

    Returns:
        The lower and the upper bounds, both (1 + K · NUMBERS_PER_INCLUSION,).
    """
    lower, upper = np.full_like(parameter, -np.inf), np.full_like(parameter, np.inf)
    rows, low, high = (np.reshape(array[1:], (-1, NUMBERS_PER_INCLUSION)) for array in (parameter, lower, upper))
    low[:, 1:3], high[:, 1:3] = -MAX_CENTER, MAX_CENTER
    low[:, 0], high[:, 0] = rows[:, 0], rows[:, 0]
    return lower, upper


def log_conductivity(parameter: jax.Array, x: jax.Array) -> jax.Array:
    """Return log(σ / σ₀) at points.

    Args:
        parameter: The parameter (1 + K · NUMBERS_PER_INCLUSION,).
        x: The points (2, …), in units of the tank's radius.
    """
    rows = jnp.reshape(parameter[1:], (-1, NUMBERS_PER_INCLUSION))
    inside = jax.vmap(lambda row: row[0] * 0.5 * (1 + jnp.tanh(depth(row, x) / RIM_WIDTH - RIM_SHIFT)))(rows)
    return parameter[0] + inside.sum(0)


def depth(row: ArrayLike, x: ArrayLike) -> jax.Array:
    """Return ``ρ(θ) − |x − center|`` of one object at points: positive inside.

    Args:
        row: The numbers of the object, (NUMBERS_PER_INCLUSION,).
        x: The points (2, …), in units of the tank's radius.
    """
    row, x = jnp.asarray(row), jnp.asarray(x)
    dx, dy = x[0] - row[1], x[1] - row[2]
    distance = jnp.sqrt(dx * dx + dy * dy + 1e-12)
    direction = jax.lax.complex(dx / distance, dy / distance)
    log_radius = row[3]
    for k, n in enumerate(FOURIER_MODES):
        wave = direction**n
        log_radius = log_radius + row[4 + 2 * k] * wave.real + row[5 + 2 * k] * wave.imag
    return jnp.exp(log_radius) - distance


def labels_at(inclusions: list[Inclusion], x: np.ndarray) -> np.ndarray:
    """Return the labels of points, uint8; 0 outside of the tank.

    Args:
        inclusions: The objects; where they overlap, the last one counts.
        x: The points (2, …), in units of the tank's radius.
    """
    labels = np.full(x.shape[1:], WATER, np.uint8)
    for inclusion in inclusions:
        labels[np.asarray(depth(inclusion.numbers, x)) > 0] = inclusion.label
    return np.where(np.hypot(*x) < 1, labels, WATER).astype(np.uint8)


@dataclass(frozen=True)
class ShapePrior:
    """A regularization term that prefers round objects that are off each other and off the wall.

    It is ½ Σ ((number − mean) / deviation)² and ½ Σ (overlap / deviation)². The first sum is the same for every object.
    The second sum keeps objects off each other, where their contrasts would add up, and off the wall.
    """

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the value of the term at the parameter m (1 + K · NUMBERS_PER_INCLUSION,)."""
        return 0.5 * (self.residuals(m) ** 2).sum()

    def residuals(self, m: jax.Array) -> jax.Array:
        """Return the residuals (k,) whose squares are summed up.

        They are for the Gauss–Newton matrix, as overlaps are not convex.

        Args:
            m: The parameter (1 + K · NUMBERS_PER_INCLUSION,).
        """
        rows = jnp.reshape(m[1:], (-1, NUMBERS_PER_INCLUSION))
        mean = np.zeros(NUMBERS_PER_INCLUSION - 1)
        mean[2] = np.log(TYPICAL_RADIUS)
        return jnp.concatenate([((rows[:, 1:] - mean) / SHAPE_DEVIATIONS).ravel(), _overlaps(rows) / OVERLAP_DEVIATION])


def _overlaps(rows: jax.Array) -> jax.Array:
    """Return how deep disks of the objects' radii are in each other, for each pair, and in the wall.

    Args:
        rows: The numbers of the objects, (K, NUMBERS_PER_INCLUSION).
    """
    centers, radii = rows[:, 1:3], jnp.exp(rows[:, 3])
    i, j = np.triu_indices(len(rows), 1)
    depths = radii[i] + radii[j] - _length(centers[i] - centers[j])
    return jnp.maximum(jnp.concatenate([depths, radii + _length(centers) - 1]), 0)


def _length(vectors: jax.Array) -> jax.Array:
    """Return the length of each row, differentiable at 0."""
    return jnp.sqrt((vectors**2).sum(1) + 1e-12)
