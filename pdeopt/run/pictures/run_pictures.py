"""The drawing of the pictures of a run directory, at the end of the run or later from its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pdeopt.inversion.history import Row, as_table
from pdeopt.run.errors import UsageError, try_writing
from pdeopt.run.pictures.canvas.style import save, styled
from pdeopt.run.pictures.comparison_figure import draw_comparison
from pdeopt.run.pictures.complex_figure import draw_complex
from pdeopt.run.pictures.components_figure import draw_components
from pdeopt.run.pictures.history_figure import draw_history
from pdeopt.run.pictures.in_time.animation import animated_state
from pdeopt.run.pictures.in_time.curves_figure import draw_curves_in_time
from pdeopt.run.pictures.in_time.times_figure import draw_times
from pdeopt.run.pictures.parts_figure import draw_parts
from pdeopt.run.pictures.reference_figure import draw_reference
from pdeopt.run.pictures.result_figure import draw_result, draw_unknowns
from pdeopt.run.pictures.scene_figure import draw_scene, scene_note
from pdeopt.run.pictures.segmentation_figure import draw_segmentation
from pdeopt.run.pictures.strength_figure import draw_strength
from pdeopt.run.store.directory import refuse_foreign, write_bytes
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.json_file import read_object
from pdeopt.run.store.stored_run import StoredRun, drawing_errors, read_runs

#: The formats of every picture of a run: for the screen, and for a publication.
PICTURE_SUFFIXES = (".png", ".pdf")
#: The animation of the state of a run.
ANIMATION_FILE = "animation.gif"
#: The picture in which several runs are compared, where no other path is given.
COMPARISON_FILE = Path("comparison.png")


def draw_run(directory: Path, fields: Fields, rows: list[Row], summary: dict[str, Any]) -> list[str]:
    """Draw all `PICTURES` of a run that has just ended, as PNG and as PDF, and its animation.

    Args:
        directory: The run directory.
        fields: The arrays of the run.
        rows: The history.
        summary: The entries of summary.json.

    Returns:
        A warning for each picture that could not be drawn: the numbers are safe by then.
    """
    history = as_table(rows)
    run = StoredRun(directory, read_object(directory / "config.json"), history, summary, fields)
    warnings: list[str] = []
    with styled():
        for name in PICTURES:
            paths = _paths(directory / name)
            warnings += try_writing(" and ".join(path.name for path in paths), partial(_draw, name, run, paths))
        warnings += try_writing(ANIMATION_FILE, partial(_animate, run, directory / ANIMATION_FILE))
    return warnings


def redraw(directories: list[Path], out: Path | None, against: str = "iterations") -> list[Path]:
    """Redraw the pictures of one run, or compare several runs in one figure.

    Args:
        directories: The run directories.
        out: The path of the picture; of one run it is that of the result, and the others go beside it. None for the
            pictures in the run directory, or for `COMPARISON_FILE`.
        against: The quantity on the horizontal axis of histories, one of `history_figure.HISTORY_AXES`.

    Returns:
        The paths of the pictures.

    Raises:
        UsageError: A directory holds no run, or a picture cannot be drawn or written.
    """
    runs = read_runs(directories)
    run, *others = runs.values()
    if out is None and others:
        refuse_foreign(COMPARISON_FILE)
    elif out is None and not run.config:  # a folder that is no run's own
        for path in [*(path for name in PICTURES for path in _paths(run.path / name)), run.path / ANIMATION_FILE]:
            refuse_foreign(path)
    with styled(), drawing_errors(runs.values()):
        if others:
            return _save(draw_comparison(runs, against), [out or COMPARISON_FILE])
        drawn = [path for name in PICTURES for path in _draw(name, run, _targets(run, name, out), against)]
        moving = run.path / ANIMATION_FILE if out is None else out.with_name(f"{out.stem}-{ANIMATION_FILE}")
        return [*drawn, *_animate(run, moving)]


def missing_scene(directory: Path) -> str:
    """Return what to do for a 3-D scene of a run where a library is missing, "" where nothing is."""
    fields = next(iter(read_runs([directory]).values())).fields
    return "" if fields is None else scene_note(fields.first)


def draw_histories(directories: list[Path], out: Path, against: str = "iterations") -> None:
    """Draw the history alone, of one run or of several in one figure.

    Args:
        directories: The run directories.
        out: The path of the picture.
        against: The quantity on the horizontal axis, one of `history_figure.HISTORY_AXES`.

    Raises:
        UsageError: A directory holds no run, or the picture cannot be drawn or written.
    """
    runs = {name: replace(run, fields=None) for name, run in read_runs(directories).items()}
    with styled(), drawing_errors(runs.values()):
        if len(runs) > 1:
            _save(draw_comparison(runs, against), [out])
        else:
            _draw("history", next(iter(runs.values())), [out], against)


#: Name of a picture → the function that draws it, of a run and the quantity on the horizontal axis of histories; it
#: returns None where the run does not have what the picture shows.
PICTURES: dict[str, Callable[[StoredRun, str], Figure | None]] = {
    "result": lambda run, _: draw_result(run.fields.first, run.titled_summary) if run.fields else None,
    "unknowns": lambda run, _: draw_unknowns(run.fields, run.titled_summary) if run.fields else None,
    "curves": lambda run, _: draw_curves_in_time(run.fields, run.titled_summary) if run.fields else None,
    "times": lambda run, _: draw_times(run.fields, run.titled_summary) if run.fields else None,
    "history": lambda run, against: draw_history(run.history, run.titled_summary, against),
    "strength": lambda run, _: draw_strength(run.summary["strength"], run.title) if _has_rule(run) else None,
    "components": lambda run, _: draw_components(run.fields.first, run.titled_summary) if run.fields else None,
    "parts": lambda run, _: draw_parts(run.fields.first, run.titled_summary) if run.fields else None,
    "complex": lambda run, _: draw_complex(run.fields.first, run.titled_summary) if run.fields else None,
    "segmentation": lambda run, _: draw_segmentation(run.fields.first, run.titled_summary) if run.fields else None,
    "reference": lambda run, _: draw_reference(run.fields.first, run.titled_summary) if run.fields else None,
    "scene": lambda run, _: draw_scene(run.fields.first, run.titled_summary) if run.fields else None,
}


def _has_rule(run: StoredRun) -> bool:
    """Return whether a rule chose the strength of the regularization."""
    return bool(run.summary.get("strength"))


def _draw(name: str, run: StoredRun, paths: list[Path], against: str = "iterations") -> list[Path]:
    """Draw a picture, write it, and return its paths; none where the run does not have what it shows."""
    figure = PICTURES[name](run, against)
    return [] if figure is None else _save(figure, paths)


def _animate(run: StoredRun, path: Path) -> list[Path]:
    """Write the animation of a run, and return its path; none where the run has nothing that moves."""
    content = None if run.fields is None else animated_state(run.fields)
    return [] if content is None else _write([path], lambda: write_bytes(path, content))


def _targets(run: StoredRun, name: str, out: Path | None) -> list[Path]:
    if out is None:
        return _paths(run.path / name)
    return [out if name == "result" else out.with_stem(f"{out.stem}-{name}")]


def _paths(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in PICTURE_SUFFIXES]


def _save(figure: Figure, paths: list[Path]) -> list[Path]:
    return _write(paths, lambda: save(figure, *paths))


def _write(paths: list[Path], write: Callable[[], None]) -> list[Path]:
    try:
        write()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot write the picture {' and '.join(map(str, paths))}: {why}") from error
    return paths
