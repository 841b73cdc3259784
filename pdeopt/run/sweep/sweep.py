"""The running of a grid of options in parallel processes, with a table of the results.

A sweep that was interrupted can be resumed.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

import pdeopt
from pdeopt.run.errors import UsageError, try_writing
from pdeopt.run.problem_files.loading import find_problem
from pdeopt.run.problem_files.trust import is_trusted, refuse_untrusted, remember_trusted
from pdeopt.run.store.directory import unused_path, working_in
from pdeopt.run.store.evaluation_log import EVALUATIONS_FILE, is_being_written
from pdeopt.run.sweep.console import SweepProgress
from pdeopt.run.sweep.directory import locked_sweep_directory, stored_sweep
from pdeopt.run.sweep.grid import Grid, GridPoint
from pdeopt.run.sweep.processes import ChildTask, EndedChild, Listener, cores, run_children
from pdeopt.run.sweep.results import FinishedRun, ended_run, stored_run, write_table
from pdeopt.run.sweep.table import print_results
from pdeopt.run.watch.interruption import exit_status

#: The table of the results.
TABLE_FILE = "sweep.csv"
#: The figure of the results.
FIGURE_FILE = "sweep.png"
#: The option of a run that draws no pictures, with which the sweep draws none, too.
NO_PICTURES = "--no-pictures"
#: The option of a run that says where it starts.
INITIAL_GUESS = "--initial-guess"
#: The option of a run that starts at random.
INITIAL_SEED = "--initial-seed"
#: The folder for runs that could not be resumed.
ASIDE_FOLDER = ".aside"
#: The exit status of a command with bad input.
BAD_INPUT_STATUS = 2


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was asked for.

    Attributes:
        problem: The name or the path of the problem, as given.
        path: The problem file.
        grid: The grid of options.
        directory: The directory of the sweep.
        jobs: The number of runs at a time.
        warm_start: Whether every run starts where the one before it in the grid has ended.
        argv: The words of the command line, for the record.
    """

    problem: str
    path: Path
    grid: Grid
    directory: Path
    jobs: int
    warm_start: bool
    argv: list[str]

    @classmethod
    def of(
        cls,
        problem: str,
        path: Path,
        grid: Grid,
        out: Path | None,
        jobs: int | None,
        warm_start: bool,
        argv: list[str],
    ) -> Sweep:
        """Return a sweep in a new directory where none is given, with as many jobs as there are cores.

        Args:
            problem: The name or the path of the problem, as given.
            path: The problem file.
            grid: The grid of options.
            out: The directory of the sweep; None for a new one.
            jobs: The number of runs at a time; None for the number of cores.
            warm_start: Whether every run starts where the one before it in the grid has ended, one at a time.
            argv: The words of the command line, for the record.

        Raises:
            UsageError: A warm start is asked for beside what forbids it.
        """
        if warm_start:
            if jobs not in (None, 1):
                raise UsageError(f"--warm-start runs one after the other, and --jobs is {jobs}; leave out one of them")
            starts = [key.flag for key in grid.keys if key.flag in (INITIAL_GUESS, INITIAL_SEED)]
            if starts:
                raise UsageError(
                    f"--warm-start says where each run starts, and so does {starts[0]}; leave out one of them"
                )
            jobs = 1
        directory = unused_path(Path("sweeps") / path.stem) if out is None else out
        return cls(problem, path, grid, directory, min(jobs or cores(), len(grid.points)), warm_start, argv)

    def record(self) -> dict[str, Any]:
        """Return the content of sweep.json."""
        grid = self.grid.to_json()
        words = {"folder": str(Path.cwd()), "argv": self.argv, "version": pdeopt.__version__}
        return {"problem": self.problem, "grid": grid, "warm_start": self.warm_start, **words}


def start_sweep(sweep: Sweep, console: Console, quiet: bool) -> int:
    """Run a sweep, or go on with the same one in its directory; return the exit status.

    Raises:
        UsageError: The directory cannot be written, or holds something else.
    """
    remember_trusted(sweep.path)
    return _run(sweep, console, quiet)


def resume_sweep(
    directory: Path,
    sweep_of: Callable[[list[str]], Sweep],
    console: Console,
    quiet: bool = False,
    trusted: Path | None = None,
) -> int:
    """Go on with the sweep of a directory.

    Args:
        directory: The directory of the sweep.
        sweep_of: Makes a sweep of a command line.
        console: The console on which it is shown.
        quiet: Whether only errors and warnings are shown.
        trusted: The problem file that the user says may be executed; see `resume_run`.

    Returns:
        The exit status.

    Raises:
        UsageError: There is no sweep, its problem file is not trusted, or its command line cannot be read.
    """
    stored = stored_sweep(directory)
    if stored is None:
        raise UsageError(f"{directory} holds no sweep: it has no sweep.json")
    where = directory if stored["folder"] == str(Path.cwd()) else directory.resolve()
    said = None if trusted is None else trusted.resolve()
    with working_in(stored["folder"]):
        refuse_untrusted(find_problem(stored["argv"][1]).resolve(), directory, said)
        return _run(replace(sweep_of(stored["argv"]), directory=where), console, quiet)


def _run(sweep: Sweep, console: Console, quiet: bool) -> int:
    points = sweep.grid.points
    with locked_sweep_directory(sweep.directory, sweep.record()) as lock:
        found = {point.folder: run for point in points if (run := stored_run(sweep.directory, point)) is not None}
        with SweepProgress(console, quiet, sweep.directory, len(points)) as progress:
            progress.begin(len(found))
            left = [point for point in points if point.folder not in found]
            tasks = [_task(sweep, point, found) for point in (left[:1] if sweep.warm_start else left)]
            done = run_children(tasks, sweep.jobs, _listener(sweep, found, progress), (lock,))
        return _conclude(sweep, found, console, quiet, done)


def _in_order(sweep: Sweep, found: dict[str, FinishedRun]) -> list[FinishedRun]:
    return [found[point.folder] for point in sweep.grid.points if point.folder in found]


def _listener(sweep: Sweep, found: dict[str, FinishedRun], progress: SweepProgress) -> Listener:
    """Return the listener that adds ended runs to ``found``, and keeps sweep.csv up to date."""
    points = {point.folder: point for point in sweep.grid.points}

    def ended(child: EndedChild) -> ChildTask | None:
        point = points[child.task.name]
        folder = sweep.directory / point.folder
        refused = child.exit_status == BAD_INPUT_STATUS and child.task.words[0] == "resume"
        if refused and not is_being_written(folder / EVALUATIONS_FILE):
            aside = _set_aside(folder)
            progress.note(f"{point.folder} cannot be resumed and starts again; what there was is in {aside}/")
            progress.ended(point.folder, None)
            return _fresh(sweep, point, found)
        run = ended_run(sweep.directory, point, child)
        progress.ended(point.folder, run)
        if run is None:
            return None
        found[point.folder] = run
        write_table(sweep.directory / TABLE_FILE, sweep.grid, _in_order(sweep, found))
        following = next((one for one in sweep.grid.points if one.folder not in found), None)
        return _task(sweep, following, found) if sweep.warm_start and following else None

    return Listener(lambda task: progress.started(task.name), ended, progress.refresh, progress.note)


def _task(sweep: Sweep, point: GridPoint, found: dict[str, FinishedRun]) -> ChildTask:
    """Return the task that does a run, or the rest of one that was begun."""
    folder = sweep.directory / point.folder
    if (folder / "config.json").exists():
        said = [] if is_trusted(sweep.path) else [f"--trust={sweep.path.resolve()}"]  # trust could not be remembered
        return ChildTask(point.folder, ["resume", str(folder), "--quiet", *said])
    return _fresh(sweep, point, found)


def _fresh(sweep: Sweep, point: GridPoint, found: dict[str, FinishedRun]) -> ChildTask:
    """Return the task that does a run from its start; a warm one is where the run before it ended."""
    words = ["run", sweep.problem, *point.words, f"--out={sweep.directory / point.folder}", "--quiet"]
    if sweep.warm_start:
        folders = [one.folder for one in sweep.grid.points]
        before = folders[: folders.index(point.folder)]
        ended = [folder for folder in before if folder in found and not found[folder].failed]
        words += [f"{INITIAL_GUESS}={sweep.directory / folder}" for folder in ended[-1:]]
    return ChildTask(point.folder, words)


def _set_aside(folder: Path) -> Path:
    """Move a run's folder to where `pdeopt plot DIR/*/` does not find it; return its new path."""
    aside = unused_path(folder.parent / ASIDE_FOLDER / folder.name)
    if aside.parent.is_symlink():
        raise UsageError(f"{aside.parent} is a symbolic link; expected a folder")
    aside.parent.mkdir(exist_ok=True)
    return folder.rename(aside)


def _conclude(sweep: Sweep, found: dict[str, FinishedRun], console: Console, quiet: bool, done: bool) -> int:
    """Write the tables and the figure, say what can be done next, and return the exit status."""
    runs, total = _in_order(sweep, found), len(sweep.grid.points)
    write_table(sweep.directory / TABLE_FILE, sweep.grid, runs)
    if all(key.flag != NO_PICTURES for key in sweep.grid.keys):
        from pdeopt.run.sweep.figure import draw_sweep  # imports matplotlib

        for warning in try_writing(FIGURE_FILE, lambda: draw_sweep(sweep.directory / FIGURE_FILE, sweep.grid, runs)):
            print(f"pdeopt: warning: {warning}", file=sys.stderr)
    if runs and not quiet:
        print_results(console, sweep.grid, runs)
        _say_what_next(console, sweep, runs)
    if not done or len(runs) < total:  # or somebody ended one of the runs
        next_words = f"go on with: pdeopt resume {shlex.quote(str(sweep.directory))}"
        print(f"pdeopt: interrupted; {len(runs)} of {total} runs are finished; {next_words}", file=sys.stderr)
        return exit_status()
    return int(any(run.failed for run in runs))


def _say_what_next(console: Console, sweep: Sweep, runs: list[FinishedRun]) -> None:
    folder = shlex.quote(str(sweep.directory))
    lines = [f"files    {folder}/"]
    if any(run.failed for run in runs):
        lines.append("again    the same command with this --out, once the folders of failed runs are taken away")
    for line in [*lines, f"compare  pdeopt plot {folder}/*/"]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
