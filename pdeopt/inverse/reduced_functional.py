"""The reduced functional: the objective as a function of the parameter alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.inverse.compiled import Compiled
from pdeopt.inverse.misfit import AnyMisfit, observation_of
from pdeopt.inverse.parametrization import Identity, Parametrization
from pdeopt.inverse.regularization import Regularization


class Terms(NamedTuple):
    """The objective and its parts."""

    objective: float
    misfit: float
    regularization: float


@dataclass(frozen=True, eq=False)
class ReducedFunctional:
    """J(m) = misfit(u(m)) + Σ regularization(m), with exact derivatives of first and second order.

    Immutable: to change a part, make another with `dataclasses.replace`. All methods take a real m of shape (p,) and
    compile on first use; they raise SolveError where the state equation cannot be solved.

    Attributes:
        state: maps the physical coefficient to the state u, e.g. a `LinearStateEquation`.
        misfit: compares u with the data: a `Misfit`, or any function of (u, coefficient).
        regularization: one term or several.
        parametrization: from m to the physical coefficient.
    """

    state: Callable[[Any], jax.Array]
    misfit: AnyMisfit
    regularization: Regularization | Sequence[Regularization] = ()
    parametrization: Parametrization = field(default_factory=Identity)

    @property
    def regularization_terms(self) -> tuple[Regularization, ...]:
        return (self.regularization,) if callable(self.regularization) else tuple(self.regularization)

    def terms(self, m: ArrayLike) -> Terms:
        """The objective, the misfit and the regularization."""
        objective, parts = self._value(m)
        return Terms(float(objective), *(float(part) for part in parts))

    def __call__(self, m: ArrayLike) -> float:
        return self.terms(m).objective

    def value_and_derivative(self, m: ArrayLike) -> tuple[float, np.ndarray]:
        """J and the Euclidean derivative ∂J/∂m (p,), with one factorization and two solves: what minimizers take."""
        terms, derivative = self.terms_and_derivative(m)
        return terms.objective, derivative

    def terms_and_derivative(self, m: ArrayLike) -> tuple[Terms, np.ndarray]:
        """The same with the terms of J."""
        (objective, parts), derivative = self._value_and_derivative(m)
        return Terms(float(objective), *(float(part) for part in parts)), np.asarray(derivative)

    def derivative(self, m: ArrayLike) -> np.ndarray:
        """The Euclidean derivative ∂J/∂m, (p,)."""
        return self.value_and_derivative(m)[1]

    def hessian_action(self, m: ArrayLike, direction: ArrayLike) -> np.ndarray:
        """The exact second derivative applied to a direction, (p,): forward mode over reverse mode."""
        return np.asarray(self._hessian_action(m, direction))

    def solution(self, m: ArrayLike) -> np.ndarray:
        """The state u(m)."""
        return np.asarray(self._solution(m))

    def coefficient(self, m: ArrayLike) -> np.ndarray:
        """The physical coefficient of m."""
        return np.asarray(self.parametrization(jnp.asarray(m)))

    def prediction(self, m: ArrayLike) -> np.ndarray:
        """The data that m predicts; the state where the misfit is a plain function."""
        return np.asarray(self._prediction(m))

    def prediction_tangent(self, m: ArrayLike, direction: ArrayLike) -> np.ndarray:
        """The derivative of the prediction along a direction (forward mode)."""
        return np.asarray(self._prediction_tangent(m, direction))

    def prediction_adjoint(self, m: ArrayLike, cotangent: ArrayLike) -> np.ndarray:
        """The adjoint of that derivative applied to a vector of the data's shape (reverse mode), (p,)."""
        return np.asarray(self._prediction_adjoint(m, cotangent))

    def _objective(self, m: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        coefficient = self.parametrization(m)
        misfit = self.misfit(self.state(coefficient), coefficient)
        regularization = sum((term(m) for term in self.regularization_terms), jnp.zeros(()))
        return misfit + regularization, (misfit, regularization)

    def _predict(self, m: jax.Array) -> jax.Array:
        coefficient = self.parametrization(m)
        return observation_of(self.misfit)(self.state(coefficient), coefficient)

    @cached_property
    def _value(self) -> Compiled:
        return Compiled(self._objective)

    @cached_property
    def _value_and_derivative(self) -> Compiled:
        return Compiled(jax.value_and_grad(self._objective, has_aux=True))

    @cached_property
    def _hessian_action(self) -> Compiled:
        derivative = jax.grad(lambda m: self._objective(m)[0])
        return Compiled(lambda m, v: jax.jvp(derivative, (m,), (v,))[1])

    @cached_property
    def _solution(self) -> Compiled:
        return Compiled(lambda m: self.state(self.parametrization(m)))

    @cached_property
    def _prediction(self) -> Compiled:
        return Compiled(self._predict)

    @cached_property
    def _prediction_tangent(self) -> Compiled:
        return Compiled(lambda m, v: jax.jvp(self._predict, (m,), (v,))[1])

    @cached_property
    def _prediction_adjoint(self) -> Compiled:
        return Compiled(lambda m, w: jax.vjp(self._predict, m)[1](w)[0])
