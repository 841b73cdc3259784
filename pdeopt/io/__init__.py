"""Meshes, data and former runs from files; errors name the file and the place in it."""

from pdeopt.io.errors import FileError
from pdeopt.io.former_run import FormerRun, read_run
from pdeopt.io.meshes.mesh_file import read_mesh
from pdeopt.io.observations.observation_file import read_observations, write_observations
from pdeopt.io.observations.readings import TimeSeries, time_series
from pdeopt.io.observations.values import Observations

__all__ = [
    "FileError",
    "FormerRun",
    "Observations",
    "TimeSeries",
    "read_mesh",
    "read_observations",
    "read_run",
    "time_series",
    "write_observations",
]
