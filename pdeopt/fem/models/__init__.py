"""A small library of forms, each with its source, for `bilinear_form` and `energy`."""

from pdeopt.fem.models.elasticity import (
    lame_parameters,
    linear_elasticity,
    neo_hookean,
    neo_hookean_plane_strain,
    plane_strain,
    plane_stress,
)
from pdeopt.fem.models.flow import navier_stokes, stabilized_navier_stokes
from pdeopt.fem.models.waves import BoxLayer, RadialLayer, impedance, plane_wave, wave_mass, wave_stiffness

__all__ = [
    "BoxLayer",
    "RadialLayer",
    "impedance",
    "lame_parameters",
    "linear_elasticity",
    "navier_stokes",
    "neo_hookean",
    "neo_hookean_plane_strain",
    "plane_strain",
    "plane_stress",
    "plane_wave",
    "stabilized_navier_stokes",
    "wave_mass",
    "wave_stiffness",
]
