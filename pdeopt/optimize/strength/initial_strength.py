"""A strength to start from, from the curvatures of misfit and regularization."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: A product v (p,) ↦ H v with a Hessian.
Product = Callable[[np.ndarray], np.ndarray]


def curvature_ratio(misfit: Product, regularization: Product, size: int, *, products: int = 5, seed: int = 0) -> float:
    """Return vᵀ F″ v / vᵀ R″ v along the direction v that the data see best.

    It is the strength at which misfit and regularization pull alike there. v comes from the power method
    on F″. SimPEG's ``BetaEstimate_ByEig`` (Cockett et al. 2015) divides the largest eigenvalue of F″ by the largest of
    R″; but that of an H1 term belongs to the roughest function on the mesh, and so the quotient falls like h² when the
    mesh is refined. This one stays. Start a cooling at 10 to 100 times it.

    Args:
        misfit: The product v (p,) ↦ F″ v, or its Gauss–Newton approximation.
        regularization: The product v (p,) ↦ R″ v.
        size: The number of parameters p.
        products: The number of products with F″ in the power method; there is one more at the end.
        seed: The seed of the random direction to start with.

    Raises:
        ValueError: The regularization does not see v, which is in its null space, or the data see nothing.
    """
    v = np.random.default_rng(seed).standard_normal(size)
    for _ in range(products):
        v = misfit(v)
        length = float(np.linalg.norm(v))
        if not (np.isfinite(length) and length > 0):
            raise ValueError(f"the product with the Hessian of the misfit has norm {length}; the data see no parameter")
        v = v / length
    data, prior = float(v @ misfit(v)), float(v @ regularization(v))
    if not (data > 0 and prior > 1e-14 * data):
        raise ValueError(
            f"the curvatures of misfit and regularization are {data:.3g} and {prior:.3g} along the direction that the "
            "data see best; expected both > 0. Give the first strength as a number"
        )
    return data / prior
