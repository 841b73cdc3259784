"""The file run.log: everything that a run says, with times; also what `--quiet` keeps from the screen."""

from __future__ import annotations

import traceback
from datetime import datetime
from pathlib import Path

from pdeopt.run.errors import UsageError
from pdeopt.run.store.regular_file import open_regular

#: The name of the log in a run directory.
LOG_FILE = "run.log"


class RunLog:
    """A text stream whose lines are kept until there is a run directory, and then appended to a file.

    Each line is on the disk when the call returns, so that a run that is killed leaves all of them. A log that can no
    longer be written ends there, and the run goes on.

    Attributes:
        failure: The error that ended the log; None while it is well.
    """

    def __init__(self) -> None:
        self.failure: OSError | UsageError | None = None
        self._path: Path | None = None
        self._lines: list[str] = []

    def open(self, path: Path) -> None:
        """Append to a file from here on, also what was said before."""
        self._path = path
        self._append()

    def write(self, text: str) -> int:
        """Write each line of a text, with the time, and return the number of its characters."""
        now = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        self._lines += [f"{now}  {line.rstrip()}\n" for line in text.splitlines() if line.strip()]
        self._append()
        return len(text)

    def flush(self) -> None:
        """Do nothing, as nothing is held back; a stream must have this method."""

    def error(self, error: BaseException) -> None:
        """Write an error with its traceback."""
        self.write("".join(traceback.format_exception(error)))

    def _append(self) -> None:
        if self._path is None or self.failure is not None:
            return
        lines, self._lines = self._lines, []  # before it is written: Ctrl-C may say something meanwhile
        try:
            with open_regular(self._path, "ab") as file:
                file.write("".join(lines).encode("utf-8", "backslashreplace"))
        except (OSError, UsageError) as error:
            self.failure = error
