"""Run a problem: build, optimize, write the run directory."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import pdeopt
from pdeopt.inverse import NewtonModel, Problem, continuation
from pdeopt.run.directory import RunDirectory, write_json
from pdeopt.run.errors import UsageError, attempt, bad_input, describe
from pdeopt.run.fields import Fields, fields_of, write_fields
from pdeopt.run.interpretation import Meaning, interpreted
from pdeopt.run.interruption import StopFlag, stop_on_interrupt
from pdeopt.run.live_picture import NAME as LIVE
from pdeopt.run.live_picture import LivePicture
from pdeopt.run.loading import build_problem
from pdeopt.run.mesh_output import write_mesh
from pdeopt.run.optimization import Ending, Settings
from pdeopt.run.pictures import draw_run
from pdeopt.run.progress import Progress
from pdeopt.run.recorder import Interrupted, Recorder, Row, write_history
from pdeopt.run.remaining_time import Goal
from pdeopt.run.stopwatch import in_words
from pdeopt.run.strength_option import parse_strength
from pdeopt.run.strength_rule import NEED_NOISE, optimize
from pdeopt.run.summary import Reached, summarize
from pdeopt.run.verification import verified
from pdeopt.sparse import Work, resolve_solver, work

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-fem", "rslab", "cvxopt", "mkl")
NOTHING = Reached(None, None, None, {})
EXIT_STATUS = {"converged": 0, "stopped": 0, "failed": 1, "interrupted": 130}


@dataclass(frozen=True)
class RunRequest:
    """One run as it was asked for.

    Attributes:
        path: the problem file. build: its function. options: keywords of build, with their values.
        optimizer, inner_product, gradient_tolerance, solver: None where the problem chooses.
        regularization_strength, discrepancy_factor: see `Settings`; None where the problem chooses.
        max_iterations: of every minimization.
        out: the run directory, None for a new one. argv: the command line, for the record.
        check: whether derivatives are verified before. live: whether the iterates are drawn on the way.
    """

    path: Path
    build: Callable[..., Problem]
    options: dict[str, Any]
    optimizer: str | None
    inner_product: str | None
    gradient_tolerance: float | None
    regularization_strength: float | str | None
    discrepancy_factor: float | None
    solver: str | None
    max_iterations: int
    out: Path | None
    argv: list[str]
    check: bool = True
    live: bool = False

    @property
    def name(self) -> str:
        return self.path.stem

    def settings(self, problem: Problem) -> Settings:
        """How the problem is minimized: as asked for, or as it chooses itself. Raises UsageError for unknown rules."""
        asked, strength = self.gradient_tolerance, self._strength(problem)
        return Settings(
            optimizer=self.optimizer or problem.optimizer,
            inner_product=self.inner_product or "l2",
            gradient_tolerance=problem.gradient_tolerance if asked is None else asked,
            absolute_gradient_tolerance=problem.absolute_gradient_tolerance if asked is None else 0.0,
            max_iterations=self.max_iterations,
            regularization_strength=strength,
            discrepancy_factor=self._factor(problem, strength),
        )

    def _strength(self, problem: Problem) -> float | str:
        if self.regularization_strength is not None:
            return self.regularization_strength
        chosen = problem.regularization_strength
        given_as = f"{self.path.name}: regularization_strength ="
        return parse_strength(chosen, given_as) if isinstance(chosen, str) else float(chosen)

    def _factor(self, problem: Problem, strength: float | str) -> float:
        """The problem's own stands where a rule uses it."""
        if self.discrepancy_factor is not None:
            return self.discrepancy_factor
        return float(problem.discrepancy_factor) if strength in NEED_NOISE else 1.0


@dataclass(frozen=True)
class Outcome:
    """A finished run: its directory, what stands in summary.json, the exit status, and what could not be drawn."""

    directory: Path
    summary: dict[str, Any]
    exit_status: int
    warnings: list[str]


def run_problem(request: RunRequest, progress: Progress) -> Outcome:
    """Run and write everything. Raises UsageError, and leaves nothing behind, for bad input."""
    directory = RunDirectory(request.name, request.out)
    progress.log.write(f"pdeopt {shlex.join(request.argv)}")
    progress.log.write(", ".join(f"{name} {version}" for name, version in _versions().items()))
    progress.stage("building", f"building {request.name} …")
    problem = build_problem(request.build, request.options, request.path)
    progress.detail(_size(problem))
    settings = request.settings(problem)
    progress.goal = _goal(problem, settings)
    with stop_on_interrupt(progress.status) as stop:
        verification = _verify(request, problem, progress, stop)
        before = work.copy()
        recorder = _recorder(request, problem, settings, directory, progress, stop)
        ending = _optimize(request, problem, settings, recorder, progress)
        recorder.finish()
    _tell_work(request, problem, work.since(before), progress)
    _tell_unused(request, ending, progress)
    reached, ending = _evaluate(request, problem, recorder, ending, progress)
    progress.stage("pictures", "writing results and pictures …")
    solver = _solver_name(request, problem)
    summary = summarize(request.name, problem, recorder.rows[-1], ending, reached, settings, solver)
    summary |= {"verification": verification, "stage_seconds": progress.times.seconds()}
    _write_numbers(directory.path, summary, reached.fields)
    status, warnings = _draw(directory.path, recorder, summary, reached.fields)
    summary["stage_seconds"] = progress.times.seconds()
    write_json(directory.path / "summary.json", summary)
    return Outcome(directory.path, summary, status or EXIT_STATUS[ending.status], warnings)


def _size(problem: Problem) -> str:
    data = getattr(problem.functional.misfit, "data", None)
    mesh = problem.parameter.space.mesh
    known = "" if data is None else f", {np.size(data)} data"
    return f"{problem.parameter.size} parameters on a mesh of {mesh.nelements} cells{known}"


def _verify(
    request: RunRequest, problem: Problem, progress: Progress, stop: Callable[[], bool]
) -> dict[str, Any] | None:
    """What summary.json says of the derivatives; raises WrongDerivativeError where they are wrong."""
    if not request.check:
        return None
    with bad_input(request.path):
        verification = verified(problem, progress, stop)
    verification.refuse(request.name, request.argv[1])
    progress.note(verification.message)
    return verification.report()


def _tell_work(request: RunRequest, problem: Problem, spent: Work, progress: Progress) -> None:
    """Of the optimization: of the state equation, of preconditioners and of inner products."""
    progress.times.add("optimization/factorizations", spent.factoring_seconds)
    progress.times.add("optimization/solves", spent.solving_seconds)
    progress.detail(
        f"{spent.factorizations} factorizations and {spent.set_ups} set-ups of preconditioners in "
        f"{in_words(spent.factoring_seconds)}, {spent.solves} + {spent.adjoint_solves} solves and transposed solves in "
        f"{in_words(spent.solving_seconds)}, by the solver {_solver_name(request, problem)}"
    )


def _tell_unused(request: RunRequest, ending: Ending, progress: Progress) -> None:
    """Options that did not do what they say."""
    asked, used = request.inner_product, ending.inner_product
    if asked and used and asked != used:
        progress.note(f"--inner-product {asked}: the problem has bounds, with which {used} was used")
    if request.live and "live picture" not in progress.times.seconds():
        progress.note("--live: the run was over before its first picture was due")


def _evaluate(
    request: RunRequest, problem: Problem, recorder: Recorder, ending: Ending, progress: Progress
) -> tuple[Reached, Ending]:
    """What the last iterate means; a run that cannot tell has failed, and its history stays."""
    assert recorder.m is not None
    progress.stage("evaluating", "evaluating the result …")
    try:
        errors = problem.relative_error(recorder.m), problem.relative_error(problem.initial)
        reached = Reached(fields_of(problem, recorder.m), *errors, problem.measure(recorder.m))
    except KeyboardInterrupt:
        return NOTHING, _interrupted(ending, "evaluated")
    except Exception as error:
        progress.failed(error)
        message = f"{ending.message}; the result cannot be evaluated: {describe(error)}"
        return NOTHING, replace(ending, status="failed", message=message)
    if problem.interpret is None:
        return reached, ending
    progress.stage("interpreting", "interpreting the result …")
    return _interpret(request, problem, recorder.m, reached, ending, progress)


def _interpret(
    request: RunRequest, problem: Problem, m: np.ndarray, reached: Reached, ending: Ending, progress: Progress
) -> tuple[Reached, Ending]:
    """With what the problem says of m; where that fails, or is interrupted, what it said before and all else stay."""
    meaning = Meaning()
    try:
        with bad_input(request.path):
            for meaning in interpreted(problem, m):
                progress.detail(f"found {', '.join((*meaning.scalars, *meaning.arrays))}")
    except UsageError as error:
        progress.failed(error)
        ending = replace(
            ending, status="failed", message=f"{ending.message}; the result cannot be interpreted: {error}"
        )
    except KeyboardInterrupt:
        ending = _interrupted(ending, "interpreted")
    assert reached.fields is not None
    fields = replace(reached.fields, extra=meaning.arrays)
    return replace(reached, fields=fields, quantities={**reached.quantities, **meaning.scalars}), ending


def _interrupted(ending: Ending, done: str) -> Ending:
    return replace(ending, status="interrupted", message=f"{ending.message}; interrupted while the result was {done}")


def _write_numbers(directory: Path, summary: dict[str, Any], fields: Fields | None) -> None:
    write_json(directory / "summary.json", summary)
    if fields is not None:
        write_fields(directory / "result.npz", fields)


def _draw(
    directory: Path, recorder: Recorder, summary: dict[str, Any], fields: Fields | None
) -> tuple[int, list[str]]:
    """An exit status other than 0 after Ctrl-C, and a warning for each picture or mesh that could not be written."""
    if fields is None:
        return 0, []
    try:
        warnings = attempt("fields.vtu", lambda: write_mesh(directory / "fields.vtu", fields))
        warnings += draw_run(directory, fields, recorder.rows, summary)
    except KeyboardInterrupt:
        return 130, [f"interrupted before all pictures were drawn; 'pdeopt plot {directory}' draws them"]
    if (directory / "result.png").exists():
        (directory / LIVE).unlink(missing_ok=True)
    return 0, warnings


def _recorder(
    request: RunRequest,
    problem: Problem,
    settings: Settings,
    directory: RunDirectory,
    progress: Progress,
    stop: StopFlag,
) -> Recorder:
    picture = LivePicture(request.name, problem, progress) if request.live else None

    def on_row(row: Row) -> None:
        if row.iteration == 0:  # the input was good: from here on there is something to keep
            write_json(directory.make() / "config.json", _config(request, problem, settings))
            progress.log.open(directory.path / "run.log")
            progress.stage("optimization")
        write_history(directory.path / "history.csv", recorder.rows)
        progress.row(row)
        if picture is not None and recorder.m is not None:
            picture.update(directory.path, row, recorder.m)

    compiled = progress.times.seconds().get("compiling", 0.0)
    progress.stage("compiling", "evaluating the initial guess …" if compiled else "compiling and evaluating …")
    recorder = Recorder(NewtonModel(problem.functional, problem.parameter), on_row, stop, compiled)
    return recorder


def _optimize(
    request: RunRequest, problem: Problem, settings: Settings, recorder: Recorder, progress: Progress
) -> Ending:
    try:
        return optimize(problem, settings, recorder, progress.note)
    except Interrupted:
        if not recorder.rows:
            raise KeyboardInterrupt from None
        return Ending("interrupted", f"interrupted after iteration {recorder.rows[-1].iteration}")
    except (OSError, UsageError):  # the run directory can no longer be written, or was taken by another run
        raise
    except Exception as error:
        return _failure(request, recorder, error, progress)


def _failure(request: RunRequest, recorder: Recorder, error: Exception, progress: Progress) -> Ending:
    """Bad input where even the initial guess cannot be evaluated, a failed run afterwards."""
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


def _config(request: RunRequest, problem: Problem, settings: Settings) -> dict[str, Any]:
    return {
        "problem": request.name,
        "path": str(request.path),
        "options": request.options,
        "seed": request.options.get("seed"),
        "solver": _solver_name(request, problem),
        **asdict(settings),
        "versions": {"python": platform.python_version(), "pdeopt": pdeopt.__version__, **_versions()},
        "argv": request.argv,
    }


def _solver_name(request: RunRequest, problem: Problem) -> str | None:
    """The solver's own name: "auto" depends on what is installed."""
    solver = request.solver or getattr(problem.functional.state, "solver", None)
    return None if solver is None else resolve_solver(solver).name


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
