"""The interface of regularization terms, and sums of terms."""

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
TRIVIAL_NULL_SPACE = "{0}"


class Regularization(Protocol):
    """A function of m (p,) whose value is a number and that JAX differentiates; `Term` states more."""

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        ...


class Term:
    """A regularization term that states its operator, its inner product and its null space.

    Terms add up, ``h1(V, 1.0) + tikhonov(V, 0.1)``, and those that are dataclasses with a field ``weight`` are scaled,
    ``2.0 * h1(V, 1.0)``; each is immutable.

    Attributes:
        weight: The factor before the term.
        inner_product: The product whose square the term is, in words: "H1 seminorm".
        null_space: The functions that the term does not see, in words: "constants"; `TRIVIAL_NULL_SPACE` where there
            are none.
        quadratic: Whether `operator` is the Hessian, whatever m is.
    """

    __array_ufunc__ = None  # NumPy numbers on the left leave the product to this class

    weight: float
    inner_product: str
    null_space: str
    quadratic = False

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        raise NotImplementedError

    def operator(self, m: np.ndarray) -> sp.csr_matrix:
        """Return the Hessian at m, (p, p), with the weight, or a matrix that stands for it.

        The matrix is symmetric positive semidefinite.
        """
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
    """A term weight · Σ terms, made by adding terms up.

    Their inner products add up, and its null space is what theirs have in common.

    Attributes:
        terms: The terms that are added up.
        weight: The factor before their sum.
    """

    terms: tuple[Term, ...]
    weight: float = 1.0

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the sum of the terms at m (p,)."""
        return self.weight * sum((term(m) for term in self.terms), jnp.zeros(()))

    def operator(self, m: np.ndarray) -> sp.csr_matrix:
        """Return the sum (p, p) of the operators of the terms at m, times the weight."""
        first, *others = (term.operator(m) for term in self.terms)
        return (self.weight * sum(others, first)).tocsr()

    @property
    def inner_product(self) -> str:  # type: ignore[override]
        """The inner products of the terms, in words."""
        return " + ".join(dict.fromkeys(term.inner_product for term in self.terms))

    @property
    def null_space(self) -> str:  # type: ignore[override]
        """The functions that no term sees, in words."""
        spaces = dict.fromkeys(term.null_space for term in self.terms)
        return TRIVIAL_NULL_SPACE if TRIVIAL_NULL_SPACE in spaces else " ∩ ".join(spaces)


def terms_of(regularization: Regularization | Sequence[Regularization]) -> tuple[Regularization, ...]:
    """Return the single terms of a term, of a sum, or of a sequence of these.

    The weight of a sum is multiplied into its terms.
    """
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
    """Return the weight of a term.

    Raises:
        InputError: The weight is negative or not a number.
    """
    if not weight >= 0:
        raise InputError(f"the regularization weight is {weight}; expected a number ≥ 0")
    return float(weight)
