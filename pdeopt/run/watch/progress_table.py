"""The rows of a history on a screen, as a table that fits its width or as a line of words for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from pdeopt.inversion.history import Row

#: The number of spaces between two columns; an even number.
COLUMN_SPACES = 2


@dataclass(frozen=True)
class Column:
    """A column of the table, for one quantity of a row.

    Attributes:
        title: The name of the quantity.
        short: The name with a line break, for a table without room.
        cell: The function that returns the text of a row.
        rank: The order in which columns are left out where there is no room, the largest first; 0 is never left out.
        wanted: Tells of a row whether it is worth the column, which is shown once some row is.
        counted: Whether it is a total since the start that only lines of all quantities tell.
    """

    title: str
    short: str
    cell: Callable[[Row], str]
    rank: int = 0
    wanted: Callable[[Row], bool] = lambda row: True
    counted: bool = False


#: The columns, in order.
TABLE_COLUMNS = (
    Column("iteration", "iter-\nation", lambda row: f"{row.iteration}"),
    Column("strength", "strength", lambda row: f"{row.strength:.3g}", 3, lambda row: row.strength != 1),
    Column("objective", "objective", lambda row: f"{row.objective:.5e}"),
    Column("misfit", "misfit", lambda row: f"{row.misfit:.4e}", 1),
    Column("regularization", "regular-\nization", lambda row: f"{row.regularization:.4e}", 2),
    Column("gradient norm", "gradient\nnorm", lambda row: f"{row.gradient_norm:.2e}"),
    Column("violation", "viola-\ntion", lambda row: f"{row.violation:.1e}", wanted=lambda row: row.violation > 0),
    Column("step", "step", lambda row: f"{row.step:.2e}", 6),
    Column("evaluations", "evalu-\nations", lambda row: f"{row.evaluations}", 9, counted=True),
    Column("CG iterations", "CG iter-\nations", lambda r: f"{r.cg_iterations}", 5, lambda row: row.cg_iterations > 0),
    Column("factorizations", "factor-\nizations", lambda row: f"{row.factorizations}", 8),
    Column("solves", "solves", lambda row: f"{row.solves}", 7),
    Column("seconds", "seconds", lambda row: f"{row.seconds:.1f}", 4),
)
#: The titles of the columns in a line where not all are asked for.
BRIEF_TITLES = ("strength", "objective", "misfit", "regularization", "gradient norm", "violation", "CG iterations")


def row_in_words(rows: Sequence[Row], whole: bool) -> str:
    """Return the last row in words.

    Args:
        rows: The rows so far.
        whole: Whether all columns are in it.
    """
    shown = [c for c in TABLE_COLUMNS[1:-1] if any(map(c.wanted, rows)) and (whole or c.title in BRIEF_TITLES)]
    cells = [f"{column.title} {column.cell(rows[-1])}" for column in shown]
    return f"iteration {rows[-1].iteration:4d}:  {', '.join(cells)}, {rows[-1].seconds:.1f} s"


def rows_table(rows: Sequence[Row], height: int, width: int) -> Table:
    """Return a table of the first row, so that the initial guess stays in sight, and of the last ones.

    Args:
        rows: The rows so far.
        height: The largest number of rows of the table.
        width: The width of the console, in characters.
    """
    columns = [c for c in TABLE_COLUMNS if any(map(c.wanted, rows)) and not c.counted]
    shown = rows if len(rows) <= height else [rows[0], *rows[1 - height :]]
    columns, titles = _fitting(columns, shown, width)
    grid = Table(box=None, pad_edge=False, padding=(0, COLUMN_SPACES // 2))
    for column, title in zip(columns, titles, strict=True):
        grid.add_column(title, justify="right", no_wrap=True, style="bold" if column.title == "objective" else None)
    for row in shown:
        grid.add_row(*(column.cell(row) for column in columns))
    return grid


def _fitting(columns: list[Column], rows: Sequence[Row], width: int) -> tuple[list[Column], list[str]]:
    """Return as many columns as there is room for, and their titles.

    Titles are shortened before a column is left out.
    """
    titles = [column.title for column in columns]
    if _width(columns, titles, rows) <= width:
        return columns, titles
    while _width(columns, [c.short for c in columns], rows) > width and max(c.rank for c in columns):
        columns.remove(max(columns, key=lambda c: c.rank))
    return columns, [column.short for column in columns]


def _width(columns: list[Column], titles: list[str], rows: Sequence[Row]) -> int:
    widths = [
        max(*map(len, title.split("\n")), *(len(column.cell(row)) for row in rows))
        for column, title in zip(columns, titles, strict=True)
    ]
    return sum(widths) + COLUMN_SPACES * (len(columns) - 1)
