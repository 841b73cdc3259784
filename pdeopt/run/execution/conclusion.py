"""The end of a run: the evaluation of the last iterate, and the files and pictures of the result."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.errors import describe, is_interrupt
from pdeopt.inverse import Problem
from pdeopt.inversion.history import Row
from pdeopt.inversion.minimization import Ending
from pdeopt.run.errors import attempt
from pdeopt.run.execution.interpretation import Meaning, interpreted
from pdeopt.run.execution.summary import Reached
from pdeopt.run.pictures.run_pictures import draw_run
from pdeopt.run.store.directory import LIVE, is_ours
from pdeopt.run.store.fields import Fields, fields_of, write_fields
from pdeopt.run.store.mesh_output import mesh_files, write_mesh
from pdeopt.run.watch.progress import Progress

#: The result where nothing can be evaluated.
NOTHING = Reached(None, None, None, {})


def evaluate(
    problem: Problem,
    m: np.ndarray,
    ending: Ending,
    progress: Progress,
    guarded: Callable[[], AbstractContextManager[None]],
) -> tuple[Reached, Ending]:
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
        reached = Reached(fields_of(problem, m), *errors, problem.measure(m))
    except KeyboardInterrupt:
        return NOTHING, _interrupted(ending, "evaluated")
    except Exception as error:
        if is_interrupt(error):
            return NOTHING, _interrupted(ending, "evaluated")
        progress.failed(error)
        message = f"{ending.message}; the result cannot be evaluated: {describe(error)}"
        return NOTHING, replace(ending, status="failed", message=message)
    if problem.interpret is None:
        return reached, ending
    progress.stage("interpreting", "interpreting the result …")
    return _interpret(problem, m, reached, ending, progress, guarded)


def _interpret(
    problem: Problem,
    m: np.ndarray,
    reached: Reached,
    ending: Ending,
    progress: Progress,
    guarded: Callable[[], AbstractContextManager[None]],
) -> tuple[Reached, Ending]:
    """Return the result with what the problem's `interpret` says of m, and the end of the run.

    Where `interpret` fails, or is interrupted, what it said before and all else stay.
    """
    meaning = Meaning()
    try:
        with guarded():
            for meaning in interpreted(problem, m):
                progress.detail(f"found {', '.join((*meaning.scalars, *meaning.arrays))}")
            for name in problem.views.arrays:
                if name not in meaning.arrays:
                    progress.note(f"interpret returned no array {name!r}, which the problem's views show")
    except KeyboardInterrupt:
        ending = _interrupted(ending, "interpreted")
    except Exception as error:
        if is_interrupt(error):
            ending = _interrupted(ending, "interpreted")
        else:
            progress.failed(error)
            message = f"{ending.message}; the result cannot be interpreted: {describe(error)}"
            ending = replace(ending, status="failed", message=message)
    assert reached.fields is not None
    fields = replace(reached.fields, extra=meaning.arrays)
    return replace(reached, fields=fields, quantities={**reached.quantities, **meaning.scalars}), ending


def _interrupted(ending: Ending, done: str) -> Ending:
    return replace(ending, status="interrupted", message=f"{ending.message}; interrupted while the result was {done}")


def write_result(
    directory: Path, rows: list[Row], summary: dict[str, Any], fields: Fields | None
) -> tuple[bool, list[str]]:
    """Write result.npz, fields.vtu (and state.vtu) and pictures.

    Args:
        directory: The run directory.
        rows: The history.
        summary: The entries of summary.json.
        fields: The arrays of result.npz; None where nothing could be evaluated.

    Returns:
        Whether it was interrupted, and a warning for each picture or mesh that could not be written.
    """
    if fields is None:
        return False, []
    write_fields(directory / "result.npz", fields)
    try:
        warnings = []
        for name, file in mesh_files(fields).items():
            warnings += attempt(name, partial(write_mesh, directory / name, file))
        warnings += draw_run(directory, fields, rows, summary)
    except KeyboardInterrupt:
        again = f"pdeopt plot {shlex.quote(str(directory))}"
        return True, [f"interrupted before all pictures were drawn; to draw them: {again}"]
    if (directory / "result.png").exists() and is_ours(directory / LIVE):
        (directory / LIVE).unlink(missing_ok=True)
    return False, warnings
