"""The views of runs of former versions, whose files hold those of `eit_tank` under fixed names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from pdeopt.inverse import InputError, LabelImage, Marks, Series, Views

View = TypeVar("View")

#: The number that stood in titles, with its word.
FORMER_HEADLINE = {"score": "score"}
#: The names of classes where a file does not say them.
FORMER_CLASS_NAMES = ("water", "resistive", "conductive")


def former_views(arrays: Mapping[str, np.ndarray], data_label: str) -> Views:
    """Return what pictures of a former version showed beside coefficient, data and state.

    Args:
        arrays: The arrays of its result.npz by name; what cannot be shown is left out.
        data_label: The name of its data, with their unit.
    """
    segments, numbers = arrays.get("electrode_segments"), arrays.get("electrode_numbers")
    if segments is None or numbers is None or numbers.shape != segments.shape[:1]:
        numbers = np.empty(0)
    names, extent = arrays.get("segmentation_names"), arrays.get("segmentation_extent")
    unit = re.search(r"\(([^()]*)\)$", data_label)
    reference = Series(
        measured="reference_measured",
        predicted="reference_predicted",
        title="reference: the homogeneous model misses the voltages",
        unit=unit[1] if unit else "",
        row="difference",
        column="current pattern",
    )
    return Views(
        None if segments is None else _if_shown(lambda: Marks(segments, [str(int(number)) for number in numbers])),
        _if_shown(
            lambda: LabelImage(
                found="segmentation",
                truth="segmentation_truth",
                classes=FORMER_CLASS_NAMES if names is None or names.ndim != 1 else tuple(map(str, names)),
                extent=None if extent is None or extent.shape != (4,) else tuple(map(float, extent)),
            )
        ),
        reference,
        FORMER_HEADLINE,
    )


def _if_shown(view: Callable[[], View]) -> View | None:
    """Return a view, or None where the arrays of the file are none that can be shown."""
    try:
        return view()
    except (InputError, TypeError, ValueError):
        return None
