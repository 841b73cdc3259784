"""Minimizations of one problem, one after the other: settings, warm starts, continuation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pdeopt.inverse import NewtonModel, Problem, ReducedFunctional, continuation
from pdeopt.optimize import InnerProduct, Result, full_bounds, minimize
from pdeopt.optimize.bounds import projected
from pdeopt.optimize.strength import Choice
from pdeopt.pde import StateEquation
from pdeopt.run.diagnosis import Place, explained
from pdeopt.run.recorder import Recorder
from pdeopt.sparse.solvers import ROUNDING

#: Iterations on a level of cooling, and of a stage of continuation: of Newton's methods, and of the others.
LOOSE_ITERATIONS = {True: 3, False: 15}
#: A stage of continuation is left when the gradient norm has fallen by this factor.
STAGE_TOLERANCE = 1e-2
#: The gradient norm falls by this factor at every strength that a rule tries.
WARM_TOLERANCE = 0.1


@dataclass(frozen=True)
class Settings:
    """What the command line says of the minimization, the problem's own choices filled in.

    Attributes:
        optimizer, inner_product: names. gradient_tolerance, absolute_gradient_tolerance: see `minimize`.
        max_iterations: of every minimization.
        regularization_strength: a factor of the problem's regularization, or the rule that chooses it.
        discrepancy_factor: τ; rules that know the noise aim at τ times the misfit that it alone gives.
    """

    optimizer: str
    inner_product: str
    gradient_tolerance: float
    absolute_gradient_tolerance: float
    max_iterations: int
    regularization_strength: float | str = 1.0
    discrepancy_factor: float = 1.0

    @property
    def loose_iterations(self) -> int:
        return LOOSE_ITERATIONS[self.optimizer in ("newton-cg", "gauss-newton")]


@dataclass(frozen=True)
class Ending:
    """How it ended: "converged", "stopped", "failed" or "interrupted", why in words, and what a rule chose.

    Attributes:
        inner_product: the name of the one that was used, which may be another than was asked for; None before that.
    """

    status: str
    message: str
    choice: Choice | None = None
    inner_product: str | None = None


@dataclass
class Minimization:
    """Minimizes the functionals of one problem, one after the other, and records every iterate.

    All aim at the same gradient norm: that of the first one's initial guess, times the tolerance. A warm start then
    saves iterations, and does not ask for more accuracy.
    """

    problem: Problem
    settings: Settings
    product: InnerProduct
    recorder: Recorder
    _goal: float | None = field(default=None, init=False)

    @cached_property
    def accuracy(self) -> float:
        """Of J, relative: that of the problem's state equation, which all functionals share."""
        return accuracy_of(self.problem)

    def __call__(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """``options`` replace those of `minimize`."""
        model = NewtonModel(functional, self.problem.parameter)
        self.recorder.model = model
        result = minimize(
            self.recorder,
            start,
            **{
                "optimizer": self.settings.optimizer,
                "inner_product": self.product,
                "preconditioner": model.preconditioner,
                "bounds": self.problem.bounds,
                "max_iterations": self.settings.max_iterations,
                "accuracy": self.accuracy,
                "callback": self.recorder.accept,
                **self._tolerances(),
                **options,
            },
        )
        if self._goal is None:
            first = self.recorder.rows[0].gradient_norm
            self._goal = max(self.settings.absolute_gradient_tolerance, self.settings.gradient_tolerance * first)
        return result

    def warm(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """From the minimum of a functional nearby: the gradient must fall, however small it is at the start.

        Otherwise a start that meets the goal would be taken for the minimum, at one weak strength after the other.
        """
        self.recorder.model = NewtonModel(functional, self.problem.parameter)
        limits = full_bounds(self.problem.bounds, len(start))
        derivative = projected(start, self.recorder.value_and_derivative(start)[1], *limits)
        at_start = float(np.linalg.norm(self.product.pullback(derivative)))
        goal = min(self._goal or np.inf, WARM_TOLERANCE * at_start)
        return self(functional, start, absolute_gradient_tolerance=goal, **options)

    def in_stages(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """With the continuation that its terms ask for; ``options`` for the last stage."""
        *stages, last = continuation(functional)
        for stage in stages:
            loose = {"gradient_tolerance": STAGE_TOLERANCE, "max_iterations": 3 * self.settings.loose_iterations}
            start = self(stage, start, **loose).m
        return self(last, start, **options)

    def explained(self, functional: ReducedFunctional, result: Result) -> str:
        """Why it ended, with what is found where a search failed."""
        if result.status != "failed":
            return result.message
        place = Place(self.problem, functional, self.product, result.m, self.accuracy)
        return explained(result.message, place)

    def _tolerances(self) -> dict[str, float]:
        if self._goal is not None:
            return {"gradient_tolerance": 0.0, "absolute_gradient_tolerance": self._goal}
        return {
            "gradient_tolerance": self.settings.gradient_tolerance,
            "absolute_gradient_tolerance": self.settings.absolute_gradient_tolerance,
        }


def at_strength(functional: ReducedFunctional, factor: float) -> ReducedFunctional:
    """With so many times the regularization that it has."""
    return functional.with_strength(factor * functional.strength)


def accuracy_of(problem: Problem) -> float:
    """Return the relative accuracy to which J is computed: that of the state equation at the initial guess.

    Of a state that is no `StateEquation` nothing is known; it counts as exact to rounding.
    """
    state = problem.functional.state
    if not isinstance(state, StateEquation):
        return ROUNDING
    return state.accuracy(problem.functional.coefficient(problem.initial))
