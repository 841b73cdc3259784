"""State equations, each one a map from parameters to the state."""

from pdeopt.pde.linear import LinearStateEquation
from pdeopt.pde.preconditioners import block_preconditioner
from pdeopt.pde.state_equation import FunctionState, StateEquation

__all__ = ["FunctionState", "LinearStateEquation", "StateEquation", "block_preconditioner"]
