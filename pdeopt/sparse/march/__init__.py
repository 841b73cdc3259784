"""Differentiable marches in time: a linear recurrence with few matrices, all of whose steps are one call of the host."""

from pdeopt.sparse.march.marching import linear_march
from pdeopt.sparse.march.plan import StepKind, is_diagonal
from pdeopt.sparse.march.schedule import Checkpoints, forward_steps

__all__ = ["Checkpoints", "StepKind", "forward_steps", "is_diagonal", "linear_march"]
