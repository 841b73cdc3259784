"""The diagnosis of a failed search: its derivative, the decrease left in J, the accuracy of the state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdeopt.errors import raise_interrupt
from pdeopt.inverse import Problem, ReducedFunctional
from pdeopt.optimize import InnerProduct, full_bounds
from pdeopt.optimize.bounds import projected
from pdeopt.optimize.trace import STEP_REMEDY
from pdeopt.verify import TaylorTest, taylor_test

#: The largest change of J over the longest step, as a part of J.
LARGEST_CHANGE = 1e-2
#: The factor by which a step that is too long is divided.
STEP_REDUCTION = 30.0
#: The largest number of steps that are tried to see a parabola.
MAX_PARABOLA_STEPS = 12
#: The least change of J by its curvature over the first step of the Taylor test, as a multiple of the accuracy of J.
MIN_VISIBLE_CHANGE = 1e4
#: The number of times that the step of the Taylor test at the last iterate is halved.
DIAGNOSIS_HALVINGS = 6
#: A decrease of J of at most so many times its accuracy cannot be told from the error of its evaluation.
LOST_DECREASE = 100
#: The backward error of a state above which it is not explained by rounding.
ROUNDING_BACKWARD_ERROR = 1e-10


@dataclass(frozen=True)
class FailedIterate:
    """An iterate at which a line search or trust-region search failed.

    Attributes:
        problem: The problem that was minimized.
        functional: J, at the strength of the regularization at which the search failed.
        product: The inner product in which gradients are taken.
        m: The last iterate (p,).
        accuracy: The relative accuracy of J, as the optimizer was told.
    """

    problem: Problem
    functional: ReducedFunctional
    product: InnerProduct
    m: np.ndarray
    accuracy: float

    def value(self, step: np.ndarray) -> float:
        """Return J(m + step), or infinity where it cannot be evaluated."""
        try:
            return self.functional(self.m + step)
        except ArithmeticError:
            return np.inf

    @cached_property
    def derivative(self) -> np.ndarray:
        """The derivative of J at m, (p,)."""
        return self.functional.derivative(self.m)

    def downhill(self, length: float) -> np.ndarray:
        """Return the step (p,) of ``length`` times the negative gradient, as far as the bounds let it go."""
        limits = full_bounds(self.problem.bounds, len(self.m))
        gradient = self.product.gradient(projected(self.m, self.derivative, *limits))
        return np.clip(self.m - length * gradient, *limits) - self.m


@dataclass(frozen=True)
class Parabola:
    """The parabola that J follows along the gradient.

    Attributes:
        step: The first step of the Taylor test (p,).
        decrease: The decrease of J from m to the lowest point of the parabola, relative to J.
    """

    step: np.ndarray
    decrease: float


def with_diagnosis(message: str, place: FailedIterate) -> str:
    """Return the message of a failed search with what is found at its last iterate.

    Where nothing can be found, the message is returned as it was. Costs about 25 values of J and a derivative, which no
    counter of the run holds.

    Args:
        message: The optimizer's message.
        place: The place where the search failed.
    """
    try:
        found = "; ".join(filter(None, (_of_derivative(place), _of_state(place))))
    except Exception as error:  # what goes wrong here must not hide what went wrong before
        raise_interrupt(error)
        return message
    return f"{message.replace(f'; {STEP_REMEDY}', '')}; at the last iterate {found}" if found else message


def _of_derivative(place: FailedIterate) -> str:
    parabola = _parabola(place)
    if parabola is None:
        return ""
    value = lambda m: place.value(m - place.m)  # noqa: E731
    test = taylor_test(value, place.derivative, place.m, parabola.step, first_step=1.0, halvings=DIAGNOSIS_HALVINGS)
    return _in_words(test, parabola.decrease, place.accuracy)


def _parabola(place: FailedIterate) -> Parabola | None:
    """Return the parabola that J follows along the gradient, or None where J cannot be seen to change."""
    value = place.value(np.zeros_like(place.m))
    slope = -float(place.derivative @ place.downhill(1e-9)) / 1e-9
    if not (slope > 0 and value != 0):
        return None
    length = LARGEST_CHANGE * abs(value) / slope
    for _ in range(MAX_PARABOLA_STEPS):
        step = place.downhill(length)
        change = place.value(step) - value
        if abs(change) <= LARGEST_CHANGE * abs(value):
            break
        length /= STEP_REDUCTION
    curvature = 2 * abs(change - float(place.derivative @ step)) / length**2
    if not (0 < curvature < np.inf):
        return None
    visible = np.sqrt(2 * MIN_VISIBLE_CHANGE * place.accuracy * abs(value) / curvature)
    first = min(length, max(2 * slope / curvature, visible))
    return Parabola(place.downhill(first), 0.5 * slope**2 / (curvature * abs(value)))


def _in_words(test: TaylorTest, decrease: float, accuracy: float) -> str:
    order = test.orders[2]
    if np.isnan(order) or test.orders[1] < 0.9:
        return "J is too rough to tell whether its derivative is right: it jumps, or its solver is inexact"
    if order < 1.9:
        return f"the remainder with the derivative has order {order:.2f}, expected 2: the derivative is wrong"
    exact = f"the derivative is exact (order {order:.2f})"
    if decrease <= LOST_DECREASE * accuracy:
        return (
            f"{exact}, and J has reached the accuracy of its evaluation: it could fall by {decrease:.0e} of its value"
        )
    return (
        f"{exact}, and along the gradient J would fall by {decrease:.1e} of its value: the direction was bad; verify "
        "second derivatives by a Taylor test, or choose another optimizer"
    )


def _of_state(place: FailedIterate) -> str:
    found = place.functional.state.backward_error(place.functional.coefficient(place.m))
    if found is None:
        return ""
    blame = ", far from rounding: look at the solver" if found > ROUNDING_BACKWARD_ERROR else ""
    return f"the state is solved to a backward error of {found:.0e}{blame}"
