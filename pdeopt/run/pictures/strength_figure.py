"""The figure of how the strength of the regularization was chosen: misfit over strength, and L-curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.style import BLACK, BLUE, GREEN, ORANGE, PINK, new_figure

#: The words for a rule in the title, by its name.
RULE_TITLES = {"discrepancy": "the discrepancy principle", "cooling": "cooling", "lcurve": "the L-curve"}
#: The width and the height of a panel, about, in inches.
PANEL_INCHES = np.array([4.4, 3.2])
#: The width and the height of a label, about, in inches.
LABEL_INCHES = np.array([0.36, 0.13])


def draw_strength(record: Mapping[str, Any], problem: str = "") -> Figure:
    """Return a figure of how a rule chose the strength, with the panel of the rule in front.

    Args:
        record: The entry "strength" of summary.json: "rule", "strength" (chosen), "target" (misfit or None), "corner"
            (or None), "reason", and "tried": a list of "strength", "misfit", "regularization", in order. Where it has a
            "status" other than "converged", the strength is not called chosen.
        problem: The name of the problem, for the title.
    """
    figure = new_figure(11, 4.4)
    draw = (_draw_l_curve, _draw_misfit) if record["rule"] == "lcurve" else (_draw_misfit, _draw_l_curve)
    for axes, panel in zip(figure.subplots(1, 2), draw, strict=True):
        axes.margins(0.08)
        panel(axes, record)
        axes.grid(True, which="major", alpha=0.25)
        axes.legend(frameon=True, framealpha=0.8, edgecolor="none")
    name = f"strength by {RULE_TITLES.get(record['rule'], record['rule'])}"
    title = f"{problem}: {name}" if problem else name
    figure.suptitle(f"{title}\n{record.get('reason', '')}".rstrip(), wrap=True)
    return figure


def _draw_misfit(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw the misfit over the strength, with numbers that say in which order the strengths were tried."""
    strength, misfit = _column(record, "strength"), _column(record, "misfit")
    numbers = [str(k + 1) for k in range(len(strength))]
    _draw_minimizers(axes, record, strength, misfit, axes.axhline, BLUE, "numbered as tried", numbers)
    axes.set(xlabel="strength of the regularization", ylabel="misfit (dimensionless)", title="misfit and strength")


def _draw_l_curve(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw the L-curve: misfit to the right, regularization upwards.

    Strong regularization is at the lower right, weak regularization at the upper left.
    """
    misfit, regularization = _column(record, "misfit"), _column(record, "regularization")
    strengths = [f"{s:.0f}" if 100 <= s < 1000 else f"{s:.2g}" for s in _column(record, "strength")]
    _draw_minimizers(axes, record, misfit, regularization, axes.axvline, GREEN, "labeled by strength", strengths)
    axes.set(xlabel="misfit (dimensionless)", ylabel="regularization, without its strength", title="L-curve")


def _column(record: Mapping[str, Any], name: str) -> np.ndarray:
    return np.array([one[name] for one in record["tried"]], float)


def _draw_minimizers(
    axes: Axes,
    record: Mapping[str, Any],
    x: np.ndarray,
    y: np.ndarray,
    draw_target: Callable[..., Any],
    color: str,
    words: str,
    labels: list[str],
) -> None:
    """Draw the minimizers that a rule found as labeled points, the target misfit, and the chosen one.

    Args:
        axes: The panel. Each of its axes is logarithmic where a value is positive; zeros are left out.
        record: The entry "strength" of summary.json.
        x: The values (k,) along the horizontal axis.
        y: The values (k,) along the vertical axis.
        draw_target: Draws the line at the target misfit, across the panel or up.
        color: The color of the points.
        words: What the labels say, for the legend.
        labels: The label of each point.
    """
    strength = _column(record, "strength")
    order = np.argsort(strength)
    axes.plot(x[order], y[order], color=color, linewidth=1, alpha=0.5)
    axes.plot(x, y, "o", color=color, markersize=4, label=f"minimizers, {words}")
    if record.get("target"):
        draw_target(record["target"], color=PINK, linestyle=(0, (6, 3)), linewidth=1.2, label="target misfit")
    distance = np.abs(np.log(strength / record["strength"]))
    chosen = len(strength) - 1 - int(distance[::-1].argmin())  # the last one where it was tried several times
    word = "chosen" if record.get("status", "converged") == "converged" else "nearest, not accepted"
    word = "corner" if record.get("corner") else word
    ring: dict[str, Any] = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": "none"}
    axes.plot(x[chosen], y[chosen], "o", color=ORANGE, label=f"{word}: strength {record['strength']:.3g}", **ring)
    for values, scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if (values > 0).any():
            scale("log", nonpositive="mask")
    _label(axes, labels, x, y, chosen)


def _label(axes: Axes, texts: list[str], x: np.ndarray, y: np.ndarray, first: int) -> None:
    """Label the points, the one with index ``first`` in any case, the others where there is room."""
    places = np.column_stack([_part(x, axes.get_xscale()), _part(y, axes.get_yscale())]) * PANEL_INCHES
    taken: list[np.ndarray] = []
    for k in [first, *(k for k in range(len(texts)) if k != first)]:
        if np.isfinite(places[k]).all() and all((np.abs(places[k] - other) > LABEL_INCHES).any() for other in taken):
            taken.append(places[k])
            style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": BLACK, "alpha": 0.8}
            axes.annotate(texts[k], (x[k], y[k]), (6, 5), **style)


def _part(values: np.ndarray, scale: str) -> np.ndarray:
    """Return the places of values along their axis, in 0 … 1, NaN where they are not shown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.where(values > 0, np.log(values), np.nan) if scale == "log" else values
    return (shown - np.nanmin(shown)) / max(np.ptp(shown[np.isfinite(shown)]), 1e-12)
