"""The primal–dual active set method, a semismooth Newton method for bounds and L1 terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.active_set.pieces import piece_at
from pdeopt.optimize.krylov import Direction, conjugate_gradients
from pdeopt.optimize.newton import armijo
from pdeopt.optimize.objective import Action, OptimizerError, hessians_of
from pdeopt.optimize.optimizer import Optimizer
from pdeopt.optimize.trace import Trace

#: The largest number of pieces that are tried for one model before it is made more convex.
MAX_PIECES = 5
#: The factor by which the curvature that is added falls after a model whose minimum was found.
RELAXATION = 0.3
#: The factor by which it grows where none was found.
TIGHTENING = 5.0
#: The largest number of times that it grows for one step.
MAX_TIGHTENINGS = 30


@dataclass(frozen=True)
class ActiveSet(Optimizer):
    """An optimizer by the primal–dual active set method, exact for quadratic J with bounds and an L1 term.

    Each iterate is the minimum of a quadratic model of J with the term ``½ ρ |m − m_k|²``, between the bounds and with
    the L1 term. It is found by guessing which entries are held, at a bound or at 0, and solving for the others, until
    the multipliers and the solution confirm the guess: a semismooth Newton method (Hintermüller, Ito, Kunisch, "The
    primal-dual active set strategy as a semismooth Newton method", SIAM J. Optim. 13, 2003; Stadler, "Elliptic optimal
    control problems with L1-control cost", Comput. Optim. Appl. 44, 2009). That may cycle where ρ is small and J is
    much softer in some directions than in others: then ρ grows, and it falls again after every success, to 0 where the
    guess is right at once. So J falls in every iteration, and the last ones are Newton's steps with the right guess.

    Attributes:
        max_cg_iterations: The largest number of iterations of conjugate gradients in one system.
        system_tolerance: The relative residual to which a system is solved.

    Raises:
        OptimizerError: The largest number of iterations is less than 1, or the tolerance is not between 0 and 1.
    """

    max_cg_iterations: int = 1000
    system_tolerance: float = 1e-3

    name = "active-set"
    needs = frozenset({"hessian"})
    keeps = frozenset({"bounds"})
    treats = frozenset({"l1"})

    def __post_init__(self) -> None:
        if self.max_cg_iterations < 1 or not 0 < self.system_tolerance < 1:
            raise OptimizerError(
                f"max_cg_iterations is {self.max_cg_iterations} and system_tolerance {self.system_tolerance}; expected "
                "at least 1, and a number between 0 and 1"
            )

    def run(self, trace: Trace) -> None:
        """Iterate until the trace raises Finished, or no model has a minimum that can be found."""
        models = _Models(trace, hessians_of(trace.objective)["hessian"], self)
        trace.model = models.left_to_gain
        while (minimum := models.minimum()) is not None:
            trace.accept(armijo(trace, minimum - trace.last.m))


class _Models:
    """The quadratic models at the iterates, with the curvature ρ that is added to them."""

    def __init__(self, trace: Trace, hessian: Callable[[np.ndarray], Action], method: ActiveSet) -> None:
        self._trace = trace
        self._hessian = hessian
        self._method = method
        weights = trace.product.weights
        self._weights = np.ones_like(trace.last.m) if weights is None else weights
        self._last_added = self._stiffness()  # the last ρ > 0
        self._added = self._last_added if trace.bounded or trace.l1_weights is not None else 0.0  # ρ

    def minimum(self) -> np.ndarray | None:
        """Return the minimizer (p,) of the model at the last iterate; None where none is found.

        ρ grows until it is found, and falls afterwards.
        """
        action = self._hessian(self._trace.last.m)
        for _ in range(MAX_TIGHTENINGS):
            found, guesses = self._minimum(action)
            if found is not None:
                self._last_added = self._added or self._last_added
                self._added = 0.0 if guesses == 1 else RELAXATION * self._added
                return found
            self._added = TIGHTENING * self._added or self._last_added
        return None

    def left_to_gain(self) -> float:
        """Return a bound of what the model gains between the last iterate and its minimum on the same piece.

        It is as good as the preconditioner, which is about the inverse of the Hessian or larger.
        """
        slope = self._trace.projected(self._trace.last.m)
        if not slope.any():
            return 0.0
        return 0.5 * float(slope @ self._preconditioner(slope != 0)(slope))

    def _minimum(self, action: Action) -> tuple[np.ndarray | None, int]:
        """Return the minimizer (p,) of the model, and the number of pieces on which it was looked for.

        It is None where the model is not convex, or none of `MAX_PIECES` was the right one.

        Args:
            action: The action of the Hessian of J at the last iterate.
        """
        trace, m = self._trace, self._trace.last.m
        slope = trace.evaluate(m)[1]  # of the smooth part of the model, at x
        if trace.l1_weights is not None:
            slope = slope - trace.l1_weights * np.sign(m)
        curvature = (self._added or self._last_added) * self._weights
        hessian: Action = lambda v: action(v) + self._added * self._weights * v  # noqa: E731
        x, piece = m, piece_at(trace, m, -slope, curvature)
        for count in range(1, MAX_PIECES + 1):
            move = piece.placed(x) - x
            if move.any():
                x, slope = x + move, slope + hessian(move)
            found = self._solved(hessian, np.where(piece.held, 0.0, -slope - piece.slopes), ~piece.held)
            if not found.curvature:
                return None, count
            x, slope = x + found.step, slope + hessian(found.step)
            after = piece_at(trace, x, np.where(piece.held, -slope, piece.slopes), curvature)
            if after.equals(piece):
                return np.clip(x, trace.lower, trace.upper), count
            piece = after
        return None, MAX_PIECES

    def _solved(self, hessian: Action, rhs: np.ndarray, free: np.ndarray) -> Direction:
        """Return the solution of H d = rhs in the free entries, 0 in the others."""
        if not rhs.any():
            return Direction(np.zeros_like(rhs), 0, True, 0.0)
        found = conjugate_gradients(
            lambda v: np.where(free, hessian(v), 0.0),
            rhs,
            self._preconditioner(free),
            self._method.system_tolerance,
            self._method.max_cg_iterations,
        )
        self._trace.cg_iterations += found.iterations
        return found

    def _preconditioner(self, free: np.ndarray) -> Action:
        """Return the preconditioner of the problem for the free entries.

        Where the problem has none, it is the Riesz map times the largest inverse of a curvature seen.
        """
        trace = self._trace
        given = None if trace.preconditioner is None else trace.preconditioner(trace.last.m, free)
        if given is not None:
            return given
        scale = trace.secants.longest() or 1 / self._last_added
        return lambda x: np.where(free, scale * trace.product.gradient(x), 0.0)

    def _stiffness(self) -> float:
        """Return the curvature of J along its gradient at the last iterate, with which ρ begins."""
        trace = self._trace
        gradient = trace.product.gradient(trace.projected(trace.last.m))
        curvature = float(gradient @ self._hessian(trace.last.m)(gradient))
        return abs(curvature) / float(gradient @ (self._weights * gradient)) or 1.0
