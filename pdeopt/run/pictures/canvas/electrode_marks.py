"""Marks of electrodes on the rim of a 2-D picture, with some of their numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pdeopt.run.pictures.canvas.style import BLACK
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.placement import PlainMesh

#: The largest number of electrodes with a number beside them.
NUMBERED = 8
#: The room around the picture for marks and numbers, as a part of its width.
ROOM = 0.1
#: The distance of the marks from the rim, as a part of the picture's width.
OUT = 0.008
#: The distance of the numbers from the rim, in points.
NUMBER_OUT = 9
#: The overlap of the pieces of an electrode, as a part of their length, so that no line shows between them.
OVERLAP = 0.2


@dataclass(frozen=True, eq=False)
class Electrodes:
    """The places of electrodes on the rim of a picture.

    Attributes:
        segments: The end points (s, 2, 2) of pieces of the rim under electrodes: segment, end, coordinate.
        numbers: The electrode (s,) of each segment, from 1; None where that is not known.
        center: The center (2,) of the picture.
        width: The width of the picture, in the same unit.
    """

    segments: np.ndarray
    numbers: np.ndarray | None
    center: np.ndarray
    width: float

    @property
    def labels(self) -> dict[int, np.ndarray]:
        """The middle (2,) of some electrodes by their number, evenly chosen where there are many."""
        if self.numbers is None:
            return {}
        every = -(-len(np.unique(self.numbers)) // NUMBERED)
        chosen = [number for number in np.unique(self.numbers) if (number - 1) % every == 0]
        return {int(number): self.segments[self.numbers == number].mean((0, 1)) for number in chosen}


def electrodes_of(fields: Fields, mesh: PlainMesh) -> Electrodes | None:
    """Return the electrodes that result.npz holds, for a picture of a mesh.

    They are made of `electrode_segments` and `electrode_numbers`.

    Args:
        fields: The arrays of the run.
        mesh: The mesh of the picture.

    Returns:
        The electrodes; None where the mesh is not 2-D, and where there are none.
    """
    segments, numbers = fields.extra.get("electrode_segments"), fields.extra.get("electrode_numbers")
    if segments is None or mesh.dim != 2 or segments.shape[1:] != (2, 2) or not len(segments):
        return None
    if numbers is not None and numbers.shape != segments.shape[:1]:
        numbers = None
    low, high = mesh.p.min(1), mesh.p.max(1)
    return Electrodes(segments, numbers, 0.5 * (low + high), float((high - low).max()))


def draw_electrodes(axes: Axes, electrodes: Electrodes | None) -> None:
    """Draw dark lines just outside of the rim and numbers beyond them, and widen the view for both."""
    if electrodes is None:
        return
    center, width = electrodes.center, electrodes.width
    middles = electrodes.segments.mean(1, keepdims=True)
    pieces = _outward(middles + (1 + OVERLAP) * (electrodes.segments - middles), center, OUT * width)
    axes.add_collection(LineCollection(list(pieces), colors=BLACK, linewidths=2.6, capstyle="butt"), autolim=False)
    for number, middle in electrodes.labels.items():
        away = _outward(np.zeros(2), center - middle, NUMBER_OUT)
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": BLACK}
        axes.annotate(str(number), tuple(middle), tuple(away), textcoords="offset points", **style)
    reach = (0.5 + ROOM) * width
    axes.set_xlim(center[0] - reach, center[0] + reach)
    axes.set_ylim(center[1] - reach, center[1] + reach)


def _outward(points: np.ndarray, center: np.ndarray, distance: float) -> np.ndarray:
    """Return points (…, 2) moved away from the center by a distance."""
    arm = points - center
    return points + distance * arm / np.maximum(np.linalg.norm(arm, axis=-1, keepdims=True), 1e-300)
