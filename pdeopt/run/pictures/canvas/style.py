"""The colors and sizes of all pictures, which everyone can tell apart (Okabe–Ito, viridis, PuOr)."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure, SubFigure

import pdeopt
from pdeopt.run.store.directory import SIGNATURE, atomic_write

#: The colors of lines and classes, which everyone can tell apart (Okabe–Ito).
BLUE = "#0072B2"
ORANGE = "#E69F00"
GREEN = "#009E73"
PINK = "#CC79A7"
BLACK = "#222222"
SKY = "#56B4E9"
#: The colors of several runs, in order.
RUN_COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, BLACK)
#: The line styles of several runs, the next one after all colors were used.
RUN_LINE_STYLES = ("-", "--", "-.", ":")
#: The ground of an image of classes, lighter than all that lies on it.
GROUND_COLOR = "#DCEAF4"
#: The color map of coefficients.
FIELD_MAP = "viridis"
#: The color map of states.
STATE_MAP = "cividis"
#: The color map of errors, whose middle is light.
ERROR_MAP = "PuOr"
#: The color map of phases, whose two ends are the same.
PHASE_MAP = "twilight"
#: The ratio of the largest and the smallest of positive values from which on a scale is logarithmic.
MIN_LOGARITHMIC_RATIO = 10.0
#: The settings of matplotlib.
MATPLOTLIB_SETTINGS = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.titlesize": 11.5,
    "savefig.dpi": 150,
    "pdf.fonttype": 42,  # journals do not take Type 3
}


class Picture(Figure):
    """A figure apart from pyplot's global state, which a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        with styled():
            self.savefig(file, format="png")
        return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty picture of a width and a height in inches."""
    figure = Picture(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.07, w_pad=0.07)  # type: ignore[union-attr,call-arg]
    return figure


def figure_halves(figure: Figure) -> tuple[SubFigure, SubFigure]:
    """Return the upper and the lower half of a figure."""
    upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[1.05, 1]), object)
    return upper, lower


def run_line(k: int) -> dict[str, str]:
    """Return the look of the lines of run ``k`` = 0, 1, … among several, as keywords of matplotlib."""
    color, line_style = RUN_COLORS[k % len(RUN_COLORS)], RUN_LINE_STYLES[k // len(RUN_COLORS) % len(RUN_LINE_STYLES)]
    return {"color": color, "linestyle": line_style}


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure in the formats of the files' names, PNG where they have none.

    Raises:
        ValueError: A format is unknown.
    """
    for path in paths:
        with atomic_write(path) as temporary:
            kind = path.suffix.removeprefix(".") or "png"
            figure.savefig(temporary, format=kind, metadata=_signature(kind))
        figure.set_layout_engine(None)  # all stays where it is, and is not drawn once more to see where


def _signature(kind: str) -> dict[str, str] | None:
    """Return the metadata that name the writer of a file, or None where the format has no place for it."""
    place = {"png": "Software", "pdf": "Creator", "svg": "Creator"}.get(kind.lower())
    return None if place is None else {place: f"{SIGNATURE} {pdeopt.__version__}"}


def styled():
    """Return a context in which pictures have this style."""
    return mpl.rc_context(MATPLOTLIB_SETTINGS)  # type: ignore[arg-type]  # its stubs list every key as a literal
