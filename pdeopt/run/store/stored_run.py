"""The reading of runs from their directories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.errors import describe, raise_interrupt
from pdeopt.io import FileError
from pdeopt.io.npz import DAMAGED_FILE_ERRORS
from pdeopt.run.errors import UsageError
from pdeopt.run.store.directory import write_json
from pdeopt.run.store.fields import Fields, read_fields
from pdeopt.run.store.history import read_history
from pdeopt.run.store.json_file import JSON_FORMAT, check_entries, read_object, refuse_newer
from pdeopt.run.store.regular_file import is_regular
from pdeopt.run.store.views.former_version import FORMER_HEADLINE

#: The status of a run without summary.json.
UNFINISHED = "unfinished"
#: The entries that every summary.json has, on which pictures and reports rely.
REQUIRED_ENTRIES = ("problem", "status", "message", "iterations")
#: The types of the entries of summary.json; null where nothing is known.
SUMMARY_ENTRIES: Mapping[str, Any] = {
    **dict.fromkeys(("problem", "status", "message"), str),
    "iterations": int,
    **dict.fromkeys(("strength", "stage_seconds", "verification"), dict | None),
    "headline": dict,
    **dict.fromkeys(("misfits", "constraints"), dict[str, dict[str, Any]]),
    **dict.fromkeys(
        (
            *("objective", "misfit", "regularization", "gradient_norm", "seconds", "relative_error", "discrepancy"),
            *("initial_relative_error", "expected_misfit", "noise_level"),
        ),
        float | None,
    ),
}
#: The number of letters beyond which values of options are cut to what is last in them, as the name of a folder.
MAX_OPTION_LETTERS = 24


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run as its files hold it.

    Attributes:
        path: The run directory.
        config: The entries of config.json; empty where there is none.
        history: The columns of history.csv by name, each (rows,).
        summary: The entries of summary.json; empty while the run is not finished.
        fields: The arrays of result.npz; None while there is none.
    """

    path: Path
    config: dict[str, Any]
    history: Mapping[str, np.ndarray]
    summary: dict[str, Any]
    fields: Fields | None

    @property
    def status(self) -> str:
        """The status in summary.json, "unfinished" while there is none."""
        return self.summary.get("status", UNFINISHED)

    @property
    def words(self) -> list[str]:
        """The command line, without "pdeopt"; empty where it is not recorded."""
        return [str(word) for word in self.config.get("argv") or ()]

    @property
    def options(self) -> dict[str, Any]:
        """The problem's options with their values."""
        found = self.config.get("options")
        return found if isinstance(found, dict) else {}

    @property
    def given_options(self) -> dict[str, Any]:
        """The problem's options that the command line gave, and the solver that it chose, with their values."""
        words = [word.split("=")[0] for word in self.words]
        flags = {word.removeprefix("--").removeprefix("no-").replace("-", "_") for word in words if word[:2] == "--"}
        given = {name: value for name, value in self.options.items() if name in flags}
        solver = self.config.get("requested_solver")
        return given if solver is None else {**given, "solver": solver}

    @property
    def title(self) -> str:
        """The problem with the options that were given: "conductivity (n 16, noise 0.01)"."""
        name = str(self.summary.get("problem") or self.config.get("problem") or self.path.resolve().name)
        options = ", ".join(_said(option, value) for option, value in self.given_options.items())
        return f"{name} ({options})" if options else name

    @property
    def titled_summary(self) -> dict[str, Any]:
        """The summary as pictures take it, with the title for the problem's name; empty while there is none."""
        return {**self.summary, "problem": self.title} if self.summary else {}


def read_run(path: Path) -> StoredRun:
    """Return the run that a directory holds.

    Raises:
        UsageError: It is no run directory, or a file cannot be read.
    """
    history = path / "history.csv"
    if not is_regular(history):
        raise UsageError(f"{path} is not a run directory: it has no history.csv{_instead(path)}")
    with reading_errors(history):
        columns = read_history(history)
    config = read_object(path / "config.json")
    refuse_newer(path / "config.json", config)
    check_entries(path / "config.json", config, {"argv": list, "options": dict, "problem": str})
    return StoredRun(path, config, columns, read_summary(path / "summary.json"), _fields(path))


def read_runs(paths: Sequence[Path]) -> dict[str, StoredRun]:
    """Return the runs by their short names, or by their paths where these are not unique.

    A directory that is given twice is one run.

    Raises:
        UsageError: One is no run directory, or a file cannot be read.
    """
    once = list({path.resolve(): path for path in paths}.values())
    short = [path.resolve().name for path in once]
    names = short if len(set(short)) == len(short) else [str(path) for path in once]
    return {name: read_run(path) for name, path in zip(names, once, strict=True)}


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a file is read as a `UsageError`."""
    try:
        yield
    except UsageError:
        raise
    except FileError as error:  # which names the file
        raise UsageError(str(error)) from error
    except KeyError as error:
        raise UsageError(f"cannot read {path}: it has no {error}") from error
    except DAMAGED_FILE_ERRORS as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    except Exception as error:  # a file can hold anything
        raise UsageError(f"cannot read {path}: {describe(error)}") from error


@contextmanager
def drawing_errors(runs: Iterable[StoredRun]) -> Iterator[None]:
    """Raise what goes wrong while stored runs are shown as a `UsageError`.

    Their files can hold anything.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise_interrupt(error)
        which = ", ".join(str(run.path) for run in runs)
        raise UsageError(f"cannot show {which}: the files there do not fit each other ({describe(error)})") from error


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the entries of summary.json, and its format before them."""
    write_json(path, {"format": JSON_FORMAT, **summary})


def read_summary(path: Path) -> dict[str, Any]:
    """Return the entries of summary.json without its format, empty where there is none.

    Those of a former version have a headline, too.

    Raises:
        UsageError: An entry on which pictures rely is missing, or has another type, or the format is newer than this
            version of pdeopt.
    """
    summary = read_object(path)
    refuse_newer(path, summary)
    summary.pop("format", None)
    missing = [name for name in REQUIRED_ENTRIES if summary and name not in summary]
    if missing:
        raise UsageError(f"cannot read {path}: it has no {missing[0]!r}")
    check_entries(path, summary, SUMMARY_ENTRIES)
    if summary:
        summary.setdefault("headline", FORMER_HEADLINE)
    return summary


def _fields(directory: Path) -> Fields | None:
    path = directory / "result.npz"
    with reading_errors(path):
        return read_fields(path) if is_regular(path) else None


def _instead(path: Path) -> str:
    """Return what there is instead of a run, as the end of a message."""
    if not path.is_dir():
        return " (it is a file)" if path.exists() else " (there is no such folder)"
    runs = sorted(file.parent.name for file in path.glob("*/history.csv"))
    return f"; it holds runs: {path / runs[0]}" if runs else ""


def _said(option: str, value: Any) -> str:
    name = option.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    text = str(value)
    return f"{name} {text}" if len(text) <= MAX_OPTION_LETTERS else f"{name} …{Path(text).name[-MAX_OPTION_LETTERS:]}"
