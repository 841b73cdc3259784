"""Run a problem: build, verify, optimize, and write the run directory."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.inverse import NewtonModel, Problem, continuation
from pdeopt.run.conclusion import evaluate, write_result
from pdeopt.run.directory import RunDirectory, write_json
from pdeopt.run.errors import UsageError, bad_input, describe, raise_interrupt
from pdeopt.run.fields import check_state_space
from pdeopt.run.interruption import StopFlag, exit_status, stop_on_interrupt
from pdeopt.run.keeping import Keeper, command, resumable
from pdeopt.run.live_picture import LivePicture
from pdeopt.run.optimization import Ending, Settings
from pdeopt.run.progress import Progress
from pdeopt.run.recorder import Interrupted, Recorder, Row
from pdeopt.run.remaining_time import Goal
from pdeopt.run.request import RunRequest, config_of, solver_name, versions
from pdeopt.run.scene_figure import scene_note
from pdeopt.run.stopwatch import in_words
from pdeopt.run.strength_rule import optimize
from pdeopt.run.summary import summarize
from pdeopt.run.verification import LaterVerification, verified
from pdeopt.sparse import Work, work

EXIT_STATUS = {"converged": 0, "stopped": 0, "failed": 1}
LOG = "run.log"


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        directory, summary: where it is, and what stands in summary.json.
        exit_status: of the command. warnings: what could not be drawn.
        next_step: the command that goes on where it stopped; None where it came to its end.
    """

    directory: Path
    summary: dict[str, Any]
    exit_status: int
    warnings: list[str]
    next_step: str | None


def run_problem(request: RunRequest, progress: Progress) -> Outcome:
    """Run and write everything.

    Raises UsageError, and leaves nothing behind, for bad input; RunError where the run can be gone on with.
    """
    directory = RunDirectory(request.name, request.out)
    if directory.others:
        progress.warn(f"{directory.path} holds other files ({_some(directory.others)}); they stay as they are")
    announce(request, progress)
    problem = request.problem()
    settings = request.settings(problem)
    keeper = Keeper(lambda: directory.make(config_of(request, problem, settings)), request.path)
    return carry_out(request, problem, settings, keeper, progress)


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])


def announce(request: RunRequest, progress: Progress) -> None:
    """What is run, with what, and that it is being built."""
    progress.log.write(f"pdeopt {shlex.join(request.argv)}")
    progress.log.write(", ".join(f"{name} {version}" for name, version in versions().items()))
    progress.stage("building", f"building {request.name} …")


def carry_out(
    request: RunRequest, problem: Problem, settings: Settings, keeper: Keeper, progress: Progress
) -> Outcome:
    """Verify and optimize, from the answers that are kept on, and write what came of it."""
    progress.detail(_size(problem))
    progress.goal = _goal(problem, settings)
    with bad_input(request.path):
        check_state_space(problem)
    with resumable(keeper):
        with stop_on_interrupt(progress.status) as stop:
            verification = _verify(request, problem, progress, stop)
            before = work.copy()
            later = LaterVerification(problem, progress, stop) if request.check else None
            recorder = _recorder(request, problem, keeper, progress, stop, later)
            ending = _optimize(request, problem, settings, recorder, progress, later)
            recorder.finish()
            keeper.finish(recorder)
        solver = solver_name(request, problem)
        _tell_work(solver, work.since(before), progress)
        _tell_unused(request, ending, progress)
        reached, ending = evaluate(request, problem, recorder, ending, progress)
        progress.stage("pictures", "writing results and pictures …")
        summary = summarize(
            request.name, problem, recorder.rows[-1], ending, reached, settings, solver, recorder.fallbacks
        )
        interrupted, warnings = write_result(keeper.directory, recorder, summary, reached.fields)
        if verification is not None and later is not None and later.report is not None:
            wrong = later.report["passed"] is False
            verification |= {"later": later.report, "passed": False if wrong else verification["passed"]}
        summary |= {"verification": verification, "stage_seconds": progress.times.seconds()}
        write_json(keeper.directory / "summary.json", summary)  # the last one: a run that has it is complete
        if ending.status == "converged":
            keeper.discard()
    if reached.fields is not None and (note := scene_note(reached.fields)):
        progress.note(note)
    next_step = _next_step(ending, settings, keeper.directory)
    if interrupted or ending.status == "interrupted":
        return Outcome(keeper.directory, summary, exit_status(), warnings, next_step)
    return Outcome(keeper.directory, summary, EXIT_STATUS[ending.status], warnings, next_step)


def _next_step(ending: Ending, settings: Settings, directory: Path) -> str | None:
    """How to go on with a run that has not come to its end."""
    if ending.status == "interrupted":
        return command(directory)
    if ending.status == "stopped":
        return command(directory, f" --max-iterations {2 * max(settings.max_iterations, 1)}")
    return None


def _size(problem: Problem) -> str:
    data = getattr(problem.functional.misfit, "data", None)
    space = problem.parameter.space
    where = "" if space is None else f" on a mesh of {space.mesh.nelements} cells"
    known = "" if data is None else f", {np.size(data)} data"
    return f"{problem.parameter.size} parameters{where}{known}"


def _verify(
    request: RunRequest, problem: Problem, progress: Progress, stop: Callable[[], bool]
) -> dict[str, Any] | None:
    """What summary.json says of the derivatives; raises RunError where they are wrong."""
    if not request.check:
        return None
    with bad_input(request.path):
        verification = verified(problem, progress, stop)
    given = request.argv[1] if request.argv[0] == "run" else request.name
    verification.refuse(request.name, given)
    progress.note(verification.message)
    return verification.report()


def _tell_work(solver: str | None, spent: Work, progress: Progress) -> None:
    """Of the optimization: of the state equation, of preconditioners and of inner products."""
    progress.times.add("optimization/factorizations", spent.factoring_seconds)
    progress.times.add("optimization/solves", spent.solving_seconds)
    progress.detail(
        f"{spent.factorizations} factorizations and {spent.set_ups} set-ups of preconditioners in "
        f"{in_words(spent.factoring_seconds)}, {spent.solves} + {spent.adjoint_solves} solves and transposed solves in "
        f"{in_words(spent.solving_seconds)}, by the solver {solver}"
    )
    for fallback, count in spent.fallbacks.items():
        progress.note(f"{fallback}: what was to solve failed for {count} {'matrix' if count == 1 else 'matrices'}")


def _tell_unused(request: RunRequest, ending: Ending, progress: Progress) -> None:
    """Options that did not do what they say."""
    asked, used = request.inner_product, ending.inner_product
    if asked and used and asked != used:
        progress.note(f"--inner-product {asked}: the problem has bounds, with which {used} was used")
    if request.live and "live picture" not in progress.times.seconds():
        progress.note("--live: the run was over before its first picture was due")


def _recorder(
    request: RunRequest,
    problem: Problem,
    keeper: Keeper,
    progress: Progress,
    stop: StopFlag,
    later: LaterVerification | None,
) -> Recorder:
    picture = LivePicture(request.name, problem, progress) if request.live else None

    def on_row(row: Row) -> None:
        keeper.row(recorder)
        if row.iteration == 0:
            progress.log.open(keeper.directory / LOG)
            progress.stage("optimization")
        live = not keeper.answers.replaying
        progress.row(row, shown=live)
        if live and picture is not None and recorder.m is not None:
            picture.update(keeper.directory, row, recorder.m)
        if later is not None:
            later.row(recorder)

    compiled = progress.times.seconds().get("compiling", 0.0)
    progress.stage("compiling", "evaluating the initial guess …" if compiled else "compiling and evaluating …")
    model = NewtonModel(problem.functional, problem.parameter)
    recorder = Recorder(model, on_row, stop, keeper.answers, progress.times.since_start())
    return recorder


def _optimize(
    request: RunRequest,
    problem: Problem,
    settings: Settings,
    recorder: Recorder,
    progress: Progress,
    later: LaterVerification | None,
) -> Ending:
    try:
        ending = optimize(problem, settings, recorder, lambda text: _note_once(recorder, progress, text))
        if later is not None:
            later.row(recorder, last=True)
        return ending
    except Interrupted:
        if not recorder.rows:
            raise KeyboardInterrupt from None
        return Ending("interrupted", f"interrupted after iteration {recorder.rows[-1].iteration}")
    except (OSError, UsageError):  # the run directory can no longer be written, or was taken by another run
        raise
    except Exception as error:
        return _failure(request, recorder, error, progress)


def _failure(request: RunRequest, recorder: Recorder, error: Exception, progress: Progress) -> Ending:
    """Bad input where even the initial guess cannot be evaluated, a failed run afterwards; Ctrl-C is neither."""
    raise_interrupt(error)
    if not recorder.rows:
        with bad_input(request.path):
            raise error
    progress.failed(error)
    return Ending("failed", f"after iteration {recorder.rows[-1].iteration}: {describe(error)}")


def _goal(problem: Problem, settings: Settings) -> Goal | None:
    """Of the only minimization; None where there are several, and their number is not known."""
    if isinstance(settings.regularization_strength, str) or len(continuation(problem.functional)) > 1:
        return None
    return Goal(settings.gradient_tolerance, settings.absolute_gradient_tolerance, settings.max_iterations)


def _note_once(recorder: Recorder, progress: Progress, text: str) -> None:
    """What a former run said is not said again."""
    if not recorder.answers.replaying:
        progress.note(text)
