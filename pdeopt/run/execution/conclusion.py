"""The end of a run: the evaluation of the last iterate, and the files and pictures of the result."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from pdeopt.errors import describe, is_interrupt
from pdeopt.inverse import MisfitSum, Problem
from pdeopt.inverse.problem import SUMMARY_NAMES
from pdeopt.inversion.history import Row
from pdeopt.inversion.minimization import RunStatus
from pdeopt.run.errors import try_writing
from pdeopt.run.execution.interpretation import Interpretation, interpretations
from pdeopt.run.execution.summary import FinalState
from pdeopt.run.store.directory import LIVE_PICTURE_FILE, is_written_by_pdeopt
from pdeopt.run.store.fields import Fields, fields_of, write_fields
from pdeopt.run.store.mesh_output import files_in_time, mesh_files, write_mesh, write_series
from pdeopt.run.watch.progress import Progress

#: The result where nothing can be evaluated.
NO_FINAL_STATE = FinalState(None, None, None, {})


def evaluate(
    problem: Problem,
    m: np.ndarray,
    ending: RunStatus,
    progress: Progress,
    guarded: Callable[[], AbstractContextManager[None]],
) -> tuple[FinalState, RunStatus]:
    """Return what is known at the last iterate, and the end of the run, which may have changed by it.

    A run whose last iterate cannot be evaluated has failed, and its history stays.

    Args:
        problem: The problem.
        m: The last iterate (p,).
        ending: The end of the minimization.
        progress: Told what is done.
        guarded: Makes a context that words what goes wrong in `interpret`.
    """
    progress.stage("evaluating", "evaluating the result …")
    try:
        errors = problem.relative_error(m), problem.relative_error(problem.initial)
        fields = fields_of(problem, m, initial_data=True)
        final_state = FinalState(fields, *errors, problem.measure(m), _misfits(problem, fields))
    except KeyboardInterrupt:
        return NO_FINAL_STATE, _interrupted(ending, "evaluated")
    except Exception as error:
        if is_interrupt(error):
            return NO_FINAL_STATE, _interrupted(ending, "evaluated")
        progress.failed(error)
        message = f"{ending.message}; the result cannot be evaluated: {describe(error)}"
        return NO_FINAL_STATE, replace(ending, status="failed", message=message)
    if problem.interpret is None:
        return final_state, ending
    progress.stage("interpreting", "interpreting the result …")
    return _interpret(problem, m, final_state, ending, progress, guarded)


def _misfits(problem: Problem, fields: Fields) -> dict[str, float]:
    """Return the misfit of each part of a sum of misfits, by name."""
    misfit = problem.functional.misfit
    if not isinstance(misfit, MisfitSum):
        return {}
    if all(one.times is None for one in fields.data_sets):
        found = misfit.values(jnp.asarray(fields.state), fields.coefficient)
        return {name: float(value) for name, value in found.items()}
    predicted = {one.label: one.predicted for one in fields.data_sets}
    known = [(name, part.distance) for name, part in misfit.parts.items() if name in predicted]
    return {name: float(distance(jnp.asarray(predicted[name]))) for name, distance in known if distance is not None}


def _interpret(
    problem: Problem,
    m: np.ndarray,
    final_state: FinalState,
    ending: RunStatus,
    progress: Progress,
    guarded: Callable[[], AbstractContextManager[None]],
) -> tuple[FinalState, RunStatus]:
    """Return the result with what the problem's `interpret` says of m, and the end of the run.

    Where `interpret` fails, or is interrupted, what it said before and all else stay.
    """
    interpretation = Interpretation()
    try:
        with guarded():
            for interpretation in interpretations(problem, m):
                progress.detail(f"found {', '.join((*interpretation.scalars, *interpretation.arrays))}")
            for name in problem.views.arrays:
                if name not in interpretation.arrays:
                    progress.note(f"interpret returned no array {name!r}, which the problem's views show")
            for name in problem.views.headline:
                if name not in {*SUMMARY_NAMES, *problem.quantities, *interpretation.scalars}:
                    progress.note(f"interpret returned no number {name!r}, which the headline of the views shows")
    except KeyboardInterrupt:
        ending = _interrupted(ending, "interpreted")
    except Exception as error:
        if is_interrupt(error):
            ending = _interrupted(ending, "interpreted")
        else:
            progress.failed(error)
            message = f"{ending.message}; the result cannot be interpreted: {describe(error)}"
            ending = replace(ending, status="failed", message=message)
    assert final_state.fields is not None
    fields = replace(final_state.fields, extra=interpretation.arrays)
    return replace(final_state, fields=fields, quantities={**final_state.quantities, **interpretation.scalars}), ending


def _interrupted(ending: RunStatus, done: str) -> RunStatus:
    return replace(ending, status="interrupted", message=f"{ending.message}; interrupted while the result was {done}")


def write_result(
    directory: Path, rows: list[Row], summary: dict[str, Any], fields: Fields | None, pictures: bool = True
) -> tuple[bool, list[str]]:
    """Write result.npz, fields.vtu (and state.vtu, fields.pvd) and pictures.

    Args:
        directory: The run directory.
        rows: The history.
        summary: The entries of summary.json.
        fields: The arrays of result.npz; None where nothing could be evaluated.
        pictures: Whether pictures are drawn; matplotlib is not imported otherwise.

    Returns:
        Whether it was interrupted, and a warning for each picture or mesh that could not be written.
    """
    if fields is None:
        return False, []
    write_fields(directory / "result.npz", fields)
    try:
        warnings = []
        for name, file in mesh_files(fields).items():
            warnings += try_writing(name, partial(write_mesh, directory / name, file))
        warnings += try_writing("fields.pvd", partial(write_series, directory, files_in_time(fields)))
        if pictures:
            from pdeopt.run.pictures.run_pictures import draw_run

            warnings += draw_run(directory, fields, rows, summary)
    except KeyboardInterrupt:
        again = f"pdeopt plot {shlex.quote(str(directory))}"
        return True, [f"interrupted before all pictures were drawn; to draw them: {again}"]
    if (directory / "result.png").exists() and is_written_by_pdeopt(directory / LIVE_PICTURE_FILE):
        (directory / LIVE_PICTURE_FILE).unlink(missing_ok=True)
    return False, warnings
