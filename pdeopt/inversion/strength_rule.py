"""The minimization of a problem at a given strength of the regularization, or at one chosen by a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pdeopt.inverse import InputError, Problem, ReducedFunctional, inner_product_named
from pdeopt.inversion.minimization import NEED_NOISE, Minimization, RunStatus, Settings, at_strength
from pdeopt.inversion.recorder import Recorder
from pdeopt.inversion.strength_option import STRENGTH_RULES
from pdeopt.optimize import Result
from pdeopt.optimize.strength import Choice, RegularizedSolution, cooling, curvature_ratio, discrepancy, lcurve

#: The largest change of the misfit of the chosen solution when it is minimized to the end, as a part of it.
MAX_MISFIT_CHANGE = 0.05
#: The remedy where the minimization at the chosen strength was far from its end.
UNCONVERGED_REMEDY = "try newton-cg or gauss-newton, or the rule discrepancy"
#: The largest number of iterations for a point of the L-curve; its corner is then minimized to the end.
CURVE_ITERATIONS = 50
#: The strength at which cooling starts, as a multiple of that at which data and regularization pull alike.
COOLING_START_FACTOR = 10.0
#: The strength at which cooling starts where no such strength is found, as a factor of the problem's regularization.
FALLBACK_STRENGTH = 1e3


def optimize(problem: Problem, settings: Settings, recorder: Recorder, say: Callable[[str], None]) -> RunStatus:
    """Minimize the problem's functional at the strength of the regularization that the settings ask for.

    The strength is a number, or is chosen by a rule.

    Args:
        problem: The problem.
        settings: How it is minimized.
        recorder: The recorder that evaluates the functional and keeps the history.
        say: Called with a text about every strength that a rule tries.

    Raises:
        ValueError: Optimizer, inner product, bounds, noise level and rule do not fit together.
    """
    strength = settings.regularization_strength
    _check(problem, settings)
    factor = 1.0 if isinstance(strength, str) else strength
    functional = at_strength(problem.functional, factor)
    product = inner_product_named(
        settings.inner_product, functional, problem.parameter, problem.bounds, problem.initial
    )
    run = Minimization(problem, settings, product, recorder)
    if isinstance(strength, str):
        return StrengthSearch(run, strength, say).ending()
    result = run.in_stages(functional, problem.initial)
    return RunStatus(result.status, run.explained(functional, result), None, product.name)


@dataclass
class StrengthSearch:
    """The search of one rule for the strength of the regularization.

    Attributes:
        run: The minimization, called at every strength.
        rule: The name of the rule.
        say: Called with a text about every solution.
        target: The misfit at which the rule aims; 0 for a rule that does not know the noise.
    """

    run: Minimization
    rule: str
    say: Callable[[str], None]
    target: float = field(init=False)

    def __post_init__(self) -> None:
        expected = self.run.problem.functional.misfit.expected or 0.0
        self.target = self.run.settings.discrepancy_factor * expected if self.rule in NEED_NOISE else 0.0

    def ending(self) -> RunStatus:
        """Choose the strength and minimize there to the end, so that the last iterate is the chosen one."""
        choice = {"discrepancy": self._discrepancy, "cooling": self._cooling, "lcurve": self._lcurve}[self.rule]()
        chosen = at_strength(self.run.problem.functional, choice.strength)
        final = self.run(chosen, choice.m)
        status, message = choice.status, choice.reason
        if final.status == "failed":
            status, message = "failed", f"{choice.reason}; there {self.run.explained(chosen, final)}"
        elif choice.status == "converged" and final.status != "converged":
            status, message = final.status, f"{choice.reason}; there {final.message}"
        elif choice.status == "converged" and self._moved(choice):
            status, message = (
                "stopped",
                f"{choice.reason}; but there the minimization was far from its end: {UNCONVERGED_REMEDY}",
            )
        return RunStatus(status, message, choice, self.run.product.name)

    def _moved(self, choice: Choice) -> bool:
        """Return whether the last minimization changed the misfit, by which the rule judged, too much."""
        return (
            abs(self.run.recorder.rows[-1].misfit - choice.solution.misfit) > MAX_MISFIT_CHANGE * choice.solution.misfit
        )

    def _discrepancy(self) -> Choice:
        return discrepancy(self._solve, self._initial, self.target, on_solution=self._tell)

    def _cooling(self) -> Choice:
        limit = self.run.settings.loose_iterations
        return cooling(
            lambda strength, start: self._solve(strength, start, limit),
            self._initial,
            self.target,
            start_strength=lambda m: _first_strength(self.run.problem.functional, m),
            landing=self._solve,
            on_solution=self._tell,
        )

    def _lcurve(self) -> Choice:
        limit = min(CURVE_ITERATIONS, self.run.settings.max_iterations)
        return lcurve(
            lambda strength, start: self._solve(strength, start, limit), self._initial, on_solution=self._tell
        )

    @property
    def _initial(self) -> np.ndarray:
        return np.array(self.run.problem.initial, float)

    def _solve(self, strength: float, start: np.ndarray, limit: int | None = None) -> RegularizedSolution:
        """Minimize at one strength, and return the solution for the rule.

        A minimization that ended at a limit of the rule's own counts as done: the chosen one is minimized to the end
        later.

        Args:
            strength: The factor of the problem's regularization.
            start: The first iterate (p,).
            limit: The largest number of iterations; that of the settings where None.
        """
        functional = at_strength(self.run.problem.functional, strength)
        options = {} if limit is None else {"max_iterations": limit}
        result = self._minimized(functional, start, options)
        terms = functional.terms(result.m)
        done = result.status == "converged" or (limit is not None and result.status == "stopped")
        penalty = terms.regularization / strength
        return RegularizedSolution(strength, result.m, terms.misfit, penalty, done, result.message, result.iterations)

    def _minimized(self, functional: ReducedFunctional, start: np.ndarray, options: dict[str, Any]) -> Result:
        """Minimize a functional from a warm start.

        The first minimization, which starts far from its minimum, is made in stages and then goes on as all others
        begin, so that all are equally accurate.
        """
        if not self.run.recorder.rows:
            start = self.run.in_stages(functional, start, **options).m
        return self.run.from_nearby_minimum(functional, start, **options)

    def _tell(self, solution: RegularizedSolution) -> None:
        against = f" ({solution.misfit / self.target:.3g} × the target)" if self.target else ""
        self.say(f"{self.rule}: strength {solution.strength:.4g}, misfit {solution.misfit:.5g}{against}")


def strength_entries(settings: Settings, ending: RunStatus) -> dict[str, Any]:
    """Return the entries of summary.json about the strength of the regularization."""
    asked = settings.regularization_strength
    rule = asked if isinstance(asked, str) else None
    strength = ending.choice.strength if ending.choice else None if rule else asked
    return {
        "regularization_strength": strength,
        "strength_rule": rule,
        "strength": ending.choice.report() if ending.choice else None,
    }


def _check(problem: Problem, settings: Settings) -> None:
    rule = settings.regularization_strength
    if isinstance(rule, str) and rule not in STRENGTH_RULES:
        raise InputError(f"regularization strength {rule!r}: expected {', '.join(STRENGTH_RULES)} or a number")
    if rule != 1 and not problem.functional.regularization_terms:
        raise InputError(f"regularization strength {rule}: the problem has no regularization")
    if rule not in NEED_NOISE and settings.discrepancy_factor != 1:
        raise InputError(
            f"a discrepancy factor goes with the rules {' and '.join(NEED_NOISE)}, not with strength {rule}"
        )
    if isinstance(rule, str) and settings.max_iterations < 1:
        raise InputError(
            f"the rule {rule} needs iterations, and at most 0 are allowed: allow more, or give the strength as a number"
        )
    if rule in NEED_NOISE and not problem.functional.misfit.expected:
        raise InputError(
            f"the rule {rule} aims at the misfit of the noise, but the problem states no noise level; "
            "use lcurve, or a number"
        )


def _first_strength(functional: ReducedFunctional, m: np.ndarray) -> float:
    """Return the strength at which cooling starts, as a factor of the functional's own.

    It is so large that the data hardly count there.
    """
    operator, plain = functional.regularization_operator(m), functional.plain_regularization_hessian(m)
    try:
        ratio = curvature_ratio(
            functional.misfit_gauss_newton(m),
            lambda v: plain(v) + (0.0 if operator is None else operator @ v),
            len(m),
        )
    except ValueError:  # the regularization does not see what the data see best
        return FALLBACK_STRENGTH
    return COOLING_START_FACTOR * ratio
