"""The run of a problem from the command line: build, invert, and write the run directory."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pdeopt.inverse import Problem
from pdeopt.inversion.minimization import Ending, Settings
from pdeopt.inversion.verification import DerivativeError
from pdeopt.run.errors import RunError, bad_input
from pdeopt.run.execution.conclusion import write_result
from pdeopt.run.execution.inversion import Task, carry_out
from pdeopt.run.execution.keeping import Keeper, command, resumable
from pdeopt.run.execution.live_picture import LivePicture
from pdeopt.run.execution.request import RunRequest, config_of, solver_name, versions
from pdeopt.run.pictures.scene_figure import scene_note
from pdeopt.run.store.directory import RunDirectory, write_json
from pdeopt.run.watch.interruption import exit_status
from pdeopt.run.watch.progress import Progress

#: The exit status of the command by the status of a run that was not interrupted.
EXIT_STATUS = {"converged": 0, "stopped": 0, "failed": 1}


@dataclass(frozen=True)
class Outcome:
    """A run that has ended, with what the command says of it.

    Attributes:
        directory: The run directory.
        summary: The entries of summary.json.
        exit_status: The exit status of the command.
        warnings: What could not be drawn or written.
        next_step: The command that goes on where the run stopped; None where it came to its end.
    """

    directory: Path
    summary: dict[str, Any]
    exit_status: int
    warnings: list[str]
    next_step: str | None


def run_problem(request: RunRequest, progress: Progress) -> Outcome:
    """Run a problem as requested, and write its run directory.

    Args:
        request: The request.
        progress: Told what is done.

    Raises:
        UsageError: The input is bad; nothing is left behind then.
        RunError: The run ended early, and can be resumed, or the derivatives are wrong.
    """
    directory = RunDirectory(request.name, request.out)
    if directory.others:
        shown = ", ".join([*directory.others[:3], *(["…"] if len(directory.others) > 3 else [])])
        progress.warn(f"{directory.path} holds other files ({shown}); they stay as they are")
    announce(request, progress)
    problem = request.problem()
    settings = request.settings(problem)
    keeper = Keeper(lambda: directory.make(config_of(request, problem, settings)), request.path)
    return execute_and_write(request, problem, settings, keeper, progress)


def announce(request: RunRequest, progress: Progress) -> None:
    """Tell what is run, with which packages, and that it is being built."""
    progress.log.write(f"pdeopt {shlex.join(request.argv)}")
    progress.log.write(", ".join(f"{name} {version}" for name, version in versions().items()))
    progress.stage("building", f"building {request.name} …")


def execute_and_write(
    request: RunRequest, problem: Problem, settings: Settings, keeper: Keeper, progress: Progress
) -> Outcome:
    """Invert, from the answers that are kept on, and write the results.

    Args:
        request: The request.
        problem: The problem, built.
        settings: How it is minimized.
        keeper: Keeps what the run goes on from, and makes its directory.
        progress: Told what is done.

    Raises:
        RunError: The derivatives are wrong, or the directory can no longer be written.
    """
    given = request.argv[1] if request.argv[0] == "run" else request.name
    picture = LivePicture(request.name, problem, progress) if request.live else None
    with resumable(keeper):
        with bad_input(request.path):
            solver = solver_name(problem, request.options.get("solver"))
        task = Task(
            name=request.name,
            problem=problem,
            settings=settings,
            solver=solver,
            check=request.check,
            remedy=f"'pdeopt check {given}' with the same options runs all checks; --no-check runs all the same",
            guarded=partial(bad_input, request.path),
        )
        try:
            found = carry_out(task, keeper, progress, picture)
        except DerivativeError as error:
            raise RunError(str(error)) from error
        _tell_unused(request, found.ending, progress)
        progress.stage("pictures", "writing results and pictures …")
        assert keeper.directory is not None
        summary = found.summary(task)
        interrupted, warnings = write_result(keeper.directory, found.rows, summary, found.reached.fields)
        summary["stage_seconds"] = progress.times.seconds()
        write_json(keeper.directory / "summary.json", summary)  # the last file: a run that has it is complete
        if found.ending.status == "converged":
            keeper.discard()
    fields = found.reached.fields
    if fields is not None and (note := scene_note(fields)):
        progress.note(note)
    interrupted |= found.ending.status == "interrupted"
    status = exit_status() if interrupted else EXIT_STATUS[found.ending.status]
    return Outcome(keeper.directory, summary, status, warnings, _next_step(found.ending, settings, keeper.directory))


def _next_step(ending: Ending, settings: Settings, directory: Path) -> str | None:
    """Return the command that goes on with a run, or None where it has come to its end."""
    if ending.status == "interrupted":
        return command(directory)
    if ending.status == "stopped":
        return command(directory, f" --max-iterations {2 * max(settings.max_iterations, 1)}")
    return None


def _tell_unused(request: RunRequest, ending: Ending, progress: Progress) -> None:
    """Tell of options of the command line that did not do what they say."""
    asked, used = request.inner_product, ending.inner_product
    if asked and used and asked != used:
        progress.note(f"--inner-product {asked}: the problem has bounds, with which {used} was used")
    if request.live and "live picture" not in progress.times.seconds():
        progress.note("--live: the run was over before its first picture was due")
