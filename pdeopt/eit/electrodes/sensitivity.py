"""The Jacobian of electrode voltages at the price of the electrodes: reciprocity.

With the state w_k of pattern k and the state a_j of the currents ``differences[:, j]``, both of A(m),

    ∂(d_jᵀ U_k)/∂m_i = −a_jᵀ (∂A/∂m_i) w_k,

which holds for σ and z alike, A being symmetric. (Geselowitz, "An application of electrocardiographic lead theory to
impedance plethysmography", IEEE Trans. Biomed. Eng. 18, 1971; Polydorides, Lionheart, "A Matlab toolkit for
three-dimensional electrical impedance tomography", Meas. Sci. Technol. 13, 2002.) It is the rule of the linear solve,
Ā = −λ wᵀ on the pattern, for as many adjoint states as there are independent differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.eit.electrodes.electrode_model import CompleteElectrodeModel
from pdeopt.eit.electrodes.patterns import independent_patterns
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.inverse import Parametrization
from pdeopt.inverse.compiled import Compiled

#: Pairs of states that are pulled back at a time.
BLOCK = 4


@dataclass(frozen=True, eq=False)
class VoltageJacobian:
    """A map m ↦ the Jacobian of the voltages that a model predicts; compiled on first use.

    One factorization, and one solve for r currents and at most L − 1 differences together; then one derivative of
    assembly for each parameter, or its adjoint for each pair of them: whichever are fewer.
    """

    model: CompleteElectrodeModel
    observation: ElectrodeVoltages
    parametrization: Parametrization

    def __call__(self, m: ArrayLike) -> np.ndarray:
        """Return (q, K, p), or (k, p) for k valid voltages in the order of the observation; m is (p,)."""
        pairs = np.asarray(self._program(m))  # (differences, currents, p)
        by_voltage = np.tensordot(self._differences[1].T, pairs, 1)
        return self._combined(by_voltage)

    def _combined(self, by_current: np.ndarray) -> np.ndarray:
        """Combine (q, r, p) to the patterns."""
        combination = self.observation.combination
        if self.observation.valid is None:
            return combination.T @ by_current
        rows, columns = self.observation.places
        result = np.empty((len(rows), by_current.shape[-1]))
        for row in np.unique(rows):
            here = rows == row
            result[here] = combination[:, columns[here]].T @ by_current[row]
        return result

    @cached_property
    def _differences(self) -> tuple[np.ndarray, np.ndarray]:
        return independent_patterns(self.observation.differences)

    @cached_property
    def _program(self) -> Compiled:
        return Compiled(self._pairs)

    def _pairs(self, m: jax.Array) -> jax.Array:
        """Return −a_jᵀ (∂A/∂m_i) w_k for the bases of both, (differences, currents, p)."""
        coefficient = self.parametrization(m)
        currents, differences = self.model.basis, self._differences[0]
        states = self.model.states(coefficient, np.hstack([currents, differences])).T
        forward, adjoint = states[: currents.shape[1]], states[currents.shape[1] :]
        pattern = jax.eval_shape(self.model.matrix, coefficient).pattern
        by_parameter = m.size < len(adjoint) * len(forward)
        contracted = self._by_parameter if by_parameter else self._by_pair
        return contracted(m, adjoint[:, pattern.rows], forward[:, pattern.indices])

    def _by_parameter(self, m: jax.Array, adjoint: jax.Array, forward: jax.Array) -> jax.Array:
        """Contract ∂A/∂m_i on the pattern with all pairs of states there: for few parameters."""
        push = jax.linearize(self._entries, m)[1]
        found = jax.lax.map(lambda direction: -adjoint @ (forward * push(direction)).T, jnp.eye(m.size))
        return jnp.moveaxis(found, 0, -1)

    def _by_pair(self, m: jax.Array, adjoint: jax.Array, forward: jax.Array) -> jax.Array:
        """Apply the adjoint of assembly to the product of each pair of states on the pattern: for many parameters."""
        pull = jax.vjp(self._entries, m)[1]

        def pair(index: jax.Array) -> jax.Array:
            return pull(-adjoint[index // len(forward)] * forward[index % len(forward)])[0]

        found = jax.lax.map(pair, jnp.arange(len(adjoint) * len(forward)), batch_size=BLOCK)
        return found.reshape(len(adjoint), len(forward), -1)

    def _entries(self, m: jax.Array) -> jax.Array:
        return self.model.matrix(self.parametrization(m)).data


def voltage_jacobian(
    model: CompleteElectrodeModel, observation: ElectrodeVoltages, parametrization: Parametrization, m: ArrayLike
) -> np.ndarray:
    """Return the Jacobian at one m (p,), with p as its last axis, before it those of the observed voltages.

    `VoltageJacobian` is quicker for several m: it compiles once.
    """
    return VoltageJacobian(model, observation, parametrization)(m)
