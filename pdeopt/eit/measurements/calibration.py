"""The water's conductivity and the contact impedances, from the reference measurement.

The tank is homogeneous, then: U(σ₀, z) = U(1, σ₀ z) / σ₀ for L + 1 numbers. (Vilhunen, Kaipio, Vauhkonen, Savolainen,
Vauhkonen, "Simultaneous reconstruction of electrode contact impedances and internal electrical properties: I. Theory",
Meas. Sci. Technol. 13, 2002, fit one conductivity and the impedances first, too.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.eit.electrodes.electrode_model import CompleteElectrodeModel, complete_electrode_model
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.eit.measurements.ktc import TankData
from pdeopt.eit.measurements.noise import superposition_violation
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import InputError, L2Misfit, Log, Quadratic, ReducedFunctional
from pdeopt.inverse.compiled import Compiled
from pdeopt.optimize import minimize
from pdeopt.pde import FunctionState
from pdeopt.sparse import diagonal_matrix

#: The lower bound of σ₀ z, relative to half the extent of the mesh: below, voltages hardly depend on it any more, and
#: its derivative loses digits.
MIN_IMPEDANCE = 1e-4
#: The upper bound of σ₀ z, relative to half the extent of the mesh: above, it exceeds the resistance of the tank.
MAX_IMPEDANCE = 10.0
#: The least σ₀ z, relative to half the extent of the mesh, at which the fit of single electrodes begins: near the lower
#: bound the first steps gain nothing.
MIN_START_IMPEDANCE = 3e-3
#: The number of values of a common impedance that are tried at a time.
TRIAL_IMPEDANCES = 13
#: The number of times that such values are tried, each time between the neighbors of the best one.
TRIAL_ROUNDS = 4
#: The standard deviation of log z around the common value.
LOG_IMPEDANCE_DEVIATION = 2.0
#: The σ₀, in mS, that no tank exceeds; none falls below one over it.
MAX_CONDUCTIVITY = 1e3
#: The relative misfit above which a reference is not that of this tank: permuted electrodes give 0.25 and more.
MAX_MISFIT = 0.2
#: The largest number of times that impedances of single electrodes are fitted, each time with the misfit of the last
#: fit as noise level.
MAX_FITS_OF_ELECTRODES = 4
#: The factor by which the misfit must fall for another fit.
REFIT_FACTOR = 0.8
#: The largest number of iterations of a fit.
MAX_FIT_ITERATIONS = 40
#: The relative change of the objective at which a fit ends.
FIT_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Calibration:
    """The homogeneous tank that predicts the reference best; it is made by `calibrate`.

    Attributes:
        conductivity: The conductivity σ₀, mS.
        impedances: The contact impedances z (L,), kΩ·m.
        predicted: The reference (q, K) that this model predicts, V, also where nothing valid was measured.
        misfit: The relative misfit ‖predicted − reference‖ / ‖reference‖ over the valid entries.
        common_misfit: The same where all electrodes have one impedance.
        superposition: The `superposition_violation` of the reference, relative to its rms: what no linear model can
            fit; None where nothing is redundant.
    """

    conductivity: float
    impedances: np.ndarray
    predicted: np.ndarray
    misfit: float
    common_misfit: float
    superposition: float | None


def calibrate(space: FunctionSpace, electrodes: Sequence[str], data: TankData) -> Calibration:
    """Fit σ₀ and z to ``data.reference``: one z for all electrodes first, then one for each.

    It is done by Levenberg–Marquardt for log z, with a weak Gaussian prior around the common value (standard deviation
    2): electrodes that carry no current hardly feel their impedance. σ₀ z is kept above 1e-4 of the tank's half extent.

    Measured with 3000 vertices, 4 to 8 s: on the training data's reference σ₀ = 0.806 mS, misfits of 0.0825 (a common
    z, at its lower bound) and 0.0804 (single ones, which thus explain nothing), superposition violated by 0.048. Most
    of the latter is due to the electrode whose number is 31: without both voltages it is part of σ₀ = 0.801 mS, the
    misfits are 0.057 and 0.055, and superposition is violated by 0.031. On simulated data without errors, from a finer
    mesh, with σ₀ z about 1e-3 m, σ₀ is found to 0.1 %, z of electrodes that carry current to 4 to 50 % (too large: the
    mesh is coarse for the current's peaks at the electrodes' ends), and of the others to 30 to 90 %.

    Args:
        space: The space of the potential, on a mesh of the tank without objects; 3000 vertices are enough.
        electrodes: The names of its boundaries, in the order of the data's electrodes.
        data: The measurement, of which the reference is used.

    Raises:
        InputError: The data have another number of electrodes, the best σ₀ is negative or not within a factor of 1000
            around 1 mS, or the relative misfit is above 0.2.
        MeshError: The mesh does not have the electrodes, as of `complete_electrode_model`.
        FEMError: The element is unfit, as of `complete_electrode_model`.
    """
    if len(electrodes) != len(data.currents):
        raise InputError(
            f"the mesh has {len(electrodes)} electrodes and the data {len(data.currents)}; give the mesh of this tank"
        )
    fit = _Fit.of(space, electrodes, data)
    common = fit.common()
    _check(fit, common)
    log_values = fit.single(common)
    conductivity, relative = float(np.exp(log_values[0])), np.exp(log_values[1:])
    predicted = fit.table(relative) / conductivity
    violation = superposition_violation(data.currents, data.reference, data.valid)
    return Calibration(
        conductivity=conductivity,
        impedances=relative / conductivity,
        predicted=predicted,
        misfit=fit.misfit(predicted),
        common_misfit=fit.misfit(fit.scaled(common)[1]),
        superposition=None if violation is None else violation / fit.size,
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    """The reference and the tank of unit conductivity, whose contact impedances are ζ = σ₀ z.

    Attributes:
        data: The measurement.
        model: The map from ζ (L,) to the states.
        scale: Half the extent of the mesh.
        table: The map from ζ (L,) to the voltages (q, K).
    """

    data: TankData
    model: CompleteElectrodeModel
    scale: float
    table: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, space: FunctionSpace, electrodes: Sequence[str], data: TankData) -> _Fit:
        """Return the fit of a measurement; arguments are those of `calibrate`."""
        unit = space.per_element(np.ones(space.mesh.nelements))
        model = complete_electrode_model(space, electrodes, data.currents, lambda zeta: unit, lambda zeta: zeta)
        voltages = ElectrodeVoltages.of(model, data.differences)
        table = Compiled(lambda zeta: voltages(model(zeta)))
        return cls(data, model, float(np.ptp(space.mesh.p, axis=1).max() / 2), lambda zeta: np.asarray(table(zeta)))

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of log ζ."""
        return float(np.log(MIN_IMPEDANCE * self.scale)), float(np.log(MAX_IMPEDANCE * self.scale))

    @property
    def size(self) -> float:
        """The rms of the reference, V."""
        return float(np.sqrt(np.mean(self.data.reference[self.data.valid] ** 2)))

    def misfit(self, predicted: np.ndarray) -> float:
        """Return the relative misfit of the voltages that are predicted.

        Args:
            predicted: The voltages (q, K), V.
        """
        missed = (predicted - self.data.reference)[self.data.valid]
        return float(np.sqrt(np.mean(missed**2)) / self.size)

    def scaled(self, log_zeta: float) -> tuple[float, np.ndarray]:
        """Return 1 / σ₀ by least squares, and the voltages (q, K), where all electrodes have the same ζ.

        Args:
            log_zeta: The logarithm of this ζ.
        """
        table = self.table(np.full(len(self.data.currents), np.exp(log_zeta)))
        unit, measured = table[self.data.valid], self.data.reference[self.data.valid]
        factor = float(unit @ measured / (unit @ unit))
        return factor, factor * table

    def common(self) -> float:
        """Return the best log ζ that all electrodes have in common, which is found by trials."""
        lowest, highest = self.bounds
        low, high = lowest, highest
        for _ in range(TRIAL_ROUNDS):
            trials = np.linspace(low, high, TRIAL_IMPEDANCES)
            best = trials[np.argmin([self.misfit(self.scaled(trial)[1]) for trial in trials])]
            step = trials[1] - trials[0]
            low, high = max(best - step, lowest), min(best + step, highest)
        return float(best)

    def single(self, common: float) -> np.ndarray:
        """Return log σ₀ and the log ζ of each electrode, (1 + L,).

        Args:
            common: The best log ζ that all electrodes have in common.
        """
        factor, predicted = self.scaled(common)
        center = np.array([-np.log(factor), *np.full(len(self.data.currents), common)])
        functional, missed = self._functional(center), self.misfit(predicted)
        m = np.maximum(center, [center[0], *np.full(len(center) - 1, np.log(MIN_START_IMPEDANCE * self.scale))])
        for _ in range(MAX_FITS_OF_ELECTRODES):
            m, before = self._minimized(functional.with_strength(missed**2), m), missed
            missed = self.misfit(self.table(np.exp(m[1:])) / np.exp(m[0]))
            if missed > REFIT_FACTOR * before:
                break
        return m

    def _minimized(self, functional: ReducedFunctional, start: np.ndarray) -> np.ndarray:
        lower, upper = (
            np.array([free, *np.full(len(start) - 1, bound)])
            for free, bound in zip((-np.inf, np.inf), self.bounds, strict=True)
        )
        return minimize(
            functional,
            start,
            optimizer="gauss-newton",
            bounds=(lower, upper),
            max_iterations=MAX_FIT_ITERATIONS,
            gradient_tolerance=1e-3,
            objective_tolerance=FIT_TOLERANCE,
        ).m

    def _functional(self, center: np.ndarray) -> ReducedFunctional:
        """Return ½ ‖predicted − reference‖² / size² plus, by its strength, the prior around a center.

        Args:
            center: The mean (1 + L,) of log σ₀ and log ζ; the prior leaves σ₀ free.
        """
        observation = ElectrodeVoltages.of(self.model, self.data.differences, self.data.valid)
        misfit = L2Misfit.of(observation, self.data.reference[observation.places], self.size)
        weights = np.full(len(center), LOG_IMPEDANCE_DEVIATION**-2.0)
        weights[0] = 0  # σ₀ is free
        prior = Quadratic(1.0, diagonal_matrix(weights), jnp.asarray(center))
        return ReducedFunctional(FunctionState(self._state, self.model.axes), misfit, prior, Log())

    def _state(self, coefficient: jax.Array) -> jax.Array:
        return self.model(coefficient[1:]) / coefficient[0]


def _check(fit: _Fit, common: float) -> None:
    """Check that the best conductivity can be that of a tank.

    Args:
        fit: The reference and the tank of unit conductivity.
        common: The best log ζ that all electrodes have in common.

    Raises:
        InputError: It cannot be, or the misfit is too large.
    """
    factor, predicted = fit.scaled(common)
    conductivity = 1 / factor if factor else np.inf
    got = f"the reference fits a conductivity of {conductivity:.3g} mS best, with a relative misfit of "
    got += f"{fit.misfit(predicted):.2f}; expected"
    if not factor > 0:
        raise InputError(
            f"{got} a positive one: check the signs of the currents, of the voltages and of the differences "
            "(U_j − U_{j+1}), and the order and direction of the electrodes"
        )
    if not 1 / MAX_CONDUCTIVITY < conductivity < MAX_CONDUCTIVITY:
        raise InputError(
            f"{got} one between {1 / MAX_CONDUCTIVITY:g} and {MAX_CONDUCTIVITY:g}: check the units, currents are in "
            "mA, voltages in V and lengths in m"
        )
    if fit.misfit(predicted) > MAX_MISFIT:
        raise InputError(
            f"{got} one below {MAX_MISFIT}: the mesh is not that of this tank; check the order and the places of its "
            "electrodes, their width, and that the reference is one of water alone"
        )
