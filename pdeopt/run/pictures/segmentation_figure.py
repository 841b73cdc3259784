"""The figure of an image of classes, such as a segmentation, beside the true one where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch

from pdeopt.inverse import Marks
from pdeopt.run.pictures.canvas.boundary_marks import draw_marks
from pdeopt.run.pictures.canvas.style import BLACK, BLUE, GREEN, GROUND_COLOR, ORANGE, PINK, SKY, new_figure
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.placement import PlainMesh
from pdeopt.run.store.views.headline import headline_facts

#: The colors of classes where the problem gives none, which differ in lightness, too; the first one is the ground.
CLASS_COLORS = (GROUND_COLOR, ORANGE, BLUE, GREEN, PINK, SKY, BLACK)
#: The largest distance of a round domain's vertices from the circle, outside of it, as a part of the radius.
CIRCLE_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation of pixels into classes, and the mesh that they lie on.

    Attributes:
        found: The labels (rows, columns) that were found, row 0 at the top.
        truth: The true labels, of the same shape; None where they are not known.
        names: The names of the classes 0, 1, …; 0 is the ground.
        colors: The color of each class.
        extent: The coordinates left, right, bottom and top; None counts pixels, of which it is not known where they lie
            on the mesh.
        mesh: The mesh of the coefficient.
        marks: The marks on its boundary; None where there are none.
    """

    found: np.ndarray
    truth: np.ndarray | None
    names: Sequence[str]
    colors: Sequence[str]
    extent: tuple[float, float, float, float] | None
    mesh: PlainMesh
    marks: Marks | None

    @property
    def panels(self) -> int:
        """The number of panels that it takes: two where the truth is known."""
        return 1 if self.truth is None else 2


def segmentation_of(fields: Fields) -> Segmentation | None:
    """Return the segmentation that the problem's views name, or None where result.npz holds none."""
    image, marks = fields.views.segmentation, fields.views.marks
    found = None if image is None else fields.extra.get(image.found)
    if image is None or found is None or found.ndim != 2:
        return None
    truth = fields.extra.get(image.truth)
    if truth is not None and truth.shape != found.shape:
        truth = None
    extent = None
    if image.extent is not None:
        left, right, bottom, top = map(float, image.extent)
        extent = (left, right, bottom, top)
    colors = image.colors or CLASS_COLORS[: len(image.classes)]
    return Segmentation(found, truth, image.classes, colors, extent, fields.at.mesh, marks)


def draw_segmentation(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure of the segmentation with the outline of the truth, and of the truth, if known.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.

    Returns:
        The figure; None where there is no segmentation.
    """
    given = segmentation_of(fields)
    if given is None:
        return None
    figure = new_figure(8.6 if given.panels == 2 else 4.8, 5.1)
    axes = figure.subplots(1, given.panels, squeeze=False)[0]
    draw_found(axes[0], given)
    for panel in axes[1:]:
        draw_truth(panel, given)
    figure.legend(handles=legend_handles(given), loc="outside lower center", ncols=4)
    figure.suptitle(_title(summary))
    return figure


def draw_found(axes: Axes, given: Segmentation) -> None:
    """Draw the segmentation that was found, with the outline of the true objects."""
    _draw_labels(axes, given, given.found)
    axes.set_title("segmentation")
    for label in range(1, len(given.names)):
        mask = None if given.truth is None else given.truth == label
        if mask is not None and mask.any() and not mask.all():
            x, y = _centers(given)
            axes.contour(x, y, mask, levels=[0.5], colors=BLACK, linewidths=1.3)


def draw_truth(axes: Axes, given: Segmentation) -> None:
    """Draw the true segmentation, which must be known."""
    assert given.truth is not None
    _draw_labels(axes, given, given.truth)
    axes.set_title("true segmentation")


def legend_handles(given: Segmentation) -> list[Artist]:
    """Return the entries of a legend: all classes, whether they occur or not, and the outline."""
    patches: list[Artist] = [
        Patch(facecolor=color, label=name) for color, name in zip(given.colors, given.names, strict=True)
    ]
    outline = [Line2D([], [], color=BLACK, linewidth=1.3, label="outline of the truth")]
    return patches + (outline if given.truth is not None else [])


def _title(summary: dict[str, Any]) -> str:
    problem = f"{summary['problem']}: " if "problem" in summary else ""
    return ",  ".join([f"{problem}segmentation", *(f"{word} {text}" for word, text in headline_facts(summary))])


def _draw_labels(axes: Axes, given: Segmentation, labels: np.ndarray) -> None:
    count = len(given.names)
    if not np.isin(labels, np.arange(count)).all():
        raise ValueError(f"a segmentation has labels that are no numbers 0 to {count - 1} ({', '.join(given.names)})")
    image = axes.imshow(
        labels,
        ListedColormap(given.colors),
        vmin=-0.5,
        vmax=count - 0.5,
        extent=given.extent,
        origin="upper",
        interpolation="nearest",
    )
    if given.extent is not None:
        circle = _circle_around(given.mesh.p)
        if circle is not None:
            (x, y), radius = circle
            rim = Circle((x, y), radius, facecolor="none", edgecolor="0.35", linewidth=0.8)
            axes.add_patch(rim)
            image.set_clip_path(rim)
        axes.set(xlabel="x", ylabel="y")
        draw_marks(axes, given.marks, given.mesh)
    axes.spines[:].set_visible(False)
    axes.locator_params(nbins=5)


def _centers(given: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Return the centers of the pixels along x and y, as they are drawn."""
    rows, columns = given.found.shape
    left, right, bottom, top = given.extent or (-0.5, columns - 0.5, rows - 0.5, -0.5)
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    return left + (right - left) * x, top + (bottom - top) * y


def _circle_around(p: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the circle in the mesh's bounding box, seen from above, or None where the mesh is not round.

    Args:
        p: The vertices (d, n).

    Returns:
        The center (2,) and the radius.
    """
    if len(p) < 2:
        return None
    low, high = p[:2].min(1), p[:2].max(1)
    center, radius = 0.5 * (low + high), 0.5 * float((high - low).max())
    reach = np.linalg.norm(p[:2] - center[:, None], axis=0).max()
    return (center, radius) if reach < (1 + CIRCLE_TOLERANCE) * radius else None
