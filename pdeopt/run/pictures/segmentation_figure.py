"""The figure of a segmentation into classes, beside the true one where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch

from pdeopt.run.pictures.canvas.electrode_marks import Electrodes, draw_electrodes, electrodes_of
from pdeopt.run.pictures.canvas.style import BLACK, BLUE, GREEN, ORANGE, PINK, SKY, WATER_BLUE, new_figure
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.json_file import is_number

#: The colors of classes, which differ in lightness, too; the first one is the ground.
COLORS = (WATER_BLUE, ORANGE, BLUE, GREEN, PINK, SKY, BLACK)
#: The names of classes where a result does not say them, as those of former versions.
FORMER_NAMES = ("water", "resistive", "conductive")
#: The largest distance of a round tank's vertices from the circle, outside of it, as a part of the radius.
ROUND = 1e-2


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmentation of pixels into classes, and what is drawn around them.

    Attributes:
        found: The labels (n, n) that were found, row 0 at the top.
        truth: The true labels (n, n); None where they are not known.
        names: The names of the classes 0, 1, …; 0 is the ground.
        extent: The coordinates left, right, bottom and top; None counts pixels.
        rim: The center (2,) and the radius of a round tank; None where it is not round, or its place among the pixels
            is not known.
        electrodes: The electrodes on the rim; None where there are none, or their place among the pixels is not known.
    """

    found: np.ndarray
    truth: np.ndarray | None
    names: tuple[str, ...]
    extent: tuple[float, float, float, float] | None
    rim: tuple[np.ndarray, float] | None
    electrodes: Electrodes | None

    @property
    def panels(self) -> int:
        """The number of panels that it takes: two where the truth is known."""
        return 1 if self.truth is None else 2


def segmentation_of(fields: Fields) -> Segmentation | None:
    """Return the segmentation that result.npz holds, or None without one.

    It is made of `segmentation`, `segmentation_truth`, `segmentation_names` and `segmentation_extent`.
    """
    parts = ("", "_truth", "_extent", "_names")
    found, truth, extent, said = (fields.extra.get(f"segmentation{part}") for part in parts)
    if found is None or found.ndim != 2:
        return None
    if truth is not None and truth.shape != found.shape:
        truth = None
    names = FORMER_NAMES if said is None or said.ndim != 1 else tuple(map(str, said))
    if extent is None or extent.shape != (4,):
        return Segmentation(found, truth, names, None, None, None)
    left, right, bottom, top = map(float, extent)
    mesh = fields.at.mesh
    return Segmentation(found, truth, names, (left, right, bottom, top), _rim(mesh.p), electrodes_of(fields, mesh))


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
    patches: list[Artist] = [Patch(facecolor=COLORS[k], label=name) for k, name in enumerate(given.names)]
    outline = [Line2D([], [], color=BLACK, linewidth=1.3, label="outline of the truth")]
    return patches + (outline if given.truth is not None else [])


def _title(summary: dict[str, Any]) -> str:
    problem = f"{summary['problem']}: " if "problem" in summary else ""
    scored = f",  score {summary['score']:.3f}" if is_number(summary.get("score")) else ""
    return f"{problem}segmentation{scored}"


def _draw_labels(axes: Axes, given: Segmentation, labels: np.ndarray) -> None:
    count = len(given.names)
    if count > len(COLORS) or not np.isin(labels, np.arange(count)).all():
        raise ValueError(
            f"a segmentation has labels 0 to {count - 1} ({', '.join(given.names)}), {len(COLORS)} at most"
        )
    image = axes.imshow(
        labels,
        ListedColormap(COLORS[:count]),
        vmin=-0.5,
        vmax=count - 0.5,
        extent=given.extent,
        origin="upper",
        interpolation="nearest",
    )
    if given.rim is not None:
        rim = Circle(
            (given.rim[0][0], given.rim[0][1]), given.rim[1], facecolor="none", edgecolor="0.35", linewidth=0.8
        )
        axes.add_patch(rim)
        image.set_clip_path(rim)
    if given.extent is not None:
        axes.set(xlabel="x", ylabel="y")
    draw_electrodes(axes, given.electrodes)
    axes.spines[:].set_visible(False)
    axes.locator_params(nbins=5)


def _centers(given: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Return the centers of the pixels along x and y, as they are drawn."""
    rows, columns = given.found.shape
    left, right, bottom, top = given.extent or (-0.5, columns - 0.5, rows - 0.5, -0.5)
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    return left + (right - left) * x, top + (bottom - top) * y


def _rim(p: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Return the circle in the mesh's bounding box, seen from above, or None where the mesh is not round.

    Args:
        p: The vertices (d, n).

    Returns:
        The center (2,) and the radius.
    """
    low, high = p[:2].min(1), p[:2].max(1)
    center, radius = 0.5 * (low + high), 0.5 * float((high - low).max())
    reach = np.linalg.norm(p[:2] - center[:, None], axis=0).max()
    return (center, radius) if reach < (1 + ROUND) * radius else None
