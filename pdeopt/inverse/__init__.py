"""Inverse problems: parametrization, observation, misfit, regularization, and the reduced functional."""

from pdeopt.inverse.continued import continuation
from pdeopt.inverse.data.misfit import FieldMisfit, FunctionMisfit, L2Misfit, Misfit, as_misfit
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
from pdeopt.inverse.data.synthetic import add_noise
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.functional.reduced_functional import ReducedFunctional, StateAndAdjoint, Terms
from pdeopt.inverse.inner_product import (
    inner_product_named,
    inner_product_names,
    l2_product,
    lumped_product,
    regularization_product,
)
from pdeopt.inverse.newton_model import NewtonModel
from pdeopt.inverse.numbers import Numbers
from pdeopt.inverse.parametrization import Bounded, Identity, Log, Parametrization
from pdeopt.inverse.problem import Parameter, Problem
from pdeopt.inverse.regularization import (
    L1,
    FunctionTerm,
    Matern,
    Quadratic,
    Regularization,
    Sum,
    Term,
    TotalVariation,
    as_term,
    h1,
    l1,
    mass,
    matern,
    matern_from_length,
    stiffness,
    terms_of,
    tikhonov,
    total_variation,
)
from pdeopt.inverse.views import LabelImage, Marks, Series, Views

__all__ = [
    "L1",
    "AtDofs",
    "AtPoints",
    "BoundaryFlux",
    "Bounded",
    "FieldMisfit",
    "FullField",
    "FunctionMisfit",
    "FunctionTerm",
    "Identity",
    "InputError",
    "L2Misfit",
    "LabelImage",
    "Log",
    "Magnitude",
    "Marks",
    "Matern",
    "Misfit",
    "NewtonModel",
    "Numbers",
    "Observation",
    "OfPart",
    "Parameter",
    "Parametrization",
    "Phase",
    "Problem",
    "Quadratic",
    "ReducedFunctional",
    "Regularization",
    "Series",
    "StateAndAdjoint",
    "Sum",
    "Term",
    "Terms",
    "TotalVariation",
    "Views",
    "add_noise",
    "as_misfit",
    "as_term",
    "continuation",
    "h1",
    "inner_product_named",
    "inner_product_names",
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
