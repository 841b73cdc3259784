"""The error of a file that cannot be used, the check that a file is there, and parts of messages."""

from __future__ import annotations

from pathlib import Path

from pdeopt.errors import PdeoptError, did_you_mean


class FileError(PdeoptError, ValueError):
    """An error that says which file of the user's cannot be used, where in it, and what was expected."""


def existing_file(path: str | Path, expected: str) -> Path:
    """Return the path of a file that is there and not empty.

    Args:
        path: The path of the file.
        expected: What the file should be, in words, for the message.

    Raises:
        FileError: There is no such file, it is empty, or it is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder; expected {expected}")
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise FileError(f"{path}: there is no such file; expected {expected}{did_you_mean(path.name, beside)}")
    if not path.stat().st_size:
        raise FileError(f"{path} is empty; expected {expected}")
    return path


def listed(items: list[str], most: int = 10) -> str:
    """Return the first items as one text, and how many more there are.

    Args:
        items: The items, in words.
        most: The largest number of items that are named.
    """
    rest = len(items) - most
    return "; ".join(items[:most]) + (f"; and {rest} more" if rest > 0 else "")
