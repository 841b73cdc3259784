"""The figure of how the strength of the regularization was chosen: misfit over strength, and L-curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.style import BLACK, BLUE, GREEN, ORANGE, PINK, new_figure

#: The words for a rule in the title, by its name.
TITLES = {"discrepancy": "the discrepancy principle", "cooling": "cooling", "lcurve": "the L-curve"}
#: The width and the height of a panel, about, in inches.
PANEL = np.array([4.4, 3.2])
#: The width and the height of a label, about, in inches.
LABEL = np.array([0.36, 0.13])


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
    name = f"strength by {TITLES.get(record['rule'], record['rule'])}"
    title = f"{problem}: {name}" if problem else name
    figure.suptitle(f"{title}\n{record.get('reason', '')}".rstrip(), wrap=True)
    return figure


def _draw_misfit(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw the misfit over the strength, with numbers that say in which order the strengths were tried."""
    strength, misfit, _ = _columns(record)
    order = np.argsort(strength)
    axes.plot(strength[order], misfit[order], color=BLUE, linewidth=1, alpha=0.5)
    axes.plot(strength, misfit, "o", color=BLUE, markersize=4, label="minimizers, numbered as tried")
    if record.get("target"):
        axes.axhline(record["target"], color=PINK, linestyle=(0, (6, 3)), linewidth=1.2, label="target misfit")
    _mark_chosen(axes, record, strength, misfit)
    axes.set(xlabel="strength of the regularization", ylabel="misfit (dimensionless)", title="misfit and strength")
    _logarithmic(axes, strength, misfit)
    _label(axes, [str(k + 1) for k in range(len(strength))], strength, misfit, _chosen(record))


def _draw_l_curve(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw the L-curve: misfit to the right, regularization upwards.

    Strong regularization is at the lower right, weak regularization at the upper left.
    """
    strength, misfit, regularization = _columns(record)
    order = np.argsort(strength)
    axes.plot(misfit[order], regularization[order], color=GREEN, linewidth=1, alpha=0.5)
    axes.plot(misfit, regularization, "o", color=GREEN, markersize=4, label="minimizers, labeled by strength")
    if record.get("target"):
        axes.axvline(record["target"], color=PINK, linestyle=(0, (6, 3)), linewidth=1.2, label="target misfit")
    _mark_chosen(axes, record, misfit, regularization)
    axes.set(xlabel="misfit (dimensionless)", ylabel="regularization, without its strength", title="L-curve")
    _logarithmic(axes, misfit, regularization)
    _label(
        axes, [f"{s:.0f}" if 100 <= s < 1000 else f"{s:.2g}" for s in strength], misfit, regularization, _chosen(record)
    )


def _columns(record: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tried = record["tried"]
    strength, misfit, regularization = (
        np.array([one[name] for one in tried], float) for name in ("strength", "misfit", "regularization")
    )
    return strength, misfit, regularization


def _chosen(record: Mapping[str, Any]) -> int:
    """Return the index of the chosen strength, the last one where it was tried several times."""
    strength = _columns(record)[0]
    distance = np.abs(np.log(strength / record["strength"]))
    return len(strength) - 1 - int(distance[::-1].argmin())


def _mark_chosen(axes: Axes, record: Mapping[str, Any], x: np.ndarray, y: np.ndarray) -> None:
    k = _chosen(record)
    word = "chosen" if record.get("status", "converged") == "converged" else "nearest, not accepted"
    word = "corner" if record.get("corner") else word
    style: dict[str, Any] = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": "none"}
    axes.plot(x[k], y[k], "o", color=ORANGE, label=f"{word}: strength {record['strength']:.3g}", **style)


def _label(axes: Axes, texts: list[str], x: np.ndarray, y: np.ndarray, first: int) -> None:
    """Label the points, the one with index ``first`` in any case, the others where there is room."""
    places = np.column_stack([_part(x, axes.get_xscale()), _part(y, axes.get_yscale())]) * PANEL
    taken: list[np.ndarray] = []
    for k in [first, *(k for k in range(len(texts)) if k != first)]:
        if np.isfinite(places[k]).all() and all((np.abs(places[k] - other) > LABEL).any() for other in taken):
            taken.append(places[k])
            style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7.5, "color": BLACK, "alpha": 0.8}
            axes.annotate(texts[k], (x[k], y[k]), (6, 5), **style)


def _part(values: np.ndarray, scale: str) -> np.ndarray:
    """Return the places of values along their axis, in 0 … 1, NaN where they are not shown."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.where(values > 0, np.log(values), np.nan) if scale == "log" else values
    return (shown - np.nanmin(shown)) / max(np.ptp(shown[np.isfinite(shown)]), 1e-12)


def _logarithmic(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Make each axis logarithmic on which a value is positive; zeros are left out."""
    for values, scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if (values > 0).any():
            scale("log", nonpositive="mask")
