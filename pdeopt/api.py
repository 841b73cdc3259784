"""The Python interface: build a problem, solve it, look at the solution, as the command does."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from pdeopt.errors import PdeoptError, did_you_mean
from pdeopt.inverse import InputError, Problem
from pdeopt.inversion.checking import Check, check_problem
from pdeopt.inversion.history import as_table, rows_of
from pdeopt.inversion.minimization import MAX_ITERATIONS, RequestedSettings, Settings
from pdeopt.inversion.verification import DerivativeError
from pdeopt.run.errors import UsageError
from pdeopt.run.execution.conclusion import write_result
from pdeopt.run.execution.inversion import InversionTask, NoJournal, invert
from pdeopt.run.execution.request import solver_name, versions
from pdeopt.run.pictures import run_pictures
from pdeopt.run.pictures.canvas.style import styled
from pdeopt.run.problem_files.loading import build_problem, find_problem, load_build
from pdeopt.run.store.directory import RunDirectory
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.history import write_history
from pdeopt.run.store.json_file import JSON_FORMAT
from pdeopt.run.store.stored_run import StoredRun, drawing_errors, read_run, write_summary
from pdeopt.run.store.views.headline import headline_facts
from pdeopt.run.watch.progress import Progress

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from pdeopt.sparse import Solver


__all__ = [
    "Check",
    "DerivativeError",
    "Fields",
    "Solution",
    "SolutionError",
    "UsageError",
    "build",
    "check",
    "load",
    "solve",
]


class SolutionError(PdeoptError):
    """A solution does not have what was asked for."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of an inverse problem, computed just now or read from a run directory.

    Attributes:
        run: The configuration, history, summary and arrays, as they stand in a run directory.
    """

    run: StoredRun

    def __repr__(self) -> str:
        parts = [f"{self.run.title}: {self.run.status}"]
        parts += [f"{word} {text}" for word, text in headline_facts(self.summary)]
        if self.summary.get("relative_error") is not None:
            parts.append(f"relative error {100 * self.summary['relative_error']:.3g} %")
        return f"Solution({', '.join(parts)})"

    @property
    def summary(self) -> dict[str, Any]:
        """The entries of summary.json by name; empty for a run that has not ended."""
        return self.run.summary

    @property
    def history(self) -> Mapping[str, np.ndarray]:
        """The history as a table, column → values (rows,), one row for each iterate, as in history.csv."""
        return self.run.history

    @property
    def fields(self) -> Fields:
        """All arrays of result.npz and where they live.

        Raises:
            SolutionError: There are none.
        """
        if self.run.fields is None:
            raise SolutionError(f"{self.run.title} has no result; its status is {self.run.status!r}")
        return self.run.fields

    @property
    def coefficient(self) -> np.ndarray | dict[str, np.ndarray]:
        """The physical coefficient at the parameter's degrees of freedom, (p,), of several parameters by name.

        That of a tree has its entries in one row.
        """
        each = self.fields.each
        return {name: one.coefficient for name, one in each.items()} if self.fields.unknowns else each[""].coefficient

    @property
    def parameter(self) -> np.ndarray:
        """The last iterate m, (p,)."""
        return self.fields.parameter

    @property
    def state(self) -> np.ndarray:
        """The state at the last iterate, (n,) or (n, experiments)."""
        return self.fields.state

    def plot(self, name: str = "result") -> Figure:
        """Return one of the pictures of a run as a matplotlib figure, to be shown, restyled or saved.

        Args:
            name: "result", "history", "strength", "components", "parts", "segmentation", "reference" or "scene".

        Raises:
            SolutionError: There is no such picture, or the solution does not have what it shows.
        """
        return self._drawn(name, "iterations")

    def plot_history(self, against: str = "iterations") -> Figure:
        """Return the objective, its terms and the gradient norm as a matplotlib figure.

        Args:
            against: The quantity on the horizontal axis, "iterations", "evaluations" or "seconds".
        """
        return self._drawn("history", against)

    def _drawn(self, name: str, against: str) -> Figure:
        drawn_by = run_pictures.PICTURES
        if name not in drawn_by:
            hint = did_you_mean(name, list(drawn_by))
            raise SolutionError(f"there is no picture {name!r}; expected one of {', '.join(drawn_by)}{hint}")
        with styled(), drawing_errors([self.run]):
            figure = drawn_by[name](self.run, against)
        if figure is None:
            raise SolutionError(f"{self.run.title} has nothing that the picture {name!r} shows")
        return figure

    def to_pandas(self) -> pandas.DataFrame:
        """Return the history as a pandas data frame.

        Raises:
            SolutionError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise SolutionError("pandas is not installed; run: pip install pandas, or use solution.history") from None
        return pandas.DataFrame(dict(self.history))

    def save(self, directory: str | Path, pictures: bool = True) -> Path:
        """Write a run directory, as the command does, and return its path.

        ``pdeopt plot`` and ``pdeopt report`` show it; it cannot be resumed.

        Args:
            directory: The path of the run directory.
            pictures: Whether the pictures of the solution are drawn into it.

        Raises:
            UsageError: It cannot be written, or holds a run already.
        """
        path = RunDirectory(self.run.title, Path(directory)).make(self.run.config)
        rows = rows_of(self.history)
        write_history(path / "history.csv", rows)
        interrupted, problems = write_result(path, rows, self.summary, self.run.fields, pictures)
        if self.summary:
            write_summary(path / "summary.json", self.summary)
        for problem in problems:
            warnings.warn(problem, stacklevel=2)
        if interrupted:
            raise KeyboardInterrupt
        return path


def build(problem: str | Path, /, **options: Any) -> Problem:
    """Return a problem by its name, or from the path of its Python file.

    Args:
        problem: A name that ``pdeopt list`` shows, or the path of a file with a function ``build``.
        **options: The keywords of ``build``; ``pdeopt run NAME --help`` lists them.

    Raises:
        UsageError: There is no such problem, or its file cannot be loaded.
        InputError: ``build`` takes no such option.
        PdeoptError: What ``build`` itself raises.

    Example:
        >>> build("poisson_control", n=8)
        Problem(...)
    """
    path = find_problem(str(problem))
    function = load_build(path)
    known = inspect.signature(function).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    for name in options:
        if name not in known and not takes_all:
            hint = did_you_mean(name, list(known))
            if name == "solver":
                hint = "; the solver is chosen by pdeopt.solve(problem, solver=…), or problem.with_solver(…)"
            raise InputError(f"{path.stem} has no option {name!r}; it has {', '.join(known) or 'none'}{hint}")
    built = build_problem(function, options, path)
    return replace(built, name=path.stem)


def solve(
    problem: Problem,
    *,
    optimizer: str | None = None,
    inner_product: str | None = None,
    gradient_tolerance: float | None = None,
    max_iterations: int = MAX_ITERATIONS,
    regularization_strength: float | str | None = None,
    discrepancy_factor: float | None = None,
    solver: str | Solver | None = None,
    memory: float | None = None,
    verify: bool = True,
    progress: bool = True,
) -> Solution:
    """Solve a problem as ``pdeopt run`` does, with its defaults and to the same numbers.

    Ctrl-C, or the stop button of a notebook, ends the minimization after the evaluation that is under way, and the
    solution is what was reached. So it is where the minimization fails on the way, which is warned of; the status in
    the summary says it.

    Args:
        problem: What `build` returns, or a Problem of your own.
        optimizer: The name of the optimizer; the problem's own where None.
        inner_product: The product in which it works: "l2", "l2-lumped", "regularization" or "euclidean"; "l2" where
            None.
        gradient_tolerance: The factor by which the gradient norm has fallen at the end; the problem's where None.
        max_iterations: The largest number of iterations of every minimization.
        regularization_strength: A factor of the problem's regularization, or the rule that chooses it: "discrepancy",
            "cooling" or "lcurve"; the problem's own where None.
        discrepancy_factor: The factor of the noise's misfit at which the rules aim; the problem's own where None.
        solver: The linear solver of the state equation or its name, as in `pdeopt.sparse.linear_solve`; the problem's
            own where None.
        memory: The memory for the states of all steps of a state in time, in bytes; what they take where None.
        verify: Verify the derivatives before, and once more on the way.
        progress: Show what is done, as a table in a terminal and as lines elsewhere.

    Raises:
        DerivativeError: The derivatives are wrong.
        PdeoptError: Options, data and problem do not fit together.
        KeyboardInterrupt: Ctrl-C came before the first iterate, or twice.

    Example:
        >>> solution = solve(build("poisson_control", n=8), progress=False)
        >>> solution.summary["status"]
        'converged'
    """
    if not isinstance(problem, Problem):
        got = type(problem).__name__
        raise InputError(f"solve takes a Problem, as pdeopt.build('conductivity') returns; got {got}")
    problem = problem if solver is None else problem.with_solver(solver)
    problem = problem if memory is None else problem.with_memory(memory)
    asked = RequestedSettings(
        optimizer=optimizer,
        inner_product=inner_product,
        gradient_tolerance=gradient_tolerance,
        max_iterations=max_iterations,
        regularization_strength=regularization_strength,
        discrepancy_factor=discrepancy_factor,
    )
    settings = Settings.of(problem, asked)
    remedy = "pdeopt.check(problem) runs all checks; verify=False solves all the same"
    task = InversionTask(problem.name, problem, settings, solver_name(problem), verify, remedy, signals=(SIGINT,))
    with Progress(Console(), quiet=not progress) as shown:
        found = invert(task, NoJournal(), shown)
        summary = found.summary(task) | {"stage_seconds": shown.times.seconds()}
    if summary["status"] == "failed":
        warnings.warn(f"the inversion failed: {summary['message']}", stacklevel=2)
    chosen = {"problem": problem.name, "solver": task.solver, **asdict(settings)}
    config = {"format": JSON_FORMAT, **chosen, "versions": versions()}
    return Solution(StoredRun(Path(), config, as_table(found.rows), summary, found.final_state.fields))


def check(problem: Problem, *, solver: str | Solver | None = None) -> list[Check]:
    """Return the results of all checks of a problem's derivatives, as ``pdeopt check`` prints them.

    Args:
        problem: The problem.
        solver: The linear solver of the state equation or its name; the problem's own where None.

    Raises:
        PdeoptError: The objective cannot be evaluated at the initial guess, or the solver cannot be chosen.
    """
    return check_problem(problem if solver is None else problem.with_solver(solver))


def load(directory: str | Path) -> Solution:
    """Return the solution that a run directory holds.

    Raises:
        UsageError: There is none.
    """
    return Solution(read_run(Path(directory)))
