"""Terms that couple several fields by their gradients: cross-gradients and joint total variation.

They are functions of the fields by name: {"sigma": σ, "source": f}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from pdeopt.fem import FunctionSpace, bilinear_form, functional
from pdeopt.inverse.compiled import Compiled
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.regularization.forms import check_gradient, slope, total
from pdeopt.inverse.regularization.terms import Term, nonnegative
from pdeopt.inverse.regularization.variation import following_dual

#: The fields that a term couples, by name, each as its values (n,) at the degrees of freedom of the term's space.
FieldsByName = Mapping[str, jax.Array]


@functional
def _half_square_of_the_cross_product(w: Any) -> Any:
    return 0.5 * sum(minor**2 for minor in _minors(slope(w["a"], w), slope(w["b"], w)))


@bilinear_form
def _product_of_changes(u: Any, v: Any, w: Any) -> Any:
    pairs = zip(_minors(slope(u, w), w["beside_u"]), _minors(slope(v, w), w["beside_v"]), strict=True)
    return w["sign"] * sum(a * b for a, b in pairs)


def _minors(a: Any, b: Any) -> list[Any]:
    """Return the components (c, q) of the cross product of two gradients (d, c, q)."""
    return [a[i] * b[j] - a[j] * b[i] for i in range(len(a)) for j in range(i)]


@functional
def _smoothed_joint_variation(w: Any) -> Any:
    return jnp.sqrt(total(w["slopes"] ** 2) + w["smoothing"] ** 2) - w["smoothing"]


@bilinear_form
def _joint_primal_dual_diffusion(u: Any, v: Any, w: Any) -> Any:
    length, a, b = jnp.sqrt(total(w["slopes"] ** 2) + w["smoothing"] ** 2), slope(u, w), slope(v, w)
    coupled = total(w["dual_u"] * a) * total(w["slope_v"] * b) + total(w["slope_u"] * a) * total(w["dual_v"] * b)
    return (w["same"] * total(a * b) - 0.5 * coupled / length) / length


@dataclass(frozen=True, eq=False)
class CouplingTerm(Term):
    """A term in several fields of one space, which it takes by name.

    Attributes:
        space: The space of the fields.
        weight: The factor α.
        names: The names of the fields that are coupled; others are not looked at.
    """

    space: FunctionSpace
    weight: float = field()
    names: tuple[str, ...] = field()

    def __post_init__(self) -> None:
        check_gradient(self.space)
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise InputError(f"the names of the fields are {self.names}; expected two or more, all different")

    def fields(self, given: FieldsByName) -> list[Any]:
        """Return the functions that are coupled, for forms, in the order of their names.

        Raises:
            InputError: A field is missing or not of the space, or they are not given by name.
        """
        if not isinstance(given, Mapping):
            got = "an array" if isinstance(given, (jax.Array, np.ndarray)) else f"a {type(given).__name__}"
            wanted = ", ".join(f"{name!r}: values" for name in self.names)
            raise InputError(f"the term {self.name} takes fields by name, got {got}; expected {{{wanted}}}")
        missing = [name for name in self.names if name not in given]
        if missing:
            raise InputError(
                f"the term {self.name} couples {', '.join(self.names)}, and got {', '.join(given) or 'no field'}; "
                f"{missing[0]!r} is missing"
            )
        for name in self.names:
            if jnp.shape(given[name]) != (self.space.n,):
                raise InputError(
                    f"the field {name!r} has shape {jnp.shape(given[name])}; expected ({self.space.n},), a value for "
                    f"each degree of freedom of the space of {self.name}"
                )
        return [self.space.interpolate(jnp.asarray(given[name])) for name in self.names]

    def slopes(self, given: FieldsByName) -> np.ndarray:
        """Return the gradients of the fields that are coupled, (k, …, d, c, q), in the order of their names."""
        return np.asarray(self._compiled_slopes(np.stack([given[name] for name in self.names])))

    @cached_property
    def _compiled_slopes(self) -> Compiled:
        return Compiled(self._traced_slopes_of)

    def _traced_slopes_of(self, values: jax.Array) -> jax.Array:
        return self.traced_slopes(dict(zip(self.names, values, strict=True)))

    def traced_slopes(self, given: FieldsByName) -> jax.Array:
        """Return the gradients as `slopes` does, to be traced."""
        return jnp.stack([slope(one, self.space.tables.geometry) for one in self.fields(given)])

    def in_blocks(self, assemble: Callable[[int, int], sp.csr_matrix]) -> sp.csr_matrix:
        """Return the symmetric matrix of all fields one after the other, (k n, k n).

        Args:
            assemble: The function that returns the block (n, n) of the field i tested and the field j ≥ i, (i, j).
        """
        count = len(self.names)
        upper = {(i, j): assemble(i, j) for i in range(count) for j in range(i, count)}
        rows = [[upper[i, j] if i <= j else upper[j, i].T for j in range(count)] for i in range(count)]
        return sp.bmat(rows, format="csr")


@dataclass(frozen=True, eq=False)
class CrossGradient(CouplingTerm):
    """A term ``½ α ∫ |∇a × ∇b|²``, which is zero where the level sets of two fields are parallel.

    It is made by `cross_gradient`. It is not convex in both fields together: its Hessian is indefinite away from
    parallel gradients, so that Newton's methods use its Gauss–Newton model.

    Attributes:
        space: The space of the fields.
        weight: The factor α.
        names: The names of the two fields.

    Raises:
        InputError: There are not two names, the fields are not scalar functions on an area or in a volume, or have no
            gradient.
    """

    inner_product = "cross product of the gradients"
    null_space = "fields with parallel gradients"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.names) != 2:
            raise InputError(f"the names of the fields are {self.names}; a cross product is that of two gradients")
        tables = self.space.tables
        dim = self.space.mesh.dim() - ("n" in tables.geometry)
        if dim < 2 or [parts["value"].ndim for parts in tables.components] != [3]:
            raise InputError(
                f"the fields are functions of {type(self.space.element).__name__} in {dim} dimensions; expected scalar "
                "functions on an area or in a volume, whose gradients have a cross product that can vary"
            )

    def __call__(self, given: FieldsByName) -> jax.Array:  # type: ignore[override]
        """Return the term for fields by name, each (n,)."""
        a, b = self.fields(given)
        return self.weight * _half_square_of_the_cross_product.assemble(self.space, a=a, b=b)

    def operator(self, given: FieldsByName) -> sp.csr_matrix:
        """Return the Gauss–Newton model ``α ∫ δc·δc'`` of the cross product c = ∇a × ∇b, (2 n, 2 n).

        δc = ∇δa × ∇b + ∇a × ∇δb is the change of c. The model is the Hessian where the gradients are parallel.
        """
        beside = self.slopes(given)[::-1]  # ∇b beside a change of a, and ∇a beside one of b
        return self.weight * self.in_blocks(
            lambda i, j: _product_of_changes.assemble(
                self.space, beside_v=beside[i], beside_u=beside[j], sign=1.0 if i == j else -1.0
            ).to_scipy()
        )


@dataclass(frozen=True, eq=False)
class JointTotalVariation(CouplingTerm):
    """A term ``α ∫ (√(Σ_i |∇a_i|² + ε²) − ε)``, for piecewise constant fields whose edges are the same.

    It is made by `joint_total_variation`. It is convex.

    Attributes:
        space: The space of the fields.
        weight: The factor α.
        names: The names of the fields a_i.
        smoothing: The smoothing ε, in the unit of the gradients.
        continuation: The factors of ε to minimize with first, as those of `TotalVariation`.

    Raises:
        InputError: The smoothing or a factor of the continuation is not positive, there are less than two names, or the
            fields have no gradient.
    """

    smoothing: float = field()
    continuation: tuple[float, ...] = ()

    inner_product = "H1 seminorm weighted by 1/√(Σ_i |∇a_i|² + ε²)"
    null_space = "constants"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.smoothing > 0:
            raise InputError(f"the smoothing of joint total variation is {self.smoothing}; expected > 0, e.g. 1")
        if not all(factor > 0 for factor in self.continuation):
            raise InputError(f"the continuation of joint total variation is {self.continuation}; expected factors > 0")

    def __call__(self, given: FieldsByName) -> jax.Array:  # type: ignore[override]
        """Return the term for fields by name, each (n,)."""
        slopes = self.traced_slopes(given)
        return self.weight * _smoothed_joint_variation.assemble(self.space, slopes=slopes, smoothing=self.smoothing)

    def operator(self, given: FieldsByName, dual: np.ndarray | None = None) -> sp.csr_matrix:
        """Return the lagged diffusivity (k n, k n), or the model with a dual, as `TotalVariation.operator`.

        Args:
            given: The fields by name, each (n,).
            dual: The dual, (k, …, d, c, q) as the gradients.
        """
        slopes = self.slopes(given)
        dual = np.zeros_like(slopes) if dual is None else dual
        return self.weight * self.in_blocks(
            lambda i, j: _joint_primal_dual_diffusion.assemble(
                self.space,
                slopes=slopes,
                smoothing=self.smoothing,
                same=1.0 if i == j else 0.0,
                **{"slope_v": slopes[i], "dual_v": dual[i], "slope_u": slopes[j], "dual_u": dual[j]},
            ).to_scipy()
        )

    def first_dual(self, given: FieldsByName) -> np.ndarray:  # type: ignore[override]
        """Return the dual to start with, 0, of the gradients' shape (k, …, d, c, q)."""
        return np.zeros_like(self.slopes(given))

    def next_dual(  # type: ignore[override]
        self, dual: np.ndarray, before: FieldsByName, given: FieldsByName
    ) -> np.ndarray:
        """Return the dual after a step from the fields before it, as `TotalVariation.next_dual`."""
        return following_dual(dual, self.slopes(before), self.slopes(given), self.smoothing)

    def at_stage(self, factor: float) -> JointTotalVariation:
        """Return the same term with ε times a factor, and no continuation."""
        return replace(self, smoothing=factor * self.smoothing, continuation=())


def cross_gradient(space: FunctionSpace, weight: float, names: Sequence[str]) -> CrossGradient:
    """Return the term ``½ α ∫ |∇a × ∇b|²`` of two fields, which makes their level sets parallel.

    It says nothing of which values go together, or of where a field varies and the other does not. Scale the fields, or
    the weight, to gradients of size one: the term is of order four in them. (Gallardo, Meju, "Characterization of
    heterogeneous near-surface materials by joint 2D inversion of dc resistivity and seismic data", Geophys. Res. Lett.
    30, 2003.)

    Args:
        space: The space of both fields, scalar, on cells in 2-D or 3-D, or on facets in 3-D.
        weight: The factor α.
        names: The names of the two fields.

    Raises:
        InputError: The weight is negative or not a number, there are not two names, the fields are not scalar functions
            on an area or in a volume, or have no gradient.

    Example:
        >>> import skfem
        >>> V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
        >>> alike = cross_gradient(V, 2.0, ("sigma", "source"))
        >>> x, y = V.locations
        >>> float(alike({"sigma": x, "source": 3 * y}).round(6)), float(alike({"sigma": x, "source": 3 * x + 1}))
        (9.0, 0.0)
    """
    return CrossGradient(space, nonnegative(weight), tuple(names))


def joint_total_variation(
    space: FunctionSpace,
    weight: float,
    names: Sequence[str],
    smoothing: float = 1.0,
    continuation: Sequence[float] = (),
) -> JointTotalVariation:
    """Return the term ``α ∫ (√(Σ_i |∇a_i|² + ε²) − ε)`` of several fields, for shared edges.

    An edge of all fields at one place costs less than edges at different places. Scale the fields to jumps of the same
    size. (Haber, Holtzman Gazit, "Model fusion and joint inversion", Surveys in Geophysics 34, 2013.)

    Args:
        space: The space of the fields.
        weight: The factor α.
        names: The names of the fields.
        smoothing: The smoothing ε, in the unit of the gradients.
        continuation: The factors of ε to minimize with first, such as (100, 10).

    Raises:
        InputError: The weight is negative or not a number, the smoothing or a factor of the continuation is not
            positive, there are less than two names, or the fields have no gradient.
    """
    return JointTotalVariation(space, nonnegative(weight), tuple(names), float(smoothing), tuple(continuation))
