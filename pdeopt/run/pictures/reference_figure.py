"""The figure that shows how well the model predicts a series of reference measurements.

It is a map of the residual, and its size along both axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pdeopt.inverse import Series
from pdeopt.run.pictures.canvas.field_axes import symmetric_scale
from pdeopt.run.pictures.canvas.style import BLUE, ERROR_MAP, new_figure
from pdeopt.run.store.fields import Fields

#: The color of values that were not measured, or are left out.
MISSING_COLOR = "0.88"


def draw_reference(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure of the residual of the series that the problem's views name.

    It is None where there is no series. It is drawn from two arrays (q, K) of result.npz, which are NaN where there is
    no measurement.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    series = fields.views.reference
    if series is None:
        return None
    measured, predicted = fields.extra.get(series.measured), fields.extra.get(series.predicted)
    if measured is None or predicted is None or measured.ndim != 2 or predicted.shape != measured.shape:
        return None
    residual = predicted - measured
    if not np.isfinite(residual).any():
        return None
    measured = np.where(np.isnan(residual), np.nan, measured)
    figure = new_figure(9.5, 5.8)
    problem = f"{summary['problem']}, " if "problem" in summary else ""
    overall = 100 * float(_relative(residual.ravel(), measured.ravel(), 0))
    figure.suptitle(f"{problem}{series.title} by {overall:.2g} %")
    grid = figure.subplots(2, 2, sharex="col", sharey="row", width_ratios=[4.5, 1], height_ratios=[2.6, 1])
    _draw_map(figure, grid[0, 0], residual, series)
    _draw_sizes(grid[1, 0], 100 * _relative(residual, measured, 0), series)
    _draw_sizes_upright(grid[0, 1], 100 * _relative(residual, measured, 1))
    grid[1, 1].set_visible(False)
    return figure


def _relative(residual: np.ndarray, measured: np.ndarray, axis: int) -> np.ndarray:
    """Return the rms of the residual over that of the measured values, along an axis.

    It is NaN where nothing was measured.
    """
    above, below = np.nansum(residual**2, axis), np.nansum(measured**2, axis)
    return np.sqrt(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0))


def _draw_map(figure: Figure, axes: Axes, residual: np.ndarray, series: Series) -> None:
    q, k = residual.shape
    axes.set_facecolor(MISSING_COLOR)
    extent = (0.5, k + 0.5, q + 0.5, 0.5)
    drawing = axes.imshow(
        residual, ERROR_MAP, symmetric_scale(residual), aspect="auto", extent=extent, interpolation="nearest"
    )
    missing = " (gray: not used)" if np.isnan(residual).any() else ""
    unit = f" ({series.unit})" if series.unit else ""
    axes.set(ylabel=series.row, title=f"predicted − measured{missing}")
    figure.colorbar(drawing, ax=axes, label=f"predicted − measured{unit}", location="left", pad=0.02)


def _draw_sizes(axes: Axes, percent: np.ndarray, series: Series) -> None:
    axes.bar(np.arange(1, len(percent) + 1), np.nan_to_num(percent), width=0.8, color=BLUE)
    axes.set(xlabel=series.column, ylabel="relative\nmisfit (%)")
    axes.grid(True, axis="y", alpha=0.25)


def _draw_sizes_upright(axes: Axes, percent: np.ndarray) -> None:
    axes.barh(np.arange(1, len(percent) + 1), np.nan_to_num(percent), height=0.8, color=BLUE)
    axes.set(xlabel="relative misfit (%)")
    axes.tick_params(labelbottom=True)
    axes.grid(True, axis="x", alpha=0.25)
