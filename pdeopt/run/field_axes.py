"""Draw one field into one pair of axes: on a 1-D or 2-D mesh, on a slice, or along a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.tri import Triangulation

from pdeopt.run.electrode_marks import Electrodes
from pdeopt.run.placement import Placement
from pdeopt.run.style import BLUE, FIELD_MAP
from pdeopt.run.surface import Surface

#: So many data points are drawn as dots at most.
DOTS = 400
#: Positive coefficients that vary by more than this factor get a logarithmic scale.
DECADE = 10


@dataclass(frozen=True)
class Canvas:
    """Where fields are drawn: a placement, the triangles of the mesh that it belongs to, and electrodes around it."""

    at: Placement
    surface: Surface | None
    electrodes: Electrodes | None = None

    @property
    def is_curve(self) -> bool:
        return self.at.abscissa.size > 0

    @property
    def can_draw(self) -> bool:
        return self.is_curve or self.at.kind == "boundary" or self.surface is not None


def common_scale(*fields: np.ndarray) -> Normalize:
    """One color scale for all."""
    low, high = min(np.nanmin(f) for f in fields), max(np.nanmax(f) for f in fields)
    margin = 0.0 if high > low else 0.5 * abs(high) or 0.5
    return Normalize(low - margin, high + margin)


def coefficient_scale(*fields: np.ndarray) -> Normalize:
    """The same, logarithmic where all is positive and spans more than a decade: small values are seen, too."""
    linear = common_scale(*fields)
    low, high = linear.vmin, linear.vmax
    assert low is not None
    assert high is not None
    return LogNorm(low, high) if 0 < DECADE * low < high else linear


def noted(label: str, scale: Normalize) -> str:
    """The label of a color bar: says where colors are logarithmic."""
    return f"{label}, log scale" if isinstance(scale, LogNorm) else label


def symmetric_scale(field: np.ndarray) -> Normalize:
    """Zero in the middle."""
    size = float(np.nanmax(np.abs(field))) or 1.0
    return Normalize(-size, size)


def draw_field(
    axes: Axes, canvas: Canvas, drawn: np.ndarray, scale: Normalize, colors: str = FIELD_MAP
) -> ScalarMappable:
    """Colors on triangles, or points of a boundary in 3-D; ``drawn`` as `Placement.drawn` returns it."""
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


def _triangulation(surface: Surface, mask: np.ndarray) -> Triangulation:
    return Triangulation(surface.x[0], surface.x[1], triangles=surface.triangles, mask=mask)


def draw_points(axes: Axes, surface: Surface | None, points: np.ndarray | None) -> None:
    """Where the data were taken, as dots, where they are few and the picture is 2-D."""
    if points is None or surface is None or len(points) != 2 or points.shape[1] >= DOTS:
        return
    axes.plot(*points, "o", markersize=2.2, color="white", markeredgecolor="black", markeredgewidth=0.4)


def draw_curves(axes: Axes, at: Placement, curves: dict[str, np.ndarray], label: str) -> None:
    """Coefficients along a curve; what is compared with first, thick and light. Logarithmic as colors would be."""
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
    """A field along a curve: values in cells as steps."""
    order = np.argsort(at.abscissa, kind="stable")
    axes.plot(at.abscissa[order], drawn[order], drawstyle="steps-mid" if at.kind == "cells" else "default", **look)
    axes.set(xlabel=at.abscissa_label)
    axes.margins(x=0.02)


def _draw_boundary_points(
    axes: Axes, at: Placement, drawn: np.ndarray, scale: Normalize, colors: str
) -> ScalarMappable:
    """A boundary in 3-D: seen along its flattest direction."""
    spread = np.ptp(at.x, axis=1)
    first, second = sorted(np.argsort(spread)[1:])
    order = np.argsort(at.x[int(np.argmin(spread))])
    x, y = at.x[first][order], at.x[second][order]
    drawing = axes.scatter(x, y, c=drawn[order], s=14, norm=scale, cmap=colors)
    axes.set(aspect="equal", xlabel="xyz"[first], ylabel="xyz"[second])
    return drawing
