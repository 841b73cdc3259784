"""A measured tank, ready to be compared with any model of its conductivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdeopt.eit.electrodes.electrode_model import CompleteElectrodeModel, complete_electrode_model
from pdeopt.eit.electrodes.patterns import independent_patterns
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.eit.measurements.ktc import TankData
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import Identity, L2Misfit, Parametrization, ReducedFunctional, Regularization


@dataclass(frozen=True, eq=False)
class Experiment:
    """A record of what was measured, and what of the tank is known.

    Attributes:
        space: The space of the potential.
        electrodes: The names of the boundaries of its mesh that are electrodes.
        data: The currents, the differences, and which voltages there are.
        measured: The voltages (q, K) that a model is to predict, V.
        noise: The standard deviation (q, K) of these, model error included, V.
        impedances: The contact impedances (L,), kΩ·m.
    """

    space: FunctionSpace
    electrodes: tuple[str, ...]
    data: TankData
    measured: np.ndarray
    noise: np.ndarray
    impedances: np.ndarray

    def functional(
        self,
        conductivity: Callable[[Any], Any],
        regularization: Regularization | Sequence[Regularization],
        parametrization: Parametrization | None = None,
        impedances: Callable[[Any], Any] | None = None,
    ) -> ReducedFunctional:
        """Return ½ Σ ((predicted − measured) / noise)² over the valid voltages, plus a regularization.

        Args:
            conductivity: The map from the coefficient to σ (mS) as a form takes it.
            regularization: The regularization term, or several.
            parametrization: The map from the parameter to the coefficient; the identity if None.
            impedances: The map from the coefficient to the contact impedances (L,), kΩ·m; those that are known if None.
        """
        model = self.model(conductivity, impedances)
        return ReducedFunctional(model, self.misfit(model), regularization, parametrization or Identity())

    def model(
        self, conductivity: Callable[[Any], Any], impedances: Callable[[Any], Any] | None = None
    ) -> CompleteElectrodeModel:
        """Return the complete electrode model of the tank.

        Args:
            conductivity: The map from the coefficient to σ (mS) as a form takes it.
            impedances: The map from the coefficient to the contact impedances (L,), kΩ·m; those that are known if None.
        """
        given = self.impedances if impedances is None else impedances
        return complete_electrode_model(self.space, self.electrodes, self.data.currents, conductivity, given)

    def observation(self, model: CompleteElectrodeModel) -> ElectrodeVoltages:
        """Return the valid voltages of the states of a model."""
        return ElectrodeVoltages.of(model, self.data.differences, self.data.valid)

    def misfit(self, model: CompleteElectrodeModel) -> L2Misfit:
        """Return the misfit of the voltages that a model predicts."""
        observation = self.observation(model)
        return L2Misfit.of(observation, self.measured[observation.places], self.noise[observation.places])

    @property
    def information(self) -> int:
        """The number of voltages that are independent.

        They are those of all pairs of independent currents and differences, less those that reciprocity gives, for what
        is both a current and a difference.
        """
        used = self.data.valid.any(1)
        currents = independent_patterns(self.data.currents)[0]
        differences = independent_patterns(self.data.differences[:, used])[0]
        r, q = currents.shape[1], differences.shape[1]
        both = r + q - np.linalg.matrix_rank(np.hstack([currents, differences]))
        return r * q - both * (both - 1) // 2
