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

#: The numbers of entries to which rows are filled up, so that rows of equal length are summed entry by entry; longer
#: rows are scattered.
BUNDLE_LENGTHS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
#: The number of readings of each entry beyond which an input is computed once before, and not anew for each reading.
MAX_READINGS = 4


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bundle:
    """A bundle of rows of about equal length: y[r] = Σ_k weights[k, r] x[sources[k, r]].

    Attributes:
        sources: The indices (k, rows) int32 of what is read; beyond the end of x where a row has less than k entries.
        weights: The weights (k, rows), or None for ones.
        is_full: True where every row has k entries.
    """

    sources: Any
    weights: Any
    is_full: bool = field(metadata={"static": True})

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the image of x (columns, …)."""
        zeros = jnp.zeros((self.sources.shape[1], *x.shape[1:]), x.dtype)
        return sum((self._term(x, k) for k in range(len(self.sources))), zeros)

    def spread(self, weights: np.ndarray, cells: int) -> Bundle:
        """Return the bundle that reads an entry for each cell, with weights, in place of entries of x.

        Args:
            weights: The weights of the entries of x, as one row, and a last one for the places that are filled up.
            cells: The number of cells.
        """
        sources = np.asarray(self.sources)
        inside = np.where(sources < len(weights) - 1, sources % np.int32(cells), np.int32(cells))
        return Bundle(inside, weights[sources], self.is_full)

    def on_host(self, x: np.ndarray) -> np.ndarray:
        """Return the image of x (columns + 1,), whose last entry is 0, computed by NumPy."""
        weights = 1.0 if self.weights is None else np.asarray(self.weights)
        image: np.ndarray = (weights * x[np.minimum(self.sources, len(x) - 1)]).sum(0)
        return image

    def _term(self, x: jax.Array, k: int) -> jax.Array:
        taken = _take(x, self.sources[k], self.is_full)
        return taken if self.weights is None else _column(self.weights[k], x) * taken


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LongRows:
    """Rows of any length, which are summed entry by entry: y[targets[e]] += weights[e] x[sources[e]].

    Attributes:
        sources: The index (entries,) int32 of what each entry reads.
        targets: The row (entries,) int32 of each entry.
        weights: The weight (entries,) of each entry, or None for ones.
        count: The number of rows.
    """

    sources: Any
    targets: Any
    weights: Any
    count: int = field(metadata={"static": True})

    def spread(self, weights: np.ndarray, cells: int) -> LongRows:
        """Return the rows that read an entry for each cell, with weights; see `Bundle.spread`."""
        sources = np.asarray(self.sources)
        return LongRows(sources % np.int32(cells), self.targets, weights[sources], self.count)

    def on_host(self, x: np.ndarray) -> np.ndarray:
        """Return the image of x, computed by NumPy; see `Bundle.on_host`."""
        weights = 1.0 if self.weights is None else np.asarray(self.weights)
        y = np.zeros(self.count, x.dtype)
        np.add.at(y, np.asarray(self.targets), weights * x[np.asarray(self.sources)])
        return y

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the image of x (columns, …)."""
        taken = _take(x, self.sources, True)
        terms = taken if self.weights is None else _column(self.weights, x) * taken
        y = jnp.zeros((self.count, *x.shape[1:]), terms.dtype)
        return y.at[self.targets].add(terms, indices_are_sorted=True, mode="promise_in_bounds")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """All rows of a sparse matrix.

    Attributes:
        parts: The bundles and the long rows.
        order: The place (rows,) int32 of each row in the concatenation of the parts; None where they are in order.
        shape: The shape (rows, columns) of the matrix.
        entries: The number of entries.
    """

    parts: tuple[Bundle | LongRows, ...]
    order: Any
    shape: tuple[int, int] = field(metadata={"static": True})
    entries: int = field(metadata={"static": True})

    def on_host(self, x: np.ndarray) -> np.ndarray:
        """Return the image of x (columns,), computed by NumPy."""
        padded = np.append(x, np.zeros(1, x.dtype))  # for what is read beyond the end
        y = np.concatenate([np.zeros(0, x.dtype), *(part.on_host(padded) for part in self.parts)])
        return y if self.order is None else y[np.asarray(self.order)]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the image of x (columns, …)."""
        if self.entries > MAX_READINGS * self.shape[1]:
            x = materialized(x, self.index)
        y = jnp.concatenate([part(x) for part in self.parts]) if self.parts else jnp.zeros((0, *x.shape[1:]), x.dtype)
        y = y if self.order is None else _take(y, self.order, True)
        return materialized(y, self.index) if self.entries > MAX_READINGS * self.shape[0] else y

    @property
    def index(self) -> jax.Array:
        """One of the indices that are read, as `materialized` takes it."""
        tables = (part.sources for part in self.parts if part.sources.size)
        return jnp.asarray(next(tables, np.zeros(1, np.int32))).ravel()[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearMap:
    """A linear map y = S x for a constant sparse matrix S (m, n).

    It is differentiable in x of shape (n, …), in both modes, also under `vmap`. It is a pytree of tables, so that
    compiled functions take it as an argument.

    Attributes:
        rows: The rows of S, by which the map is applied.
        columns: The rows of Sᵀ, by which its transpose is applied.
    """

    rows: Rows
    columns: Rows

    @classmethod
    def from_entries(
        cls, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None = None
    ) -> LinearMap:
        """Return the map whose matrix has ``weights[e]`` at (rows[e], cols[e]).

        Args:
            rows: The row of each entry.
            cols: The column of each entry.
            shape: The shape (m, n) of the matrix.
            weights: The value of each entry; entries at the same place add up. None: 1 for each.
        """
        rows, cols = (np.ravel(indices).astype(np.int32, copy=False) for indices in (rows, cols))
        weights = None if weights is None else np.ravel(weights)
        return _on_device(cls(_rows_of(rows, cols, shape, weights), _rows_of(cols, rows, shape[::-1], weights)))

    @classmethod
    def selection(cls, indices: np.ndarray, size: int) -> LinearMap:
        """Return the map x ↦ x[indices] for x with ``size`` entries."""
        return cls.from_entries(np.arange(np.size(indices)), indices, (np.size(indices), size))

    def spread(self, weights: np.ndarray) -> LinearMap:
        """Return the map S W for an S without weights, each of whose columns has a single entry.

        S is a map such as the one from the entries of element matrices. W (n, cells) takes the entry of x for each cell
        to several columns of S: column e · cells + c of S belongs to weights[e, c].

        Args:
            weights: The entries (n / cells, cells) of W.
        """
        cells = weights.shape[1]
        parts = tuple(part.spread(np.append(weights, 0.0), cells) for part in self.rows.parts)
        rows = Rows(parts, self.rows.order, (self.shape[0], cells), self.rows.entries)
        (column,) = self.columns.parts
        bundle = Bundle(np.asarray(column.sources).reshape(weights.shape), weights, True)
        return _on_device(LinearMap(rows, Rows((bundle,), None, (cells, self.shape[0]), self.rows.entries)))

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, n) of S."""
        return self.rows.shape

    @property
    def T(self) -> LinearMap:
        """The map x ↦ Sᵀ x, which has the same tables."""
        return LinearMap(self.columns, self.rows)

    @property
    def index(self) -> jax.Array:
        """One of the indices that are read, as `materialized` takes it."""
        return self.rows.index

    def on_host(self, x: np.ndarray) -> np.ndarray:
        """Return the image of x (columns,), computed by NumPy: for what is made once, and needs no program."""
        return self.rows.on_host(x)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the image of x (columns, …). Raises SolveError for another number of columns."""
        x = jnp.asarray(x)
        if x.shape[:1] != self.shape[1:]:
            raise SolveError(f"a linear map of shape {self.shape} is applied to an array of shape {x.shape}")
        leaves, structure = jax.tree.flatten(self)
        kinds = (leaf.dtype for leaf in leaves if leaf.dtype.kind in "fc")
        y: jax.Array = _map_p.bind(x.astype(jnp.result_type(x, *kinds)), *leaves, structure=structure)
        return y


def _on_device(linear_map: LinearMap) -> LinearMap:
    """Return a map with its tables as JAX arrays, so that all compiled functions share them.

    The first use may be inside of a function that is compiled. (``jnp.asarray`` would compile a program a shape.)
    """
    with jax.ensure_compile_time_eval():
        moved: LinearMap = jax.device_put(linear_map)
        return moved


def materialized(x: Any, index: jax.Array) -> Any:
    """Return x, computed once and stored where XLA would compute it anew at each use in a larger loop.

    A conditional on the index ends a fusion. (An optimization barrier does not on the CPU: measured, and seen in the
    compiled program.)

    Args:
        x: One array, or a pytree of several.
        index: An integer ≥ 0 that XLA does not know.
    """
    return jax.lax.cond(index >= 0, lambda x: x, lambda x: jax.tree.map(lambda leaf: leaf + leaf, x), x)


@jax.custom_jvp
def with_stored_derivatives(x: jax.Array, index: jax.Array) -> jax.Array:
    """Return x, whose tangents and cotangents are `materialized`."""
    return x


@with_stored_derivatives.defjvp
def _stored(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    x, index = primals
    return x, materialized(tangents[0], index)


def _take(x: jax.Array, indices: jax.Array, in_bounds: bool) -> jax.Array:
    """Return x[indices], and zeros where an index is beyond the end.

    Indices are not negative. (``x[indices]`` asks whether they are, in seven more operations of a program, each time.)
    """
    depth = len(indices.shape)
    numbers = jax.lax.GatherDimensionNumbers(tuple(range(depth, depth + x.ndim - 1)), (0,), (0,))
    mode = jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS if in_bounds else jax.lax.GatherScatterMode.FILL_OR_DROP
    return jax.lax.gather(x, indices[..., None], numbers, (1, *x.shape[1:]), mode=mode, fill_value=0)


def _column(weights: jax.Array, x: jax.Array) -> jax.Array:
    return weights.reshape(weights.shape + (1,) * (x.ndim - 1))


def _rows_of(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], weights: np.ndarray | None) -> Rows:
    """Return the entries of a matrix sorted by rows and bundled by the rows' lengths."""
    starts, entries = grouped(rows, shape[0])
    cols = cols[entries]
    weights = None if weights is None else weights[entries]
    lengths = np.diff(starts)
    kind = np.searchsorted(BUNDLE_LENGTHS, lengths)
    members = [np.flatnonzero(kind == k).astype(np.int32) for k in range(len(BUNDLE_LENGTHS) + 1)]
    parts: list[Bundle | LongRows] = [
        _bundle(starts[group], lengths[group], cols, weights, shape[1]) for group in members[:-1] if len(group)
    ]
    if len(members[-1]):
        parts.append(_long_rows(starts[members[-1]], lengths[members[-1]], cols, weights))
    return Rows(tuple(parts), _inverse(np.concatenate(members)), (int(shape[0]), int(shape[1])), len(rows))


def grouped(keys: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of each key: ``order[starts[k] : starts[k + 1]]`` are those where ``keys`` is k.

    This is a counting sort, by SciPy's conversion to compressed rows.

    Args:
        keys: The whole numbers (n,), at least 0 and less than ``count``.
        count: The number of different keys.

    Returns:
        The starts (count + 1,) and the order (n,), int32; the places of one key are in increasing order.
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
    """Return the inverse of a permutation, or None for the identity."""
    if np.array_equal(order, np.arange(len(order))):
        return None
    inverse = np.empty(len(order), np.int32)
    inverse[order] = np.arange(len(order), dtype=np.int32)
    return inverse


_map_p = Primitive("sparse_linear_map")


def _apply(x: jax.Array, *leaves: Any, structure: Any) -> jax.Array:
    linear_map: LinearMap = jax.tree.unflatten(structure, leaves)
    return linear_map.rows(x)


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
