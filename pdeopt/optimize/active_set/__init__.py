"""The primal–dual active set method, for bounds and L1 terms."""

from pdeopt.optimize.active_set.primal_dual import ActiveSet

__all__ = ["ActiveSet"]
