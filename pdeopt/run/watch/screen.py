"""Standard output and standard error that take every character.

A terminal or a pipe that is closed does not end the command.
"""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

#: The texts that are written where an encoding lacks a character, other than those that Unicode itself states.
STAND_INS = {
    **{"…": "...", "–": "-", "—": "-", "−": "-", "‐": "-", "·": "*", "⋅": "*", "•": "*", "×": "x", "≈": "~", "≠": "!="},
    **{"≤": "<=", "≥": ">=", "→": "->", "←": "<-", "↦": "->", "⟨": "<", "⟩": ">", "‖": "|", "∂": "d", "∇": "grad "},
    **{"∫": "int ", "∑": "sum ", "√": "sqrt ", "∞": "inf", "½": "1/2", "¼": "1/4", "⁄": "/", "°": "deg", "±": "+-"},
    **{"†": "^H", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "⁻": "^-", "∈": " in ", "ℓ": "l", "│": "|"},
    **{"²": "^2", "³": "^3", "µ": "u", "ø": "o", "ß": "ss"},
    **{"─": "-", "━": "-", "┏": "+", "┓": "+", "┗": "+", "┛": "+", "✓": "yes", "∘": "o", "∙": "*", "∩": "and"},
}
#: The errors of a stream whose reader has gone: the end of a pipe, a terminal that was closed.
READER_GONE_ERRORS = (errno.EPIPE, errno.EIO)


class RobustStream:
    """A text stream around another one, which no character and no lost reader can break."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, with stand-ins for what the encoding lacks, and return the number of its characters.

        It is written into nothing where nobody reads any more.
        """
        with self._outliving_readers():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(encodable(text, self._stream.encoding))
        return len(text)

    def flush(self) -> None:
        """Pass on what the other stream holds back."""
        with self._outliving_readers():
            self._stream.flush()

    @contextmanager
    def _outliving_readers(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in READER_GONE_ERRORS:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextmanager
def robust_streams() -> Iterator[None]:
    """Let standard output and standard error be a `RobustStream` each inside the block."""
    before = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), before, strict=True):
        if stream is not None:
            setattr(sys, name, RobustStream(stream))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def encodable(text: str, encoding: str) -> str:
    """Return a text in characters that an encoding has.

    It has "alpha" for α, "-" for −, "2" for ², and "?" at worst.
    """
    return "".join(one if _fits(one, encoding) else _stand_in(one, encoding) for one in text)


def _stand_in(character: str, encoding: str) -> str:
    if character in STAND_INS:
        return STAND_INS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK") and " LETTER " in name:
        word = name.split(" LETTER ")[1].split()[0].lower()
        return word.capitalize() if "CAPITAL" in name else word
    parts = unicodedata.normalize("NFKD", character)
    found = "".join(STAND_INS.get(part, part) for part in parts if not unicodedata.combining(part))
    return found if found != character and _fits(found, encoding) else "?"


def _fits(text: str, encoding: str) -> bool:
    with suppress(UnicodeEncodeError):
        text.encode(encoding)
        return True
    return False
