"""Inverse problems: parametrization, observation, misfit, regularization, and the reduced functional."""

from pdeopt.inverse.constraint import Constraint
from pdeopt.inverse.continued import continuation
from pdeopt.inverse.data.correlated import CorrelatedMisfit
from pdeopt.inverse.data.counts import PoissonMisfit
from pdeopt.inverse.data.estimated_scale import EstimatedScale
from pdeopt.inverse.data.in_time import InTime
from pdeopt.inverse.data.least_squares import FieldMisfit, L2Misfit
from pdeopt.inverse.data.misfit import FunctionMisfit, Misfit, MisfitSum, as_misfit
from pdeopt.inverse.data.observation import (
    AtDofs,
    AtPoints,
    BoundaryFlux,
    FullField,
    Magnitude,
    Observation,
    OfPart,
    Phase,
)
from pdeopt.inverse.data.robust import HuberMisfit, RobustMisfit, StudentMisfit
from pdeopt.inverse.data.synthetic import add_noise
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.functional.reduced_functional import ReducedFunctional, StateAndAdjoint, Terms
from pdeopt.inverse.inner_product import (
    inner_product_named,
    inner_product_names,
    inner_products_of,
    l2_product,
    lumped_product,
    regularization_product,
)
from pdeopt.inverse.newton_model import NewtonModel
from pdeopt.inverse.problem import Problem
from pdeopt.inverse.regularization import (
    L1,
    CouplingTerm,
    CrossGradient,
    FunctionTerm,
    JointTotalVariation,
    Matern,
    Quadratic,
    Regularization,
    Sum,
    Term,
    TotalVariation,
    as_term,
    cross_gradient,
    each_step,
    gaussian,
    h1,
    joint_total_variation,
    l1,
    mass,
    matern,
    matern_from_length,
    stiffness,
    terms_of,
    tikhonov,
    total_variation,
)
from pdeopt.inverse.unknowns.in_time import ParameterInTime
from pdeopt.inverse.unknowns.numbers import Numbers
from pdeopt.inverse.unknowns.parameter import Parameter
from pdeopt.inverse.unknowns.parameters import Parameters
from pdeopt.inverse.unknowns.parametrization import Bounded, Identity, Log, Parametrization
from pdeopt.inverse.unknowns.tree import Tree
from pdeopt.inverse.views import LabelImage, Marks, Series, Views

__all__ = [
    "L1",
    "AtDofs",
    "AtPoints",
    "BoundaryFlux",
    "Bounded",
    "Constraint",
    "CorrelatedMisfit",
    "CouplingTerm",
    "CrossGradient",
    "EstimatedScale",
    "FieldMisfit",
    "FullField",
    "FunctionMisfit",
    "FunctionTerm",
    "HuberMisfit",
    "Identity",
    "InTime",
    "InputError",
    "JointTotalVariation",
    "L2Misfit",
    "LabelImage",
    "Log",
    "Magnitude",
    "Marks",
    "Matern",
    "Misfit",
    "MisfitSum",
    "NewtonModel",
    "Numbers",
    "Observation",
    "OfPart",
    "Parameter",
    "ParameterInTime",
    "Parameters",
    "Parametrization",
    "Phase",
    "PoissonMisfit",
    "Problem",
    "Quadratic",
    "ReducedFunctional",
    "Regularization",
    "RobustMisfit",
    "Series",
    "StateAndAdjoint",
    "StudentMisfit",
    "Sum",
    "Term",
    "Terms",
    "TotalVariation",
    "Tree",
    "Views",
    "add_noise",
    "as_misfit",
    "as_term",
    "continuation",
    "cross_gradient",
    "each_step",
    "gaussian",
    "h1",
    "inner_product_named",
    "inner_product_names",
    "inner_products_of",
    "joint_total_variation",
    "l1",
    "l2_product",
    "lumped_product",
    "mass",
    "matern",
    "matern_from_length",
    "regularization_product",
    "stiffness",
    "terms_of",
    "tikhonov",
    "total_variation",
]
