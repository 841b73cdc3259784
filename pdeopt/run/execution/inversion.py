"""One inversion, from the verification of derivatives to its summary, for the command and for Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pdeopt.errors import describe, raise_interrupt
from pdeopt.inverse import NewtonModel, Problem, continuation
from pdeopt.inversion.evaluation_log import EvaluationLog, NoLog
from pdeopt.inversion.history import Row
from pdeopt.inversion.minimization import RunStatus, Settings
from pdeopt.inversion.recorder import Interrupted, Recorder
from pdeopt.inversion.strength_rule import optimize
from pdeopt.inversion.verification import LaterVerification, Verification, verify_derivatives
from pdeopt.run.errors import UsageError
from pdeopt.run.execution.conclusion import evaluate
from pdeopt.run.execution.summary import FinalState, constraint_entries, summarize, time_entries
from pdeopt.run.store.fields import check_state_space
from pdeopt.run.watch.interruption import STOP_SIGNALS, StopFlag, stop_on_interrupt
from pdeopt.run.watch.progress import Progress
from pdeopt.run.watch.remaining_time import ConvergenceGoal
from pdeopt.run.watch.run_log import LOG_FILE
from pdeopt.run.watch.stopwatch import in_words
from pdeopt.sparse import Work, state_memory, work

if TYPE_CHECKING:
    from pdeopt.run.execution.live_picture import LivePicture


@dataclass(frozen=True)
class InversionTask:
    """An inversion to be carried out.

    Attributes:
        name: The name of the problem.
        problem: The problem, built.
        settings: How it is minimized, and at which strength of the regularization.
        solver: The name of its linear solver; None where it is not known.
        check: Whether derivatives are verified before, and once more on the way.
        remedy: What can be done where they are wrong, for the message.
        guarded: Makes a context in which the problem's own code is run, and what goes wrong in it is put into words.
        signals: The signals that ask the minimization to stop.
    """

    name: str
    problem: Problem
    settings: Settings
    solver: str | None
    check: bool
    remedy: str
    guarded: Callable[[], AbstractContextManager[None]] = nullcontext
    signals: tuple[Signals, ...] = STOP_SIGNALS


class Journal(Protocol):
    """A journal that keeps what an inversion does while it goes on."""

    @property
    def log(self) -> EvaluationLog:
        """The answers that the inversion goes on from."""
        ...

    @property
    def directory(self) -> Path | None:
        """The run directory; None as long as there is none."""
        ...

    def row(self, recorder: Recorder) -> None:
        """Keep a new row of the history."""
        ...

    def finish(self, recorder: Recorder) -> None:
        """Keep the end of the minimization."""
        ...


class NoJournal:
    """A journal that keeps nothing, of an inversion in memory."""

    log = NoLog()
    directory = None

    def row(self, recorder: Recorder) -> None:
        """Keep nothing."""

    def finish(self, recorder: Recorder) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class InversionResult:
    """The outcome of an inversion.

    Attributes:
        rows: The history.
        m: The last iterate (p,).
        ending: How the minimization ended.
        final_state: What is evaluated at the last iterate.
        fallbacks: The number of matrices for which another solver took over, by fallback, as in `Work`.
        verification: The entries of summary.json about the verification; None where derivatives were not verified.
        constraints: The entries of summary.json about the constraints; empty where there are none.
        time: The entries of summary.json about steps in time; empty where there are none.
    """

    rows: list[Row]
    m: np.ndarray
    ending: RunStatus
    final_state: FinalState
    fallbacks: dict[str, int]
    verification: dict[str, Any] | None
    constraints: dict[str, Any]
    time: dict[str, int]

    def summary(self, task: InversionTask) -> dict[str, Any]:
        """Return what stands in summary.json, but for the times of the stages."""
        found = summarize(
            task.name,
            task.problem,
            self.rows[-1],
            self.ending,
            self.final_state,
            task.settings,
            task.solver,
            self.fallbacks,
        )
        return found | self.constraints | self.time | {"verification": self.verification, "stage_seconds": {}}


def invert(
    task: InversionTask, journal: Journal, progress: Progress, picture: LivePicture | None = None
) -> InversionResult:
    """Verify the derivatives, minimize, and evaluate the last iterate.

    Args:
        task: What is inverted, and how.
        journal: Keeps what is done; answers that it kept before are given instead of being computed.
        progress: Told what is done.
        picture: Draws the iterates on the way; None draws none.

    Raises:
        DerivativeError: The derivatives are wrong at the beginning.
        KeyboardInterrupt: The user asked to stop, and there is no iterate yet.
    """
    progress.detail(_size(task.problem))
    progress.goal = _goal(task.problem, task.settings)
    with task.guarded():
        check_state_space(task.problem)
    with stop_on_interrupt(progress.status, task.signals) as stop:
        verification = _verify(task, progress, stop) if task.check else None
        before, state_memory.peak = work.copy(), 0
        later = LaterVerification(task.problem, stop) if task.check else None
        recorder = _recorder(task, journal, progress, stop, later, picture)
        ending = _minimize(task, recorder, progress, later)
        recorder.finish()
        journal.finish(recorder)
    spent, peak = work.since(before), state_memory.peak
    _tell_work(task, spent, recorder.fallbacks, progress)
    time = time_entries(spent, peak)
    if time:
        progress.detail(
            f"{spent.time_steps} + {spent.adjoint_time_steps} steps in time forward and back; their states took at "
            f"most {peak / 2**20:.1f} MB"
        )
    assert recorder.m is not None
    final_state, ending = evaluate(task.problem, recorder.m, ending, progress, task.guarded)
    return InversionResult(
        recorder.rows,
        recorder.m,
        ending,
        final_state,
        recorder.fallbacks,
        _report(verification, later),
        constraint_entries(task.problem, recorder.last),
        time,
    )


def _size(problem: Problem) -> str:
    data = problem.functional.misfit.data
    space = problem.parameter.space
    where = "" if space is None else f" on a mesh of {space.mesh.nelements} cells"
    known = "" if data is None else f", {np.size(data)} data"
    return f"{problem.parameter.size} parameters{where}{known}"


def _goal(problem: Problem, settings: Settings) -> ConvergenceGoal | None:
    """Return the goal of the only minimization, or None where there are several.

    Their number is not known, so that the time that is left cannot be told.
    """
    if isinstance(settings.regularization_strength, str) or len(continuation(problem.functional)) > 1:
        return None
    return ConvergenceGoal(settings.gradient_tolerance, settings.absolute_gradient_tolerance, settings.max_iterations)


def _verify(task: InversionTask, progress: Progress, stop: StopFlag) -> Verification:
    with task.guarded():
        verification = verify_derivatives(task.problem, stop, progress.stage)
    verification.raise_if_wrong(task.name, task.remedy)
    progress.note(f"{verification.message} ({in_words(verification.seconds)})")
    return verification


def _recorder(
    task: InversionTask,
    journal: Journal,
    progress: Progress,
    stop: StopFlag,
    later: LaterVerification | None,
    picture: LivePicture | None,
) -> Recorder:
    def on_row(row: Row) -> None:
        journal.row(recorder)
        if row.iteration == 0:
            if journal.directory is not None:
                progress.log.open(journal.directory / LOG_FILE)
            progress.stage("optimization")
        live = not journal.log.replaying
        progress.row(row, shown=live)
        if live and picture is not None and recorder.m is not None and journal.directory is not None:
            picture.update(journal.directory, row, recorder.m)
        _verify_later(later, recorder, progress)

    compiled = progress.times.seconds().get("compiling", 0.0)
    progress.stage("compiling", "evaluating the initial guess …" if compiled else "compiling and evaluating …")
    model = NewtonModel(task.problem.functional, task.problem.parameter)
    recorder = Recorder(model, on_row, stop, journal.log, progress.times.since_start())
    return recorder


def _verify_later(later: LaterVerification | None, recorder: Recorder, progress: Progress, last: bool = False) -> None:
    if later is None or not later.is_due(recorder, last):
        return
    progress.times.begin("verification")
    try:
        later.verify(recorder)
    finally:
        progress.times.begin("optimization")
        if later.report is not None:
            (progress.detail if later.report["passed"] else progress.note)(later.report["message"])


def _minimize(
    task: InversionTask, recorder: Recorder, progress: Progress, later: LaterVerification | None
) -> RunStatus:
    def say(text: str) -> None:
        if not recorder.log.replaying:  # a former process has said it already
            progress.note(text)

    try:
        ending = optimize(task.problem, task.settings, recorder, say)
        _verify_later(later, recorder, progress, last=True)
        return ending
    except Interrupted:
        if not recorder.rows:
            raise KeyboardInterrupt from None
        return RunStatus("interrupted", f"interrupted after iteration {recorder.rows[-1].iteration}")
    except (OSError, UsageError):  # the directory cannot be written, or was taken by another run
        raise
    except Exception as error:
        raise_interrupt(error)
        if not recorder.rows:  # even the initial guess cannot be evaluated
            with task.guarded():
                raise
        progress.failed(error)
        return RunStatus("failed", f"after iteration {recorder.rows[-1].iteration}: {describe(error)}")


def _tell_work(task: InversionTask, spent: Work, fallbacks: dict[str, int], progress: Progress) -> None:
    """Tell the work of the minimization, that of preconditioners and inner products included."""
    progress.times.add("optimization/factorizations", spent.factoring_seconds)
    progress.times.add("optimization/solves", spent.solving_seconds)
    progress.detail(
        f"{spent.factorizations} factorizations and {spent.set_ups} set-ups of preconditioners in "
        f"{in_words(spent.factoring_seconds)}, {spent.solves} + {spent.adjoint_solves} solves and transposed solves in "
        f"{in_words(spent.solving_seconds)}, by the solver {task.solver}"
    )
    for fallback, count in fallbacks.items():  # of which the library has warned
        progress.detail(f"{fallback}: what was to solve failed for {count} {'matrix' if count == 1 else 'matrices'}")


def _report(verification: Verification | None, later: LaterVerification | None) -> dict[str, Any] | None:
    """Return the entries of summary.json about both verifications, None where there was none."""
    if verification is None:
        return None
    report = verification.report()
    if later is not None and later.report is not None:
        wrong = later.report["passed"] is False
        report |= {"later": later.report, "passed": False if wrong else report["passed"]}
    return report
