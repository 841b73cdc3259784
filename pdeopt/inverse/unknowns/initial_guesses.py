"""Random initial guesses, for several starts of one minimization."""

from __future__ import annotations

import jax
import numpy as np
from scipy.special import ndtr

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.unknowns.parameter import Parameter
from pdeopt.inverse.unknowns.parameters import AnyParameter, SingleParameter, blocks
from pdeopt.inverse.unknowns.tree import Tree
from pdeopt.optimize.bounds import BoundsLike, full_bounds

#: The standard deviation of random initial guesses, in units of m.
INITIAL_SPREAD = 1.0
#: The number of waves that a random function is the sum of.
WAVE_COUNT = 200
#: The correlation length of a random function, as a part of the extent of its domain.
CORRELATION_PART = 0.2


def random_start(
    parameter: AnyParameter, initial: np.ndarray, bounds: BoundsLike, seed: int, spread: float = INITIAL_SPREAD
) -> np.ndarray:
    """Return a random initial guess of m, (p,), distributed as `Problem.at_random_start` says.

    Args:
        parameter: One parameter, or several by name.
        initial: The initial guess of m, (p,).
        bounds: The bounds of m, as those of a `Problem`.
        seed: The seed of the random numbers, ≥ 0.
        spread: The standard deviation in units of m, where there are no bounds; of a `Tree` in root mean squares.

    Raises:
        InputError: The seed is no number ≥ 0, or the spread is not positive.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"the seed of a random start is {seed!r}; expected a whole number ≥ 0")
    if not 0 < spread < np.inf:
        raise InputError(f"the spread of a random start is {spread}; expected a number > 0")
    lower, upper = full_bounds(bounds, len(initial))
    is_between = np.isfinite(lower) & np.isfinite(upper)
    start = np.array(initial, float)
    for k, (where, part) in enumerate(blocks(parameter)):
        normal = _standard_normal(part, np.random.default_rng([int(seed), k]))
        start[where] = spread * normal + (0.0 if isinstance(part, Tree) else start[where])
        within = np.flatnonzero(is_between[where]) + where.start
        share = ndtr(normal[within - where.start])
        start[within] = (1 - share) * lower[within] + share * upper[within]
    return np.asarray(np.clip(start, lower, upper))


def _standard_normal(part: SingleParameter, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers (p,) of mean 0 and variance 1; of a tree of each array's mean square."""
    if isinstance(part, Tree):
        leaves = jax.tree.leaves(part.example)
        return np.concatenate([np.sqrt(np.mean(leaf**2)) * rng.standard_normal(leaf.size) for leaf in leaves])
    if not isinstance(part, Parameter):
        return rng.standard_normal(part.size)
    corners = part.space.mesh.p
    length = CORRELATION_PART * np.ptp(corners, axis=1).max()
    frequencies = rng.standard_normal((WAVE_COUNT, len(corners))) / length
    phases = rng.uniform(0, 2 * np.pi, WAVE_COUNT)
    waves = np.cos(part.locations.T @ frequencies.T + phases)
    return np.asarray(np.sqrt(2 / WAVE_COUNT) * waves.sum(axis=1))
