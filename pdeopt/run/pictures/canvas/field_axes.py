"""The drawing of one field into one pair of axes: on a 1-D or 2-D mesh, on a slice, along a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.tri import Triangulation

from pdeopt.inverse import Marks
from pdeopt.run.pictures.canvas.boundary_marks import draw_marks
from pdeopt.run.pictures.canvas.style import BLUE, ERROR_MAP, FIELD_MAP, MIN_LOGARITHMIC_RATIO, ORANGE, STATE_MAP
from pdeopt.run.pictures.canvas.surface import Surface, surface_of
from pdeopt.run.store.placement import Placement

#: The size of the smaller of both signs of a state, relative to the larger one, from which on zero is white.
MIN_BOTH_SIGNS = 0.2
#: The part of the values of such a state that is within the ends of its color scale.
INSIDE_SCALE = 0.995
#: The number of data points from which on they are not drawn as dots.
MIN_POINTS_UNDRAWN = 400
#: The number of arrows along the longer side of a picture.
ARROWS_ALONG = 18
#: The largest distance of dots from the mesh's box, as a part of its size.
MAX_DISTANCE_FROM_MESH = 0.01


@dataclass(frozen=True, eq=False)
class Canvas:
    """A place where fields are drawn.

    Attributes:
        at: The placement of the fields on a mesh.
        marks: The marks on its boundary; None where there are none.
    """

    at: Placement
    marks: Marks | None = None

    @cached_property
    def surface(self) -> Surface | None:
        """The triangles of the mesh that the placement belongs to; None where it cannot be drawn."""
        return surface_of(self.at.mesh)

    @property
    def is_curve(self) -> bool:
        """True where the values lie along a curve."""
        return self.at.abscissa.size > 0

    @property
    def can_draw(self) -> bool:
        """True where a picture can be drawn."""
        return self.is_curve or self.at.kind == "boundary" or self.surface is not None


def common_scale(*fields: np.ndarray) -> Normalize:
    """Return one color scale for all fields."""
    low, high = min(np.nanmin(f) for f in fields), max(np.nanmax(f) for f in fields)
    margin = 0.0 if high > low else 0.5 * abs(high) or 0.5
    return Normalize(low - margin, high + margin)


def coefficient_scale(*fields: np.ndarray) -> Normalize:
    """Return one color scale for all coefficients, logarithmic where small values would not be seen.

    That is where all are positive and span more than a decade.
    """
    linear = common_scale(*fields)
    low, high = linear.vmin, linear.vmax
    assert low is not None
    assert high is not None
    return LogNorm(low, high) if 0 < MIN_LOGARITHMIC_RATIO * low < high else linear


def color_bar_label(label: str, scale: Normalize) -> str:
    """Return the label of a color bar, with a note where colors are logarithmic."""
    return f"{label}, log scale" if isinstance(scale, LogNorm) else label


def symmetric_scale(field: np.ndarray) -> Normalize:
    """Return a color scale with zero in the middle."""
    size = float(np.nanmax(np.abs(field))) or 1.0
    return Normalize(-size, size)


def state_colors(values: np.ndarray) -> tuple[Normalize, str]:
    """Return the scale and the map of a state's colors, with white for zero where it has both signs.

    What is near the source of waves would take all colors; it is beyond the ends of the scale then.

    Args:
        values: The values at all places and times that are drawn.
    """
    low, high = np.nanmin(values), np.nanmax(values)
    if min(-low, high) <= MIN_BOTH_SIGNS * max(-low, high):
        return common_scale(values), STATE_MAP
    inside = np.nanquantile(np.abs(values), INSIDE_SCALE)
    return symmetric_scale(np.array([inside if inside > 0 else high])), ERROR_MAP


def beyond_scale(values: np.ndarray, scale: Normalize) -> str:
    """Return the ends of a scale beyond which there are values, for a color bar: "both" or "neither"."""
    within = scale.vmin is None or scale.vmin <= np.nanmin(values)
    return "neither" if within and (scale.vmax is None or np.nanmax(values) <= scale.vmax) else "both"


def ratio_scale(ratio: np.ndarray) -> LogNorm:
    """Return a logarithmic color scale with 1 in the middle.

    Twice as large and half as large are equally far from it.
    """
    factor = max(1.1, float(np.exp(np.nanmax(np.abs(np.log(ratio))))))
    return LogNorm(1 / factor, factor)


def draw_field(
    axes: Axes, canvas: Canvas, drawn: np.ndarray, scale: Normalize, colors: str = FIELD_MAP
) -> ScalarMappable:
    """Draw a field as colors on triangles, or as points of a boundary in 3-D.

    Args:
        axes: The panel.
        canvas: The place of the field.
        drawn: The values, as `Placement.drawn` returns them.
        scale: The color scale.
        colors: The name of the color map.
    """
    if canvas.at.kind == "boundary":
        return _draw_boundary_points(axes, canvas.at, drawn, scale, colors)
    assert canvas.surface is not None
    surface = canvas.surface
    look: dict[str, Any] = {"norm": scale, "cmap": colors, "rasterized": True}
    drawing: ScalarMappable
    if canvas.at.kind == "cells":
        values = drawn[surface.cells]
        triangulation = _triangulation(surface, np.isnan(values))
        drawing = axes.tripcolor(triangulation, facecolors=np.nan_to_num(values), shading="flat", **look)
    else:
        values = surface.on_vertices(drawn)
        triangulation = _triangulation(surface, np.isnan(values)[surface.triangles].any(1))
        drawing = axes.tripcolor(triangulation, np.nan_to_num(values), shading="gouraud", **look)
    axes.set(aspect="equal", xlabel=surface.axes[0], ylabel=surface.axes[1])
    axes.spines[:].set_visible(False)
    axes.locator_params(nbins=5)
    return drawing


def draw_panel(
    figure: Figure | SubFigure,
    axes: Axes,
    canvas: Canvas,
    drawn: np.ndarray,
    scale: Normalize,
    title: str,
    label: str,
    colors: str = FIELD_MAP,
) -> None:
    """Draw a field into a panel: as colors with their bar, or along a curve.

    Args:
        figure: The figure that gets the color bar.
        axes: The panel.
        canvas: The place of the field.
        drawn: The values, as `Placement.magnitude` returns them.
        scale: The color scale.
        title: The title of the panel.
        label: The label of the values.
        colors: The name of the color map.
    """
    axes.set_title(title)
    if canvas.is_curve:
        draw_curve(axes, canvas.at, drawn, color=ORANGE if colors == ERROR_MAP else BLUE)
        axes.set(ylabel=label)
        return
    drawing = draw_field(axes, canvas, drawn, scale, colors)
    draw_marks(axes, canvas.marks, canvas.at.mesh)
    height = np.ptp(axes.get_ylim()) / np.ptp(axes.get_xlim())
    shrink = float(np.clip(1.5 * height, 0.4, 0.9))
    ends = beyond_scale(drawn, scale)
    figure.colorbar(drawing, ax=axes, label=color_bar_label(label, scale), shrink=shrink, extend=ends)


def _triangulation(surface: Surface, mask: np.ndarray) -> Triangulation:
    return Triangulation(surface.x[0], surface.x[1], triangles=surface.triangles, mask=mask)


def draw_arrows(axes: Axes, at: Placement, drawn: np.ndarray) -> None:
    """Draw arrows of vectors over a field in 2-D: one in each square of a grid.

    Args:
        axes: The panel.
        at: The placement of the vectors.
        drawn: The vectors (2, k), as `Placement.drawn` returns them.
    """
    known = np.isfinite(drawn).all(0)
    x, vectors = at.x[:, known], drawn[:, known]
    low = x.min(1, keepdims=True)
    squares = np.floor((x - low) * (ARROWS_ALONG / np.ptp(x, axis=1).max())).astype(int)
    _, taken = np.unique(squares, axis=1, return_index=True)
    axes.quiver(*x[:, taken], *vectors[:, taken], angles="xy", pivot="mid", color="white", width=0.004)


def draw_points(axes: Axes, canvas: Canvas, points: np.ndarray | None) -> None:
    """Draw dots where the data were taken, if they are few and the picture is 2-D; not beside the mesh.

    Args:
        axes: The panel.
        canvas: The place of the field in it.
        points: The coordinates (d, k) of the data; None where they are not known.
    """
    if points is None or canvas.surface is None or canvas.at.mesh.dim != 2 or len(points) != 2:
        return
    if points.shape[1] >= MIN_POINTS_UNDRAWN:
        return
    x, margin = canvas.surface.x, MAX_DISTANCE_FROM_MESH * np.ptp(canvas.surface.x)
    inside = points == np.clip(points.T, x.min(1) - margin, x.max(1) + margin).T
    axes.plot(
        *points[:, inside.all(0)], "o", markersize=2.2, color="white", markeredgecolor="black", markeredgewidth=0.4
    )


def draw_curves(axes: Axes, at: Placement, curves: dict[str, np.ndarray], label: str) -> None:
    """Draw coefficients along a curve, with a legend; on a logarithmic axis where colors would be.

    Those that are compared with are thick and light.

    Args:
        axes: The panel.
        at: The placement of the coefficients.
        curves: The values by name, those that are compared with first.
        label: The label of the values.
    """
    styles: dict[str, dict[str, Any]] = {
        "truth": {"color": "0.65", "linewidth": 4},
        "exact": {"color": "0.65", "linewidth": 4},
        "initial guess": {"color": "0.4", "linestyle": ":"},
    }
    for name, drawn in curves.items():
        look: dict[str, Any] = {"color": BLUE, **styles.get(name, {})}
        draw_curve(axes, at, drawn, label=name, **look)
    axes.set(ylabel=label)
    if isinstance(coefficient_scale(*curves.values()), LogNorm):
        axes.set_yscale("log")
    axes.legend()


def draw_curve(axes: Axes, at: Placement, drawn: np.ndarray, **look: Any) -> None:
    """Draw a field along a curve, values in cells as steps."""
    order = np.argsort(at.abscissa, kind="stable")
    axes.plot(at.abscissa[order], drawn[order], drawstyle="steps-mid" if at.kind == "cells" else "default", **look)
    axes.set(xlabel=at.abscissa_label)
    axes.margins(x=0.02)


def _draw_boundary_points(
    axes: Axes, at: Placement, drawn: np.ndarray, scale: Normalize, colors: str
) -> ScalarMappable:
    """Draw a field on a boundary in 3-D as points, seen along its flattest direction."""
    spread = np.ptp(at.x, axis=1)
    first, second = sorted(np.argsort(spread)[1:])
    order = np.argsort(at.x[int(np.argmin(spread))])
    x, y = at.x[first][order], at.x[second][order]
    drawing = axes.scatter(x, y, c=drawn[order], s=14, norm=scale, cmap=colors)
    axes.set(aspect="equal", xlabel=at.mesh.named("xyz"[first]), ylabel=at.mesh.named("xyz"[second]))
    return drawing
