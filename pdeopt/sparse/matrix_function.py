"""Functions of a well-conditioned symmetric matrix, by products with it alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
import scipy.sparse as sp

from pdeopt.sparse.errors import SolveError

#: The relative size of the remainder of the series.
SERIES_REMAINDER = 1e-16
#: The largest degree of the series; it is enough for condition numbers up to about 700.
MAX_DEGREE = 512


class MatrixFunction:
    """A function f(A) of a symmetric matrix A, such as x^-½ or 1/x, which multiplies vectors.

    It is computed by the Chebyshev series of f, to rounding: the remainder falls with the degree as
    ((√κ − 1) / (√κ + 1))^degree for a function with singularities at x ≤ 0 only, where κ is the quotient of the ends of
    the interval. (Trefethen, "Approximation Theory and Approximation Practice", 2013, chapter 8; Higham, "Functions of
    Matrices", 2008.) f(A) is symmetric; it takes neither a factorization nor memory.

    Args:
        matrix: The symmetric matrix A (n, n).
        interval: Two numbers > 0 between which the eigenvalues of A lie.
        function: The function f of an array of numbers.

    Raises:
        SolveError: The interval is not positive, or so wide that the series does not end.
    """

    def __init__(
        self, matrix: sp.csr_matrix, interval: tuple[float, float], function: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.coefficients = _series(interval, function)
        center, radius = 0.5 * (interval[0] + interval[1]), 0.5 * (interval[1] - interval[0])
        shifted = matrix - center * sp.eye_array(matrix.shape[0])
        self._doubled = (shifted * (2.0 / radius if radius > 0 else 0.0)).tocsr()  # eigenvalues in [−2, 2]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return f(A) x for x (n,), by Clenshaw's recurrence."""
        x = np.asarray(x, float)
        first, second, scaled = np.zeros_like(x), np.zeros_like(x), np.empty_like(x)
        for coefficient in self.coefficients[:0:-1]:
            following = self._doubled @ first
            following -= second
            following += np.multiply(coefficient, x, scaled)
            first, second = following, first
        product: np.ndarray = 0.5 * (self._doubled @ first) - second + self.coefficients[0] * x
        return product


def _series(interval: tuple[float, float], function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return as many Chebyshev coefficients of f on the interval as count.

    They come from the values of f at the Chebyshev points.
    """
    low, high = interval
    if not 0 < low <= high < np.inf:
        raise SolveError(f"the spectrum of a matrix function lies in {interval}; expected 0 < low ≤ high")
    if high - low <= 1e-13 * high:  # a multiple of the identity
        return np.array([float(function(np.array(0.5 * (low + high))))])

    root = np.sqrt(high / low)
    degree = int(np.ceil(np.log(1 / SERIES_REMAINDER) / np.log((root + 1) / (root - 1)))) + 2
    if degree > MAX_DEGREE:
        raise SolveError(f"the matrix is too ill-conditioned for a Chebyshev series: its spectrum lies in {interval}")
    angles = (np.arange(2 * degree) + 0.5) * (np.pi / (2 * degree))
    values = function(low + (high - low) * np.cos(0.5 * angles) ** 2)
    coefficients: np.ndarray = scipy.fft.dct(values)[: degree + 1] / len(values)
    coefficients[0] *= 0.5
    return coefficients
