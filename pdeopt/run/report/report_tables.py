"""The tables of a report, which hold the content of runs' files as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdeopt.inverse.problem import SUMMARY_NAMES
from pdeopt.run.store.json_file import is_number
from pdeopt.run.store.stored_run import StoredRun
from pdeopt.run.store.views.headline import headline_facts
from pdeopt.run.watch.stopwatch import in_words, total_seconds

#: The largest number of rows of a history that are shown, evenly chosen.
MAX_HISTORY_ROWS = 200
#: The entries of config.json that are no settings: those that the page shows elsewhere, paths, and whether pictures
#: were drawn.
NON_SETTINGS = frozenset({"format", "path", "folder", "options", "pictures", "versions", "argv", "resumed"})
#: The entries of summary.json that stand above its table.
HEADING_ENTRIES = frozenset({"problem", "status", "message", "headline"})
#: The names in summary.json of columns of history.csv that have another name there.
PLURAL_NAMES = {"iteration": "iterations"}
#: The text of what is not known.
UNKNOWN_TEXT = "–"


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        caption: The text above it.
        header: The titles of the columns.
        rows: The rows; the first text of each is its heading.
        marked: Whether the rows are to catch the eye.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: bool = False


def text_of(value: Any) -> str:
    """Return a value of a JSON file as a text for people."""
    if value is None:
        return UNKNOWN_TEXT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{words(name)} {text_of(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(text_of, value)) or UNKNOWN_TEXT
    return str(value)


def words(name: str) -> str:
    """Return a name of a file as it is written in a table."""
    return name.replace("_", " ")


def facts(run: StoredRun) -> list[tuple[str, str]]:
    """Return the outcome of a run in a few numbers: name and text."""
    summary, last = run.summary, {name: column[-1] for name, column in run.history.items()}
    found = headline_facts(summary)
    if is_number(summary.get("relative_error")):
        found.append(("relative error", f"{100 * summary['relative_error']:.3g} %"))
    if is_number(summary.get("discrepancy")):
        found.append(("misfit, relative to noise", f"{summary['discrepancy']:.3g}"))
    for name, part in summary.get("misfits", {}).items():
        if is_number(part.get("discrepancy")):
            found.append((f"misfit of {name}, relative to noise", f"{part['discrepancy']:.3g}"))
    for name, part in summary.get("constraints", {}).items():
        if is_number(part.get("largest_violation")):
            found.append((f"violation of {name}", f"{part['largest_violation']:.2g}"))
    counts = [("iterations", "iteration"), ("evaluations", "evaluations"), ("solves", "solves")]
    found += [(name, f"{last[column]:.0f}") for name, column in counts]
    return [*found, ("time", in_words(total_seconds(last["seconds"], summary.get("stage_seconds") or {})))]


def results(run: StoredRun) -> dict[str, str]:
    """Return the texts of the entries of summary.json that are one value, by name.

    Of an unfinished run they are those of its last iterate.
    """
    last = {PLURAL_NAMES.get(name, name): float(column[-1]) for name, column in run.history.items()}
    found = run.summary or {name: value for name, value in last.items() if name in SUMMARY_NAMES}
    single = {words(name): text_of(value) for name, value in found.items() if not _is_nested(value)}
    return {"status": run.status} | {name: text for name, text in single.items() if name not in HEADING_ENTRIES}


def settings(run: StoredRun) -> dict[str, str]:
    """Return the texts of the entries of config.json by name, the problem's options first.

    The solver that was asked for is left out where the problem chose it.
    """
    others = {name: value for name, value in run.config.items() if name not in NON_SETTINGS}
    if others.get("requested_solver") is None:
        others.pop("requested_solver", None)
    return {words(name): text_of(value) for name, value in {**run.options, **others}.items()}


def versions(run: StoredRun) -> dict[str, str]:
    """Return the versions of the packages that a run used, by name."""
    found = run.config.get("versions")
    return {name: text_of(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def two_columns(caption: str, values: Mapping[str, str]) -> TextTable:
    """Return a table of texts by name."""
    return TextTable(caption, ("", "value"), tuple(values.items()))


def nested(run: StoredRun) -> list[TextTable]:
    """Return a table for each entry of summary.json that is more than one value.

    Such are the verification, the times by stage, and the strengths that a rule tried.
    """
    found = {name: value for name, value in run.summary.items() if _is_nested(value) and name not in HEADING_ENTRIES}
    return [table for name, value in found.items() for table in _tables(words(name), value)]


def history(run: StoredRun) -> TextTable:
    """Return a table of every row of the history, or of some of many, with the first and the last."""
    count = len(run.history["iteration"])
    kept = np.unique(np.linspace(0, count - 1, min(count, MAX_HISTORY_ROWS)).round().astype(int))
    some = f"{len(kept)} of {count} rows" if len(kept) < count else f"{count} row{'s'[: count != 1]}"
    columns = [[f"{value:.6g}" for value in column[kept]] for column in run.history.values()]
    return TextTable(f"history, {some}", tuple(map(words, run.history)), tuple(zip(*columns, strict=True)))


def side_by_side(caption: str, runs: Mapping[str, Mapping[str, str]]) -> TextTable:
    """Return a table with a column for each run.

    Args:
        caption: The text above the table.
        runs: The texts of each run by name, for each run.
    """
    names = dict.fromkeys(name for values in runs.values() for name in values)
    rows = tuple((name, *(values.get(name, UNKNOWN_TEXT) for values in runs.values())) for name in names)
    return TextTable(caption, ("", *runs), rows)


def split(table: TextTable) -> tuple[TextTable, TextTable]:
    """Return a table of the rows that differ between the columns, marked, and a table of the others."""
    different = tuple(row for row in table.rows if len(set(row[1:])) > 1)
    same = tuple(row for row in table.rows if row not in different)
    return (
        TextTable(f"{table.caption} that differ", table.header, different, marked=True),
        TextTable(f"{table.caption} that are the same", table.header, same),
    )


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_list_of_objects(value)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _tables(caption: str, value: Any) -> list[TextTable]:
    """Return a table of the single values of an entry, and one for each list of objects in it."""
    if _is_list_of_objects(value):
        return [_list_of_objects(caption, value)]
    lists = {name: item for name, item in value.items() if _is_list_of_objects(item)}
    single = {words(name): text_of(item) for name, item in value.items() if name not in lists}
    found = [two_columns(caption, single)] if single else []
    return found + [_list_of_objects(f"{caption}: {words(name)}", item) for name, item in lists.items()]


def _list_of_objects(caption: str, items: Sequence[Mapping[str, Any]]) -> TextTable:
    names = list(dict.fromkeys(name for item in items for name in item))
    rows = _numbered((tuple(text_of(item.get(name)) for name in names)) for item in items)
    return TextTable(caption, ("", *map(words, names)), rows)


def _numbered(rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple((str(number), *row) for number, row in enumerate(rows, 1))
