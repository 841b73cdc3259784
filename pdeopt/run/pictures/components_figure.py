"""The figure of the components of vectors, such as displacements, velocities and forces."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.field_axes import Canvas, draw_panel, symmetric_scale
from pdeopt.run.pictures.canvas.style import ERROR_MAP, new_figure
from pdeopt.run.pictures.canvas.titles import RoleWords, headline, state_title
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.placement import Placement


def draw_components(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with one panel for each component of vectors, or None where nothing is a vector.

    It has a row for each vector-valued function: the known coefficient, the found one, the state.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    words = RoleWords.of(fields)
    given: list[tuple[str, str, Placement | None, np.ndarray | None]] = [
        (words.known, fields.label, fields.at, fields.truth),
        (words.found, fields.label, fields.at, fields.coefficient),
        (state_title(fields, magnitude=False), "state u", fields.state_at, fields.by_experiment(fields.state)[0].real),
    ]
    rows = [
        (title, label, Canvas(at, fields.views.marks), at.drawn(values))
        for title, label, at, values in given
        if at is not None and values is not None and at.components > 1
    ]
    rows = [row for row in rows if row[2].can_draw]
    if not rows:
        return None
    columns = max(len(drawn) for *_, drawn in rows)
    figure = new_figure(4.2 * columns, 0.6 + 3.4 * len(rows))
    figure.suptitle(headline(summary), wrap=True)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (title, label, canvas, drawn) in zip(grid, rows, strict=True):
        names = "xyz" if len(drawn) == canvas.at.mesh.dim else "123456789"
        note = f" ({canvas.surface.note})" if canvas.surface is not None and canvas.surface.note else ""
        for panel, name, component in zip(axes, names, drawn, strict=False):
            scale = symmetric_scale(drawn)  # one for all components
            draw_panel(figure, panel, canvas, component, scale, f"{title}, {name} component{note}", label, ERROR_MAP)
        for unused in axes[len(drawn) :]:
            unused.set_visible(False)
    return figure
