"""Equilibration: systems in different units are solved and judged with entries scaled to about 1.

A residual, a norm of x or a condition number says nothing where units differ by many orders of magnitude. All scaling
of rows and columns is by powers of two, which changes no bit of a mantissa, and is left out where they differ little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError, check_finite, report
from pdeopt.sparse.pattern import SparsityPattern

#: The largest factor by which the sums of rows may differ, and those of columns alike, where they are left as they are
#: (unknowns of a symmetric matrix then differ by its square root). A direct method reaches the residuals of a scaled
#: system within that.
DIRECT_ROW_SPREAD = 2.0**20
#: The size up to which numbers, and their inverses, are far from overflow and underflow, also in products of a few.
SAFE_MAGNITUDE = 2.0**200
#: The largest entry with which a scaling by the diagonal is taken. In a definite matrix it is 1, up to the rounding to
#: powers of two.
MAX_SCALED_ENTRY = 8.0
#: The largest number of least-squares fits of a scaling.
MAX_FITS = 4
#: The largest number of iterations of conjugate gradients that solve each fit.
FIT_ITERATIONS = 30
#: The number of bits by which an entry must be smaller than those beside it to be taken for the rounding error of a
#: zero, perhaps.
NEGLIGIBLE_BITS = 32
#: The difference of exponents (of two) beyond which a scaling is called wild.
WILD_EXPONENT_RANGE = 64
#: The part of a column of x that overflow or underflow may take, relative to its largest entry in scaled units.
ACCEPTED_LOSS = 1e-12


#: A function that finds the exponents (n,) of rows and columns for a pattern and values (nnz,).
Fit = Callable[[SparsityPattern, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Scaling:
    """A scaling R A C with R = 2^rows and C = 2^columns: A x = b is (R A C) y = R b with x = C y.

    Attributes:
        rows: The exponents (n,) of the rows, whole numbers.
        columns: The exponents (n,) of the columns, whole numbers.
        is_trivial: True where all of them are 0.
    """

    rows: np.ndarray
    columns: np.ndarray
    is_trivial: bool

    @property
    def is_wild(self) -> bool:
        """True where the exponents differ by more than any contrast of coefficients and mesh sizes does."""
        return max(np.ptp(side) if len(side) else 0 for side in (self.rows, self.columns)) > WILD_EXPONENT_RANGE

    def sides(self, transposed: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the exponents (n,) that scale A, or Aᵀ, from the left and from the right."""
        return (self.columns, self.rows) if transposed else (self.rows, self.columns)

    def solve(
        self,
        solve_scaled: Callable[[np.ndarray, np.ndarray], np.ndarray],
        rhs: np.ndarray,
        size: np.ndarray,
        transposed: bool,
    ) -> np.ndarray:
        """Return X (n, k) from the solution of the scaled system.

        Args:
            solve_scaled: A function that solves the scaled system. It takes R rhs, each column multiplied by a power of
                two that brings it to about 1, and the exponents (n, k) that lead back from there to rhs (except for a
                common one in each column).
            rhs: The right-hand sides (n, k), finite.
            size: The largest magnitude (k,) in each of them, as `largest` returns it.
            transposed: Whether Aᵀ X = rhs is asked for.

        Raises:
            SolveError: X lies beyond the range of double precision.
        """
        if self.is_trivial and ((size == 0) | ((size > 1 / SAFE_MAGNITUDE) & (size < SAFE_MAGNITUDE))).all():
            return solve_scaled(rhs, np.zeros_like(rhs, np.int32))
        left, right = (side[:, None] for side in self.sides(transposed))
        shift = np.where(rhs == 0, np.iinfo(np.int32).min // 2, exponents(rhs) + left).max(0)
        shift = np.where(size == 0, 0, shift)
        y = solve_scaled(times_power_of_two(rhs, left - shift), shift - left)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            x = times_power_of_two(y, right + shift)
            lost = np.abs(times_power_of_two(x, -right - shift) - y)
        if not (lost <= ACCEPTED_LOSS * largest(y)).all():
            raise report(_out_of_range(np.abs(y).max(1).argmax(), int((exponents(y) + right + shift)[y != 0].max())))
        return x


def _out_of_range(number: int, exponent: int) -> SolveError:
    how = "overflows: it" if exponent > 0 else "underflows: it"
    return SolveError(
        f"the solution {how} reaches 2^{exponent} (unknown {number}), and double precision ends at 2^±1022; take other "
        "units for the equations or the unknowns"
    )


@dataclass(frozen=True, eq=False)
class Equilibrated:
    """A scaled matrix R A C, and what is known of its values.

    Attributes:
        scaling: The scaling.
        values: The values (nnz,) of R A C; those that were given, not copied, where the scaling is trivial.
        row_sums: The sums (n,) of the magnitudes of the values in each row.
        is_symmetric: Whether R A C is symmetric, or Hermitian where that was asked about.
    """

    scaling: Scaling
    values: np.ndarray
    row_sums: np.ndarray
    is_symmetric: bool


def equilibrated(
    pattern: SparsityPattern, data: np.ndarray, tolerated_spread: float = DIRECT_ROW_SPREAD, hermitian: bool = False
) -> Equilibrated:
    """Return a matrix scaled where it needs it; a symmetric one is scaled symmetrically.

    Args:
        pattern: The pattern of the matrix.
        data: Its values (nnz,).
        tolerated_spread: The factor by which the sums of rows, and of columns, may differ without a scaling.
        hermitian: Whether a Hermitian matrix, in place of a symmetric one, is scaled symmetrically.

    Raises:
        SolveError: A value is not finite.
    """
    n = pattern.shape[0]
    zeros = np.zeros(n, np.int32)
    with np.errstate(over="ignore"):
        sums = absolute_row_sums(pattern, data)
    if not np.isfinite(sums).all():
        check_finite("A", data)
    values = data
    if not _is_safe(sums):
        values = times_power_of_two(data, -exponents(data).max(initial=0))
        sums = absolute_row_sums(pattern, values)
    symmetric = is_symmetric(pattern, values, sums, hermitian)
    column_sums = sums if symmetric else np.bincount(pattern.indices, np.abs(values), n)
    if values is data and max(_spread(sums), _spread(column_sums)) <= tolerated_spread:
        return Equilibrated(Scaling(zeros, zeros, is_trivial=True), data, sums, symmetric)
    fits: list[Fit] = [partial(_by_least_squares, symmetric=False)]
    if symmetric:
        fits = [_by_diagonal, partial(_by_least_squares, symmetric=True), *fits]
    for fit in fits:
        rows, columns = fit(pattern, data)
        values = times_power_of_two(data, rows[pattern.rows] + columns[pattern.indices])
        sums = absolute_row_sums(pattern, values)
        is_balanced = fit is not _by_diagonal or (
            np.abs(values).max() <= MAX_SCALED_ENTRY and sums[sums > 0].min() >= 0.25
        )
        still_symmetric = is_symmetric(pattern, values, sums, hermitian)
        if is_balanced and still_symmetric:
            break
    return Equilibrated(Scaling(rows, columns, is_trivial=False), values, sums, still_symmetric)


def _is_safe(sums: np.ndarray) -> bool:
    """Return whether all sums that are not zero are far from overflow and underflow."""
    return bool(((sums == 0) | ((sums > 1 / SAFE_MAGNITUDE) & (sums < SAFE_MAGNITUDE))).all())


def _spread(sums: np.ndarray) -> float:
    positive = sums[sums > 0]
    return float(positive.max() / positive.min()) if len(positive) else 1.0


def _by_diagonal(pattern: SparsityPattern, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the exponents of rows and columns that bring the diagonal to 1, where it is not zero.

    This is nearly the best of all diagonal scalings of a definite matrix (van der Sluis 1969).
    """
    on_diagonal = pattern.indices == pattern.rows
    half = np.zeros(pattern.shape[0], np.int32)
    half[pattern.rows[on_diagonal]] = -(exponents(data[on_diagonal]) // 2)
    return half, half


def _by_least_squares(pattern: SparsityPattern, data: np.ndarray, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the exponents of rows and columns that bring all entries as close to 1 as can be.

    They are the r and c with::

        Σ w_ij (log₂|a_ij| + r_i + c_j)² = min,

    which scale to the same matrix whatever the units of equations and unknowns are (Curtis and Reid 1972). The weights
    start at 1 and fall with the size of an entry relative to its row and column: some are rounding errors of zeros.
    """
    n, stored = pattern.shape[0], data != 0
    rows, columns = pattern.rows[stored], pattern.indices[stored]
    size = np.log2(np.maximum(np.abs(data.real), np.abs(data.imag))[stored])
    starts = np.searchsorted(rows, np.arange(n + 1))
    r, c = np.zeros(n), np.zeros(n)
    scaled, weights = size, np.ones(len(size))
    for _ in range(MAX_FITS):
        W = sp.csr_array((weights, columns, starts), (n, n))
        more_r, more_c = _least_squares(W, sp.csr_array((weights * scaled, columns, starts), (n, n)))
        r, c = r + more_r, c + more_c
        scaled = size + r[rows] + c[columns]
        largest_beside = np.maximum(_largest_of(rows, scaled, n)[rows], _largest_of(columns, scaled, n)[columns])
        if (scaled - largest_beside).min(initial=0) > -NEGLIGIBLE_BITS:
            break
        weights = np.exp2((scaled - largest_beside) / 4)
    for _ in range(3):  # bring the largest entries to 1 (Ruiz 2001)
        scaled = size + r[rows] + c[columns]
        r, c = r - _largest_of(rows, scaled, n) / 2, c - _largest_of(columns, scaled, n) / 2
    if symmetric:
        r = c = (r + c) / 2
    return np.round(r).astype(np.int32), np.round(c).astype(np.int32)


def _largest_of(groups: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return the largest value in each of n groups, and 0 for a group without any, (n,)."""
    result = np.full(n, -np.inf)
    np.maximum.at(result, groups, values)
    return np.where(np.isfinite(result), result, 0)


def _least_squares(W: sp.csr_array, weighted: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return r and c (n,) with Σ w_ij (a_ij + r_i + c_j)² = min, by preconditioned CG.

    Args:
        W: The weights w (n, n).
        weighted: The products w a (n, n).

    Returns:
        r and c, to an accuracy of a quarter.
    """
    n, tiny = W.shape[0], np.finfo(float).tiny
    diagonal = np.maximum(np.concatenate([W.sum(1), W.sum(0)]), tiny)
    residual = -np.concatenate([weighted.sum(1), weighted.sum(0)])
    x, direction, before = np.zeros(2 * n), np.zeros(2 * n), 1.0
    for _ in range(FIT_ITERATIONS):
        preconditioned = residual / diagonal
        if np.abs(preconditioned).max(initial=0) < 0.25:
            break
        product = residual @ preconditioned
        direction = preconditioned + product / before * direction
        image = diagonal * direction + np.concatenate([W @ direction[n:], W.T @ direction[:n]])
        curvature = direction @ image
        if not curvature > 0:  # r + 1 and c − 1 are the same scaling
            break
        x, residual, before = x + product / curvature * direction, residual - product / curvature * image, product
    return x[:n], x[n:]


def times_power_of_two(values: np.ndarray, exponents: np.ndarray | int) -> np.ndarray:
    """Return values · 2^exponents for real or complex values, exact except for overflow and underflow."""
    if not np.iscomplexobj(values):
        scaled: np.ndarray = np.ldexp(values, exponents)
        return scaled
    result = np.empty(np.broadcast_shapes(values.shape, np.shape(exponents)), values.dtype)
    result.real, result.imag = np.ldexp(values.real, exponents), np.ldexp(values.imag, exponents)
    return result


def exponents(values: np.ndarray) -> np.ndarray:
    """Return the whole numbers e with ``2^(e−1) ≤ |value| < 2^e``, and 0 for zeros.

    The value of a complex number is the larger one of its real and its imaginary part.
    """
    found: np.ndarray = np.frexp(np.maximum(np.abs(values.real), np.abs(values.imag)))[1]
    return found


def largest(columns: np.ndarray) -> np.ndarray:
    """Return the largest magnitude (k,) in each column of an array (n, k)."""
    if np.iscomplexobj(columns):
        moduli: np.ndarray = np.abs(columns).max(0, initial=0)
        return moduli
    sizes: np.ndarray = np.maximum(columns.max(0, initial=0), -columns.min(0, initial=0))
    return sizes


def absolute_row_sums(pattern: SparsityPattern, data: np.ndarray) -> np.ndarray:
    """Return the sums (n,) of the magnitudes of the values in each row."""
    sums: np.ndarray = pattern.matrix(np.abs(data)) @ np.ones(pattern.shape[1])
    return sums


def is_symmetric(pattern: SparsityPattern, data: np.ndarray, row_sums: np.ndarray, hermitian: bool = False) -> bool:
    """Return whether A equals its transpose up to rounding of the assembly.

    The order of sums differs between a_ij and a_ji. Each entry is compared with its own row and column, so that a block
    in small units is not overlooked. Of a large matrix a sample is compared: where an asymmetry is missed, the residual
    shows that what was chosen by it does not fit. (For 1.8 M entries, all take 12 ms and the sample 1 ms.)

    Args:
        pattern: The pattern of A.
        data: The values (nnz,) of A.
        row_sums: The sums (n,) of the magnitudes in each row.
        hermitian: Whether A is compared with its conjugate transpose instead.
    """
    if pattern.mirrored is None or not len(data) or not np.isfinite(row_sums).all():
        return False
    above, below = pattern.mirrored
    upper, lower = data[above], data[below]
    difference, tolerance = np.abs(upper - (lower.conj() if hermitian else lower)), 16 * np.finfo(float).eps
    if hermitian and np.iscomplexobj(data) and not _is_real_on_diagonal(pattern, data, tolerance * row_sums):
        return False
    if difference.max(initial=0) <= tolerance * row_sums.min():
        return True
    size = np.minimum(row_sums[pattern.rows[above]], row_sums[pattern.indices[above]])
    return bool((difference <= tolerance * size).all())


def _is_real_on_diagonal(pattern: SparsityPattern, data: np.ndarray, tolerance: np.ndarray) -> bool:
    on_diagonal = np.flatnonzero(pattern.indices == pattern.rows)
    return bool((2 * np.abs(data[on_diagonal].imag) <= tolerance[pattern.rows[on_diagonal]]).all())
