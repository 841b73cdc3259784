"""The pairs of slots that a bilinear form couples, and which of them have the same coefficient.

They are found once, by tracing. The form is evaluated on unit slots, as a traced program. Products with zeros and ones
are carried out, and the remaining terms are compared: of κ ∇u·∇v in 2-D two of four pairs stay, and both have the same
coefficient; of linear elasticity in 3-D, 2μ ε:ε + λ div div, 21 of 81 with three different ones. (A coefficient inside,
as in (κ ∇u)·∇v, is not seen through: all pairs stay, some of them zero.) Nothing here depends on values of
coefficients.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.forms.structure import Shapes, Slot, recording, slots_of, unit
from pdeopt.fem.tracing.form_tracing import TracedForm
from pdeopt.fem.tracing.partial_evaluation import BY_ENTRY, NEUTRAL_ELEMENTS

#: The pairs of a trial and a test slot that have the same coefficient.
Group = tuple[tuple[Slot, Slot], ...]
#: An output of a traced function: a known array, or the number of an expression.
Term = np.ndarray | int
#: The numbers of cells and of points with which a form is traced and tested; it is evaluated point by point.
SAMPLE_SHAPE = (2, 2)


def coupled_slots(form: TracedForm, trial: Shapes, test: Shapes, w: Coefficients) -> tuple[Group, ...]:
    """Return the pairs of slots that the form couples, in groups with the same coefficient C_st.

    A test pins the numbers of pairs and groups for some forms.

    Args:
        form: The bilinear form.
        trial: The tensor shapes of the parts of the trial function.
        test: The tensor shapes of the parts of the test function.
        w: The coefficients of the form.
    """
    return _couplings(form, _frozen(trial), _frozen(test), *coefficient_types(w))[0]


def used_slots(form: TracedForm, arguments: tuple[Shapes, ...], w: Coefficients) -> tuple[tuple[Slot, ...], ...]:
    """Return the slots of each argument that the form asks for."""
    return _used_slots(form, tuple(_frozen(shapes) for shapes in arguments), *coefficient_types(w))


def varying_axes(form: TracedForm, trial: Shapes, test: Shapes, w: Coefficients) -> tuple[tuple[bool, bool], ...]:
    """Return for each group whether its coefficient varies with the cell, and with the quadrature point.

    Groups and arguments are those of `coupled_slots`.
    """
    return _couplings(form, _frozen(trial), _frozen(test), *coefficient_types(w))[1]


@lru_cache(maxsize=256)
def _couplings(
    form: TracedForm, trial: Any, test: Any, structure: Any, leaves: Any
) -> tuple[tuple[Group, ...], tuple[tuple[bool, bool], ...]]:
    """Return the groups, and for each of them the axes along which its coefficient varies."""
    trial_slots, test_slots = _used_slots(form, (trial, test), structure, leaves)
    pairs = [(s, t) for s in trial_slots for t in test_slots]

    def on_all_pairs(w: Coefficients) -> list[Any]:
        return [form(*unit(_thawed(trial), s), *unit(_thawed(test), t), w) for s, t in pairs]

    traced = jax.make_jaxpr(on_all_pairs)(jax.tree.unflatten(structure, leaves))
    expressions = Expressions()
    inputs = [expressions.input(k, variable.aval.shape) for k, variable in enumerate(traced.jaxpr.invars)]
    groups: dict[Hashable, list[tuple[Slot, Slot]]] = {}
    varying: dict[Hashable, tuple[bool, bool]] = {}
    for pair, term in zip(pairs, expressions.outputs(traced, inputs), strict=True):
        if not _is_all(term, 0):
            key = expressions.key_of(term)
            groups.setdefault(key, []).append(pair)
            cells, points = (False, False, *expressions.varying(term))[-2:]
            varying[key] = cells, points
    return tuple(tuple(group) for group in groups.values()), tuple(varying.values())


@lru_cache(maxsize=256)
def _used_slots(form: TracedForm, arguments: Any, structure: Any, leaves: Any) -> tuple[tuple[Slot, ...], ...]:
    rng = np.random.default_rng(0)
    shapes = [_thawed(frozen) for frozen in arguments]
    used: list[set[tuple[int, str]]] = [set() for _ in shapes]

    def ask(w: Coefficients) -> Any:
        fields = [recording(parts, names, rng) for parts, names in zip(shapes, used, strict=True)]
        return form(*(field for component in fields for field in component), w)

    jax.eval_shape(ask, jax.tree.unflatten(structure, leaves))
    return tuple(slots_of(parts, names) for parts, names in zip(shapes, used, strict=True))


def coefficient_types(w: Coefficients) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    """Return the structure of a form's coefficients, and the shapes and types of their arrays.

    A form's trace depends on nothing else of them. The arrays have the sample's cells and points, or 1 of either where
    they are constant along that axis.
    """
    leaves, structure = jax.tree.flatten(w)
    shapes = [(*jnp.shape(leaf)[:-2], *map(min, jnp.shape(leaf)[-2:], SAMPLE_SHAPE)) for leaf in leaves]
    types = [jnp.result_type(leaf) for leaf in leaves]
    return structure, tuple(jax.ShapeDtypeStruct(shape, kind) for shape, kind in zip(shapes, types, strict=True))


def sample_coefficients(w: Coefficients) -> Coefficients:
    """Return coefficients of which there are only shapes and types, at the sample's cells and points."""
    coefficients: Coefficients = jax.tree.unflatten(*coefficient_types(w))
    return coefficients


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and the type of an array or a number."""
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _frozen(shapes: Shapes) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]:
    return tuple(tuple(parts.items()) for parts in shapes)


def _thawed(frozen: Any) -> Shapes:
    return tuple(dict(parts) for parts in frozen)


class Expressions:
    """The expressions that were met so far, numbered: equal ones have the same number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._varying: dict[int, tuple[bool, ...]] = {}  # by number, the axes along which an expression varies

    def input(self, place: int, shape: tuple[int, ...]) -> int:
        """Return the number of an input of the traced function."""
        number = self.number(("input", place))
        self._varying[number] = tuple(size > 1 for size in shape)
        return number

    def varying(self, term: Term) -> tuple[bool, ...]:
        """Return for each axis of a term whether it may vary along that axis."""
        if isinstance(term, int):
            return self._varying[term]
        return tuple(bool((term != term.take([0], axis)).any()) for axis in range(term.ndim))

    def number(self, key: Hashable) -> int:
        """Return the number of an expression, a new one where its key was not met before."""
        return self._numbers.setdefault(key, len(self._numbers))

    def unknown(self) -> int:
        """Return a new number, for an expression that equals no other."""
        return self.number(("unknown", len(self._numbers)))

    def key_of(self, term: Term) -> Hashable:
        """Return a key that is the same for equal terms: a number itself, an array by its content."""
        return term if isinstance(term, int) else (term.shape, term.dtype.str, term.tobytes())

    def outputs(self, closed: ClosedJaxpr, inputs: Sequence[Term]) -> list[Term]:
        """Return the outputs of a traced function for these inputs, as known arrays or numbers of expressions."""
        jaxpr = closed.jaxpr
        terms: dict[Any, Term] = {v: np.asarray(c) for v, c in zip(jaxpr.constvars, closed.consts, strict=True)}
        terms |= dict(zip(jaxpr.invars, inputs, strict=True))

        def term(atom: Any) -> Term:
            return np.asarray(atom.val) if isinstance(atom, Literal) else terms[atom]

        for equation in jaxpr.eqns:
            results = self._results(equation, [term(atom) for atom in equation.invars])
            terms |= dict(zip(equation.outvars, results, strict=True))
        return [term(atom) for atom in jaxpr.outvars]

    def _results(self, equation: Any, inputs: list[Term]) -> list[Term]:
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        name = equation.primitive.name
        if name in _CALLS and isinstance(inner, ClosedJaxpr):
            return self.outputs(inner, inputs)
        try:
            parameters = tuple(sorted((k, _text(v)) for k, v in equation.params.items()))
        except _Opaque:
            return self._noted(equation, inputs, [self.unknown() for _ in equation.outvars])
        if inputs and all(isinstance(term, np.ndarray) for term in inputs):
            return _evaluated(equation, inputs)
        if len(equation.outvars) == 1:
            simple = _simplified(equation, inputs)
            if simple is not None:
                return [simple]
        key = (name, parameters, *map(self.key_of, inputs))
        return self._noted(equation, inputs, [self.number((key, k)) for k in range(len(equation.outvars))])

    def _noted(self, equation: Any, inputs: list[Term], numbers: list[int]) -> list[Term]:
        """Return the numbers of the results of an operation, after noting along which axes these vary."""
        along = [self.varying(term) for term in inputs]
        for variable, number in zip(equation.outvars, numbers, strict=True):
            shape = variable.aval.shape
            self._varying[number] = _varying_after(equation, along, shape) or tuple(size > 1 for size in shape)
        return list(numbers)


#: The names of the operations of JAX that call a traced function.
_CALLS = ("pjit", "jit", "closed_call", "custom_jvp_call", "custom_vjp_call")


class _Opaque(Exception):
    """A parameter of an operation that cannot be compared."""


def _text(parameter: Any) -> str:
    if callable(parameter) and not isinstance(parameter, type):
        raise _Opaque
    if "jaxpr" in type(parameter).__name__.lower():
        raise _Opaque
    if isinstance(parameter, (tuple, list)) and not hasattr(parameter, "_fields"):
        return f"({', '.join(map(_text, parameter))})"
    if isinstance(parameter, (np.ndarray, jax.Array)):
        return f"{parameter.shape} {np.asarray(parameter).tobytes().hex()}"
    return repr(parameter)


def _evaluated(equation: Any, inputs: list[Term]) -> list[Term]:
    with jax.ensure_compile_time_eval():
        results = equation.primitive.bind(*inputs, **equation.params)
    return [np.asarray(result) for result in (results if equation.primitive.multiple_results else [results])]


def _varying_after(equation: Any, inputs: list[tuple[bool, ...]], shape: tuple[int, ...]) -> tuple[bool, ...] | None:
    """Return the axes along which the result of an operation varies; None where that is not known.

    Args:
        equation: The operation.
        inputs: The axes along which its operands vary.
        shape: The shape of the result.
    """
    name, parameters = equation.primitive.name, equation.params
    if name in BY_ENTRY:
        return tuple(any(operand[axis] for operand in inputs if operand) for axis in range(len(shape)))
    if name == "broadcast_in_dim":
        places = dict(zip(parameters["broadcast_dimensions"], inputs[0], strict=True))
        return tuple(places.get(axis, False) for axis in range(len(shape)))
    if name in ("squeeze", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod"):
        lost = parameters["dimensions" if name == "squeeze" else "axes"]
        return tuple(varies for axis, varies in enumerate(inputs[0]) if axis not in lost)
    if name == "transpose":
        return tuple(inputs[0][axis] for axis in parameters["permutation"])
    return inputs[0] if name == "slice" else None


def _simplified(equation: Any, inputs: list[Term]) -> Term | None:
    """Return the result of an operation with known zeros or ones; None where that does not help.

    Products, sums, differences, quotients and selections are simplified.
    """
    name, result = equation.primitive.name, equation.outvars[0].aval
    zeros = [_is_all(term, 0) for term in inputs]
    if _vanishes(name, zeros):
        return np.zeros(result.shape, result.dtype)
    value, places = NEUTRAL_ELEMENTS.get(name, (0, ()))
    for place in places:
        other, aval = inputs[1 - place], equation.invars[1 - place].aval
        if _is_all(inputs[place], value) and (aval.shape, aval.dtype) == (result.shape, result.dtype):
            return other
    return None


def _vanishes(name: str, zeros: list[bool]) -> bool:
    """Return whether an operation of finite operands is zero, given which of these are."""
    if name in ("mul", "dot_general"):
        return any(zeros)
    return (name == "div" and zeros[0]) or (name == "select_n" and all(zeros[1:]))


def _is_all(term: Term, value: float) -> bool:
    return isinstance(term, np.ndarray) and bool((term == value).all())
