"""The largest step with which an explicit scheme is stable (Courant, Friedrichs, Lewy 1928)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, report
from pdeopt.sparse.march.plan import MarchPlan, StepKind, combination, is_diagonal

#: The number of power iterations for the largest eigenvalue; they find it from below.
POWER_ITERATIONS = 40
#: The part by which the limit may be exceeded.
ROUNDING = 1e-9


def check_stability(plan: MarchPlan, matrices: Sequence[np.ndarray | None]) -> None:
    """Refuse steps with which an explicit scheme is not stable.

    With A, X₁ and X₂ the matrices at the lags, a mode that changes its sign at each step grows where A − X₁ is not
    positive definite (one lag), or A − X₁ + X₂ (two lags). These are 2 A − S with S = A + X₁, and 4 A − S with
    S = 3 A + X₁ − X₂, in which the mass cancels: Δt K of explicit Euler, and Δt² K + 2 Δt C of leapfrog. The scheme is
    stable where the eigenvalues of A⁻¹ S are at most 2, or 4. It is looked at where A is diagonal and S symmetric.
    Gershgorin's circles are tried first, which cost nothing.

    Raises:
        SolveError: A step is too large.
    """
    for number, kind in enumerate(plan.kinds):
        found = _explicit(plan, kind, matrices)
        if found is None or number not in plan.kind_of:
            continue
        diagonal, S = found
        limit = 2.0**plan.lags
        if (abs(S) @ np.ones(len(diagonal)) <= limit * np.abs(diagonal)).all():
            continue
        if abs(S - S.T).sum() > ROUNDING * abs(S).sum():
            continue
        largest = _largest_eigenvalue(diagonal, S)
        if largest > limit * (1 + ROUNDING):
            k = plan.kind_of.index(number) + 1
            step = plan.times[k - 1] - (plan.times[k - 2] if k > 1 else 2 * plan.times[0] - plan.times[1])
            allowed = step * (limit / largest) ** (1 / plan.lags)
            raise report(
                SolveError(
                    f"time step {k} of {plan.count} has size {step:.6g}, and the explicit scheme is stable up to "
                    f"about {allowed:.6g} with this mesh and these coefficients (the CFL condition); take smaller "
                    "steps, a coarser mesh or an implicit scheme"
                )
            )


def _explicit(
    plan: MarchPlan, kind: StepKind, matrices: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, sp.csr_matrix] | None:
    """Return the diagonal of A and the matrix S of a kind of steps; None where A is not diagonal."""
    needed = [m for m, factor in enumerate(kind[0]) if factor != 0]
    if not all(is_diagonal(plan.patterns[m]) for m in needed) or not (plan.count > 1 and plan.lags in (1, 2)):
        return None
    weights = (1.0, 1.0) if plan.lags == 1 else (3.0, 1.0, -1.0)
    sums = [sum(w * row[m] for w, row in zip(weights, kind, strict=True)) for m in range(len(plan.patterns))]
    kept = [m for m, total in enumerate(sums) if total != 0 and matrices[m] is not None]
    if not kept:
        return None
    diagonal = sum(kind[0][m] * np.asarray(matrices[m]) for m in needed)
    together = combination(tuple(plan.patterns[m] for m in kept))
    values = together.values([sums[m] for m in kept], [np.asarray(matrices[m]) for m in kept])
    pattern = together.pattern
    return np.asarray(diagonal), sp.csr_matrix((values, pattern.indices, pattern.indptr), pattern.shape)


def _largest_eigenvalue(diagonal: np.ndarray, S: sp.csr_matrix) -> float:
    """Return a lower bound of the largest eigenvalue of A⁻¹ S, which is close to it."""
    roots = np.sqrt(np.abs(diagonal))
    x = np.random.default_rng(0).standard_normal(len(diagonal))
    value = 0.0
    for _ in range(POWER_ITERATIONS):
        x /= np.linalg.norm(x)
        y = (S @ (x / roots)) / roots
        value, x = float(x @ y), y
    return value
