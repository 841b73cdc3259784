"""Run a problem: build, optimize, write the run directory."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pdeopt
from pdeopt.inverse import NewtonModel, Problem
from pdeopt.run.directory import RunDirectory, write_json
from pdeopt.run.errors import UsageError, attempt, bad_input, describe
from pdeopt.run.fields import Fields, fields_of, write_fields
from pdeopt.run.interruption import StopFlag, stop_on_interrupt
from pdeopt.run.loading import build_problem
from pdeopt.run.mesh_output import write_mesh
from pdeopt.run.optimization import Ending, Settings
from pdeopt.run.pictures import draw_run
from pdeopt.run.progress import Progress
from pdeopt.run.recorder import Interrupted, Recorder, Row, write_history
from pdeopt.run.strength_rule import optimize
from pdeopt.run.summary import Reached, summarize
from pdeopt.sparse import resolve_solver

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-fem", "rslab")
EXIT_STATUS = {"converged": 0, "stopped": 0, "failed": 1, "interrupted": 130}


@dataclass(frozen=True)
class RunRequest:
    """One run as it was asked for.

    Attributes:
        path: the problem file. build: its function. options: keywords of build, with their values.
        optimizer, inner_product, gradient_tolerance, solver: None where the problem chooses.
        regularization_strength, discrepancy_factor: see `Settings`.
        max_iterations: of every minimization.
        out: the run directory, None for a new one. argv: the command line, for the record.
    """

    path: Path
    build: Callable[..., Problem]
    options: dict[str, Any]
    optimizer: str | None
    inner_product: str | None
    gradient_tolerance: float | None
    regularization_strength: float | str
    discrepancy_factor: float
    solver: str | None
    max_iterations: int
    out: Path | None
    argv: list[str]

    @property
    def name(self) -> str:
        return self.path.stem

    def settings(self, problem: Problem) -> Settings:
        """How the problem is minimized: as asked for, or as it chooses itself."""
        asked = self.gradient_tolerance
        return Settings(
            optimizer=self.optimizer or problem.optimizer,
            inner_product=self.inner_product or "l2",
            gradient_tolerance=problem.gradient_tolerance if asked is None else asked,
            absolute_gradient_tolerance=problem.absolute_gradient_tolerance if asked is None else 0.0,
            max_iterations=self.max_iterations,
            regularization_strength=self.regularization_strength,
            discrepancy_factor=self.discrepancy_factor,
        )


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
    progress.status("writing results and pictures …")
    reached, ending = _evaluate(problem, recorder, ending)
    solver = _solver_name(request, problem)
    summary = summarize(request.name, problem, recorder.rows[-1], ending, reached, settings, solver)
    warnings = _write(directory.path, recorder, summary, reached.fields)
    return Outcome(directory.path, summary, EXIT_STATUS[ending.status], warnings)


def _evaluate(problem: Problem, recorder: Recorder, ending: Ending) -> tuple[Reached, Ending]:
    """What the last iterate means; a run that cannot tell has failed, and its history stays."""
    assert recorder.m is not None
    try:
        errors = problem.relative_error(recorder.m), problem.relative_error(problem.initial)
        return Reached(fields_of(problem, recorder.m), *errors, problem.measure(recorder.m)), ending
    except Exception as error:
        message = f"{ending.message}; the result cannot be evaluated: {describe(error)}"
        return Reached(None, None, None, {}), Ending("failed", message)


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
