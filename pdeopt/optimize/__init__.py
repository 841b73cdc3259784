"""Minimizers. They see callables and know no PDE."""

from pdeopt.optimize.bounds import full_bounds
from pdeopt.optimize.dispatch import OPTIMIZERS, minimize
from pdeopt.optimize.inner_product import Diagonal, InnerProduct, euclidean
from pdeopt.optimize.objective import Differentiable, Objective, OptimizerError, Preconditioner
from pdeopt.optimize.result import Iterate, Result

__all__ = [
    "OPTIMIZERS",
    "Diagonal",
    "Differentiable",
    "InnerProduct",
    "Iterate",
    "Objective",
    "OptimizerError",
    "Preconditioner",
    "Result",
    "euclidean",
    "full_bounds",
    "minimize",
]
