"""Inner products of parameters, which decide what a gradient is, and how fast a method goes.

An inner product is ⟨a, b⟩ = aᵀ G b with a symmetric positive definite G = (S Sᵀ)⁻¹. The change of variables m = S z
makes it Euclidean, so that a minimizer that knows no inner product (SciPy's) works in this one when it is given
z ↦ J(S z). Under refinement of the mesh the Euclidean product of the degrees of freedom has no limit, the L² product
has one: with it, iteration counts do not grow. (Hinze, Pinnau, Ulbrich, Ulbrich, "Optimization with PDE Constraints",
2009, section 1.6; Schwedes, Ham, Funke, Piggott, "Mesh Dependence in PDE-Constrained Optimisation", 2017.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from pdeopt.optimize.objective import OptimizerError


class InnerProduct(Protocol):
    """An inner product ⟨a, b⟩ = aᵀ G b of parameters (p,), with G = (S Sᵀ)⁻¹.

    Attributes:
        name: The name, as in ``--inner-product``: "euclidean", "l2", "l2-lumped", "regularization".
        weights: The diagonal (p,) of G where G is diagonal, so that bounds on m are bounds on z; None elsewhere.
    """

    @property
    def name(self) -> str:
        """The name of the inner product, as in ``--inner-product``."""
        ...

    @property
    def weights(self) -> np.ndarray | None:
        """The diagonal (p,) of G where G is diagonal; None elsewhere."""
        ...

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return S z (p,), the parameter of coordinates z (q,) in which the product is Euclidean."""
        ...

    def pullback(self, derivative: np.ndarray) -> np.ndarray:
        """Return Sᵀ d (q,), the derivative with respect to z.

        Args:
            derivative: The Euclidean derivative d (p,) with respect to m.
        """
        ...

    def gradient(self, derivative: np.ndarray) -> np.ndarray:
        """Return G⁻¹ d (p,), the Riesz representative g of a derivative d (p,): ⟨g, a⟩ = dᵀ a for all a."""
        ...

    def norm(self, m: np.ndarray) -> float:
        """Return √(mᵀ G m) of a parameter or a gradient (p,)."""
        ...


@dataclass(frozen=True, eq=False)
class Diagonal:
    """An inner product ⟨a, b⟩ = Σ_i w_i a_i b_i with a diagonal matrix.

    Attributes:
        name: The name, see `InnerProduct`.
        weights: The weights w (p,), such as the integrals of the basis functions (lumped mass).

    Raises:
        OptimizerError: The weights are not one positive number for each entry.
    """

    name: str
    weights: np.ndarray

    def __post_init__(self) -> None:
        weights = np.array(self.weights, float)
        if weights.ndim != 1:
            raise OptimizerError(f"weights of an inner product have shape {weights.shape}; expected (p,)")
        if not (np.isfinite(weights) & (weights > 0)).all():
            bad = np.flatnonzero(~(np.isfinite(weights) & (weights > 0)))
            raise OptimizerError(f"weights of an inner product must be positive; entry {bad[0]} is {weights[bad[0]]:g}")
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)

    def primal(self, z: np.ndarray) -> np.ndarray:
        """Return z / √w, (p,)."""
        return z / self._roots

    def pullback(self, derivative: np.ndarray) -> np.ndarray:
        """Return d / √w, (p,)."""
        return derivative / self._roots

    def gradient(self, derivative: np.ndarray) -> np.ndarray:
        """Return d / w, (p,)."""
        return derivative / self.weights

    def norm(self, m: np.ndarray) -> float:
        """Return √(Σ w m²)."""
        return float(np.linalg.norm(self._roots * m))

    @cached_property
    def _roots(self) -> np.ndarray:
        return np.sqrt(self.weights)


def euclidean(p: int) -> Diagonal:
    """Return the product Σ_i a_i b_i of p entries, in which derivative and gradient coincide."""
    return Diagonal("euclidean", np.ones(p))
