"""Files that cannot be used, and how a file that is not there is spoken of."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from pdeopt.errors import PdeoptError


class FileError(PdeoptError, ValueError):
    """A file of the user's that cannot be used: its name, the place in it, what was expected."""


def existing_file(path: str | Path, expected: str) -> Path:
    """Return the path of a file. Raises FileError where there is none; ``expected``: what it should be."""
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; expected {expected}")
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise FileError(f"{path}: there is no such file; expected {expected}{did_you_mean(path.name, beside)}")
    if not path.stat().st_size:
        raise FileError(f"{path} is empty; expected {expected}")
    return path


def did_you_mean(given: str, known: list[str]) -> str:
    """A suggestion as the end of a message, empty where nothing is close."""
    close = get_close_matches(given, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def listed(items: list[str], most: int = 10) -> str:
    """Return the first items, and how many more there are."""
    rest = len(items) - most
    return "; ".join(items[:most]) + (f"; and {rest} more" if rest > 0 else "")
