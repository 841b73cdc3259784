"""A program that renders views of a solid off-screen, as a process of its own.

A missing graphics driver ends it by a signal. It is started by::

    python scene_renderer.py SCENE.npz IMAGES.npy

SCENE holds ``points`` (n, 3), ``cells`` (c, vertices of a cell) in VTK's order, ``cell`` (the name of a VTK cell),
``kind`` ("vertices", "cells" or "boundary"), ``values`` (fields, n or c) in 0 … 1 or NaN, ``center`` (3,) where slices
meet, ``levels`` (k,) of the surfaces, ``axes`` (3,), the names of the coordinates, and ``colors`` (a color map). IMAGES
gets (fields, 2, height, width, 3) bytes: slices and surfaces of equal value, or the boundary from two sides.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
import pyvista as pv

#: The width and the height of an image, in pixels.
IMAGE_PIXELS = (760, 640)
#: The direction from which the solid is seen.
FRONT_DIRECTION = (0.85, -1.35, 0.75)
#: The direction from which the solid is seen from behind.
BACK_DIRECTION = (-0.85, 1.35, 0.75)
#: Half the height of an image, in diagonals of the solid's box.
HALF_HEIGHT = 0.5
#: The color where there is no value.
NO_VALUE_COLOR = "#D0D0D0"
#: The color of the solid's edges and of the axes.
EDGE_COLOR = "#444444"


def render(scene: dict[str, np.ndarray]) -> np.ndarray:
    """Return the images (fields, 2, height, width, 3) of a scene, given by the arrays of SCENE.npz."""
    cell = getattr(pv.CellType, str(scene["cell"]).upper())
    plotter = pv.Plotter(off_screen=True, window_size=list(IMAGE_PIXELS), lighting="three lights")
    plotter.set_background("white")
    plotter.show(auto_close=False)  # the first rendering would set the camera again
    return np.stack([np.stack(list(_views(plotter, scene, cell, values))) for values in scene["values"]])


def _views(plotter: pv.Plotter, scene: dict[str, np.ndarray], cell: int, values: np.ndarray) -> Iterator[np.ndarray]:
    grid = pv.UnstructuredGrid({cell: scene["cells"]}, scene["points"])
    look = {"scalars": "values", "cmap": str(scene["colors"]), "clim": (0, 1), "show_scalar_bar": False}
    if scene["kind"] == "boundary":
        surface = grid.extract_surface(algorithm="dataset_surface")
        surface["values"] = values[surface["vtkOriginalPointIds"]]
        known = ~np.isnan(surface["values"])
        for direction in (FRONT_DIRECTION, BACK_DIRECTION):
            yield _view(plotter, grid, scene["axes"], direction, lambda: _draw_boundary(plotter, surface, known, look))
        return
    (grid.cell_data if scene["kind"] == "cells" else grid.point_data)["values"] = values
    yield _view(
        plotter, grid, scene["axes"], FRONT_DIRECTION, lambda: _draw_slices(plotter, grid, scene["center"], look)
    )
    yield _view(
        plotter, grid, scene["axes"], FRONT_DIRECTION, lambda: _draw_surfaces(plotter, grid, scene["levels"], look)
    )


def _view(
    plotter: pv.Plotter, grid: pv.DataSet, axes: np.ndarray, direction: tuple, draw: Callable[[], None]
) -> np.ndarray:
    plotter.clear_actors()
    body = grid.extract_surface(algorithm="dataset_surface").compute_normals(consistent_normals=True)
    edges = body.extract_feature_edges(30, boundary_edges=False, manifold_edges=False, non_manifold_edges=False)
    plotter.add_mesh(edges, color=EDGE_COLOR, line_width=2)
    draw()
    plotter.show_bounds(
        color=EDGE_COLOR, font_size=16, location="outer", ticks="outside", n_xlabels=3, n_ylabels=3, n_zlabels=3,
        fmt="%.3g", xtitle=str(axes[0]), ytitle=str(axes[1]), ztitle=str(axes[2]),
    )  # fmt: skip
    plotter.enable_parallel_projection()
    plotter.view_vector(direction, viewup=(0, 0, 1), bounds=grid.bounds)
    plotter.camera.parallel_scale = HALF_HEIGHT * grid.length
    return plotter.screenshot(None, return_img=True)[..., :3]


def _draw_slices(plotter: pv.Plotter, grid: pv.UnstructuredGrid, center: np.ndarray, look: dict) -> None:
    for piece in grid.slice_orthogonal(*center):
        if piece.n_cells:
            plotter.add_mesh(piece, lighting=False, nan_color=NO_VALUE_COLOR, **look)


def _draw_surfaces(plotter: pv.Plotter, grid: pv.UnstructuredGrid, levels: np.ndarray, look: dict) -> None:
    """Draw surfaces of equal value, the outer ones so transparent that the inner ones are seen."""
    smooth = grid if "values" in grid.point_data else grid.cell_data_to_point_data()
    for level, opacity in zip(levels, np.linspace(0.35, 0.9, len(levels)), strict=True):
        surface = smooth.contour([level], scalars="values")
        if surface.n_cells:
            plotter.add_mesh(surface, opacity=opacity, smooth_shading=True, **look)


def _draw_boundary(plotter: pv.Plotter, surface: pv.PolyData, known: np.ndarray, look: dict) -> None:
    """Draw the boundary, with faces of which no vertex has a value transparent."""
    colored = surface.extract_points(known, adjacent_cells=False)
    if colored.n_cells:
        plotter.add_mesh(colored, lighting=False, **look)
    rest = surface.extract_points(~known, adjacent_cells=True)
    if rest.n_cells:
        plotter.add_mesh(rest, color=NO_VALUE_COLOR, opacity=0.15)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as file:
        np.save(sys.argv[2], render(dict(file)))
