"""Assembly in JAX, of matrices, vectors and integrals.

Coefficients of a form at quadrature points → element matrices → values on the pattern.

A form is taken apart into terms with one coefficient each. A term whose coefficient is one number is that number times
values that are made once. Where the coefficient is constant in each cell, or the parts of the functions that it stands
with, as the gradients on linear simplices, the values depend on it by a sparse map that is made once: no element matrix
is formed. Only the other terms are summed over the quadrature points of all element matrices. The adjoint, Ā on the
pattern → parameters, is JAX's own transposition of these maps. Letters: s slots of the trial function, t of the test
function, j and i their local dofs, c cells, q quadrature points, z stored entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.errors import FormError
from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.forms.coupling import Group, coupled_slots, used_slots, varying_axes
from pdeopt.fem.forms.structure import Shapes, Slot, unit
from pdeopt.fem.spaces.reference import Reference
from pdeopt.fem.spaces.space import MAX_WRITTEN_OUT_TERMS, FunctionSpace, Tables
from pdeopt.fem.tracing.form_tracing import TracedForm
from pdeopt.sparse import LinearMap, SparsityPattern, materialized

#: The largest number of entries of an element matrix, times coefficients, for which the map from the coefficients is
#: made; it takes 32 bytes for each of them and each cell.
MAX_MAPPED_ENTRIES = 32
#: The largest number of entries of an element matrix whose products are written out; of more, products are batched.
#: Measured on 524 k triangles (3 × 3): 40 ms against 71 ms; on 25 k P2 tetrahedra (10 × 10): 111 ms against 53 ms.
MAX_WRITTEN_OUT_ENTRIES = 16
#: The largest number of products that are written out of functions constant in each cell, without those that vanish.
#: Measured on 131 k triangles, linear displacements (6 × 6, 72 products), values and their adjoint: 110 ms of CPU time
#: against 280 ms batched.
MAX_WRITTEN_OUT_PRODUCTS = 100

#: The number of patterns and maps that a space keeps, the last ones made.
MAX_KEPT_PATTERNS = 32

Blocks = tuple[tuple[FunctionSpace, FunctionSpace], ...]
"""The pairs of trial and test space that fill one matrix; more than one for interior facets, which have two sides."""
#: The values (c, q) that a form asks for, by slots of the trial and of the test function.
Density = dict[tuple[Slot, Slot], jax.Array]
#: For each slot of the trial functions, and of the test functions, the local dofs where it is not zero everywhere.
Supports = tuple[tuple[tuple[Slot, tuple[int, ...]], ...], tuple[tuple[Slot, tuple[int, ...]], ...]]
#: What is made once for blocks, and kept.
Made = TypeVar("Made")


def pattern_of(blocks: Blocks) -> SparsityPattern:
    """Return the pattern that all blocks fill.

    It is made once, kept by the first trial space, and forgotten with it.
    """
    return _pattern_and_maps(blocks)[0]


def _pattern_and_maps(blocks: Blocks) -> tuple[SparsityPattern, tuple[LinearMap, ...]]:
    """Return the pattern that all blocks fill, and for each block the map that fills it.

    The map takes element matrices (i · j · c,) to values of the pattern (nnz,).
    """

    def make() -> tuple[SparsityPattern, tuple[LinearMap, ...]]:
        pattern, places = _pattern_of(blocks)
        return pattern, tuple(_element_map(place, pattern.nnz) for place in places)

    return _kept(blocks, blocks, make)


def _kept(blocks: Blocks, key: Any, make: Callable[[], Made]) -> Made:
    known = blocks[0][0].patterns
    if key not in known:
        known[key] = make()
        if len(known) > MAX_KEPT_PATTERNS:
            del known[next(iter(known))]
    made: Made = known[key]
    return made


def _pattern_of(blocks: Blocks) -> tuple[SparsityPattern, tuple[np.ndarray, ...]]:
    """Return the pattern that all blocks fill, and for each block where its entries are.

    These are the places (i, j, c) in the values of the pattern.
    """
    rows, cols, shapes = [], [], []
    for trial, test in blocks:
        i, j = test.basis.element_dofs[:, None, :], trial.basis.element_dofs[None, :, :]
        shapes.append(np.broadcast_shapes(i.shape, j.shape))
        rows.append(np.broadcast_to(i, shapes[-1]).ravel())
        cols.append(np.broadcast_to(j, shapes[-1]).ravel())
    size = (blocks[0][1].n, blocks[0][0].n)
    pattern, place = SparsityPattern.from_entries(np.concatenate(rows), np.concatenate(cols), size)
    ends = np.cumsum([len(r) for r in rows])[:-1]
    return pattern, tuple(part.reshape(shape) for part, shape in zip(np.split(place, ends), shapes, strict=True))


def shapes_of(tables: Tables) -> Shapes:
    """Return the tensor shapes of the parts of a space's functions."""
    return tuple({name: table.shape[:-3] for name, table in parts.items()} for parts in tables.components)


def matrix_values(form: TracedForm, blocks: Blocks, which: int, w: Coefficients) -> jax.Array:
    """Return the values (nnz,) that one of the blocks adds to those of the matrix.

    Args:
        form: The bilinear form.
        blocks: The pairs of trial and test space that fill the matrix.
        which: The number of the block.
        w: The coefficients of the form on this block.
    """
    trial, test = (space.tables for space in blocks[which])
    arguments = (form, shapes_of(trial), shapes_of(test), w)
    elements = _pattern_and_maps(blocks)[1][which]
    plan = _plan(coupled_slots(*arguments), varying_axes(*arguments), trial, test)
    terms = []
    if plan.uniform:
        fixed = [
            _kept(blocks, (blocks, which, g), partial(_uniform_values, elements, trial, test, g)) for g in plan.uniform
        ]
        terms.append(_multiples(form, plan.uniform, trial, test, w, fixed))
    if plan.mapped:
        maps = [
            _kept(blocks, (blocks, which, *g), partial(_coefficient_map, elements, trial, test, *g))
            for g in plan.mapped
        ]
        terms.append(_mapped_values(form, plan.mapped, trial, test, w, maps))
    if plan.summed or not terms:
        supports = _kept(blocks, (blocks, which, plan.summed), partial(_supports, trial, test, plan.summed))
        terms.append(_summed_values(form, plan.summed, supports, trial, test, w, elements))
    values: jax.Array = sum(terms[1:], terms[0])
    return values


@dataclass(frozen=True)
class _Plan:
    """The groups of pairs of slots by the way in which their term is assembled.

    Attributes:
        uniform: The groups whose coefficient is one number.
        mapped: The groups whose values depend on the coefficient by a map, each with the name of what is constant in
            each cell: "coefficient" or "functions".
        summed: The other groups.
    """

    uniform: tuple[Group, ...]
    mapped: tuple[tuple[Group, str], ...]
    summed: tuple[Group, ...]


def _plan(groups: tuple[Group, ...], varying: tuple[tuple[bool, bool], ...], trial: Tables, test: Tables) -> _Plan:
    """Choose for each group how its term is assembled.

    Args:
        groups: The groups.
        varying: For each group whether its coefficient varies with the cell, and with the quadrature point.
        trial: The tables of the trial space.
        test: The tables of the test space.
    """
    uniform, mapped, summed = [], [], []
    for group, (with_cell, with_point) in zip(groups, varying, strict=True):
        if not (with_cell or with_point):
            uniform.append(group)
        elif _is_constant_in(1, group, trial, test):
            mapped.append((group, "functions"))
        elif not with_point:
            mapped.append((group, "coefficient"))
        else:
            summed.append(group)
    if trial.local_shape[0] * test.local_shape[0] * len(mapped) > MAX_MAPPED_ENTRIES:
        mapped, summed = [], [group for group in groups if group not in uniform]
    return _Plan(tuple(uniform), tuple(mapped), tuple(summed))


def _is_constant_in(axis: int, group: Group, trial: Tables, test: Tables) -> bool:
    """Return whether the functions of a group do not vary along an axis, 0 for cells and 1 for points."""
    parts = [(trial, s) for s, _ in group] + [(test, t) for _, t in group]
    return all(tables.components[slot.component][slot.part].shape[axis - 2] == 1 for tables, slot in parts)


def _uniform_values(elements: LinearMap, trial: Tables, test: Tables, group: Group) -> jax.Array:
    """Return the values (nnz,) of the term of a group whose coefficient is 1."""
    values = elements.on_host(_integrals(trial, test, group, np.asarray(trial.dx)).ravel())
    with jax.ensure_compile_time_eval():
        moved: jax.Array = jax.device_put(values)
        return moved


def _coefficient_map(elements: LinearMap, trial: Tables, test: Tables, group: Group, constant: str) -> LinearMap:
    """Return the map from a coefficient (c,) to the values (nnz,) of the term of a group.

    Args:
        elements: The map from element matrices (i · j · c,) to values (nnz,).
        trial: The tables of the trial space.
        test: The tables of the test space.
        group: The pairs of slots that the coefficient couples.
        constant: The name of what is constant in each cell: the "functions", of a coefficient that is integrated over
            the cell, or the "coefficient".
    """
    dx = np.ones((trial.dx.shape[0], 1)) if constant == "functions" else np.asarray(trial.dx)
    weights = _integrals(trial, test, group, dx)
    return elements.spread(weights.reshape(-1, weights.shape[-1]))


def _integrals(trial: Tables, test: Tables, group: Group, dx: np.ndarray) -> np.ndarray:
    """Return the sums (i, j, c) over the points of the products of a group's functions with dx (c, q)."""
    shape = (test.local_shape[0], *trial.local_shape)
    total = np.zeros(shape)
    for s, t in group:
        left, right = _host_table(test, t), _host_table(trial, s)
        for q in range(dx.shape[1]):
            at_point = [table[..., min(q, table.shape[-1] - 1)] for table in (left, right)]
            total += at_point[0][:, None] * (at_point[1] * dx[:, q])[None]
    return total


def _element_map(place: np.ndarray, nnz: int) -> LinearMap:
    entries = np.arange(place.size, dtype=np.int32)
    return LinearMap.from_entries(place, entries, (nnz, place.size))


@partial(jax.jit, static_argnames=("form", "groups"))
def _multiples(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients, fixed: list[jax.Array]
) -> jax.Array:
    numbers = _coefficients(form, groups, trial, test, w)
    terms = [number[0, 0] * values for number, values in zip(numbers, fixed, strict=True)]
    total: jax.Array = sum(terms[1:], terms[0])
    return total


@partial(jax.jit, static_argnames=("form", "groups"))
def _mapped_values(
    form: TracedForm,
    groups: tuple[tuple[Group, str], ...],
    trial: Tables,
    test: Tables,
    w: Coefficients,
    maps: list[LinearMap],
) -> jax.Array:
    cells = trial.dx.shape[0]
    of_functions = tuple(group for group, constant in groups if constant == "functions")
    of_coefficients = tuple(group for group, constant in groups if constant == "coefficient")
    given = dict(zip(of_functions, _integrated(form, of_functions, trial, test, w), strict=True))
    constants = _coefficients(form, of_coefficients, trial, test, w)
    given |= {g: jnp.broadcast_to(value[:, 0], (cells,)) for g, value in zip(of_coefficients, constants, strict=True)}
    values = [of_coefficient(given[group]) for (group, _), of_coefficient in zip(groups, maps, strict=True)]
    return sum(values[1:], values[0])


def _integrated(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients
) -> list[jax.Array]:
    """Return for each group of pairs its coefficient, integrated over each cell, (c,)."""
    points = [_densities(form, groups, trial, test, w_q, dx) for w_q, dx in _at_points(w, trial.dx)]
    sums = (sum(at[k].sum(-1) for at in points) for k in range(len(groups)))
    return [jnp.broadcast_to(total, trial.dx.shape[:1]) for total in sums]


def _supports(trial: Tables, test: Tables, groups: tuple[Group, ...]) -> Supports:
    """Return for each slot of both functions the local dofs where it is not zero everywhere.

    A component of a linear displacement, for instance, belongs to a half or a third of them.
    """

    def of(tables: Tables, slots: set[Slot]) -> tuple[tuple[Slot, tuple[int, ...]], ...]:
        found = ((slot, np.flatnonzero(_host_table(tables, slot).any((1, 2)))) for slot in sorted(slots))
        return tuple((slot, tuple(map(int, dofs))) for slot, dofs in found)

    pairs = [pair for group in groups for pair in group]
    return of(trial, {s for s, _ in pairs}), of(test, {t for _, t in pairs})


@partial(jax.jit, static_argnames=("form", "groups", "supports"))
def _summed_values(
    form: TracedForm,
    groups: tuple[Group, ...],
    supports: Supports,
    trial: Tables,
    test: Tables,
    w: Coefficients,
    elements: LinearMap,
) -> jax.Array:
    if groups and all(_is_constant_in(1, group, trial, test) for group in groups):
        densities = [integral[:, None] for integral in _integrated(form, groups, trial, test, w)]
    else:
        densities = _densities(form, groups, trial, test, w, trial.dx)
    densities = materialized(densities, trial.local.index)
    if _have_references(groups, trial, test):
        return elements(_by_references(groups, densities, trial, test).ravel())
    shared = [_is_constant_in(0, group, trial, test) for group in groups]
    terms = [
        _by_shared_functions(group, values, trial, test)
        for group, values, is_shared in zip(groups, densities, shared, strict=True)
        if is_shared
    ]
    density = {
        pair: values
        for group, values, is_shared in zip(groups, densities, shared, strict=True)
        for pair in group
        if not is_shared
    }
    if density or not terms:
        terms.append(_contract(density, supports, trial, test).reshape(-1, trial.local_shape[1]))
    return elements(sum(terms[1:], terms[0]).ravel())


def _densities(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients, dx: jax.Array
) -> list[jax.Array]:
    """Return for each group of pairs its coefficient times dx, (c, q)."""
    return [value * dx for value in _coefficients(form, groups, trial, test, w)]


def _coefficients(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients
) -> list[jax.Array]:
    """Return for each group of pairs its coefficient, (c, q); either may be 1 where it is constant."""
    shapes = shapes_of(trial), shapes_of(test)
    values: list[jax.Array] = form.kept_for_all(
        [(*unit(shapes[0], s), *unit(shapes[1], t), w) for (s, t), *_ in groups]
    )
    return [jnp.reshape(value, (1, 1, *jnp.shape(value))[-2:]) for value in values]


def _at_points(w: Coefficients, dx: jax.Array) -> list[tuple[Coefficients, jax.Array]]:
    """Return the coefficients and dx at one quadrature point after the other.

    Where the points are many, they are returned together.
    """
    count = dx.shape[-1]
    if count > MAX_WRITTEN_OUT_TERMS:
        return [(w, dx)]

    def parts(leaf: Any) -> Sequence[Any]:
        return (
            [leaf] * count
            if jnp.ndim(leaf) == 0 or leaf.shape[-1] == 1
            else jax.lax.split(leaf, (1,) * count, leaf.ndim - 1)
        )

    leaves, structure = jax.tree.flatten((w, dx))
    return [jax.tree.unflatten(structure, at) for at in zip(*map(parts, leaves), strict=True)]


@partial(jax.jit, static_argnames=("form",))
def linear_values(form: TracedForm, test: Tables, w: Coefficients) -> jax.Array:
    """Return the vector (n,) of a linear form with coefficients ``w``."""
    slots = used_slots(form, (shapes_of(test),), w)[0]
    densities = form.kept_for_all([(*unit(shapes_of(test), t), w) for t in slots])
    terms = [(_slot_table(test, t) * (value * test.dx)).sum(-1) for t, value in zip(slots, densities, strict=True)]
    elements = sum(terms, jnp.zeros((test.local_shape[0], 1)))
    return test.local.T(jnp.broadcast_to(elements, test.local_shape).ravel())


@partial(jax.jit, static_argnames=("form",))
def functional_value(form: TracedForm, tables: Tables, w: Coefficients) -> jax.Array:
    """Return the integral, a scalar, of a functional with coefficients ``w``."""
    integral: jax.Array = (scalar_density(form.name, form.kept(w)) * tables.dx).sum()
    return integral


def scalar_density(name: str, density: Any) -> Any:
    """Return the values of a form at quadrature points, where they are scalars.

    Args:
        name: The name of the form.
        density: The value that the form's function returned, up to (c, q).

    Raises:
        FormError: The form returned None or a tensor.
    """
    if density is None or np.ndim(density) > 2:
        what = "None" if density is None else f"a tensor of shape {np.shape(density)[:-2]}"
        raise FormError(f"form '{name}' returns {what}, not a scalar: check its return; use dot, ddot or inner")
    return density


def _slot_table(tables: Tables, slot: Slot) -> jax.Array:
    """Return the table (i, c, q) of one slot of the basis functions."""
    return tables.components[slot.component][slot.part][slot.index]


def _host_table(tables: Tables, slot: Slot) -> np.ndarray:
    """Return the table (i, c, q) of one slot of the basis functions, also while JAX traces."""
    table: np.ndarray = np.asarray(tables.components[slot.component][slot.part])[slot.index]
    return table


def _contract(density: Density, supports: Supports, trial: Tables, test: Tables) -> jax.Array:
    """Return the element matrices (i, j, c), Σ_q Σ_st test[t, i] · density[s, t] · trial[s, j]."""
    shape = (test.local_shape[0], *trial.local_shape)
    if not density:
        return jnp.zeros(shape)
    trial_tables = {s: _slot_table(trial, s) for s, _ in density}
    test_tables = {t: _slot_table(test, t) for _, t in density}
    if all(table.shape[-1] == 1 for table in (*trial_tables.values(), *test_tables.values())):
        density = {pair: values.sum(-1, keepdims=True) for pair, values in density.items()}
        of_trial, of_test = map(dict, supports)
        count = sum(len(of_trial[s]) * len(of_test[t]) for s, t in density)
        if count <= MAX_WRITTEN_OUT_PRODUCTS:
            return _written_out(density, trial_tables, test_tables, supports, shape)
    if shape[0] * shape[1] <= MAX_WRITTEN_OUT_ENTRIES:
        return _written_out(density, trial_tables, test_tables, supports, shape)
    return _batched(density, trial_tables, test_tables, shape)


def _by_shared_functions(group: Group, density: jax.Array, trial: Tables, test: Tables) -> jax.Array:
    """Return the element matrices (i · j, c) of a group whose functions are the same in all cells.

    Args:
        group: The pairs of slots.
        density: Its coefficient times dx, (c, q); or (c, 1), integrated, of functions that are the same at all points.
        trial: The tables of the trial space.
        test: The tables of the test space.
    """
    pairs = [_slot_table(test, t)[:, None, 0] * _slot_table(trial, s)[None, :, 0] for s, t in group]
    products = sum(pairs[1:], pairs[0])
    if products.shape[-1] == 1:
        density = density.sum(-1, keepdims=True)
    return products.reshape(-1, products.shape[-1]) @ density.T


def _have_references(groups: tuple[Group, ...], trial: Tables, test: Tables) -> bool:
    references = [(_reference(trial, s), _reference(test, t)) for group in groups for s, t in group]
    return bool(references) and all(one is not None and other is not None for one, other in references)


def _reference(tables: Tables, slot: Slot) -> Reference:
    return tables.references[slot.component][slot.part]  # type: ignore[return-value]


def _parts(pair: tuple[Slot, Slot]) -> tuple[Any, ...]:
    """Return the components and parts, of the trial and the test function, that a pair couples."""
    return tuple((slot.component, slot.part) for slot in pair)


def _by_references(groups: tuple[Group, ...], densities: list[jax.Array], trial: Tables, test: Tables) -> jax.Array:
    """Return the element matrices (i · j, c) by reference functions.

    For each pair of parts that is coupled they are one product with a constant matrix.
    """
    terms = []
    for parts, (s, t) in {_parts(pair): pair for group in groups for pair in group}.items():
        left, right = _reference(test, t), _reference(trial, s)
        constant = jnp.einsum("aiq,bjq->ijabq", left.functions, right.functions)
        coupled = [[pair for pair in group if _parts(pair) == parts] for group in groups]
        weights = _reference_weights(coupled, densities, left.coefficients, right.coefficients)
        terms.append(constant.reshape(-1, len(weights)) @ weights)
    return sum(terms[1:], terms[0])


def _reference_weights(
    groups: list[list[tuple[Slot, Slot]]], densities: list[jax.Array], left: jax.Array, right: jax.Array
) -> jax.Array:
    """Return the weights (a · b · q, c) of the products of reference functions a and b.

    They are Σ_st left[t, a] · right[s, b] · density[s, t].

    Args:
        groups: For each group the pairs of slots that couple these parts.
        densities: For each group its coefficient times dx, (c, q).
        left: The coefficients (tensor axes, a, c) of the test function's reference functions.
        right: The coefficients (tensor axes, b, c) of the trial function's reference functions.
    """

    def row(a: int, b: int) -> jax.Array:
        terms = [
            sum(left[(*t.index, a)] * right[(*s.index, b)] for s, t in group) * density.T
            for group, density in zip(groups, densities, strict=True)
            if group
        ]
        return sum(terms[1:], terms[0])

    return jnp.concatenate([row(a, b) for a in range(left.shape[-2]) for b in range(right.shape[-2])])


def _written_out(
    density: Density, trial: dict[Slot, Any], test: dict[Slot, Any], supports: Supports, shape: tuple[int, int, int]
) -> jax.Array:
    """Return the element matrices (i, j, c), with every entry as its own expression of (c, q) arrays.

    Slices of a stacked array would have a slow adjoint.
    """
    of_trial, of_test = map(dict, supports)
    points = next(iter(density.values())).shape

    def total(terms: list[jax.Array]) -> jax.Array | None:
        return sum(terms[1:], terms[0]) if terms else None

    def flux(t: Slot, j: int) -> jax.Array | None:
        return total(
            [values * trial[s][j] for (s, other), values in density.items() if other == t and j in of_trial[s]]
        )

    fluxes = {t: [flux(t, j) for j in range(shape[1])] for t in test}

    def entry(i: int, j: int) -> jax.Array:
        products = [test[t][i] * along for t in test if i in of_test[t] and (along := fluxes[t][j]) is not None]
        integrand = total(products)
        return jnp.zeros(points[0]) if integrand is None else integrand.sum(-1)

    rows = [jnp.stack([jnp.broadcast_to(entry(i, j), shape[2:]) for j in range(shape[1])]) for i in range(shape[0])]
    return jnp.stack(rows)


def _batched(density: Density, trial: dict[Slot, Any], test: dict[Slot, Any], shape: tuple[int, int, int]) -> jax.Array:
    points = next(iter(density.values())).shape

    def lay_out(tables: list[jax.Array]) -> jax.Array:  # (c, q, t, i)
        return jnp.stack([jnp.moveaxis(jnp.broadcast_to(t, (len(t), *points)), 0, -1) for t in tables], axis=2)

    def flux(t: Slot) -> jax.Array:
        total: jax.Array = sum(values * trial[s] for (s, other), values in density.items() if other == t)
        return total

    left = lay_out([test[t] for t in test])
    right = lay_out([flux(t) for t in test])
    return jnp.moveaxis(jnp.einsum("cqti,cqtj->cij", left, right), 0, -1)
