"""Forms and coefficients of known equations, each with its source."""

from pdeopt.fem.models.waves import BoxLayer, RadialLayer, impedance, plane_wave, wave_mass, wave_stiffness

__all__ = ["BoxLayer", "RadialLayer", "impedance", "plane_wave", "wave_mass", "wave_stiffness"]
