"""Run a problem: build, optimize, write the run directory."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import pdeopt
from pdeopt.inverse import NewtonModel, Problem
from pdeopt.run.directory import RunDirectory, write_json
from pdeopt.run.errors import UsageError, attempt, bad_input, describe
from pdeopt.run.fields import Fields, fields_of, write_fields
from pdeopt.run.former_runs import with_former_runs
from pdeopt.run.interpretation import interpreted
from pdeopt.run.interruption import StopFlag, stop_on_interrupt
from pdeopt.run.keeping import Keeper, command, resumable
from pdeopt.run.loading import build_problem
from pdeopt.run.mesh_output import write_mesh
from pdeopt.run.optimization import Ending, Settings
from pdeopt.run.pictures import draw_run
from pdeopt.run.progress import Progress
from pdeopt.run.recorder import Interrupted, Recorder, Row
from pdeopt.run.scene_figure import scene_note
from pdeopt.run.strength_option import parse_strength
from pdeopt.run.strength_rule import NEED_NOISE, optimize
from pdeopt.run.summary import Reached, summarize
from pdeopt.sparse import resolve_solver

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-fem", "rslab", "cvxopt", "mkl")
EXIT_STATUS = {"converged": 0, "stopped": 0, "failed": 1, "interrupted": 130}


@dataclass(frozen=True)
class RunRequest:
    """One run as it was asked for.

    Attributes:
        path: the problem file. build: its function. options: keywords of build, with their values.
        optimizer, inner_product, gradient_tolerance, solver: None where the problem chooses.
        regularization_strength, discrepancy_factor: see `Settings`; None where the problem chooses.
        max_iterations: of every minimization.
        initial_guess, truth: directories of former runs, see `with_former_runs`; None for what the problem has.
        out: the run directory, None for a new one. argv: the command line, for the record.
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
    initial_guess: Path | None
    truth: Path | None
    out: Path | None
    argv: list[str]

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
    problem = build_requested(request, progress)
    settings = request.settings(problem)
    keeper = Keeper(lambda: directory.make(config_of(request, problem, settings)), request.path)
    return carry_out(request, problem, settings, keeper, progress)


def build_requested(request: RunRequest, progress: Progress) -> Problem:
    """The problem, with the fields of former runs that were asked for."""
    progress.status(f"building {request.name} …")
    problem = build_problem(request.build, request.options, request.path)
    return with_former_runs(problem, request.name, request.initial_guess, request.truth)


def carry_out(
    request: RunRequest, problem: Problem, settings: Settings, keeper: Keeper, progress: Progress
) -> Outcome:
    """Optimize, from the answers that are kept on, and write what came of it."""
    with resumable(keeper):
        with stop_on_interrupt(progress.status) as stop:
            recorder = _recorder(problem, keeper, progress, stop)
            ending = _optimize(request, problem, settings, recorder, progress)
            recorder.finish()
            keeper.finish(recorder)
        reached, ending = _evaluate(request, problem, recorder, ending, progress)
        progress.status("writing results and pictures …")
        solver = _solver_name(request, problem)
        summary = summarize(request.name, problem, recorder.rows[-1], ending, reached, settings, solver)
        warnings = _write(keeper.directory, recorder, summary, reached.fields)
        if ending.status == "converged":
            keeper.discard()
    if reached.fields is not None and (note := scene_note(reached.fields)):
        progress.note(note)
    next_step = _next_step(ending, settings, keeper.directory)
    return Outcome(keeper.directory, summary, EXIT_STATUS[ending.status], warnings, next_step)


def _next_step(ending: Ending, settings: Settings, directory: Path) -> str | None:
    """How to go on with a run that has not come to its end."""
    if ending.status == "interrupted":
        return command(directory)
    if ending.status == "stopped":
        return command(directory, f" --max-iterations {2 * max(settings.max_iterations, 1)}")
    return None


def _evaluate(
    request: RunRequest, problem: Problem, recorder: Recorder, ending: Ending, progress: Progress
) -> tuple[Reached, Ending]:
    """What the last iterate means; a run that cannot tell has failed, and its history stays."""
    assert recorder.m is not None
    progress.status("evaluating the result …")
    try:
        errors = problem.relative_error(recorder.m), problem.relative_error(problem.initial)
        reached = Reached(fields_of(problem, recorder.m), *errors, problem.measure(recorder.m))
    except Exception as error:
        message = f"{ending.message}; the result cannot be evaluated: {describe(error)}"
        return Reached(None, None, None, {}), replace(ending, status="failed", message=message)
    if problem.interpret is None:
        return reached, ending
    progress.status("interpreting the result …")
    return _interpret(request, problem, recorder.m, reached, ending)


def _interpret(
    request: RunRequest, problem: Problem, m: np.ndarray, reached: Reached, ending: Ending
) -> tuple[Reached, Ending]:
    """With what the problem says of m; where that fails, or is interrupted, all else stays."""
    try:
        with bad_input(request.path):
            meaning = interpreted(problem, m)
    except UsageError as error:
        message = f"{ending.message}; the result cannot be interpreted: {error}"
        return reached, replace(ending, status="failed", message=message)
    except KeyboardInterrupt:
        message = f"{ending.message}; interrupted while the result was interpreted"
        return reached, replace(ending, status="interrupted", message=message)
    assert reached.fields is not None
    fields = replace(reached.fields, extra=meaning.arrays)
    return replace(reached, fields=fields, quantities={**reached.quantities, **meaning.scalars}), ending


def _write(directory: Path, recorder: Recorder, summary: dict[str, Any], fields: Fields | None) -> list[str]:
    """summary.json last: a run that has it is complete. Returns a warning for each picture that could not be drawn."""
    warnings: list[str] = []
    if fields is not None:
        write_fields(directory / "result.npz", fields)
        warnings += attempt("fields.vtu", lambda: write_mesh(directory / "fields.vtu", fields))
        warnings += draw_run(directory, fields, recorder.rows, summary)
    write_json(directory / "summary.json", summary)
    return warnings


def _recorder(problem: Problem, keeper: Keeper, progress: Progress, stop: StopFlag) -> Recorder:
    def on_row(row: Row) -> None:
        keeper.row(recorder)
        progress.row(row, shown=not keeper.answers.replaying)

    progress.status("compiling and evaluating the initial guess …")
    recorder = Recorder(NewtonModel(problem.functional, problem.parameter), on_row, stop, keeper.answers)
    return recorder


def _optimize(
    request: RunRequest, problem: Problem, settings: Settings, recorder: Recorder, progress: Progress
) -> Ending:
    try:
        return optimize(problem, settings, recorder, lambda text: _note_once(recorder, progress, text))
    except Interrupted:
        if not recorder.rows:
            raise KeyboardInterrupt from None
        return Ending("interrupted", f"interrupted after iteration {recorder.rows[-1].iteration}")
    except (OSError, UsageError):  # the run directory can no longer be written, or was taken by another run
        raise
    except Exception as error:
        return _failure(request, recorder, error)


def _note_once(recorder: Recorder, progress: Progress, text: str) -> None:
    """What a former run said is not said again."""
    if not recorder.answers.replaying:
        progress.note(text)


def _failure(request: RunRequest, recorder: Recorder, error: Exception) -> Ending:
    """Bad input where even the initial guess cannot be evaluated, a failed run afterwards."""
    if not recorder.rows:
        with bad_input(request.path):
            raise error
    return Ending("failed", f"after iteration {recorder.rows[-1].iteration}: {describe(error)}")


def config_of(request: RunRequest, problem: Problem, settings: Settings) -> dict[str, Any]:
    """What config.json says: all that it takes to run the problem again."""
    return {
        "problem": request.name,
        "path": str(request.path.resolve()),
        "options": request.options,
        "seed": request.options.get("seed"),
        "solver": _solver_name(request, problem),
        **asdict(settings),
        "initial_guess": request.initial_guess and request.initial_guess.resolve(),
        "truth": request.truth and request.truth.resolve(),
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
