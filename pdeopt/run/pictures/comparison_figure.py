"""A figure of several runs: histories overlaid, reconstructions and segmentations side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure

from pdeopt.run.pictures.canvas.field_axes import Canvas, coefficient_scale, draw_curve, draw_field, noted
from pdeopt.run.pictures.canvas.number_table import ROWS, draw_numbers, in_digits
from pdeopt.run.pictures.canvas.style import CYCLE, DASHES, new_figure
from pdeopt.run.pictures.common_truth import shared_truth
from pdeopt.run.pictures.history_figure import draw_histories_into
from pdeopt.run.pictures.result_figure import Words
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

#: The width of the figure, in inches.
WIDTH = 13.0
#: The height of the histories, in inches.
HISTORIES = 4.0
#: The height of a row of panels, in inches.
ROW = 3.3
#: The height of a panel with curves, in inches.
CURVES = 4.2
#: The largest number of panels beside each other.
COLUMNS = 4
#: The largest number of letters in a line of a panel's title.
LETTERS = 34

Runs = Mapping[str, StoredRun]
#: The height of one part of the figure in inches, and the function that draws it.
Part = tuple[float, Callable[[SubFigure], None]]


def draw_comparison(runs: Runs, against: str = "iterations") -> Figure:
    """Return a figure that compares several runs.

    Args:
        runs: The runs by name.
        against: The quantity on the horizontal axis of the histories, one of `history_figure.AXES`.
    """
    shown = _comparable(runs)
    parts = [_histories(runs, against), *_reconstructions(runs, shown), *_segmentations(runs)]
    figure = new_figure(WIDTH, sum(height for height, _ in parts))
    if len(runs) > len(shown):
        figure.supxlabel(_left_out(runs, shown), fontsize="medium", wrap=True)
    panels = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=[height for height, _ in parts])
    for (_, draw), panel in zip(parts, np.asarray(panels, object)[:, 0], strict=True):
        draw(panel)
    return figure


def _histories(runs: Runs, against: str) -> Part:
    histories = {_label(name, run): run.history for name, run in runs.items()}
    summaries = [run.summary for run in runs.values()]
    return HISTORIES + 0.2 * (len(runs) // COLUMNS), lambda figure: draw_histories_into(
        figure, histories, summaries, against
    )


def _label(name: str, run: StoredRun) -> str:
    return f"{name} ({run.status})" if run.status in (UNFINISHED, "failed") else name


def _comparable(runs: Runs) -> dict[str, Fields]:
    """Return the runs that show the same quantity in the same manner as the first one that can be drawn."""
    drawable = {name: run.fields for name, run in runs.items() if run.fields and _can_draw(run.fields)}
    kinds = [_manner(one) for one in drawable.values()]
    return {name: one for name, one in drawable.items() if _manner(one) == kinds[0]}


def _can_draw(fields: Fields) -> bool:
    return bool(fields.names) or Canvas(fields.at).can_draw


def _manner(fields: Fields) -> tuple[str, bool, int, tuple[str, ...]]:
    return fields.label, fields.at.abscissa.size > 0, fields.at.mesh.dim, fields.names


def _left_out(runs: Runs, shown: Mapping[str, Fields]) -> str:
    """Return the names of the runs without a reconstruction in the figure, and the reasons."""
    names = ", ".join(f"{name} ({_kind(run)})" for name, run in runs.items() if name not in shown)
    return f"no reconstruction here: {names}"


def _kind(run: StoredRun) -> str:
    return run.status if run.fields is None else f"{run.fields.label}, {_extent(run.fields)}"


def _extent(fields: Fields) -> str:
    return f"{len(fields.names)} numbers" if fields.names else f"{fields.at.mesh.dim}-D"


def _canvas(fields: Fields) -> Canvas:
    return Canvas(fields.at)


def _reconstructions(runs: Runs, shown: Mapping[str, Fields]) -> list[Part]:
    if not shown:
        return []
    if next(iter(shown.values())).names:
        names = max(len(one.names) for one in shown.values())
        return [(0.6 + 0.3 * min(names, ROWS), lambda figure: _numbers(figure, shown))]
    if next(iter(shown.values())).at.abscissa.size:
        return [(CURVES, lambda figure: _curves(figure, shown))]
    panels = {_titled(name, runs[name], "relative_error"): one for name, one in shown.items()}
    known = shared_truth(list(shown.values()))
    height = ROW * _rows(len(panels) + (known is not None))
    return [(height, lambda figure: _fields(figure, panels, known))]


def _titled(name: str, run: StoredRun, number: str) -> str:
    """Return the title of a run's panel, with the relative error or the score in its last line."""
    value, below = run.summary.get(number, ""), ""
    if is_number(value):
        below = f"score {value:.3f}" if number == "score" else f"error {100 * float(value):.3g} %"
    return "\n".join([*textwrap.wrap(_label(name, run).replace(",", ", "), LETTERS), below]).rstrip()


def _rows(panels: int) -> int:
    return -(-panels // COLUMNS)


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
        drawn = [(Words.of(known).known, known, known.at.magnitude(known.truth)), *drawn]
    scale = coefficient_scale(*(values for _, _, values in drawn))
    grid = _grid(figure, len(drawn))
    for axes, (name, one, values) in zip(grid, drawn, strict=True):
        drawing = draw_field(axes, _canvas(one), values, scale)
        axes.set_title(name)
    surface, label = _canvas(drawn[0][1]).surface, drawn[0][1].label
    label = f"{label}, {surface.note}" if surface is not None and surface.note else label
    figure.colorbar(drawing, ax=grid, label=noted(label, scale), shrink=0.9)


def _numbers(figure: SubFigure, shown: Mapping[str, Fields]) -> None:
    known = shared_truth(list(shown.values()))
    columns = {name: in_digits(one.coefficient) for name, one in shown.items()}
    if known is not None and known.truth is not None:
        columns = {Words.of(known).known: in_digits(known.truth), **columns}
    draw_numbers(figure.subplots(), next(iter(shown.values())).names, columns)


def _curves(figure: SubFigure, shown: Mapping[str, Fields]) -> None:
    axes, known = figure.subplots(), shared_truth(list(shown.values()))
    drawn = [one.at.magnitude(one.coefficient) for one in shown.values()]
    if known is not None and known.truth is not None:
        truth = known.at.magnitude(known.truth)
        draw_curve(axes, known.at, truth, color="0.7", linewidth=4, label=Words.of(known).known)
        drawn.append(truth)
    for k, ((name, one), values) in enumerate(zip(shown.items(), drawn, strict=False)):
        look = {"color": CYCLE[k % len(CYCLE)], "linestyle": DASHES[k // len(CYCLE) % len(DASHES)]}
        draw_curve(axes, one.at, values, label=name, **look)
    axes.set(ylabel=next(iter(shown.values())).label)
    if isinstance(coefficient_scale(*drawn), LogNorm):
        axes.set_yscale("log")
    axes.legend(ncols=1 + len(shown) // 8)


def _segmentations(runs: Runs) -> list[Part]:
    """Return the part with the segmentations of the runs that have one; none without any.

    The true segmentation comes first where it is the same for all.
    """
    found = {_titled(name, run, "score"): segmentation_of(run.fields) for name, run in runs.items() if run.fields}
    given = {name: one for name, one in found.items() if one is not None}
    if not given:
        return []
    return [(ROW * _rows(len(given) + 1), lambda figure: _draw_segmentations(figure, given))]


def _draw_segmentations(figure: SubFigure, given: Mapping[str, Segmentation]) -> None:
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
