"""State equations, each one a map from parameters to the state."""

from pdeopt.pde.joined import JoinedStates
from pdeopt.pde.linear import LinearStateEquation
from pdeopt.pde.nonlinear import NonlinearStateEquation
from pdeopt.pde.preconditioners import block_preconditioner
from pdeopt.pde.state_equation import FunctionState, StateEquation
from pdeopt.pde.transient.equation import TransientStateEquation
from pdeopt.pde.transient.evolution import Evolution
from pdeopt.pde.transient.nonlinear import NonlinearTransientStateEquation
from pdeopt.pde.transient.schemes import Scheme, newmark, theta
from pdeopt.pde.transient.state_in_time import StateInTime
from pdeopt.pde.transient.time_functions import Modulated, Sampled

__all__ = [
    "Evolution",
    "FunctionState",
    "JoinedStates",
    "LinearStateEquation",
    "Modulated",
    "NonlinearStateEquation",
    "NonlinearTransientStateEquation",
    "Sampled",
    "Scheme",
    "StateEquation",
    "StateInTime",
    "TransientStateEquation",
    "block_preconditioner",
    "newmark",
    "theta",
]
