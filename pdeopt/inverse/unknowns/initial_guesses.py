"""Random initial guesses, for several starts of one minimization."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
from scipy.special import ndtr

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.unknowns.in_time import ParameterInTime
from pdeopt.inverse.unknowns.parameter import Parameter
from pdeopt.inverse.unknowns.parameters import AnyParameter, Parameters, SingleParameter, blocks
from pdeopt.inverse.unknowns.tree import Tree
from pdeopt.optimize.bounds import BoundsLike, full_bounds

#: The standard deviation of random initial guesses, in units of m.
INITIAL_SPREAD = 1.0
#: The number of waves that a random function is the sum of.
WAVE_COUNT = 200
#: The correlation length of a random function, as a part of the extent of its domain.
CORRELATION_PART = 0.2


def random_start(
    parameter: AnyParameter,
    initial: np.ndarray,
    bounds: BoundsLike,
    seed: int,
    spread: float | Mapping[str, float] = INITIAL_SPREAD,
) -> np.ndarray:
    """Return a random initial guess of m, (p,), distributed as `Problem.at_random_start` says.

    Args:
        parameter: One parameter, or several by name.
        initial: The initial guess of m, (p,).
        bounds: The bounds of m, as those of a `Problem`.
        seed: The seed of the random numbers, ≥ 0.
        spread: The standard deviation, one number or those of parameters by name.

    Raises:
        InputError: The seed is no number ≥ 0, a spread is not positive, or it is that of a parameter that is not there.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"the seed of a random start is {seed!r}; expected a whole number ≥ 0")
    names = list(parameter.parts) if isinstance(parameter, Parameters) else [""]
    given = dict(spread) if isinstance(spread, Mapping) else dict.fromkeys(names, spread)
    for name, value in given.items():
        if name not in names:
            known = ", ".join(filter(None, names)) or "one without a name"
            raise InputError(f"there is a spread for {name!r}; the parameters are {known}")
        if not 0 < value < np.inf:
            raise InputError(f"the spread of a random start is {value}; expected a number > 0")
    lower, upper = full_bounds(bounds, len(initial))
    is_between = np.isfinite(lower) & np.isfinite(upper)
    start = np.array(initial, float)
    for k, (name, (where, part)) in enumerate(zip(names, blocks(parameter), strict=True)):
        normal = _standard_normal(part, start[where], np.random.default_rng([int(seed), k]))
        start[where] = given.get(name, INITIAL_SPREAD) * normal + (0.0 if isinstance(part, Tree) else start[where])
        within = np.flatnonzero(is_between[where]) + where.start
        share = ndtr(normal[within - where.start])
        start[within] = (1 - share) * lower[within] + share * upper[within]
    start = np.where(start < lower, 2 * lower - start, start)  # reflected where there is a bound on one side
    start = np.where(start > upper, 2 * upper - start, start)
    return np.asarray(np.clip(start, lower, upper))


def _standard_normal(part: SingleParameter, initial: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers (p,) of mean 0 and variance 1; of a tree of each array's mean square."""
    if isinstance(part, Tree):
        ends = np.cumsum([leaf.size for leaf in jax.tree.leaves(part.example)])
        arrays = np.split(initial if initial.any() else np.ones(part.size), ends[:-1])
        return np.concatenate([np.sqrt(np.mean(one**2)) * rng.standard_normal(one.size) for one in arrays if one.size])
    if isinstance(part, ParameterInTime):
        time = np.cumsum(np.asarray(part.weights))
        extent = np.ptp(part.space.mesh.p, axis=1).max()
        places = np.vstack([part.locations, np.repeat(extent * time / time[-1], part.space.n)])
        return _sum_of_waves(places, extent, rng)
    if not isinstance(part, Parameter):
        return rng.standard_normal(part.size)
    extent = np.ptp(part.space.mesh.p, axis=1).max()
    functions = [_sum_of_waves(part.locations, extent, rng) for _ in range(part.space.vector_size)]
    if len(functions) == 1:
        return functions[0]
    dofs = np.arange(part.size) if part.dofs is None else part.dofs
    return np.asarray(part.space.own_components(np.stack(functions), dofs))


def _sum_of_waves(places: np.ndarray, extent: float, rng: np.random.Generator) -> np.ndarray:
    """Return the values (p,) of a random function at places (d, p) of a domain of some extent."""
    frequencies = rng.standard_normal((WAVE_COUNT, len(places))) / (CORRELATION_PART * extent)
    phases = rng.uniform(0, 2 * np.pi, WAVE_COUNT)
    waves = np.cos(places.T @ frequencies.T + phases)
    return np.asarray(np.sqrt(2 / WAVE_COUNT) * waves.sum(axis=1))
