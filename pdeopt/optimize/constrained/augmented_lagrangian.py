"""The augmented Lagrangian method, which lets an optimizer without constraints keep some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pdeopt.optimize.constraints.values import ConstraintValues
from pdeopt.optimize.libraries.coordinates import parabola_length
from pdeopt.optimize.libraries.scipy_methods import METHODS
from pdeopt.optimize.objective import Action, Differentiable, OptimizerError
from pdeopt.optimize.optimizer import Iterate, Optimizer
from pdeopt.optimize.trace import Finished, Goals, Trace

#: The penalty at the start, in curvatures of J along its gradient.
FIRST_PENALTY_FACTOR = 10.0
#: The factor by which the penalty rises where the violation has not fallen enough.
PENALTY_GROWTH = 10.0
#: The factor by which the violation must fall from one multiplier to the next.
ENOUGH_DECREASE = 0.25
#: The largest penalty, in those at the start: beyond it rounding takes over.
MAX_PENALTY_GROWTH = 1e8
#: The factor by which the gradient must fall until the multipliers are changed.
INNER_TOLERANCE = 1e-2
#: The part of J that may be left to gain until the multipliers are changed: any.
MAX_REMAINING = 1e30
#: The largest number of multipliers that are tried one after the other.
MAX_MULTIPLIER_UPDATES = 100


@dataclass(frozen=True)
class AugmentedLagrangian(Optimizer):
    """An optimizer that minimizes ``J + λᵀg + ½ρ‖g‖²`` by another one, with better and better multipliers λ.

    An inequality counts where it is violated, or its multiplier is not 0. The constraints are measured in the norms of
    their gradients, so that ρ is a curvature of J. (Nocedal, Wright, "Numerical Optimization", 2006, section 17.4.)

    Attributes:
        inner: The optimizer of the augmented Lagrangian, which may be any that keeps no constraints itself.

    Raises:
        OptimizerError: The inner one keeps constraints already.
    """

    inner: Optimizer = field(default=METHODS[0])

    def __post_init__(self) -> None:
        if self.inner.keeps & {"inequalities", "equalities"}:
            raise OptimizerError(f"{self.inner.name} keeps constraints by itself; use it alone")

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name "augmented-lagrangian", with that of the inner optimizer where it is not the default one."""
        return "augmented-lagrangian" + ("" if self.inner == METHODS[0] else f"+{self.inner.name}")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The methods that an objective must have, those of the inner optimizer."""
        return self.inner.needs

    @property
    def keeps(self) -> frozenset[str]:  # type: ignore[override]
        """All constraints, and bounds where the inner optimizer keeps them."""
        return self.inner.keeps | {"inequalities", "equalities"}

    @property
    def max_parameters(self) -> int | None:  # type: ignore[override]
        """The largest number of parameters of the inner optimizer."""
        return self.inner.max_parameters

    @property
    def loose_iterations(self) -> int:  # type: ignore[override]
        """The number of iterations after which a rough minimum is good enough, five times that of the inner one."""
        return 5 * self.inner.loose_iterations

    @property
    def requires(self) -> str:  # type: ignore[override]
        """The module of another library that the inner optimizer needs."""
        return self.inner.requires

    def run(self, trace: Trace) -> None:
        """Iterate until the trace raises Finished, or the penalty has become too large.

        Raises:
            Finished: The minimization has ended.
        """
        if not trace.constrained:
            self.inner.run(trace)
            return
        augmented = _Augmented(trace)
        least = augmented.penalty
        for _ in range(MAX_MULTIPLIER_UPDATES):
            violation = trace.last.violation
            self._minimize(trace, augmented)
            augmented.update_multipliers(trace.last.m)
            if not trace.last.feasible and trace.last.violation > ENOUGH_DECREASE * violation:
                augmented.penalty *= PENALTY_GROWTH
            if augmented.penalty > MAX_PENALTY_GROWTH * least:
                break
        words = f"{self.name} finds no step that lowers the objective"
        raise trace.ended(f"{words}, and its quadratic model promises none", words)

    def _minimize(self, trace: Trace, augmented: _Augmented) -> None:
        """Minimize the augmented Lagrangian from the last iterate on, and report all iterates.

        Raises:
            Finished: The whole minimization has ended.
        """
        before, ended = trace.cg_iterations, augmented.ended

        def accept(iterate: Iterate) -> None:
            if iterate.iteration == 0:
                return
            trace.cg_iterations = before + iterate.cg_iterations
            try:
                trace.accept(iterate.m)
            except Finished as end:
                ended.append(end)
                raise

        goals = Goals(INNER_TOLERANCE, 0.0, 0.0, MAX_REMAINING, trace.goals.iterations, trace.goals.accuracy)
        limits = trace.lower, trace.upper
        inner = Trace(augmented, trace.product, limits, goals, accept, trace.preconditioner)
        try:
            inner.start(trace.last.m)
            self.inner.run(inner)
        except Finished:
            if ended:
                raise ended[0] from None


class _Augmented(Differentiable):
    """The augmented Lagrangian of what a trace minimizes.

    Attributes:
        penalty: The penalty ρ.
        ended: Why the whole minimization has ended, once it has.
    """

    def __init__(self, trace: Trace) -> None:
        assert trace.last.constraints is not None
        self._trace = trace
        norms = np.array([np.linalg.norm(trace.product.pullback(row)) for row in trace.last.constraints.jacobian])
        self._divisors = np.where(norms > 0, norms, 1.0)
        self._multipliers = np.zeros(len(norms))
        curvature = trace.gradient_norm(trace.last.m) / parabola_length(trace)
        self.penalty = FIRST_PENALTY_FACTOR * (curvature or 1.0)
        self.ended: list[Finished] = []

    def value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the augmented Lagrangian and its derivative (p,) at m (p,); it is infinite where J is."""
        try:
            found = self._trace.evaluation(m)
        except Finished as end:
            self.ended.append(end)
            raise
        if found.constraints is None:
            return np.inf, np.zeros_like(m)
        weights = self._weights(m)
        added = float(weights @ weights - self._multipliers @ self._multipliers) / (2 * self.penalty)
        return found.value + added, found.derivative + (weights / self._divisors) @ found.constraints.jacobian

    @property
    def hessian(self) -> Callable[[np.ndarray], Action] | None:
        """The function m ↦ (v ↦ H v) of the exact second derivative, without those of constraints that state none."""
        return self._second_derivative(self._trace.objective.hessian, self._trace.objective.constraint_hessian)

    @property
    def gauss_newton(self) -> Callable[[np.ndarray], Action] | None:
        """The function m ↦ (v ↦ H v) of the Gauss–Newton model, in which constraints are linear."""
        return self._second_derivative(self._trace.objective.gauss_newton, None)

    def update_multipliers(self, m: np.ndarray) -> None:
        """Take the multipliers with which the Lagrangian is as stationary at m (p,) as the augmented one is."""
        self._multipliers = self._weights(m)

    def _second_derivative(
        self,
        of_objective: Callable[[np.ndarray], Action] | None,
        of_constraints: Callable[[np.ndarray, np.ndarray], Action] | None,
    ) -> Callable[[np.ndarray], Action] | None:
        if of_objective is None:
            return None

        def at(m: np.ndarray) -> Action:
            first, weights, found = of_objective(m), self._weights(m), self._constraints(m)
            second = None if of_constraints is None else of_constraints(m, weights / self._divisors)
            counted = (found.jacobian / self._divisors[:, None])[(weights != 0) | found.rows.equality]

            def product(v: np.ndarray) -> np.ndarray:
                image = first(v) + self.penalty * (counted.T @ (counted @ v))
                return image if second is None else image + second(v)

            return product

        return at

    def _constraints(self, m: np.ndarray) -> ConstraintValues:
        found = self._trace.evaluation(m).constraints
        assert found is not None, "an iterate, where J can be evaluated"
        return found

    def _weights(self, m: np.ndarray) -> np.ndarray:
        """Return λ + ρg (k,), or 0 where an inequality has less."""
        found = self._constraints(m)
        shifted = self._multipliers + self.penalty * found.values / self._divisors
        return np.where(found.rows.equality, shifted, np.maximum(shifted, 0.0))
