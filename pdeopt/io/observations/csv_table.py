"""Tables of numbers from CSV files, with a unit for each column in the header.

A header is such as ``x (m),y (m),potential (V)``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdeopt.io.errors import FileError

#: The title of a column: a name and its unit in parentheses, which may hold others: "k (W/(m K))".
HEADER_CELL = re.compile(r"(?P<name>[^()]+?)\s*\((?P<unit>(?:[^()]|\([^()]*\))*)\)")
#: The words, in small letters, that stand for a missing value in tables of other programs.
MISSING_VALUE_WORDS = {"na", "n/a", "#n/a", "null", "none", "missing", "-", "--", ".", "?"}
#: What to do about missing values, for messages.
LEAVE_OUT = "leave out rows where nothing was measured, or read_observations(..., skip_missing=True)"
#: The separators of columns that are refused, with their names in words.
REFUSED_SEPARATORS = {";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True)
class Table:
    """A table of columns of one length.

    Attributes:
        columns: The values (k,) of each column, by its name.
        units: The unit of each column, by its name.
        lines: The line (k,) of each row in the file, from 1.
        header: The line of the header in the file, from 1.
    """

    columns: dict[str, np.ndarray]
    units: dict[str, str]
    lines: np.ndarray
    header: int

    def title(self, name: str) -> str:
        """Return the title of a column, with its unit: "x (m)"."""
        return f"{name} ({self.units[name]})"

    @property
    def titles(self) -> str:
        """The titles of all columns, as a part of a message."""
        return ", ".join(repr(self.title(name)) for name in self.columns)


def read_table(path: Path, with_missing: bool = False) -> Table:
    """Return the table in a CSV file.

    Commas separate columns, ``#`` begins a comment line, blank lines are skipped.

    Args:
        path: The path of the file.
        with_missing: Whether cells that are empty, or say that nothing was measured, are NaN, and not refused.

    Raises:
        FileError: Another separator stands between columns, the header has no units, or cells are no finite numbers;
            the message names line and column.
    """
    rows = _rows(path)
    header, titles = rows[0]
    units = _units(path, header, titles)
    if len(rows) == 1:
        raise FileError(f"{path}: there are no rows under the header in line {header}; expected one for each value")
    names = list(units)
    numbers = np.array([_numbers(path, line, cells, titles, with_missing) for line, cells in rows[1:]])
    lines = np.array([line for line, _ in rows[1:]])
    return Table(dict(zip(names, numbers.T, strict=True)), units, lines, header)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the line and the cells of each row, the header first.

    Raises:
        FileError: The file is empty, no text in UTF-8, or no CSV file with commas.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}, byte {error.start}: no text in UTF-8; save it as CSV in UTF-8") from error
    numbered = [
        (k, line) for k, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise FileError(f"{path} is empty; expected a header such as 'x (m),y (m),potential (V)' and rows of numbers")
    _check_separator(path, *numbered[0])
    return [(k, _cells(path, k, line)) for k, line in numbered]


def _cells(path: Path, number: int, line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
    except csv.Error as error:
        raise FileError(f"{path}, line {number}: no row of a CSV file ({error})") from error


def _check_separator(path: Path, line: int, header: str) -> None:
    for separator, name in REFUSED_SEPARATORS.items():
        if separator in header:
            raise FileError(
                f"{path}, line {line}: columns are separated by {name}; expected commas, and points in decimal numbers:"
                " save it as CSV with these"
            )


def _units(path: Path, line: int, titles: list[str]) -> dict[str, str]:
    units: dict[str, str] = {}
    for title in titles:
        match = HEADER_CELL.fullmatch(title)
        if match is None:
            what = "a number" if _is_number(title) else "no unit"
            raise FileError(
                f"{path}, line {line}: the header has {what} in {title!r}; expected names with units, such as "
                "'x (m),y (m),potential (V)'; (1) stands for none"
            )
        if match["name"] in units:
            raise FileError(f"{path}, line {line}: there are two columns named {match['name']!r}; rename one")
        units[match["name"]] = match["unit"].strip()
    return units


def _numbers(path: Path, line: int, cells: list[str], titles: list[str], with_missing: bool) -> list[float]:
    if len(cells) != len(titles):
        hint = ": a title is missing, or decimal points are commas" if len(cells) > len(titles) else ""
        raise FileError(f"{path}, line {line}: {len(cells)} cells; the header has {len(titles)} columns{hint}")
    return [
        np.nan
        if with_missing and cell.lower() in {"", "nan", *MISSING_VALUE_WORDS}
        else _number(path, line, cell, title)
        for cell, title in zip(cells, titles, strict=True)
    ]


def _number(path: Path, line: int, cell: str, title: str) -> float:
    place = f"{path}, line {line}, column {title!r}"
    if not _is_number(cell):
        hint = ": write a decimal point" if _is_number(cell.replace(",", ".")) else ""
        if cell.lower() in MISSING_VALUE_WORDS:
            hint = f": {LEAVE_OUT}"
        raise FileError(f"{place}: {cell!r} is no number{hint}" if cell else f"{place}: the cell is empty: {LEAVE_OUT}")
    if not np.isfinite(float(cell)):
        hint = f": {LEAVE_OUT}" if np.isnan(float(cell)) else ""
        raise FileError(f"{place}: {cell}; expected a finite number{hint}")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
