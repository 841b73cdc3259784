"""A table of a few numbers in a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

#: The largest number of rows that are shown.
MAX_NUMBER_ROWS = 14


def draw_numbers(axes: Axes, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> None:
    """Draw a table of numbers, a row a number; of many numbers, the first.

    Args:
        axes: The panel.
        names: The names of the numbers.
        columns: The texts of each column by its title: a column a run, or a kind of value.
    """
    axes.set_axis_off()
    shown = len(names) if len(names) <= MAX_NUMBER_ROWS else MAX_NUMBER_ROWS - 1
    rows = [list(row)[:shown] for row in columns.values()]
    labels = list(names[:shown])
    if shown < len(names):
        labels.append(f"… and {len(names) - shown} more, in result.npz")
        rows = [[*row, ""] for row in rows]
    table = axes.table(
        [list(row) for row in zip(*rows, strict=True)],
        rowLabels=labels,
        colLabels=list(columns),
        cellLoc="right",
        edges="horizontal",
        loc="center",
        colWidths=[min(0.16, 0.7 / len(columns))] * len(columns),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    table.scale(1, 1.25)


def five_digit_texts(values: Iterable[float] | np.ndarray) -> list[str]:
    """Return numbers as texts of five digits."""
    return [f"{value:.5g}" for value in values]
