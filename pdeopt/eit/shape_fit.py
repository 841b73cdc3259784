"""Which objects there are in a tank, and the outlines that fit the voltages best.

Stepwise: from water alone, the object that lowers the objective most is added and all outlines are refined, until
another one explains too little. Then objects are given up for ones of the other kind, where that explains more, and
those are taken away that explain too little beside the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.eit.electrodes.sensitivity import VoltageJacobian
from pdeopt.eit.experiment import Experiment
from pdeopt.eit.images.inclusions import (
    CONTRAST,
    Inclusion,
    ShapePrior,
    bounds_of,
    depth,
    inclusions_of,
    log_conductivity,
    parameter_of,
)
from pdeopt.eit.images.pixels import CONDUCTIVE, RESISTIVE
from pdeopt.inverse import Identity, ReducedFunctional
from pdeopt.inverse.compiled import Compiled
from pdeopt.inverse.functional.reduced_functional import Action
from pdeopt.optimize import Objective, minimize

#: An object starts as a disk of this radius, at one of the places this far apart, that much off the others.
NEW_RADIUS, APART, OFF = 0.15, 0.2, 0.1
#: Of each refinement.
ITERATIONS, TOLERANCE = 25, 1e-3


@dataclass(frozen=True, eq=False)
class ShapeFit:
    """A fit: objects, β of the water (log σ / σ₀), and the objective (misfit and prior) that they reach."""

    inclusions: list[Inclusion]
    background: float
    objective: float


@dataclass(frozen=True, eq=False)
class ShapeFitter:
    """A fitter of objects to voltages: Levenberg–Marquardt on centers, sizes and outlines. Made by `of`.

    Attributes:
        functional: of the parameter, made anew for each number of objects.
        jacobian: of the voltages with respect to it. noise: (k,) V, their standard deviation.
        information: n, the number of independent data.
    """

    functional: ReducedFunctional
    jacobian: VoltageJacobian
    noise: np.ndarray
    information: int
    _by_size: dict[int, ReducedFunctional] = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment, background: float, radius: float) -> ShapeFitter:
        """Return the fitter of an experiment. ``background``: σ₀ of the water (mS). ``radius``: of the tank."""
        model = experiment.model(lambda m: lambda x: background * jnp.exp(log_conductivity(m, x / radius)))
        misfit = experiment.misfit(model)
        jacobian = VoltageJacobian(model, experiment.observation(model), Identity())
        functional = ReducedFunctional(model, misfit, [ShapePrior()])
        return cls(functional, jacobian, misfit.noise, experiment.information)

    def best(self) -> ShapeFit:
        """Return the objects that the criterion favors."""
        return self.pruned(self.exchanged(self.grown(self.refined([]))))

    def grown(self, fit: ShapeFit) -> ShapeFit:
        """Return the fit, improved by one object after another, of either kind."""
        return self.improved(fit, lambda fit: [self._with_another(fit, fit.inclusions, label) for label in CONTRAST])

    def exchanged(self, fit: ShapeFit) -> ShapeFit:
        """Return the fit, improved by giving up one object after another for one of the other kind."""
        return self.improved(fit, self._exchanges)

    def pruned(self, fit: ShapeFit) -> ShapeFit:
        """Return the fit, improved by leaving out one object after another."""
        return self.improved(fit, lambda fit: [rest for _, rest in _taken_out(fit.inclusions)])

    def improved(self, fit: ShapeFit, changes: Callable[[ShapeFit], Iterable[list[Inclusion]]]) -> ShapeFit:
        """Return the fit, changed in the best way, again and again, as long as the criterion falls."""
        while True:
            refined = [self.refined(objects, fit.background) for objects in changes(fit)]
            better = min(refined, key=self.criterion, default=fit)
            if self.criterion(better) >= self.criterion(fit):
                return fit
            fit = better

    def _value_and_derivative(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        return self._by_size.setdefault(len(m), replace(self.functional)).value_and_derivative(m)

    def _exchanges(self, fit: ShapeFit) -> Iterator[list[Inclusion]]:
        for taken, rest in _taken_out(fit.inclusions):
            yield self._with_another(fit, rest, RESISTIVE if taken.label == CONDUCTIVE else CONDUCTIVE)

    def _with_another(self, fit: ShapeFit, inclusions: list[Inclusion], label: int) -> list[Inclusion]:
        """Return ``inclusions`` and a disk where the objective is least."""

        def objective(inclusions: list[Inclusion]) -> float:
            return self._value_and_derivative(parameter_of(inclusions, fit.background))[0]

        places = _free_places(inclusions)
        candidates = [[*inclusions, Inclusion.disk(label, place, NEW_RADIUS)] for place in places]
        return min(candidates, key=objective, default=inclusions)

    def refined(self, inclusions: list[Inclusion], background: float = 0.0) -> ShapeFit:
        """Return the fit that moves the objects to where the objective is least."""
        start = parameter_of(inclusions, background)
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
        """Return n log(objective) + k log n for k numbers: Schwarz's criterion for a noise level not known exactly.

        (Schwarz, "Estimating the dimension of a model", Ann. Statist. 6, 1978.)
        """
        numbers = 1 + sum(3 + len(inclusion.modes) for inclusion in fit.inclusions)
        return self.information * np.log(fit.objective) + numbers * np.log(self.information)

    @cached_property
    def _objective(self) -> Objective:
        return Objective(self._value_and_derivative, gauss_newton=self._gauss_newton)

    def _gauss_newton(self, m: np.ndarray) -> Action:
        """Return the model of misfit and prior, with their Jacobians formed once: cheaper for few parameters."""
        jacobian = np.vstack([self.jacobian(m) / self.noise[:, None], self._prior_jacobian(m)])
        return lambda v: jacobian.T @ (jacobian @ v)

    @cached_property
    def _prior_jacobian(self) -> Compiled:
        return Compiled(jax.jacfwd(ShapePrior().residuals))


def _free_places(inclusions: list[Inclusion]) -> np.ndarray:
    """Return a grid (k, 2) in the tank outside of its objects."""
    steps = np.arange(-1, 1, APART) + APART / 2
    grid = np.stack(np.meshgrid(steps, steps)).reshape(2, -1)
    free = np.hypot(*grid) < 1 - NEW_RADIUS
    for inclusion in inclusions:
        free &= np.asarray(depth(inclusion.numbers, grid)) < -OFF
    return grid[:, free].T


def _taken_out(inclusions: list[Inclusion]) -> Iterator[tuple[Inclusion, list[Inclusion]]]:
    """Return each object, and the others."""
    return ((taken, inclusions[:k] + inclusions[k + 1 :]) for k, taken in enumerate(inclusions))
