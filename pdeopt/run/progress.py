"""What a person sees during long work: a live table on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

if TYPE_CHECKING:
    from pdeopt.run.recorder import Row

#: Header, format, and whether it is shown once some row differs from what is not worth a column.
COLUMNS = (
    ("iteration", lambda row: f"{row.iteration}", lambda row: True),
    ("strength", lambda row: f"{row.strength:.3g}", lambda row: row.strength != 1),
    ("objective", lambda row: f"{row.objective:.5e}", lambda row: True),
    ("misfit", lambda row: f"{row.misfit:.4e}", lambda row: True),
    ("regularization", lambda row: f"{row.regularization:.4e}", lambda row: True),
    ("gradient norm", lambda row: f"{row.gradient_norm:.2e}", lambda row: True),
    ("CG iterations", lambda row: f"{row.cg_iterations}", lambda row: row.cg_iterations > 0),
    ("seconds", lambda row: f"{row.seconds:.1f}", lambda row: True),
)
#: Rows of the table; so many rows, and each tenth one, are printed where there is none.
SHOWN, PRINTED = 10, 10


class Progress:
    """A context manager; `status`, `note` and `row` report into it."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._rows: list[Row] = []
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, refresh_per_second=8, transient=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.update(_table(self._rows) if self._rows else "")
            self._live.stop()

    def status(self, text: str) -> None:
        """What is being done now, in words."""
        if self._live is not None:
            spinner = Spinner("dots", text=text)
            self._live.update(Group(_table(self._rows), spinner) if self._rows else spinner)
        elif not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """What was found on the way, in words that stay: above the table."""
        if not self._quiet:
            self._console.print(text, highlight=False, soft_wrap=True)

    def row(self, row: Row, shown: bool = True) -> None:
        """A new iterate; one that is not shown by itself is one of a former run."""
        self._rows.append(row)
        if not shown:
            return
        if self._live is not None:
            self._live.update(_table(self._rows))
        elif not self._quiet and (row.iteration <= PRINTED or row.iteration % 10 == 0):
            self._console.print(_line(self._rows), highlight=False, soft_wrap=True)


def _columns(rows: list[Row]) -> list[tuple[str, Callable[[Row], str]]]:
    return [(title, cell) for title, cell, wanted in COLUMNS if any(map(wanted, rows))]


def _line(rows: list[Row]) -> str:
    """The last row, in words."""
    row = rows[-1]
    cells = [f"{title} {cell(row)}" for title, cell in _columns(rows)[1:-1]]
    return f"iteration {row.iteration:4d}:  {', '.join(cells)}, {row.seconds:.1f} s"


def _table(rows: list[Row]) -> RenderableType:
    """The first row, so that the initial guess stays in sight, and the last ones."""
    columns = _columns(rows)
    table = Table(box=None, pad_edge=False)
    for title, _ in columns:
        table.add_column(title, justify="right", style="bold" if title == "objective" else None)
    for row in rows if len(rows) <= SHOWN else [rows[0], *rows[1 - SHOWN :]]:
        table.add_row(*(cell(row) for _, cell in columns))
    return table
