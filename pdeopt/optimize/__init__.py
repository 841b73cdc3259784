"""Minimizers. They see callables and know no PDE."""

from pdeopt.optimize.bounds import full_bounds
from pdeopt.optimize.lbfgsb import minimize_lbfgsb
from pdeopt.optimize.result import Iterate, Result

__all__ = ["Iterate", "Result", "full_bounds", "minimize_lbfgsb"]
