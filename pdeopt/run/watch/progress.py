"""The progress of long work: a live table on a terminal, lines elsewhere, or nothing; and run.log."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from pdeopt.run.watch.progress_table import row_in_words, rows_table
from pdeopt.run.watch.run_log import RunLog
from pdeopt.run.watch.stopwatch import StageTimes, in_words

if TYPE_CHECKING:
    from pdeopt.inversion.history import Row
    from pdeopt.run.watch.remaining_time import ConvergenceGoal

#: The number of rows of the table, where the terminal is high enough.
MAX_TABLE_ROWS = 10
#: The number of lines of the terminal that are left for what is not a row of the table.
OTHER_LINES = 6
#: The number of the first rows that are all printed where there is no table; then each tenth one is.
FIRST_PRINTED_ROWS = 10
#: The time without a line after which the next row is printed where there is no table, in seconds.
MAX_SILENT_SECONDS = 10.0
#: The time from which on everyone is told how long a stage took, where no clock is shown, in seconds.
NOTED_STAGE_SECONDS = 5.0
#: The time from which on it is shown at which step a march in time is, in seconds.
SHOWN_MARCH_SECONDS = 1.0
#: The time from which on it is told as a detail how long a stage took, in seconds.
DETAILED_STAGE_SECONDS = 0.5


class LibraryMessages(logging.Handler):
    """A handler of `logging` that reports what the library logs, such as a solver that took over.

    While it is attached, the library logs what is only information, too, unless its logger has a level of its own.
    """

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._logger = logging.getLogger("pdeopt")
        self._level = logging.NOTSET

    def attach(self) -> None:
        """Begin to report."""
        self._level = self._logger.level
        if self._level == logging.NOTSET:
            self._logger.setLevel(min(self._logger.getEffectiveLevel(), logging.INFO))
        self._logger.addHandler(self)

    def detach(self) -> None:
        """End to report, and restore the level of the logger."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Report a message: a warning as such, and what is less as a detail."""
        report = self._progress.warn if record.levelno >= logging.WARNING else self._progress.detail
        report(record.getMessage())


class Progress:
    """A context manager that shows the progress of long work, which is reported to its methods.

    What the library logs meanwhile is reported, too.

    Attributes:
        log: The log of all that is said, and more; see `RunLog`.
        times: The times of the stages.
        goal: The goal of the minimization that is under way, where there is one: it tells the time that is left.
        time_step: The function that says at which step a march in time is that goes on for so many seconds, "" where
            there is none. It is asked when the screen is drawn again, so that the march is not slowed down.
    """

    def __init__(self, console: Console, quiet: bool = False, verbose: bool = False, tracebacks: bool = False) -> None:
        """Begin to measure the time.

        Args:
            console: The console on which progress is shown.
            quiet: Whether nothing but warnings is shown.
            verbose: Whether every iterate and details are printed.
            tracebacks: Whether errors are printed with their tracebacks.
        """
        self.log = RunLog()
        self.times = StageTimes()
        self.goal: ConvergenceGoal | None = None
        self.time_step: Callable[[float], str] = lambda _: ""
        self._console = console
        self._quiet = quiet
        self._verbose = verbose
        self._tracebacks = tracebacks
        self._rows: list[Row] = []
        self._warnings: list[str] = []
        self._left = ""
        self._start = self._printed = time.perf_counter()
        self._spinner = Spinner("dots")
        self._status = ""
        self._live: Live | None = None
        self._messages = LibraryMessages(self)

    def __enter__(self) -> Progress:
        self._messages.attach()
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, refresh_per_second=8, get_renderable=self._screen)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._messages.detach()
        if isinstance(error, Exception):
            self.log.error(error)
        elif error is not None:
            self.log.write("interrupted")
        if self.log.failure is not None:
            self._warnings.append(f"run.log could not be written: {self.log.failure}")
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        for warning in self._warnings:
            print(f"pdeopt: warning: {warning}", file=sys.stderr)

    def stage(self, name: str, text: str = "") -> None:
        """Begin a new stage, whose time is measured.

        Args:
            name: The name of the stage.
            text: What is being done, in words; "" shows nothing.
        """
        ended, took = self.times.begin(name)
        if took > NOTED_STAGE_SECONDS and self._live is None:
            self.note(f"{ended} took {in_words(took)}")
        elif ended and took > DETAILED_STAGE_SECONDS:
            self.detail(f"{ended} took {in_words(took)}")
        if text:
            self.status(text)

    def status(self, text: str) -> None:
        """Show what is being done now, in words that the next ones replace."""
        self.log.write(text)
        self._status = text
        if self._live is None:
            self._print(text)

    def note(self, text: str) -> None:
        """Show what was found on the way, in words that stay, above the table."""
        self.log.write(text)
        self._print(text)

    def detail(self, text: str) -> None:
        """Show what only a person who asks for it wants to know."""
        self.log.write(text)
        if self._verbose:
            self._print(text)

    def warn(self, text: str) -> None:
        """Keep a warning, which is printed on stderr at the end."""
        self.log.write(f"warning: {text}")
        self._warnings.append(text)

    def failed(self, error: Exception) -> None:
        """Log the error that ended the run, or a part of it; the run directory keeps the rest."""
        self.log.error(error)
        if self._tracebacks:
            traceback.print_exception(error)

    def row(self, row: Row, shown: bool = True) -> None:
        """Show a new iterate.

        Args:
            row: The row of the history.
            shown: Whether it is shown by itself; one of a former run is not.
        """
        self._rows.append(row)
        self._start = time.perf_counter() - row.seconds  # one clock; a run that is resumed has run before
        if not shown:
            return
        self._left = self.goal.time_left(self._rows) if self.goal else ""
        self._status = ""
        self.log.write(row_in_words(self._rows, whole=True))
        if self._verbose:
            self._print(row_in_words(self._rows, whole=True))
        elif self._live is None and self._is_due(row):
            self._print(", ".join(filter(None, (row_in_words(self._rows, whole=False), self._left))))

    def _is_due(self, row: Row) -> bool:
        silent = time.perf_counter() - self._printed
        return row.iteration <= FIRST_PRINTED_ROWS or row.iteration % 10 == 0 or silent > MAX_SILENT_SECONDS

    def _print(self, text: str) -> None:
        self._printed = time.perf_counter()
        if not self._quiet:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _screen(self) -> RenderableType:
        """Return the table, and beneath it what is going on; the table alone at the end."""
        shown: list[RenderableType] = []
        if self._rows and not self._verbose:
            shown.append(
                rows_table(
                    self._rows, max(3, min(MAX_TABLE_ROWS, self._console.height - OTHER_LINES)), self._console.width
                )
            )
        if self._live is not None:
            self._spinner.update(text=Text(self._below(), overflow="fold"))
            shown.append(self._spinner)
        return Group(*shown)

    def _below(self) -> str:
        elapsed = in_words(time.perf_counter() - self._start)
        if step := self.time_step(SHOWN_MARCH_SECONDS):
            elapsed = f"{elapsed}, {step}"
        if self._status or not self._rows:
            return f"{self._status}  {elapsed}"
        last = self._rows[-1]
        work = f"{last.evaluations} evaluations, {last.factorizations} factorizations, {last.solves} solves"
        return f"{work}; {', '.join(filter(None, (elapsed, self._left)))}"
