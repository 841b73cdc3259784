"""All optimizers behind one function."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdeopt.optimize.bounds import BoundsLike, full_bounds
from pdeopt.optimize.constrained.violation_search import is_least, violation_in_words
from pdeopt.optimize.inner_product import InnerProduct, euclidean
from pdeopt.optimize.objective import Differentiable, Objective, OptimizerError, Preconditioner, hessians_of
from pdeopt.optimize.optimizer import Iterate, Optimizer, Result
from pdeopt.optimize.registry import check_optimizer, optimizer_named, optimizers
from pdeopt.optimize.trace import Finished, Goals, Trace

#: The least part of J that a minimization may leave to gain, where the caller says nothing.
REMAINING_TOLERANCE = 1e-5


def minimize(
    objective: Differentiable | Callable[[np.ndarray], tuple[float, np.ndarray]],
    initial: np.ndarray,
    *,
    optimizer: str | Optimizer = "l-bfgs-b",
    inner_product: InnerProduct | None = None,
    preconditioner: Preconditioner | None = None,
    bounds: BoundsLike = None,
    max_iterations: int = 200,
    gradient_tolerance: float = 1e-4,
    absolute_gradient_tolerance: float = 0.0,
    objective_tolerance: float = 1e-9,
    remaining_tolerance: float | None = None,
    accuracy: float = 1e-13,
    callback: Callable[[Iterate], None] | None = None,
) -> Result:
    """Minimize J(m), from ``initial``, within bounds and subject to the objective's constraints.

    It has converged where one of the three criteria ``gradient_tolerance``, ``absolute_gradient_tolerance`` and
    ``objective_tolerance`` is met, ``remaining_tolerance`` as well, and no constraint is violated by more than its
    tolerance. With constraints, the gradient is that of the Lagrangian J + λᵀg.

    Args:
        objective: A `ReducedFunctional`, an `Objective` of functions, or one function m ↦ (J, ∂J/∂m). Where it is not
            finite, or raises an ArithmeticError (as SolveError is), a method steps back; at the initial guess that
            passes through.
        initial: The initial guess (p,), which is projected onto the bounds.
        optimizer: A name in `optimizers`, or an optimizer with options, as ``NewtonCG(max_cg_iterations=50)``:
            "l-bfgs-b", limited-memory BFGS with bounds (Byrd, Lu, Nocedal, Zhu 1995), SciPy's;
            "newton-cg", see `NewtonCG`;
            "gauss-newton", see `GaussNewton`; "levenberg-marquardt", see `LevenbergMarquardt`;
            "active-set", see `ActiveSet`;
            SciPy's "cg", "bfgs", "tnc", "slsqp", "trust-ncg", "trust-krylov", "trust-constr", "trust-exact", "dogleg";
            "augmented-lagrangian", see `AugmentedLagrangian`; "mma" and "ccsa" of NLopt, see `NLoptMethod`; "ipopt",
            see `Ipopt`; and what was given to `register`.
        inner_product: The inner product in which gradients are measured and quasi-Newton methods work; Euclidean where
            None.
        preconditioner: The preconditioner of the Newton systems, about the inverse of the Hessian, scale included.
            Where None, it is that of the objective (a `NewtonModel` has one), or else the inverse of the inner
            product's matrix, scaled to the Hessian.
        bounds: The pair (lower, upper) of numbers or arrays (p,), None where there is none; or a
            `scipy.optimize.Bounds`. See `full_bounds`.
        max_iterations: The largest number of iterations; after these the status is "stopped".
        gradient_tolerance: The factor by which the norm of the projected gradient must fall.
        absolute_gradient_tolerance: The norm of the projected gradient below which it is small enough.
        objective_tolerance: The change of J in an iteration, relative to J, that is small enough.
        remaining_tolerance: The decrease of J, relative to J, that a quadratic model may still predict (None: a tenth
            of gradient_tolerance, at least 1e-5). The model is that of the Newton step at the end, or for methods
            without Hessian the inverse BFGS formula, an estimate. A small gradient alone does not say that the minimum
            is near, as where J is flat in some directions.
        accuracy: The relative accuracy of J (of its solver); decreases below it are not told from rounding.
        callback: A function that is called with every `Iterate`, first with the initial guess. StopIteration raised in
            it ends the minimization with the status "stopped"; any other exception passes through.

    Returns:
        The last iterate, and why the minimization ended there.

    Raises:
        OptimizerError: The name of the optimizer is unknown, the bounds cross or cannot be kept by the method or the
            inner product, the objective has not the Hessian that the method needs or an L1 term that it cannot treat,
            the method keeps no constraints of their kind or needs another initial guess, its library is not installed,
            there are too many parameters for the method, or the initial guess is no array.
    """
    chosen = optimizer_named(optimizer) if isinstance(optimizer, str) else optimizer
    check_optimizer(chosen)
    if not isinstance(objective, Differentiable):
        objective = _of_function(objective)
    try:
        start = np.array(initial, float)
    except (TypeError, ValueError):
        raise OptimizerError(
            f"the initial guess is a {type(initial).__name__}; expected numbers in a row, (p,)"
        ) from None
    limits = full_bounds(bounds, len(start))
    product = euclidean(len(start)) if inner_product is None else inner_product
    goals = Goals(
        gradient_tolerance,
        absolute_gradient_tolerance,
        objective_tolerance,
        max(REMAINING_TOLERANCE, 0.1 * gradient_tolerance) if remaining_tolerance is None else remaining_tolerance,
        max_iterations,
        accuracy,
    )
    trace = Trace(objective, product, limits, goals, callback, preconditioner)
    _check_product(trace)
    _check_suits(chosen, trace)
    begin = np.clip(start, *limits)
    if chosen.starts_feasible and (found := trace.evaluation(begin).constraints) is not None and not found.kept:
        _check_suits(chosen, trace, found.worst())
    try:
        trace.start(begin)
        chosen.run(trace)
        words = f"{chosen.name} finds no step that lowers the objective"
        return trace.result(trace.ended(f"{words}, and a quadratic model promises none", words))
    except Finished as end:
        if not trace.last.feasible and (end.status == "failed" or is_least(trace)):
            end = Finished("failed", f"{end.message}; {violation_in_words(trace)}")
        return trace.result(end)
    except ArithmeticError as error:  # from a Hessian or a preconditioner; methods step back from one of the objective
        if not trace.started:
            raise
        return trace.result(Finished("failed", str(error)))


@dataclass(frozen=True)
class _Requirements:
    """A task that a minimization sets an optimizer.

    Attributes:
        size: The number of parameters.
        constraints: The kinds of constraints that the parameters have.
        kinks: The kinds of terms with kinks that the objective has.
        hessians: The names of the second derivatives that the objective has.
        violated: The constraint that the initial guess violates most, in words; "" where it keeps all.
    """

    size: int
    constraints: frozenset[str]
    kinks: frozenset[str]
    hessians: frozenset[str]
    violated: str = ""

    def refused_by(self, optimizer: Optimizer) -> str:
        """Return why an optimizer cannot do the task, in words; "" where it can."""
        for name in sorted(optimizer.needs - self.hessians):
            return f"{optimizer.name} needs {name}(m), which returns v ↦ Hv, and the objective has none"
        for name in sorted(self.constraints - optimizer.keeps):
            owner = "parameter" if name == "bounds" else "problem"
            return f"{optimizer.name} keeps no {name}, and the {owner} has some"
        for name in sorted(self.kinks - optimizer.treats):
            return f"{optimizer.name} treats no {name} term, and the objective has one"
        if optimizer.max_parameters is not None and self.size > optimizer.max_parameters:
            return f"{optimizer.name} takes at most {optimizer.max_parameters} parameters, and there are {self.size}"
        if optimizer.requires and importlib.util.find_spec(optimizer.requires) is None:
            return f"{optimizer.name} needs a package that is not installed: pip install {optimizer.requires}"
        if optimizer.starts_feasible and self.violated:
            return f"{optimizer.name} starts where all constraints are kept, and at the initial guess {self.violated}"
        return ""


def _check_suits(optimizer: Optimizer, trace: Trace, violated: str = "") -> None:
    """Check that an optimizer can do a minimization.

    Args:
        optimizer: The optimizer.
        trace: The trace, not yet started.
        violated: The constraint that the initial guess violates most, in words; "" where it keeps all, or is not known.

    Raises:
        OptimizerError: It cannot; the message names the optimizers that can.
    """
    constraints = trace.objective.constraint_kinds | (frozenset({"bounds"}) if trace.bounded else frozenset())
    kinks = frozenset() if trace.l1_weights is None else frozenset({"l1"})
    task = _Requirements(len(trace.lower), constraints, kinks, frozenset(hessians_of(trace.objective)), violated)
    refusal = task.refused_by(optimizer)
    if refusal:
        able = [name for name, other in optimizers().items() if not task.refused_by(other)]
        raise OptimizerError(f"{refusal}; use one of {', '.join(able)}")


def _check_product(trace: Trace) -> None:
    """Check that bounds can be kept, and an L1 term be treated, in the inner product.

    Bounds and kinks of entries of m are those of entries of z only where S is diagonal; elsewhere a projected gradient
    means nothing.

    Raises:
        OptimizerError: There are bounds or an L1 term, and the inner product is not diagonal; or the weights of the L1
            term are not one number for each entry, at least 0.
    """
    weights, size = trace.l1_weights, len(trace.lower)
    if weights is not None and not (np.shape(weights) == (size,) and (weights >= 0).all() and (weights < np.inf).all()):
        raise OptimizerError(
            f"the weights of an L1 term have shape {np.shape(weights)}, from {np.min(weights)} to {np.max(weights)}; "
            f"expected ({size},) finite numbers of at least 0"
        )
    if trace.product.weights is None and (trace.bounded or weights is not None):
        task = "keep bounds" if trace.bounded else "treat an L1 term"
        raise OptimizerError(
            f"the inner product {trace.product.name!r} mixes entries, so that no optimizer can {task} in it; use "
            "l2-lumped, euclidean or another that is Diagonal"
        )


def _of_function(function: object) -> Objective:
    if not callable(function):
        raise OptimizerError(
            f"the objective is a {type(function).__name__}; expected a function m ↦ (J, derivative), an Objective of "
            "functions, or an object of a subclass of pdeopt.optimize.Differentiable"
        )
    return Objective(function)
