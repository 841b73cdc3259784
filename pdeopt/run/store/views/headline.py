"""The problem's own numbers that stand in titles and tables beside the relative error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline_words(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the numbers in a summary, with the word for each."""
    return {name: str(word) for name, word in summary.get("headline", {}).items()}


def headline_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers that are known, as texts: word and number."""
    words = headline_words(summary)
    return [(words[name], in_short(value)) for name, value in headline_numbers(summary).items()]


def headline_numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of the headline that are known, by name."""
    given = {name: summary.get(name) for name in headline_words(summary)}
    return {
        name: value for name, value in given.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def in_short(value: float) -> str:
    """Return a number with three decimals, or three digits where these do not show it.

    A whole number is written as it is.
    """
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"
