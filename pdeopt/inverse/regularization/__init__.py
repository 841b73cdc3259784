"""Regularization terms: functionals of the parameter m that is optimized."""

from pdeopt.inverse.regularization.bilaplacian import Matern, matern, matern_from_length
from pdeopt.inverse.regularization.coupling import (
    CouplingTerm,
    CrossGradient,
    JointTotalVariation,
    cross_gradient,
    joint_total_variation,
)
from pdeopt.inverse.regularization.forms import mass, stiffness
from pdeopt.inverse.regularization.quadratic import Quadratic, each_step, gaussian, h1, tikhonov
from pdeopt.inverse.regularization.sparsity import L1, l1
from pdeopt.inverse.regularization.terms import (
    TRIVIAL_NULL_SPACE,
    FunctionTerm,
    OnParameters,
    Regularization,
    Sum,
    Term,
    as_term,
    located,
    terms_of,
)
from pdeopt.inverse.regularization.variation import TotalVariation, total_variation

__all__ = [
    "L1",
    "TRIVIAL_NULL_SPACE",
    "CouplingTerm",
    "CrossGradient",
    "FunctionTerm",
    "JointTotalVariation",
    "Matern",
    "OnParameters",
    "Quadratic",
    "Regularization",
    "Sum",
    "Term",
    "TotalVariation",
    "as_term",
    "cross_gradient",
    "each_step",
    "gaussian",
    "h1",
    "joint_total_variation",
    "l1",
    "located",
    "mass",
    "matern",
    "matern_from_length",
    "stiffness",
    "terms_of",
    "tikhonov",
    "total_variation",
]
