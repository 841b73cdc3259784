"""The figure of several parameters, one below the other."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.style import new_figure
from pdeopt.run.pictures.result_figure import draw_coefficient, headline
from pdeopt.run.store.fields import Fields


def draw_unknowns(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with a row for each of several parameters; None where there is one.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    if not fields.unknowns:
        return None
    figure = new_figure(12.5, 0.6 + 3.5 * len(fields.unknowns))
    figure.suptitle(headline(summary), wrap=True)
    rows = figure.subfigures(len(fields.unknowns), 1, squeeze=False)[:, 0]
    errors = summary.get("relative_errors") or {}
    for row, (name, one) in zip(rows, fields.each.items(), strict=True):
        known = "" if errors.get(name) is None else f", relative error {100 * errors[name]:.3g} %"
        row.suptitle(f"{name}{known}", x=0.01, ha="left")
        draw_coefficient(row, one)
    return figure
