"""Errors of the person at the keyboard, and how what goes wrong in a problem file becomes one of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from pdeopt.errors import PdeoptError


class UsageError(PdeoptError):
    """Bad input; the message is all that is printed, and the exit status is 2."""


class RunError(PdeoptError):
    """A run that could not be carried out; the message is all that is printed, and the exit status is 1."""


@contextmanager
def bad_input(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a problem file is used as one `UsageError` that names the line in that file."""
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


def raise_interrupt(error: Exception) -> None:
    """Raise the Ctrl-C that reached a host callback, where JAX makes another error of it."""
    if is_interrupt(error):
        raise KeyboardInterrupt from None


def is_interrupt(error: Exception) -> bool:
    """Whether it is what JAX makes of Ctrl-C."""
    return "KeyboardInterrupt" in str(error)


def describe(error: Exception) -> str:
    """The message alone for errors that pdeopt words itself, with the type for all others."""
    from pdeopt.fem import FEMError
    from pdeopt.inverse import InputError
    from pdeopt.io import FileError
    from pdeopt.optimize import OptimizerError
    from pdeopt.sparse import ProcessError, SolveError

    ours = (UsageError, RunError, FEMError, FileError, InputError, OptimizerError, ProcessError, SolveError)
    if isinstance(error, ours):
        return str(error)
    return f"{type(error).__name__}: {_shortened(str(error))}".rstrip(": ")


def attempt(file: str, write: Callable[[], object]) -> list[str]:
    """Write what a run can do without; returns a warning where that fails."""
    try:
        write()
    except Exception as error:
        raise_interrupt(error)
        return [f"{file} could not be written: {' '.join(describe(error).split())}"]
    return []


def _shortened(text: str) -> str:
    """Errors out of compiled code carry a whole traceback, with what matters in the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return text if len(lines) < 6 else f"{lines[0]} … {lines[-1]}"


def did_you_mean(given: str, known: list[str]) -> str:
    """A suggestion as the end of a message, empty where nothing is close."""
    plain = {_letters(name): name for name in known}
    close = get_close_matches(_letters(given), plain, n=1)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _quoted(text: str | None) -> str:
    return f" in {text.strip()!r}" if text and text.strip() else ""


def _place(error: Exception, path: Path) -> str:
    """The last line of the problem file that the error passed through, as the end of a message."""
    if f"({path.name}, line " in str(error):  # it names the line itself
        return ""
    resolved = path.resolve()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _same_file(f.filename, resolved)]
    return f" ({path.name}, line {frames[-1].lineno})" if frames else ""


def _same_file(filename: str, resolved: Path) -> bool:
    return filename.endswith(resolved.name) and Path(filename).resolve() == resolved
