"""The error of bad input to an inverse problem."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pdeopt.errors import PdeoptError


class InputError(PdeoptError, ValueError):
    """An error of data, options or initial values that do not fit."""


def refuse_incomplete(given: Any, interface: type, full_name: str, harmless: Set[str] = frozenset()) -> None:
    """Refuse an object that is not of a class, but states some of its members, which would be lost.

    Args:
        given: The object.
        interface: The class, whose members have defaults.
        full_name: The name of the class that is imported, as "pdeopt.inverse.Misfit".
        harmless: The members that the object may have without being of the class.

    Raises:
        InputError: It states one.
    """
    members = {name for name in dir(interface) if not name.startswith("_")}
    kind, stated = type(given).__name__, members & set(dir(given))
    if stated - harmless:
        lacking = f", and lacks {', '.join(sorted(members - stated))}" if members - stated else ""
        raise InputError(
            f"{kind} states {', '.join(sorted(stated))}, but is no {full_name}{lacking}; derive it from that, which "
            f"has defaults: class {kind}({interface.__name__})"
        )
