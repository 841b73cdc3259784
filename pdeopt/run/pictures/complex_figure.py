"""The figure of a complex-valued state and its adjoint: real part, magnitude and phase."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.field_axes import Canvas, draw_panel, symmetric_scale
from pdeopt.run.pictures.canvas.style import ERROR_MAP, FIELD_MAP, PHASE_MAP, new_figure
from pdeopt.run.pictures.canvas.titles import experiment_of, headline
from pdeopt.run.store.fields import Fields


def draw_complex(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with a row for the state and one for the adjoint state, or None where they are real.

    Panels show real part, magnitude and phase; of vectors the length of the real part and the magnitude. It is of the
    first experiment.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    if not np.iscomplexobj(fields.state) or fields.state_at is None:
        return None
    canvas = Canvas(fields.state_at, fields.views.marks)
    if not canvas.can_draw:
        return None
    given = {"state u": fields.state, "adjoint state λ": fields.adjoint}
    rows = {name: fields.by_experiment(values)[0] for name, values in given.items() if values is not None}
    columns = 2 if canvas.at.components > 1 else 3
    figure = new_figure(4.2 * columns, 0.6 + 3.4 * len(rows))
    figure.suptitle(headline(summary), wrap=True)
    note = f" ({canvas.surface.note})" if canvas.surface is not None and canvas.surface.note else ""
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (name, values) in zip(grid, rows.items(), strict=True):
        real, size = canvas.at.magnitude(values.real), np.abs(canvas.at.magnitude(values))
        title = f"{name}{experiment_of(fields)}{note}"
        draw_panel(figure, axes[0], canvas, real, symmetric_scale(real), f"real part of {title}", name, ERROR_MAP)
        draw_panel(figure, axes[1], canvas, size, _from_zero(size), f"magnitude of {title}", f"|{name[-1]}|", FIELD_MAP)
        for panel in axes[2:]:
            phase, label = np.angle(canvas.at.drawn(values)), f"phase of {name[-1]} (rad)"
            draw_panel(figure, panel, canvas, phase, Normalize(-np.pi, np.pi), f"phase of {title}", label, PHASE_MAP)
    return figure


def _from_zero(size: np.ndarray) -> Normalize:
    return Normalize(0.0, float(np.nanmax(size)) or 1.0)
