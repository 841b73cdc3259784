"""The objects in a tank, as many as the voltages tell of, with the outlines that fit these best.

The fit is stepwise: from water alone, the object that lowers the objective most is added and all outlines are refined,
until another one explains too little. Then objects are given up for ones of the other kind, where that explains more,
and those are taken away that explain too little beside the others.
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
    LOG_CONTRASTS,
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

#: The radius of the disk as which an object starts, relative to the tank's.
START_RADIUS = 0.15
#: The distance of the places at which an object may start from each other, relative to the tank's radius.
START_SPACING = 0.2
#: The least distance of such a place from the outlines of the other objects, relative to the tank's radius.
MIN_OUTLINE_DISTANCE = 0.1
#: The largest number of iterations of each refinement.
MAX_REFINEMENT_ITERATIONS = 25
#: The factor by which the gradient falls, or the relative change of the objective, at which a refinement ends.
REFINEMENT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class ShapeFit:
    """A fit of objects to the voltages.

    Attributes:
        inclusions: The objects.
        background: β of the water, log(σ / σ₀).
        objective: The objective (misfit and prior) that they reach.
    """

    inclusions: list[Inclusion]
    background: float
    objective: float


@dataclass(frozen=True, eq=False)
class ShapeFitter:
    """A fitter of objects to voltages: Levenberg–Marquardt on centers, sizes and outlines.

    It is made by `of`.

    Attributes:
        functional: The objective, a function of the parameter; it is made anew for each number of objects.
        jacobian: The Jacobian of the voltages with respect to the parameter.
        noise: The standard deviation (k,) of the voltages, V.
        information: The number n of independent data.
    """

    functional: ReducedFunctional
    jacobian: VoltageJacobian
    noise: np.ndarray
    information: int
    _by_size: dict[int, ReducedFunctional] = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment, background: float, radius: float) -> ShapeFitter:
        """Return the fitter of an experiment.

        Args:
            experiment: The experiment.
            background: The conductivity σ₀ of the water, mS.
            radius: The radius of the tank, in the unit of the mesh.
        """
        model = experiment.model(lambda m: lambda x: background * jnp.exp(log_conductivity(m, x / radius)))
        misfit = experiment.misfit(model)
        jacobian = VoltageJacobian(model, experiment.observation(model), Identity())
        functional = ReducedFunctional(model, misfit, [ShapePrior()])
        return cls(functional, jacobian, misfit.noise, experiment.information)

    def best(self) -> ShapeFit:
        """Return the fit with the objects that the criterion favors."""
        return self.pruned(self.exchanged(self.grown(self.refined([]))))

    def grown(self, fit: ShapeFit) -> ShapeFit:
        """Return the fit, improved by one object after another, of either kind."""
        return self.improved(
            fit, lambda fit: [self._with_another(fit, fit.inclusions, label) for label in LOG_CONTRASTS]
        )

    def exchanged(self, fit: ShapeFit) -> ShapeFit:
        """Return the fit, improved by giving up one object after another for one of the other kind."""
        return self.improved(fit, self._exchanges)

    def pruned(self, fit: ShapeFit) -> ShapeFit:
        """Return the fit, improved by leaving out one object after another."""
        return self.improved(fit, lambda fit: [rest for _, rest in _taken_out(fit.inclusions)])

    def improved(self, fit: ShapeFit, changes: Callable[[ShapeFit], Iterable[list[Inclusion]]]) -> ShapeFit:
        """Return the fit, changed in the best way again and again, as long as the criterion falls.

        Args:
            fit: The fit to begin with.
            changes: The map from a fit to the sets of objects that are tried instead of its own.
        """
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
        """Return the objects and one more, a disk of a label where the objective is least.

        Args:
            fit: The fit whose β of the water is taken.
            inclusions: The objects.
            label: The label of the new object.
        """

        def objective(inclusions: list[Inclusion]) -> float:
            return self._value_and_derivative(parameter_of(inclusions, fit.background))[0]

        places = _free_places(inclusions)
        candidates = [[*inclusions, Inclusion.disk(label, place, START_RADIUS)] for place in places]
        return min(candidates, key=objective, default=inclusions)

    def refined(self, inclusions: list[Inclusion], background: float = 0.0) -> ShapeFit:
        """Return the fit that moves the objects to where the objective is least.

        Args:
            inclusions: The objects to begin with.
            background: β of the water to begin with, log(σ / σ₀).
        """
        start = parameter_of(inclusions, background)
        result = minimize(
            self._objective,
            start,
            optimizer="gauss-newton",
            bounds=bounds_of(start),
            max_iterations=MAX_REFINEMENT_ITERATIONS,
            gradient_tolerance=REFINEMENT_TOLERANCE,
            objective_tolerance=REFINEMENT_TOLERANCE,
        )
        return ShapeFit(inclusions_of(result.m), float(result.m[0]), float(result.objective))

    def criterion(self, fit: ShapeFit) -> float:
        """Return n log(objective) + k log n for k numbers, by which fits are compared.

        It is Schwarz's criterion for a noise level not known exactly. (Schwarz, "Estimating the dimension of a model",
        Ann. Statist. 6, 1978.)

        Args:
            fit: The fit.
        """
        numbers = 1 + sum(3 + len(inclusion.modes) for inclusion in fit.inclusions)
        return self.information * np.log(fit.objective) + numbers * np.log(self.information)

    @cached_property
    def _objective(self) -> Objective:
        return Objective(self._value_and_derivative, gauss_newton=self._gauss_newton)

    def _gauss_newton(self, m: np.ndarray) -> Action:
        """Return the action of the Gauss–Newton Hessian of misfit and prior at m.

        Their Jacobians are formed once, which is cheaper for few parameters.

        Args:
            m: The parameter (p,).
        """
        jacobian = np.vstack([self.jacobian(m) / self.noise[:, None], self._prior_jacobian(m)])
        return lambda v: jacobian.T @ (jacobian @ v)

    @cached_property
    def _prior_jacobian(self) -> Compiled:
        return Compiled(jax.jacfwd(ShapePrior().residuals))


def _free_places(inclusions: list[Inclusion]) -> np.ndarray:
    """Return the points (k, 2) of a grid in the tank that lie outside of its objects."""
    steps = np.arange(-1, 1, START_SPACING) + START_SPACING / 2
    grid = np.stack(np.meshgrid(steps, steps)).reshape(2, -1)
    free = np.hypot(*grid) < 1 - START_RADIUS
    for inclusion in inclusions:
        free &= np.asarray(depth(inclusion.numbers, grid)) < -MIN_OUTLINE_DISTANCE
    return grid[:, free].T


def _taken_out(inclusions: list[Inclusion]) -> Iterator[tuple[Inclusion, list[Inclusion]]]:
    """Return each object in turn, with the list of the others."""
    return ((taken, inclusions[:k] + inclusions[k + 1 :]) for k, taken in enumerate(inclusions))
