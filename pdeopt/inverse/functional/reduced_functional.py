"""The reduced functional: the objective as a function of the parameter alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.typing import ArrayLike

from pdeopt.inverse.compiled import Compiled, real, refuse_complex
from pdeopt.inverse.constraint import KINDS, Constraint, as_constraints, constraint_rows
from pdeopt.inverse.data.misfit import AnyMisfit, FunctionMisfit, Misfit, as_misfit
from pdeopt.inverse.errors import InputError, refuse_incomplete
from pdeopt.inverse.functional.programs import Programs
from pdeopt.inverse.functional.tracing import FunctionalTrace
from pdeopt.inverse.regularization import OnParameters, Regularization, Term, as_term, located, terms_of
from pdeopt.inverse.unknowns.parameters import Parameters
from pdeopt.inverse.unknowns.parametrization import Identity, Parametrization
from pdeopt.optimize.constraints.values import ConstraintRows, ConstraintValues
from pdeopt.optimize.objective import Differentiable, Evaluation
from pdeopt.pde import FunctionState, StateEquation
from pdeopt.sparse import Solver

#: A linear and symmetric map of a vector (p,) to (p,), or of a block (p, k) to (p, k).
Action = Callable[[np.ndarray], np.ndarray]


class Terms(NamedTuple):
    """The objective and its parts.

    Attributes:
        objective: The objective J, the sum of the two others.
        misfit: The misfit.
        regularization: The regularization, with its strength.
    """

    objective: float
    misfit: float
    regularization: float


class StateAndAdjoint(NamedTuple):
    """The solutions of the state equation and of its adjoint.

    Attributes:
        state: The state u, (n,) or (n, r).
        prediction: The predicted data; the state where the misfit is a plain function.
        adjoint: The adjoint state λ of Aᵀλ = ∂J/∂u, of the state's shape and zero where u is prescribed: the derivative
            of J with respect to a source s that is added to the state equation, A u = b + s or F(u, κ) = s. Of a
            complex state, ∂J/∂u = ∂J/∂Re u − i ∂J/∂Im u and dJ = Re(λᵀ ds), nothing conjugated (JAX's convention). None
            where the state is a plain function of the coefficient.
    """

    state: np.ndarray
    prediction: np.ndarray
    adjoint: np.ndarray | None


@dataclass(frozen=True, eq=False, init=False)
class ReducedFunctional(Differentiable):
    """A functional J(m) = misfit(u(m)) + β Σ regularization(m) with exact derivatives.

    They are of first and second order. It is immutable: to change a part, make another with `dataclasses.replace`,
    `with_strength` or `with_solver`. All methods take a real m of shape (p,) and compile on first use; they raise
    SolveError where the state equation cannot be solved.

    Plain functions are taken as well, each as the object of which it is a part: a function κ ↦ u as a
    `pdeopt.pde.FunctionState`, one of (u, coefficient) as a `FunctionMisfit`, one of m as a `FunctionTerm`.

    Attributes:
        state: The map from the physical coefficient to the state u, such as a `LinearStateEquation`.
        misfit: The misfit of u and the data.
        regularization: One term or several.
        parametrization: The map from m to the physical coefficient.
        strength: The factor β of the whole regularization.
        constraints: The constraints that the state and the coefficient must satisfy.

    Raises:
        InputError: A part is not of its kind, or the strength is negative or not finite.

    Example:
        The state is κ itself, m = log κ, and the data are 1 and 2 with σ = 0.1:

        >>> from pdeopt.inverse import FullField, L2Misfit, Log
        >>> J = ReducedFunctional(lambda kappa: kappa, L2Misfit.of(FullField(), [1.0, 2.0], 0.1), parametrization=Log())
        >>> value, derivative = J.value_and_derivative(np.zeros(2))
        >>> round(value, 6), derivative.round(6)
        (50.0, array([   0., -100.]))
    """

    state: StateEquation
    misfit: Misfit
    regularization: Term | tuple[Term, ...]
    parametrization: Parametrization
    strength: float
    constraints: tuple[Constraint, ...]

    def __init__(
        self,
        state: StateEquation | Callable[[Any], jax.Array],
        misfit: AnyMisfit,
        regularization: Regularization | Sequence[Regularization] = (),
        parametrization: Parametrization | None = None,
        strength: float = 1.0,
        constraints: Constraint | Sequence[Constraint] = (),
    ) -> None:
        """Take the parts, as the attributes say.

        Args:
            state: The state equation, or a function κ ↦ u.
            misfit: The misfit, a function of (u, coefficient), or several of these by name.
            regularization: The terms, or functions of m.
            parametrization: The map from m to the coefficient; the identity where None. With `Parameters`, terms say
                of which they are, as ``h1(V, 1.0).on("sigma")``, and functions of m take a dict of their parts.
            strength: The factor β of the whole regularization.
            constraints: The constraints.
        """
        parametrization = Identity() if parametrization is None else parametrization
        _check_callable("state", state, "a LinearStateEquation, or a function coefficient ↦ u")
        if not isinstance(misfit, Mapping):
            _check_callable("misfit", misfit, "a misfit as L2Misfit.of(...), or a function of (u, coefficient)")
        _check_callable("parametrization", parametrization, "a parametrization, as Log() or Bounded(0.1, 10)")
        if not callable(regularization) and (
            isinstance(regularization, str) or not isinstance(regularization, Sequence)
        ):
            raise InputError(
                f"the regularization is {regularization!r}; expected a term as h1(V, 1.0), or several of them"
            )
        for term in (regularization,) if callable(regularization) else regularization:
            _check_callable("regularization", term, "a term as h1(V, 1.0), or a function of m")
        if isinstance(strength, str) or not (np.isfinite(strength) and strength >= 0):
            raise InputError(f"the strength of the regularization is {strength!r}; expected a number ≥ 0")
        terms = _located(regularization, parametrization)
        given = {
            "state": _as_state(state),
            "misfit": as_misfit(misfit),
            "regularization": terms,
            "parametrization": parametrization,
            "strength": strength,
            "constraints": as_constraints(constraints),
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def with_strength(self, strength: float) -> ReducedFunctional:
        """Return the same functional with another β; nothing is compiled again."""
        return self._sharing(self._programs, strength=strength)

    def with_regularization(self, regularization: Regularization | Sequence[Regularization]) -> ReducedFunctional:
        """Return the same functional with another regularization; state and misfit are not traced again."""
        given = _located(regularization, self.parametrization)
        terms = terms_of(given)
        return self._sharing(Programs(self._programs.trace, terms), regularization=terms)

    def with_constraints(self, constraints: Constraint | Sequence[Constraint]) -> ReducedFunctional:
        """Return the same functional with other constraints; it is itself where they are those that it has."""
        found = as_constraints(constraints)
        return self if found == self.constraints else replace(self, constraints=found)

    def with_solver(self, solver: str | Solver) -> ReducedFunctional:
        """Return the same functional, whose state equation is solved by another linear solver.

        Args:
            solver: The solver or its name, as in `pdeopt.sparse.linear_solve`.

        Raises:
            SolveError: The solver is unknown or not installed, or the state equation lets nobody choose it.
        """
        return replace(self, state=self.state.with_solver(solver))

    def with_memory(self, limit: float) -> ReducedFunctional:
        """Return the same functional, whose state in time is kept for derivatives in at most so much memory.

        Args:
            limit: The memory, in bytes.

        Raises:
            SolveError: The state equation is not one in time.
        """
        return replace(self, state=self.state.with_memory(limit))

    def __repr__(self) -> str:
        terms = " + ".join(term.name for term in self.regularization_terms) or "no regularization"
        map_ = "" if isinstance(self.parametrization, Identity) else f", {self.parametrization!r:.60}"
        return f"ReducedFunctional({_name(self.misfit)} of {_name(self.state)}, {self.strength:g} × ({terms}){map_})"

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the compiled programs, for a copy, which compiles anew at its first use.

        The copy then reads values from outside.

        Raises:
            InputError: The copy would read other values than this one has read: the two would differ.
        """
        if "_programs" in self.__dict__ and not self._programs.trace.is_current():
            raise InputError(
                "this functional keeps values of global variables, closures or arrays that have changed since its first"
                " use, and a copy would take those of now; make another one with dataclasses.replace(J), and copy that"
            )
        return {name: value for name, value in self.__dict__.items() if name != "_programs"}

    @property
    def regularization_terms(self) -> tuple[Term, ...]:
        """The single terms of the regularization, those of sums among them."""
        return terms_of(self.regularization)

    @property
    def l1_weights(self) -> np.ndarray | None:
        """The weights β w (p,) of the terms ``Σ_i w_i |m_i|``; None where there are none."""
        found = [term.l1_weights for term in self.regularization_terms if term.l1_weights is not None]
        return self.strength * np.sum(found, axis=0) if found else None

    @property
    def smooth_part(self) -> ReducedFunctional:
        """The functional without its L1 terms, which is itself where there are none."""
        if self.l1_weights is None:
            return self
        return self.with_regularization([term for term in self.regularization_terms if term.l1_weights is None])

    def objective(self, m: ArrayLike) -> jax.Array:
        """Return J(m) as a JAX number, on which `jax.grad`, `jax.jit`, `jax.vmap` and `jax.hessian` work.

        It is for programs of JAX that J is a part of. The other methods take numbers, are compiled, and raise
        SolveError; what JAX calls raises its own errors, which ``with pdeopt.sparse.solve_errors():`` makes SolveErrors
        of.

        Args:
            m: The parameter, real, (p,).

        Raises:
            InputError: The parameter m is complex, or of another shape.
        """
        given = jnp.asarray(m)
        refuse_complex(given)
        return self._programs.objective(jnp.asarray(self.strength), given.astype(float))[0]

    def terms(self, m: ArrayLike) -> Terms:
        """Return the objective, the misfit and the regularization at m."""
        objective, parts = self._programs.value(self.strength, m)
        return Terms(float(objective), *(float(part) for part in parts))

    def __call__(self, m: ArrayLike) -> float:
        """Return J(m)."""
        return self.terms(m).objective

    def value_and_derivative(self, m: ArrayLike) -> tuple[float, np.ndarray]:
        """Return J and its Euclidean derivative ∂J/∂m, (p,), as minimizers take them.

        They cost one factorization and two solves.
        """
        terms, derivative = self.terms_and_derivative(m)
        return terms.objective, derivative

    def terms_and_derivative(self, m: ArrayLike) -> tuple[Terms, np.ndarray]:
        """Return the terms of J and its Euclidean derivative ∂J/∂m, (p,).

        They cost one factorization and two solves.
        """
        (objective, parts), derivative = self._programs.value_and_derivative(self.strength, m)
        return Terms(float(objective), *(float(part) for part in parts)), np.asarray(derivative)

    def evaluate(self, m: ArrayLike) -> Evaluation:
        """Return J and its derivative, with the `Terms` of J and the constraints, as `minimize` takes them.

        With k constraints they cost one factorization, the solve of the state, and one block of 1 + k adjoint solves.
        """
        if not self.constraints:
            terms, derivative = self.terms_and_derivative(m)
            return Evaluation(terms.objective, derivative, terms)
        (numbers, parts), derivatives = self._programs.constrained_and_derivatives(self.strength, m)
        values, rows = np.asarray(numbers), np.asarray(derivatives)
        terms = Terms(float(values[0]), *(float(part) for part in parts))
        constraints = ConstraintValues(self.constraint_rows(np.size(m)), values[1:], rows[1:])
        return Evaluation(terms.objective, rows[0], terms, constraints)

    @property
    def constraint_kinds(self) -> frozenset[str]:
        """The kinds of the constraints, of "inequalities" and "equalities"."""
        return frozenset(KINDS[one.kind] for one in self.constraints)

    def constraint_rows(self, size: int) -> ConstraintRows:
        """Return what does not depend on m of all numbers that the constraints are.

        Args:
            size: The number of parameters p.
        """
        sizes = self._programs.trace.parts(size, ()).constraint_sizes
        return constraint_rows(self.constraints, sizes)

    def constraint_values(self, m: ArrayLike) -> np.ndarray:
        """Return all constraints at m, one after the other, (k,)."""
        return np.asarray(self._programs.constraints(m)) if self.constraints else np.zeros(0)

    def constraint_hessian(self, m: ArrayLike, weights: ArrayLike) -> Action:
        """Return the map of v to ``Σ w_i ∂²g_i/∂m² v``, (p,), of the constraints g at m.

        Args:
            m: The parameter, (p,).
            weights: The weight of each constraint, (k,).
        """
        linear = self._programs.constraint_hessian(m, weights)
        return lambda v: self._programs.apply(linear, v)

    def derivative(self, m: ArrayLike) -> np.ndarray:
        """Return the Euclidean derivative ∂J/∂m, (p,)."""
        return self.value_and_derivative(m)[1]

    def hessian(self, m: ArrayLike) -> Action:
        """Return the map v ↦ H v (p,) with the exact second derivative H at m, forward over reverse mode.

        J is linearized here, once; each product then costs two solves with the factorization at m, which is kept.
        """
        misfit, quadratic = self.misfit_hessian(m), self._operator(m, lambda term: term.quadratic)
        curved = self._regularization_hessian(self._programs.curved_terms, self._programs.curved_hessian, m)
        return lambda v: misfit(v) + curved(v) + (0.0 if quadratic is None else quadratic @ v)

    def gauss_newton(self, m: ArrayLike) -> Action:
        """Return the map v ↦ Jᵀ φ″ J v + β Σ R v, (p,), the Gauss–Newton model of the Hessian at m.

        J is the Jacobian of the prediction, φ″ the misfit's second derivative, R each term's operator, which for total
        variation is the lagged diffusivity. Of complex data the first part is Re(Jᴴ φ″ J v). The model is positive
        semidefinite where misfit and regularization are convex, and is the Hessian for a quadratic misfit and a state
        that is linear in m. (Schraudolph 2002, section 3, for general φ.) It costs as much as `hessian`.
        """
        misfit, plain = self.misfit_gauss_newton(m), self.plain_regularization_hessian(m)
        operator = self.regularization_operator(m)
        return lambda v: misfit(v) + plain(v) + (0.0 if operator is None else operator @ v)

    def hessian_action(self, m: ArrayLike, direction: ArrayLike) -> np.ndarray:
        """Return one product H(m) v, (p,), with the Hessian; for several at the same m, `hessian` is cheaper."""
        return self.hessian(m)(np.asarray(direction))

    def misfit_hessian(self, m: ArrayLike) -> Action:
        """Return the map of v to the second derivative of the misfit at m times v, (p,)."""
        linear = self._programs.misfit_hessian(m)
        return lambda v: self._programs.apply(linear, v)

    def misfit_gauss_newton(self, m: ArrayLike) -> Action:
        """Return the map v ↦ Jᵀ φ″ J v, (p,), the Gauss–Newton model of the misfit at m."""
        linear = self._programs.jacobian_and_curvature(m)
        return lambda v: self._programs.apply_gauss_newton(linear, v)

    def plain_regularization_hessian(self, m: ArrayLike) -> Action:
        """Return the map v ↦ β H v, (p,), H the Hessian at m of the terms that state no operator."""
        return self._regularization_hessian(self._programs.plain_terms, self._programs.plain_hessian, m)

    def regularization_operator(self, m: ArrayLike) -> sp.csr_array | None:
        """Return the matrix β Σ R(m), (p, p), of the terms that state an operator; None where none does."""
        return self._operator(m, lambda term: True)

    def solution(self, m: ArrayLike) -> np.ndarray:
        """Return the state u(m), (n,) or (n, r)."""
        return np.asarray(self._programs.solution(m))

    def solved(self, m: ArrayLike) -> StateAndAdjoint:
        """Return the state, the prediction and the adjoint state at m, in one program."""
        state, prediction, adjoint = self._programs.solved(m)
        return StateAndAdjoint(
            np.asarray(state), np.asarray(prediction), None if adjoint is None else np.asarray(adjoint)
        )

    def coefficient(self, m: ArrayLike) -> Any:
        """Return the physical coefficient of m: the array, or the pytree, that the parametrization makes."""
        m = jnp.asarray(real(m))
        found = self._programs.parts(m).parametrization(m)
        return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf, found)

    def prediction(self, m: ArrayLike) -> np.ndarray:
        """Return the data that m predicts; the state where the misfit is a plain function."""
        return np.asarray(self._programs.prediction(m))

    def prediction_tangent(self, m: ArrayLike, direction: ArrayLike) -> np.ndarray:
        """Return the derivative of the prediction at m along a direction (p,), by forward mode."""
        return np.asarray(self._programs.prediction_tangent(m, direction))

    def prediction_adjoint(self, m: ArrayLike, cotangent: ArrayLike) -> np.ndarray:
        """Return the adjoint of the prediction's derivative, applied to a cotangent, (p,), by reverse mode.

        It is Jᵀ w, and Re(Jᴴ w) of complex data: the adjoint for the real inner product Re(wᴴ d) of data.

        Args:
            m: The parameter, (p,).
            cotangent: The cotangent w, of the data's shape; complex for complex data only.
        """
        return np.asarray(self._programs.prediction_adjoint(m, cotangent))

    def prediction_type(self, m: ArrayLike) -> jax.ShapeDtypeStruct:
        """Return shape and type of the predicted data, without computing them."""
        found: jax.ShapeDtypeStruct = jax.eval_shape(self._programs.predict, real(m))
        return found

    def tangent_and_adjoint(
        self, m: ArrayLike, direction: ArrayLike, cotangent: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `prediction_tangent` and `prediction_adjoint` by one program.

        It is cheaper where each is needed once.
        """
        tangent, adjoint = self._programs.tangent_and_adjoint(m, direction, cotangent)
        return np.asarray(tangent), np.asarray(adjoint)

    def _operator(self, m: ArrayLike, wanted: Callable[[Term], bool]) -> sp.csr_array | None:
        operators = [term.operator for term in self.regularization_terms if wanted(term)]
        found = [operator(np.asarray(m)) for operator in operators if operator is not None]
        return self.strength * sp.csr_array(sum(found[1:], found[0])) if found else None

    def _regularization_hessian(self, terms: Sequence[Term], program: Compiled, m: ArrayLike) -> Action:
        if not terms:
            return np.zeros_like
        linear = program(m)
        return lambda v: self.strength * self._programs.apply(linear, v)

    def _sharing(self, programs: Programs, **changes: Any) -> ReducedFunctional:
        other = replace(self, **changes)
        other.__dict__["_programs"] = programs
        return other

    @cached_property
    def _programs(self) -> Programs:
        trace = FunctionalTrace(self.state, self.misfit, self.parametrization, self.constraints)
        return Programs(trace, self.regularization_terms)


def _located(
    regularization: Regularization | Sequence[Regularization], parametrization: Parametrization
) -> Term | tuple[Term, ...]:
    """Return one term or several, of the flat m where there are several parameters by name."""
    given = as_term(regularization) if callable(regularization) else tuple(map(as_term, regularization))
    if not isinstance(parametrization, Parameters):
        for term in terms_of(given):
            if isinstance(term, OnParameters):
                raise InputError(
                    f"the regularization {term.name} is one of parameters by name, and the functional has no "
                    "parameters by name; give it Parameters({...}) as its parametrization"
                )
        return given
    slices = parametrization.slices
    return located(given, slices) if isinstance(given, Term) else tuple(located(term, slices) for term in given)


def _check_callable(name: str, given: Any, expected: str) -> None:
    """Refuse a part that cannot be called, or that is a class in place of an object."""
    if isinstance(given, type):
        raise InputError(f"the {name} is the class {given.__name__}; expected an object: {expected}")
    if not callable(given):
        raise InputError(f"the {name} is {given!r}; expected {expected}")


def _as_state(given: StateEquation | Callable[[Any], jax.Array]) -> StateEquation:
    """Return what is given as state as a `StateEquation`; one that is complete is returned itself.

    Raises:
        InputError: The object states a part of what a state equation does, or takes no source.
    """
    if not isinstance(given, StateEquation):
        refuse_incomplete(given, StateEquation, "pdeopt.pde.StateEquation")
        return FunctionState(given)
    if "source" not in signature(given).parameters:
        raise InputError(
            f"the state equation {type(given).__name__} takes no source; let it be called by (coefficient, *, "
            "source=None), and add the source to the load, A u = b + source"
        )
    return given


def _name(part: Any) -> str:
    """Return the name of a part, for `repr`."""
    if isinstance(part, (FunctionState, FunctionMisfit)):
        part = part.function
    return str(getattr(part, "__name__", type(part).__name__))
