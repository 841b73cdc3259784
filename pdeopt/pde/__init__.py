"""State equations, each one a map from parameters to the state."""

from pdeopt.pde.linear import LinearStateEquation
from pdeopt.pde.state_equation import StateEquation

__all__ = ["LinearStateEquation", "StateEquation"]
