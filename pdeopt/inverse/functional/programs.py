"""The compiled programs of a reduced functional.

They compute values, derivatives, and linear maps that are made once at a point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.inverse.compiled import Compiled, floating, refuse_complex
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.functional.tracing import FunctionalTrace, TracedParts
from pdeopt.inverse.regularization import Term
from pdeopt.inverse.unknowns.parameters import flat_parameter
from pdeopt.sparse import check_process, solve_errors

#: A linear map as JAX returns it, a pytree: residuals of a linearization with the program that applies them.
Linear = Any
#: A function of a linear map and a direction that returns the image of the direction.
Product = Callable[[Any, jax.Array], jax.Array]


@dataclass(frozen=True, eq=False)
class Programs:
    """A set of the compiled programs of J(β, m) = misfit(u(m)) + β Σ regularization(m).

    They are those of a `ReducedFunctional`. A linearization stores everything that does not depend on the direction,
    the state and the adjoint state among it, so that each product costs one solve with A (for the tangent) and one with
    Aᵀ (for the second adjoint).

    Attributes:
        trace: The traces of the functional's functions.
        terms: The single terms of the regularization.
    """

    trace: FunctionalTrace
    terms: tuple[Term, ...]

    @property
    def plain_terms(self) -> tuple[Term, ...]:
        """The terms of the regularization that state no operator."""
        return tuple(term for term in self.terms if term.operator is None)

    @property
    def curved_terms(self) -> tuple[Term, ...]:
        """The terms of the regularization that state no operator, or do not say that they are quadratic."""
        return tuple(term for term in self.terms if term.operator is None or not term.quadratic)

    def parts(self, m: jax.Array) -> TracedParts:
        """Return the traced functions of which all programs are made, for m (p,).

        Raises:
            InputError: The parameter m is complex, or has another shape.
        """
        refuse_complex(m)
        if m.ndim != 1:
            raise InputError(f"m has shape {m.shape}; expected one row of numbers, (p,)")
        return self.trace.parts(m.size, self.terms)

    def objective(self, strength: jax.Array, m: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Return J(β, m), and the misfit and the regularization with its strength, to be traced.

        Args:
            strength: The strength β, a number.
            m: The parameter, (p,).
        """
        parts = self.parts(m)
        coefficient = parts.parametrization(m)
        misfit = parts.misfit(parts.state(coefficient), coefficient)
        regularization = strength * self._total(self.terms, m)
        return misfit + regularization, (misfit, regularization)

    def constraint_values(self, m: jax.Array) -> jax.Array:
        """Return all constraints at m (p,), one after the other (k,), to be traced."""
        parts = self.parts(m)
        coefficient = parts.parametrization(m)
        return _in_a_row(parts, parts.state(coefficient), coefficient)

    def constrained(
        self, strength: jax.Array, m: jax.Array
    ) -> tuple[tuple[jax.Array, tuple[jax.Array, jax.Array]], jax.Array]:
        """Return J(β, m) and all constraints (1 + k,) with their derivatives (1 + k, p), to be traced.

        The state is solved once. One pullback of it takes all 1 + k cotangents, so that their adjoint states are
        columns of one block, with one matrix.

        Returns:
            The numbers with the misfit and the regularization, and the derivatives.
        """

        def numbers(m: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            parts = self.parts(m)
            coefficient = parts.parametrization(m)
            u = parts.state(coefficient)
            misfit, regularization = parts.misfit(u, coefficient), strength * self._total(self.terms, m)
            row = jnp.concatenate([jnp.reshape(misfit + regularization, 1), _in_a_row(parts, u, coefficient)])
            return row, (misfit, regularization)

        found, pullback, terms = jax.vjp(numbers, m, has_aux=True)
        (derivatives,) = jax.vmap(pullback)(jnp.eye(found.size))
        return (found, terms), derivatives

    def predict(self, m: jax.Array) -> jax.Array:
        """Return the prediction for m (p,), to be traced."""
        parts = self.parts(m)
        coefficient = parts.parametrization(m)
        predicted: jax.Array = parts.observation(parts.state(coefficient), coefficient)
        return predicted

    @cached_property
    def value(self) -> Compiled:
        """The program (β, m) ↦ J, (misfit, regularization)."""
        return self._compiled(self.objective)

    @cached_property
    def value_and_derivative(self) -> Compiled:
        """The program (β, m) ↦ (J, (misfit, regularization)), ∂J/∂m."""
        return self._compiled(jax.value_and_grad(self.objective, argnums=1, has_aux=True))

    @cached_property
    def constraints(self) -> Compiled:
        """The program m ↦ all constraints (k,)."""
        return self._compiled(self.constraint_values)

    @cached_property
    def constrained_and_derivatives(self) -> Compiled:
        """The program (β, m) ↦ values and derivatives of J and of all constraints, see `constrained`."""
        return self._compiled(self.constrained)

    @cached_property
    def constraint_hessian(self) -> Compiled:
        """The program (m, w) ↦ the second derivative of the constraints times w, summed: a linear map."""

        def weighted(m: jax.Array, w: jax.Array) -> Linear:
            return jax.linearize(jax.grad(lambda x: w @ self.constraint_values(x)), m)[1]

        return self._compiled(weighted)

    @cached_property
    def solution(self) -> Compiled:
        """The program m ↦ the state."""
        return self._compiled(lambda m: self.parts(m).solution(self.parts(m).parametrization(m)))

    @cached_property
    def solved(self) -> Compiled:
        """The program m ↦ state, prediction, adjoint state.

        The adjoint state is the derivative of J with respect to a source in the state equation, at zero: the state and
        it cost one solve each. It is None where the state is a plain function.
        """

        def states(m: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | None]:
            parts = self.parts(m)
            coefficient = parts.parametrization(m)
            if parts.sourced is None:
                u = parts.state(coefficient)
                return u, parts.observation(u, coefficient), None
            shape = jax.eval_shape(parts.solution, coefficient)
            u, pullback = jax.vjp(partial(parts.sourced, coefficient), jnp.zeros(shape.shape, shape.dtype))
            (adjoint,) = pullback(jax.grad(parts.misfit)(u, coefficient))
            solution = u if parts.solution is parts.state else parts.solution(coefficient)
            return solution, parts.observation(u, coefficient), adjoint

        return self._compiled(states)

    @cached_property
    def prediction(self) -> Compiled:
        """The program m ↦ the prediction."""
        return self._compiled(self.predict)

    @cached_property
    def prediction_tangent(self) -> Compiled:
        """The program (m, v) ↦ the prediction's derivative along v."""
        return self._compiled(self._tangent)

    @cached_property
    def prediction_adjoint(self) -> Compiled:
        """The program (m, w) ↦ the adjoint of the prediction's derivative, applied to w."""
        return self._compiled(self._adjoint)

    @cached_property
    def tangent_and_adjoint(self) -> Compiled:
        """The program (m, v, w) ↦ the prediction's derivative along v, and its adjoint applied to w."""
        return self._compiled(lambda m, v, w: (self._tangent(m, v), self._adjoint(m, w)))

    @cached_property
    def misfit_hessian(self) -> Compiled:
        """The program m ↦ the second derivative of the misfit, a linear map, by forward over reverse mode."""
        return self._compiled(lambda m: jax.linearize(jax.grad(lambda x: self.objective(jnp.zeros(()), x)[1][0]), m)[1])

    @cached_property
    def jacobian_and_curvature(self) -> Compiled:
        """The program m ↦ the Jacobian of what the misfit compares, and the misfit's second derivative there.

        A misfit compares its observation with the data; a plain function compares the state and the coefficient.
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

        return self._compiled(linearized)

    @cached_property
    def curved_hessian(self) -> Compiled:
        """The program m ↦ the second derivative of `curved_terms`, a linear map."""
        return self._compiled(lambda m: jax.linearize(jax.grad(partial(self._total, self.curved_terms)), m)[1])

    @cached_property
    def plain_hessian(self) -> Compiled:
        """The program m ↦ the second derivative of `plain_terms`, a linear map."""
        return self._compiled(lambda m: jax.linearize(jax.grad(partial(self._total, self.plain_terms)), m)[1])

    def apply(self, linear: Linear, direction: np.ndarray) -> np.ndarray:
        """Return a linear map applied to one direction (p,), or with block solves to a block (p, k)."""
        return self._on_host(self._apply, linear, direction)

    def apply_gauss_newton(self, linear: tuple[Linear, Linear], direction: np.ndarray) -> np.ndarray:
        """Return the Gauss–Newton product Jᵀ φ″ J v of one direction v (p,), or of a block (p, k).

        Of complex predictions it is Re(Jᴴ φ″ J v): JAX's derivative of φ is conjugated, and its transpose is not.

        Args:
            linear: The linear maps J and φ″, as `jacobian_and_curvature` returns them.
            direction: The direction v, or a block of directions.
        """
        return self._on_host(self._apply_gauss_newton, linear, direction)

    @cached_property
    def _apply(self) -> dict[int, Product]:
        return _for_vectors_and_blocks(lambda linear, v: linear(v))

    @cached_property
    def _apply_gauss_newton(self) -> dict[int, Product]:
        def product(linear: tuple[Linear, Linear], v: jax.Array) -> jax.Array:
            jacobian, curvature = linear
            action: jax.Array = jax.linear_transpose(jacobian, v)(curvature(jacobian(v)))[0]
            return action

        return _for_vectors_and_blocks(product)

    def flat(self, given: Any) -> Any:
        """Return numbers as an array of floating-point numbers, and a pytree of parameters as one row."""
        return floating(flat_parameter(self.trace.parametrization, given))

    def _compiled(self, function: Callable[..., Any]) -> Compiled:
        return Compiled(function, self.flat)

    def _on_host(self, programs: dict[int, Product], linear: Any, direction: Any) -> np.ndarray:
        v = self.flat(direction)
        refuse_complex(v)
        check_process()
        with solve_errors():
            return np.asarray(programs[v.ndim](linear, v))

    def _tangent(self, m: jax.Array, v: jax.Array) -> jax.Array:
        refuse_complex(v)
        tangent: jax.Array = jax.jvp(self.predict, (m,), (v,))[1]
        return tangent

    def _adjoint(self, m: jax.Array, w: jax.Array) -> jax.Array:
        """Return Re(Jᴴ w): JAX's pullback of real parameters is w ↦ Re(Jᵀ w)."""
        predicted, pullback = jax.vjp(self.predict, m)
        if not jnp.iscomplexobj(predicted):
            refuse_complex(w)
        adjoint: jax.Array = pullback(jnp.conj(w.astype(predicted.dtype)))[0]
        return adjoint

    def _total(self, terms: Sequence[Term], m: jax.Array) -> jax.Array:
        parts = self.parts(m)
        return sum((parts.terms[id(term)][1](m) for term in terms), jnp.zeros(()))


def _in_a_row(parts: TracedParts, u: Any, coefficient: Any) -> jax.Array:
    return jnp.concatenate([jnp.ravel(jnp.asarray(one(u, coefficient), float)) for one in parts.constraints])


def _for_vectors_and_blocks(product: Product) -> dict[int, Product]:
    return {1: jax.jit(product), 2: jax.jit(jax.vmap(product, in_axes=(None, 1), out_axes=1))}
