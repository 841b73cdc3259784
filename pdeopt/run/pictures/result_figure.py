"""The figure of the result of a run on one page: truth, reconstruction, error and data fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure, SubFigure

from pdeopt.run.pictures.canvas.field_axes import (
    Canvas,
    coefficient_scale,
    common_scale,
    draw_curve,
    draw_curves,
    draw_panel,
    draw_points,
    ratio_scale,
    state_colors,
    symmetric_scale,
)
from pdeopt.run.pictures.canvas.number_table import draw_numbers, five_digit_texts
from pdeopt.run.pictures.canvas.style import BLUE, ERROR_MAP, ORANGE, STATE_MAP, figure_halves, new_figure
from pdeopt.run.pictures.canvas.titles import RoleWords, headline, state_title, step_of
from pdeopt.run.pictures.segmentation_figure import (
    Segmentation,
    draw_found,
    draw_truth,
    legend_handles,
    segmentation_of,
)
from pdeopt.run.store.data.data_set import DataSet
from pdeopt.run.store.fields import FIELD_KIND, Fields
from pdeopt.run.store.placement import NUMBERS_KIND

#: The number of points beyond which a scatter plot is thinned.
MAX_SCATTER_POINTS = 20_000
#: The largest relative difference of noise levels that count as one.
SAME_NOISE_TOLERANCE = 1e-6


def draw_result(fields: Fields, summary: dict[str, Any]) -> Figure:
    """Return a figure of the coefficient above, and of the data fit and the state below.

    Below are data fit and residuals, or the target, and the state where its place is known.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    figure = new_figure(12.5, 7.4)
    figure.suptitle(headline(summary), wrap=True)
    top, bottom = figure_halves(figure)
    draw_coefficient(top, fields)
    _bottom_row(bottom, fields)
    return figure


def draw_unknowns(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure with a row for each of several parameters; None where there is one.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.
    """
    if not fields.unknowns:
        return None
    figure = new_figure(12.5, 0.6 + 3.5 * len(fields.unknowns))
    figure.suptitle(headline(summary), wrap=True)
    rows = figure.subfigures(len(fields.unknowns), 1, squeeze=False)[:, 0]
    errors = summary.get("relative_errors") or {}
    for row, (name, one) in zip(rows, fields.each.items(), strict=True):
        known = "" if errors.get(name) is None else f", relative error {100 * errors[name]:.3g} %"
        row.suptitle(f"{name}{known}", x=0.01, ha="left")
        draw_coefficient(row, one.drawn)
    return figure


def draw_coefficient(figure: SubFigure, fields: Fields) -> None:
    """Draw a coefficient, as fields, curves or a table, beside truth and error, or the initial guess.

    Args:
        figure: The part of a figure that is for it.
        fields: The arrays of the run, of one parameter; of one in time at one step.
    """
    canvas = Canvas(fields.at, fields.views.marks)
    if fields.names:
        draw_numbers(figure.subplots(), *_number_columns(fields))
    elif fields.at.kind == NUMBERS_KIND:
        axes = figure.subplots()
        axes.hist([fields.initial, fields.coefficient], bins=31, label=["initial guess", fields.role])
        axes.set(xlabel=fields.label, ylabel="number of entries", title=f"{len(fields.coefficient)} entries")
        axes.legend()
    elif canvas.is_curve:
        _coefficient_curves(figure, fields)
    elif canvas.can_draw:
        _coefficient_fields(figure, fields, canvas)
    else:
        kind = f"{len(fields.at.mesh.t)} vertices in {fields.at.mesh.dim}-D"
        figure.text(0.5, 0.5, f"no picture of the coefficient: cells with {kind} cannot be drawn", ha="center")


def _number_columns(fields: Fields) -> tuple[Sequence[str], dict[str, list[str]]]:
    """Return the names of the unknown numbers, and the columns of a table of their values by title."""
    words = RoleWords.of(fields)
    columns = {"initial guess": five_digit_texts(fields.initial), words.found: five_digit_texts(fields.coefficient)}
    if fields.truth is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            error = 100 * (fields.coefficient / fields.truth - 1)
        columns |= {words.known: five_digit_texts(fields.truth), "error": [f"{percent:+.3g} %" for percent in error]}
    return fields.names, columns


@dataclass(frozen=True)
class ErrorField:
    """The departure of the coefficient from the known one.

    It is the ratio where colors are logarithmic, otherwise the difference.

    Attributes:
        values: The values, as `Placement.magnitude` returns them.
        scale: The scale of their colors.
        neutral: The value of no error.
        title: The title of the panel.
        label: The label of the values.
    """

    values: np.ndarray
    scale: Normalize
    neutral: float
    title: str
    label: str

    @classmethod
    def of(cls, fields: Fields, known: np.ndarray, scale: Normalize) -> ErrorField:
        """Return the error of a run's coefficient.

        Args:
            fields: The arrays of the run.
            known: The known coefficient, of the same shape as the found one.
            scale: The color scale of the coefficient.
        """
        words = RoleWords.of(fields)
        if isinstance(scale, LogNorm) and fields.at.components == 1:  # a ratio of vectors says nothing of directions
            ratio = fields.at.magnitude(fields.coefficient) / fields.at.magnitude(known)
            return cls(ratio, ratio_scale(ratio), 1.0, f"{words.found} / {words.known}", "ratio")
        difference, title = fields.at.magnitude(fields.coefficient - known), f"{words.found} − {words.known}"
        return cls(difference, symmetric_scale(difference), 0.0, title, f"error of {fields.label}")


def _coefficient_fields(figure: SubFigure, fields: Fields, canvas: Canvas) -> None:
    segmentation = _segmentation(fields)
    panels = _compared(fields)
    added = segmentation.panels if segmentation else int(fields.truth is not None)
    axes = figure.subplots(1, len(panels) + added, squeeze=False)[0]
    scale = coefficient_scale(*panels.values())
    note = f" ({canvas.surface.note})" if canvas.surface is not None and canvas.surface.note else ""
    for one, (name, drawn) in zip(axes, panels.items(), strict=False):
        draw_panel(figure, one, canvas, drawn, scale, f"{name}{step_of(fields)}{note}", fields.label)
    if fields.truth is not None:
        error = ErrorField.of(fields, fields.truth, scale)
        draw_panel(figure, axes[2], canvas, error.values, error.scale, error.title, error.label, ERROR_MAP)
    draw_points(axes[len(panels) - 1], canvas, fields.points)
    if segmentation:
        _draw_segmentation(figure, axes[len(panels) :], segmentation)


def _compared(fields: Fields) -> dict[str, np.ndarray]:
    """Return the values that are drawn of the coefficient by title, the result last.

    There is no initial guess where a segmentation is drawn.
    """
    words = RoleWords.of(fields)
    given = {words.known: fields.truth} if fields.truth is not None else {"initial guess": fields.initial}
    if _segmentation(fields):
        given = {}
    return {name: fields.at.magnitude(values) for name, values in (given | {words.found: fields.coefficient}).items()}


def _segmentation(fields: Fields) -> Segmentation | None:
    """Return the segmentation that is drawn where no true coefficient is known, or None."""
    return segmentation_of(fields) if fields.truth is None else None


def _draw_segmentation(figure: SubFigure, panels: Sequence[Axes], given: Segmentation) -> None:
    draw_found(panels[0], given)
    for axes in panels[1:]:
        draw_truth(axes, given)
    figure.legend(handles=legend_handles(given), loc="outside lower right", ncols=4)


def _coefficient_curves(figure: SubFigure, fields: Fields) -> None:
    words = RoleWords.of(fields)
    curves = {"initial guess": fields.initial, words.found: fields.coefficient}
    if fields.truth is not None:
        curves = {words.known: fields.truth, **curves}
    drawn = {name: fields.at.magnitude(values) for name, values in curves.items()}
    widths = [1] if fields.truth is None else [2, 1]
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    draw_curves(axes[0], fields.at, drawn, fields.label)
    where = "coefficient on the boundary" if fields.at.kind == "boundary" else "coefficient"
    axes[0].set_title(f"{where}{step_of(fields)}")
    if fields.truth is not None:
        error = ErrorField.of(fields, fields.truth, coefficient_scale(*drawn.values()))
        axes[1].axhline(error.neutral, color="0.7", linewidth=0.8)
        draw_curve(axes[1], fields.at, error.values, color=ORANGE)
        axes[1].set(ylabel=error.label, title=error.title, yscale="log" if error.neutral else "linear")


def _bottom_row(figure: SubFigure, fields: Fields) -> None:
    """Draw the state beside what it is compared with: panels for a field, scatter plots for samples."""
    at = fields.field_at if fields.kind == FIELD_KIND else fields.state_at
    canvas = None if at is None else Canvas(at, fields.views.marks)
    if canvas is not None and not canvas.can_draw:
        canvas = None
    if fields.kind == FIELD_KIND and canvas is not None:
        _target_fields(figure, fields, canvas)
        return
    sets = fields.data_sets
    panels = len(sets) + bool(sets)
    if panels + (canvas is not None) == 0:
        return
    axes = figure.subplots(1, panels + (canvas is not None), squeeze=False)[0]
    for one, given in zip(axes, sets, strict=False):
        _data_fit(one, given)
    if sets:
        _residuals(axes[len(sets)], sets)
    if canvas is not None:
        drawn = canvas.at.magnitude(fields.by_experiment(fields.state)[0].real)
        in_time = fields.times > 1 and not canvas.is_curve
        scale, colors = state_colors(drawn) if in_time else (common_scale(drawn), STATE_MAP)
        draw_panel(figure, axes[-1], canvas, drawn, scale, state_title(fields), "state u", colors)
        draw_points(axes[-1], canvas, fields.points)


def _target_fields(figure: SubFigure, fields: Fields, canvas: Canvas) -> None:
    """Draw the target, the state, and the difference of the two."""
    assert fields.data is not None
    assert fields.predicted is not None
    wanted, reached = fields.by_experiment(fields.data)[0].real, fields.by_experiment(fields.predicted)[0].real
    target, state = canvas.at.magnitude(wanted), canvas.at.magnitude(reached)
    name, scale, label = _aim(fields.noise), common_scale(target, state), fields.data_label
    axes = figure.subplots(1, 3 + len(fields.further_data))
    for one, further in zip(axes[3:], fields.further_data, strict=True):
        _data_fit(one, further)
    draw_panel(figure, axes[0], canvas, target, scale, name, label, STATE_MAP)
    draw_panel(figure, axes[1], canvas, state, scale, state_title(fields), label, STATE_MAP)
    gap, title = canvas.at.magnitude(reached - wanted), f"state − {name}"
    if fields.noise is not None:
        title += f", σ = {_level(fields.noise):.2g}"
    draw_panel(figure, axes[2], canvas, gap, symmetric_scale(gap), title, f"difference of {label}", ERROR_MAP)


def _aim(noise: np.ndarray | None) -> str:
    """Return the word for data: "target" where there is no noise, "measured" otherwise."""
    return "target" if noise is None else "measured"


def _level(noise: np.ndarray) -> float:
    """Return the mean standard deviation of the data that are not exact."""
    return float(np.mean(noise, where=noise > 0))


def _named_level(noise: np.ndarray) -> str:
    noise, level = np.asarray(noise), _level(noise)
    varies = (np.abs(noise[noise > 0] - level) > SAME_NOISE_TOLERANCE * level).any()
    return f"{'mean ' * bool(varies)}σ = {level:.2g}"


def _data_fit(axes: Axes, compared: DataSet) -> None:
    kind, name = np.result_type(compared.data, compared.predicted), _aim(compared.noise)
    given, predicted = _parts(compared.data.astype(kind)), _parts(compared.predicted.astype(kind))
    both = [*given.values(), *predicted.values()]
    ends = [min(values.min() for values in both), max(values.max() for values in both)]
    axes.plot(ends, ends, color="0.4", linewidth=1, label=f"predicted = {name}")
    thin = slice(None, None, -(-compared.data.size // MAX_SCATTER_POINTS))
    look: dict[str, Any] = {"s": 14 if compared.data.size < 500 else 4, "alpha": 0.6, "linewidths": 0}
    for part, color in zip(given, (BLUE, ORANGE), strict=False):
        x, y = given[part][thin], predicted[part][thin]
        axes.scatter(x, y, color=color, rasterized=True, label=part or None, **look)
    axes.set(xlabel=f"{name} {compared.label}", ylabel=f"predicted {compared.label}", title="data fit")
    axes.locator_params(nbins=6)
    axes.legend(loc="upper left")


def _residuals(axes: Axes, sets: Sequence[DataSet]) -> None:
    """Draw the histogram of the residuals of all data.

    Where noise is known, they are in noise levels, against the density of Gaussian noise; data without noise are left
    out then. Of several sets without noise the first is drawn.
    """
    known = [one for one in sets if one.noise is not None]
    if not known:
        residual = np.concatenate(list(_parts(sets[0].predicted - sets[0].data).values()))
        axes.hist(residual, bins=_bins(residual), density=True, color=BLUE, alpha=0.6)
        axes.set(xlabel=f"predicted − target {sets[0].label}", ylabel="density", title="residuals")
        return
    scaled = np.concatenate([_in_noise_levels(one) for one in known])
    reach = float(np.clip(1.05 * np.abs(scaled).max(initial=0), 4, 12))
    edges = list(np.linspace(-reach, reach, _bins(scaled)))
    axes.hist(np.clip(scaled, -reach, reach), bins=edges, density=True, color=BLUE, alpha=0.6)
    x = np.linspace(-reach, reach, 200)
    axes.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), color=ORANGE, label="Gaussian noise")
    alone = known[0].noise if len(known) == 1 else None
    title = "residuals" if alone is None else f"residuals, {_named_level(alone)} (noise level)"
    axes.set(xlabel="(predicted − measured) / σ", ylabel="density", title=title)
    axes.legend(loc="upper left")


def _in_noise_levels(compared: DataSet) -> np.ndarray:
    """Return the residuals of data that are not exact over their noise level, in one row."""
    assert compared.noise is not None
    parts = _parts(compared.predicted - compared.data)
    residual = np.concatenate(list(parts.values()))
    sigma = np.tile(np.broadcast_to(compared.noise, compared.data.shape).ravel(), len(parts))
    scaled: np.ndarray = residual[sigma > 0] / sigma[sigma > 0]
    return scaled


def _parts(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the real numbers of data in one row, by the name of their part, "" where all are real."""
    if not np.iscomplexobj(values):
        return {"": values.ravel()}
    return {"real part": values.real.ravel(), "imaginary part": values.imag.ravel()}


def _bins(values: np.ndarray) -> int:
    return int(np.clip(values.size**0.5, 9, 61))
