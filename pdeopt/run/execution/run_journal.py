"""The files that a run writes as it goes, from which it can go on after whatever ends it."""

from __future__ import annotations

import errno
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pdeopt
from pdeopt.inversion.recorder import Recorder
from pdeopt.run.errors import RunError
from pdeopt.run.store.checkpoint import CHECKPOINT_FILE, CHECKPOINT_FORMAT, Checkpoint, file_digest, write_checkpoint
from pdeopt.run.store.directory import remove_final_files
from pdeopt.run.store.evaluation_log import EVALUATIONS_FILE, EvaluationFile
from pdeopt.run.store.history import write_history

#: The number of iterations after which a checkpoint is written.
CHECKPOINT_ITERATIONS = 10
#: The time after which a checkpoint is written, in seconds.
CHECKPOINT_SECONDS = 60.0


class RunJournal:
    """A journal that writes evaluations.bin, history.csv and checkpoint.npz.

    Attributes:
        log: The log of answers that the run goes on from.
        directory: The run directory; None before the first row.
    """

    def __init__(self, make: Callable[[], Path], source: Path) -> None:
        """Begin to keep answers in memory.

        Args:
            make: Makes the run directory, and returns its path.
            source: The problem file.
        """
        self.log = EvaluationFile()
        self.directory: Path | None = None
        self._make = make
        self._problem, self._source = source.stem, file_digest(source)
        self._due = 0.0

    def open(self, departed: Callable[[], None] = lambda: None) -> None:
        """Make the run directory, and keep answers in it from now on.

        Args:
            departed: Called where the optimizer asks for something else than before; see `EvaluationFile.open`.
        """
        self.directory = self._make()
        self.log.open(self.directory / EVALUATIONS_FILE, departed)

    def row(self, recorder: Recorder) -> None:
        """Keep a new row of the history; nothing while answers of a former run are given back."""
        if self.log.replaying:
            return
        if not self.log.is_open:
            self.open()
        assert self.directory is not None
        remove_final_files(self.directory)
        write_history(self.directory / "history.csv", recorder.rows)
        if recorder.rows[-1].iteration % CHECKPOINT_ITERATIONS == 0 or time.monotonic() > self._due:
            self.checkpoint(recorder)

    def checkpoint(self, recorder: Recorder) -> None:
        """Write a checkpoint of the last iterate."""
        first, last = recorder.rows[0], recorder.rows[-1]
        assert recorder.m is not None
        assert self.directory is not None
        checkpoint = Checkpoint(
            format=CHECKPOINT_FORMAT,
            version=pdeopt.__version__,
            problem=self._problem,
            source=self._source,
            initial_misfit=first.misfit,
            parameter=recorder.m,
            iteration=last.iteration,
            objective=last.objective,
            regularization=last.regularization,
            gradient_norm=last.gradient_norm,
            strength=last.strength,
            seconds=last.seconds,
        )
        write_checkpoint(self.directory / CHECKPOINT_FILE, checkpoint)
        self._due = time.monotonic() + CHECKPOINT_SECONDS

    def finish(self, recorder: Recorder) -> None:
        """Keep the end of the minimization: the history, and a last checkpoint."""
        assert self.directory is not None
        write_history(self.directory / "history.csv", recorder.rows)
        self.checkpoint(recorder)

    def discard(self) -> None:
        """Remove the answers that a run goes on from, when it has come to its end and all is written."""
        assert self.directory is not None
        (self.directory / EVALUATIONS_FILE).unlink(missing_ok=True)


@contextmanager
def with_resume_hint(journal: RunJournal) -> Iterator[None]:
    """Let errors of the disk and Ctrl-C inside the block say how to go on with the run.

    The journal's files are closed at the end of the block.

    Args:
        journal: Keeps what the run goes on from.

    Raises:
        RunError: The run directory can no longer be written.
        KeyboardInterrupt: The user interrupted the run.
    """
    try:
        yield
    except OSError as error:
        if journal.directory is None or not journal.log.is_open:
            raise
        remedy = "make room, then go on" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "go on"
        where, what = journal.directory, error.strerror or error
        message = f"cannot write to {where}: {what}; what was reached is kept: {remedy} with: {resume_command(where)}"
        raise RunError(message) from error
    except KeyboardInterrupt:
        if journal.directory is None or not journal.log.is_open:
            raise
        raise KeyboardInterrupt(f"interrupted; go on with: {resume_command(journal.directory)}") from None
    finally:
        journal.log.close()


def resume_command(directory: Path, more: str = "") -> str:
    """Return the command that goes on with a run.

    Args:
        directory: The run directory.
        more: What is added to the command, with a space before it.
    """
    return f"pdeopt resume {shlex.quote(str(directory))}{more}"
