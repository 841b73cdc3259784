"""3-D scenes: the right views of the right values, and a run that does without them."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from matplotlib import colormaps

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import AtDofs, L2Misfit, Parameter, Problem, ReducedFunctional
from pdeopt.run.errors import UsageError
from pdeopt.run.pictures import scene_figure
from pdeopt.run.pictures.scene_figure import PYVISTA_REMEDY, draw_scene, scene_note
from pdeopt.run.store.fields import fields_of

TICKS = np.linspace(0, 1, 7)
TETRAHEDRA = skfem.MeshTet.init_tensor(TICKS, TICKS, TICKS).with_defaults()
HEXAHEDRA = skfem.MeshHex.init_tensor(TICKS, TICKS, TICKS)
SUMMARY = {"problem": "body", "status": "converged", "iterations": 3}
SPHERE = "import pyvista as pv; p = pv.Plotter(off_screen=True); p.add_mesh(pv.Sphere()); p.screenshot(None)"


@pytest.fixture(scope="session")
def renders():
    """Skips where nothing can be rendered: without pyvista, or without OpenGL."""
    pytest.importorskip("pyvista")
    if subprocess.run([sys.executable, "-c", SPHERE], capture_output=True, check=False).returncode:
        pytest.skip("no OpenGL")


def bump(x):
    """1 outside, 3 around (⅓, ⅔, ½)."""
    square = (x[0] - 1 / 3) ** 2 + (x[1] - 2 / 3) ** 2 + (x[2] - 0.5) ** 2
    return 1 + 2 * np.minimum(1, 4 * np.exp(-square / 0.02))


def fields_on(space, truth=bump, found=bump, dofs=None):
    """The coefficient ``found``, beside ``truth``; enough of a problem to draw it."""
    where = np.arange(space.n) if dofs is None else dofs
    x = space.locations[:, where]
    misfit = L2Misfit.of(AtDofs(where[:1]), np.ones(1), 0.1)
    functional = ReducedFunctional(lambda m: jnp.zeros(space.n).at[where].set(m), misfit)
    parameter = Parameter(space, "conductivity κ (S/m)", dofs)
    known = None if truth is None else truth(x)
    problem = Problem(functional, np.ones(len(where)), parameter, truth=known, state_space=space)
    return fields_of(problem, found(x))


def pictures(figure):
    """Title → picture (height, width, 3), of all panels but the color bar."""
    return {axes.get_title(): np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images}


def share_of(picture, value):
    """The part of a picture that has the color of a value in 0 … 1."""
    color = 255 * np.array(colormaps["viridis"](value)[:3])
    return (np.abs(picture - color).max(-1) < 30).mean()


@pytest.mark.slow
def test_slices_and_surfaces_of_truth_and_result(renders):
    space = FunctionSpace(TETRAHEDRA, skfem.ElementTetP1())
    figure = draw_scene(fields_on(space, found=lambda x: 1 + 0 * x[0]), SUMMARY)
    seen = pictures(figure)
    planes = "slices x = 0.33, y = 0.67, z = 0.5"
    assert list(seen) == [
        *(f"truth, {planes}", f"reconstruction, {planes}"),
        *("truth, surfaces of 1.8, 2.5", "reconstruction, surfaces of 1.8, 2.5"),
    ]
    truth, flat, surfaces, none = seen.values()
    assert share_of(truth, 0.0) > 0.1
    assert share_of(truth, 1.0) > 1e-3
    assert share_of(flat, 0.0) > share_of(truth, 0.0)
    assert share_of(flat, 1.0) == 0
    assert np.abs(surfaces.astype(int) - none).max() > 100, "a flat field has no surface"
    assert figure.axes[-1].get_ylabel() == "conductivity κ (S/m)"
    assert figure.axes[-1].get_ylim() == pytest.approx((1, 3), rel=0.01)


@pytest.mark.slow
def test_hexahedra_are_drawn_as_tetrahedra_are(renders):
    tetrahedra, hexahedra = (
        pictures(draw_scene(fields_on(FunctionSpace(mesh, element), truth=None), SUMMARY)).values()
        for mesh, element in ((TETRAHEDRA, skfem.ElementTetP1()), (HEXAHEDRA, skfem.ElementHex1()))
    )
    for expected, picture in zip(tetrahedra, hexahedra, strict=True):
        assert picture.shape == expected.shape
        assert np.abs(picture.astype(int) - expected).mean() < 8


@pytest.mark.slow
def test_values_in_cells(renders):
    seen = pictures(draw_scene(fields_on(FunctionSpace(HEXAHEDRA, skfem.ElementHex0()), truth=None), SUMMARY))
    assert [title.split(",")[0] for title in seen] == ["reconstruction"] * 2
    slices, surfaces = seen.values()
    assert share_of(slices, 1.0) > 1e-3
    assert (slices != surfaces).any()


@pytest.mark.slow
def test_vectors_are_drawn_by_their_length(renders):
    space = FunctionSpace(TETRAHEDRA, skfem.ElementVector(skfem.ElementTetP1()))
    seen = pictures(draw_scene(fields_on(space, truth=None), SUMMARY))
    assert share_of(next(iter(seen.values())), 1.0) > 1e-3


@pytest.mark.slow
def test_a_coefficient_on_the_boundary_is_seen_from_both_sides(renders):
    space = FunctionSpace(TETRAHEDRA, skfem.ElementTetP1())
    left = fields_on(space.boundary("left"), found=lambda x: 1 + x[1], truth=None, dofs=space.dofs("left"))
    seen = pictures(draw_scene(left, SUMMARY))
    assert list(seen) == ["reconstruction, from the front", "reconstruction, from behind"]
    for picture in seen.values():
        assert share_of(picture, 0.0) > 1e-3
        assert share_of(picture, 1.0) > 1e-3


@pytest.mark.slow
def test_a_coefficient_without_contrast_has_no_surfaces(renders):
    space = FunctionSpace(TETRAHEDRA, skfem.ElementTetP1())
    seen = pictures(draw_scene(fields_on(space, truth=None, found=lambda x: 1 + 0 * x[0]), SUMMARY))
    assert "reconstruction, no surface: hardly any contrast" in seen


def test_a_plane_is_no_solid():
    plane = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS), skfem.ElementTriP1())
    fields = fields_on(plane, truth=None, found=lambda x: x[0])
    assert draw_scene(fields, SUMMARY) is None
    assert scene_note(fields) == ""


@pytest.mark.slow
def test_a_run_without_pyvista_says_so_and_a_plot_with_it_draws(renders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["run", "conductivity", "--dim", "3", "--n", "4", "--max-iterations", "1", "--no-check", "--out", "run"]
    with pytest.MonkeyPatch.context() as hidden:
        hidden.setattr(scene_figure, "find_spec", lambda name: None)
        assert main(words) == 0
        captured = capsys.readouterr()
        assert captured.out.count(PYVISTA_REMEDY) == 1
        assert captured.err == ""
        assert main(["plot", "run"]) == 0
        assert capsys.readouterr().err == f"{PYVISTA_REMEDY}\n"
    assert not (tmp_path / "run" / "scene.png").exists()
    assert main(["plot", "run"]) == 0
    captured = capsys.readouterr()
    assert "run/scene.png" in captured.out.split()
    assert captured.err == ""
    assert (tmp_path / "run" / "scene.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11; it needs OpenGL"),
        ("raise ValueError('no such thing')", "the 3-D renderer failed: ValueError: no such thing"),
        ("import time; time.sleep(60)", "stopped after"),
    ],
)
def test_a_renderer_that_fails_is_one_message(tmp_path, monkeypatch, code, message):
    (tmp_path / "renderer.py").write_text(code)
    monkeypatch.setattr(scene_figure, "RENDERER", tmp_path / "renderer.py")
    monkeypatch.setattr(scene_figure, "MAX_RENDERING_SECONDS", 2.0)
    monkeypatch.setattr(scene_figure, "find_spec", lambda name: name)
    with pytest.raises(UsageError, match=message):
        draw_scene(fields_on(FunctionSpace(TETRAHEDRA, skfem.ElementTetP1())), SUMMARY)
