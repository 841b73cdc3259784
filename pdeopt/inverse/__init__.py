"""Inverse problems: parametrization, observation, misfit, regularization, and the reduced functional of them."""

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.misfit import FieldMisfit, L2Misfit, Misfit, observation_of
from pdeopt.inverse.observation import AtDofs, AtPoints, BoundaryFlux, FullField, Observation
from pdeopt.inverse.parametrization import Bounded, Identity, Log, Parametrization
from pdeopt.inverse.problem import Parameter, Problem
from pdeopt.inverse.reduced_functional import ReducedFunctional, Terms
from pdeopt.inverse.regularization import (
    Quadratic,
    Regularization,
    TotalVariation,
    h1,
    mass,
    stiffness,
    tikhonov,
    total_variation,
)
from pdeopt.inverse.synthetic import add_noise

__all__ = [
    "AtDofs",
    "AtPoints",
    "BoundaryFlux",
    "Bounded",
    "FieldMisfit",
    "FullField",
    "Identity",
    "InputError",
    "L2Misfit",
    "Log",
    "Misfit",
    "Observation",
    "Parameter",
    "Parametrization",
    "Problem",
    "Quadratic",
    "ReducedFunctional",
    "Regularization",
    "Terms",
    "TotalVariation",
    "add_noise",
    "h1",
    "mass",
    "observation_of",
    "stiffness",
    "tikhonov",
    "total_variation",
]
