"""Constant sparse linear maps between JAX arrays, as gathers in both directions.

XLA's scatter-add on a CPU runs on one core (measured: 28 ms for the 4.7 M entries of 524 k triangles), a sum of gathers
on all of them (3 ms). JAX's own transposition turns each gather into such a scatter; here both directions are tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from pdeopt.sparse.errors import SolveError

#: Rows up to these lengths are filled up to equal length and summed entry by entry; longer ones are scattered.
LENGTHS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: An input that is read more often than this is computed once before, and not anew for each reading.
READINGS = 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bundle:
    """Rows of about equal length: y[r] = Σ_k weights[k, r] x[sources[k, r]].

    Attributes:
        sources: (k, rows) int32; beyond the end of x where a row is shorter than k.
        weights: (k, rows), or None for ones.
        is_full: no row is shorter.
    """

    sources: Any
    weights: Any
    is_full: bool = field(metadata={"static": True})

    def __call__(self, x: jax.Array) -> jax.Array:
        zeros = jnp.zeros((self.sources.shape[1], *x.shape[1:]), x.dtype)
        return sum((self._term(x, k) for k in range(len(self.sources))), zeros)

    def spread(self, weights: np.ndarray, cells: int) -> Bundle:
        """With weights and cells in place of entries; the last weight is for the places that are filled up."""
        sources = np.asarray(self.sources)
        inside = np.where(sources < len(weights) - 1, sources % np.int32(cells), np.int32(cells))
        return Bundle(inside, weights[sources], self.is_full)

    def _term(self, x: jax.Array, k: int) -> jax.Array:
        taken = _take(x, self.sources[k], self.is_full)
        return taken if self.weights is None else _column(self.weights[k], x) * taken


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LongRows:
    """Rows of any length, entry by entry: y[targets[e]] += weights[e] x[sources[e]]."""

    sources: Any
    targets: Any
    weights: Any
    count: int = field(metadata={"static": True})

    def spread(self, weights: np.ndarray, cells: int) -> LongRows:
        """As that of a bundle."""
        sources = np.asarray(self.sources)
        return LongRows(sources % np.int32(cells), self.targets, weights[sources], self.count)

    def __call__(self, x: jax.Array) -> jax.Array:
        taken = _take(x, self.sources, True)
        terms = taken if self.weights is None else _column(self.weights, x) * taken
        y = jnp.zeros((self.count, *x.shape[1:]), terms.dtype)
        return y.at[self.targets].add(terms, indices_are_sorted=True, mode="promise_in_bounds")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """All rows of a sparse matrix.

    Attributes:
        parts: bundles and long rows. order: (rows,) int32, where each row is in their concatenation; None where they
            are in order.
        shape: of the matrix. entries: number of them.
    """

    parts: tuple[Bundle | LongRows, ...]
    order: Any
    shape: tuple[int, int] = field(metadata={"static": True})
    entries: int = field(metadata={"static": True})

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.entries > READINGS * self.shape[1]:
            x = materialized(x, self.index)
        y = jnp.concatenate([part(x) for part in self.parts]) if self.parts else jnp.zeros((0, *x.shape[1:]), x.dtype)
        y = y if self.order is None else _take(y, self.order, True)
        return materialized(y, self.index) if self.entries > READINGS * self.shape[0] else y

    @property
    def index(self) -> jax.Array:
        """One of the indices, for `materialized`."""
        tables = (part.sources for part in self.parts if part.sources.size)
        return jnp.asarray(next(tables, np.zeros(1, np.int32))).ravel()[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearMap:
    """y = S x for a constant sparse S (m, n): differentiable in x of shape (n, …), in both modes, under `vmap`.

    A pytree of tables, so that compiled functions take it as an argument.
    """

    rows: Rows
    columns: Rows

    @classmethod
    def from_entries(
        cls, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None = None
    ) -> LinearMap:
        """With ``weights[e]`` (default 1) at (rows[e], cols[e]); entries at the same place add up."""
        rows, cols = (np.ravel(indices).astype(np.int32, copy=False) for indices in (rows, cols))
        weights = None if weights is None else np.ravel(weights)
        return _on_device(cls(_rows_of(rows, cols, shape, weights), _rows_of(cols, rows, shape[::-1], weights)))

    @classmethod
    def selection(cls, indices: np.ndarray, size: int) -> LinearMap:
        """x ↦ x[indices] for x of ``size``."""
        return cls.from_entries(np.arange(np.size(indices)), indices, (np.size(indices), size))

    def spread(self, weights: np.ndarray) -> LinearMap:
        """S W for an S without weights, whose rows are single entries as of element matrices.

        W (n, cells) takes the entry of x for each cell to several of S: ``weights`` (n / cells, cells), where column
        e · cells + c of S belongs to weights[e, c].
        """
        cells = weights.shape[1]
        parts = tuple(part.spread(np.append(weights, 0.0), cells) for part in self.rows.parts)
        rows = Rows(parts, self.rows.order, (self.shape[0], cells), self.rows.entries)
        (column,) = self.columns.parts
        bundle = Bundle(np.asarray(column.sources).reshape(weights.shape), weights, True)
        return _on_device(LinearMap(rows, Rows((bundle,), None, (cells, self.shape[0]), self.rows.entries)))

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.rows.shape

    @property
    def T(self) -> LinearMap:
        """x ↦ Sᵀ x; the same tables."""
        return LinearMap(self.columns, self.rows)

    @property
    def index(self) -> jax.Array:
        """One of the indices, for `materialized`."""
        return self.rows.index

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.asarray(x)
        if x.shape[:1] != self.shape[1:]:
            raise SolveError(f"a linear map of shape {self.shape} is applied to an array of shape {x.shape}")
        leaves, structure = jax.tree.flatten(self)
        kinds = (leaf.dtype for leaf in leaves if leaf.dtype.kind in "fc")
        return _map_p.bind(x.astype(jnp.result_type(x, *kinds)), *leaves, structure=structure)


def _on_device(linear_map: LinearMap) -> LinearMap:
    """With JAX arrays, so that all compiled functions share them; the first use may be inside of one."""
    with jax.ensure_compile_time_eval():
        return jax.tree.map(jnp.asarray, linear_map)


def materialized(x: Any, index: jax.Array) -> Any:
    """x, one array or several, computed once and stored, where XLA would compute it anew at each use in a larger loop.

    ``index`` is an integer ≥ 0 that XLA does not know: a conditional on it ends a fusion. (An optimization barrier
    does not on the CPU: measured, and seen in the compiled program.)
    """
    return jax.lax.cond(index >= 0, lambda x: x, lambda x: jax.tree.map(lambda leaf: leaf + leaf, x), x)


@jax.custom_jvp
def with_stored_derivatives(x: jax.Array, index: jax.Array) -> jax.Array:
    """x; its tangents and cotangents are `materialized`."""
    return x


@with_stored_derivatives.defjvp
def _stored(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    x, index = primals
    return x, materialized(tangents[0], index)


def _take(x: jax.Array, indices: jax.Array, in_bounds: bool) -> jax.Array:
    if in_bounds:
        return x.at[indices].get(mode="promise_in_bounds")
    return x.at[indices].get(mode="fill", fill_value=0)


def _column(weights: jax.Array, x: jax.Array) -> jax.Array:
    return weights.reshape(weights.shape + (1,) * (x.ndim - 1))


def _rows_of(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None) -> Rows:
    """The entries sorted by rows and bundled by the rows' lengths."""
    starts, entries = grouped(rows, shape[0])
    cols = cols[entries]
    weights = None if weights is None else weights[entries]
    lengths = np.diff(starts)
    kind = np.searchsorted(LENGTHS, lengths)
    members = [np.flatnonzero(kind == k).astype(np.int32) for k in range(len(LENGTHS) + 1)]
    parts: list[Bundle | LongRows] = [
        _bundle(starts[group], lengths[group], cols, weights, shape[1]) for group in members[:-1] if len(group)
    ]
    if len(members[-1]):
        parts.append(_long_rows(starts[members[-1]], lengths[members[-1]], cols, weights))
    return Rows(tuple(parts), _inverse(np.concatenate(members)), (int(shape[0]), int(shape[1])), len(rows))


def grouped(keys: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, order): ``order[starts[k] : starts[k + 1]]`` are the places where ``keys`` (n,) is k, in order; int32.

    A counting sort, by SciPy's conversion to compressed rows.
    """
    places = np.arange(len(keys), dtype=np.int32)
    table = sp.csr_array((places, (keys, places)), (count, max(len(keys), 1)))
    return table.indptr.astype(np.int32, copy=False), table.data


def _bundle(starts: np.ndarray, lengths: np.ndarray, cols: np.ndarray, weights: np.ndarray | None, size: int) -> Bundle:
    k = np.arange(lengths.max(initial=0), dtype=np.int32)[:, None]
    if lengths.min() == lengths.max():
        return Bundle(cols[starts + k], None if weights is None else weights[starts + k], True)
    exists = k < lengths
    place = np.where(exists, starts + k, 0)
    return Bundle(
        np.where(exists, cols[place], np.int32(size)),
        None if weights is None else np.where(exists, weights[place], 0),
        False,
    )


def _long_rows(starts: np.ndarray, lengths: np.ndarray, cols: np.ndarray, weights: np.ndarray | None) -> LongRows:
    place = np.concatenate([np.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])
    targets = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return LongRows(cols[place], targets, None if weights is None else weights[place], len(lengths))


def _inverse(order: np.ndarray) -> np.ndarray | None:
    """The inverse permutation; None for the identity."""
    if np.array_equal(order, np.arange(len(order))):
        return None
    inverse = np.empty(len(order), np.int32)
    inverse[order] = np.arange(len(order), dtype=np.int32)
    return inverse


_map_p = Primitive("sparse_linear_map")


def _apply(x: jax.Array, *leaves: Any, structure: Any) -> jax.Array:
    return jax.tree.unflatten(structure, leaves).rows(x)


def _abstract(x: Any, *leaves: Any, structure: Any) -> Any:
    mapping = jax.tree.unflatten(structure, leaves)
    shape = (mapping.shape[0], *x.shape[1:])
    return jax.core.ShapedArray(shape, x.dtype)


def _tangent(primals: Sequence[Any], tangents: Sequence[Any], *, structure: Any) -> tuple[Any, Any]:
    x, *leaves = primals
    if not all(type(tangent) is ad.Zero for tangent in tangents[1:]):
        raise NotImplementedError("the weights of a LinearMap are constants; to differentiate in them use a CSRMatrix")
    return _map_p.bind(x, *leaves, structure=structure), _map_p.bind(tangents[0], *leaves, structure=structure)


def _transpose(cotangent: Any, _: Any, *leaves: Any, structure: Any) -> list[Any]:
    return [jax.tree.unflatten(structure, leaves).T(cotangent), *([None] * len(leaves))]


def _batched(args: Sequence[Any], axes: Sequence[Any], *, structure: Any) -> tuple[jax.Array, int]:
    x, *leaves = args
    if any(axis is not None for axis in axes[1:]):  # a batched `cond` batches all that its branches use
        return jax.vmap(partial(_apply, structure=structure), in_axes=tuple(axes))(*args), 0
    y = _map_p.bind(jnp.moveaxis(x, axes[0], -1), *leaves, structure=structure)
    return y, y.ndim - 1


_map_p.def_impl(jax.jit(_apply, static_argnames="structure"))
_map_p.def_abstract_eval(_abstract)
ad.primitive_jvps[_map_p] = _tangent
ad.primitive_transposes[_map_p] = _transpose
batching.primitive_batchers[_map_p] = _batched
mlir.register_lowering(_map_p, mlir.lower_fun(_apply, multiple_results=False))
