"""Minimizers. They see callables and know no PDE."""

from pdeopt.optimize.lbfgsb import minimize_lbfgsb
from pdeopt.optimize.result import Iterate, Result

__all__ = ["Iterate", "Result", "minimize_lbfgsb"]
