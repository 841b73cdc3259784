"""The result of a run on one page: truth, reconstruction, error and data fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from pdeopt.run.field_axes import (
    Canvas,
    common_scale,
    draw_curves,
    draw_field,
    draw_points,
    symmetric_scale,
)
from pdeopt.run.fields import Fields
from pdeopt.run.style import BLUE, ERROR_MAP, FIELD_MAP, ORANGE, new_figure, rows
from pdeopt.run.surface import Surface, surface_of

#: A scatter of more points is thinned.
SCATTERED = 20_000


def draw_result(fields: Fields, summary: dict[str, Any]) -> Figure:
    """Top: the coefficient. Bottom: data fit, residuals, and the state where its place is known."""
    surface = surface_of(fields.p, fields.t, fields.cell)
    figure = new_figure(12.5, 7.4)
    figure.suptitle(headline(summary))
    top, bottom = rows(figure)
    canvas = Canvas(fields.at, surface)
    if canvas.is_curve:
        _coefficient_curves(top, fields)
    elif canvas.can_draw:
        _coefficient_fields(top, fields, canvas)
    _bottom_row(bottom, fields, surface)
    return figure


def headline(summary: dict[str, Any]) -> str:
    """The outcome in one line."""
    if not summary:
        return "unfinished run"
    parts = [f"{summary['problem']}: {summary['status']} after {summary['iterations']} iterations"]
    if summary.get("relative_error") is not None:
        parts.append(f"relative L² error {100 * summary['relative_error']:.3g} %")
    if summary.get("discrepancy") is not None:
        parts.append(f"misfit {summary['discrepancy']:.2f} × that of the noise")
    return ",  ".join(parts)


def _coefficient_fields(figure: SubFigure, fields: Fields, canvas: Canvas) -> None:
    reconstruction = fields.at.drawn(fields.coefficient)
    note = f" ({canvas.surface.note})" if canvas.surface is not None and canvas.surface.note else ""
    if fields.truth is None:
        initial = fields.at.drawn(fields.initial)
        axes = figure.subplots(1, 2)
        scale = common_scale(initial, reconstruction)
        _colored(figure, axes[0], canvas, initial, scale, f"initial guess{note}", fields.label)
        _colored(figure, axes[1], canvas, reconstruction, scale, f"reconstruction{note}", fields.label)
    else:
        truth = fields.at.drawn(fields.truth)
        axes = figure.subplots(1, 3)
        scale = common_scale(truth, reconstruction)
        _colored(figure, axes[0], canvas, truth, scale, f"truth{note}", fields.label)
        _colored(figure, axes[1], canvas, reconstruction, scale, f"reconstruction{note}", fields.label)
        error, title = reconstruction - truth, "reconstruction − truth"
        _colored(figure, axes[2], canvas, error, symmetric_scale(error), title, f"error of {fields.label}", ERROR_MAP)
    draw_points(axes[1], canvas.surface, fields.points)


def _colored(
    figure: SubFigure,
    axes: Axes,
    canvas: Canvas,
    drawn: np.ndarray,
    scale: Normalize,
    title: str,
    label: str,
    colors: str = FIELD_MAP,
) -> None:
    drawing = draw_field(axes, canvas, drawn, scale, colors)
    axes.set_title(title)
    height = np.ptp(axes.get_ylim()) / np.ptp(axes.get_xlim())
    figure.colorbar(drawing, ax=axes, label=label, shrink=float(np.clip(1.5 * height, 0.4, 0.9)))


def _coefficient_curves(figure: SubFigure, fields: Fields) -> None:
    curves = {"initial guess": fields.initial, "reconstruction": fields.coefficient}
    if fields.truth is not None:
        curves = {"truth": fields.truth, **curves}
    drawn = {name: fields.at.drawn(values) for name, values in curves.items()}
    widths = [1] if fields.truth is None else [2, 1]
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    draw_curves(axes[0], fields.at, drawn, fields.label)
    axes[0].set_title("coefficient on the boundary")
    if fields.truth is not None:
        axes[1].axhline(0, color="0.7", linewidth=0.8)
        axes[1].plot(fields.at.abscissa, drawn["reconstruction"] - drawn["truth"], color=ORANGE)
        axes[1].set(xlabel=fields.at.abscissa_label, ylabel=f"error of {fields.label}", title="reconstruction − truth")


def _bottom_row(figure: SubFigure, fields: Fields, surface: Surface | None) -> None:
    canvas = Canvas(fields.state_at, surface) if fields.state_at is not None else None
    drawable = canvas is not None and canvas.can_draw
    axes = figure.subplots(1, 3 if drawable else 2)
    _data_fit(axes[0], fields)
    _residuals(axes[1], fields)
    if drawable:
        assert canvas is not None
        columns = fields.state.reshape(len(fields.state), -1)
        drawn = canvas.at.drawn(columns[:, 0])
        title = "state" if columns.shape[1] == 1 else f"state, experiment 1 of {columns.shape[1]}"
        _colored(figure, axes[2], canvas, drawn, common_scale(drawn), title, "state u", "cividis")
        draw_points(axes[2], canvas.surface, fields.points)


def _data_fit(axes: Axes, fields: Fields) -> None:
    measured, predicted = fields.data.ravel(), fields.predicted.ravel()
    thin = slice(None, None, -(-len(measured) // SCATTERED))
    ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
    axes.plot(ends, ends, color="0.4", linewidth=1, label="predicted = measured")
    size = 14 if len(measured) < 500 else 4
    axes.scatter(measured[thin], predicted[thin], s=size, alpha=0.6, linewidths=0, color=BLUE, rasterized=True)
    axes.set(xlabel=f"measured {fields.data_label}", ylabel=f"predicted {fields.data_label}", title="data fit")
    axes.locator_params(nbins=6)
    axes.legend(loc="upper left")


def _residuals(axes: Axes, fields: Fields) -> None:
    """The histogram of the residuals in noise levels, against the normal density that noise alone would give."""
    residual = ((fields.predicted - fields.data) / fields.noise).ravel()
    reach = float(np.clip(1.05 * np.abs(residual).max(initial=0), 4, 12))
    bins = np.linspace(-reach, reach, int(np.clip(len(residual) ** 0.5, 9, 61)))
    axes.hist(np.clip(residual, -reach, reach), bins=list(bins), density=True, color=BLUE, alpha=0.6)
    x = np.linspace(-reach, reach, 200)
    axes.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), color=ORANGE, label="noise alone")
    level = np.mean(fields.noise)
    axes.set(xlabel="(predicted − measured) / σ", ylabel="density", title=f"residuals, σ = {level:.2g} (noise level)")
    axes.legend(loc="upper left")
