"""The problem's own numbers that stand in titles and tables beside the relative error, as summary.json names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline_words(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the numbers in a summary, with the word for each."""
    return {name: str(word) for name, word in summary.get("headline", {}).items()}


def headline_facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers that are known, as texts: word and number."""
    given = [(word, summary[name]) for name, word in headline_words(summary).items() if name in summary]
    return [(word, in_short(value)) for word, value in given if type(value) in (int, float)]  # true is no number


def in_short(value: float) -> str:
    """Return a number with three decimals, or three digits where these do not show it; a whole number as it is."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"
