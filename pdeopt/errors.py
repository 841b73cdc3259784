"""The root of all errors that pdeopt words itself."""

from __future__ import annotations

__all__ = ["PdeoptError"]


class PdeoptError(Exception):
    """An error that pdeopt words itself: its message says what was got and what was expected.

    All errors of the library are of this class, and most also of one of Python's own: bad input is a `ValueError`, too.

    Attributes:
        remedy: how to fix it, in the words of the caller (an option of a command, an argument in a notebook), which end
            the text; empty where the message says it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the message, with the remedy after a semicolon where there is one."""
        message = super().__str__()
        return f"{message}; {self.remedy}" if self.remedy else message
