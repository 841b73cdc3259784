"""What every regularization term offers, and sums of terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from pdeopt.inverse.errors import InputError

#: The null space of a term that is positive definite.
DEFINITE = "{0}"


class Regularization(Protocol):
    """A function of m (p,) whose value is a number and that JAX differentiates; `Term` states more."""

    def __call__(self, m: jax.Array) -> jax.Array: ...


class Term:
    """A regularization term that states its operator, its inner product and its null space.

    Terms add up, ``h1(V, 1.0) + tikhonov(V, 0.1)``, and those that are dataclasses with a field ``weight`` are scaled,
    ``2.0 * h1(V, 1.0)``; each is immutable.

    Attributes:
        weight: the factor before the term.
        inner_product: in words, the product whose square the term is, "H1 seminorm".
        null_space: in words, what the term does not see, "constants"; `DEFINITE` where that is nothing.
        quadratic: whether `operator` is the Hessian, whatever m is.
    """

    __array_ufunc__ = None  # NumPy numbers on the left leave the product to this class

    weight: float
    inner_product: str
    null_space: str
    quadratic = False

    def __call__(self, m: jax.Array) -> jax.Array:
        raise NotImplementedError

    def operator(self, m: np.ndarray) -> sp.csr_matrix:
        """Return the Hessian at m, or what stands for it: (p, p) symmetric positive semidefinite, with the weight."""
        raise NotImplementedError

    def __add__(self, other: Term) -> Sum:
        return Sum((*_parts(self), *_parts(other))) if isinstance(other, Term) else NotImplemented

    def __mul__(self, factor: float) -> Any:
        if np.ndim(factor):
            raise InputError(f"a regularization term is scaled by a number, got an array of shape {np.shape(factor)}")
        return replace(self, weight=nonnegative(factor * self.weight))  # type: ignore[type-var]

    __rmul__ = __mul__


@dataclass(frozen=True, eq=False)
class Sum(Term):
    """A term weight · Σ terms: inner products add up, and its null space is what theirs have in common.

    Made by adding terms up.
    """

    terms: tuple[Term, ...]
    weight: float = 1.0

    def __call__(self, m: jax.Array) -> jax.Array:
        return self.weight * sum((term(m) for term in self.terms), jnp.zeros(()))

    def operator(self, m: np.ndarray) -> sp.csr_matrix:
        """Return weight · Σ of the operators of the terms at m, (p, p)."""
        first, *others = (term.operator(m) for term in self.terms)
        return (self.weight * sum(others, first)).tocsr()

    @property
    def inner_product(self) -> str:  # type: ignore[override]
        """Return the inner products of the terms, in words."""
        return " + ".join(dict.fromkeys(term.inner_product for term in self.terms))

    @property
    def null_space(self) -> str:  # type: ignore[override]
        """Return what no term sees, in words."""
        spaces = dict.fromkeys(term.null_space for term in self.terms)
        return DEFINITE if DEFINITE in spaces else " ∩ ".join(spaces)


def terms_of(regularization: Regularization | Sequence[Regularization]) -> tuple[Regularization, ...]:
    """Return the single terms of a term, of a sum with its weight multiplied in, or of a sequence of such."""
    if isinstance(regularization, Term):
        return _parts(regularization)
    if callable(regularization):
        return (regularization,)
    return tuple(single for term in regularization for single in terms_of(term))


def _parts(term: Term) -> tuple[Term, ...]:
    if not isinstance(term, Sum):
        return (term,)
    parts = tuple(part for summand in term.terms for part in _parts(summand))
    return parts if term.weight == 1 else tuple(term.weight * part for part in parts)


def nonnegative(weight: float) -> float:
    """Return the weight of a term; raises InputError where it is negative or not a number."""
    if not weight >= 0:
        raise InputError(f"the regularization weight is {weight}; expected a number ≥ 0")
    return float(weight)
