"""The parts of a reduced functional, traced once: all its programs are made of one and the same trace.

A function that JAX traces reads globals, closures and arrays when it is traced, and never again. Were each program of
a functional traced from the user's functions at its own first use, its value and its derivative could belong to
different values of a global variable. So the user's functions are called once, all in a row, and every program is a
transformation of what they did then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.tracing.form_tracing import tracing_errors
from pdeopt.fem.tracing.jaxpr_constants import with_copied_arrays
from pdeopt.fem.tracing.jaxpr_digest import fingerprint
from pdeopt.inverse.constraint import Constraint
from pdeopt.inverse.data.in_time import readings_of
from pdeopt.inverse.data.misfit import Misfit
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization import Term
from pdeopt.inverse.unknowns.parametrization import Parametrization
from pdeopt.pde import FunctionState, StateEquation


@dataclass(frozen=True, eq=False)
class TracedFunction:
    """A function of pytrees that reads nothing from outside any more. It is made by `traced`.

    Attributes:
        jaxpr: The trace.
        constants: The arrays that the function took from outside, copied.
        result: A function that puts the arrays that the trace returns among what else the function returned.
    """

    jaxpr: Any
    constants: list[jax.Array]
    result: Callable[[Sequence[Any]], Any]

    def __call__(self, *args: Any) -> Any:
        """Return what the function returned for arguments of these shapes, with the arrays computed anew."""
        arrays = [leaf for leaf in jax.tree.leaves(args) if _is_array(leaf)]
        return self.result(jax.core.eval_jaxpr(self.jaxpr, self.constants, *arrays))


def traced(what: str, function: Callable[..., Any], *examples: Any) -> tuple[TracedFunction, Any]:
    """Return the trace of a function, from one call with arrays of which only shapes and types are known.

    Args:
        what: The function in words, for messages: "the state equation".
        function: The function.
        *examples: Its arguments, pytrees with `jax.ShapeDtypeStruct` in place of arrays. Leaves that are no arrays
            (strings, numbers of Python) stay what they are.

    Returns:
        The traced function, and its result for these arguments, again with shapes in place of arrays.

    Raises:
        InputError: The function hides traced arrays in an object that JAX does not see into.
        FormError: JAX cannot trace the function; the message has the user's line.
    """
    leaves, structure = jax.tree.flatten(examples)
    places = [k for k, leaf in enumerate(leaves) if _is_array(leaf)]
    returned: list[Any] = []

    def of_arrays(arrays: Sequence[Any]) -> list[Any]:
        filled = _filled(leaves, places, arrays)
        returned[:] = jax.tree.flatten(function(*jax.tree.unflatten(structure, filled)))
        for leaf in returned[0]:
            if any(isinstance(part, jax.core.Tracer) for part in getattr(leaf, "__dict__", {}).values()):
                kind = type(leaf).__name__
                raise InputError(
                    f"{what} returns a {kind}, and JAX does not know of the arrays in it; decorate the class with "
                    "jax.tree_util.register_dataclass, or return a dictionary or a tuple of arrays"
                )
        return [leaf for leaf in returned[0] if _is_array(leaf)]

    with tracing_errors(what):
        closed, shapes = jax.make_jaxpr(of_arrays, return_shape=True)([leaves[k] for k in places])
    closed = with_copied_arrays(closed)
    others, form = returned
    found = [k for k, leaf in enumerate(others) if _is_array(leaf)]
    others = _filled(others, found, [None] * len(found))  # no tracer outlives its trace

    def result(arrays: Sequence[Any]) -> Any:
        return jax.tree.unflatten(form, _filled(others, found, arrays))

    return TracedFunction(closed.jaxpr, [_constant(what, value) for value in closed.consts], result), result(shapes)


@dataclass(frozen=True, eq=False)
class TracedParts:
    """The traced functions that make a reduced functional. κ is the physical coefficient, u the state.

    Of an equation whose state is observed in time, u is what was read of it, `Readings`.

    Attributes:
        size: The number p of parameters.
        parametrization: The map m ↦ κ.
        state: The map κ ↦ u.
        solution: The map κ ↦ the array of the state, which is ``state`` where this is not observed in time.
        observation: The map (u, κ) ↦ prediction.
        misfit: The map of (u, κ) to a number.
        distance: The map of the prediction to a number; None where the misfit states none.
        sourced: The map (κ, s) ↦ u with a source s in the state equation; None where the state is a plain function.
        constraints: The maps of (u, κ) to the constraints, each a number or several (k,).
        constraint_sizes: How many numbers each of these is.
        terms: The terms of the regularization that were met so far, each with its map of m to a number, by the identity
            of the term.
    """

    size: int
    parametrization: TracedFunction
    state: TracedFunction
    solution: TracedFunction
    observation: TracedFunction
    misfit: TracedFunction
    distance: TracedFunction | None
    sourced: TracedFunction | None
    constraints: tuple[TracedFunction, ...]
    constraint_sizes: tuple[int, ...]
    terms: dict[int, tuple[Term, TracedFunction]]

    def digests(self) -> list[bytes]:
        """Return a digest of each part, in which constants count by their content."""
        common = (
            self.parametrization,
            self.state,
            self.solution,
            self.observation,
            self.misfit,
            self.distance,
            self.sourced,
        )
        found = [*common, *self.constraints, *(term for _, term in self.terms.values())]
        return [fingerprint(part.jaxpr, part.constants) for part in found if part is not None]


class FunctionalTrace:
    """The functions of a reduced functional, which are traced together when the first of them is needed.

    Functionals that differ only in their regularization share one trace.

    Attributes:
        parametrization: The map from m to the physical coefficient.
    """

    def __init__(
        self,
        state: StateEquation,
        misfit: Misfit,
        parametrization: Parametrization,
        constraints: tuple[Constraint, ...] = (),
    ) -> None:
        self.parametrization = parametrization
        self._given = state, misfit, parametrization, constraints
        self._parts: TracedParts | None = None
        self._lock = threading.RLock()

    def is_current(self) -> bool:
        """Return whether the functions, if they were called now, would give the same traces as before."""
        parts = self._parts
        if parts is None:
            return True
        again = _parts(parts.size, *self._given)
        again.terms.update({key: (term, _term(parts.size, term)) for key, (term, _) in parts.terms.items()})
        return again.digests() == parts.digests()

    def parts(self, size: int, terms: Sequence[Term]) -> TracedParts:
        """Return all parts, for m (p,) of one size and at least the given terms.

        Args:
            size: The number p of parameters.
            terms: The terms of the regularization that are needed.

        Raises:
            InputError: The size is another one than at first, the state is no array, the misfit or a term is no real
                number, or a constraint is neither a real number nor a row of them.
        """
        with self._lock:
            parts = self._parts or _parts(size, *self._given)
            if parts.size != size:
                _parts(size, *self._given)  # where the functions themselves refuse it, they know better why
                raise InputError(
                    f"m has {size} entries; this functional was used with {parts.size} before, and keeps what was "
                    "traced then: make another one with dataclasses.replace(J)"
                )
            new = {id(term): (term, _term(size, term)) for term in terms if id(term) not in parts.terms}
            parts.terms.update(new)
            self._parts = parts
        return parts


def _parts(
    size: int,
    state: StateEquation,
    misfit: Misfit,
    parametrization: Parametrization,
    constraints: tuple[Constraint, ...],
) -> TracedParts:
    """Return the traces of all parts but the regularization.

    They are made of fresh functions, because JAX finds traces of known ones again.

    Raises:
        InputError: The state is no array, the misfit is no real number, or a constraint has another shape.
    """
    m = jax.ShapeDtypeStruct((size,), np.float64)
    to_coefficient, coefficient = traced("the parametrization", lambda m: parametrization(m), m)
    to_solution, u = traced("the state equation", lambda coefficient: state(coefficient), coefficient)
    if not _is_array(u):
        raise InputError(f"the state equation returns a {type(u).__name__}; expected an array, (n,) or (n, r)")
    if len(u.shape) != len(state.axes):
        usual = {1: ("dof",), 2: ("dof", "experiment")}.get(len(u.shape))
        example = "" if usual is None else f", as axes = {usual} of {type(state).__name__}"
        raise InputError(
            f"the state has shape {u.shape}, and its equation states the axes {state.axes}; state one name an axis of "
            f"the state{example}"
        )
    array, to_state, readings = u, to_solution, readings_of(state, misfit)
    if readings is not None:
        if constraints:
            raise InputError(
                "there are constraints on the state, which is observed in time; expected a misfit of the states that "
                "the equation keeps, or constraints of the coefficient in a penalty"
            )
        to_state, u = traced("the state equation", lambda coefficient: readings(coefficient), coefficient)
    observe, predicted = traced("the observation", lambda u, c: misfit.observation(u, c), u, coefficient)
    compare, value = traced("the misfit", lambda u, c: misfit(u, c), u, coefficient)
    _check_number("the misfit", value)
    distance = sourced = None
    if (to_number := misfit.distance) is not None:
        distance, _ = traced("the misfit", lambda predicted: to_number(predicted), predicted)
    if not isinstance(state, FunctionState):
        with_source = state if readings is None else readings
        sourced, _ = traced("the state equation", lambda c, s: with_source(c, source=s), coefficient, array)
    restrict = [_constraint(one, u, coefficient) for one in constraints]
    return TracedParts(
        *(size, to_coefficient, to_state, to_solution, observe, compare, distance, sourced),
        tuple(function for function, _ in restrict),
        tuple(number for _, number in restrict),
        {},
    )


def _constraint(constraint: Constraint, u: Any, coefficient: Any) -> tuple[TracedFunction, int]:
    """Return the trace of a constraint, and how many numbers it is.

    Raises:
        InputError: It is neither one real number nor a row of real numbers.
    """
    what = f"the constraint {constraint.name!r}"
    found, value = traced(what, lambda u, c: constraint.function(u, c), u, coefficient)
    if not (_is_array(value) or isinstance(value, (int, float))):
        raise InputError(f"{what} returns a {type(value).__name__}; expected one real number, or some in a row (k,)")
    if np.issubdtype(jnp.result_type(value), np.complexfloating):
        raise InputError(f"{what} returns complex numbers; expected real ones, as jnp.abs(u) - limit")
    if np.ndim(value) > 1 or np.size(value) == 0:
        raise InputError(
            f"{what} returns an array of shape {np.shape(value)}; expected one number, as a sum is, or some in a row "
            "(k,), as jnp.ravel(…) makes"
        )
    return found, int(np.size(value))


def _term(size: int, term: Term) -> TracedFunction:
    what = f"the regularization term {term.name}"
    found, value = traced(what, lambda m: term(m), jax.ShapeDtypeStruct((size,), np.float64))
    _check_number(what, value)
    return found


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _filled(leaves: Sequence[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    filled = list(leaves)
    for place, value in zip(places, values, strict=True):
        filled[place] = value
    return filled


def _constant(what: str, value: Any) -> jax.Array:
    """Return an array that a function took from outside as one of JAX.

    Where somebody could change it, it is a copy already.

    Args:
        what: The function in words, for messages.
        value: The array.

    Raises:
        InputError: JAX traces the array.
    """
    if isinstance(value, jax.core.Tracer):
        raise InputError(
            f"{what} takes an array from outside that JAX traces; what is to be differentiated is part of m"
        )
    if isinstance(value, jax.Array):
        return value
    with jax.ensure_compile_time_eval():  # the first use may be inside of what JAX traces
        constant: jax.Array = jax.device_put(np.asarray(value))
        return constant


def _check_number(what: str, value: Any) -> None:
    """Refuse the result of a function unless it stands for one real number.

    Args:
        what: The function in words, for messages.
        value: The result, a shape or a number of Python.
    """
    if not (_is_array(value) or isinstance(value, (int, float, complex))):
        raise InputError(f"{what} returns a {type(value).__name__}; expected one real number")
    kind, shape = jnp.result_type(value), np.shape(value)
    if shape == () and np.issubdtype(kind, np.complexfloating):
        raise InputError(
            f"{what} returns complex numbers; expected a real one, as jnp.sum(jnp.abs(u - d) ** 2) or of real data"
        )
    if shape != ():
        raise InputError(f"{what} returns an array of shape {shape}; expected one number, as a sum is")
