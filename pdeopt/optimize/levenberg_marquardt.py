"""Projected Levenberg–Marquardt: Gauss–Newton with bounds.

It is for strongly nonlinear problems of few parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from pdeopt.optimize.objective import Action, OptimizerError
from pdeopt.optimize.trace import Finished, Trace

#: The largest number of parameters for which the Gauss–Newton matrix is formed.
MAX_GAUSS_NEWTON_PARAMETERS = 2000
#: The number of columns of the Gauss–Newton matrix that are computed at a time.
BLOCK_COLUMNS = 16
#: The part of the decrease that the model predicts by which J must fall where a step is taken.
MIN_GAIN_RATIO = 1e-4
#: The damping μ at the start.
FIRST_DAMPING = 1e-2
#: The largest number of steps that are tried at an iterate.
MAX_TRIAL_STEPS = 40


@dataclass
class Damping:
    """A damping by Nielsen's rule, which rises after rejected steps and falls after good ones.

    It falls smoothly with the quality of accepted steps. (Madsen, Nielsen, Tingleff, "Methods for Non-Linear Least
    Squares Problems", 2004, algorithm 3.16.)

    Attributes:
        value: The damping μ.
        growth: The factor by which the next rejected step raises it.
    """

    value: float = FIRST_DAMPING
    growth: float = 2.0

    def accept(self, ratio: float) -> None:
        """Change the damping after an accepted step.

        Args:
            ratio: The quotient of the decrease of J and of the decrease that the model predicted.
        """
        self.value *= max(1 / 3, 1 - (2 * ratio - 1) ** 3)
        self.growth = 2.0

    def reject(self) -> None:
        """Raise the damping after a rejected step."""
        self.value *= self.growth
        self.growth *= 2


def minimize_levenberg_marquardt(trace: Trace, gauss_newton: Callable[[np.ndarray], Action]) -> None:
    """Iterate from the trace's first iterate until it raises Finished.

    A step solves (H + μD) s = −g for the entries that no bound holds, and is projected onto the bounds (Kanzow,
    Yamashita, Fukushima 2004). D_i = √(H_ii max_j H_jj), the geometric mean of Levenberg's identity and Marquardt's
    diagonal. Both of these fail where sensitivities differ by orders of magnitude, as where a conductivity almost
    vanishes (measured on the problem thermal_recovery: this scaling reaches in 34 evaluations what neither of them
    reaches in 120).

    Args:
        trace: The trace, which evaluates the objective.
        gauss_newton: The function m ↦ (v ↦ H v), asked at the last iterate.

    Raises:
        Finished: The minimization has ended.
        OptimizerError: ``gauss_newton`` acts on a block of vectors otherwise than on its columns.
    """
    damping = Damping()
    matrices: dict[int, np.ndarray] = {}  # the matrix of the last iterate, by its number

    def hessian() -> np.ndarray:
        if trace.last.iteration not in matrices:
            matrices.clear()
            found = _matrix(gauss_newton(trace.last.m), trace.lower < trace.upper)
            matrices[trace.last.iteration] = 0.5 * (found + found.T)
        return matrices[trace.last.iteration]

    def left_to_gain() -> float:
        derivative = trace.projected(trace.last.m)
        step = _damped_step(hessian(), derivative, np.flatnonzero(derivative), 0.0)
        return -0.5 * float(derivative @ step) if step.any() else np.inf

    trace.model = left_to_gain
    while True:
        trace.accept(_accepted_step(trace, hessian(), damping))


def _matrix(action: Action, movable: np.ndarray) -> np.ndarray:
    """Return the matrix (p, p) of an action, computed by blocks of columns that are all equally wide.

    Args:
        action: The action, which takes a block (p, k).
        movable: The entries (p,) that can move; rows and columns are 0 for those that equal bounds fix.

    Raises:
        OptimizerError: The action is not linear on blocks, as where it is for vectors only.
    """
    size, kept = len(movable), np.flatnonzero(movable)
    columns = np.zeros((size, -(-len(kept) // BLOCK_COLUMNS) * BLOCK_COLUMNS))
    columns[kept, np.arange(len(kept))] = 1.0
    matrix = np.zeros((size, size))
    for k in range(0, len(kept), BLOCK_COLUMNS):
        block = kept[k : k + BLOCK_COLUMNS]
        matrix[:, block] = action(columns[:, k : k + BLOCK_COLUMNS])[:, : len(block)]
    if len(kept):
        _check_block_action(action, columns[:, 0], matrix[:, kept[0]], np.abs(matrix).max())
    matrix[~movable] = 0.0
    return matrix


def _check_block_action(action: Action, vector: np.ndarray, column: np.ndarray, scale: float) -> None:
    if not np.allclose(column, action(vector), rtol=1e-6, atol=1e-9 * scale):
        raise OptimizerError("gauss_newton(m) acts on a block (p, k) otherwise than on its columns; make it linear")


def _accepted_step(trace: Trace, hessian: np.ndarray, damping: Damping) -> np.ndarray:
    m = trace.last.m
    value, derivative = trace.evaluate(m)
    free, norm = np.flatnonzero(trace.projected(m)), trace.last.gradient_norm
    rounding = trace.goals.accuracy * abs(value)
    for attempt in range(MAX_TRIAL_STEPS):
        candidate = np.clip(m + _damped_step(hessian, derivative, free, damping.value), trace.lower, trace.upper)
        step = candidate - m
        predicted = -float(derivative @ step + 0.5 * step @ (hessian @ step))
        decrease = value - trace.evaluate(candidate)[0] if predicted > 0 else -np.inf
        if attempt == 0 and predicted <= rounding and abs(decrease) <= rounding:  # J cannot tell any more
            if trace.gradient_norm(candidate) < norm:
                return candidate
            if trace.gain_is_negligible():
                raise Finished(
                    "converged", "a step would change the objective by less than the accuracy of its evaluation"
                )
        if decrease > MIN_GAIN_RATIO * predicted:
            damping.accept(decrease / predicted)
            return candidate
        damping.reject()
    words = "no damped Gauss–Newton step lowers the objective"
    raise trace.ended(f"{words} any more", words)


def _damped_step(hessian: np.ndarray, derivative: np.ndarray, free: np.ndarray, damping: float) -> np.ndarray:
    """Return −(H + μD)⁻¹ g of the free entries, and 0 of the others.

    It is 0 where H + μD is indefinite: a user's term may be concave. The matrix is scaled to a unit diagonal, as
    sensitivities may differ by many orders of magnitude.

    Args:
        hessian: The matrix H (p, p).
        derivative: The derivative g (p,).
        free: The numbers of the free entries.
        damping: The damping μ.
    """
    block = hessian[np.ix_(free, free)]
    diagonal = np.abs(np.diag(block))
    matrix = block + np.diag(damping * np.sqrt(diagonal * diagonal.max(initial=0)))
    if (np.diag(matrix) < 0).any():
        return np.zeros_like(derivative)
    roots = np.sqrt(np.maximum(np.diag(matrix), np.finfo(float).tiny))
    scaled = matrix / np.outer(roots, roots) + np.finfo(float).eps * len(matrix) * np.eye(len(matrix))
    step = np.zeros_like(derivative)
    with suppress(LinAlgError):
        step[free] = -cho_solve(cho_factor(scaled), derivative[free] / roots) / roots
    return step
