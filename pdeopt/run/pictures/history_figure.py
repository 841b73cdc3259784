"""The figure of the history of one optimization, or of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from pdeopt.run.pictures.canvas.style import BLACK, BLUE, GREEN, ORANGE, PINK, new_figure, run_line

#: The columns of history.csv by name, each (rows,).
History = Mapping[str, np.ndarray]
Panel = Figure | SubFigure
#: The objective and its terms: column of history.csv, color and line style.
OBJECTIVE_CURVES = (("objective", BLACK, "-"), ("misfit", BLUE, "--"), ("regularization", ORANGE, "-."))
#: The norm of the gradient, and what is drawn beside it where there are constraints: column, label, color, line style.
GRADIENT_CURVES = (("gradient_norm", "norm of the gradient", GREEN, "-"), ("violation", "violation", PINK, "--"))

#: The quantities on the horizontal axis: name → column of history.csv, and label of the axis.
HISTORY_AXES = {
    "iterations": ("iteration", "iteration"),
    "evaluations": ("evaluations", "evaluations of the objective"),
    "seconds": ("seconds", "time (s)"),
}
#: The room that the label of a strength needs in a panel of one run's figure, as a part of the axis.
STRENGTH_LABEL_SPACE = 0.06
#: The room that the label of a strength needs in a panel of a comparison, as a part of the axis.
COMPARISON_LABEL_SPACE = 0.1
#: The largest number of lines of such labels above a panel.
MAX_LABEL_LINES = 4
#: The height of a line of such labels, in points.
LABEL_LINE_POINTS = 9
#: The number of letters that fit beside each other in a legend.
MAX_LEGEND_LETTERS = 150


def draw_history(history: History, summary: Mapping[str, Any], against: str = "iterations") -> Figure:
    """Return a figure with objective, misfit and regularization in one panel, gradient norm in the other.

    The violation of constraints is beside the latter.
    Lines are broken where the strength of the regularization changes: it is another objective from there on.

    Args:
        history: The columns of history.csv by name.
        summary: The entries of summary.json; empty for a run that is not finished.
        against: The quantity on the horizontal axis, one of `HISTORY_AXES`.
    """
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for name, color, line in OBJECTIVE_CURVES:
        left.plot(*_broken(history, name, against), color=color, linestyle=line, label=name, **_marker(history))
    _expected_misfit(left, summary)
    for axes in (left, right):
        _mark_strengths(axes, history, against, STRENGTH_LABEL_SPACE * np.ptp(history[HISTORY_AXES[against][0]]))
    _finish(left, [history[name] for name, _, _ in OBJECTIVE_CURVES], "value (dimensionless)", against)
    by_rule = bool(len(_changes(history)))
    left.set_title("objective and its terms", pad=14 if by_rule else None)
    if by_rule:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    else:
        left.legend()
    curves = GRADIENT_CURVES if history["violation"].any() else GRADIENT_CURVES[:1]
    for name, label, color, line in curves:
        right.plot(*_broken(history, name, against), color=color, linestyle=line, label=label, **_marker(history))
    _finish(right, [history[name] for name, *_ in curves], " and ".join(label for _, label, *_ in curves), against)
    right.set_title("gradient" if len(curves) == 1 else "gradient and constraints", pad=14 if by_rule else None)
    if len(curves) > 1:
        right.legend()
    figure.suptitle(_title(summary), wrap=True)
    return figure


def draw_histories_into(
    figure: Panel,
    histories: Mapping[str, History],
    summaries: Iterable[Mapping[str, Any]],
    against: str = "iterations",
) -> None:
    """Draw objective, misfit and gradient norm of several histories into a figure, one color a run.

    Args:
        figure: The figure, or a part of one.
        histories: The histories by label.
        summaries: The entries of each run's summary.json.
        against: The quantity on the horizontal axis, one of `HISTORY_AXES`.
    """
    panels = (("objective", "objective"), ("misfit", "misfit"), ("gradient_norm", "norm of the gradient"))
    expected = {summary.get("expected_misfit") for summary in summaries}
    room = COMPARISON_LABEL_SPACE * max(history[HISTORY_AXES[against][0]].max() for history in histories.values())
    for axes, (column, label) in zip(figure.subplots(1, 3), panels, strict=True):
        changing = 0
        for k, (name, history) in enumerate(histories.items()):
            line = run_line(k)
            axes.plot(*_broken(history, column, against), label=name, **line, **_marker(history))
            _mark_strengths(axes, history, against, room, line["color"], changing)
            changing += bool(len(_changes(history)))
        if column == "misfit" and len(expected) == 1:
            _expected_misfit(axes, {"expected_misfit": next(iter(expected))})
        _finish(axes, [history[column] for history in histories.values()], label, against)
    _legend(figure, figure.axes[1], list(histories))


def _legend(figure: Panel, axes: Axes, first: list[str]) -> None:
    """Add a legend with each label once, those of ``first`` first, in as many columns as fit."""
    found = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    entries = {label: found[label] for label in dict.fromkeys([*first, *found])}
    columns = max(1, min(4, MAX_LEGEND_LETTERS // (6 + max(map(len, entries)))))
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns)


def _title(summary: Mapping[str, Any]) -> str:
    """Return the title: problem, status and message of a run, or that it is not finished."""
    return f"{summary['problem']}: {summary['status']}, {summary['message']}" if summary else "unfinished run"


def _changes(history: History) -> np.ndarray:
    """Return the numbers of the rows that are the first of another strength of the regularization."""
    return np.flatnonzero(np.diff(history["strength"])) + 1


def _broken(history: History, column: str, against: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of a line along both axes, with a gap where the strength changes."""
    rows = _changes(history)
    x = history[HISTORY_AXES[against][0]].astype(float)
    return np.insert(x, rows, np.nan), np.insert(history[column].astype(float), rows, np.nan)


def _mark_strengths(axes: Axes, history: History, against: str, room: float, color: str = BLACK, line: int = 0) -> None:
    """Mark where the strength changes, and write each strength above its part of the panel.

    A strength for which there is no room is not written.

    Args:
        axes: The panel.
        history: The columns of history.csv by name.
        against: The quantity on the horizontal axis, one of `HISTORY_AXES`.
        room: The length along the horizontal axis that a strength needs.
        color: The color of lines and strengths.
        line: The line above the panel on which the strengths are written, from 0.
    """
    changes, x = _changes(history), history[HISTORY_AXES[against][0]]
    if not len(changes):
        return
    ends = [x[0], *(0.5 * (x[changes - 1] + x[changes])), x[-1]]
    for k, start in enumerate(ends[:-1]):
        if k:
            label = "change of strength (above)" if k == 1 else None
            axes.axvline(start, color=color, linewidth=0.6, linestyle=":", label=label)
        if ends[k + 1] - start >= room and line < MAX_LABEL_LINES:
            strength = history["strength"][changes[k - 1] if k else 0]
            place = (0.5 * (start + ends[k + 1]), 1.0)
            style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": color, "alpha": 0.8}
            offset = (0, 1 + LABEL_LINE_POINTS * line)
            axes.annotate(_three_digits(strength), place, offset, axes.get_xaxis_transform(), "offset points", **style)


def _three_digits(number: float) -> str:
    """Return a number with three digits, without an exponent where that is short: "1000"."""
    return f"{float(f'{number:.3g}'):g}"


def _expected_misfit(axes: Axes, summary: Mapping[str, Any]) -> None:
    expected = summary.get("expected_misfit")
    if expected:
        axes.axhline(expected, color=PINK, linestyle=(0, (6, 3)), linewidth=1.2, label="misfit of noise alone")


def _marker(history: History) -> dict[str, Any]:
    """Return the look of the markers of iterates, which are shown where the iterates are few.

    They are shown, smaller, where there are several strengths, too, as one of them may have a single iterate.
    """
    if len(history["iteration"]) <= 15:
        return {"marker": "o", "markersize": 3}
    return {"marker": "o", "markersize": 1.8} if len(_changes(history)) else {}


def _finish(axes: Axes, columns: list[np.ndarray], label: str, against: str) -> None:
    """Set scales, labels and grid of a panel.

    The vertical axis is logarithmic where values are positive; zeros are left out there, and negative values make the
    scale symmetric.
    """
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if (values < 0).any():
        axes.set_yscale("symlog", linthresh=max(1e-3 * np.abs(values).max(), 1e-300))
    elif (values > 0).any():
        axes.set_yscale("log", nonpositive="mask")
    axes.set(xlabel=HISTORY_AXES[against][1], ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=against != "seconds"))
    if against == "seconds":
        axes.set_xlim(left=0)
    axes.grid(True, which="major", alpha=0.25)
