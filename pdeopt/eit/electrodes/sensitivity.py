"""The Jacobian of electrode voltages at the price of the electrodes: reciprocity.

With the state w_k of pattern k and the state a_j of the currents ``differences[:, j]``, both of A(m)::

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

#: The number of pairs of states that are pulled back at a time.
PAIRS_PER_BLOCK = 4


@dataclass(frozen=True, eq=False)
class VoltageJacobian:
    """A map from m to the Jacobian of the voltages that a model predicts; it is compiled on first use.

    It takes one factorization, and one solve for r currents and at most L − 1 differences together; then one derivative
    of assembly for each parameter, or its adjoint for each pair of them: whichever are fewer.

    Attributes:
        model: The model, of r independent currents.
        observation: The voltages that are observed.
        parametrization: The map from the parameter m (p,) to the model's coefficient.
    """

    model: CompleteElectrodeModel
    observation: ElectrodeVoltages
    parametrization: Parametrization

    def __call__(self, m: ArrayLike) -> np.ndarray:
        """Return the Jacobian (q, K, p), or (k, p) for k valid voltages in the observation's order.

        Args:
            m: The parameter (p,).
        """
        pairs = np.asarray(self._program(m))  # (differences, currents, p)
        by_voltage = np.tensordot(self._differences[1].T, pairs, 1)
        return self._combined(by_voltage)

    def _combined(self, by_current: np.ndarray) -> np.ndarray:
        """Return the Jacobian of all patterns, combined of that of the basis of the currents.

        Args:
            by_current: The Jacobian (q, r, p) of the voltages under the currents of the basis.
        """
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
        """Contract ∂A/∂m_i on the pattern with all pairs of states there: for few parameters.

        Args:
            m: The parameter (p,).
            adjoint: The states of the differences at the rows of the entries of A, (differences, entries).
            forward: The states of the currents at the columns of the entries of A, (currents, entries).
        """
        push = jax.linearize(self._entries, m)[1]
        found = jax.lax.map(lambda direction: -adjoint @ (forward * push(direction)).T, jnp.eye(m.size))
        return jnp.moveaxis(found, 0, -1)

    def _by_pair(self, m: jax.Array, adjoint: jax.Array, forward: jax.Array) -> jax.Array:
        """Apply the adjoint of assembly to the product of each pair of states: for many parameters.

        Args:
            m: The parameter (p,).
            adjoint: The states of the differences at the rows of the entries of A, (differences, entries).
            forward: The states of the currents at the columns of the entries of A, (currents, entries).
        """
        pull = jax.vjp(self._entries, m)[1]

        def pair(index: jax.Array) -> jax.Array:
            return pull(-adjoint[index // len(forward)] * forward[index % len(forward)])[0]

        found = jax.lax.map(pair, jnp.arange(len(adjoint) * len(forward)), batch_size=PAIRS_PER_BLOCK)
        return found.reshape(len(adjoint), len(forward), -1)

    def _entries(self, m: jax.Array) -> jax.Array:
        return self.model.matrix(self.parametrization(m)).data


def voltage_jacobian(
    model: CompleteElectrodeModel, observation: ElectrodeVoltages, parametrization: Parametrization, m: ArrayLike
) -> np.ndarray:
    """Return the Jacobian at one m, with p as its last axis, before it those of the observed voltages.

    `VoltageJacobian` is quicker for several m: it compiles once.

    Args:
        model: The model.
        observation: The voltages that are observed.
        parametrization: The map from the parameter to the model's coefficient.
        m: The parameter (p,).
    """
    return VoltageJacobian(model, observation, parametrization)(m)
