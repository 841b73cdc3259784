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
from pdeopt.inverse import InputError, Problem
from pdeopt.inverse.unknowns.initial_guesses import INITIAL_SPREAD
from pdeopt.inversion.minimization import RequestedSettings, Settings
from pdeopt.run.errors import UsageError, problem_file_errors
from pdeopt.run.problem_files.loading import build_problem
from pdeopt.run.store.former_runs import with_former_runs
from pdeopt.run.store.json_file import JSON_FORMAT
from pdeopt.sparse import resolve_solver

#: The packages whose versions are recorded.
RECORDED_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-fem", "rslab", "cvxopt", "mkl")


@dataclass(frozen=True)
class RunRequest:
    """One run as it was asked for.

    Attributes:
        path: The problem file.
        build: The function ``build`` of that file.
        options: The keywords of ``build`` with their values.
        asked: The settings of the minimization that were asked for.
        solver: The name of the linear solver of the state equation; None where the problem chooses.
        memory: The memory for states in time, in bytes; None where the problem chooses.
        initial_guess: The directory of a former run, see `with_former_runs`; None for the problem's own.
        initial_seed: The seed of a random initial guess, see `Problem.at_random_start`; None for none.
        initial_spread: Its standard deviation, or those of parameters by name; None for the usual one.
        truth: The directory of a former run, see `with_former_runs`; None for the problem's own.
        out: The run directory; None for a new one.
        argv: The words of the command line, for the record.
        check: Whether derivatives are verified before the minimization, and once more on the way.
        live: Whether the iterates are drawn on the way.
        pictures: Whether the result is drawn.
    """

    path: Path
    build: Callable[..., Problem]
    options: dict[str, Any]
    asked: RequestedSettings
    solver: str | None
    memory: float | None
    initial_guess: Path | None
    initial_seed: int | None
    initial_spread: float | dict[str, float] | None
    truth: Path | None
    out: Path | None
    argv: list[str]
    check: bool = True
    live: bool = False
    pictures: bool = True

    @property
    def name(self) -> str:
        """The name of the problem: that of its file, without the suffix."""
        return self.path.stem

    def problem(self) -> Problem:
        """Return the problem with the solver, former runs and the start that were asked for.

        Raises:
            UsageError: The problem cannot be built, lets nobody choose its solver, a former run does not fit it, or a
                spread is given without a seed.
        """
        if self.initial_spread is not None and self.initial_seed is None:
            raise UsageError("--initial-spread is that of a random start, of which --initial-seed gives the seed")
        problem = build_problem(self.build, self.options, self.path)
        if self.solver is not None:
            with problem_file_errors(self.path):
                problem = problem.with_solver(self.solver)
        if self.memory is not None:
            with problem_file_errors(self.path):
                problem = problem.with_memory(self.memory)
        problem = with_former_runs(problem, self.name, self.initial_guess, self.truth)
        if self.initial_seed is None:
            return problem
        try:
            return problem.at_random_start(self.initial_seed, self.initial_spread or INITIAL_SPREAD)
        except InputError as error:
            raise UsageError(f"--initial-spread: {error}") from error

    def settings(self, problem: Problem) -> Settings:
        """Return how the problem is minimized: as asked for, or as it chooses itself.

        Raises:
            StrengthError: The rule for the strength is unknown.
            OptimizerError: The optimizer is unknown.
        """
        return Settings.of(problem, self.asked, chosen_in=self.path.name)


def config_of(request: RunRequest, problem: Problem, settings: Settings) -> dict[str, Any]:
    """Return the entries of config.json: all that it takes to run the problem again."""
    with problem_file_errors(request.path):
        solver = solver_name(problem, request.options.get("solver"))
    return {
        "format": JSON_FORMAT,
        "problem": request.name,
        "path": str(request.path.resolve()),
        "folder": str(Path.cwd()),
        "options": request.options,
        "seed": request.options.get("seed"),
        "solver": solver,
        "requested_solver": request.solver,
        **asdict(settings),
        "initial_guess": request.initial_guess and request.initial_guess.resolve(),
        "memory": request.memory,
        "initial_seed": request.initial_seed,
        "initial_spread": request.initial_spread,
        "truth": request.truth and request.truth.resolve(),
        "check": request.check,
        "pictures": request.pictures,
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
    for package in RECORDED_PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
