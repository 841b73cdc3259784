"""The verification of derivatives before they are used, and once more after the first iterations.

The first one is a short Taylor test and the adjoint identity where J has visibly changed and bent; the later one is a
Taylor test along the way that the optimizer went.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pdeopt.errors import PdeoptError, describe, raise_interrupt
from pdeopt.inverse import Problem, ReducedFunctional
from pdeopt.inversion.checking import (
    ADJOINT_CHECK,
    CHECK_HALVINGS,
    FIRST_STEP,
    PRODUCT_GAP_TOLERANCE,
    VerificationPoint,
    inconclusive_reason,
    point_along,
    random_cotangent,
    rounding_of,
    verification_point,
)
from pdeopt.inversion.minimization import accuracy_of
from pdeopt.inversion.recorder import Interrupted, Recorder
from pdeopt.sparse import forgetting
from pdeopt.verify import DERIVATIVE_ACCURACY, EPS, TaylorTest, adjoint_identity, taylor_test

#: The largest step of the short test, along directions of the parameter's size. Where the short test does not show the
#: order that it should, the thorough test of `pdeopt check` decides.
SHORT_STEP = 4e-3
#: The number of times that the step of the short test is halved.
SHORT_HALVINGS = 2
#: The order of the remainder above which the derivative is taken to be right.
MIN_ORDER = 1.9
#: The order of the change of J below which J itself is too rough to tell.
MIN_SMOOTH_ORDER = 0.9
#: The order that the short test must show at every halving.
MIN_HALVING_ORDER = 1.5
#: The iterate at which derivatives are verified once more.
LATER_ITERATION = 3
#: The distances from the initial guess that are tried until J is finite there, as parts of that of `pdeopt check`.
START_DISTANCES = (1.0, 0.1, 0.01, 1e-3)
#: The largest error of J with an iterative solver, as a part of the solver's accuracy.
VALUE_ACCURACY_FACTOR = 1e-2
#: The largest relative gap of the adjoint identity with a direct solver.
LARGEST_GAP = 1e3 * PRODUCT_GAP_TOLERANCE
#: The largest relative gap of the adjoint identity with an iterative solver, as a multiple of its accuracy.
SOLVER_GAP = 1e3
#: The error that the slope of J may have, as a multiple of the solver's accuracy.
SOLVER_SLOPE = 100
#: The factor by which a step is made shorter to see whether the measured rate comes closer to the derivative.
RATE_STEP_REDUCTION = 8
#: The part to which the distance between rate and derivative must fall over a shorter step, to count as closer.
MAX_DISTANCE_RATIO = 0.5
#: The least change of J over a step from which a rate is measured, as a multiple of the rounding of J.
MIN_RATE_CHANGE = 1000
#: The beginning of the messages of a verification without a result.
UNVERIFIED = "derivatives could not be verified: "
#: The message where J is not finite.
NOT_FINITE = f"{UNVERIFIED}the objective is not finite near the initial guess"
#: The likely causes of a wrong derivative, for messages.
CAUSES = (
    "look for a rule of the problem's own (custom_jvp, custom_vjp), stop_gradient, or an operation without a "
    "derivative (round, argmax, a comparison)"
)


class DerivativeError(PdeoptError):
    """A derivative is wrong, so that an optimizer that follows it does not find the minimum."""


@dataclass(frozen=True)
class Verification:
    """The result of a verification of derivatives.

    Attributes:
        orders: The orders of the Taylor remainders, {1: without, 2: with the derivative}; infinity where one vanishes
            up to rounding, NaN where it cannot be told; empty where J cannot be evaluated.
        gap: The relative gap of the adjoint identity; None where it cannot be told.
        conclusive: Whether the Taylor test could tell that the derivatives are right or wrong.
        fault: What is wrong and what it means; empty where nothing is.
        message: The result in one line.
        seconds: The time that the verification took, without the first evaluation.
    """

    orders: dict[int, float]
    gap: float | None
    conclusive: bool
    fault: str
    message: str
    seconds: float = 0.0

    @property
    def passed(self) -> bool | None:
        """True or False for right or wrong derivatives, None where it could not be told."""
        return None if not (self.conclusive or self.fault) else not self.fault

    def report(self) -> dict[str, Any]:
        """Return the entries of summary.json about the verification.

        An infinite order is null there; `message` says what it was.
        """
        orders = {str(p): order for p, order in self.orders.items()}
        found = {"taylor_orders": orders, "adjoint_gap": self.gap, "seconds": round(self.seconds, 6)}
        return {"passed": self.passed, "message": self.message, **found}

    def raise_if_wrong(self, name: str, remedy: str) -> None:
        """Refuse a problem whose derivatives are wrong.

        Args:
            name: The name of the problem, for the message.
            remedy: What can be done, for the message.

        Raises:
            DerivativeError: The derivatives are wrong.
        """
        if self.fault:
            raise DerivativeError(
                f"the derivatives of {name} are wrong, so nothing was optimized\n"
                f"  found:   {self.fault}\n"
                f"  meaning: an optimizer that follows them does not find the minimum; {CAUSES}",
                remedy,
            )


class Probe:
    """The functional J where it is verified, whose values are remembered.

    It is evaluated by the program that the optimization uses, too: nothing else is compiled for it.

    Attributes:
        functional: The functional J.
        stop: Whether the user asked to stop; KeyboardInterrupt is raised then.
    """

    def __init__(self, functional: ReducedFunctional, stop: Callable[[], bool]) -> None:
        self.functional, self.stop = functional, stop
        self._found: dict[bytes, tuple[float, np.ndarray]] = {}

    def evaluate(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """Return J(m) and its derivative (p,), NaN where the state equation cannot be solved."""
        key = hashlib.blake2b((m + 0.0).tobytes(), digest_size=16).digest()
        if key not in self._found:
            if self.stop():
                raise KeyboardInterrupt
            try:
                self._found[key] = self.functional.value_and_derivative(m)
            except ArithmeticError:
                self._found[key] = float("nan"), np.full_like(m, np.nan)
        return self._found[key]

    def value(self, m: np.ndarray) -> float:
        """Return J(m) for m (p,), NaN where the state equation cannot be solved."""
        return self.evaluate(m)[0]

    def is_finite(self, point: VerificationPoint, step: float) -> bool:
        """Return whether J and its derivative are finite at a point, and J after a step from it."""
        value, derivative = self.evaluate(point.m)
        return bool(np.isfinite([value, self.value(point.m + step * point.v)]).all() and np.isfinite(derivative).all())

    def rate(self, m: np.ndarray, direction: np.ndarray, step: float) -> float:
        """Return the rate at which J changes along a direction, measured over a step.

        Args:
            m: The point (p,) where the step begins.
            direction: The direction (p,).
            step: The length of the step, as a multiple of the direction.
        """
        long, short = (self.value(m + h * direction) - self.value(m) for h in (step, step / 2))
        return (4 * short - long) / step


def verify_derivatives(
    problem: Problem, stop: Callable[[], bool], stage: Callable[[str, str], None] = lambda name, text: None
) -> Verification:
    """Verify the derivatives of a problem downhill of its initial guess, where J has changed and bent.

    Costs some twenty evaluations, and the compilation of one more program. Nothing of it is remembered or counted: the
    optimization is the same without it. An L1 term is left out, as its kinks would spoil every order.

    Args:
        problem: The problem, of which functional, initial guess and bounds are used.
        stop: Whether the user asked to stop; KeyboardInterrupt is raised then.
        stage: Called with the name of each stage that begins, and what is done in it.

    Raises:
        Exception: What the functional raises, but for states that cannot be solved.
    """
    with forgetting():
        stage("compiling", "compiling and evaluating the objective …")
        probe = Probe(problem.functional.smooth_part, stop)
        probe.evaluate(np.asarray(problem.initial, float))
        stage("verification", "verifying the derivatives …")
        start = time.perf_counter()
        point = _first_finite(problem, probe)
        found = Verification({}, None, False, "", NOT_FINITE) if point is None else _judged(problem, probe, point)
    return replace(found, seconds=time.perf_counter() - start)


class LaterVerification:
    """A second verification of the derivatives where the optimizer went: there a nonlinear problem bends.

    It evaluates beside the optimization, which is the same without it.

    Attributes:
        report: The entries of summary.json about it; None as long as there is none.
    """

    def __init__(self, problem: Problem, stop: Callable[[], bool]) -> None:
        self.report: dict[str, Any] | None = None
        self._problem, self._stop = problem, stop
        self._start: np.ndarray | None = None

    def is_due(self, recorder: Recorder, last: bool = False) -> bool:
        """Return whether to verify at the last iterate: the third one, or the last of all if it comes before.

        Args:
            recorder: The recorder, after a new iterate.
            last: Whether the minimization has ended.
        """
        iteration, m = recorder.rows[-1].iteration, recorder.m
        if m is None or self.report is not None:
            return False
        if iteration == 0:
            self._start = m.copy()
        return self._start is not None and (iteration == LATER_ITERATION or last) and not np.array_equal(m, self._start)

    def verify(self, recorder: Recorder) -> None:
        """Verify at the last iterate, along the way from the initial guess to it, and make the report.

        Raises:
            DerivativeError: The derivative is wrong.
            Interrupted: The user asked to stop.
        """
        assert recorder.m is not None
        try:
            self._verify(recorder.model.functional.smooth_part, recorder.m, recorder.rows[-1].iteration)
        except KeyboardInterrupt:
            raise Interrupted from None

    def _verify(self, functional: ReducedFunctional, m: np.ndarray, iteration: int) -> None:
        with forgetting():
            probe, point = Probe(functional, self._stop), point_along(self._problem, m, m - self._start)
            if not point.v.any():
                message = f"at iterate {iteration}: {UNVERIFIED}the bounds hold every entry there"
                self.report = {"iteration": iteration, "passed": None, "message": message, "taylor_orders": {}}
                return
            accuracy = accuracy_of(self._problem)
            test = _taylor(probe, point, point.v, accuracy)
            fault = _taylor_fault(test, probe, m, point.v, accuracy)
        conclusive = bool(fault or _is_right(test))
        verdict = f"Taylor {_order(test)}" if conclusive else f"{UNVERIFIED}{_roughness(test)}"
        message = f"at iterate {iteration}, along the way to it: {verdict}"
        orders = {str(p): order for p, order in test.orders.items()}
        passed = None if not conclusive else not fault
        self.report = {"iteration": iteration, "passed": passed, "message": message, "taylor_orders": orders}
        if fault:
            raise DerivativeError(f"the derivative is wrong there: {fault}; {CAUSES}")


def _first_finite(problem: Problem, probe: Probe) -> VerificationPoint | None:
    far, near = verification_point(problem, probe.evaluate), np.asarray(problem.initial, float)
    for part in START_DISTANCES:
        point = far if part == 1 else replace(far, m=near + part * (far.m - near), v=part * far.v, w=part * far.w)
        if probe.is_finite(point, SHORT_STEP):
            return point
    return None


def _judged(problem: Problem, probe: Probe, point: VerificationPoint) -> Verification:
    accuracy = accuracy_of(problem)
    for direction in (*point.parts, point.v):  # up to the first that is wrong; the test that was made last is reported
        test = _taylor(probe, point, direction, accuracy)
        wrong = _taylor_fault(test, probe, point.m, direction, accuracy)
        if wrong:
            break
    gap, reason = _adjoint_gap(probe, point)
    fault = wrong or _gap_fault(gap, max(LARGEST_GAP, SOLVER_GAP * accuracy), test)
    exact = bool(np.isinf(test.orders[2]))
    if not (wrong or (_is_right(test) and (point.shown or not exact))):
        return Verification(test.orders, gap, False, fault, UNVERIFIED + _roughness(test))
    identity = f"adjoint identity not told: {reason}" if gap is None else f"adjoint identity {gap:.0e}"
    message = f"derivatives {'wrong' if fault else 'verified'}: Taylor {_order(test)}, {identity}"
    return Verification(test.orders, gap, True, fault, message)


def _taylor(probe: Probe, point: VerificationPoint, direction: np.ndarray, accuracy: float) -> TaylorTest:
    """Return the short Taylor test along a direction where it shows the order, otherwise the thorough one."""
    value, derivative = probe.evaluate(point.m)
    rounding = max(VALUE_ACCURACY_FACTOR * accuracy * abs(value), rounding_of(point.m, value, derivative))

    def test(first_step: float, halvings: int, rounding: float | None) -> TaylorTest:
        return taylor_test(
            probe.value,
            derivative,
            point.m,
            direction,
            first_step=first_step,
            halvings=halvings,
            rounding=rounding,
            accuracy=max(DERIVATIVE_ACCURACY, accuracy),
        )

    short = test(SHORT_STEP, SHORT_HALVINGS, rounding)
    if _is_right(short) and (np.isinf(short.orders[2]) or _falls(short.remainders[2])):
        return short
    far = np.isfinite(probe.value(point.m + FIRST_STEP * direction))
    return test(FIRST_STEP if far else SHORT_STEP, CHECK_HALVINGS, None)


def _falls(remainders: np.ndarray) -> bool:
    """Return whether remainders fall by more than ``2**MIN_HALVING_ORDER`` at every halving.

    Noise hardly does.
    """
    return bool((remainders[:-1] > 2**MIN_HALVING_ORDER * remainders[1:]).all())


def _adjoint_gap(probe: Probe, point: VerificationPoint) -> tuple[float | None, str]:
    """Return the relative gap of the adjoint identity of the predicted data.

    Returns:
        The gap, None where it cannot be told, and the reason where it is None.
    """
    functional = probe.functional
    try:
        predicted = functional.prediction_type(point.m)
        cotangent = random_cotangent(predicted.shape, predicted.dtype)
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
    """Return the reason why the order of a Taylor test cannot be told, in words."""
    return (
        inconclusive_reason(test) if np.isnan(test.orders[2]) else "J is too rough: it jumps, or its solver is inexact"
    )


def _order(test: TaylorTest) -> str:
    order = test.orders[2]
    return "remainder zero up to the accuracy of J" if np.isinf(order) else f"order {order:.2f}"


def _is_right(test: TaylorTest) -> bool:
    return test.orders[2] > MIN_ORDER


def _taylor_fault(test: TaylorTest, probe: Probe, m: np.ndarray, direction: np.ndarray, accuracy: float) -> str:
    """Return what is wrong with the derivative, or "" where J or its solver is too inexact to blame it.

    A derivative that is wrong stays so over shorter steps, down to the rounding of J. Where J has a bend narrower than
    the steps of the test, as a total variation that is hardly smoothed, the measured rate comes close to it.
    """
    if not (test.orders[1] >= MIN_SMOOTH_ORDER and test.orders[2] <= MIN_ORDER):
        return ""
    value, derivative = probe.evaluate(m)
    derived, step = float(derivative @ direction), SHORT_STEP
    resolved = max(SOLVER_SLOPE * accuracy * float(np.linalg.norm(derivative * direction)), EPS * abs(derived))
    rounding = max(VALUE_ACCURACY_FACTOR * accuracy * abs(value), rounding_of(m, value, derivative))
    measured = probe.rate(m, direction, step)
    while abs(measured - derived) > max(resolved, RATE_STEP_REDUCTION * MIN_RATE_CHANGE * rounding / step):
        step /= RATE_STEP_REDUCTION
        measured = probe.rate(m, direction, step)
    longer = probe.rate(m, direction, RATE_STEP_REDUCTION * step) if step < SHORT_STEP else measured
    if abs(measured - derived) <= max(resolved, MAX_DISTANCE_RATIO * abs(longer - derived)):
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
        f"{ADJOINT_CHECK} of the predicted data: the gap is {gap:.1e}, at most {largest:.0e} is expected; forward and "
        f"reverse mode are not derivatives of one function{right}"
    )
