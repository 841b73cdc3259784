"""State equations in time."""

from pdeopt.pde.transient.equation import TransientStateEquation
from pdeopt.pde.transient.evolution import Evolution
from pdeopt.pde.transient.schemes import Scheme, newmark, theta
from pdeopt.pde.transient.state_in_time import StateInTime
from pdeopt.pde.transient.time_functions import Modulated, Sampled

__all__ = ["Evolution", "Modulated", "Sampled", "Scheme", "StateInTime", "TransientStateEquation", "newmark", "theta"]
