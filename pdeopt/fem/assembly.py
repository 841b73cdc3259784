"""Assembly in JAX: coefficients of a form at quadrature points → element matrices → values on the pattern.

The adjoint, Ā on the pattern → parameters, is JAX's own transposition of these maps. Letters: s slots of the trial
function, t of the test function, j and i their local dofs, c cells, q quadrature points, z stored entries.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem.coefficients import Coefficients
from pdeopt.fem.errors import FormError
from pdeopt.fem.space import FunctionSpace, Tables
from pdeopt.fem.structure import Shapes, Slot, recording, slots_of, unit, zero_outputs
from pdeopt.fem.tracing import TracedForm
from pdeopt.sparse import SparsityPattern

#: Largest number of entries of an element matrix whose products are written out one by one; beyond, batched products.
#: Measured on 524 k triangles (3 × 3): 40 ms against 71 ms; on 25 k P2 tetrahedra (10 × 10): 111 ms against 53 ms.
WRITTEN_OUT = 16

Blocks = tuple[tuple[FunctionSpace, FunctionSpace], ...]
"""(trial, test) pairs that fill one matrix; more than one for interior facets, which have two sides."""


def pattern_of(blocks: Blocks) -> tuple[SparsityPattern, tuple[np.ndarray, ...]]:
    """The pattern that all blocks fill, and for each block the places (i, j, c) of its entries in it.

    Made once; kept by the first trial space, and forgotten with it.
    """
    known = blocks[0][0].patterns
    if blocks not in known:
        known[blocks] = _pattern_of(blocks)
    return known[blocks]


def _pattern_of(blocks: Blocks) -> tuple[SparsityPattern, tuple[np.ndarray, ...]]:
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
    """The tensor shapes of the parts of a space's functions."""
    return tuple({name: table.shape[:-3] for name, table in parts.items()} for parts in tables.components)


@partial(jax.jit, static_argnames=("form", "nnz"))
def bilinear_values(
    form: TracedForm, trial: Tables, test: Tables, w: Coefficients, place: jax.Array, nnz: int
) -> jax.Array:
    """(nnz,), the values of one block of a bilinear form."""
    pairs = _coupled_slots(form, trial, test, w)
    density = {
        (s, t): form(*unit(shapes_of(trial), s), *unit(shapes_of(test), t), w) * trial.dx for s, t in pairs
    }  # (c, q) each
    elements = _contract(density, trial, test)
    return jnp.zeros(nnz, elements.dtype).at[place].add(elements, mode="promise_in_bounds")


@partial(jax.jit, static_argnames=("form", "n"))
def linear_values(form: TracedForm, test: Tables, w: Coefficients, n: int) -> jax.Array:
    """(n,), the vector of a linear form."""
    slots = _used_slots(form, (test,), w)[0]
    terms = []
    for t in slots:
        density = form(*unit(shapes_of(test), t), w) * test.dx
        terms.append((_slot_table(test, t) * density).sum(-1))
    elements = sum(terms, jnp.zeros((len(test.dofs), 1)))
    elements = jnp.broadcast_to(elements, test.dofs.shape)
    return jnp.zeros(n, elements.dtype).at[test.dofs].add(elements, mode="promise_in_bounds")


@partial(jax.jit, static_argnames=("form",))
def functional_value(form: TracedForm, tables: Tables, w: Coefficients) -> jax.Array:
    """The integral of a functional."""
    return (scalar_density(form, w) * tables.dx).sum()


def scalar_density(form: TracedForm, *arguments: Any) -> Any:
    """What a form returns at quadrature points, a scalar there; FormError where it is anything else."""
    density = form(*arguments)
    if density is None or np.ndim(density) > 2:
        what = "None" if density is None else f"a tensor of shape {np.shape(density)[:-2]}"
        raise FormError(f"form '{form.name}' returns {what}, not a scalar: check its return; use dot, ddot or inner")
    return density


def _used_slots(form: TracedForm, tables: tuple[Tables, ...], w: Coefficients) -> list[tuple[Slot, ...]]:
    """The slots of each argument that the form asks for."""
    rng = np.random.default_rng(0)
    used: list[set[tuple[int, str]]] = [set() for _ in tables]

    def ask(w: Coefficients) -> Any:
        arguments = [recording(shapes_of(table), names, rng) for table, names in zip(tables, used, strict=True)]
        return form(*(field for fields in arguments for field in fields), w)

    jax.eval_shape(ask, w)
    return [slots_of(shapes_of(table), names) for table, names in zip(tables, used, strict=True)]


def _coupled_slots(form: TracedForm, trial: Tables, test: Tables, w: Coefficients) -> list[tuple[Slot, Slot]]:
    trial_slots, test_slots = _used_slots(form, (trial, test), w)
    pairs = [(s, t) for s in trial_slots for t in test_slots]

    def on_all_pairs(w: Coefficients) -> list[Any]:
        return [form(*unit(shapes_of(trial), s), *unit(shapes_of(test), t), w) for s, t in pairs]

    traced = jax.make_jaxpr(on_all_pairs)(w)
    zero = zero_outputs(traced, [False] * len(traced.jaxpr.invars))
    return [pair for pair, is_zero in zip(pairs, zero, strict=True) if not is_zero]


def _slot_table(tables: Tables, slot: Slot) -> jax.Array:
    """(i, c, q), one entry of the basis functions."""
    return tables.components[slot.component][slot.part][slot.index]


def _contract(density: dict[tuple[Slot, Slot], jax.Array], trial: Tables, test: Tables) -> jax.Array:
    """(i, j, c), the element matrices Σ_q Σ_st test[t, i] · density[s, t] · trial[s, j]."""
    shape = (len(test.dofs), len(trial.dofs), trial.dofs.shape[1])
    if not density:
        return jnp.zeros(shape)
    trial_tables = {s: _slot_table(trial, s) for s, _ in density}
    test_tables = {t: _slot_table(test, t) for _, t in density}
    if all(table.shape[-1] == 1 for table in (*trial_tables.values(), *test_tables.values())):
        density = {pair: values.sum(-1, keepdims=True) for pair, values in density.items()}
    density = jax.lax.optimization_barrier(density)  # XLA would evaluate the coefficients anew for each entry
    contract = _written_out if shape[0] * shape[1] <= WRITTEN_OUT else _batched
    return contract(density, trial_tables, test_tables, shape)


def _written_out(density: dict, trial: dict, test: dict, shape: tuple[int, int, int]) -> jax.Array:
    """Every entry as its own expression of (c, q) arrays; slices of a stacked intermediate have a slow adjoint."""

    def flux(t: Slot, j: int) -> jax.Array:
        return sum(values * trial[s][j] for (s, other), values in density.items() if other == t)

    fluxes = {t: [flux(t, j) for j in range(shape[1])] for t in test}

    def entry(i: int, j: int) -> jax.Array:
        return sum(test[t][i] * fluxes[t][j] for t in test).sum(-1)

    rows = [jnp.stack([entry(i, j) for j in range(shape[1])]) for i in range(shape[0])]
    return jnp.broadcast_to(jnp.stack(rows), shape)


def _batched(density: dict, trial: dict, test: dict, shape: tuple[int, int, int]) -> jax.Array:
    points = next(iter(density.values())).shape

    def lay_out(tables: list[jax.Array]) -> jax.Array:  # (c, q, t, i)
        return jnp.stack([jnp.moveaxis(jnp.broadcast_to(t, (len(t), *points)), 0, -1) for t in tables], axis=2)

    def flux(t: Slot) -> jax.Array:
        return sum(values * trial[s] for (s, other), values in density.items() if other == t)

    left = lay_out([test[t] for t in test])
    right = lay_out([flux(t) for t in test])
    return jnp.moveaxis(jnp.einsum("cqti,cqtj->cij", left, right), 0, -1)
