"""The run of a problem from the command line: build, invert, and write the run directory."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pdeopt.inverse import Problem
from pdeopt.inversion.minimization import RunStatus, Settings
from pdeopt.inversion.verification import DerivativeError
from pdeopt.run.errors import RunError, problem_file_errors
from pdeopt.run.execution.conclusion import write_result
from pdeopt.run.execution.inversion import InversionTask, invert
from pdeopt.run.execution.request import RunRequest, config_of, solver_name, versions
from pdeopt.run.execution.run_journal import RunJournal, resume_command, with_resume_hint
from pdeopt.run.store.directory import RunDirectory
from pdeopt.run.store.stored_run import write_summary
from pdeopt.run.watch.interruption import exit_status
from pdeopt.run.watch.progress import Progress
from pdeopt.sparse.solvers.counters import march

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
    journal = RunJournal(lambda: directory.make(config_of(request, problem, settings)), request.path)
    return execute_and_write(request, problem, settings, journal, progress)


def announce(request: RunRequest, progress: Progress) -> None:
    """Tell what is run, with which packages, and that it is being built."""
    progress.log.write(f"pdeopt {shlex.join(request.argv)}")
    progress.log.write(", ".join(f"{name} {version}" for name, version in versions().items()))
    progress.time_step = march.where  # data may be simulated while a problem is built
    progress.stage("building", f"building {request.name} …")


def execute_and_write(
    request: RunRequest, problem: Problem, settings: Settings, journal: RunJournal, progress: Progress
) -> Outcome:
    """Invert, from the answers that are kept on, and write the results.

    Args:
        request: The request.
        problem: The problem, built.
        settings: How it is minimized.
        journal: Keeps what the run goes on from, and makes its directory.
        progress: Told what is done.

    Raises:
        RunError: The derivatives are wrong, or the directory can no longer be written.
    """
    given = request.argv[1] if request.argv[0] == "run" else request.name
    picture = None
    if request.live:
        from pdeopt.run.execution.live_picture import LivePicture  # imports matplotlib

        picture = LivePicture(request.name, problem, progress)
    with with_resume_hint(journal):
        with problem_file_errors(request.path):
            solver = solver_name(problem, request.options.get("solver"))
        task = InversionTask(
            name=request.name,
            problem=problem,
            settings=settings,
            solver=solver,
            check=request.check,
            remedy=f"'pdeopt check {given}' with the same options runs all checks; --no-check runs all the same",
            guarded=partial(problem_file_errors, request.path),
        )
        try:
            found = invert(task, journal, progress, picture)
        except DerivativeError as error:
            raise RunError(str(error)) from error
        _tell_unused(request, found.ending, progress)
        progress.stage("pictures", f"writing results{' and pictures' if request.pictures else ''} …")
        assert journal.directory is not None
        summary = found.summary(task)
        fields = found.final_state.fields
        interrupted, warnings = write_result(journal.directory, found.rows, summary, fields, request.pictures)
        summary["stage_seconds"] = progress.times.seconds()
        write_summary(journal.directory / "summary.json", summary)  # the last file: a run that has it is complete
        if found.ending.status == "converged":
            journal.discard()
    if fields is not None and request.pictures:
        from pdeopt.run.pictures.scene_figure import scene_note  # imports matplotlib

        if note := scene_note(fields):
            progress.note(note)
    interrupted |= found.ending.status == "interrupted"
    status = exit_status() if interrupted else EXIT_STATUS[found.ending.status]
    return Outcome(journal.directory, summary, status, warnings, _next_step(found.ending, settings, journal.directory))


def _next_step(ending: RunStatus, settings: Settings, directory: Path) -> str | None:
    """Return the command that goes on with a run, or None where it has come to its end."""
    if ending.status == "interrupted":
        return resume_command(directory)
    if ending.status == "stopped":
        return resume_command(directory, f" --max-iterations {2 * max(settings.max_iterations, 1)}")
    return None


def _tell_unused(request: RunRequest, ending: RunStatus, progress: Progress) -> None:
    """Tell of options of the command line that did not do what they say."""
    asked, used = request.asked.inner_product, ending.inner_product
    if asked and used and asked != used:
        progress.note(f"--inner-product {asked}: the problem has bounds, with which {used} was used")
    if request.live and "live picture" not in progress.times.seconds():
        progress.note("--live: the run was over before its first picture was due")
