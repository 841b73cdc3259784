"""Minimizers, which see callables and know no PDE."""

from pdeopt.optimize.active_set.primal_dual import ActiveSet
from pdeopt.optimize.bounds import full_bounds
from pdeopt.optimize.constrained.augmented_lagrangian import AugmentedLagrangian
from pdeopt.optimize.constraints.values import ConstraintRows, ConstraintValues
from pdeopt.optimize.dispatch import minimize
from pdeopt.optimize.gauss_newton import GaussNewton, LevenbergMarquardt
from pdeopt.optimize.inner_product import Diagonal, InnerProduct, euclidean
from pdeopt.optimize.libraries.ipopt_method import Ipopt
from pdeopt.optimize.libraries.nlopt_methods import NLoptMethod
from pdeopt.optimize.libraries.scipy_methods import SciPyMethod
from pdeopt.optimize.newton import NewtonCG
from pdeopt.optimize.objective import Differentiable, Evaluation, Objective, OptimizerError, Preconditioner
from pdeopt.optimize.optimizer import Iterate, Optimizer, Result
from pdeopt.optimize.registry import optimizer_named, optimizers, register
from pdeopt.optimize.trace import Finished, Goals, Trace

__all__ = [
    "ActiveSet",
    "AugmentedLagrangian",
    "ConstraintRows",
    "ConstraintValues",
    "Diagonal",
    "Differentiable",
    "Evaluation",
    "Finished",
    "GaussNewton",
    "Goals",
    "InnerProduct",
    "Ipopt",
    "Iterate",
    "LevenbergMarquardt",
    "NLoptMethod",
    "NewtonCG",
    "Objective",
    "Optimizer",
    "OptimizerError",
    "Preconditioner",
    "Result",
    "SciPyMethod",
    "Trace",
    "euclidean",
    "full_bounds",
    "minimize",
    "optimizer_named",
    "optimizers",
    "register",
]
