"""The compiled programs of a reduced functional: values, derivatives, and linear maps that are made once at a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.inverse.compiled import Compiled, real
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.functional.tracing import Parts, Trace
from pdeopt.inverse.regularization import Regularization
from pdeopt.sparse import check_process, solve_errors

#: A linear map as JAX returns it: residuals of its linearization, and what to do with them. A pytree.
Linear = Any
#: (linear map, direction) ↦ its image.
Product = Callable[[Any, jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)
class Programs:
    """A set of the compiled programs of J(β, m) = misfit(u(m)) + β Σ regularization(m). See `ReducedFunctional`.

    A linearization stores everything that does not depend on the direction, the state and the adjoint state among it,
    so that each product costs one solve with A (for the tangent) and one with Aᵀ (for the second adjoint).
    """

    trace: Trace
    terms: tuple[Regularization, ...]

    @property
    def plain_terms(self) -> tuple[Regularization, ...]:
        """Return the terms that state no operator."""
        return tuple(term for term in self.terms if not hasattr(term, "operator"))

    @property
    def curved_terms(self) -> tuple[Regularization, ...]:
        """Return the terms that are not quadratic, as far as they say."""
        plain = self.plain_terms
        return tuple(term for term in self.terms if term in plain or not getattr(term, "quadratic", False))

    def parts(self, m: jax.Array) -> Parts:
        """Return what all programs are made of, for m (p,); InputError for another shape."""
        if m.ndim != 1:
            raise InputError(f"m has shape {m.shape}; expected one row of numbers, (p,)")
        return self.trace.parts(m.size, self.terms)

    def objective(self, strength: jax.Array, m: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        parts = self.parts(m)
        coefficient = parts.parametrization(m)
        misfit = parts.misfit(parts.state(coefficient), coefficient)
        regularization = strength * self._total(self.terms, m)
        return misfit + regularization, (misfit, regularization)

    def predict(self, m: jax.Array) -> jax.Array:
        parts = self.parts(m)
        coefficient = parts.parametrization(m)
        return parts.observation(parts.state(coefficient), coefficient)

    @cached_property
    def value(self) -> Compiled:
        return Compiled(self.objective)

    @cached_property
    def value_and_derivative(self) -> Compiled:
        return Compiled(jax.value_and_grad(self.objective, argnums=1, has_aux=True))

    @cached_property
    def solution(self) -> Compiled:
        return Compiled(lambda m: self.parts(m).state(self.parts(m).parametrization(m)))

    @cached_property
    def solved(self) -> Compiled:
        """Return m ↦ the state, the prediction and, where the state equation has one, the adjoint state."""

        def states(m: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
            parts = self.parts(m)
            coefficient = parts.parametrization(m)
            u = parts.state(coefficient)
            prediction = parts.observation(u, coefficient)
            if parts.adjoint is None:
                return u, prediction, None
            return u, prediction, parts.adjoint(coefficient, jax.grad(parts.misfit)(u, coefficient))

        return Compiled(states)

    @cached_property
    def prediction(self) -> Compiled:
        return Compiled(self.predict)

    @cached_property
    def prediction_tangent(self) -> Compiled:
        return Compiled(lambda m, v: jax.jvp(self.predict, (m,), (v,))[1])

    @cached_property
    def prediction_adjoint(self) -> Compiled:
        return Compiled(lambda m, w: jax.vjp(self.predict, m)[1](w)[0])

    @cached_property
    def tangent_and_adjoint(self) -> Compiled:
        """Return (m, v, w) ↦ the prediction's derivative along v, and its adjoint applied to w, in one program."""

        def pair(m: jax.Array, v: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.jvp(self.predict, (m,), (v,))[1], jax.vjp(self.predict, m)[1](w)[0]

        return Compiled(pair)

    @cached_property
    def misfit_hessian(self) -> Compiled:
        """Return m ↦ the second derivative of the misfit: forward over reverse mode."""
        return Compiled(lambda m: jax.linearize(jax.grad(lambda x: self.objective(jnp.zeros(()), x)[1][0]), m)[1])

    @cached_property
    def jacobian_and_curvature(self) -> Compiled:
        """Return m ↦ the Jacobian of what the misfit compares, and the misfit's second derivative there.

        A misfit compares its observation, a plain function the state and the coefficient.
        """

        def compared(m: jax.Array) -> Any:
            parts = self.parts(m)
            coefficient = parts.parametrization(m)
            u = parts.state(coefficient)
            return (u, coefficient) if parts.distance is None else (parts.observation(u, coefficient),)

        def linearized(m: jax.Array) -> tuple[Linear, Linear]:
            parts = self.parts(m)
            at, jacobian = jax.linearize(compared, m)
            distance = parts.misfit if parts.distance is None else parts.distance
            return jacobian, jax.linearize(jax.grad(lambda at: distance(*at)), at)[1]

        return Compiled(linearized)

    @cached_property
    def curved_hessian(self) -> Compiled:
        """Return m ↦ the second derivative of those terms that are not quadratic."""
        return Compiled(lambda m: jax.linearize(jax.grad(partial(self._total, self.curved_terms)), m)[1])

    @cached_property
    def plain_hessian(self) -> Compiled:
        """Return m ↦ the same of those terms that state no operator."""
        return Compiled(lambda m: jax.linearize(jax.grad(partial(self._total, self.plain_terms)), m)[1])

    def apply(self, linear: Linear, direction: np.ndarray) -> np.ndarray:
        """Apply it to one direction (p,), or to a block (p, k) with block solves."""
        return _on_host(self._apply[np.ndim(direction)], linear, direction)

    def apply_gauss_newton(self, linear: tuple[Linear, Linear], direction: np.ndarray) -> np.ndarray:
        """Return Jᵀ φ″ J v, of one direction (p,) or of a block (p, k)."""
        return _on_host(self._apply_gauss_newton[np.ndim(direction)], linear, direction)

    @cached_property
    def _apply(self) -> dict[int, Product]:
        return _for_vectors_and_blocks(lambda linear, v: linear(v))

    @cached_property
    def _apply_gauss_newton(self) -> dict[int, Product]:
        def product(linear: tuple[Linear, Linear], v: jax.Array) -> jax.Array:
            jacobian, curvature = linear
            return jax.linear_transpose(jacobian, v)(curvature(jacobian(v)))[0]

        return _for_vectors_and_blocks(product)

    def _total(self, terms: Sequence[Regularization], m: jax.Array) -> jax.Array:
        parts = self.parts(m)
        return sum((parts.terms[id(term)][1](m) for term in terms), jnp.zeros(()))


def _for_vectors_and_blocks(product: Product) -> dict[int, Product]:
    return {1: jax.jit(product), 2: jax.jit(jax.vmap(product, in_axes=(None, 1), out_axes=1))}


def _on_host(program: Product, linear: Any, direction: np.ndarray) -> np.ndarray:
    check_process()
    with solve_errors():
        return np.asarray(program(linear, real(direction)))
