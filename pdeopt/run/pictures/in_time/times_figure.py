"""The figure of fields at some times: state, target and coefficient in time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from pdeopt.run.pictures.canvas.boundary_marks import draw_marks
from pdeopt.run.pictures.canvas.field_axes import (
    Canvas,
    beyond_scale,
    coefficient_scale,
    color_bar_label,
    draw_curve,
    draw_field,
    state_colors,
)
from pdeopt.run.pictures.canvas.style import FIELD_MAP, new_figure
from pdeopt.run.pictures.canvas.titles import RoleWords, headline, moment
from pdeopt.run.pictures.in_time.chosen import evenly_chosen
from pdeopt.run.store.fields import FIELD_KIND, Fields

#: The largest number of times that are shown.
MAX_TIMES = 6
#: The largest number of experiments that are shown.
MAX_EXPERIMENTS = 2


@dataclass(frozen=True, eq=False)
class FieldInTime:
    """A field at some times.

    Attributes:
        name: The name of the field, at the left of its row.
        label: The label of its values.
        canvas: The place of the field.
        times: The times (T,), increasing.
        drawn: The values at each of them, as `Placement.magnitude` returns them.
        scale: The color scale, the same as that of the fields that it is compared with.
        colors: The name of the color map.
    """

    name: str
    label: str
    canvas: Canvas
    times: np.ndarray
    drawn: list[np.ndarray]
    scale: Normalize
    colors: str

    @property
    def title(self) -> str:
        """The name of the field, and where it is cut."""
        surface = self.canvas.surface
        return f"{self.name}\n{surface.note}" if surface is not None and surface.note else self.name

    @property
    def beyond_scale(self) -> str:
        """The ends of the scale beyond which there are values, as a color bar takes them."""
        return beyond_scale(np.concatenate(self.drawn), self.scale)


def draw_times(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with a row for each field in time; None where there is none.

    These are a target, the state of at most `MAX_EXPERIMENTS` experiments, and each coefficient in time with its truth.
    Of complex fields the real part is drawn, of vectors the magnitude.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    rows = [*states_in_time(fields, MAX_TIMES, MAX_EXPERIMENTS), *coefficients_in_time(fields)]
    groups = [list(rows) for _, rows in groupby(rows, key=lambda row: id(row.scale))]  # those that share their colors
    groups = [rows for rows in groups if rows[0].canvas.can_draw]
    if not groups:
        return None
    heights = [0.4 + len(rows) * _row_height(rows[0]) for rows in groups]
    columns = max(4, *(len(row.times) for rows in groups for row in rows))
    figure = new_figure(0.9 + 1.95 * columns, 0.5 + sum(heights))
    figure.suptitle(headline(summary), wrap=True)
    parts = figure.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, rows in zip(parts, groups, strict=True):
        (_draw_lines if rows[0].canvas.is_curve else _draw_fields)(part, rows, fields.time_unit)
    return figure


def states_in_time(fields: Fields, most_times: int, most_experiments: int) -> list[FieldInTime]:
    """Return the state in time of each of a few experiments, and the target before it, on one scale.

    Args:
        fields: The arrays of the run.
        most_times: The largest number of times.
        most_experiments: The largest number of experiments.
    """
    times, at = fields.state_times, fields.state_at
    if times is None or fields.times == 1 or at is None:
        return []
    order = np.argsort(times, kind="stable")[evenly_chosen(len(times), most_times)]
    given: list[tuple[str, Any, np.ndarray]] = []
    if fields.kind == FIELD_KIND and fields.data is not None and fields.data.shape[-1:] == times.shape:
        given.append(("target" if fields.noise is None else "measured", fields.field_at, fields.data))
    given.append((next(iter(fields.parts), "state"), at, fields.state))  # a coupled one by the name of its first part
    label, rows = fields.data_label if fields.kind == FIELD_KIND else "state u", []
    for name, place, values in given:
        columns = values if "experiment" in fields.axes else values[:, None]
        for k in range(min(columns.shape[1], most_experiments)):
            which = "" if fields.experiments == 1 else f", experiment {k + 1} of {fields.experiments}"
            rows.append((f"{name}{which}", place, [place.magnitude(columns[:, k, t].real) for t in order]))
    scale, colors = state_colors(np.concatenate([one for _, _, drawn in rows for one in drawn]))
    return [
        FieldInTime(name, label, Canvas(place, fields.views.marks), times[order], drawn, scale, colors)
        for name, place, drawn in rows
    ]


def coefficients_in_time(fields: Fields) -> list[FieldInTime]:
    """Return each coefficient in time, and before it its truth where that is known, on one color scale."""
    found = []
    for one in fields.each.values():
        if one.coefficient_times is None or one.steps == 1:
            continue
        chosen, words = evenly_chosen(one.steps, MAX_TIMES), RoleWords.of(one)
        given = {words.known: one.truth, words.found: one.coefficient}
        drawn = {
            name: [one.at.magnitude(row) for row in values.reshape(one.steps, -1)[chosen]]
            for name, values in given.items()
            if values is not None
        }
        scale, canvas = coefficient_scale(*chain(*drawn.values())), Canvas(one.at, one.views.marks)
        found += [
            FieldInTime(name, one.label, canvas, one.coefficient_times[chosen], drawn[name], scale, FIELD_MAP)
            for name in drawn
        ]
    return found


def _row_height(row: FieldInTime) -> float:
    """Return the height of a row in inches."""
    if row.canvas.is_curve or row.canvas.surface is None:
        return 2.8
    width, height = np.ptp(row.canvas.surface.x, axis=1)
    return float(np.clip(1.8 * height / width, 1.0, 4.5))


def _draw_fields(figure: SubFigure, rows: list[FieldInTime], unit: str) -> None:
    """Draw fields on one color scale, a row each, with their times above the first one."""
    grid = figure.subplots(len(rows), len(rows[0].times), squeeze=False)
    for panels, row in zip(grid, rows, strict=True):
        for panel, drawn in zip(panels, row.drawn, strict=True):
            drawing = draw_moment(panel, row, drawn)
        panels[0].set_ylabel(row.title)
    for panel, time in zip(grid[0], rows[0].times, strict=True):
        panel.set_title(moment(time, unit), fontsize="medium")
    label = color_bar_label(rows[0].label, rows[0].scale)
    look: dict[str, Any] = {"shrink": 0.9, "aspect": 14 * len(rows), "pad": 0.01, "extend": rows[0].beyond_scale}
    figure.colorbar(drawing, ax=grid, label=label, **look)


def draw_moment(axes: Axes, row: FieldInTime, drawn: np.ndarray) -> ScalarMappable:
    """Draw a field at one time as colors, without numbers at the axes, and return what has the colors."""
    drawing = draw_field(axes, row.canvas, drawn, row.scale, row.colors)
    axes.autoscale(tight=True)
    draw_marks(axes, row.canvas.marks, row.canvas.at.mesh)
    axes.set(xlabel="", ylabel="", xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.75", linewidth=0.6)
    return drawing


def _draw_lines(figure: SubFigure, rows: list[FieldInTime], unit: str) -> None:
    """Draw fields along a curve, a panel each with a line for each time, the later the darker."""
    panels, colors = figure.subplots(1, len(rows), squeeze=False, sharey=True)[0], colormaps["viridis_r"]
    for axes, row in zip(panels, rows, strict=True):
        for shade, time, drawn in zip(np.linspace(0.1, 1, len(row.times)), row.times, row.drawn, strict=True):
            draw_curve(axes, row.canvas.at, drawn, color=colors(shade), label=moment(time, unit))
        axes.set_title(row.title)
    panels[0].set_ylabel(rows[0].label)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
