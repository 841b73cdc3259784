"""Which objects there are in a tank, and the outlines that fit the voltages best.

Stepwise: from water alone, the object that lowers the objective most is added and all outlines are refined, until
another one explains too little; then those are taken away that explain too little beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np

from pdeopt.eit.experiment import Experiment
from pdeopt.eit.inclusions import (
    CONTRAST,
    Inclusion,
    ShapePrior,
    bounds_of,
    depth,
    inclusions_of,
    log_conductivity,
    parameter_of,
)
from pdeopt.eit.sensitivity import VoltageJacobian
from pdeopt.inverse import Identity, ReducedFunctional
from pdeopt.inverse.reduced_functional import Action
from pdeopt.optimize import Objective, minimize

#: Objects that a fit has room for.
MOST = 5
#: An object starts as a disk of this radius, at one of the places this far apart, that much off the others.
NEW_RADIUS, APART, OFF = 0.15, 0.2, 0.1
#: Of each refinement.
ITERATIONS, TOLERANCE = 25, 1e-3


@dataclass(frozen=True, eq=False)
class ShapeFit:
    """Objects, β of the water (log σ / σ₀), and the objective (misfit and prior) that they reach."""

    inclusions: list[Inclusion]
    background: float
    objective: float


@dataclass(frozen=True, eq=False)
class ShapeFitter:
    """Fits objects to voltages, by Levenberg–Marquardt on their centers, sizes and outlines. Made by `of`.

    Attributes:
        functional: of the parameter of `MOST` objects, compiled once.
        jacobian: of the voltages with respect to it. noise: (k,) V, their standard deviation.
        information: n, the number of independent data.
    """

    functional: ReducedFunctional
    jacobian: VoltageJacobian
    noise: np.ndarray
    information: float

    @classmethod
    def of(cls, experiment: Experiment, background: float, radius: float) -> ShapeFitter:
        """``background``: σ₀ of the water (mS). ``radius``: of the tank."""
        model = experiment.model(lambda m: lambda x: background * jnp.exp(log_conductivity(m, x / radius)))
        misfit = experiment.misfit(model)
        jacobian = VoltageJacobian(model, experiment.observation(model), Identity())
        functional = ReducedFunctional(model, misfit, [ShapePrior()])
        return cls(functional, jacobian, misfit.noise, experiment.information)

    def best(self) -> ShapeFit:
        """The objects that the criterion favors."""
        return self.pruned(self.grown(self.refined([])))

    def grown(self, fit: ShapeFit) -> ShapeFit:
        """With one object after another, as long as the criterion falls."""
        while len(fit.inclusions) < MOST:
            starts = (self.with_another(fit, label) for label in CONTRAST)
            refined = [self.refined(start, fit.background) for start in starts if start]
            more = min(refined, key=self.criterion, default=fit)
            if self.criterion(more) >= self.criterion(fit):
                break
            fit = more
        return fit

    def pruned(self, fit: ShapeFit) -> ShapeFit:
        """Without one object after another, as long as the criterion falls."""
        while fit.inclusions:
            refined = [self.refined(rest, fit.background) for rest in _without_one(fit.inclusions)]
            fewer = min(refined, key=self.criterion)
            if self.criterion(fewer) >= self.criterion(fit):
                break
            fit = fewer
        return fit

    def with_another(self, fit: ShapeFit, label: int) -> list[Inclusion]:
        """And a disk with a label, where the objective is least."""
        disks = [Inclusion.disk(label, place, NEW_RADIUS) for place in _free_places(fit.inclusions)]
        added = [[*fit.inclusions, disk] for disk in disks]
        return min(added, key=lambda objects: self.functional(parameter_of(objects, MOST, fit.background)), default=[])

    def refined(self, inclusions: list[Inclusion], background: float = 0.0) -> ShapeFit:
        """Moved to where the objective is least."""
        start = parameter_of(inclusions, MOST, background)
        result = minimize(
            self._objective,
            start,
            optimizer="gauss-newton",
            bounds=bounds_of(start),
            max_iterations=ITERATIONS,
            gradient_tolerance=TOLERANCE,
            objective_tolerance=TOLERANCE,
        )
        return ShapeFit(inclusions_of(result.m), float(result.m[0]), float(result.objective))

    def criterion(self, fit: ShapeFit) -> float:
        """n log(objective) + k log n for k numbers: Schwarz's criterion where the noise level is not known exactly.

        (Schwarz, "Estimating the dimension of a model", Ann. Statist. 6, 1978.)
        """
        numbers = 1 + sum(3 + len(inclusion.modes) for inclusion in fit.inclusions)
        return self.information * np.log(fit.objective) + numbers * np.log(self.information)

    @cached_property
    def _objective(self) -> Objective:
        return Objective(self.functional.value_and_derivative, gauss_newton=self._gauss_newton)

    def _gauss_newton(self, m: np.ndarray) -> Action:
        """That of the functional, with the Jacobian formed once: cheaper for few parameters."""
        jacobian = self.jacobian(m) / self.noise[:, None]
        prior = self.functional.plain_regularization_hessian(m)
        return lambda v: jacobian.T @ (jacobian @ v) + prior(v)


def _free_places(inclusions: list[Inclusion]) -> np.ndarray:
    """(k, 2), a grid in the tank outside of its objects."""
    steps = np.arange(-1, 1, APART) + APART / 2
    grid = np.stack(np.meshgrid(steps, steps)).reshape(2, -1)
    free = np.hypot(*grid) < 1 - NEW_RADIUS
    for inclusion in inclusions:
        free &= np.asarray(depth(inclusion.numbers, grid)) < -OFF
    return grid[:, free].T


def _without_one(inclusions: list[Inclusion]) -> Iterator[list[Inclusion]]:
    return (inclusions[:k] + inclusions[k + 1 :] for k in range(len(inclusions)))
