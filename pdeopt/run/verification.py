"""Derivatives are verified before they are used: a short Taylor test and the adjoint identity at the initial guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pdeopt.inverse import Problem, ReducedFunctional
from pdeopt.run.checking import ADJOINT, FIRST_STEP, IDENTITY, Point, point_of, untold
from pdeopt.run.errors import RunError, describe, raise_interrupt
from pdeopt.run.optimization import accuracy_of
from pdeopt.run.progress import Progress
from pdeopt.run.stopwatch import in_words
from pdeopt.sparse import forgetting
from pdeopt.verify import ACCURACY, TaylorTest, adjoint_identity, taylor_test

#: The short test: its largest step, along directions of the parameter's size, and how often that is halved. Where it
#: does not show the order that it should, the thorough test of `pdeopt check` decides.
SHORT_STEP, HALVINGS = 4e-3, 2
#: The order from which on the derivative is taken for right, and that below which J itself is too rough to tell.
ORDER, ROUGH = 1.9, 0.9
#: The order that the short test must show at every halving.
STEADY = 1.5
#: Distances from the initial guess that are tried until J is finite there, as parts of that of `pdeopt check`.
DISTANCES = (1.0, 0.1, 0.01, 1e-3)
#: J of an iterative solver is more accurate than its residual by this factor, at least.
BETTER = 1e-2
#: The gap that the adjoint identity may have: with a direct solver, and as a multiple of an iterative one's accuracy.
LARGEST_GAP, SOLVER_GAP = 1e3 * IDENTITY, 1e3
#: The slope of J may be wrong by this multiple of a solver's accuracy.
SOLVER_SLOPE = 100
UNTOLD = "derivatives could not be verified: "
NOT_FINITE = f"{UNTOLD}the objective is not finite near the initial guess"
CAUSES = (
    "look for a rule of the problem's own (custom_jvp, custom_vjp), stop_gradient, or an operation without a "
    "derivative (round, argmax, a comparison)"
)


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        orders: of the Taylor remainders, {1: without, 2: with the derivative}; infinity where one vanishes up to
            rounding, NaN where it cannot be told; empty where J cannot be evaluated.
        gap: of the adjoint identity, relative; None where it cannot be told.
        fault: what is wrong and what it means; empty where nothing is. told: whether it could be told.
        message: all of it in one line. seconds: what it took, without the first evaluation.
    """

    orders: dict[int, float]
    gap: float | None
    told: bool
    fault: str
    message: str
    seconds: float = 0.0

    @property
    def passed(self) -> bool | None:
        """None where it could not be told."""
        return None if not (self.told or self.fault) else not self.fault

    def report(self) -> dict[str, Any]:
        """For summary.json; an infinite order is null there, `message` says what it was."""
        orders = {str(p): order for p, order in self.orders.items()}
        found = {"taylor_orders": orders, "adjoint_gap": self.gap, "seconds": round(self.seconds, 6)}
        return {"passed": self.passed, "message": self.message, **found}

    def refuse(self, name: str, given: str) -> None:
        """Raises RunError where the problem ``name``, ``given`` on the command line, did not pass."""
        if self.fault:
            raise RunError(
                f"the derivatives of {name} are wrong, so nothing was optimized\n"
                f"  found:   {self.fault}\n"
                f"  meaning: an optimizer that follows them does not find the minimum; {CAUSES}\n"
                f"  remedy:  'pdeopt check {given}' with the same options runs all checks; --no-check runs all the same"
            )


class Probe:
    """J at a point and beyond, from the program that the optimization uses, too: nothing else is compiled for it.

    Attributes:
        point: where, and the directions. derivative: of J there; NaN where the state equation cannot be solved.
        stop: whether the user asked to stop; KeyboardInterrupt is raised then.
    """

    def __init__(self, functional: ReducedFunctional, point: Point, stop: Callable[[], bool]) -> None:
        self.functional, self.point, self.stop = functional, point, stop
        objective, self.derivative = self._evaluated(point.m)
        self._values = {point.m.tobytes(): objective}

    def value(self, m: np.ndarray) -> float:
        """J(m); NaN where the state equation cannot be solved."""
        if m.tobytes() not in self._values:
            self._values[m.tobytes()] = self._evaluated(m)[0]
        return self._values[m.tobytes()]

    def is_finite(self, step: float) -> bool:
        """J at the point and at the end of the step, and the derivative."""
        ends = self.value(self.point.m), self.value(self.point.m + step * self.point.v)
        return bool(np.isfinite(ends).all() and np.isfinite(self.derivative).all())

    def slopes(self) -> tuple[float, float]:
        """The rate at which J changes along v: measured, and by its derivative."""
        base = self.value(self.point.m)
        long, short = (self.value(self.point.m + h * self.point.v) - base for h in (SHORT_STEP, SHORT_STEP / 2))
        return (4 * short - long) / SHORT_STEP, float(self.derivative @ self.point.v)

    def _evaluated(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        if self.stop():
            raise KeyboardInterrupt
        try:
            return self.functional.value_and_derivative(m)
        except ArithmeticError:
            return float("nan"), np.full_like(m, np.nan)


def verified(problem: Problem, progress: Progress, stop: Callable[[], bool]) -> Verification:
    """Verify the derivatives of a problem near its initial guess, off the bounds.

    Costs about six evaluations, and the compilation of one more program. Nothing of it is remembered or counted: the
    optimization is the same without it. Raises what the functional raises, but for states that cannot be solved.
    """
    with forgetting():
        progress.stage("compiling", "compiling and evaluating the objective …")
        probe = _first_finite(problem, stop)
        progress.stage("verification", "verifying the derivatives …")
        start = time.perf_counter()
        found = Verification({}, None, False, "", NOT_FINITE) if probe is None else _judged(probe)
    seconds = time.perf_counter() - start
    return replace(found, seconds=seconds, message=f"{found.message} ({in_words(seconds)})")


def _first_finite(problem: Problem, stop: Callable[[], bool]) -> Probe | None:
    far, near = point_of(problem), np.asarray(problem.initial, float)
    for part in DISTANCES:
        probe = Probe(problem.functional, Point(near + part * (far.m - near), part * far.v, part * far.w), stop)
        if np.isfinite(probe.value(probe.point.m)) and probe.is_finite(SHORT_STEP):
            return probe
    return None


def _judged(probe: Probe) -> Verification:
    accuracy = accuracy_of(probe.functional)
    test = _taylor(probe, accuracy)
    gap, reason = _adjoint_gap(probe)
    wrong = _taylor_fault(test, probe, accuracy)
    fault = wrong or _gap_fault(gap, max(LARGEST_GAP, SOLVER_GAP * accuracy), test)
    if not (wrong or _is_right(test)):
        return Verification(test.orders, gap, False, fault, UNTOLD + _roughness(test))
    taylor = "remainder zero up to the accuracy of J" if np.isinf(test.orders[2]) else f"order {test.orders[2]:.2f}"
    identity = f"adjoint identity not told: {reason}" if gap is None else f"adjoint identity {gap:.0e}"
    message = f"derivatives {'wrong' if fault else 'verified'}: Taylor {taylor}, {identity}"
    return Verification(test.orders, gap, True, fault, message)


def _taylor(probe: Probe, accuracy: float) -> TaylorTest:
    """The short test where it shows the order; otherwise the thorough one."""
    rounding = BETTER * accuracy * abs(probe.value(probe.point.m))
    short = _taylor_test(probe, accuracy, SHORT_STEP, HALVINGS, rounding)
    if _is_right(short) and (np.isinf(short.orders[2]) or _falls(short.remainders[2])):
        return short
    return _taylor_test(probe, accuracy, FIRST_STEP if probe.is_finite(FIRST_STEP) else SHORT_STEP, 10, None)


def _falls(remainders: np.ndarray) -> bool:
    """At every halving, by somewhat less than by its order at least: noise hardly does."""
    return bool((remainders[:-1] > 2**STEADY * remainders[1:]).all())


def _taylor_test(probe: Probe, accuracy: float, first_step: float, halvings: int, rounding: float | None) -> TaylorTest:
    return taylor_test(
        probe.value,
        probe.derivative,
        probe.point.m,
        probe.point.v,
        first_step=first_step,
        halvings=halvings,
        rounding=rounding,
        accuracy=max(ACCURACY, accuracy),
    )


def _adjoint_gap(probe: Probe) -> tuple[float | None, str]:
    """The gap of the predicted data's derivative; None with the reason where it cannot be told."""
    point, functional = probe.point, probe.functional
    try:
        cotangent = np.random.default_rng(1).standard_normal(functional.prediction_shape(point.m))
        image, preimage = functional.tangent_and_adjoint(point.m, point.v, cotangent)
    except Exception as error:  # a rule for reverse mode alone has no tangent; optimizers of first order need none
        raise_interrupt(error)
        text = describe(error).splitlines()[0][:120]
        return None, "a custom_vjp rule has no forward mode" if "custom_vjp" in text else text
    gap = adjoint_identity(lambda _: image, lambda _: preimage, point.v, cotangent)
    if not image.any() or not np.isfinite(gap):
        return None, "the predicted data do not depend on m there" if not image.any() else "it is not finite"
    return gap, ""


def _roughness(test: TaylorTest) -> str:
    """Why the order cannot be told."""
    return untold(test) if np.isnan(test.orders[2]) else "J is too rough: it jumps, or its solver is inexact"


def _is_right(test: TaylorTest) -> bool:
    return test.orders[2] > ORDER


def _taylor_fault(test: TaylorTest, probe: Probe, accuracy: float) -> str:
    """Empty where J is too rough, or its solver too inexact, to blame the derivative."""
    measured, derived = probe.slopes()
    size = float(np.linalg.norm(probe.derivative * probe.point.v))
    blamed = test.orders[1] >= ROUGH and test.orders[2] <= ORDER
    if not (blamed and abs(measured - derived) > SOLVER_SLOPE * accuracy * size):
        return ""
    return (
        f"Taylor test: along a random direction J changes at the rate {measured:.4g}, its derivative says "
        f"{derived:.4g}; the remainder has order {test.orders[2]:.2f}, expected 2"
    )


def _gap_fault(gap: float | None, largest: float, test: TaylorTest) -> str:
    if gap is None or gap <= largest:
        return ""
    right = ". The Taylor test says that reverse mode is right; Newton's methods use both" * _is_right(test)
    return (
        f"{ADJOINT} of the predicted data: the gap is {gap:.1e}, at most {largest:.0e} is expected; forward and "
        f"reverse mode are not derivatives of one function{right}"
    )
