"""The root of all errors of pdeopt, and how errors are put into words."""

from __future__ import annotations

from difflib import get_close_matches

__all__ = ["PdeoptError"]


class PdeoptError(Exception):
    """An error that pdeopt words itself: its message says what was got and what was expected.

    All errors of the library are of this class, and most also of one of Python's own: bad input is a `ValueError`, too.

    Attributes:
        remedy: How to fix it, in the words of the caller (an option of a command, an argument in a notebook), which end
            the text; empty where the message says it.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the message, with the remedy after a semicolon where there is one."""
        message = super().__str__()
        if not self.remedy:
            return message
        return f"{message}\n  remedy:  {self.remedy}" if "\n" in message else f"{message}; {self.remedy}"


def describe(error: Exception) -> str:
    """Return the message alone for errors that pdeopt words itself, with the type for all others."""
    if isinstance(error, PdeoptError):
        return str(error)
    return f"{type(error).__name__}: {_shortened(str(error))}".rstrip(": ")


def raise_interrupt(error: Exception) -> None:
    """Raise the Ctrl-C that reached a host callback, where JAX makes another error of it."""
    if is_interrupt(error):
        raise KeyboardInterrupt from None


def is_interrupt(error: Exception) -> bool:
    """Return whether it is what JAX makes of Ctrl-C."""
    return "KeyboardInterrupt" in str(error)


def did_you_mean(given: str, known: list[str]) -> str:
    """Return a suggestion as the end of a message, empty where nothing is close."""
    plain = {_letters(name): name for name in known}
    close = get_close_matches(_letters(given), plain, n=1)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _shortened(text: str) -> str:
    """Errors out of compiled code carry a whole traceback, with what matters in the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    return text if len(lines) < 6 else f"{lines[0]} … {lines[-1]}"
