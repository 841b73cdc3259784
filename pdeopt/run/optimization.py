"""How a problem is minimized: inner product, optimizer, continuation, and the rule for the regularization strength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdeopt.inverse import InputError, NewtonModel, Problem, ReducedFunctional, continuation, inner_product_named
from pdeopt.optimize import InnerProduct, Result, full_bounds, minimize
from pdeopt.optimize.bounds import projected
from pdeopt.optimize.strength import Choice, Solution, cooling, curvature_ratio, discrepancy, lcurve
from pdeopt.run.diagnosis import Place, explained
from pdeopt.run.recorder import Recorder
from pdeopt.sparse import resolve_solver

#: Rules that aim at the misfit of the noise.
NEED_NOISE = ("discrepancy", "cooling")
#: Iterations on a level of cooling, and of a stage of continuation: of Newton's methods, and of the others.
LOOSE_ITERATIONS = {True: 3, False: 15}
#: At most, for a point of the L-curve; its corner is then minimized to the end.
CURVE_ITERATIONS = 50
#: A stage of continuation is left when the gradient norm has fallen by this factor.
STAGE_TOLERANCE = 1e-2
#: The gradient norm falls by this factor at every strength that a rule tries.
WARM_TOLERANCE = 0.1
#: Cooling starts at so many times the strength at which data and regularization pull alike, or else at FALLBACK.
ABOVE, FALLBACK = 10.0, 1e3


@dataclass(frozen=True)
class Settings:
    """What the command line says of the minimization, the problem's own choices filled in.

    Attributes:
        optimizer, inner_product: names. gradient_tolerance, absolute_gradient_tolerance: see `minimize`.
        max_iterations: of every minimization.
        regularization_strength: a factor of the problem's regularization, or the rule that chooses it.
        discrepancy_factor: τ; rules that know the noise aim at τ times the misfit that it alone gives.
    """

    optimizer: str
    inner_product: str
    gradient_tolerance: float
    absolute_gradient_tolerance: float
    max_iterations: int
    regularization_strength: float | str = 1.0
    discrepancy_factor: float = 1.0

    @property
    def loose_iterations(self) -> int:
        return LOOSE_ITERATIONS[self.optimizer in ("newton-cg", "gauss-newton")]


@dataclass(frozen=True)
class Ending:
    """How it ended: "converged", "stopped", "failed" or "interrupted", why in words, and what a rule chose."""

    status: str
    message: str
    choice: Choice | None = None


@dataclass
class Minimization:
    """Minimizes the functionals of one problem, one after the other, and records every iterate.

    All aim at the same gradient norm: that of the first one's initial guess, times the tolerance. A warm start then
    saves iterations, and does not ask for more accuracy.
    """

    problem: Problem
    settings: Settings
    product: InnerProduct
    recorder: Recorder
    _goal: float | None = field(default=None, init=False)

    def __call__(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """``options`` replace those of `minimize`."""
        model = NewtonModel(functional, self.problem.parameter)
        self.recorder.model = model
        result = minimize(
            self.recorder,
            start,
            **{
                "optimizer": self.settings.optimizer,
                "inner_product": self.product,
                "preconditioner": model.preconditioner,
                "bounds": self.problem.bounds,
                "max_iterations": self.settings.max_iterations,
                "accuracy": _accuracy(functional),
                "callback": self.recorder.accept,
                **self._tolerances(),
                **options,
            },
        )
        if self._goal is None:
            first = self.recorder.rows[0].gradient_norm
            self._goal = max(self.settings.absolute_gradient_tolerance, self.settings.gradient_tolerance * first)
        return result

    def warm(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """From the minimum of a functional nearby: the gradient must fall, however small it is at the start.

        Otherwise a start that meets the goal would be taken for the minimum, at one weak strength after the other.
        """
        self.recorder.model = NewtonModel(functional, self.problem.parameter)
        limits = full_bounds(self.problem.bounds, len(start))
        derivative = projected(start, self.recorder.value_and_derivative(start)[1], *limits)
        at_start = float(np.linalg.norm(self.product.pullback(derivative)))
        goal = min(self._goal or np.inf, WARM_TOLERANCE * at_start)
        return self(functional, start, absolute_gradient_tolerance=goal, **options)

    def in_stages(self, functional: ReducedFunctional, start: np.ndarray, **options: Any) -> Result:
        """With the continuation that its terms ask for; ``options`` for the last stage."""
        *stages, last = continuation(functional)
        for stage in stages:
            loose = {"gradient_tolerance": STAGE_TOLERANCE, "max_iterations": 3 * self.settings.loose_iterations}
            start = self(stage, start, **loose).m
        return self(last, start, **options)

    def explained(self, functional: ReducedFunctional, result: Result) -> str:
        """Why it ended, with what is found where a search failed."""
        if result.status != "failed":
            return result.message
        place = Place(self.problem, functional, self.product, result.m, _accuracy(functional))
        return explained(result.message, place)

    def _tolerances(self) -> dict[str, float]:
        if self._goal is not None:
            return {"gradient_tolerance": 0.0, "absolute_gradient_tolerance": self._goal}
        return {
            "gradient_tolerance": self.settings.gradient_tolerance,
            "absolute_gradient_tolerance": self.settings.absolute_gradient_tolerance,
        }


def optimize(problem: Problem, settings: Settings, recorder: Recorder, say: Callable[[str], None]) -> Ending:
    """Minimize the problem's functional, at a given strength or at the one that a rule chooses.

    Raises ValueError where optimizer, inner product, bounds, noise level and rule do not fit together.
    """
    functional, strength = problem.functional, settings.regularization_strength
    if isinstance(strength, str):
        _check_rule(problem, strength)
    else:
        functional = functional.with_strength(strength)
    product = inner_product_named(
        settings.inner_product, functional, problem.parameter, problem.bounds, problem.initial
    )
    run = Minimization(problem, settings, product, recorder)
    if isinstance(strength, str):
        return _by_rule(run, strength, say)
    result = run.in_stages(functional, problem.initial)
    return Ending(result.status, run.explained(functional, result))


def _by_rule(run: Minimization, rule: str, say: Callable[[str], None]) -> Ending:
    """Choose the strength, and end at its minimizer."""
    functional, initial = run.problem.functional, np.array(run.problem.initial, float)
    failed: list[Result] = []

    def solve(strength: float, start: np.ndarray, **options: Any) -> Solution:
        at = functional.with_strength(strength)
        result = (run.warm if run.recorder.rows else run.in_stages)(at, start, **options)
        if result.status == "failed":
            failed.append(result)
        terms = at.terms(result.m)
        converged, penalty = result.status == "converged", terms.regularization / strength
        return Solution(strength, result.m, terms.misfit, penalty, converged, result.message, result.iterations)

    def tell(solution: Solution) -> None:
        against = f" ({solution.misfit / target:.3g} × the target)" if target else ""
        say(f"{rule}: strength {solution.strength:.4g}, misfit {solution.misfit:.5g}{against}")

    target = _target(run) if rule in NEED_NOISE else 0.0
    if rule == "lcurve":
        limited = {"max_iterations": min(CURVE_ITERATIONS, run.settings.max_iterations)}
        choice = lcurve(lambda strength, start: solve(strength, start, **limited), initial, on_solution=tell)
    elif rule == "discrepancy":
        choice = discrepancy(solve, initial, target, on_solution=tell)
    else:
        loose = {"max_iterations": run.settings.loose_iterations}
        choice = cooling(
            lambda strength, start: solve(strength, start, **loose),
            initial,
            target,
            start_strength=lambda m: _first_strength(functional, m),
            landing=solve,
            on_solution=tell,
        )
    if choice.solution is not choice.solutions[-1] or rule == "lcurve":  # the last iterate is what is written
        run(functional.with_strength(choice.strength), choice.m)
    return Ending(choice.status, _reason(run, choice, failed), choice)


def _reason(run: Minimization, choice: Choice, failed: list[Result]) -> str:
    """That of the rule, with what is found where the minimization at the chosen strength failed."""
    for result in failed:
        if result.m is choice.m:
            functional = run.problem.functional.with_strength(choice.strength)
            return choice.reason.replace(result.message, run.explained(functional, result))
    return choice.reason


def _check_rule(problem: Problem, rule: str) -> None:
    if not problem.functional.regularization_terms:
        raise InputError(f"--regularization-strength {rule}: the problem has no regularization")
    if rule in NEED_NOISE and not getattr(problem.functional.misfit, "expected", None):
        raise InputError(
            f"--regularization-strength {rule} aims at the misfit of the noise, but the problem states no noise level; "
            "use lcurve, or a number"
        )


def _target(run: Minimization) -> float:
    return run.settings.discrepancy_factor * float(getattr(run.problem.functional.misfit, "expected", 0.0))


def _first_strength(functional: ReducedFunctional, m: np.ndarray) -> float:
    """Where cooling starts: the data hardly count there."""
    one = functional.with_strength(1.0)
    operator, plain = one.regularization_operator(m), one.plain_regularization_hessian(m)
    try:
        ratio = curvature_ratio(
            functional.misfit_gauss_newton(m),
            lambda v: plain(v) + (0.0 if operator is None else operator @ v),
            len(m),
        )
    except ValueError:  # the regularization does not see what the data see best
        return FALLBACK
    return ABOVE * ratio


def _accuracy(functional: ReducedFunctional) -> float:
    """To which J is computed, relative: that of an iterative solver, or rounding."""
    solver = getattr(functional.state, "solver", None)
    tolerance = None if solver is None else getattr(resolve_solver(solver), "rtol", None)
    return 1e-13 if tolerance is None else max(1e-13, float(tolerance))


def chosen(settings: Settings, ending: Ending) -> dict[str, Any]:
    """What summary.json says of the strength."""
    asked = settings.regularization_strength
    rule = asked if isinstance(asked, str) else None
    strength = ending.choice.strength if ending.choice else None if rule else asked
    return {
        "regularization_strength": strength,
        "strength_rule": rule,
        "strength": ending.choice.report() if ending.choice else None,
    }
