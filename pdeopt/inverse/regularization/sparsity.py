"""The L1 norm, which makes a parameter zero in most places."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.local_mass import lumped_mass
from pdeopt.inverse.regularization.terms import Term, nonnegative


@dataclass(frozen=True, eq=False)
class L1(Term):
    """A term ``β Σ_i c_i |m_i|``, whose kinks an optimizer must know, such as `pdeopt.optimize.ActiveSet`.

    It is made by `l1`. Its derivative is 0 where m_i = 0.

    Attributes:
        weight: The factor β.
        masses: The numbers c (p,), at least 0.
    """

    weight: float = field()
    masses: np.ndarray

    def __call__(self, m: jax.Array) -> jax.Array:
        """Return the term at m (p,)."""
        sign = jax.lax.stop_gradient(jnp.sign(m))  # the derivative of jnp.abs at 0 is 1
        return self.weight * jnp.dot(self.masses, sign * m)

    @property
    def l1_weights(self) -> np.ndarray:
        """The weights β c, (p,)."""
        return self.weight * self.masses


def l1(space: FunctionSpace, weight: float, dofs: np.ndarray | None = None) -> L1:
    """Return the term ``β ∫ |m|``, by the lumped mass matrix, which makes m zero in most places.

    It has kinks: of the optimizers that come with pdeopt, "active-set" minimizes it. (Stadler, "Elliptic optimal
    control problems with L1-control cost and applications for the placement of control devices", Comput. Optim. Appl.
    44, 2009.)

    Args:
        space: The parameter's space, on cells or on boundary facets.
        weight: The factor β.
        dofs: The degrees of freedom of ``space`` that are parameters; None for all.

    Raises:
        InputError: The weight is negative or not a number.

    Example:
        >>> import skfem
        >>> V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
        >>> l1(V, 0.1)(-3.0 * jnp.ones(V.n)).round(6)  # 0.1 · ∫ 3
        Array(0.3, dtype=float64)
    """
    masses = lumped_mass(space)
    return L1(nonnegative(weight), masses if dofs is None else masses[dofs])
