"""Electrodes on the rim of a 2-D picture, with some of their numbers beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pdeopt.run.pictures.canvas.style import BLACK
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.placement import PlainMesh

#: Numbers are written beside so many electrodes at most.
NUMBERED = 8
#: Room around the picture for them, as a part of its width; electrodes lie so far outside of the rim.
ROOM, OUT = 0.1, 0.008
#: Numbers are so far from the rim, in points.
NUMBER_OUT = 9
#: Pieces of an electrode overlap by this part of their length, so that no line shows between them.
OVERLAP = 0.2


@dataclass(frozen=True, eq=False)
class Electrodes:
    """Where they are.

    Attributes:
        segments: (s, 2, 2), the end points of pieces of the rim under electrodes: segment, end, coordinate.
        numbers: (s,), the electrode of each segment, from 1; None where that is not known.
        center: (2,), of the picture; width: of the picture, in the same unit.
    """

    segments: np.ndarray
    numbers: np.ndarray | None
    center: np.ndarray
    width: float

    @property
    def labels(self) -> dict[int, np.ndarray]:
        """Some numbers, evenly chosen where there are many, and the middle (2,) of their electrodes."""
        if self.numbers is None:
            return {}
        every = -(-len(np.unique(self.numbers)) // NUMBERED)
        chosen = [number for number in np.unique(self.numbers) if (number - 1) % every == 0]
        return {int(number): self.segments[self.numbers == number].mean((0, 1)) for number in chosen}


def electrodes_of(fields: Fields, mesh: PlainMesh) -> Electrodes | None:
    """From `electrode_segments` and `electrode_numbers` of result.npz, for a picture of a mesh.

    None where the mesh is not 2-D, and where there are none.
    """
    segments, numbers = fields.extra.get("electrode_segments"), fields.extra.get("electrode_numbers")
    if segments is None or mesh.dim != 2 or segments.shape[1:] != (2, 2) or not len(segments):
        return None
    if numbers is not None and numbers.shape != segments.shape[:1]:
        numbers = None
    low, high = mesh.p.min(1), mesh.p.max(1)
    return Electrodes(segments, numbers, 0.5 * (low + high), float((high - low).max()))


def draw_electrodes(axes: Axes, electrodes: Electrodes | None) -> None:
    """Dark lines just outside of the rim, and numbers beyond them; the view is widened for both."""
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
    """Points (…, 2), so much further away from the center."""
    arm = points - center
    return points + distance * arm / np.maximum(np.linalg.norm(arm, axis=-1, keepdims=True), 1e-300)
