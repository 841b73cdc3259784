"""Checks of meshes, and the cells of curved ones that hold given points."""
