"""A figure of several runs: histories overlaid, reconstructions and segmentations side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure

from pdeopt.run.pictures.canvas.field_axes import Canvas, coefficient_scale, color_bar_label, draw_curve, draw_field
from pdeopt.run.pictures.canvas.number_table import MAX_NUMBER_ROWS, draw_numbers, five_digit_texts
from pdeopt.run.pictures.canvas.style import new_figure, run_line
from pdeopt.run.pictures.canvas.titles import RoleWords, step_of
from pdeopt.run.pictures.common_truth import shared_truth
from pdeopt.run.pictures.history_figure import draw_histories_into
from pdeopt.run.pictures.segmentation_figure import (
    Segmentation,
    draw_found,
    draw_truth,
    legend_handles,
    segmentation_of,
)
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.json_file import is_number
from pdeopt.run.store.stored_run import UNFINISHED, StoredRun
from pdeopt.run.store.views.headline import headline_facts

#: The width of the figure, in inches.
FIGURE_WIDTH_INCHES = 13.0
#: The height of the histories, in inches.
HISTORIES_HEIGHT_INCHES = 4.0
#: The height of a row of panels, in inches.
ROW_HEIGHT_INCHES = 3.3
#: The height of a panel with curves, in inches.
CURVES_HEIGHT_INCHES = 4.2
#: The largest number of panels beside each other.
MAX_PANELS_PER_ROW = 4
#: The largest number of letters in a line of a panel's title.
MAX_TITLE_LINE_LETTERS = 34

Runs = Mapping[str, StoredRun]
#: The height of one part of the figure in inches, and the function that draws it.
Part = tuple[float, Callable[[SubFigure], None]]


def draw_comparison(runs: Runs, against: str = "iterations") -> Figure:
    """Return a figure that compares several runs.

    Args:
        runs: The runs by name.
        against: The quantity on the horizontal axis of the histories, one of `history_figure.HISTORY_AXES`.
    """
    histories = {_label(name, run): run.history for name, run in runs.items()}
    summaries = [run.summary for run in runs.values()]
    draw_histories = partial(draw_histories_into, histories=histories, summaries=summaries, against=against)
    parts: list[Part] = [(HISTORIES_HEIGHT_INCHES + 0.2 * (len(runs) // MAX_PANELS_PER_ROW), draw_histories)]
    shown = _comparable(runs)
    if shown:
        parts.append(_reconstructions(runs, shown))
    segmented = {}
    for name, run in runs.items():
        found = segmentation_of(run.fields) if run.fields else None
        if found is not None:
            facts = ", ".join(f"{word} {text}" for word, text in headline_facts(run.summary))
            segmented[_titled(name, run, facts)] = found
    if segmented:
        parts.append((ROW_HEIGHT_INCHES * _rows(len(segmented) + 1), partial(_segmentations, given=segmented)))
    figure = new_figure(FIGURE_WIDTH_INCHES, sum(height for height, _ in parts))
    if len(runs) > len(shown):
        others = ", ".join(f"{name} ({_kind(run)})" for name, run in runs.items() if name not in shown)
        figure.supxlabel(f"no reconstruction here: {others}", fontsize="medium", wrap=True)
    panels = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=[height for height, _ in parts])
    for (_, draw), panel in zip(parts, np.asarray(panels, object)[:, 0], strict=True):
        draw(panel)
    return figure


def _label(name: str, run: StoredRun) -> str:
    return f"{name} ({run.status})" if run.status in (UNFINISHED, "failed") else name


def _titled(name: str, run: StoredRun, below: str) -> str:
    """Return the title of a run's panel, with a text in its last line."""
    return "\n".join([*textwrap.wrap(_label(name, run).replace(",", ", "), MAX_TITLE_LINE_LETTERS), below]).rstrip()


def _comparable(runs: Runs) -> dict[str, Fields]:
    """Return the runs that show the same quantity in the same manner as the first one that can be drawn."""
    drawn = {name: run.fields.drawn for name, run in runs.items() if run.fields}
    drawn = {name: one for name, one in drawn.items() if one.names or Canvas(one.at).can_draw}
    manners = {name: (one.label, one.at.abscissa.size > 0, one.at.mesh.dim, one.names) for name, one in drawn.items()}
    first = next(iter(manners.values()), None)
    return {name: one for name, one in drawn.items() if manners[name] == first}


def _kind(run: StoredRun) -> str:
    """Return what a run has in the place of a coefficient that can be compared."""
    if run.fields is None:
        return run.status
    numbers = len(run.fields.names)
    return f"{run.fields.label}, {f'{numbers} numbers' if numbers else f'{run.fields.at.mesh.dim}-D'}"


def _reconstructions(runs: Runs, shown: Mapping[str, Fields]) -> Part:
    """Return the part with the coefficients: a table of numbers, a panel of curves, or a panel each."""
    first, known = next(iter(shown.values())), shared_truth(list(shown.values()))
    if first.names:
        return 0.6 + 0.3 * min(len(first.names), MAX_NUMBER_ROWS), partial(_numbers, shown=shown, known=known)
    if first.at.abscissa.size:
        return CURVES_HEIGHT_INCHES, partial(_curves, shown=shown, known=known)
    panels = {}
    for name, one in shown.items():
        error = runs[name].summary.get("relative_error", "")
        below = f"error {100 * float(error):.3g} %" if is_number(error) else ""
        panels[_titled(name, runs[name], below)] = one
    return ROW_HEIGHT_INCHES * _rows(len(panels) + (known is not None)), partial(_fields, panels=panels, known=known)


def _rows(panels: int) -> int:
    return -(-panels // MAX_PANELS_PER_ROW)


def _grid(figure: SubFigure, panels: int) -> list[Axes]:
    """Return axes for so many panels, in rows that are filled evenly."""
    rows = _rows(panels)
    axes = figure.subplots(rows, -(-panels // rows), squeeze=False).ravel()
    for unused in axes[panels:]:
        unused.set_visible(False)
    return list(axes[:panels])


def _fields(figure: SubFigure, panels: Mapping[str, Fields], known: Fields | None) -> None:
    """Draw the coefficients of several runs on one color scale, the known one first."""
    drawn = [(name, one, one.at.magnitude(one.coefficient)) for name, one in panels.items()]
    if known is not None and known.truth is not None:
        drawn = [(RoleWords.of(known).known, known, known.at.magnitude(known.truth)), *drawn]
    scale = coefficient_scale(*(values for _, _, values in drawn))
    grid = _grid(figure, len(drawn))
    for axes, (name, one, values) in zip(grid, drawn, strict=True):
        drawing = draw_field(axes, Canvas(one.at), values, scale)
        axes.set_title(name)
    surface, label = Canvas(drawn[0][1].at).surface, f"{drawn[0][1].label}{step_of(drawn[0][1])}"
    label = f"{label}, {surface.note}" if surface is not None and surface.note else label
    figure.colorbar(drawing, ax=grid, label=color_bar_label(label, scale), shrink=0.9)


def _numbers(figure: SubFigure, shown: Mapping[str, Fields], known: Fields | None) -> None:
    """Draw a table with a column for each run, the true numbers first."""
    columns = {name: five_digit_texts(one.coefficient) for name, one in shown.items()}
    if known is not None and known.truth is not None:
        columns = {RoleWords.of(known).known: five_digit_texts(known.truth), **columns}
    draw_numbers(figure.subplots(), next(iter(shown.values())).names, columns)


def _curves(figure: SubFigure, shown: Mapping[str, Fields], known: Fields | None) -> None:
    """Draw the coefficients of several runs along their curve, over the true one."""
    axes = figure.subplots()
    drawn = [one.at.magnitude(one.coefficient) for one in shown.values()]
    if known is not None and known.truth is not None:
        truth = known.at.magnitude(known.truth)
        draw_curve(axes, known.at, truth, color="0.7", linewidth=4, label=RoleWords.of(known).known)
        drawn.append(truth)
    for k, ((name, one), values) in enumerate(zip(shown.items(), drawn, strict=False)):
        draw_curve(axes, one.at, values, label=name, **run_line(k))
    axes.set(ylabel=next(iter(shown.values())).label)
    if isinstance(coefficient_scale(*drawn), LogNorm):
        axes.set_yscale("log")
    axes.legend(ncols=1 + len(shown) // 8)


def _segmentations(figure: SubFigure, given: Mapping[str, Segmentation]) -> None:
    """Draw the segmentations of several runs, the true one first where it is the same for all."""
    first = next(iter(given.values()))
    truths = [np.zeros(0) if one.truth is None else one.truth for one in given.values()]
    same = bool(truths[0].size) and all(np.array_equal(truths[0], truth) for truth in truths)
    grid = _grid(figure, len(given) + same)
    if same:
        draw_truth(grid[0], first)
    for axes, (name, one) in zip(grid[same:], given.items(), strict=True):
        draw_found(axes, one)
        axes.set_title(name)
    figure.legend(handles=legend_handles(first), loc="outside lower center", ncols=4)
