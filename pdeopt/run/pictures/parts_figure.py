"""The figure of the parts of a coupled state, such as a velocity and a pressure."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.field_axes import Canvas, common_scale, draw_arrows, draw_panel
from pdeopt.run.pictures.canvas.style import STATE_MAP, new_figure
from pdeopt.run.pictures.canvas.titles import experiment_of, headline
from pdeopt.run.store.fields import Fields


def draw_parts(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with one panel for each part of a coupled state, or None where it has one part.

    Of vectors it shows their magnitude, with arrows in 2-D.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    canvases = {name: Canvas(at, fields.views.marks) for name, at in fields.parts.items()}
    canvases = {name: canvas for name, canvas in canvases.items() if canvas.can_draw}
    if not canvases:
        return None
    state = fields.by_experiment(fields.state)[0].real
    figure = new_figure(4.6 * len(canvases), 4.2)
    figure.suptitle(headline(summary), wrap=True)
    axes = figure.subplots(1, len(canvases), squeeze=False)[0]
    note = experiment_of(fields)
    for panel, (name, canvas) in zip(axes, canvases.items(), strict=True):
        drawn = canvas.at.magnitude(state)
        title = f"magnitude of the {name}{note}" if canvas.at.components > 1 else f"{name}{note}"
        draw_panel(figure, panel, canvas, drawn, common_scale(drawn), title, name, STATE_MAP)
        if canvas.at.components == 2 == canvas.at.mesh.dim:
            draw_arrows(panel, canvas.at, canvas.at.drawn(state))
    return figure
