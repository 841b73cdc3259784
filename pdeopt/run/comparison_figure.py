"""Several runs in one figure: histories overlaid, reconstructions side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure, SubFigure

from pdeopt.run.field_axes import Canvas, common_scale, draw_field
from pdeopt.run.fields import Fields
from pdeopt.run.history_figure import History, draw_histories_into
from pdeopt.run.style import CYCLE, new_figure, rows
from pdeopt.run.surface import surface_of


def draw_comparison(
    histories: Mapping[str, History], summaries: Mapping[str, Mapping[str, Any]], fields: Mapping[str, Fields]
) -> Figure:
    """Args: run name → history, → summary, → fields (only of runs that have them)."""
    shown = _comparable(fields)
    if not shown:
        figure = new_figure(12, 4)
        draw_histories_into(figure, histories, summaries)
        return figure
    figure = new_figure(max(12, 3.6 * len(shown)), 7.6)
    top, bottom = rows(figure)
    draw_histories_into(top, histories, summaries)
    _reconstructions(bottom, shown, summaries)
    return figure


def _comparable(fields: Mapping[str, Fields]) -> dict[str, Fields]:
    """Those that show the same quantity in the same manner as the first."""

    def manner(one: Fields) -> tuple[str, bool]:
        return one.label, one.at.abscissa.size > 0

    drawable = {name: one for name, one in fields.items() if _canvas(one).can_draw}
    kinds = [manner(one) for one in drawable.values()]
    return {name: one for name, one in drawable.items() if manner(one) == kinds[0]}


def _canvas(fields: Fields) -> Canvas:
    return Canvas(fields.at, surface_of(fields.p, fields.t, fields.cell))


def _reconstructions(
    figure: SubFigure, shown: Mapping[str, Fields], summaries: Mapping[str, Mapping[str, Any]]
) -> None:
    first = next(iter(shown.values()))
    if first.at.abscissa.size:
        _curves(figure, shown)
        return
    drawn = {name: one.at.drawn(one.coefficient) for name, one in shown.items()}
    scale = common_scale(*drawn.values())
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (name, one) in zip(panels, shown.items(), strict=True):
        drawing = draw_field(axes, _canvas(one), drawn[name], scale)
        error = summaries[name].get("relative_error")
        axes.set_title(name if error is None else f"{name}: error {100 * error:.3g} %")
    figure.colorbar(drawing, ax=list(panels), label=first.label, shrink=0.9)


def _curves(figure: SubFigure, shown: Mapping[str, Fields]) -> None:
    axes = figure.subplots()
    first = next(iter(shown.values()))
    if first.truth is not None:
        axes.plot(first.at.abscissa, first.at.drawn(first.truth), color="0.7", linewidth=4, label="truth")
    for k, (name, one) in enumerate(shown.items()):
        axes.plot(one.at.abscissa, one.at.drawn(one.coefficient), color=CYCLE[k % len(CYCLE)], label=name)
    axes.set(xlabel=first.at.abscissa_label, ylabel=first.label)
    axes.legend()
