"""The content of summary.json, with the names that other tools read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdeopt.inverse import Misfit, MisfitSum, Parameters, Problem
from pdeopt.inversion.history import Row
from pdeopt.inversion.minimization import RunStatus, Settings
from pdeopt.inversion.strength_rule import strength_entries
from pdeopt.optimize import Iterate
from pdeopt.run.store.fields import Fields
from pdeopt.sparse import Work, state_memory

#: The largest number of multipliers of one constraint that summary.json has.
MAX_SHOWN_MULTIPLIERS = 20


@dataclass(frozen=True)
class FinalState:
    """The values at the last iterate; None where they failed, or there is nothing to compare with.

    Attributes:
        fields: The arrays of result.npz.
        relative_error: The relative error of the coefficient at the last iterate.
        initial_relative_error: The relative error of the coefficient at the initial guess.
        quantities: The problem's own numbers, and the scalars of its interpretation.
        misfits: The misfit of each part of a sum of misfits, by name; empty where there is one misfit.
    """

    fields: Fields | None
    relative_error: float | None
    initial_relative_error: float | None
    quantities: dict[str, Any]
    misfits: dict[str, float] = field(default_factory=dict)


def summarize(
    name: str,
    problem: Problem,
    last: Row,
    ending: RunStatus,
    final_state: FinalState,
    settings: Settings,
    solver: str | None,
    spent: Work,
) -> dict[str, Any]:
    """Return the outcome of a run, as entries of summary.json.

    Args:
        name: The name of the problem.
        problem: The problem.
        last: The last row of the history.
        ending: How the minimization ended.
        final_state: What is evaluated at the last iterate.
        settings: How the problem was minimized.
        solver: The name of the linear solver; None where it is not known.
        spent: The work on the state equation.
    """
    return {
        "problem": name,
        "status": "stopped" if ending.status == "interrupted" else ending.status,
        "message": ending.message,
        "objective": last.objective,
        "misfit": last.misfit,
        "regularization": last.regularization,
        "gradient_norm": last.gradient_norm,
        "iterations": last.iteration,
        "cg_iterations": last.cg_iterations,
        "evaluations": last.evaluations,
        "factorizations": last.factorizations,
        "solves": last.solves,
        "forward_solves": last.forward_solves,
        "adjoint_solves": last.adjoint_solves,
        "tangent_solves": last.tangent_solves,
        "second_order_solves": last.second_order_solves,
        "newton_iterations": last.newton_iterations,
        **_marches(spent),
        "seconds": last.seconds,
        "relative_error": final_state.relative_error,
        "initial_relative_error": final_state.initial_relative_error,
        **_relative_errors(problem, final_state.fields),
        **_noise(problem.functional.misfit, last.misfit),
        **_misfits(problem, final_state),
        "parameters": problem.parameter.size,
        "solver": solver,
        "fallbacks": spent.fallbacks,
        "optimizer": settings.optimizer,
        "inner_product": ending.inner_product or settings.inner_product,
        **strength_entries(settings, ending),
        "headline": dict(problem.views.headline),
        **final_state.quantities,
        **_numbers(final_state.fields),
    }


def _marches(spent: Work) -> dict[str, int]:
    """Return the numbers of time steps, and the peak memory of states; nothing without marches."""
    if not spent.time_steps:
        return {}
    known = {"adjoint_time_steps": spent.adjoint_time_steps, "peak_state_memory": state_memory.peak}
    return {"time_steps": spent.time_steps, **{name: value for name, value in known.items() if value}}


def _numbers(fields: Fields | None) -> dict[str, dict[str, float]]:
    """Return the unknown numbers by name, where they are few."""
    found: dict[str, float] = {}
    for one in () if fields is None else fields.each.values():
        if one.names:
            found |= dict(zip(one.names, map(float, one.coefficient), strict=True))
    return {"numbers": found} if found else {}


def _relative_errors(problem: Problem, fields: Fields | None) -> dict[str, dict[str, float | None]]:
    """Return the relative error of each of several parameters by name."""
    if fields is None or fields.truth is None or not isinstance(problem.parameter, Parameters):
        return {}
    return {"relative_errors": problem.parameter.relative_errors(fields.coefficient, fields.truth)}


def _misfits(problem: Problem, final_state: FinalState) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the misfit of each part of a sum of misfits, with what is known of its data and their noise."""
    misfit = problem.functional.misfit
    if not isinstance(misfit, MisfitSum) or not final_state.misfits:
        return {}
    values = final_state.misfits
    known = [(name, part) for name, part in misfit.parts.items() if name in values]
    parts = {name: {"misfit": values[name], **_noise(part, values[name])} for name, part in known}
    return {"misfits": parts}


def constraint_entries(problem: Problem, last: Iterate | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what summary.json says of the constraints at the last iterate, nothing where there are none.

    Multipliers are those λ with which J + λᵀg is stationary; None where they are more than `MAX_SHOWN_MULTIPLIERS`.
    """
    if last is None or last.constraints is None or last.multipliers is None:
        return {}
    names, found = np.array(last.constraints.rows.names), {}
    for constraint in problem.functional.constraints:
        own = names == constraint.name
        found[constraint.name] = {
            "kind": constraint.kind,
            "size": int(own.sum()),
            "tolerance": float(constraint.tolerance),
            "largest_violation": float(last.constraints.violations[own].max()),
            "multipliers": last.multipliers[own].tolist() if own.sum() <= MAX_SHOWN_MULTIPLIERS else None,
        }
    return {"constraints": found}


def _noise(given: Misfit, misfit: float) -> dict[str, Any]:
    """Return what a misfit knows of its data and their noise, None where it does not.

    Args:
        given: The misfit.
        misfit: Its value.
    """
    noise, expected, data = given.noise, given.expected, given.data
    return {
        "noise_level": None if noise is None else float(np.mean(noise, where=noise > 0)),  # 0 where data are exact
        "expected_misfit": expected,
        "discrepancy": misfit / expected if expected else None,
        "data": None if data is None else int(np.size(data)),
    }
