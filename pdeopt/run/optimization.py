"""How a problem is minimized: inner product, preconditioner, optimizer, and what comes before the last minimization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pdeopt.inverse import NewtonModel, Problem, ReducedFunctional, inner_product_named
from pdeopt.optimize import InnerProduct, Result, minimize
from pdeopt.run.recorder import Recorder


@dataclass(frozen=True)
class Settings:
    """What the command line says of the minimization, the problem's own choices filled in.

    Attributes:
        optimizer: a name. inner_product: the same. gradient_tolerance, absolute_gradient_tolerance: see `minimize`.
        max_iterations: of every minimization.
    """

    optimizer: str
    inner_product: str
    gradient_tolerance: float
    absolute_gradient_tolerance: float
    max_iterations: int


@dataclass(frozen=True)
class Minimization:
    """Minimizes the functionals of one problem, one after the other, and records every iterate."""

    problem: Problem
    settings: Settings
    product: InnerProduct
    recorder: Recorder

    def __call__(self, functional: ReducedFunctional, start: np.ndarray) -> Result:
        settings = self.settings
        model = NewtonModel(functional, self.problem.parameter)
        self.recorder.model = model
        return minimize(
            self.recorder,
            start,
            optimizer=settings.optimizer,
            inner_product=self.product,
            preconditioner=model.preconditioner,
            bounds=self.problem.bounds,
            max_iterations=settings.max_iterations,
            gradient_tolerance=settings.gradient_tolerance,
            absolute_gradient_tolerance=settings.absolute_gradient_tolerance,
            callback=self.recorder.accept,
        )


def optimize(problem: Problem, settings: Settings, recorder: Recorder) -> Result:
    """Minimize the problem's functional. Raises ValueError where optimizer, inner product and bounds do not fit."""
    product = inner_product_named(
        settings.inner_product, problem.functional, problem.parameter, problem.bounds, problem.initial
    )
    return Minimization(problem, settings, product, recorder)(problem.functional, problem.initial)
