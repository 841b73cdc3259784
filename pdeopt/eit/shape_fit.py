"""Which objects there are in a tank, and the outlines that fit the voltages best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from pdeopt.eit.experiment import Experiment
from pdeopt.eit.inclusions import Inclusion, ShapePrior, bounds_of, inclusions_of, log_conductivity, parameter_of
from pdeopt.inverse import ReducedFunctional
from pdeopt.optimize import minimize

#: Objects that a fit has room for.
MOST = 4
#: Candidates that are refined, and iterations for each.
REFINED, ITERATIONS = 2, 25


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
        information: n, the number of independent data.
    """

    functional: ReducedFunctional
    information: float

    @classmethod
    def of(cls, experiment: Experiment, background: float, radius: float) -> ShapeFitter:
        """``background``: σ₀ of the water (mS). ``radius``: of the tank."""

        def conductivity(parameter):
            return lambda x: background * jnp.exp(log_conductivity(parameter, x / radius))

        return cls(experiment.functional(conductivity, [ShapePrior()]), experiment.information)

    def best(self, candidates: list[list[Inclusion]]) -> ShapeFit:
        """The most promising candidates, refined; of these the best, without the objects that do not pay."""
        ranked = sorted(candidates, key=lambda objects: self.functional(parameter_of(objects, MOST)))
        return min((self.pruned(self.refined(objects)) for objects in ranked[:REFINED]), key=self.criterion)

    def refined(self, inclusions: list[Inclusion], background: float = 0.0) -> ShapeFit:
        """Moved to where the objective is least."""
        start = parameter_of(inclusions, MOST, background)
        result = minimize(
            self.functional,
            start,
            optimizer="gauss-newton",
            bounds=bounds_of(start),
            max_iterations=ITERATIONS,
            gradient_tolerance=1e-3,
            objective_tolerance=1e-3,
        )
        return ShapeFit(inclusions_of(result.m), float(result.m[0]), float(result.objective))

    def pruned(self, fit: ShapeFit) -> ShapeFit:
        """Without the objects of which the criterion says that they explain too little."""
        while fit.inclusions:
            background = fit.background
            fewer = min((self.refined(rest, background) for rest in _without_one(fit.inclusions)), key=self.criterion)
            if self.criterion(fewer) > self.criterion(fit):
                break
            fit = fewer
        return fit

    def criterion(self, fit: ShapeFit) -> float:
        """n log(objective) + k log n for k numbers: Schwarz's criterion where the noise level is not known exactly.

        (Schwarz, "Estimating the dimension of a model", Ann. Statist. 6, 1978.)
        """
        numbers = 1 + sum(3 + len(inclusion.modes) for inclusion in fit.inclusions)
        return self.information * np.log(fit.objective) + numbers * np.log(self.information)


def _without_one(inclusions: list[Inclusion]) -> Iterator[list[Inclusion]]:
    return (inclusions[:k] + inclusions[k + 1 :] for k in range(len(inclusions)))
