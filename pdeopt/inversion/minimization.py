"""Minimizations of one problem, one after the other: settings, warm starts, continuation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pdeopt.inverse import NewtonModel, Problem, ReducedFunctional, continuation
from pdeopt.inversion.diagnosis import Place, explained
from pdeopt.inversion.recorder import Recorder
from pdeopt.inversion.strength_option import parse_strength
from pdeopt.optimize import InnerProduct, Result, full_bounds, minimize, optimizer_named
from pdeopt.optimize.bounds import projected
from pdeopt.optimize.strength import Choice
from pdeopt.pde import StateEquation
from pdeopt.sparse.solvers import ROUNDING

#: Iterations of a minimization at most, where nothing is said.
MAX_ITERATIONS = 200
#: Rules that aim at the misfit of the noise.
NEED_NOISE = ("discrepancy", "cooling")
#: A stage of continuation is left when the gradient norm has fallen by this factor.
STAGE_TOLERANCE = 1e-2
#: The gradient norm falls by this factor at every strength that a rule tries.
WARM_TOLERANCE = 0.1


@dataclass(frozen=True)
class Settings:
    """How a problem is minimized.

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

    @classmethod
    def of(
        cls,
        problem: Problem,
        optimizer: str | None = None,
        inner_product: str | None = None,
        gradient_tolerance: float | None = None,
        max_iterations: int = MAX_ITERATIONS,
        regularization_strength: float | str | None = None,
        discrepancy_factor: float | None = None,
        chosen_in: str = "the problem",
    ) -> Settings:
        """Return what was asked for, with the problem's own choices where that is None.

        ``chosen_in`` is where the problem chooses, for messages. Raises StrengthError for an unknown rule, and
        OptimizerError for an unknown optimizer.
        """
        strength = problem.regularization_strength if regularization_strength is None else regularization_strength
        if isinstance(strength, str):
            by_problem = f"{chosen_in}: regularization_strength ="
            strength = parse_strength(strength, *[by_problem][: regularization_strength is None])
        factor = discrepancy_factor
        if factor is None:  # the problem's own stands where a rule uses it
            factor = float(problem.discrepancy_factor) if strength in NEED_NOISE else 1.0
        asked = gradient_tolerance
        return cls(
            optimizer=optimizer_named(optimizer or problem.optimizer).name,
            inner_product=inner_product or "l2",
            gradient_tolerance=problem.gradient_tolerance if asked is None else asked,
            absolute_gradient_tolerance=problem.absolute_gradient_tolerance if asked is None else 0.0,
            max_iterations=max_iterations,
            regularization_strength=strength if isinstance(strength, str) else float(strength),
            discrepancy_factor=factor,
        )

    @property
    def loose_iterations(self) -> int:
        """Of its optimizer, on a level of cooling; a stage of continuation has three times as many."""
        return optimizer_named(self.optimizer).loose_iterations


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
