"""State equations, each one map from parameters to the state."""

from pdeopt.pde.linear import LinearStateEquation

__all__ = ["LinearStateEquation"]
