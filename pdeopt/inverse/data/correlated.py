"""The misfit of data whose noise is Gaussian and correlated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.inverse.data.checks import check_predicted, checked_data, fixed, numbers_of_a_datum
from pdeopt.inverse.data.misfit import Misfit
from pdeopt.inverse.data.observation import Observation
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization.quadratic import Symmetric, half_square
from pdeopt.sparse import CSRMatrix, SolveError, linear_solve
from pdeopt.sparse.solvers.direct.cholesky import Cholesky

#: The largest difference between a covariance and its transpose, relative to its largest entry, that is rounding.
SYMMETRY_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False)
class CorrelatedMisfit(Misfit):
    """A misfit ½ (d(u) − data)ᵀ C⁻¹ (d(u) − data) of data with Gaussian noise of covariance C.

    It is the negative log-likelihood without its constant. It is made by `of` from the covariance, or by `whitened`
    from a matrix W that makes white noise of it, WᵀW = C⁻¹. Data of shape (k, r) are taken row by row, as
    ``data.ravel()``. The real and the imaginary parts of complex data have the covariance C each, and are independent
    (circular noise).

    Attributes:
        observation: The observation, which predicts the data from the state.
        data: The measured values, real or complex, of the shape that the observation returns.
        noise: The standard deviation of each datum, the root of C's diagonal, of the data's shape; None where a
            whitening matrix was given.
        precision: The matrix C⁻¹, or an object that multiplies like it, (N, N).
        rank: The number of independent combinations of data: N, or the number of rows of W.

    Example:
        >>> from pdeopt.inverse import FullField
        >>> misfit = CorrelatedMisfit.of(FullField(), [1.0, 2.0], covariance=[[2.0, 1.0], [1.0, 2.0]])
        >>> misfit(jnp.array([2.0, 2.0]), None).round(6), misfit.expected  # ½ · 2/3
        (Array(0.333333, dtype=float64), 1.0)
    """

    observation: Observation = field()
    data: np.ndarray = field()
    noise: np.ndarray | None = field()
    precision: Symmetric
    rank: int

    @classmethod
    def of(
        cls, observation: Observation, data: ArrayLike, covariance: ArrayLike | sp.spmatrix | sp.sparray
    ) -> CorrelatedMisfit:
        """Return the misfit of an observation to data, after a check of them.

        Args:
            observation: The observation, which predicts the data from the state.
            data: The measured values, N of them, of the shape and the kind that the observation returns.
            covariance: The covariance C (N, N) in the data's unit squared, real, symmetric and positive definite. A
                dense one is factored once; a sparse one stays sparse, and each evaluation and each product with a
                Hessian solves with it once, by the factor that is kept. The history of a run counts these solves, too.

        Raises:
            InputError: There are no data, they are not finite, or the covariance is complex, of another shape, not
                finite, not symmetric or not positive definite.
        """
        values = checked_data(data)
        matrix = _checked_matrix("covariance", covariance, values.size)
        if matrix.shape[0] != values.size:
            raise InputError(
                f"the covariance has shape {matrix.shape}; expected {(values.size,) * 2} for {values.size} data"
            )
        if abs(matrix - matrix.T).max() > SYMMETRY_ROUNDING * abs(matrix).max():
            raise InputError(
                f"the covariance C is not symmetric: |C − Cᵀ| is up to {abs(matrix - matrix.T).max():.3g}; expected "
                "0, give (C + C.T) / 2 where it is rounding"
            )
        precision = _inverse(0.5 * (matrix + matrix.T))
        deviations = np.sqrt(matrix.diagonal()).reshape(values.shape)
        return cls(observation, values, deviations, precision, values.size)

    @classmethod
    def whitened(
        cls, observation: Observation, data: ArrayLike, whitening: ArrayLike | sp.spmatrix | sp.sparray
    ) -> CorrelatedMisfit:
        """Return the misfit ``½ ‖W (d(u) − data)‖²``, after a check of its data and of W.

        Args:
            observation: The observation, which predicts the data from the state.
            data: The measured values, N of them, of the shape and the kind that the observation returns.
            whitening: The matrix W (k, N), dense or sparse, that makes k independent numbers of standard deviation 1 of
                the noise: the inverse of a factor L of C = L Lᵀ. With k < N only those combinations of data count.

        Raises:
            InputError: There are no data, they are not finite, or W is complex, not finite, has another number of
                columns than there are data, or more rows.
        """
        values = checked_data(data)
        matrix = _checked_matrix("whitening matrix", whitening, values.size)
        if matrix.shape[0] > values.size:
            raise InputError(
                f"the whitening matrix has shape {matrix.shape}; expected at most {values.size} rows, as no more "
                "combinations of the data are independent"
            )
        return cls(observation, values, None, _Whitened.by(matrix), matrix.shape[0])

    def __repr__(self) -> str:
        return f"CorrelatedMisfit({type(self.observation).__name__}, data {self.data.shape})"

    def __call__(self, u: jax.Array, coefficient: Any) -> jax.Array:
        """Return the misfit of the state u for a physical coefficient."""
        return self.distance(self.observation(u, coefficient))

    def distance(self, predicted: jax.Array) -> jax.Array:
        """Return the misfit of predicted data.

        Raises:
            InputError: The predicted data are of another shape or kind than the data.
        """
        check_predicted(predicted, self.data)
        residual = jnp.ravel(predicted - self.data)
        if not np.iscomplexobj(self.data):
            return half_square(self.precision, residual)
        return half_square(self.precision, jnp.real(residual)) + half_square(self.precision, jnp.imag(residual))

    @property
    def expected(self) -> float:  # type: ignore[override]
        """The misfit that noise alone gives on average, half the number of data; a complex one counts as two."""
        return 0.5 * self.rank * numbers_of_a_datum(self.data)


@dataclass(frozen=True, eq=False)
class _Whitened:
    """A precision WᵀW, with a whitening matrix W (k, N).

    Attributes:
        whitening: The matrix W.
        transposed: Its transpose.
    """

    whitening: np.ndarray | CSRMatrix
    transposed: np.ndarray | CSRMatrix

    @classmethod
    def by(cls, matrix: np.ndarray | sp.csr_matrix) -> _Whitened:
        """Return the precision of a whitening matrix, dense or sparse."""
        if isinstance(matrix, np.ndarray):
            return cls(matrix, matrix.T)
        return cls(CSRMatrix.from_scipy(matrix), CSRMatrix.from_scipy(matrix.T))

    def __matmul__(self, x: jax.Array) -> jax.Array:
        return jnp.asarray(self.transposed @ (self.whitening @ x))


@dataclass(frozen=True, eq=False)
class _SparseInverse:
    """A precision C⁻¹, by solves with a sparse covariance C.

    Attributes:
        covariance: The covariance C, (N, N).
    """

    covariance: CSRMatrix

    def __matmul__(self, x: jax.Array) -> jax.Array:
        return linear_solve(self.covariance, x)


def _inverse(covariance: np.ndarray | sp.csr_matrix) -> Symmetric:
    """Return the inverse of a symmetric covariance.

    Raises:
        InputError: The covariance is not positive definite.
    """
    try:
        if not isinstance(covariance, np.ndarray):
            Cholesky(covariance)
            return _SparseInverse(CSRMatrix.from_scipy(covariance))
        factor = scipy.linalg.cholesky(covariance, lower=True)
    except (SolveError, np.linalg.LinAlgError) as error:
        raise InputError(
            f"the covariance is not positive definite ({error}); expected one of noise that no combination of data is "
            "free of: add the variance of each datum's own noise to its diagonal"
        ) from None
    return _Whitened.by(scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True))


def _checked_matrix(what: str, given: ArrayLike | sp.spmatrix | sp.sparray, columns: int) -> np.ndarray | sp.csr_matrix:
    """Return a real matrix, a copy in 64-bit floating point, with a column a datum.

    Args:
        what: The name of the matrix, for messages.
        given: The matrix, dense or sparse.
        columns: The number of data.

    Raises:
        InputError: It is complex, not finite, or of another shape.
    """
    if np.iscomplexobj(given.data if isinstance(given, sp.spmatrix | sp.sparray) else given):
        raise InputError(
            f"the {what} is complex; expected a real one, of complex data that of the real and of the imaginary part "
            "each"
        )
    matrix = sp.csr_matrix(given, dtype=float) if isinstance(given, sp.spmatrix | sp.sparray) else fixed(given)
    if matrix.ndim != 2 or matrix.shape[1] != columns:
        raise InputError(
            f"the {what} has shape {matrix.shape}; expected {columns} columns, one for each of {columns} data in the "
            "order of data.ravel()"
        )
    if not np.isfinite(matrix.data if sp.issparse(matrix) else matrix).all():
        raise InputError(f"the {what} has entries that are NaN or infinite; expected finite ones")
    return matrix
