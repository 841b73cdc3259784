"""Minimizations of one problem, one after the other: settings, warm starts, continuation."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pdeopt.inverse import (
    InputError,
    NewtonModel,
    Problem,
    ReducedFunctional,
    continuation,
    inner_products_of,
)
from pdeopt.inversion.diagnosis import FailedIterate, with_diagnosis
from pdeopt.inversion.recorder import Recorder
from pdeopt.inversion.strength_option import parse_strength
from pdeopt.optimize import InnerProduct, Result, full_bounds, minimize, optimizer_named
from pdeopt.optimize.bounds import projected
from pdeopt.optimize.strength import Choice

#: The largest number of iterations of a minimization, where none is given.
MAX_ITERATIONS = 200
#: The rules that aim at the misfit of the noise, and hence need its level.
NEED_NOISE = ("discrepancy", "cooling")
#: The factor by which the gradient norm must fall in a stage of continuation before the next one begins.
STAGE_TOLERANCE = 1e-2
#: The factor by which the gradient norm must fall at every strength that a rule tries.
WARM_TOLERANCE = 0.1


@dataclass(frozen=True)
class RequestedSettings:
    """The settings of a minimization that were asked for; where one is None, the problem chooses.

    Attributes:
        optimizer: The name of the optimizer.
        inner_product: The name of the inner product in which it works; "l2" where None.
        gradient_tolerance: The factor by which the gradient norm must fall.
        max_iterations: The largest number of iterations of every minimization.
        regularization_strength: A factor of the problem's regularization, or the name of a rule.
        discrepancy_factor: The factor τ at which rules that know the noise aim.
    """

    optimizer: str | None = None
    inner_product: str | None = None
    gradient_tolerance: float | None = None
    max_iterations: int = MAX_ITERATIONS
    regularization_strength: float | str | None = None
    discrepancy_factor: float | None = None


@dataclass(frozen=True)
class Settings:
    """The settings with which a problem is minimized.

    Attributes:
        optimizer: The name of the optimizer.
        inner_product: The name of the inner product in which it works.
        gradient_tolerance: The factor by which the gradient norm must fall; see `minimize`.
        absolute_gradient_tolerance: The gradient norm at which a minimization has converged; see `minimize`.
        max_iterations: The largest number of iterations of every minimization.
        regularization_strength: A factor of the problem's regularization, or the name of the rule that chooses it.
        discrepancy_factor: The factor τ; rules that know the noise aim at τ times the misfit that it alone gives.
    """

    optimizer: str
    inner_product: str
    gradient_tolerance: float
    absolute_gradient_tolerance: float
    max_iterations: int
    regularization_strength: float | str = 1.0
    discrepancy_factor: float = 1.0

    @classmethod
    def of(cls, problem: Problem, asked: RequestedSettings, chosen_in: str = "the problem") -> Settings:
        """Return the settings that were asked for, with the problem's own choices where one is None.

        Args:
            problem: The problem that is minimized.
            asked: The settings that were asked for.
            chosen_in: The place where the problem makes its choices, for messages.

        Raises:
            StrengthError: The rule is unknown, or the strength is no number > 0.
            OptimizerError: The optimizer is unknown.
            InputError: The inner product is unknown, or a number is out of its range.
        """
        strength, given_as = asked.regularization_strength, "regularization_strength"
        if strength is None:
            strength, given_as = problem.regularization_strength, f"{chosen_in}: regularization_strength ="
        strength = parse_strength(str(strength), given_as)
        tolerance, factor, product = asked.gradient_tolerance, asked.discrepancy_factor, asked.inner_product
        if tolerance is not None and not 0 <= tolerance < 1:
            raise InputError(f"gradient_tolerance is {tolerance}; expected a factor between 0 and 1, as 1e-6")
        if asked.max_iterations < 0:
            raise InputError(f"max_iterations is {asked.max_iterations}; expected a number of at least 0")
        if factor is not None and not 0 < factor < np.inf:
            raise InputError(f"discrepancy_factor is {factor}; expected a number > 0, as 1.1")
        if product is not None:
            inner_products_of(product, problem.parameter)
        if factor is None:  # the problem's own stands where a rule uses it
            factor = float(problem.discrepancy_factor) if strength in NEED_NOISE else 1.0
        return cls(
            optimizer=optimizer_named(asked.optimizer or problem.optimizer).name,
            inner_product=product or "l2",
            gradient_tolerance=problem.gradient_tolerance if tolerance is None else tolerance,
            absolute_gradient_tolerance=problem.absolute_gradient_tolerance if tolerance is None else 0.0,
            max_iterations=asked.max_iterations,
            regularization_strength=strength,
            discrepancy_factor=factor,
        )

    @property
    def loose_iterations(self) -> int:
        """The largest number of iterations on one level of cooling, which the optimizer states.

        A stage of continuation has three times as many.
        """
        return optimizer_named(self.optimizer).loose_iterations


@dataclass(frozen=True)
class RunStatus:
    """The end of a minimization: how it ended, why, and what a rule chose.

    Attributes:
        status: "converged", "stopped", "failed" or "interrupted".
        message: The reason, in words.
        choice: The strength that a rule chose, with the strengths that it tried; None where no rule chose.
        inner_product: The name of the inner product that was used, which may be another than was asked for; None before
            it is known.
    """

    status: str
    message: str
    choice: Choice | None = None
    inner_product: str | None = None


@dataclass
class Minimization:
    """A minimization of the functionals of one problem, one after the other, that records every iterate.

    All aim at the same gradient norm: that of the first one's initial guess, times the tolerance. A warm start then
    saves iterations, and does not ask for more accuracy.

    Attributes:
        problem: The problem.
        settings: How it is minimized.
        product: The inner product in which the optimizer works.
        recorder: The recorder that evaluates the functionals and keeps the history.
    """

    problem: Problem
    settings: Settings
    product: InnerProduct
    recorder: Recorder
    _goal: float | None = field(default=None, init=False)

    @cached_property
    def accuracy(self) -> float:
        """The relative accuracy of J: that of the problem's state equation, which all functionals share."""
        return accuracy_of(self.problem)

    def __call__(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """Minimize a functional, and return the optimizer's result.

        Args:
            functional: The functional J.
            start: The first iterate (p,).
            **options: Arguments of `minimize` that replace those of the settings.
        """
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

    def from_nearby_minimum(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """Minimize a functional, starting from the minimum of one nearby.

        The gradient must fall, however small it is at the start. Otherwise a start that meets the goal would be taken
        for the minimum, at one weak strength after the other.

        Args:
            functional: The functional J.
            start: The minimum (p,) of the functional nearby.
            **options: Arguments of `minimize` that replace those of the settings.
        """
        self.recorder.model = NewtonModel(functional, self.problem.parameter)
        limits = full_bounds(self.problem.bounds, len(start))
        derivative = projected(start, self.recorder.value_and_derivative(start)[1], *limits, functional.l1_weights)
        at_start = float(np.linalg.norm(self.product.pullback(derivative)))
        goal = min(self._goal or np.inf, WARM_TOLERANCE * at_start)
        return self(functional, start, absolute_gradient_tolerance=goal, **options)

    def in_stages(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """Minimize a functional with the continuation that its terms ask for.

        Args:
            functional: The functional J.
            start: The first iterate (p,) of the first stage.
            **options: Arguments of `minimize` for the last stage.
        """
        *stages, last = continuation(functional)
        for stage in stages:
            loose = {"gradient_tolerance": STAGE_TOLERANCE, "max_iterations": 3 * self.settings.loose_iterations}
            start = self(stage, start, **loose).m
        return self(last, start, **options)

    def explained(self, functional: ReducedFunctional, result: Result) -> str:
        """Return why a minimization ended, with a diagnosis where a search failed for a smooth J alone."""
        if result.status != "failed" or functional.l1_weights is not None or result.constraints is not None:
            return result.message
        place = FailedIterate(self.problem, functional, self.product, result.m, self.accuracy)
        return with_diagnosis(result.message, place)

    def _tolerances(self) -> dict[str, float]:
        if self._goal is not None:
            return {"gradient_tolerance": 0.0, "absolute_gradient_tolerance": self._goal}
        return {
            "gradient_tolerance": self.settings.gradient_tolerance,
            "absolute_gradient_tolerance": self.settings.absolute_gradient_tolerance,
        }


def at_strength(functional: ReducedFunctional, factor: float) -> ReducedFunctional:
    """Return the functional with its regularization multiplied by a factor."""
    return functional.with_strength(factor * functional.strength)


def accuracy_of(problem: Problem) -> float:
    """Return the relative accuracy of J: that of the state equation at the initial guess."""
    return problem.functional.state.accuracy(problem.functional.coefficient(problem.initial))
