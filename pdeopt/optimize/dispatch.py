"""All minimizers behind one function."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

import numpy as np

from pdeopt.optimize.bounds import BoundsLike, full_bounds
from pdeopt.optimize.inner_product import InnerProduct, euclidean
from pdeopt.optimize.levenberg_marquardt import DENSE, minimize_levenberg_marquardt
from pdeopt.optimize.newton import NewtonSettings, minimize_newton
from pdeopt.optimize.objective import Differentiable, OptimizerError, Preconditioner, hessian_of
from pdeopt.optimize.result import Iterate, Result
from pdeopt.optimize.scipy_methods import METHODS, check_method, minimize_scipy
from pdeopt.optimize.trace import Finished, Goals, Trace

#: What `minimize` takes, ours first.
OPTIMIZERS = ("l-bfgs-b", "newton-cg", "gauss-newton", *(name for name in METHODS if name != "l-bfgs-b"))

#: The least part of J that may be left to gain, where nothing is said.
REMAINING = 1e-5


def minimize(
    objective: Differentiable,
    initial: np.ndarray,
    *,
    optimizer: str = "l-bfgs-b",
    inner_product: InnerProduct | None = None,
    preconditioner: Preconditioner | None = None,
    bounds: BoundsLike = None,
    max_iterations: int = 200,
    gradient_tolerance: float = 1e-4,
    absolute_gradient_tolerance: float = 0.0,
    objective_tolerance: float = 1e-9,
    remaining_tolerance: float | None = None,
    gauss_newton_steps: int = 5,
    max_cg_iterations: int = 500,
    recycled: int = 80,
    accuracy: float = 1e-13,
    callback: Callable[[Iterate], None] | None = None,
) -> Result:
    """Minimize J(m), from ``initial``, within bounds.

    Args:
        objective: a `ReducedFunctional`, or an `Objective` of callables. Where it is not finite, or raises an
            ArithmeticError (as SolveError is), a method steps back; at the initial guess that passes through.
        initial: (p,), projected onto the bounds.
        optimizer: a name of `OPTIMIZERS`:
            "l-bfgs-b", limited-memory BFGS with bounds (Byrd, Lu, Nocedal, Zhu 1995), SciPy's;
            "newton-cg", inexact Newton with exact Hessian products, and bounds: loose systems (Eisenstat–Walker),
            truncation at negative curvature, Armijo's rule along the projection arc (Bertsekas 1982); its first
            steps are Gauss–Newton's where the objective has that;
            "gauss-newton", the same with the Gauss–Newton Hessian throughout; with bounds, and up to 2000 parameters,
            projected Levenberg–Marquardt, which forms that matrix;
            or SciPy's "cg", "bfgs", "tnc", "slsqp", "trust-ncg", "trust-krylov", "trust-constr", "trust-exact",
            "dogleg".
        inner_product: in which gradients are measured and quasi-Newton methods work; Euclidean where None.
        preconditioner: of the Newton systems, about the inverse of the Hessian, scale included. Where None, that of the
            objective (a `NewtonModel` has one), or else the inverse of the inner product's matrix, scaled to the
            Hessian.
        bounds: (lower, upper), numbers or arrays (p,), None where there is none; or a `scipy.optimize.Bounds`. See
            `full_bounds`.
        max_iterations: at most so many; then the status is "stopped".
        gradient_tolerance: converged when the norm of the projected gradient has fallen by this factor.
        absolute_gradient_tolerance: or below this.
        objective_tolerance: or when an iteration changes J by no more than this, relative.
        remaining_tolerance: and, in each of these cases, a quadratic model predicts that J can fall by no more than
            this, relative (None: a tenth of gradient_tolerance, at least 1e-5). The model is that of the Newton step at
            the end, or for methods without Hessian the inverse BFGS formula, an estimate. A small gradient alone does
            not say that the minimum is near, as where J is flat in some directions.
        gauss_newton_steps: of newton-cg, before it uses the full Hessian.
        max_cg_iterations: in one Newton system. recycled: products with a Hessian kept to precondition the next one.
        accuracy: relative accuracy of J (of its solver): decreases below it are not told from rounding.
        callback: called with every `Iterate`, first with the initial guess. StopIteration raised in it ends the
            minimization with the status "stopped"; any other exception passes through.

    Raises:
        OptimizerError: for a name that is unknown, bounds that cross or that the method or the inner product cannot
            keep, an objective without the Hessian that the method needs, and max_cg_iterations below 1.
    """
    if optimizer not in OPTIMIZERS:
        raise OptimizerError(
            f"unknown optimizer {optimizer!r}; expected one of {', '.join(OPTIMIZERS)}{_meant(optimizer)}"
        )
    if max_cg_iterations < 1:
        raise OptimizerError(f"max_cg_iterations is {max_cg_iterations}; a Newton system needs at least 1")
    start = np.array(initial, float)
    limits = full_bounds(bounds, len(start))
    product = euclidean(len(start)) if inner_product is None else inner_product
    _check_product(product, limits)
    goals = Goals(
        gradient_tolerance,
        absolute_gradient_tolerance,
        objective_tolerance,
        max(REMAINING, 0.1 * gradient_tolerance) if remaining_tolerance is None else remaining_tolerance,
        max_iterations,
        accuracy,
    )
    trace = Trace(objective, product, limits, goals, callback)
    if optimizer in METHODS:
        check_method(optimizer, objective, len(start), _bounded(limits))
        run = partial(minimize_scipy, trace, optimizer)
    elif optimizer == "gauss-newton" and _bounded(limits) and len(start) <= DENSE:
        run = partial(minimize_levenberg_marquardt, trace, hessian_of(objective, "gauss_newton", optimizer))
    else:
        settings = NewtonSettings(
            hessian=hessian_of(objective, "hessian" if optimizer == "newton-cg" else "gauss_newton", optimizer),
            first=getattr(objective, "gauss_newton", None),
            first_iterations=gauss_newton_steps,
            preconditioner=preconditioner or getattr(objective, "preconditioner", None),
            max_cg_iterations=max_cg_iterations,
            memory=recycled,
        )
        run = partial(minimize_newton, trace, settings)
    try:
        trace.start(np.clip(start, *limits))
        run()
    except Finished as end:
        return trace.result(end)
    except ArithmeticError as error:  # of a Hessian or a preconditioner; what the objective raises is stepped back from
        if not trace.started:
            raise
        return trace.result(Finished("failed", str(error)))
    raise AssertionError("a method returned without a reason")


def _meant(name: object) -> str:
    """The nearest name, as a question; letters count, and not how they are joined."""
    plain = {re.sub(r"\W|_", "", known): known for known in OPTIMIZERS}
    near = get_close_matches(re.sub(r"\W|_", "", str(name).lower()), plain, 1)
    return f"; did you mean {plain[near[0]]}?" if near else ""


def _check_product(product: InnerProduct, limits: tuple[np.ndarray, np.ndarray]) -> None:
    """Bounds on m are bounds on z only where S is diagonal; elsewhere a projected gradient means nothing."""
    if product.weights is None and _bounded(limits):
        raise OptimizerError(
            f"the inner product {product.name!r} mixes entries, so that bounds cannot be kept in it; use l2-lumped"
        )


def _bounded(limits: tuple[np.ndarray, np.ndarray]) -> bool:
    return any(np.isfinite(limit).any() for limit in limits)
