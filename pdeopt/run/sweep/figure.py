"""The figure of a sweep of one or two keys: the relative error, or the misfit, against them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from pdeopt.run.pictures.canvas.style import BLUE, FIELD_MAP, MIN_LOGARITHMIC_RATIO, ORANGE, new_figure, save, styled
from pdeopt.run.sweep.grid import Grid, Key
from pdeopt.run.sweep.results import FinishedRun

#: The place on the color scale, in 0 … 1, below which a heat map is so dark that values are written in white.
MAX_DARK_SHADE = 0.6


def draw_sweep(path: Path, grid: Grid, runs: Sequence[FinishedRun]) -> None:
    """Write the figure of a sweep; none for more than two keys, or where no run has a number.

    Args:
        path: The path of the picture.
        grid: The grid of the sweep.
        runs: The results of the runs that have ended.
    """
    keys = grid.varied
    quantity, label = _quantity(keys, runs)
    if len(keys) > 2 or not any(quantity in run.summary for run in runs):
        return
    with styled():
        figure = _curve(keys[0], runs, quantity, label) if len(keys) == 1 else _map(keys, runs, quantity, label)
        save(figure, path)


def _quantity(keys: Sequence[Key], runs: Sequence[FinishedRun]) -> tuple[str, str]:
    """Return the name in summary.json of the quantity that is drawn, and its label.

    Of several starts it is the objective, which tells minima apart.
    """
    if any(key.flag == "--initial-seed" for key in keys):
        return "objective", "objective (dimensionless)"
    known = any(run.summary.get("relative_error") is not None for run in runs)
    return ("relative_error", "relative L² error") if known else ("misfit", "misfit (dimensionless)")


def _value(run: FinishedRun, quantity: str) -> float:
    """Return a number of a run's summary, NaN where the run failed before it had one."""
    value = run.summary.get(quantity)
    return np.nan if value is None else float(value)


def _curve(key: Key, runs: Sequence[FinishedRun], quantity: str, label: str) -> Figure:
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    texts = [run.point.values[key.name] for run in runs]
    values = np.array([_value(run, quantity) for run in runs])
    numbers = None if key.name.endswith("seed") else _numbers(texts)
    if numbers is None:
        axes.bar(texts, values, width=0.5, color=BLUE)
    else:
        order = np.argsort(numbers)
        axes.plot(numbers[order], values[order], "o-", color=BLUE)
        if _evenly_spaced_on_log_scale(numbers):
            axes.set_xscale("log")
    if numbers is not None and _spans_a_decade(values):
        axes.set_yscale("log")
    failed = [text if numbers is None else numbers[k] for k, text in enumerate(texts) if np.isnan(values[k])]
    if failed:
        foot = np.zeros(len(failed))
        axes.plot(failed, foot, "x", color=ORANGE, transform=axes.get_xaxis_transform(), clip_on=False, label="failed")
        axes.legend()
    axes.set(xlabel=_name(key), ylabel=label, title=_title(runs))
    axes.grid(True, alpha=0.25)
    axes.set_axisbelow(True)
    return figure


def _map(keys: Sequence[Key], runs: Sequence[FinishedRun], quantity: str, label: str) -> Figure:
    """Return a heat map, the first key upward and the second to the right, values as they were given."""
    rows, columns = keys
    table = np.full((len(rows.values), len(columns.values)), np.nan)
    for run in runs:
        place = rows.values.index(run.point.values[rows.name]), columns.values.index(run.point.values[columns.name])
        table[place] = _value(run, quantity)
    figure = new_figure(2.6 + 0.8 * table.shape[1], 1.8 + 0.5 * table.shape[0])
    axes = figure.subplots()
    axes.set_facecolor("0.9")
    scale = LogNorm() if _spans_a_decade(table) else Normalize()
    image = axes.imshow(table, origin="lower", aspect="auto", cmap=FIELD_MAP, norm=scale)
    _write_numbers(axes, table, scale)
    axes.set_xticks(range(len(columns.values)), columns.values)
    axes.set_yticks(range(len(rows.values)), rows.values)
    axes.set(xlabel=_name(columns), ylabel=_name(rows), title=_title(runs))
    figure.colorbar(image, ax=axes, label=f"{label}{', logarithmic' if isinstance(scale, LogNorm) else ''}")
    return figure


def _write_numbers(axes: Axes, table: np.ndarray, scale: Normalize) -> None:
    for (row, column), value in np.ndenumerate(table):
        known = np.isfinite(value)
        color = "white" if known and scale(value) < MAX_DARK_SHADE else "black"
        axes.text(column, row, f"{value:.3g}" if known else "–", ha="center", va="center", color=color)


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    """Return texts as numbers, or None where one is no number."""
    try:
        numbers = np.array([float(text) for text in texts])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _spans_a_decade(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() >= MIN_LOGARITHMIC_RATIO * finite.min())


def _evenly_spaced_on_log_scale(numbers: np.ndarray) -> bool:
    """Return whether the steps differ less on a logarithmic scale than on a linear one."""
    ordered = np.unique(numbers)
    if len(ordered) < 3 or ordered[0] <= 0:
        return _spans_a_decade(ordered)
    steps, ratios = np.diff(ordered), np.diff(np.log(ordered))
    return bool(ratios.std() / ratios.mean() < steps.std() / steps.mean())


def _name(key: Key) -> str:
    return key.name.replace("_", " ")


def _title(runs: Sequence[FinishedRun]) -> str:
    return next((run.summary["problem"] for run in runs if "problem" in run.summary), "")
