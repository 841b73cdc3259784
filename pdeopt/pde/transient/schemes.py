"""Schemes in time, as tables of what each step takes of mass, damping and stiffness.

First order in time, M ∂u/∂t + K u = f, from a state u_{k−1} with the step Δt:

    theta               M (u_k − u_{k−1}) + Δt K (θ u_k + (1 − θ) u_{k−1}) = Δt (θ f_k + (1 − θ) f_{k−1})
    bdf2                M (3/2 u_k − 2 u_{k−1} + 1/2 u_{k−2}) + Δt K u_k = Δt f_k, the first step by implicit Euler
    sdirk2              two stages with one matrix M + γ Δt K, γ = 1 − 1/√2 (Alexander 1977)

Second order in time, M ∂²u/∂t² + C ∂u/∂t + K u = f, with equal steps:

    newmark             the method of Newmark (1959) with β and γ, written with three states and without velocities
    leapfrog            M (u_{k+1} − 2 u_k + u_{k−1}) + Δt C (u_k − u_{k−1}) + Δt² K u_k = Δt² f_k, explicit for a
                        lumped M, and of first order in the damping C
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.errors import did_you_mean
from pdeopt.sparse import SolveError
from pdeopt.sparse.march.plan import StepKind

#: The difference up to which two steps count as equal, relative to the larger one: rounding of times.
EQUAL_STEPS = 1e-9
#: The diagonal number of both stages of sdirk2, with which it is L-stable.
GAMMA = 1 - np.sqrt(0.5)


@dataclass(frozen=True)
class Scheme:
    """A scheme in time.

    Attributes:
        name: The name.
        order: The order of accuracy.
        is_second: Whether it is for equations of second order in time.
        numbers: The numbers θ, or β and γ.
    """

    name: str
    order: int
    is_second: bool
    numbers: tuple[float, ...] = ()


def theta(value: float) -> Scheme:
    """Return the θ-scheme: explicit Euler for 0, Crank–Nicolson for ½, implicit Euler for 1.

    Raises:
        SolveError: The number is not between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise SolveError(f"θ is {value!r}; expected a number between 0 and 1, as 0.5 for Crank–Nicolson")
    return Scheme("theta", 2 if value == 0.5 else 1, False, (float(value),))


def newmark(beta: float = 0.25, gamma: float = 0.5) -> Scheme:
    """Return the scheme of Newmark; with β = ¼ and γ = ½ it is stable for all steps, and conserves energy.

    Raises:
        SolveError: A number is negative.
    """
    if not (beta >= 0 and gamma >= 0):
        raise SolveError(f"Newmark's β is {beta!r} and γ is {gamma!r}; expected numbers ≥ 0, as 0.25 and 0.5")
    return Scheme("newmark", 2 if gamma == 0.5 else 1, True, (float(beta), float(gamma)))


#: The schemes by name.
SCHEMES = {
    "implicit-euler": theta(1.0),
    "crank-nicolson": theta(0.5),
    "explicit-euler": theta(0.0),
    "bdf2": Scheme("bdf2", 2, False),
    "sdirk2": Scheme("sdirk2", 2, False),
    "newmark": newmark(),
    "leapfrog": Scheme("leapfrog", 2, True),
}


def scheme_named(scheme: str | Scheme) -> Scheme:
    """Return a scheme by its name; a scheme itself is returned as it is.

    Raises:
        SolveError: The name is not known.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if scheme not in SCHEMES:
        raise SolveError(
            f"the scheme is {scheme!r}{did_you_mean(scheme, list(SCHEMES))}; expected one of {', '.join(SCHEMES)}, or "
            "theta(0.7) or newmark(0.3, 0.6)"
        )
    return SCHEMES[scheme]


@dataclass(frozen=True, eq=False)
class StepTable:
    """The steps of a march that a scheme makes of given times.

    A scheme with stages makes several steps of the march of one step in time.

    Attributes:
        kinds: The numbers a[lag][m] of each kind of steps; the matrices are M, K, or M, C, K.
        kind_of: The number of the kind of each step of the march.
        ends: The time at the end of each step of the march.
        load_times: The times (J, steps) at which the load is taken in each step.
        load_weights: The factors (J, steps) of the load there.
        load_steps: The number of the step in time, from 1 on, that each step of the march belongs to.
        step_ends: The step of the march at whose end each of the given times is, 0 for the first.
    """

    kinds: tuple[StepKind, ...]
    kind_of: tuple[int, ...]
    ends: np.ndarray
    load_times: np.ndarray
    load_weights: np.ndarray
    load_steps: np.ndarray
    step_ends: np.ndarray

    def factors(self, lag: int, matrix: int) -> np.ndarray:
        """Return the numbers a[lag][m] of all steps of the march for one matrix."""
        return np.array([self.kinds[kind][lag][matrix] for kind in self.kind_of])


def step_table(scheme: Scheme, times: np.ndarray) -> StepTable:
    """Return the steps of a scheme.

    Args:
        scheme: The scheme.
        times: The times (K + 1,), increasing.

    Raises:
        SolveError: The scheme needs equal steps, and these are not.
    """
    return _TABLES[scheme.name](scheme, times)


def _distinct(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different step sizes, and which of them each step has."""
    sizes = np.diff(times)
    if np.ptp(sizes) <= EQUAL_STEPS * sizes.max():
        return np.array([(times[-1] - times[0]) / len(sizes)]), np.zeros(len(sizes), int)
    found: list[float] = []
    which = np.empty(len(sizes), int)
    for k, size in enumerate(sizes):
        near = [i for i, other in enumerate(found) if abs(other - size) <= EQUAL_STEPS * other]
        if not near:
            found.append(size)
        which[k] = near[0] if near else len(found) - 1
    return np.array(found), which


def _theta_table(scheme: Scheme, times: np.ndarray) -> StepTable:
    (new,) = scheme.numbers
    old = 1 - new
    sizes, which = _distinct(times)
    kinds = tuple(((1.0, new * size), (-1.0, old * size)) for size in sizes)
    parts = [(times[1:], new), (times[:-1], old)]
    used = [(at, factor) for at, factor in parts if factor != 0]
    return StepTable(
        kinds,
        tuple(which),
        times[1:],
        np.array([at for at, _ in used]),
        np.array([factor * sizes[which] for _, factor in used]),
        np.arange(1, len(times)),
        np.arange(len(times)),
    )


def _bdf2_table(scheme: Scheme, times: np.ndarray) -> StepTable:
    sizes, which = _distinct(times)
    kinds: list[StepKind] = [((1.0, sizes[which[0]]), (-1.0, 0.0), (0.0, 0.0))]
    numbers: dict[tuple[int, int], int] = {}
    kind_of = [0]
    for pair in zip(which[1:], which[:-1], strict=True):
        if pair not in numbers:
            numbers[pair] = len(kinds)
            size, w = sizes[pair[0]], sizes[pair[0]] / sizes[pair[1]]
            kinds.append((((1 + 2 * w) / (1 + w), size), (-(1 + w), 0.0), (w**2 / (1 + w), 0.0)))
        kind_of.append(numbers[pair])
    return StepTable(
        tuple(kinds),
        tuple(kind_of),
        times[1:],
        times[None, 1:],
        sizes[which][None],
        np.arange(1, len(times)),
        np.arange(len(times)),
    )


def _sdirk2_table(scheme: Scheme, times: np.ndarray) -> StepTable:
    sizes, which = _distinct(times)
    kinds: list[StepKind] = []
    for size in sizes:
        kinds.append(((1.0, GAMMA * size), (-1.0, 0.0), (0.0, 0.0)))
        kinds.append(((1.0, GAMMA * size), (0.0, (1 - GAMMA) * size), (-1.0, 0.0)))
    size = sizes[which]
    stages = times[:-1] + GAMMA * size
    zero = np.zeros(len(size))
    return StepTable(
        tuple(kinds),
        tuple(int(kind) for kind in np.stack([2 * which, 2 * which + 1], axis=1).ravel()),
        np.stack([stages, times[1:]], axis=1).ravel(),
        np.stack([[stages, stages], [times[1:], stages]], axis=-1).reshape(2, -1),
        np.stack([[GAMMA * size, zero], [GAMMA * size, (1 - GAMMA) * size]], axis=-1).reshape(2, -1),
        np.repeat(np.arange(1, len(times)), 2),
        2 * np.arange(len(times)),
    )


def _equal_size(scheme: Scheme, times: np.ndarray) -> float:
    sizes, which = _distinct(times)
    if len(sizes) > 1:
        k = int(np.flatnonzero(which)[0])
        raise SolveError(
            f"step {k + 1} of {len(which)} has size {sizes[which[k]]:.6g}, the first one {sizes[0]:.6g}; {scheme.name} "
            "needs equal steps, as np.linspace(0, end, count + 1) makes"
        )
    return float(sizes[0])


def _newmark_table(scheme: Scheme, times: np.ndarray) -> StepTable:
    beta, gamma = scheme.numbers
    size = _equal_size(scheme, times)
    of_stiffness = np.array([beta, 0.5 + gamma - 2 * beta, 0.5 - gamma + beta]) * size**2
    of_damping = np.array([gamma, 1 - 2 * gamma, gamma - 1]) * size
    kind = tuple((m, float(c), float(k)) for m, c, k in zip((1.0, -2.0, 1.0), of_damping, of_stiffness, strict=True))
    count = len(times) - 1
    levels = np.concatenate([times[:1], times])  # before the start the load is that at the start
    return StepTable(
        (kind,),
        (0,) * count,
        times[1:],
        np.stack([levels[2 - lag : 2 - lag + count] for lag in range(3)]),
        np.repeat(of_stiffness[:, None], count, axis=1),
        np.arange(1, len(times)),
        np.arange(len(times)),
    )


def _leapfrog_table(scheme: Scheme, times: np.ndarray) -> StepTable:
    size = _equal_size(scheme, times)
    kind = ((1.0, 0.0, 0.0), (-2.0, size, size**2), (1.0, -size, 0.0))
    count = len(times) - 1
    return StepTable(
        (kind,),
        (0,) * count,
        times[1:],
        times[None, :-1],
        np.full((1, count), size**2),
        np.arange(1, len(times)),
        np.arange(len(times)),
    )


_TABLES: dict[str, Callable[[Scheme, np.ndarray], StepTable]] = {
    "theta": _theta_table,
    "bdf2": _bdf2_table,
    "sdirk2": _sdirk2_table,
    "newmark": _newmark_table,
    "leapfrog": _leapfrog_table,
}
