"""The user's trust in problem files, without which those that nobody named are not executed.

A run directory names its problem file, and `pdeopt resume` executes it. Whatever the directory says of that file can
have been written by anybody, so trust is kept outside: a text file of the user's own has one line for each problem file
that was named on a command line, with the digest of what stood in it.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from contextlib import suppress
from pathlib import Path

from pdeopt.run.errors import UsageError
from pdeopt.run.problem_files.loading import problem_files


def remember_trusted(path: Path) -> None:
    """Note that this user ran a problem file; where that cannot be written, `pdeopt resume` asks."""
    with suppress(OSError, RuntimeError):
        line, record = _line(path), _record()
        if not _stands_in(record, line):
            record.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with record.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def is_trusted(path: Path) -> bool:
    """Return whether a problem file comes with pdeopt, or was run by this user, there and as it stands."""
    if path.resolve() in {known.resolve() for known in problem_files().values()}:
        return True
    with suppress(OSError, RuntimeError, ValueError):
        return _stands_in(_record(), _line(path))
    return False


def refuse_untrusted(path: Path, directory: Path, trusted: Path | None) -> None:
    """Refuse a problem file that a directory names, unless it may be executed.

    Args:
        path: The problem file.
        directory: The run directory that names it.
        trusted: The file that the user says to trust; from then on it counts as one that was run.

    Raises:
        UsageError: The file may not be executed, or ``trusted`` is another one.
    """
    if trusted is not None:
        if trusted.resolve() != path.resolve():
            raise UsageError(f"--trust names {trusted}, and {directory} goes on with {path}")
        remember_trusted(path)
    elif not is_trusted(path):
        again = f"pdeopt resume {shlex.quote(str(directory))} --trust {shlex.quote(str(path))}"
        raise UsageError(
            f"{directory} goes on with the problem file {path}, which would be executed, and which you have not run as "
            f"it stands (SHA-256 {_digest(path)}); read it, and if you trust it: {again}"
        )


def _record() -> Path:
    given = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return folder / "pdeopt" / "problem_files"


def _stands_in(record: Path, line: str) -> bool:
    with suppress(FileNotFoundError):
        return line in record.read_text(encoding="utf-8", errors="replace").split("\n")
    return False


def _line(path: Path) -> str:
    """Return the line of a file in the record: digest and place, for no other file the same.

    A line break in a name is written as an escape.
    """
    return f"{_digest(path)}  {str(path.resolve()).encode('unicode_escape').decode('ascii')}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
