"""The score of a segmentation in the Kuopio Tomography Challenge 2023.

It is structural similarity in wide windows, that of the organizers' function ``scoringFunction``. A class that is
absent from both pictures counts 1; where it is absent from the truth only, a single false pixel in the middle costs
0.01 of the score, and a square of 20 by 20 nearly the whole half that the class can give.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from pdeopt.eit.images.pixels import CONDUCTIVE, PIXELS_PER_SIDE, RESISTIVE, checked_labels

#: The standard deviation of the Gaussian window in pixels; the window ends at twice of it, 321 pixels wide.
WINDOW_DEVIATION = 80
#: The constant c₁ that keeps the quotient of two small means near 1.
C_MEAN = 1e-4
#: The constant c₂ that keeps the quotient of two small variances near 1.
C_VARIANCE = 9e-4


def segmentation_score(truth: ArrayLike, segmentation: ArrayLike) -> float:
    """Return the mean of the similarities of the two classes: 1 for the truth itself, less otherwise.

    Args:
        truth: The true labels (256, 256): 0 water, 1 resistive, 2 conductive.
        segmentation: The labels (256, 256) that were found.

    Raises:
        InputError: A picture is of another shape, or has other labels.
    """
    return sum(class_scores(truth, segmentation)) / 2


def class_scores(truth: ArrayLike, segmentation: ArrayLike) -> tuple[float, float]:
    """Return the structural similarities of the masks of the resistive and of the conductive class.

    Arguments and errors are those of `segmentation_score`.
    """
    wanted, got = checked_labels(truth, "the truth"), checked_labels(segmentation, "the segmentation")
    resistive, conductive = (float(similarity(wanted == k, got == k).mean()) for k in (RESISTIVE, CONDUCTIVE))
    return resistive, conductive


def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the structural similarity (256, 256) of two masks, in each pixel.

    It is (2 μx μy + c₁)(2 σxy + c₂) / ((μx² + μy² + c₁)(σxx + σyy + c₂)), where μ are local means, σ local variances
    and the covariance, in the window around the pixel.

    Args:
        x: A mask (256, 256), bool.
        y: Another mask (256, 256), bool.
    """
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    # a mask is its own square
    variances = mean_x - mean_x**2 + (mean_y - mean_y**2)
    covariance = _local_mean(x & y) - mean_x * mean_y
    means = (2 * mean_x * mean_y + C_MEAN) / (mean_x**2 + mean_y**2 + C_MEAN)
    return means * (2 * covariance + C_VARIANCE) / (variances + C_VARIANCE)


def _local_mean(mask: np.ndarray) -> np.ndarray:
    return _window() @ mask @ _window().T


@cache
def _window() -> np.ndarray:
    """Return the matrix (256, 256) that takes the means along one side.

    Row i weighs by the Gaussian around i, which is cut at the edge, and sums up to 1.
    """
    distance = np.subtract.outer(np.arange(PIXELS_PER_SIDE), np.arange(PIXELS_PER_SIDE))
    weights = np.exp(-0.5 * (distance / WINDOW_DEVIATION) ** 2) * (abs(distance) <= 2 * WINDOW_DEVIATION)
    return weights / weights.sum(1, keepdims=True)
