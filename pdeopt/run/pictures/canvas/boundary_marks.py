"""Marks on the boundary in a 2-D picture, with some of their labels beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pdeopt.inverse import Marks
from pdeopt.run.pictures.canvas.style import BLACK
from pdeopt.run.store.placement import PlainMesh

#: The largest number of marks with a label beside them.
MAX_LABELED_MARKS = 8
#: The room around the picture for marks and labels, as a part of its width.
RIM_MARGIN = 0.1
#: The distance of the marks from the boundary, as a part of the picture's width.
MARK_DISTANCE = 0.008
#: The distance of the labels from the boundary, in points.
LABEL_DISTANCE_POINTS = 9
#: The overlap of the pieces of a mark, as a part of their length, so that no line shows between them.
PIECE_OVERLAP = 0.2


def draw_marks(axes: Axes, marks: Marks | None, mesh: PlainMesh) -> None:
    """Draw dark lines just outside of the boundary and labels beyond them, and widen the view for both.

    Args:
        axes: The panel, with a picture of the mesh in it.
        marks: The marks; None draws none.
        mesh: The mesh; on one that is not 2-D nothing is drawn.
    """
    if marks is None or mesh.dim != 2:
        return
    low, high = mesh.p.min(1), mesh.p.max(1)
    center, width = 0.5 * (low + high), float((high - low).max())
    middles = marks.segments.mean(1, keepdims=True)
    pieces = _outward(middles + (1 + PIECE_OVERLAP) * (marks.segments - middles), center, MARK_DISTANCE * width)
    axes.add_collection(LineCollection(list(pieces), colors=BLACK, linewidths=2.6, capstyle="butt"), autolim=False)
    for label, middle in label_places(marks).items():
        away = _outward(np.zeros(2), center - middle, LABEL_DISTANCE_POINTS)
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": BLACK}
        axes.annotate(label, tuple(middle), tuple(away), textcoords="offset points", **style)
    reach = 0.5 * (high - low) + RIM_MARGIN * width
    axes.set_xlim(center[0] - reach[0], center[0] + reach[0])
    axes.set_ylim(center[1] - reach[1], center[1] + reach[1])


def label_places(marks: Marks) -> dict[str, np.ndarray]:
    """Return the middle (2,) of each mark by its label, of some, evenly chosen, where there are many."""
    labels = np.array(marks.labels, str)
    names = list(dict.fromkeys(label for label in marks.labels if label))
    every = max(1, -(-len(names) // MAX_LABELED_MARKS))
    return {name: marks.segments[labels == name].mean((0, 1)) for name in names[::every]}


def _outward(points: np.ndarray, center: np.ndarray, distance: float) -> np.ndarray:
    """Return points (…, 2) moved away from the center by a distance."""
    arm = points - center
    return points + distance * arm / np.maximum(np.linalg.norm(arm, axis=-1, keepdims=True), 1e-300)
