"""State equations, each one a map from parameters to the state."""

from pdeopt.pde.joined import JoinedStates
from pdeopt.pde.linear import LinearStateEquation
from pdeopt.pde.nonlinear import NonlinearStateEquation
from pdeopt.pde.preconditioners import block_preconditioner
from pdeopt.pde.state_equation import FunctionState, StateEquation
from pdeopt.pde.transient import (
    Evolution,
    Modulated,
    Sampled,
    Scheme,
    StateInTime,
    TransientStateEquation,
    newmark,
    theta,
)

__all__ = [
    "Evolution",
    "FunctionState",
    "JoinedStates",
    "LinearStateEquation",
    "Modulated",
    "NonlinearStateEquation",
    "Sampled",
    "Scheme",
    "StateEquation",
    "StateInTime",
    "TransientStateEquation",
    "block_preconditioner",
    "newmark",
    "theta",
]
