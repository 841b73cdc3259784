"""The strength of the regularization as it is asked for: the name of a rule, or a number."""

from __future__ import annotations

import math

from pdeopt.errors import PdeoptError, did_you_mean

#: The names of the rules that choose the strength.
STRENGTH_RULES = ("discrepancy", "cooling", "lcurve")


class StrengthError(PdeoptError, ValueError):
    """The strength of the regularization is neither a rule's name nor a number > 0."""


def parse_strength(text: str, given_as: str = "regularization_strength") -> str | float:
    """Return one of `STRENGTH_RULES`, or the factor > 0 of the problem's regularization.

    Args:
        text: The name of a rule, or a number.
        given_as: The name under which the text was given, for messages.

    Raises:
        StrengthError: The text is neither.
    """
    word = text.strip().lower().replace("-", "").replace("_", "")
    if word in STRENGTH_RULES:
        return word
    try:
        value = float(text)
    except ValueError:
        hint = did_you_mean(word, list(STRENGTH_RULES))
        raise StrengthError(f"{given_as} {text!r}: expected {', '.join(STRENGTH_RULES)} or a number{hint}") from None
    if not (math.isfinite(value) and value > 0):
        raise StrengthError(f"{given_as} {text}: expected a number > 0{_remedy(value)}")
    return value


def _remedy(value: float) -> str:
    return "; to see the problem with hardly any regularization, try 1e-12" if value == 0 else ""
