"""The animation of the state over the times at which it is kept, as a GIF file."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import pdeopt
from pdeopt.run.pictures.canvas.field_axes import color_bar_label, draw_curve
from pdeopt.run.pictures.canvas.style import BLUE, new_figure
from pdeopt.run.pictures.canvas.titles import moment
from pdeopt.run.pictures.in_time.chosen import evenly_chosen
from pdeopt.run.pictures.in_time.times_figure import FieldInTime, draw_moment, states_in_time
from pdeopt.run.store.directory import SIGNATURE
from pdeopt.run.store.fields import Fields

#: The number of times at which the state must be kept; of fewer the figure of times shows all.
MIN_TIMES = 5
#: The largest number of frames.
MAX_FRAMES = 60
#: The time that drawing may take, in seconds; where one frame takes long, there are fewer.
DRAWING_SECONDS = 4.0
#: The largest size of the file, in bytes; where it is exceeded, every other frame is left out.
MAX_BYTES = 1_000_000
#: The number of grays among the 256 colors of the file; more would take the place of pale colors.
GRAYS = 6
#: The number of pixels of an inch.
DOTS_PER_INCH = 80
#: The time that all frames take together, in milliseconds.
DURATION_MS = 6000
#: The shortest time of a frame, in milliseconds.
MIN_FRAME_MS = 80
#: The longest time of a frame, in milliseconds.
MAX_FRAME_MS = 500


def animated_state(fields: Fields) -> bytes | None:
    """Return the content of a GIF file: the state of the first experiment, and its target before it.

    It is None where the state is kept at fewer than `MIN_TIMES` times or cannot be drawn, and where not even so many
    frames are drawn in time.

    Args:
        fields: The arrays of the run.
    """
    rows = states_in_time(fields, fields.times, 1)
    if fields.times < MIN_TIMES or not rows or not rows[0].canvas.can_draw:
        return None
    figure = new_figure(0.3 + 4.1 * len(rows), 3.9)
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    figure.set_dpi(DOTS_PER_INCH)

    def frame(k: int) -> Image.Image:
        for panel, row in zip(panels, rows, strict=True):
            _draw_frame(panel, row, row.drawn[k])
        figure.suptitle(moment(rows[0].times[k], fields.time_unit))
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

    for panel, row in zip(panels, rows, strict=True):
        drawing = _draw_frame(panel, row, row.drawn[0])
        if drawing is not None:
            label = color_bar_label(row.label, row.scale)
            figure.colorbar(drawing, ax=panel, label=label, shrink=0.8, extend=row.beyond_scale)
    frame(0)
    figure.set_layout_engine(None)  # all stays where it is
    start = time.perf_counter()
    frame(0)
    affordable = int(DRAWING_SECONDS / (time.perf_counter() - start))
    if affordable < MIN_TIMES:
        return None
    palette = _palette(rows[0].colors)
    chosen = evenly_chosen(fields.times, min(affordable, MAX_FRAMES))
    return _encoded([frame(k).quantize(palette=palette, dither=Image.Dither.NONE) for k in chosen])


def _draw_frame(axes: Axes, row: FieldInTime, drawn: np.ndarray) -> Any:
    """Draw a field at one time in place of the last one; return what has colors, None for a curve."""
    for artist in [*axes.collections, *axes.lines]:
        artist.remove()
    axes.set_title(row.title)
    if not row.canvas.is_curve:
        return draw_moment(axes, row, drawn)
    draw_curve(axes, row.canvas.at, drawn, color=BLUE)
    low, high = float(row.scale.vmin or 0.0), float(row.scale.vmax or 0.0)
    axes.set(ylabel=row.label, ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)))
    return None


def _palette(colors: str) -> Image.Image:
    """Return an image with the colors that all frames share: a color map, and grays of lines and texts."""
    grays = np.linspace(0, 255, GRAYS)[:, None].repeat(3, 1)
    fields = 255 * colormaps[colors](np.linspace(0, 1, 256 - GRAYS))[:, :3]
    found = Image.new("P", (1, 1))
    found.putpalette(np.concatenate([grays, fields]).round().astype(np.uint8).tobytes())
    return found


def _encoded(frames: Sequence[Image.Image]) -> bytes:
    """Return frames as the content of a GIF file in a loop, of at most `MAX_BYTES` if possible."""
    content = io.BytesIO()
    first, *others = frames
    pause = int(np.clip(DURATION_MS / len(frames), MIN_FRAME_MS, MAX_FRAME_MS))
    words = f"{SIGNATURE} {pdeopt.__version__}".encode()
    first.save(content, "GIF", save_all=True, append_images=others, duration=pause, loop=0, comment=words)
    if content.tell() > MAX_BYTES and len(frames) >= 2 * MIN_TIMES:
        return _encoded(frames[::2])
    return content.getvalue()
