"""The figure of a coefficient in a solid, in perspective.

It shows slices and surfaces of equal value, or a coefficient on the boundary from two sides.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pdeopt.run.errors import UsageError
from pdeopt.run.pictures.canvas.field_axes import coefficient_scale, color_bar_label
from pdeopt.run.pictures.canvas.style import FIELD_MAP, new_figure
from pdeopt.run.pictures.canvas.titles import RoleWords, headline
from pdeopt.run.store.fields import Fields
from pdeopt.run.store.mesh_output import VTK_ORDER

#: The message where pyvista is missing.
PYVISTA_REMEDY = "3-D scenes need pyvista: pip install pyvista"
#: The program that renders a scene.
RENDERER = Path(__file__).with_name("scene_renderer.py")
#: The time that the renderer may take, in seconds.
MAX_RENDERING_SECONDS = 300.0
#: The values of the surfaces, as parts of the way from the median to an extreme.
SURFACE_LEVELS = (0.4, 0.75)
#: The least distance of an extreme from the median for which surfaces are drawn, as a part of the range.
MIN_EXTREME_DISTANCE = 0.15
#: The least distance of slices from the edge of the solid, as a part of its extent.
SLICE_INSET = 0.1


def scene_note(fields: Fields) -> str:
    """Return what to do for a scene of a solid where pyvista is missing, "" where nothing is to be done."""
    return PYVISTA_REMEDY if _is_solid(fields) and find_spec("pyvista") is None else ""


def draw_scene(fields: Fields, summary: dict[str, Any]) -> Figure | None:
    """Return a figure of the result in perspective, and of the truth where it is known, on one scale.

    Args:
        fields: The arrays of the run.
        summary: The entries of summary.json.

    Returns:
        The figure; None without a solid, without values on its mesh, or without pyvista.

    Raises:
        UsageError: The renderer failed.
    """
    if not _is_solid(fields) or find_spec("pyvista") is None:
        return None
    words = RoleWords.of(fields)
    given = {words.known: fields.truth} if fields.truth is not None else {}
    drawn = {name: _on_mesh(fields, values) for name, values in (given | {words.found: fields.coefficient}).items()}
    if any(np.isnan(values).all() for values in drawn.values()):
        return None
    scale = coefficient_scale(*drawn.values())
    scene = _Scene.of(fields, [np.ma.filled(scale(values), np.nan) for values in drawn.values()])
    images = _cropped(_render(fields, scene))
    width, height = 5.2, 5.2 * images.shape[2] / images.shape[3]
    figure = new_figure(width * len(drawn) + 1.2, 2 * height + 1.4)
    figure.suptitle(headline(summary))
    axes = figure.subplots(2, len(drawn), squeeze=False)
    for column, name in enumerate(drawn):
        for row, view in enumerate(_view_names(fields, scale, scene)):
            axes[row, column].imshow(images[column, row])
            axes[row, column].set_title(f"{name}, {view}")
            axes[row, column].set_axis_off()
    figure.colorbar(
        ScalarMappable(scale, FIELD_MAP), ax=list(axes.flat), label=color_bar_label(fields.label, scale), shrink=0.6
    )
    return figure


def _is_solid(fields: Fields) -> bool:
    return fields.at.mesh.dim == 3 and bool(fields.at.mesh.cell)


@dataclass(frozen=True)
class _Scene:
    """The scene that is rendered.

    Attributes:
        values: The values (fields, k) at vertices or cells, in 0 … 1.
        center: The point (3,) where the slices meet.
        levels: The values of the surfaces, in 0 … 1.
    """

    values: np.ndarray
    center: np.ndarray
    levels: np.ndarray

    @classmethod
    def of(cls, fields: Fields, values: list[np.ndarray]) -> _Scene:
        """Return the scene of fields, with slices and surfaces that show the first one well."""
        return cls(np.stack(values), _center(fields, values[0]), _levels(values[0]))


def _on_mesh(fields: Fields, values: np.ndarray) -> np.ndarray:
    """Return values at the vertices or cells of the mesh, of vectors their length.

    They are NaN where a coefficient on the boundary has none.
    """
    drawn = fields.at.magnitude(values)
    return _on_vertices(fields.at.mesh.vertices, fields.at.x, drawn) if fields.at.kind == "boundary" else drawn


def _view_names(fields: Fields, scale: Normalize, scene: _Scene) -> tuple[str, str]:
    if fields.at.kind == "boundary":
        return "from the front", "from behind"
    planes = ", ".join(f"{name} = {x:.3g}" for name, x in zip("xyz", scene.center, strict=True))
    heights = ", ".join(f"{scale.inverse(level):.3g}" for level in np.sort(scene.levels))
    return f"slices {planes}", f"surfaces of {heights}" if heights else "no surface: hardly any contrast"


def _center(fields: Fields, values: np.ndarray) -> np.ndarray:
    """Return a point (3,) amid the values that depart most from the median, not at the solid's edge."""
    places = fields.at.x if fields.at.kind == "cells" else fields.at.mesh.vertices
    departure = np.nan_to_num(np.abs(values - np.nanmedian(values)))
    chosen = places[:, departure >= 0.9 * departure.max()]
    amid = chosen[:, np.linalg.norm(chosen - chosen.mean(1, keepdims=True), axis=0).argmin()]
    low, high = fields.at.mesh.p.min(1), fields.at.mesh.p.max(1)
    inside = np.clip(amid, low + SLICE_INSET * (high - low), high - SLICE_INSET * (high - low))
    return np.round(inside, 2 - int(np.floor(np.log10(np.ptp(fields.at.mesh.p))))) + 0.0


def _levels(values: np.ndarray) -> np.ndarray:
    """Return the values of the surfaces, from the median toward each extreme, those nearest to it first."""
    low, middle, high = np.nanmin(values), np.nanmedian(values), np.nanmax(values)
    ends = [end for end in (low, high) if abs(end - middle) > MIN_EXTREME_DISTANCE * (high - low)]
    return np.array([middle + step * (end - middle) for step in SURFACE_LEVELS for end in ends])


def _cropped(images: np.ndarray) -> np.ndarray:
    """Return images without the margins that are white in all of them."""
    used = np.any(images < 255, axis=(0, 1, 4))
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    return images[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _render(fields: Fields, scene: _Scene) -> np.ndarray:
    """Return the images of a scene, (fields, 2, height, width, 3).

    They are made by a process of its own: without a graphics driver VTK ends by a signal.
    """
    mesh = fields.at.mesh
    given: dict[str, np.ndarray] = {
        "points": mesh.vertices.T,
        "cells": mesh.t[VTK_ORDER.get(mesh.cell, slice(None))].T,
        "cell": np.array(mesh.cell),
        "axes": np.array([mesh.named(name) for name in "xyz"]),
        "kind": np.array(fields.at.kind),
        "values": scene.values,
        "center": scene.center,
        "levels": scene.levels,
        "colors": np.array(FIELD_MAP),
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "scene.npz"), Path(folder, "images.npy")
        np.savez(source, **given)  # type: ignore[arg-type]
        _run_renderer(source, target)
        return np.load(target)


def _run_renderer(source: Path, target: Path) -> None:
    words = [sys.executable, "-P", str(RENDERER), str(source), str(target)]
    try:
        done = subprocess.run(words, capture_output=True, errors="replace", timeout=MAX_RENDERING_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"the 3-D renderer was stopped after {MAX_RENDERING_SECONDS:.0f} s") from None
    if done.returncode < 0:
        cause = "it needs OpenGL, of a graphics card or in software, such as Mesa's libEGL or libOSMesa"
        raise UsageError(f"the 3-D renderer was ended by signal {-done.returncode}; {cause}")
    if done.returncode > 0:
        raise UsageError(f"the 3-D renderer failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


def _on_vertices(points: np.ndarray, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values at places x (3, k) as values at the vertices (3, n) that lie there, NaN elsewhere."""
    found = dict(zip(_keys(points, x), values, strict=True))
    return np.array([found.get(place, np.nan) for place in _keys(points, points)])


def _keys(points: np.ndarray, x: np.ndarray) -> list[bytes]:
    """Return keys of places x (3, k), which are equal for places that differ by rounding only."""
    return [key.tobytes() for key in np.round((x - points.min(1)[:, None]).T / (1e-7 * np.ptp(points))).astype(int)]
