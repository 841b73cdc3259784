"""The file of what a functional returned to an optimizer, in order, from which a stopped run goes on.

All that an optimizer remembers (pairs of L-BFGS, a trust radius, damping, the level of a rule) follows from the answers
that it was given. Given them again, it comes back to where it was, whatever optimizer it is and to the last bit, at
the cost of its own arithmetic. Answers are looked at as a memo: where a question is another one than the one kept,
nothing kept is used from there on, so that no wrong number can come of them.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from pdeopt.inversion.evaluation_log import Kind, LoggedEvaluation
from pdeopt.run.errors import UsageError
from pdeopt.run.store.file_lock import try_lock
from pdeopt.run.store.regular_file import open_regular

#: The file of a run directory that holds the answers.
EVALUATIONS_FILE = "evaluations.bin"
#: The head of a record: a mark, the size in bytes of the answer in MessagePack, and its checksum.
RECORD_HEAD = struct.Struct("<4sQI")
#: The mark at the beginning of every record; that of the version before was pde1.
RECORD_MARK = b"pde2"
#: The writer and the reader of answers, whose arrays are bytes of 64-bit numbers; the reader checks all types.
RECORD_ENCODER = msgspec.msgpack.Encoder(enc_hook=lambda array: np.asarray(array, "<f8").tobytes())
RECORD_DECODER = msgspec.msgpack.Decoder(
    LoggedEvaluation, dec_hook=lambda _, content: np.frombuffer(content, "<f8").astype(float)
)


class EvaluationFile:
    """A log that keeps answers in memory until there is a file, and then in the file.

    It gives the answers that the file holds back first. A record is written at once and at the end of the file, with a
    checksum: what a killed process left unfinished is told from what is whole, and cut off; so is what no run has
    written.
    """

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._reader: BinaryIO | None = None
        self._waiting: list[LoggedEvaluation] = []
        self._next: LoggedEvaluation | None = None
        self._end = 0  # the place in the file where the records that were given back end
        self._departed: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        """True where there is a file."""
        return self._file is not None

    @property
    def replaying(self) -> bool:
        """True while an answer of the file is still to be given back."""
        return self._next is not None

    def open(self, path: Path, departed: Callable[[], None] = lambda: None) -> None:
        """Keep answers in this file from now on, and give back first those that it holds.

        Args:
            path: The file; it is made where there is none.
            departed: Called where another question comes than the one that was answered.

        Raises:
            UsageError: Another process writes the file.
        """
        self._file = open_regular(path, "r+b")
        if not try_lock(self._file.fileno()):
            raise UsageError(f"{path.parent} is being written by another process; wait until it has ended")
        self._departed = departed
        self._reader = open_regular(path, "rb")
        self._advance()
        for answer in self._waiting:
            self._write(answer)
        self._waiting.clear()

    def recall(self, kind: Kind, question: str, size: int | None = None) -> LoggedEvaluation | None:
        """Return the next answer of the file where it belongs to this question, None otherwise.

        From the first other question on, None is returned to all.

        Args:
            kind: The kind of the answer.
            question: The digest of what is asked.
            size: The size p of the answer's array, where it has one; None for any.
        """
        answer = self._next
        if answer is None:
            return None
        fits = size is None or answer.array is None or answer.array.shape == (size,)
        if (answer.kind, answer.question) != (kind, question) or not fits:
            self._next = None
            self._cut()
            self._departed()
            return None
        self._end = self._reader.tell() if self._reader else 0
        self._advance()
        return answer

    def keep(self, answer: LoggedEvaluation) -> None:
        """Keep an answer, in memory where there is no file yet.

        Raises:
            OSError: It cannot be written; what was kept before is whole then.
        """
        if self._file is None:
            self._waiting.append(answer)
        else:
            self._write(answer)

    def close(self) -> None:
        """Close the file, if there is one."""
        for file in (self._file, self._reader):
            if file is not None:
                file.close()

    def _advance(self) -> None:
        assert self._reader is not None
        self._next = _read(self._reader)
        if self._next is None:
            self._cut()

    def _cut(self) -> None:
        """Cut off all that stands behind the records that were given back."""
        assert self._file is not None
        self._file.truncate(self._end)

    def _write(self, answer: LoggedEvaluation) -> None:
        assert self._file is not None
        start = self._file.seek(0, os.SEEK_END)
        left = memoryview(_record(answer))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(start)
            raise


def is_being_written(path: Path) -> bool:
    """Return whether a process keeps its answers in this file; False where there is no file."""
    try:
        with open_regular(path, "rb") as file:
            return not try_lock(file.fileno())
    except (OSError, UsageError):
        return False


def _record(answer: LoggedEvaluation) -> bytes:
    content = RECORD_ENCODER.encode(answer)
    return RECORD_HEAD.pack(RECORD_MARK, len(content), zlib.crc32(content)) + content


def _read(file: BinaryIO) -> LoggedEvaluation | None:
    """Return the next record of a file.

    It is None at the end, and where the record is not whole, or is none that a run writes.
    """
    head = file.read(RECORD_HEAD.size)
    if len(head) < RECORD_HEAD.size:
        return None
    mark, size, checksum = RECORD_HEAD.unpack(head)
    if mark != RECORD_MARK or size > os.fstat(file.fileno()).st_size - file.tell():
        return None
    content = file.read(size)
    if zlib.crc32(content) != checksum:
        return None
    try:
        answer = RECORD_DECODER.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    is_whole = answer.kind == "product" or answer.array is None or len(answer.numbers) >= 3
    return answer if is_whole else None
