"""The views of runs of former versions, whose files hold the arrays of one problem, `eit_tank`, under fixed names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from pdeopt.inverse import LabelImage, Marks, Series, Views

#: The number that stood in titles, with its word.
FORMER_HEADLINE = {"score": "score"}
#: The names of classes where a file does not say them.
FORMER_CLASS_NAMES = ("water", "resistive", "conductive")


def former_views(arrays: Mapping[str, np.ndarray], data_label: str) -> Views:
    """Return what pictures of a former version showed beside coefficient, data and state.

    Args:
        arrays: The arrays of its result.npz by name; those of another shape than they should be are not shown.
        data_label: The name of its data, with their unit.
    """
    segments, numbers = arrays.get("electrode_segments"), arrays.get("electrode_numbers")
    marks = None
    if segments is not None and segments.shape[1:] == (2, 2) and len(segments):
        known = numbers is not None and numbers.shape == segments.shape[:1]
        marks = Marks(segments, [str(int(number)) for number in numbers] if known and numbers is not None else ())
    names, extent = arrays.get("segmentation_names"), arrays.get("segmentation_extent")
    segmentation = LabelImage(
        found="segmentation",
        truth="segmentation_truth",
        classes=FORMER_CLASS_NAMES if names is None or names.ndim != 1 else tuple(map(str, names)),
        extent=None if extent is None or extent.shape != (4,) else tuple(map(float, extent)),
    )
    unit = re.search(r"\(([^()]*)\)$", data_label)
    reference = Series(
        measured="reference_measured",
        predicted="reference_predicted",
        title="reference: the homogeneous model misses the voltages",
        unit=unit[1] if unit else "",
        row="difference",
        column="current pattern",
    )
    return Views(marks, segmentation, reference, FORMER_HEADLINE)
