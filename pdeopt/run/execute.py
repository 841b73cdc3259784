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
from pdeopt.run.interpretation import interpreted
from pdeopt.run.interruption import StopFlag, stop_on_interrupt
from pdeopt.run.loading import build_problem
from pdeopt.run.mesh_output import write_mesh
from pdeopt.run.optimization import Ending, Settings
from pdeopt.run.pictures import draw_run
from pdeopt.run.progress import Progress
from pdeopt.run.recorder import Interrupted, Recorder, Row, write_history
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
    """A finished run: its directory, what stands in summary.json, the exit status, and what could not be drawn."""

    directory: Path
    summary: dict[str, Any]
    exit_status: int
    warnings: list[str]


def run_problem(request: RunRequest, progress: Progress) -> Outcome:
    """Run and write everything. Raises UsageError, and leaves nothing behind, for bad input."""
    directory = RunDirectory(request.name, request.out)
    progress.status(f"building {request.name} …")
    problem = build_problem(request.build, request.options, request.path)
    settings = request.settings(problem)
    with stop_on_interrupt(progress.status) as stop:
        recorder = _recorder(request, problem, settings, directory, progress, stop)
        ending = _optimize(request, problem, settings, recorder, progress)
        recorder.finish()
    reached, ending = _evaluate(request, problem, recorder, ending, progress)
    progress.status("writing results and pictures …")
    solver = _solver_name(request, problem)
    summary = summarize(request.name, problem, recorder.rows[-1], ending, reached, settings, solver)
    warnings = _write(directory.path, recorder, summary, reached.fields)
    if reached.fields is not None and (note := scene_note(reached.fields)):
        progress.note(note)
    return Outcome(directory.path, summary, EXIT_STATUS[ending.status], warnings)


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
    """The numbers first; returns a warning for each picture or mesh that could not be written."""
    write_json(directory / "summary.json", summary)
    if fields is None:
        return []
    write_fields(directory / "result.npz", fields)
    mesh_warnings = attempt("fields.vtu", lambda: write_mesh(directory / "fields.vtu", fields))
    return mesh_warnings + draw_run(directory, fields, recorder.rows, summary)


def _recorder(
    request: RunRequest,
    problem: Problem,
    settings: Settings,
    directory: RunDirectory,
    progress: Progress,
    stop: StopFlag,
) -> Recorder:
    def on_row(row: Row) -> None:
        if row.iteration == 0:  # the input was good: from here on there is something to keep
            write_json(directory.make() / "config.json", _config(request, problem, settings))
        write_history(directory.path / "history.csv", recorder.rows)
        progress.row(row)

    progress.status("compiling and evaluating the initial guess …")
    recorder = Recorder(NewtonModel(problem.functional, problem.parameter), on_row, stop)
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
        return _failure(request, recorder, error)


def _failure(request: RunRequest, recorder: Recorder, error: Exception) -> Ending:
    """Bad input where even the initial guess cannot be evaluated, a failed run afterwards."""
    if not recorder.rows:
        with bad_input(request.path):
            raise error
    return Ending("failed", f"after iteration {recorder.rows[-1].iteration}: {describe(error)}")


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
