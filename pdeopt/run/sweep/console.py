"""The progress of a sweep: a live view on a terminal, a line for each run elsewhere, or nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pdeopt.run.errors import UsageError
from pdeopt.run.store.regular_file import read_bytes
from pdeopt.run.sweep.results import FinishedRun

#: The time between two looks into the histories of what runs, in seconds.
REFRESH_SECONDS = 1.0


class SweepProgress:
    """A context manager that shows the progress of a sweep, whose runs are reported as they start and end.

    Args:
        console: The console on which progress is shown.
        quiet: Whether nothing is shown.
        directory: The directory of the sweep.
        total: The number of its runs.
    """

    def __init__(self, console: Console, quiet: bool, directory: Path, total: int) -> None:
        self._console = console
        self._quiet = quiet
        self._directory = directory
        self._total = total
        self._done = 0
        self._refreshed = 0.0
        self._running: dict[str, TaskID] = {}
        words = (TextColumn("{task.description}"), TextColumn("{task.fields[at]}"))
        columns = (words[0], BarColumn(20), TimeElapsedColumn(), words[1])
        self._live = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._all = self._live.add_task("runs", total=total, at="")

    def __enter__(self) -> SweepProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._running.values():
            self._live.remove_task(task)
        self._live.stop()

    def begin(self, done: int) -> None:
        """Show how many runs were finished before."""
        self._done = done
        self._show()
        if done:
            self.note(f"{done} of {self._total} runs are finished already")

    def _show(self) -> None:
        self._live.update(self._all, completed=self._done, at=f"{self._done} of {self._total} finished")

    def note(self, text: str) -> None:
        """Show a text that stays."""
        if not self._quiet:
            self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def started(self, name: str) -> None:
        """Show a run that has started."""
        self._running[name] = self._live.add_task(f"  {name}", total=None, at="")

    def ended(self, name: str, run: FinishedRun | None) -> None:
        """Show that a run has ended.

        Args:
            name: The name of the run.
            run: Its results; None where it was interrupted.
        """
        self._live.remove_task(self._running.pop(name))
        if run is not None:
            self._done += 1
            self._show()
            self.note(f"[{self._done}/{self._total}] {name}: {run.summary['status']}{_reached(run)}")

    def refresh(self) -> None:
        """Show the last iterates of the runs that are under way, on a terminal and not too often."""
        if self._live.disable or time.monotonic() - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = time.monotonic()
        for name, task in self._running.items():
            self._live.update(task, at=_last_iteration(self._directory / name / "history.csv"))


def _reached(run: FinishedRun) -> str:
    summary = run.summary
    if any(summary.get(name) is None for name in ("iterations", "objective", "seconds")):
        return f": {summary['message']}"
    error = summary.get("relative_error")
    known = "" if error is None else f", relative error {100 * error:.3g} %"
    return (
        f" after {summary['iterations']} iterations, objective {summary['objective']:.5g}{known}, "
        f"{summary['seconds']:.1f} s"
    )


def _last_iteration(path: Path) -> str:
    """Return the last iterate of a history in words, "" before the first one."""
    with suppress(OSError, UsageError, ValueError, IndexError):
        iteration, objective = read_bytes(path).decode().splitlines()[-1].split(",")[:2]
        return f"iteration {int(iteration)}, objective {float(objective):.4g}"
    return ""
