"""The errors of the person at the keyboard, and the wording of what goes wrong in a problem file."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pdeopt.errors import PdeoptError, describe, raise_interrupt


class UsageError(PdeoptError):
    """Bad input; the message is all that is printed, and the exit status is 2."""


class RunError(PdeoptError):
    """A run that could not be carried out; the message is all that is printed, and the exit status is 1."""


@contextmanager
def problem_file_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a problem file is used as a `UsageError` that names the line in it.

    Args:
        path: The problem file.

    Raises:
        UsageError: Anything goes wrong inside the block.
    """
    try:
        yield
    except UsageError:
        raise
    except (RuntimeError, ValueError) as error:
        raise_interrupt(error)
        raise UsageError(f"{describe(error)}{_place(error, path)}") from error
    except SyntaxError as error:
        where = f"{error.filename or path}, line {error.lineno}"
        raise UsageError(f"{where}: {type(error).__name__}: {error.msg}{_quoted(error.text)}") from error
    except Exception as error:
        raise UsageError(f"{describe(error)}{_place(error, path)}") from error


def try_writing(file: str, write: Callable[[], object]) -> list[str]:
    """Write a file that a run can do without; return a warning where that fails.

    Args:
        file: The name of the file, for the warning.
        write: Writes the file.

    Returns:
        No text, or one warning.
    """
    try:
        write()
    except Exception as error:
        raise_interrupt(error)
        return [f"{file} could not be written: {' '.join(describe(error).split())}"]
    return []


def _quoted(text: str | None) -> str:
    return f" in {text.strip()!r}" if text and text.strip() else ""


def _place(error: Exception, path: Path) -> str:
    """Return the last line of the problem file that an error passed through, as the end of a message."""
    if f"({path.name}, line " in str(error):  # it names the line itself
        return ""
    resolved = path.resolve()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _same_file(f.filename, resolved)]
    return f" ({path.name}, line {frames[-1].lineno})" if frames else ""


def _same_file(filename: str, resolved: Path) -> bool:
    return filename.endswith(resolved.name) and Path(filename).resolve() == resolved
