"""The picture of a tank: where its pixels lie, and the labels of a segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pdeopt.inverse import InputError

#: The number of pixels along each side of the Kuopio Tomography Challenge's pictures.
PIXELS_PER_SIDE = 256
#: The label of a pixel that holds water.
WATER = 0
#: The label of a pixel that holds something resistive.
RESISTIVE = 1
#: The label of a pixel that holds something conductive.
CONDUCTIVE = 2


def pixel_centers(radius: float, n: int = PIXELS_PER_SIDE) -> np.ndarray:
    """Return the centers (2, n, n) of the pixels, in the unit of the radius: [:, row, column] is (x, y).

    The picture is the square around the tank; row 0 is its top, y = +radius, and column 0 its left, x = −radius.

    Args:
        radius: The radius of the tank.
        n: The number of pixels along each side.

    Raises:
        InputError: The radius or the number of pixels is not positive.
    """
    if not (np.isfinite(radius) and radius > 0) or n < 1:
        raise InputError(f"radius and n must be positive; got radius = {radius} and n = {n}")
    ascending = radius * ((2 * np.arange(n) + 1) / n - 1)
    return np.stack(np.meshgrid(ascending, -ascending))


def checked_labels(picture: ArrayLike, name: str) -> np.ndarray:
    """Return a picture of labels as (256, 256) uint8.

    Args:
        picture: The labels.
        name: What the picture is, in words, for the message.

    Raises:
        InputError: The picture is of another shape, or has other labels.
    """
    labels = np.asarray(picture)
    if labels.shape != (PIXELS_PER_SIDE, PIXELS_PER_SIDE):
        raise InputError(
            f"{name} has shape {labels.shape}; expected ({PIXELS_PER_SIDE}, {PIXELS_PER_SIDE}), with the top of the "
            "tank in row 0: resample it at the points of pixel_centers"
        )
    wrong = labels[~np.isin(labels, (WATER, RESISTIVE, CONDUCTIVE))]
    if wrong.size:
        raise InputError(
            f"{name} holds {wrong.flat[0]!s} among {wrong.size} pixels that are no label; expected 0 (water), "
            "1 (resistive) or 2 (conductive) in each: segment the image first"
        )
    return labels.astype(np.uint8)
