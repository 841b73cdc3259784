"""Regularization terms: functionals of the parameter m that is optimized."""

from pdeopt.inverse.regularization.bilaplacian import Matern, matern, matern_from_length
from pdeopt.inverse.regularization.forms import mass, stiffness
from pdeopt.inverse.regularization.quadratic import Quadratic, h1, tikhonov
from pdeopt.inverse.regularization.sparsity import L1, l1
from pdeopt.inverse.regularization.terms import (
    TRIVIAL_NULL_SPACE,
    FunctionTerm,
    Regularization,
    Sum,
    Term,
    as_term,
    terms_of,
)
from pdeopt.inverse.regularization.variation import TotalVariation, total_variation

__all__ = [
    "L1",
    "TRIVIAL_NULL_SPACE",
    "FunctionTerm",
    "Matern",
    "Quadratic",
    "Regularization",
    "Sum",
    "Term",
    "TotalVariation",
    "as_term",
    "h1",
    "l1",
    "mass",
    "matern",
    "matern_from_length",
    "stiffness",
    "terms_of",
    "tikhonov",
    "total_variation",
]
