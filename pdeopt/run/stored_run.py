"""Runs as they stand in their directories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.io.npz import DAMAGED
from pdeopt.run.errors import UsageError
from pdeopt.run.fields import Fields, read_fields
from pdeopt.run.recorder import read_history

UNFINISHED = "unfinished"
#: What every summary.json has, and pictures and reports rely on.
REQUIRED = ("problem", "status", "message", "iterations")
#: Longer values of options are cut to what is last in them, as the name of a folder.
LONG = 24


@dataclass(frozen=True, eq=False)
class StoredRun:
    """What the files of a run say.

    Attributes:
        path: the directory.
        config: of config.json; empty where there is none.
        history: column → values (rows,).
        summary: of summary.json; empty while the run is not finished.
        fields: of result.npz; None while there is none.
    """

    path: Path
    config: dict[str, Any]
    history: Mapping[str, np.ndarray]
    summary: dict[str, Any]
    fields: Fields | None

    @property
    def status(self) -> str:
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
        """The problem's options that the command line gave, with their values."""
        words = [word.split("=")[0] for word in self.words]
        flags = {word.removeprefix("--").removeprefix("no-").replace("-", "_") for word in words if word[:2] == "--"}
        return {name: value for name, value in self.options.items() if name in flags}

    @property
    def title(self) -> str:
        """The problem with the options that were given: "eit_tank (target 1, level 4)"."""
        name = str(self.summary.get("problem") or self.config.get("problem") or self.path.resolve().name)
        options = ", ".join(_said(option, value) for option, value in self.given_options.items())
        return f"{name} ({options})" if options else name

    @property
    def titled_summary(self) -> dict[str, Any]:
        """The summary as pictures take it, with the title for the problem's name; empty while there is none."""
        return {**self.summary, "problem": self.title} if self.summary else {}


def read_run(path: Path) -> StoredRun:
    """What stands in a run directory. Raises UsageError where it is none, or where a file cannot be read."""
    history = path / "history.csv"
    if not history.is_file():
        raise UsageError(f"{path} is not a run directory: it has no history.csv{_instead(path)}")
    with readable(history):
        columns = read_history(history)
    return StoredRun(path, read_object(path / "config.json"), columns, _summary(path), _fields(path))


def read_runs(paths: Sequence[Path]) -> dict[str, StoredRun]:
    """By their short names where these are unique; a directory that is given twice is one run. Raises UsageError."""
    once = list({path.resolve(): path for path in paths}.values())
    short = [path.resolve().name for path in once]
    names = short if len(set(short)) == len(short) else [str(path) for path in once]
    return {name: read_run(path) for name, path in zip(names, once, strict=True)}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; empty where there is no file. Raises UsageError."""
    if not path.is_file():
        return {}
    with readable(path):
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a JSON {type(values).__name__}; expected an object {{…}}")
        return values


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a file is read as a `UsageError`."""
    try:
        yield
    except KeyError as error:
        raise UsageError(f"cannot read {path}: it has no {error}") from error
    except DAMAGED as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _summary(directory: Path) -> dict[str, Any]:
    path = directory / "summary.json"
    summary = read_object(path)
    missing = [name for name in REQUIRED if name not in summary]
    if path.is_file() and missing:
        raise UsageError(f"cannot read {path}: it has no {missing[0]!r}")
    return summary


def _fields(directory: Path) -> Fields | None:
    path = directory / "result.npz"
    with readable(path):
        return read_fields(path) if path.is_file() else None


def _instead(path: Path) -> str:
    """What is there, as the end of a message."""
    if not path.is_dir():
        return " (it is a file)" if path.exists() else " (there is no such folder)"
    runs = sorted(file.parent.name for file in path.glob("*/history.csv"))
    return f"; it holds runs: {path / runs[0]}" if runs else ""


def _said(option: str, value: Any) -> str:
    name = option.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"no {name}"
    text = str(value)
    return f"{name} {text}" if len(text) <= LONG else f"{name} …{Path(text).name[-LONG:]}"
