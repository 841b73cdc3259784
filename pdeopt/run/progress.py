"""What a person sees during long work: a live table on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

if TYPE_CHECKING:
    from pdeopt.run.recorder import Row

#: Header and format of each column.
COLUMNS = (
    ("iteration", lambda row: f"{row.iteration}"),
    ("objective", lambda row: f"{row.objective:.5e}"),
    ("misfit", lambda row: f"{row.misfit:.4e}"),
    ("regularization", lambda row: f"{row.regularization:.4e}"),
    ("gradient norm", lambda row: f"{row.gradient_norm:.2e}"),
    ("seconds", lambda row: f"{row.seconds:.1f}"),
)
SHOWN = 10


class Progress:
    """A context manager; `status` and `row` report into it."""

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

    def row(self, row: Row) -> None:
        """A new iterate."""
        self._rows.append(row)
        if self._live is not None:
            self._live.update(_table(self._rows))
        elif not self._quiet and (row.iteration <= 5 or row.iteration % 10 == 0):
            self._console.print(_line(row), highlight=False, soft_wrap=True)


def _line(row: Row) -> str:
    cells = [f"{title} {cell(row)}" for title, cell in COLUMNS[1:-1]]
    return f"iteration {row.iteration:4d}:  {', '.join(cells)}, {row.seconds:.1f} s"


def _table(rows: list[Row]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for title, _ in COLUMNS:
        table.add_column(title, justify="right", style="bold" if title == "objective" else None)
    shown = rows[-SHOWN:]
    if len(rows) > SHOWN:  # the initial guess stays in sight
        shown = [rows[0], *shown[1:]]
    for row in shown:
        table.add_row(*(cell(row) for _, cell in COLUMNS))
    return table
