"""Meshes, data and former runs of the user's own, from files; errors name the file and the place in it."""

from pdeopt.io.errors import FileError
from pdeopt.io.mesh_file import read_mesh

__all__ = ["FileError", "read_mesh"]
