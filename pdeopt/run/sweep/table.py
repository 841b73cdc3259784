"""The results of a sweep as a table on the console."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pdeopt.run.store.views.headline import headline_words, in_short
from pdeopt.run.sweep.grid import Grid
from pdeopt.run.sweep.results import FinishedRun

#: The color of each status.
STATUS_STYLES = {"converged": "green", "stopped": "yellow", "failed": "bold red"}
#: A column of numbers: name in summary.json, header, format, and whether the smallest is marked.
Column = tuple[str, str, Callable[[Any], str], bool]
#: The columns before those of the problem's own numbers.
LEADING_COLUMNS: tuple[Column, ...] = (
    ("objective", "objective", "{:.5g}".format, True),
    ("misfit", "misfit", "{:.4g}".format, False),
    ("relative_error", "relative error", "{:.3%}".format, True),
)
#: The columns behind them.
TRAILING_COLUMNS: tuple[Column, ...] = (
    ("iterations", "iterations", str, False),
    ("seconds", "seconds", "{:.1f}".format, False),
)


def print_results(console: Console, grid: Grid, runs: Sequence[FinishedRun]) -> None:
    """Print a table with a row for each run, and below it the messages of those that failed.

    Args:
        console: The console that it is printed on.
        grid: The grid of the sweep.
        runs: The results of the runs that have ended.
    """
    own = {name: word for run in runs for name, word in headline_words(run.summary).items()}
    columns = [*LEADING_COLUMNS, *((name, word, in_short, False) for name, word in own.items()), *TRAILING_COLUMNS]
    shown = [column for column in columns if any(_number(run, column[0]) is not None for run in runs)]
    smallest = {name: min(_numbers(runs, name)) for name, _, _, marked in shown if marked}
    table = Table(box=None, pad_edge=False)
    for name in [*(key.name for key in grid.varied), "status"]:
        table.add_column(name, overflow="fold")
    for _, title, _, _ in shown:
        table.add_column(title, justify="right", overflow="fold")
    for run in runs:
        status = run.summary["status"]
        cells = [_cell(run, name, form, smallest) for name, _, form, _ in shown]
        table.add_row(*map(Text, run.point.values.values()), Text(status, STATUS_STYLES.get(status, "")), *cells)
    console.print(table)
    if smallest and len(runs) > 1:
        console.print("* the smallest", highlight=False)
    for run in runs:
        if run.failed:
            line = Text.assemble((f"{run.point.folder} failed", "red"), f": {run.summary['message']}")
            console.print(line, soft_wrap=True)


def _number(run: FinishedRun, name: str) -> float | None:
    value = run.summary.get(name)
    return value if isinstance(value, (int, float)) else None


def _numbers(runs: Sequence[FinishedRun], name: str) -> list[float]:
    return [value for run in runs if (value := _number(run, name)) is not None]


def _cell(run: FinishedRun, name: str, form: Callable[[Any], str], smallest: dict[str, float]) -> Text:
    value = _number(run, name)
    if value is None:
        return Text("–", "dim")
    best = value == smallest.get(name)
    return Text(f"*{form(value)}", "bold green") if best else Text(form(value))
