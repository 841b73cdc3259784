"""The comparison of the truths of several runs, also on different meshes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from pdeopt.run.store.fields import Fields

#: The largest mean difference of truths on different meshes that count as one, as a part of their range.
SAME_TRUTH_TOLERANCE = 0.02
#: The largest difference of the bounding boxes of domains that count as one, as a part of their size.
SAME_DOMAIN_TOLERANCE = 0.02


def shared_truth(runs: Sequence[Fields]) -> Fields | None:
    """Return the run on the finest mesh where the truth of all runs is the same, None otherwise."""
    if any(one.truth is None for one in runs):
        return None
    finest = max(runs, key=lambda one: one.at.x.shape[1])
    return finest if all(_same_truth(finest, one) for one in runs) else None


def _same_truth(fine: Fields, coarse: Fields) -> bool:
    """Return whether two truths agree at the places of the coarse one.

    There the coarse one is compared with the range of the fine one's values at the nearest places.
    """
    assert fine.truth is not None
    assert coarse.truth is not None
    a, b = fine.at.magnitude(fine.truth), coarse.at.magnitude(coarse.truth)
    if np.array_equal(fine.at.x, coarse.at.x):
        return np.allclose(a, b, rtol=1e-6, atol=1e-9 * np.nanmax(np.abs(a)), equal_nan=True)
    if not _same_domain(fine.at.mesh.p, coarse.at.mesh.p):
        return False
    count = min(len(a), 2**fine.at.mesh.dim + 1)
    around = a[KDTree(fine.at.x.T).query(coarse.at.x.T, count)[1]].reshape(len(b), -1)
    outside = np.maximum(around.min(1) - b, b - around.max(1)).clip(min=0)
    return bool(np.nanmean(outside) <= SAME_TRUTH_TOLERANCE * (np.nanmax(a) - np.nanmin(a)))


def _same_domain(p: np.ndarray, q: np.ndarray) -> bool:
    """Return whether two clouds of points (d, k) have the same bounding box."""
    boxes = [np.stack([points.min(1), points.max(1)]) for points in (p, q)]
    return bool(np.abs(boxes[0] - boxes[1]).max() <= SAME_DOMAIN_TOLERANCE * np.ptp(p, axis=1).max())
