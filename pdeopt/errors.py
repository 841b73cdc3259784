"""The root of all errors of pdeopt, and how errors are put into words."""

from __future__ import annotations

from difflib import get_close_matches


class PdeoptError(Exception):
    """An error that pdeopt words itself: what was got, what was expected, how to fix it."""


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
