"""Unknown arrays in a pytree of JAX, as the weights of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization import mass
from pdeopt.inverse.unknowns.numbers import check_role
from pdeopt.inverse.unknowns.parametrization import Parametrization
from pdeopt.optimize.bounds import BoundsLike


@dataclass(frozen=True, eq=False)
class Tree:
    """The unknown arrays of a pytree of JAX, as the weights of a network, in the place of a `Parameter`.

    It is the parametrization of a `ReducedFunctional` as well, m (p,) ↦ pytree, or the function on a space that a
    network with these weights stands for. Its entries have the Euclidean inner product.

    Attributes:
        example: A pytree of the structure and the shapes, with real arrays; the initial guess where none is given.
        label: A name for all of them together.
        role: The role in pictures, as that of a `Parameter`.
        parametrization: A pointwise map of the entries (p,), before the tree is made; the identity where None.
        initial: The initial guess of m, a number or (p,); None for the example's.
        bounds: The bounds (lower, upper) of m, as those of a `Problem`.
        truth: The true entries (p,), where they are known; with a function its true values (n,).
        space: The space of the function that is the coefficient; None where the tree is.
        function: The map from the tree to the values (n,) of the coefficient at the space's degrees of freedom.

    Raises:
        InputError: The example has no arrays, or others than of real floating-point numbers; there is a function
            without its space, or the other way round; or the role is not known.

    Example:
        >>> weights = Tree({"slope": np.ones((1, 2)), "shift": np.zeros(2)}, "weights")
        >>> weights.size, weights(np.arange(4.0))["slope"]
        (4, Array([[2., 3.]], dtype=float64))
    """

    example: Any
    label: str = "weights"
    role: str | None = None
    parametrization: Parametrization | None = None
    initial: ArrayLike | None = None
    bounds: BoundsLike = None
    truth: np.ndarray | None = None
    space: FunctionSpace | None = None
    function: Callable[[Any], jax.Array] | None = None

    dofs = None

    def __post_init__(self) -> None:
        check_role(self.role)
        if (self.space is None) != (self.function is None):
            raise InputError("a function of a tree goes with its space; expected both, or neither")
        kinds = [np.asarray(leaf).dtype for leaf in jax.tree.leaves(self.example)]
        if not kinds or not all(np.issubdtype(kind, np.floating) for kind in kinds):
            raise InputError(
                f"the arrays of an unknown tree have the types {[str(kind) for kind in kinds]}; expected at least one, "
                "and floating-point numbers: initialize the weights, and leave out what is no number"
            )
        example = jax.tree.map(lambda leaf: np.asarray(leaf, float), self.example)  # m has 64 bits
        object.__setattr__(self, "example", example)
        if self.function is not None and self.space is not None:
            shape = jnp.shape(jax.eval_shape(self.function, example))
            if shape != (self.space.n,):
                raise InputError(
                    f"the function of a tree returns an array of shape {shape}; expected ({self.space.n},), a value at "
                    "each degree of freedom of its space"
                )
        if self.initial is None:
            start = np.asarray(ravel_pytree(self.example)[0], float)
            given = start if self.parametrization is None else self.parametrization.inverse(start)
            object.__setattr__(self, "initial", given)

    def __call__(self, m: jax.Array) -> Any:
        """Return the tree of the entries m (p,), or the values (n,) of its function.

        Raises:
            InputError: There are more entries, or fewer.
        """
        if np.shape(m) != (self.size,):
            raise InputError(f"the m of {self.label} has shape {np.shape(m)}; expected ({self.size},)")
        tree = ravel_pytree(self.example)[1](m if self.parametrization is None else self.parametrization(m))
        return tree if self.function is None else self.function(tree)

    def inverse(self, coefficient: Any) -> np.ndarray:
        """Return the entries m (p,) of a tree.

        Raises:
            InputError: The coefficient is a function, which has no tree that is known, or has another structure.
        """
        if self.function is not None:
            raise InputError(f"{self.label}: the weights of a function are not found from its values")
        given, expected = (
            (str(jax.tree.structure(tree)), [np.shape(leaf) for leaf in jax.tree.leaves(tree)])
            for tree in (coefficient, self.example)
        )
        if given != expected:
            raise InputError(f"a tree has the structure and shapes {given}; expected {expected}")
        entries = self.flat(coefficient)
        return entries if self.parametrization is None else self.parametrization.inverse(entries)

    def row(self, m: Any) -> jax.Array:
        """Return the m (p,) of its pytree, which has the arrays of the example; it may be differentiated.

        Raises:
            InputError: An array has another shape.
        """
        given, expected = ([np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (m, self.example))
        if given != expected:
            raise InputError(f"the arrays of {self.label} have the shapes {given}; expected {expected}")
        return ravel_pytree(m)[0]

    @property
    def size(self) -> int:
        """The number p of entries."""
        return sum(np.size(leaf) for leaf in jax.tree.leaves(self.example))

    @property
    def coefficient_size(self) -> int:
        """The number of values of the coefficient, n of a function on a space, p of a tree."""
        return self.size if self.space is None else self.space.n

    def flat(self, coefficient: Any) -> np.ndarray:
        """Return the entries of a tree in one row, (p,), or the values of a function, (n,)."""
        return np.asarray(ravel_pytree(coefficient)[0])

    def unflat(self, values: np.ndarray) -> Any:
        """Return the tree of entries in one row, (p,), or the values of a function, (n,)."""
        return values if self.space is not None else ravel_pytree(self.example)[1](jnp.asarray(values))

    @property
    def mass(self) -> sp.csr_matrix:
        """The matrix (p, p) of the Euclidean product, the identity."""
        return sp.identity(self.size, format="csr")

    @property
    def lumped_mass(self) -> np.ndarray:
        """The diagonal (p,) of the Euclidean product, ones."""
        return np.ones(self.size)

    @property
    def locations(self) -> np.ndarray:
        """The places of the entries, (0, p), because they have none."""
        return np.empty((0, self.size))

    def relative_error(self, values: np.ndarray, truth: np.ndarray) -> float | None:
        """Return the relative error ‖values − truth‖ / ‖truth‖; None for a truth of zero.

        It is that of the entries (p,), or that in L² of the values (n,) of a function.
        """
        weights = sp.identity(len(truth)) if self.space is None else mass.assemble(self.space).to_scipy()
        error, size = (np.sqrt(x @ (weights @ x)) for x in (values - truth, truth))
        return float(error / size) if size > 0 else None
