"""Assembly in JAX, of matrices, vectors and integrals.

Coefficients of a form at quadrature points → element matrices → values on the pattern.

Where the derivatives that a form asks for are constant in each cell, as on linear simplices, the values depend on the
coefficients by a sparse map that is made once: no element matrix is formed. The adjoint, Ā on the pattern → parameters,
is JAX's own transposition of these maps. Letters: s slots of the trial function, t of the test function, j and i their
local dofs, c cells, q quadrature points, z stored entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.errors import FormError
from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.forms.coupling import Group, coupled_slots, used_slots
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

#: The number of patterns and maps that a space keeps, the last ones made.
MAX_KEPT_PATTERNS = 32

Blocks = tuple[tuple[FunctionSpace, FunctionSpace], ...]
"""The pairs of trial and test space that fill one matrix; more than one for interior facets, which have two sides."""
#: The values (c, q) that a form asks for, by slots of the trial and of the test function.
Density = dict[tuple[Slot, Slot], jax.Array]
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
    groups = coupled_slots(form, shapes_of(trial), shapes_of(test), w)
    elements = _pattern_and_maps(blocks)[1][which]
    if not _is_mapped(groups, trial, test):
        summed: jax.Array = _summed_values(form, groups, trial, test, w, elements)
        return summed
    maps = [_kept(blocks, (blocks, which, g), partial(_coefficient_map, elements, trial, test, g)) for g in groups]
    mapped: jax.Array = _mapped_values(form, groups, trial, test, w, maps)
    return mapped


def _is_mapped(groups: tuple[Group, ...], trial: Tables, test: Tables) -> bool:
    tables = [_slot_table(trial, s) for group in groups for s, _ in group]
    tables += [_slot_table(test, t) for group in groups for _, t in group]
    size = trial.local_shape[0] * test.local_shape[0] * len(groups)
    return 0 < size <= MAX_MAPPED_ENTRIES and all(table.shape[-1] == 1 for table in tables)


def _coefficient_map(elements: LinearMap, trial: Tables, test: Tables, group: Group) -> LinearMap:
    """Return the map from a coefficient, integrated over each cell (c,), to values of the matrix (nnz,).

    Args:
        elements: The map from element matrices (i · j · c,) to values (nnz,).
        trial: The tables of the trial space.
        test: The tables of the test space.
        group: The pairs of slots that the coefficient couples, constant in each cell.
    """
    products = [_cell_table(test, t)[:, None] * _cell_table(trial, s)[None] for s, t in group]
    weights = np.broadcast_to(sum(products[1:], products[0]), (test.local_shape[0], *trial.local_shape))
    return elements.spread(weights.reshape(-1, weights.shape[-1]))


def _element_map(place: np.ndarray, nnz: int) -> LinearMap:
    entries = np.arange(place.size, dtype=np.int32)
    return LinearMap.from_entries(place, entries, (nnz, place.size))


@partial(jax.jit, static_argnames=("form", "groups"))
def _mapped_values(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients, maps: list[LinearMap]
) -> jax.Array:
    points = [_densities(form, groups, trial, test, w_q, dx) for w_q, dx in _at_points(w, trial.dx)]
    cells = trial.dx.shape[0]
    values = [of_coefficient(_over(cells, [at[k] for at in points])) for k, of_coefficient in enumerate(maps)]
    return sum(values[1:], values[0])


def _over(cells: int, densities: list[jax.Array]) -> jax.Array:
    """Return the sum (c,) over the quadrature points of densities (c, q); c may be 1 in them."""
    return jnp.broadcast_to(sum(density.sum(-1) for density in densities), (cells,))


@partial(jax.jit, static_argnames=("form", "groups"))
def _summed_values(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients, elements: LinearMap
) -> jax.Array:
    densities = materialized(_densities(form, groups, trial, test, w, trial.dx), trial.local.index)
    if _have_references(groups, trial, test):
        return elements(_by_references(groups, densities, trial, test).ravel())
    density = {pair: values for group, values in zip(groups, densities, strict=True) for pair in group}
    return elements(_contract(density, trial, test).ravel())


def _densities(
    form: TracedForm, groups: tuple[Group, ...], trial: Tables, test: Tables, w: Coefficients, dx: jax.Array
) -> list[jax.Array]:
    """Return for each group of pairs its coefficient times dx, (c, q)."""
    shapes = shapes_of(trial), shapes_of(test)
    values = form.kept_for_all([(*unit(shapes[0], s), *unit(shapes[1], t), w) for (s, t), *_ in groups])
    return [value * dx for value in values]


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


def _cell_table(tables: Tables, slot: Slot) -> np.ndarray:
    """Return the table (i, c) of one slot of the basis functions that is constant in each cell."""
    table: np.ndarray = np.asarray(tables.components[slot.component][slot.part])[slot.index][..., 0]
    return table


def _contract(density: Density, trial: Tables, test: Tables) -> jax.Array:
    """Return the element matrices (i, j, c), Σ_q Σ_st test[t, i] · density[s, t] · trial[s, j]."""
    shape = (test.local_shape[0], *trial.local_shape)
    if not density:
        return jnp.zeros(shape)
    trial_tables = {s: _slot_table(trial, s) for s, _ in density}
    test_tables = {t: _slot_table(test, t) for _, t in density}
    if all(table.shape[-1] == 1 for table in (*trial_tables.values(), *test_tables.values())):
        density = {pair: values.sum(-1, keepdims=True) for pair, values in density.items()}
    contract = _written_out if shape[0] * shape[1] <= MAX_WRITTEN_OUT_ENTRIES else _batched
    return contract(density, trial_tables, test_tables, shape)


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
    density: Density, trial: dict[Slot, Any], test: dict[Slot, Any], shape: tuple[int, int, int]
) -> jax.Array:
    """Return the element matrices (i, j, c), with every entry as its own expression of (c, q) arrays.

    Slices of a stacked array would have a slow adjoint.
    """

    def flux(t: Slot, j: int) -> jax.Array:
        total: jax.Array = sum(values * trial[s][j] for (s, other), values in density.items() if other == t)
        return total

    fluxes = {t: [flux(t, j) for j in range(shape[1])] for t in test}

    def entry(i: int, j: int) -> jax.Array:
        integral: jax.Array = sum(test[t][i] * fluxes[t][j] for t in test).sum(-1)
        return integral

    rows = [jnp.stack([entry(i, j) for j in range(shape[1])]) for i in range(shape[0])]
    return jnp.broadcast_to(jnp.stack(rows), shape)


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
