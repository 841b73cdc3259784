"""Forms that are nonlinear in the state: a residual or an energy, and its exact tangent matrix.

A residual form F(u, v, w) is nonlinear in the state u and linear in the test function v. Its tangent matrix is that of
the bilinear form

    a(δu, v) = d/dt F(u + t δu, v) at t = 0,

which JAX takes from the form itself; an energy ψ(u, w) has the residual d/dt ψ(u + t v) at t = 0. Both are assembled as
forms that are written by hand are: on the pattern of the space, and with the terms that vanish left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax.typing import ArrayLike

from pdeopt.fem.errors import FormError
from pdeopt.fem.field import Field, value_of
from pdeopt.fem.forms.coefficients import Coefficients
from pdeopt.fem.forms.structure import Shapes
from pdeopt.fem.forms.weak_forms import BilinearForm, Functional, LinearForm, Spaces, function_and_name, sides_of
from pdeopt.fem.spaces.space import FunctionSpace
from pdeopt.fem.tracing.form_tracing import TracedForm
from pdeopt.sparse import CSRMatrix

#: The name under which the state is among the coefficients of a form.
STATE = "the state"

#: The state at quadrature points: for each component of its element a field, on interior facets one for each side.
State = tuple[Any, ...]


@dataclass(frozen=True)
class ResidualForm:
    """A residual form F(u, v, w), nonlinear in the state u and linear in the test function v.

    It is made by `residual_form`. On the two sides of interior facets u is a pair of fields, one for each side, and v
    lives on side ``w.idx[0]``.

    Attributes:
        function: The function F, evaluated at quadrature points.
        name: The name of the form, for messages.
    """

    function: Callable[..., Any]
    name: str

    def assemble(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> jax.Array:
        """Return the residual r[i] = F(u, v_i), (n,).

        Args:
            space: The space of u and v; with a facet space the integral is over the facets.
            u: The degrees of freedom of the state, (n,). Differentiable.
            **coefficients: The coefficients, as in `BilinearForm.assemble`.

        Raises:
            FormError: Coefficients do not fit, or the form is one that JAX cannot trace or that is not linear in v.
            FEMError: The state has another shape.
        """
        return self._residual.assemble(space, **{STATE: _state(space, u)}, **coefficients)

    def tangent(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> CSRMatrix:
        """Return the tangent matrix A[i, j] = ∂F(u, v_i) / ∂u_j, (n, n).

        The arguments are those of `assemble`, and so are the errors.
        """
        return self.linearized(space, u, **coefficients)[1]

    def linearized(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> tuple[jax.Array, CSRMatrix]:
        """Return the residual (n,) and the tangent matrix (n, n), as `assemble` and `tangent` do.

        Example:
            (1 + u²) ∇u·∇v, at a constant state u = 2: no flux, and the tangent 5 ∇δu·∇v:

            >>> import skfem
            >>> import jax.numpy as jnp
            >>> from pdeopt.fem import FunctionSpace, dot, grad, residual_form
            >>> @residual_form
            ... def diffusion(u, v, w):
            ...     return (1 + u**2) * dot(grad(u), grad(v))
            >>> V = FunctionSpace(skfem.MeshLine(), skfem.ElementLineP1())
            >>> r, A = diffusion.linearized(V, jnp.full(V.n, 2.0))
            >>> r, A.to_scipy().toarray()
            (Array([0., 0.], dtype=float64), array([[ 5., -5.],
                   [-5.,  5.]]))
        """
        given = {STATE: _state(space, u), **coefficients}
        return self._residual.assemble(space, **given), self._tangent.assemble(space, **given)

    @cached_property
    def _residual(self) -> LinearForm:
        def residual(*arguments: Any) -> Any:
            *test, w = arguments
            return self.function(*w[STATE], *test, _without_state(w))

        residual.__wrapped__ = self.function  # type: ignore[attr-defined]  # where messages look for the user's names
        return LinearForm(residual, self.name)

    @cached_property
    def _tangent(self) -> BilinearForm:
        def tangent(*arguments: Any) -> Any:
            *functions, w = arguments
            state = w[STATE]
            direction, test = functions[: len(state)], functions[len(state) :]
            sides = w.get("idx")
            rest = _without_state(w) if sides is None else Coefficients(_without_state(w), idx=sides[1:])
            side = None if sides is None else sides[0]
            return derivative(lambda u: self.function(*u, *test, rest), state, direction, side)

        tangent.__wrapped__ = self.function  # type: ignore[attr-defined]
        return _Tangent(tangent, self.name)


class _Tangent(BilinearForm):
    """A bilinear form that is linear by construction: a derivative of a form that is checked."""

    def _check(self, form: TracedForm, arguments: tuple[Shapes, ...], w: Coefficients) -> None:
        """Check nothing: the residual form is checked, and assembled with it."""


@dataclass(frozen=True)
class Energy:
    """An energy ψ(u, w), whose derivatives are a residual form and its symmetric tangent matrix.

    It is made by `energy`.

    Attributes:
        function: The density ψ, evaluated at quadrature points.
        name: The name of the form, for messages.
    """

    function: Callable[..., Any]
    name: str

    def value(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> jax.Array:
        """Return the integral of ψ, a scalar. The arguments are those of `ResidualForm.assemble`."""
        return self._value.assemble(sides_of(space)[0], **{STATE: _state(space, u)}, **coefficients)

    def assemble(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> jax.Array:
        """Return the derivative of the energy, r[i] = ∂ ∫ψ / ∂u_i, (n,), as `ResidualForm.assemble` does."""
        return self.residual.assemble(space, u, **coefficients)

    def tangent(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> CSRMatrix:
        """Return the second derivative of the energy, (n, n), as `ResidualForm.tangent` does."""
        return self.residual.tangent(space, u, **coefficients)

    def linearized(self, space: Spaces, u: ArrayLike, /, **coefficients: Any) -> tuple[jax.Array, CSRMatrix]:
        """Return the first derivative (n,) and the second one (n, n), as `ResidualForm.linearized` does."""
        return self.residual.linearized(space, u, **coefficients)

    @cached_property
    def residual(self) -> ResidualForm:
        """The residual form d/dt ψ(u + t v) of the energy."""

        def residual(*arguments: Any) -> Any:
            *functions, w = arguments
            count = len(functions) // 2
            state, test = tuple(functions[:count]), functions[count:]
            sides = w.get("idx")
            return derivative(lambda u: self.function(*u, w), state, test, None if sides is None else sides[0])

        residual.__wrapped__ = self.function  # type: ignore[attr-defined]
        return ResidualForm(residual, self.name)

    @cached_property
    def _value(self) -> Functional:
        def value(w: Coefficients) -> Any:
            return self.function(*w[STATE], _without_state(w))

        value.__wrapped__ = self.function  # type: ignore[attr-defined]
        return Functional(value, self.name)


def residual_form(function: Callable[..., Any]) -> ResidualForm:
    """Make a residual form of a function ``F(u, v, w)``, as its decorator.

    Mixed elements give ``F(u1, u2, v1, v2, w)``. The form need not be differentiable everywhere: where it has a bend,
    as ``jnp.abs`` and ``jnp.maximum`` have, the tangent has the slope that JAX takes there.
    """
    return ResidualForm(*function_and_name(function))


def energy(function: Callable[..., Any]) -> Energy:
    """Make an energy of its density ``ψ(u, w)``, as its decorator; mixed elements give ``ψ(u1, u2, w)``."""
    return Energy(*function_and_name(function))


def derivative(function: Callable[[State], Any], state: State, direction: Any, side: int | None) -> Any:
    """Return d/dt f(u + t δu) at t = 0, at quadrature points.

    Args:
        function: The function f of the state.
        state: The state u, for each component a field, or a pair of fields on interior facets.
        direction: The direction δu, a field for each component.
        side: The side of interior facets on which the direction lives; None elsewhere.
    """

    def moved(t: Any) -> Any:
        pairs = zip(state, direction, strict=True)
        if side is None:
            return value_of(function(tuple(Field(_Moved(u.parts, t, du.parts)) for u, du in pairs)))
        ends = [[Field(_Moved(u[side].parts, t, du.parts)) if k == side else u[k] for k in (0, 1)] for u, du in pairs]
        return value_of(function(tuple(map(tuple, ends))))

    return jax.jvp(moved, (0.0,), (1.0,))[1]


class _Moved(Mapping[str, Any]):
    """The parts of u + t δu, each computed when a form asks for it."""

    def __init__(self, parts: Mapping[str, Any], t: Any, direction: Mapping[str, Any]) -> None:
        self._parts, self._t, self._direction = parts, t, direction

    def __getitem__(self, name: str) -> Any:
        return self._parts[name] + self._t * self._direction[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def _state(space: Spaces, u: ArrayLike) -> State:
    """Return the state at the quadrature points of a space, or of the two sides of interior facets."""
    if isinstance(space, FunctionSpace):
        return _components(space.interpolate(u))
    sides = [_components(side.interpolate(u)) for side in sides_of(space)]
    if len(sides) != 2:
        raise FormError(f"a residual form takes a space or the two sides of interior facets, got {len(sides)} spaces")
    return tuple(zip(*sides, strict=True))


def _components(fields: Any) -> tuple[Field, ...]:
    return fields if isinstance(fields, tuple) else (fields,)


def _without_state(w: Coefficients) -> Coefficients:
    return Coefficients({name: value for name, value in w.items() if name != STATE})
