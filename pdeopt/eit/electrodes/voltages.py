"""The voltages between electrodes that are measured under every current pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from pdeopt.eit.electrodes.electrode_model import CompleteElectrodeModel
from pdeopt.eit.electrodes.patterns import checked_patterns
from pdeopt.inverse import InputError


@dataclass(frozen=True, eq=False)
class ElectrodeVoltages:
    """A set of linear combinations of the electrode voltages U of each pattern; it is made by `of`.

    Attributes:
        differences: The weights (L, q) of U_l, mostly 1 and −1, a column for each voltage that is measured.
        combination: The combinations (r, K) of the columns of the state that are the patterns.
        valid: Which voltages there are, (q, K) bool; None for all.
    """

    differences: np.ndarray
    combination: np.ndarray
    valid: np.ndarray | None = None

    @classmethod
    def of(
        cls, model: CompleteElectrodeModel, differences: ArrayLike | None = None, valid: ArrayLike | None = None
    ) -> ElectrodeVoltages:
        """Return the voltages of the states of a model.

        Args:
            model: The model of L electrodes and K patterns.
            differences: The weights (L, q), a column for each voltage; by default the voltages U_l themselves, whose
                sum is zero.
            valid: Which voltages were measured, (q, K) bool; None for all.

        Raises:
            InputError: The differences or ``valid`` are of another shape or type, or nothing is valid.
        """
        count = len(model.electrodes)
        given = np.eye(count) if differences is None else differences
        columns = checked_patterns(given, count, "voltage differences")
        shape = (columns.shape[1], model.currents.shape[1])
        return cls(columns, model.combination, None if valid is None else _checked_mask(valid, shape))

    def __call__(self, u: jax.Array, coefficient: Any = None) -> jax.Array:
        """Return the voltages (q, K); with a mask those that are valid, (k,), pattern by pattern.

        Args:
            u: The states (n + L, r), of which the last L rows are the electrodes' voltages.
            coefficient: The coefficient of the states, which is not used.
        """
        voltages = u[-len(self.differences) :]
        table = self.differences.T @ voltages @ self.combination
        return table if self.valid is None else table[self.places]

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows and columns, each (k,), of the valid voltages in the table (q, K), pattern by pattern."""
        shape = (self.differences.shape[1], self.combination.shape[1])
        columns, rows = np.nonzero(np.ones(shape[::-1], bool) if self.valid is None else self.valid.T)
        return rows, columns


def _checked_mask(valid: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    mask = np.array(valid)
    if mask.dtype != bool or mask.shape != shape or not mask.any():
        raise InputError(
            f"valid has shape {mask.shape}, dtype {mask.dtype} and {np.count_nonzero(mask)} voltages; expected "
            f"booleans of shape {shape}, a row for each difference and a column for each pattern, not all False"
        )
    mask.setflags(write=False)
    return mask
