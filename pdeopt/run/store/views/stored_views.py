"""The views of a problem as arrays of result.npz: marks as they are, and all else as one text in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from pdeopt.inverse import LabelImage, Marks, Series, Views
from pdeopt.run.store.views.former_version import former_views

#: The names of the arrays.
VIEW_ARRAYS = ("views", "mark_segments", "mark_labels")


def views_to_arrays(views: Views) -> dict[str, np.ndarray]:
    """Return the arrays of result.npz that hold the views, by name."""
    words = {
        "segmentation": None if views.segmentation is None else asdict(views.segmentation),
        "reference": None if views.reference is None else asdict(views.reference),
        "headline": dict(views.headline),
    }
    text = json.dumps(words, ensure_ascii=False, default=lambda value: value.tolist())  # NumPy's numbers and arrays
    arrays = {"views": np.array(text)}
    if views.marks is not None:
        arrays |= {"mark_segments": np.asarray(views.marks.segments, float)}
        arrays |= {"mark_labels": np.array(views.marks.labels, str)}
    return arrays


def views_from_arrays(arrays: Mapping[str, np.ndarray], data_label: str) -> Views:
    """Return the views that result.npz holds, also one of a former version.

    Args:
        arrays: The arrays of result.npz by name.
        data_label: The name of the data, with their unit.

    Raises:
        KeyError: A part is missing.
        TypeError: A part is of another kind.
        ValueError: The text is not JSON, or parts do not fit each other.
    """
    if "views" not in arrays:
        return former_views(arrays, data_label)
    words = json.loads(str(arrays["views"]))
    marked, segmentation, reference = "mark_segments" in arrays, words["segmentation"], words["reference"]
    return Views(
        marks=Marks(arrays["mark_segments"], list(map(str, arrays["mark_labels"]))) if marked else None,
        segmentation=None if segmentation is None else LabelImage(**segmentation),
        reference=None if reference is None else Series(**reference),
        headline=words["headline"],
    )
