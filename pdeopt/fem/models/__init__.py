"""A small library of forms, each with its source, for `bilinear_form` and `energy`."""

from pdeopt.fem.models.elasticity import (
    lame_parameters,
    linear_elasticity,
    neo_hookean,
    neo_hookean_plane_strain,
    plane_strain,
    plane_stress,
)

__all__ = [
    "lame_parameters",
    "linear_elasticity",
    "neo_hookean",
    "neo_hookean_plane_strain",
    "plane_strain",
    "plane_stress",
]
