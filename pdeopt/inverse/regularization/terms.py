"""The interface of regularization terms, and sums of terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from pdeopt.errors import PdeoptError
from pdeopt.inverse.errors import InputError, refuse_incomplete

#: The null space of a term that is positive definite.
TRIVIAL_NULL_SPACE = "{0}"
#: The members of a `Term` that a plain function may have: nothing but its own value depends on them.
HARMLESS = frozenset({"name", "weight"})


class Regularization(Protocol):
    """A function of m (p,) whose value is a number and that JAX differentiates; `Term` states more."""

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        ...


class Term:
    """A regularization term, which may state its operator, its inner product and its null space.

    A subclass has `__call__`, and states what is not the default: a method in the place of a property that is None
    here. Terms add up, ``h1(V, 1.0) + tikhonov(V, 0.1)``, and those that are dataclasses with a field ``weight`` are
    scaled, ``2.0 * h1(V, 1.0)``; each is immutable. A dataclass with required fields after its weight says
    ``weight: float = field()``.

    Attributes:
        weight: The factor before the term.
        inner_product: The product whose square the term is, in words: "H1 seminorm".
        null_space: The functions that the term does not see, in words: "constants"; `TRIVIAL_NULL_SPACE` where there
            are none.
        quadratic: Whether `operator` is the Hessian, whatever m is.
        continuation: The factors of its smoothing to minimize with first, in this order; `at_stage` applies one.
        names: The names of the parameters that the term couples, of which it takes a dict; empty for a term of one.
    """

    __array_ufunc__ = None  # NumPy numbers on the left leave the product to this class

    weight: float = 1.0
    inner_product: str = "not known"
    null_space: str = "not known"
    quadratic: bool = False
    continuation: tuple[float, ...] = ()
    names: tuple[str, ...] = ()

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        raise NotImplementedError

    @property
    def operator(self) -> Callable[..., sp.csr_matrix] | None:
        """The function m ↦ the Hessian at m, (p, p), with the weight, or a matrix that stands for it.

        The matrix is symmetric positive semidefinite. None stands for a term that is only differentiated. With
        `next_dual`, the function takes a dual as well, ``operator(m, dual)``.
        """
        return None

    @property
    def first_dual(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The function m ↦ the dual at the first iterate; None where there is no primal-dual model."""
        return None

    @property
    def next_dual(self) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None:
        """The function (dual, iterate before, m) ↦ the dual at m; None where there is no primal-dual model.

        See `TotalVariation.next_dual`.
        """
        return None

    @property
    def l1_weights(self) -> np.ndarray | None:
        """The weights w (p,), where the term is ``Σ_i w_i |m_i|``; None for a term without kinks."""
        return None

    def on(self, *names: str) -> Term:
        """Return the term of one of several parameters by name, or of several as a dict.

        Args:
            names: The names of `Parameters`. With one, the term is called with its m (p,), with more with a dict of
                theirs.

        Raises:
            InputError: There are no names, or not different ones.
        """
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise InputError(f"a term is given as one of the parameters {names}; expected names, as .on('sigma')")
        return OnParameters(self, names, by_name=len(names) != 1)

    def at_stage(self, factor: float) -> Term:
        """Return the term of one stage of its `continuation`: its smoothing times a factor.

        It is the term itself where it has no smoothing.

        Args:
            factor: A factor in `continuation`.
        """
        return self

    @property
    def is_definite(self) -> bool:
        """It is true where the term sees every function, and has a weight."""
        return self.null_space == TRIVIAL_NULL_SPACE and self.weight > 0

    @property
    def name(self) -> str:
        """The name of the term in messages, which is that of its class."""
        return type(self).__name__

    def __add__(self, other: Term) -> Sum:
        return Sum((*_parts(self), *_parts(other))) if isinstance(other, Term) else NotImplemented

    def __mul__(self, factor: float) -> Any:
        if np.ndim(factor):
            raise InputError(f"a regularization term is scaled by a number, got an array of shape {np.shape(factor)}")
        if not is_dataclass(self) or "weight" not in {one.name for one in fields(self)}:
            kind = type(self).__name__
            raise InputError(
                f"the regularization term {kind} cannot be scaled; make it a dataclass with a field weight, by which "
                "__call__ multiplies"
            )
        return replace(self, weight=nonnegative(factor * self.weight))

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

    def on(self, *names: str) -> Sum:
        """Return the sum of the terms of one of several parameters, or of several as a dict."""
        return replace(self, terms=tuple(term.on(*names) for term in self.terms))

    @property
    def operator(self) -> Callable[..., sp.csr_matrix] | None:
        """The function m ↦ the weighted sum (p, p) of the terms' operators; None where one has none."""
        operators = [term.operator for term in self.terms if term.operator is not None]
        if len(operators) < len(self.terms):
            return None

        def summed(m: np.ndarray) -> sp.csr_matrix:
            first, *others = (operator(m) for operator in operators)
            return (self.weight * sum(others, first)).tocsr()

        return summed

    @property
    def inner_product(self) -> str:  # type: ignore[override]
        """The inner products of the terms, in words."""
        return " + ".join(dict.fromkeys(term.inner_product for term in self.terms))

    @property
    def null_space(self) -> str:  # type: ignore[override]
        """The functions that no term sees, in words."""
        spaces = dict.fromkeys(term.null_space for term in self.terms)
        return TRIVIAL_NULL_SPACE if TRIVIAL_NULL_SPACE in spaces else " ∩ ".join(spaces)


@dataclass(frozen=True, eq=False)
class OnParameters(Term):
    """A term of some of several parameters, as a function of the m of all.

    `Term.on` makes it, and a reduced functional with `Parameters` tells it where they are in m.

    Attributes:
        term: The term of m (q,) of one parameter, or of a dict of those of several.
        names: The names of the parameters.
        by_name: Whether the term is called with a dict, and not with the m of one parameter.
        slices: The places of all parameters in m, by name; empty before they are known.
    """

    term: Term
    names: tuple[str, ...] = field()
    by_name: bool = False
    slices: Mapping[str, slice] = field(default_factory=dict)

    def on(self, *names: str) -> Term:
        """Refuse another parameter.

        Raises:
            InputError: Always: the term says of which parameters it is.
        """
        raise InputError(f"the regularization {self.name} says already of which parameters it is")

    def located(self, slices: Mapping[str, slice]) -> OnParameters:
        """Return the term where all parameters have given places in m.

        Raises:
            InputError: A name is not one of theirs, or the term is not one of their m.
        """
        unknown = [name for name in self.names if name not in slices]
        if unknown:
            raise InputError(
                f"the regularization {self.name} is one of {unknown[0]!r}; the parameters are {', '.join(slices)}"
            )
        found = replace(self, slices=slices)
        sizes = {name: where.stop - where.start for name, where in slices.items()}
        try:
            jax.eval_shape(found, jax.ShapeDtypeStruct((sum(sizes.values()),), np.float64))
        except (TypeError, ValueError, PdeoptError) as error:
            given = {name: sizes[name] for name in self.names}
            got = "a dict of the parts of m" if self.by_name else "the part of m"
            raise InputError(
                f"the regularization {self.name} cannot be computed; it gets {got}, of the sizes {given}: {error}"
            ) from error
        return found

    def _taken(self, m: Any) -> Any:
        """Return what the term is called with, for the m (p,) of all parameters."""
        if not self.slices:
            raise InputError(
                f"the regularization {self.name} is one of {', '.join(self.names)}, and the functional has no "
                "parameters by name; give it Parameters({...}) as its parametrization"
            )
        if self.by_name:
            return {name: m[self.slices[name]] for name in self.names}
        return m[self.slices[self.names[0]]]

    @cached_property
    def indices(self) -> np.ndarray:
        """The numbers of the parameters' entries among all of m, (q,)."""
        return np.concatenate([np.arange(self.slices[name].start, self.slices[name].stop) for name in self.names])

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at the m (p,) of all parameters."""
        return self.term(self._taken(m))

    def __mul__(self, factor: float) -> OnParameters:
        return replace(self, term=factor * self.term)

    __rmul__ = __mul__

    @property
    def weight(self) -> float:  # type: ignore[override]
        """The factor before the term."""
        return self.term.weight

    @property
    def operator(self) -> Callable[..., sp.csr_matrix] | None:
        """The function m ↦ the term's matrix among those of all parameters, (p, p); None where it has none."""
        operator = self.term.operator
        if operator is None:
            return None

        def among_all(m: np.ndarray, *dual: np.ndarray) -> sp.csr_matrix:
            own = sp.coo_matrix(operator(self._taken(m), *dual))
            return sp.csr_matrix((own.data, (self.indices[own.row], self.indices[own.col])), (len(m), len(m)))

        return among_all

    @property
    def first_dual(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """The function m ↦ the dual at the first iterate; None where there is no primal-dual model."""
        first = self.term.first_dual
        return None if first is None else lambda m: first(self._taken(m))

    @property
    def next_dual(self) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None:
        """The function (dual, iterate before, m) ↦ the dual at m; None where there is no primal-dual model."""
        following = self.term.next_dual
        if following is None:
            return None
        return lambda dual, before, m: following(dual, self._taken(before), self._taken(m))

    @property
    def l1_weights(self) -> np.ndarray | None:
        """The weights w (p,) of all of m, where the term is ``Σ_i w_i |m_i|``; None for a term without kinks."""
        own = self.term.l1_weights
        if own is None:
            return None
        weights = np.zeros(max(where.stop for where in self.slices.values()))
        weights[self.indices] = own
        return weights

    def at_stage(self, factor: float) -> OnParameters:
        """Return the term of one stage of its `continuation`."""
        return replace(self, term=self.term.at_stage(factor))

    @property
    def continuation(self) -> tuple[float, ...]:  # type: ignore[override]
        """The factors of its smoothing to minimize with first."""
        return self.term.continuation

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """It is true where `operator` is the Hessian, whatever m is."""
        return self.term.quadratic

    @property
    def inner_product(self) -> str:  # type: ignore[override]
        """The product whose square the term is, in words."""
        return f"{self.term.inner_product} of {', '.join(self.names)}"

    @property
    def name(self) -> str:
        """The name of the term in messages."""
        return f"{self.term.name} of {', '.join(self.names)}"


@dataclass(frozen=True, eq=False)
class FunctionTerm(Term):
    """A term that a plain function of m computes, times a weight; nothing else is known of it.

    Attributes:
        function: The function m ↦ the term with the weight 1.
        weight: The factor before it.
    """

    function: Regularization
    weight: float = 1.0

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        value = self.function(m)
        return value if self.weight == 1 else self.weight * value

    @property
    def name(self) -> str:
        """The name of the function, in messages."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))


def as_term(given: Regularization) -> Term:
    """Return what is given as a regularization term as a `Term`; one that is a Term is returned itself.

    Raises:
        InputError: The object is no Term, and states more than a plain function has, as an operator.
    """
    if isinstance(given, Term):
        return given
    refuse_incomplete(given, Term, "pdeopt.inverse.Term", HARMLESS)
    return FunctionTerm(given)


def terms_of(regularization: Regularization | Sequence[Regularization]) -> tuple[Term, ...]:
    """Return the single terms of a term, of a sum, or of a sequence of these.

    The weight of a sum is multiplied into its terms, and plain functions become `FunctionTerm` objects.
    """
    if callable(regularization):
        return _parts(as_term(regularization))
    return tuple(single for term in regularization for single in terms_of(term))


def _parts(term: Term) -> tuple[Term, ...]:
    if not isinstance(term, Sum):
        return (term,)
    parts = tuple(part for summand in term.terms for part in _parts(summand))
    return parts if term.weight == 1 else tuple(term.weight * part for part in parts)


def located(regularization: Term, slices: Mapping[str, slice]) -> Term:
    """Return a regularization of several parameters as one of the m of all.

    A plain function that says of no parameter that it is one of it takes the dict of all.

    Args:
        regularization: The regularization.
        slices: The places of the parameters in m, by name.

    Raises:
        InputError: A term does not say of which parameter it is, or of one that is not there.
    """
    if isinstance(regularization, Sum):
        return replace(regularization, terms=tuple(located(term, slices) for term in regularization.terms))
    if isinstance(regularization, OnParameters):
        return regularization.located(slices)
    if regularization.names:
        return OnParameters(regularization, regularization.names, True).located(slices)
    if isinstance(regularization, FunctionTerm):
        return OnParameters(regularization, tuple(slices), True).located(slices)
    first = next(iter(slices))
    raise InputError(
        f"the regularization {regularization.name} does not say of which parameter it is, {', '.join(slices)}; give it "
        f"as h1(V, 1.0).on({first!r})"
    )


def nonnegative(weight: float) -> float:
    """Return the weight of a term.

    Raises:
        InputError: The weight is negative or not a number.
    """
    if not weight >= 0:
        raise InputError(f"the regularization weight is {weight}; expected a number ≥ 0")
    return float(weight)
