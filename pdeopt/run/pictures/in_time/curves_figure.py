"""The figure of what sensors measured in time, beside what is predicted there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pdeopt.run.pictures.canvas.style import BLACK, BLUE, new_figure
from pdeopt.run.pictures.canvas.titles import headline
from pdeopt.run.pictures.in_time.chosen import evenly_chosen
from pdeopt.run.store.data.data_set import DataSet
from pdeopt.run.store.fields import Fields

#: The largest number of sensors that are shown.
MAX_SENSORS = 6
#: The number of panels beside each other.
PANELS_PER_ROW = 3
#: The number of times up to which each measured value is a dot of its own size.
MAX_LARGE_DOTS = 60
#: The height of the noise's band, relative to that of the curves, above which it would hide them, and is not drawn.
MAX_BAND_HEIGHT = 3.0


@dataclass(frozen=True, eq=False)
class SensorCurves:
    """The curves of one sensor, of the first experiment.

    Attributes:
        title: The sensor's number and place.
        label: The name of the data, with their unit.
        times: The times (T,), increasing.
        measured: The measured values (T,).
        predicted: The values (T,) that the result predicts.
        initial: The values (T,) that the initial guess predicts; None where they are not known.
        noise: The standard deviations (T,) of the measured values; None where they are not known.
    """

    title: str
    label: str
    times: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    initial: np.ndarray | None
    noise: np.ndarray | None


def draw_curves_in_time(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with a panel for each of a few sensors; None where there are no readings in time.

    Of complex readings their real part is drawn, of several experiments the first.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    chosen = sensor_curves(fields.data_sets)
    if not chosen:
        return None
    columns = min(PANELS_PER_ROW, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(4.2 * columns, 1.2 + 2.6 * rows)
    experiment = "" if fields.experiments == 1 else f"\nexperiment 1 of {fields.experiments}"
    figure.suptitle(f"{headline(summary)}{experiment}", wrap=True)
    same_data = len({one.label for one in chosen}) == 1
    grid = figure.subplots(rows, columns, squeeze=False, sharex=same_data, sharey=same_data)
    time = f"time t ({fields.time_unit})" if fields.time_unit else "time t"
    widest = max((float(one.noise.max()) for one in chosen if one.noise is not None), default=0.0)
    values = np.concatenate([np.concatenate([one.measured, one.predicted]) for one in chosen])
    band = 0 < 2 * widest <= MAX_BAND_HEIGHT * np.ptp(values)
    for k, (panel, one) in enumerate(zip(grid.flat, chosen, strict=False)):
        _draw_curves(panel, one, band)
        panel.set_title(one.title)
        if k + columns >= len(chosen) or not same_data:  # there is none below it
            panel.set_xlabel(time)
            panel.tick_params(labelbottom=True)
        if k % columns == 0 or not same_data:
            panel.set_ylabel(one.label)
    for unused in grid.flat[len(chosen) :]:
        unused.set_visible(False)
    curves: dict[str, Any] = {}
    for panel in grid.flat:
        handles, names = panel.get_legend_handles_labels()
        curves |= dict(zip(names, handles, strict=True))
    if widest > 0 and not band:
        curves[f"σ = {widest:.2g}, beyond the panels"] = Line2D([], [], linestyle="")
    figure.legend(list(curves.values()), list(curves), loc="outside lower center", ncols=len(curves))
    return figure


def sensor_curves(sets: list[DataSet]) -> list[SensorCurves]:
    """Return the curves of at most `MAX_SENSORS` sensors, evenly chosen among those of all readings."""
    timed = [one for one in sets if one.times is not None]
    sensors = [(one, k) for one in timed for k in range(len(one.data))]
    chosen = evenly_chosen(len(sensors), MAX_SENSORS, fewer=False)
    return [_curves_of(*sensors[number], several=len(timed) > 1) for number in chosen]


def _curves_of(given: DataSet, k: int, several: bool) -> SensorCurves:
    """Return the curves of sensor k of a data set; its title names the set where there are several."""
    assert given.times is not None
    order = np.argsort(given.times, kind="stable")

    def curve(values: np.ndarray) -> np.ndarray:
        row = values[k] if values.ndim == 2 else values[k, 0]
        found: np.ndarray = row.real[order]
        return found

    count = len(given.data)
    name = f"sensor {k + 1} of {count}" if count > 1 or not several else ""
    title = ", ".join(filter(None, (given.label if several else "", name)))
    if given.points is not None and given.points.shape[1] == count:
        title += f" at ({', '.join(f'{x:.3g}' for x in given.points[:, k])})"
    noise = None if given.noise is None else curve(np.broadcast_to(given.noise, given.data.shape))
    start = None if given.initial_predicted is None else curve(given.initial_predicted)
    return SensorCurves(title, given.label, given.times[order], curve(given.data), curve(given.predicted), start, noise)


def _draw_curves(axes: Axes, one: SensorCurves, band: bool) -> None:
    if band and one.noise is not None:
        lower, upper = one.predicted - one.noise, one.predicted + one.noise
        axes.fill_between(one.times, lower, upper, color=BLUE, alpha=0.2, linewidth=0, label="predicted ± σ")
    if one.initial is not None:
        axes.plot(one.times, one.initial, color="0.55", linestyle="--", linewidth=1.1, label="at the initial guess")
    axes.plot(one.times, one.predicted, color=BLUE, label="predicted")
    size = 3.2 if len(one.times) <= MAX_LARGE_DOTS else 1.8
    axes.plot(one.times, one.measured, ".", color=BLACK, markersize=2 * size, alpha=0.75, label="measured", linewidth=0)
    axes.margins(x=0.02)
    axes.locator_params(axis="y", nbins=5)
