"""The request of one run, and what config.json says of it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pdeopt
from pdeopt.inverse import Problem
from pdeopt.inversion.minimization import Settings
from pdeopt.run.errors import bad_input
from pdeopt.run.problem_files.loading import build_problem
from pdeopt.run.store.former_runs import with_former_runs
from pdeopt.sparse import resolve_solver

#: The packages whose versions are recorded.
PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-fem", "rslab", "cvxopt", "mkl")


@dataclass(frozen=True)
class RunRequest:
    """One run as it was asked for.

    Attributes:
        path: The problem file.
        build: The function ``build`` of that file.
        options: The keywords of ``build`` with their values.
        optimizer: The name of the optimizer; None where the problem chooses.
        inner_product: The name of the inner product; None where the problem chooses.
        gradient_tolerance: The factor by which the gradient norm must fall; None where the problem chooses.
        regularization_strength: A factor or the name of a rule, see `Settings`; None where the problem chooses.
        discrepancy_factor: The factor τ of rules that know the noise, see `Settings`; None where the problem chooses.
        solver: The name of the linear solver of the state equation; None where the problem chooses.
        max_iterations: The largest number of iterations of every minimization.
        initial_guess: The directory of a former run, see `with_former_runs`; None for the problem's own.
        truth: The directory of a former run, see `with_former_runs`; None for the problem's own.
        out: The run directory; None for a new one.
        argv: The words of the command line, for the record.
        check: Whether derivatives are verified before the minimization, and once more on the way.
        live: Whether the iterates are drawn on the way.
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
    check: bool = True
    live: bool = False

    @property
    def name(self) -> str:
        """The name of the problem: that of its file, without the suffix."""
        return self.path.stem

    def problem(self) -> Problem:
        """Return the problem, built, with the solver and the fields of former runs that were asked for.

        Raises:
            UsageError: The problem cannot be built, lets nobody choose its solver, or a former run does not fit it.
        """
        problem = build_problem(self.build, self.options, self.path)
        if self.solver is not None:
            with bad_input(self.path):
                problem = problem.with_solver(self.solver)
        return with_former_runs(problem, self.name, self.initial_guess, self.truth)

    def settings(self, problem: Problem) -> Settings:
        """Return how the problem is minimized: as asked for, or as it chooses itself.

        Raises:
            StrengthError: The rule for the strength is unknown.
            OptimizerError: The optimizer is unknown.
        """
        return Settings.of(
            problem,
            optimizer=self.optimizer,
            inner_product=self.inner_product,
            gradient_tolerance=self.gradient_tolerance,
            max_iterations=self.max_iterations,
            regularization_strength=self.regularization_strength,
            discrepancy_factor=self.discrepancy_factor,
            chosen_in=self.path.name,
        )


def config_of(request: RunRequest, problem: Problem, settings: Settings) -> dict[str, Any]:
    """Return the entries of config.json: all that it takes to run the problem again."""
    with bad_input(request.path):
        solver = solver_name(problem, request.options.get("solver"))
    return {
        "problem": request.name,
        "path": str(request.path.resolve()),
        "folder": str(Path.cwd()),
        "options": request.options,
        "seed": request.options.get("seed"),
        "solver": solver,
        "requested_solver": request.solver,
        **asdict(settings),
        "initial_guess": request.initial_guess and request.initial_guess.resolve(),
        "truth": request.truth and request.truth.resolve(),
        "check": request.check,
        "versions": versions(),
        "argv": request.argv,
    }


def solver_name(problem: Problem, asked: str | None = None) -> str | None:
    """Return the name of the solver of the state equation at the initial guess.

    It is what "auto" stands for there; of a state that does not know its solver, the name that was asked for, if any.

    Args:
        problem: The problem.
        asked: The name that ``build`` was given, where it takes a solver itself.
    """
    chosen = problem.functional.state.chosen_solver(problem.functional.coefficient(problem.initial))
    if chosen is not None:
        return chosen.name
    return None if asked is None else resolve_solver(asked).name


def versions() -> dict[str, str]:
    """Return the versions of Python, of pdeopt and of the packages that its numbers depend on."""
    found = {"python": platform.python_version(), "pdeopt": pdeopt.__version__}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
