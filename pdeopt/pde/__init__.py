"""State equations, each one a map from parameters to the state."""

from pdeopt.pde.joined import JoinedStates
from pdeopt.pde.linear import LinearStateEquation
from pdeopt.pde.nonlinear import NonlinearStateEquation
from pdeopt.pde.preconditioners import block_preconditioner
from pdeopt.pde.state_equation import FunctionState, StateEquation

__all__ = [
    "FunctionState",
    "JoinedStates",
    "LinearStateEquation",
    "NonlinearStateEquation",
    "StateEquation",
    "block_preconditioner",
]
