"""Fallbacks from a solver that failed to the one that solved: counted, and warned of once a pattern.

A fallback is where a method was tried and failed, or where another library than the one asked for solves. A choice is
no fallback: neither the choice of the method by the kind of the values (LDLᵀ for symmetric ones, a mode that needs a
positive diagonal, PARDISO's LLᵀ that finds out whether a matrix is definite), nor the choice that `auto` makes among
the libraries that are installed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import cache

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.counters import work

#: The number of patterns that are remembered to have been warned of.
REMEMBERED_WARNINGS = 64

_log = logging.getLogger(__name__)
#: The patterns and fallbacks that were warned of, in order.
_warned: OrderedDict[tuple[SparsityPattern, str], None] = OrderedDict()


def note_fallback(pattern: SparsityPattern, failed: str, taken: str, reason: str) -> None:
    """Count a matrix that was solved by another method than the first, and warn once for its pattern.

    Args:
        pattern: The pattern of the matrix.
        failed: The name of the method that was to solve.
        taken: The name of the method that solved.
        reason: The reason of the failure, in words.
    """
    name = f"{failed} → {taken}"
    work.fallbacks[name] = work.fallbacks.get(name, 0) + 1
    if (pattern, name) in _warned:
        return
    _warned[pattern, name] = None
    if len(_warned) > REMEMBERED_WARNINGS:
        _warned.popitem(last=False)
    n = pattern.shape[0]
    _log.warning(
        "%s took over from %s for a %d x %d matrix: %s. Further ones of this pattern are only counted; choose another "
        "solver to spare the attempts",
        *(taken, failed, n, n, reason),
    )


@cache
def warn_unusable(library: str, reason: str) -> None:
    """Warn once that a library is installed but cannot be loaded, so that `auto` does without it."""
    _log.warning("%s is installed but cannot be loaded, and another library is taken: %s", library, reason)


def forget_warnings() -> None:
    """Forget the warnings so far, so that each is given again."""
    _warned.clear()
    warn_unusable.cache_clear()
