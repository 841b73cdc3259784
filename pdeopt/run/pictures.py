"""Draw the pictures of a run directory, at the end of the run or later from its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from matplotlib.figure import Figure

from pdeopt.run.comparison_figure import draw_comparison
from pdeopt.run.errors import UsageError, attempt
from pdeopt.run.fields import Fields, read_fields
from pdeopt.run.history_figure import History, draw_history
from pdeopt.run.recorder import COLUMNS, Row, read_history
from pdeopt.run.reference_figure import draw_reference
from pdeopt.run.result_figure import draw_result
from pdeopt.run.scene_figure import draw_scene, scene_note
from pdeopt.run.segmentation_figure import draw_segmentation
from pdeopt.run.strength_figure import draw_strength
from pdeopt.run.style import save, styled

#: Pictures of a solid, and of what a problem's interpretation may hold, by name; None where there is nothing to draw.
EXTRAS: dict[str, Callable[[Fields, dict[str, Any]], Figure | None]] = {
    "segmentation": draw_segmentation,
    "reference": draw_reference,
    "scene": draw_scene,
}


def draw_run(directory: Path, fields: Fields, rows: list[Row], summary: dict[str, Any]) -> list[str]:
    """result.png, history.png and, after a rule, strength.png; `EXTRAS` where the problem's interpretation has them.

    Returns a warning for each that could not be drawn: the numbers are safe by then.
    """
    history = {name: np.array([asdict(row)[name] for row in rows], float) for name in COLUMNS}
    with styled():
        return [
            *attempt("result.png", lambda: save(draw_result(fields, summary), directory / "result.png")),
            *attempt("history.png", lambda: save(draw_history(history, summary), directory / "history.png")),
            *attempt("strength.png", lambda: _draw_choice(summary, directory / "strength.png")),
            *_attempt_extras(directory, fields, summary),
        ]


def _attempt_extras(directory: Path, fields: Fields, summary: dict[str, Any]) -> list[str]:
    warnings: list[str] = []
    for name in EXTRAS:
        path = directory / f"{name}.png"
        warnings += attempt(path.name, partial(_draw_extra, name, fields, summary, path))
    return warnings


def redraw(directories: list[Path], out: Path | None) -> list[Path]:
    """Redraw one run, or compare several in one figure; returns the pictures. Raises UsageError."""
    histories = {name: _history(path) for name, path in _named(directories).items()}
    with styled():
        if len(directories) == 1:
            return _redraw_one(directories[0], next(iter(histories.values())), out)
        target = out or Path("comparison.png")
        _save(_comparison(directories, histories), target)
        return [target]


def missing_scene(directory: Path) -> str:
    """What to do for a 3-D scene of a run, where a library is missing; empty where nothing is."""
    fields = _fields(directory)
    return "" if fields is None else scene_note(fields)


def draw_histories(directories: list[Path], out: Path) -> None:
    """The history alone, of one run or of several."""
    histories = {name: _history(path) for name, path in _named(directories).items()}
    summaries = {name: _summary(path) for name, path in _named(directories).items()}
    with styled():
        if len(directories) == 1:
            figure = draw_history(next(iter(histories.values())), next(iter(summaries.values())))
        else:
            figure = draw_comparison(histories, summaries, {})
        _save(figure, out)


def _redraw_one(directory: Path, history: History, out: Path | None) -> list[Path]:
    """``out`` names the picture of the result; the others go beside it."""
    summary, fields = _summary(directory), _fields(directory)
    result = out or directory / "result.png"
    target = {
        name: directory / f"{name}.png" if out is None else out.with_stem(f"{out.stem}-{name}")
        for name in ("history", "strength", *EXTRAS)
    }
    _save(draw_history(history, summary), target["history"])
    drawn = [target["history"], *_draw_choice(summary, target["strength"])]
    if fields is None:
        return drawn
    _save(draw_result(fields, summary), result)
    extras = [path for name in EXTRAS for path in _draw_extra(name, fields, summary, target[name])]
    return [result, *drawn, *extras]


def _draw_extra(name: str, fields: Fields, summary: dict[str, Any], path: Path) -> list[Path]:
    """Nothing where result.npz does not have what it takes."""
    figure = EXTRAS[name](fields, summary)
    if figure is None:
        return []
    _save(figure, path)
    return [path]


def _draw_choice(summary: dict[str, Any], path: Path) -> list[Path]:
    """How a rule chose the strength; nothing where none did."""
    if not summary.get("strength"):
        return []
    _save(draw_strength(summary["strength"], summary["problem"]), path)
    return [path]


def _comparison(directories: list[Path], histories: dict[str, History]):
    named = _named(directories)
    summaries = {name: _summary(path) for name, path in named.items()}
    fields = {name: found for name, path in named.items() if (found := _fields(path)) is not None}
    return draw_comparison(histories, summaries, fields)


def _named(directories: list[Path]) -> dict[str, Path]:
    """Short names where they are unique."""
    short = [path.resolve().name for path in directories]
    return dict(zip(short if len(set(short)) == len(short) else map(str, directories), directories, strict=True))


def _history(directory: Path) -> History:
    path = directory / "history.csv"
    if not path.is_file():
        raise UsageError(f"{directory} is not a run directory: it has no history.csv")
    with _readable(path):
        return read_history(path)


def _summary(directory: Path) -> dict[str, Any]:
    """Empty while a run is not finished."""
    path = directory / "summary.json"
    with _readable(path):
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _fields(directory: Path) -> Fields | None:
    path = directory / "result.npz"
    with _readable(path):
        return read_fields(path) if path.is_file() else None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a file is read as a `UsageError`."""
    try:
        yield
    except (KeyError, OSError, ValueError, BadZipFile) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _save(figure, path: Path) -> None:
    try:
        save(figure, path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write the picture {path}: {error}") from error
