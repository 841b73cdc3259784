"""The rigid motions of a body, which linear elasticity does not resist."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import skfem

from pdeopt.fem.spaces.space import FunctionSpace


@lru_cache(maxsize=4)
def rigid_motions(space: FunctionSpace) -> np.ndarray | None:
    """Return the translations and rotations (n, m) of a space of displacements: 3 in 2-D, 6 in 3-D.

    It is None where the space is none: where its functions have not as many components as the mesh has dimensions, or
    its degrees of freedom are no point values.

    Args:
        space: The space.
    """
    element, dim = space.element, space.mesh.dim()
    if not isinstance(element, skfem.ElementVector) or element.dim != dim or dim < 2:
        return None
    if not set(element.dofnames) <= {f"u^{k + 1}" for k in range(dim)}:
        return None
    x = space.locations - space.locations.mean(1, keepdims=True)
    size = np.ptp(x)
    by_component = np.zeros((dim, space.n, dim * (dim + 1) // 2))
    for k in range(dim):
        by_component[k, :, k] = 1
    for m, (i, j) in enumerate(combinations(range(dim), 2)):
        by_component[i, :, dim + m], by_component[j, :, dim + m] = -x[j] / size, x[i] / size
    motions = np.zeros(by_component.shape[1:])
    for k, own in enumerate(space.basis.split_indices()):
        motions[own] = by_component[k, own]
    motions.setflags(write=False)
    return motions
