"""Continuation in the smoothing of regularization terms: easier functionals first."""

from __future__ import annotations

from pdeopt.inverse.functional.reduced_functional import ReducedFunctional
from pdeopt.inverse.regularization import Term


def continuation(functional: ReducedFunctional) -> list[ReducedFunctional]:
    """Return the functionals to minimize, each from the minimum of the one before; the given one is last.

    Each factor in the `Term.continuation` of its terms makes one more. (Chan, Zhou, Chan, "Continuation method for
    total variation denoising problems", 1995.)
    """
    terms = functional.regularization_terms
    count = max((len(term.continuation) for term in terms), default=0)
    stages = [tuple(_at_stage(term, k - count) for term in terms) for k in range(count)]
    return [*map(functional.with_regularization, stages), functional]


def _at_stage(term: Term, from_the_end: int) -> Term:
    """Return a term as it is in one stage of continuation.

    Args:
        term: The term; it is returned itself where it has no such stage.
        from_the_end: The place of the stage's factor in the continuation, −1 for the last one.
    """
    if len(term.continuation) < -from_the_end:
        return term
    return term.at_stage(term.continuation[from_the_end])
