"""The history of one optimization, or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from pdeopt.run.style import BLACK, BLUE, CYCLE, DASHES, GREEN, ORANGE, PINK, new_figure

History = Mapping[str, np.ndarray]
Panel = Figure | SubFigure
TERMS = (("objective", BLACK, "-"), ("misfit", BLUE, "--"), ("regularization", ORANGE, "-."))

#: Part of the axis that the label of a strength needs.
ROOM = 0.06


def draw_history(history: History, summary: Mapping[str, Any]) -> Figure:
    """Objective, misfit and regularization in one panel, the gradient norm in the other.

    Lines are broken where the strength of the regularization changes: it is another objective from there on.
    """
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    for name, color, line in TERMS:
        left.plot(*_broken(history, name), color=color, linestyle=line, label=name, **_marker(history))
    _expected_misfit(left, summary)
    for axes in (left, right):
        _mark_strengths(axes, history)
    _finish(left, [history[name] for name, _, _ in TERMS], "value (dimensionless)")
    by_rule = bool(len(_changes(history)))
    left.set_title("objective and its terms", pad=14 if by_rule else None)
    if by_rule:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    else:
        left.legend()
    right.plot(*_broken(history, "gradient_norm"), color=GREEN, **_marker(history))
    _finish(right, [history["gradient_norm"]], "norm of the gradient")
    right.set_title("gradient", pad=14 if by_rule else None)
    figure.suptitle(_title(summary), wrap=True)
    return figure


def draw_histories_into(
    figure: Panel, histories: Mapping[str, History], summaries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Draw several histories into a figure: objective, misfit and gradient norm, one color a run."""
    panels = (("objective", "objective"), ("misfit", "misfit"), ("gradient_norm", "norm of the gradient"))
    for axes, (column, label) in zip(figure.subplots(1, 3), panels, strict=True):
        for k, (name, history) in enumerate(histories.items()):
            line = {"color": CYCLE[k % len(CYCLE)], "linestyle": DASHES[k // len(CYCLE) % len(DASHES)]}
            axes.plot(*_broken(history, column), label=name, **line, **_marker(history))
        if column == "misfit" and len({summary.get("expected_misfit") for summary in summaries.values()}) == 1:
            _expected_misfit(axes, next(iter(summaries.values())))
            axes.legend(*(part[-1:] for part in axes.get_legend_handles_labels()))
        _finish(axes, [history[column] for history in histories.values()], label)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))


def _title(summary: Mapping[str, Any]) -> str:
    """Empty for a run that is not finished."""
    return f"{summary['problem']}: {summary['status']}, {summary['message']}" if summary else ""


def _changes(history: History) -> np.ndarray:
    """The rows that are the first of another strength."""
    return np.flatnonzero(np.diff(history["strength"])) + 1


def _broken(history: History, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and values, with a gap where the strength changes."""
    rows = _changes(history)
    iterations = np.insert(history["iteration"].astype(float), rows, np.nan)
    return iterations, np.insert(history[column].astype(float), rows, np.nan)


def _mark_strengths(axes: Axes, history: History) -> None:
    """A line where the strength changes, and each strength above its part of the panel where there is room."""
    changes, iterations = _changes(history), history["iteration"]
    if not len(changes):
        return
    ends = [iterations[0], *(iterations[changes] - 0.5), iterations[-1]]
    for k, start in enumerate(ends[:-1]):
        if k:
            axes.axvline(
                start, color=BLACK, linewidth=0.6, linestyle=":", label="change of strength (above)" if k == 1 else None
            )
        if ends[k + 1] - start >= ROOM * np.ptp(iterations):
            strength = history["strength"][changes[k - 1] if k else 0]
            place = (0.5 * (start + ends[k + 1]), 1.0)
            style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": BLACK, "alpha": 0.8}
            axes.annotate(f"{strength:.3g}", place, (0, 1), axes.get_xaxis_transform(), "offset points", **style)


def _expected_misfit(axes: Axes, summary: Mapping[str, Any]) -> None:
    expected = summary.get("expected_misfit")
    if expected:
        axes.axhline(expected, color=PINK, linestyle=(0, (6, 3)), linewidth=1.2, label="misfit of noise alone")


def _marker(history: History) -> dict[str, Any]:
    """Few iterates are shown one by one, and those of many strengths: one of them may have a single one."""
    if len(history["iteration"]) <= 15:
        return {"marker": "o", "markersize": 3}
    return {"marker": "o", "markersize": 1.8} if len(_changes(history)) else {}


def _finish(axes: Axes, columns: list[np.ndarray], label: str) -> None:
    """Logarithmic where values are positive; zeros are left out there, and negative values make the scale symmetric."""
    values = np.concatenate(columns)
    values = values[np.isfinite(values)]
    if (values < 0).any():
        axes.set_yscale("symlog", linthresh=max(1e-3 * np.abs(values).max(), 1e-300))
    elif (values > 0).any():
        axes.set_yscale("log", nonpositive="mask")
    axes.set(xlabel="iteration", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True, which="major", alpha=0.25)
