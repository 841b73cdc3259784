"""The quadratic models of a reduced functional that Newton's method uses.

They are its Hessians, with the regularization as their preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from pdeopt.inverse.functional.reduced_functional import Action, ReducedFunctional
from pdeopt.inverse.regularization import Term
from pdeopt.inverse.unknowns.parameters import AnyParameter, SingleParameter, blocks
from pdeopt.optimize.objective import Differentiable, Evaluation
from pdeopt.sparse import CSRMatrix, resolve_solver


class NewtonModel(Differentiable):
    """The quadratic models of one minimization with Newton's method, at one iterate after the other.

    It differs from the functional itself in total variation: its dual is carried from iterate to iterate, so that
    Newton's method converges in tens of steps (`TotalVariation.next_dual`). Make a new one for every minimization; what
    it remembers changes the path to the minimum, and not the minimum. All m are (p,).

    Args:
        functional: The functional J.
        parameter: The parameter, whose mass matrix makes the preconditioner definite.
    """

    def __init__(self, functional: ReducedFunctional, parameter: AnyParameter) -> None:
        self.functional = functional
        self._parameter = parameter
        self._operator = _Operator(functional)
        self._misfit: Callable[[np.ndarray], Action] = lambda at: functional.misfit_gauss_newton(at)

    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J and its Euclidean derivative (p,) at m."""
        return self.functional.value_and_derivative(m)

    def evaluate(self, m: np.ndarray) -> Evaluation:
        """Return J and its derivative (p,) at m, with the terms of J and the constraints."""
        return self.functional.evaluate(m)

    @property
    def l1_weights(self) -> np.ndarray | None:
        """The weights (p,) of the L1 term of J; None where there is none."""
        return self.functional.l1_weights

    @property
    def constraint_kinds(self) -> frozenset[str]:
        """The kinds of the functional's constraints."""
        return self.functional.constraint_kinds

    def constraint_hessian(self, m: np.ndarray, weights: np.ndarray) -> Action:
        """Return the map of v to ``Σ w_i ∂²g_i/∂m² v``, (p,), of the constraints g at m."""
        return self.functional.constraint_hessian(m, weights)

    def hessian(self, m: np.ndarray) -> Action:
        """Return the map of v to the second derivative at m times v, (p,).

        It is exact, except for total variation, which has its primal-dual model.
        """
        return self._with_regularization(self.functional.misfit_hessian, m)

    def gauss_newton(self, m: np.ndarray) -> Action:
        """Return the map of v to the second derivative at m times v, (p,), with Jᵀ φ″ J for the misfit."""
        return self._with_regularization(self.functional.misfit_gauss_newton, m)

    def preconditioner(self, m: np.ndarray, free: np.ndarray) -> Action | None:
        """Return the map with (R(m) + δM)⁻¹ restricted to the free entries, factored once for each m.

        R is the operator of the regularization, M the mass matrix; δM makes R definite on its null space.
        Preconditioned with R, the Hessian is the identity plus a compact operator, so that conjugate gradients take a
        number of iterations that the mesh does not change: that of the directions about which the data know more than
        the regularization. (Bui-Thanh, Ghattas, Martin, Stadler 2013, section 5.)

        Args:
            m: The parameter, (p,).
            free: Whether each entry of m is free, (p,).

        Returns:
            The map; None without a term that states an operator, because nothing has the scale of the Hessian then.
        """
        operator = self._operator(m)
        if operator is None or not operator.count_nonzero():  # a weight may be zero
            return None
        return _restricted_solver(operator + self._softening(operator, m), free)

    def _softening(self, operator: sp.csr_array, m: np.ndarray) -> sp.csr_array:
        """Return the mass matrices of all parameters as blocks, each with its δ, (p, p).

        Where the regularization does not see a parameter at all, δ M has the size of the misfit's Hessian.
        """
        found = []
        for where, parameter in blocks(self._parameter):
            own = operator[where, where]
            if own.count_nonzero():
                factor = softness(own, parameter)
            else:
                direction = np.zeros(len(m))
                direction[where] = np.random.default_rng(0).choice([-1.0, 1.0], parameter.size)
                curvature = abs(float(direction @ self._misfit(m)(direction)))
                size = float(direction[where] @ (parameter.mass @ direction[where]))
                factor = curvature / size if curvature > 0 else 1.0
            found.append(factor * sp.csr_array(parameter.mass))
        return sp.csr_array(sp.block_diag(found, format="csr"))

    def follow(self, m: np.ndarray) -> None:
        """Go on to the next iterate m without a model there.

        The duals that are remembered change as if a model had been made.
        """
        self._operator(m)

    def _with_regularization(self, model: Callable[[np.ndarray], Action], m: np.ndarray) -> Action:
        misfit = model(m)
        self._misfit = lambda at: misfit if np.array_equal(at, m) else model(at)
        operator, plain = self._operator(m), self.functional.plain_regularization_hessian(m)
        return lambda v: misfit(v) + plain(v) + (0.0 if operator is None else operator @ v)


class _Operator:
    """A map from m to the matrix β Σ R(m) that follows the iterates with the duals of its terms."""

    def __init__(self, functional: ReducedFunctional) -> None:
        self._strength = functional.strength
        self._terms = [term for term in functional.regularization_terms if term.operator is not None]
        self._at: np.ndarray | None = None
        self._duals: list[np.ndarray | None] = []
        self._matrix: sp.csr_array | None = None

    def __call__(self, m: np.ndarray) -> sp.csr_array | None:
        if self._terms and (self._at is None or not np.array_equal(m, self._at)):
            self._duals = [self._dual(k, m) for k in range(len(self._terms))]
            self._at = m.copy()
            found = [self._evaluated(term, dual, m) for term, dual in zip(self._terms, self._duals, strict=True)]
            self._matrix = self._strength * sp.csr_array(sum(found[1:], found[0]))
        return self._matrix

    def _dual(self, k: int, m: np.ndarray) -> np.ndarray | None:
        term = self._terms[k]
        if term.first_dual is None or term.next_dual is None:
            return None
        before = self._duals[k] if self._duals else None
        return term.first_dual(m) if before is None or self._at is None else term.next_dual(before, self._at, m)

    def _evaluated(self, term: Term, dual: np.ndarray | None, m: np.ndarray) -> sp.csr_matrix:
        assert term.operator is not None
        return term.operator(m) if dual is None else term.operator(m, dual)


def softness(operator: sp.csr_array, parameter: SingleParameter) -> float:
    """Return δ, about the Rayleigh quotient of the softest mode of an operator R of the regularization.

    It is the smallest of xᵀRx / xᵀMx over the centered coordinate functions x, with the mass matrix M. For ``∫|∇m|²``
    on the unit square it is 12, where the softest mode that is no constant has π².

    Args:
        operator: The operator R, (p, p).
        parameter: The parameter, with the mass matrix M and the places of its entries.
    """
    quotients = [float(x @ (operator @ x)) / float(x @ (parameter.mass @ x)) for x in _coordinates(parameter)]
    return min((q for q in quotients if q > 0), default=float(operator.trace() / parameter.mass.trace()))


def _coordinates(parameter: SingleParameter) -> list[np.ndarray]:
    places = parameter.locations
    weights = np.asarray(parameter.mass.sum(1)).ravel()
    centered = places - (places @ weights / weights.sum())[:, None]
    return [x for x in centered if np.ptp(x) > 0]


def _restricted_solver(matrix: sp.csr_array, free: np.ndarray) -> Action:
    kept = np.flatnonzero(free)
    solve = _solver(CSRMatrix.from_scipy(matrix if len(kept) == len(free) else matrix[kept][:, kept]))

    def apply(residual: np.ndarray) -> np.ndarray:
        step = np.zeros_like(residual)
        step[kept] = solve(residual[kept])
        return step

    return apply


def _solver(matrix: CSRMatrix) -> Callable[[np.ndarray], np.ndarray]:
    solver, data = resolve_solver("auto"), np.asarray(matrix.data)
    return lambda b: solver.solve(matrix.pattern, data, b[:, None], False)[:, 0]
