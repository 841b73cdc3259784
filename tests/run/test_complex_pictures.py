"""Complex-valued states in a run directory: stored whole, drawn by parts."""

from dataclasses import replace

import meshio
import numpy as np
import pytest
import skfem
from run_directories import fields_on, linear, problem_on, space_of, write_meshes

from pdeopt.cli import main
from pdeopt.inverse import FullField, InputError, L2Misfit, ReducedFunctional
from pdeopt.run.pictures.complex_figure import draw_complex
from pdeopt.run.pictures.components_figure import draw_components
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.store.fields import FIELD_KIND, check_state_space, read_fields, write_fields
from pdeopt.run.store.placement import place_field


def wave_fields(name="P1", columns=2):
    """Fields with a complex state of some experiments, its adjoint, and complex data of the state itself."""
    real = fields_on(name)
    x = space_of(name).locations
    state = np.stack([(k + 1) * np.exp(1j * linear(x)) for k in range(columns)], axis=1)
    noise = np.full(state[::3].shape, 0.1)
    return replace(
        real,
        state=state,
        axes=("dof", "experiment"),
        adjoint=1j * state,
        data=state[::3] + 0.17j,
        predicted=state[::3],
        noise=noise,
    )


def titles_of(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def colors_of(axes):
    return np.asarray(axes.collections[0].get_array())


def test_a_complex_state_and_its_adjoint_are_stored_whole(tmp_path):
    fields = wave_fields()
    write_fields(tmp_path / "result.npz", fields)
    again = read_fields(tmp_path / "result.npz")
    for name in ("state", "adjoint", "data", "predicted"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fields, name))


def test_files_for_paraview_have_real_and_imaginary_parts(tmp_path):
    fields = wave_fields()
    write_meshes(tmp_path, fields)
    data = meshio.read(tmp_path / "fields.vtu").point_data
    assert {name for name in data if "state" in name} == {
        f"state_{k}_{part}" for k in (1, 2) for part in ("real", "imaginary")
    }
    np.testing.assert_allclose(data["state_2_imaginary"], 2 * np.sin(linear(fields.at.x)), atol=1e-12)
    np.testing.assert_allclose(data["adjoint_1_real"], -np.sin(linear(fields.at.x)), atol=1e-12)


def test_the_result_shows_the_real_part_and_both_parts_of_the_data():
    fields = wave_fields()
    figure = draw_result(fields, {})
    panels = {axes.get_title(): axes for axes in figure.axes}
    state = panels["real part of the state, experiment 1 of 2"]
    np.testing.assert_allclose(np.sort(colors_of(state)), np.sort(np.cos(linear(fields.at.x))), atol=1e-12)
    fit = panels["data fit"]
    assert [text.get_text() for text in fit.get_legend().get_texts()] == [
        *("predicted = measured", "real part", "imaginary part"),
    ]
    real, imaginary = (np.asarray(drawn.get_offsets()) for drawn in fit.collections)
    np.testing.assert_allclose(real, np.stack([fields.data.real.ravel(), fields.predicted.real.ravel()], 1))
    np.testing.assert_allclose(imaginary[:, 0] - imaginary[:, 1], 0.17)
    residuals = next(axes for title, axes in panels.items() if title.startswith("residuals"))
    bars = [bar for bar in residuals.patches if bar.get_height() > 0]
    assert len(bars) == 2, "0 of the real parts, −1.7 of the imaginary parts"
    assert bars[0].get_height() == pytest.approx(bars[1].get_height())


@pytest.mark.parametrize("name", ["P1", "P0", "tetrahedra P1"])
def test_real_part_magnitude_and_phase_are_drawn_of_state_and_adjoint(tmp_path, name):
    fields = wave_fields(name, columns=1)
    figure = draw_complex(fields, {})
    titles = titles_of(figure)
    note = " (slice z = 0.5)" if "tetra" in name else ""
    assert titles == [
        f"{what} of {which}{note}"
        for which in ("state u", "adjoint state λ")
        for what in ("real part", "magnitude", "phase")
    ]
    panels = [axes for axes in figure.axes if axes.get_title()]
    if name == "P1":
        phase = np.angle(np.exp(1j * linear(fields.at.x)))
        np.testing.assert_allclose(np.sort(colors_of(panels[2])), np.sort(phase), atol=1e-12)
        np.testing.assert_allclose(colors_of(panels[1]), 1.0, atol=1e-12)
    figure.savefig(tmp_path / "x.png", dpi=30)


def test_of_complex_vectors_real_components_and_magnitudes_are_drawn():
    space = space_of("P1").with_element(skfem.ElementVector(space_of("P1").element))
    state = linear(space.locations) * (3 + 4j)
    fields = replace(fields_on("P1"), state=state, adjoint=None, state_at=place_field(space))
    assert titles_of(draw_complex(fields, {})) == ["real part of state u", "magnitude of state u"]
    size = colors_of([axes for axes in draw_complex(fields, {}).axes if axes.get_title()][1])
    np.testing.assert_allclose(np.sort(size), np.sort(5 * np.sqrt(2) * linear(fields.at.x)), rtol=1e-12)
    components = draw_components(fields, {})
    assert titles_of(components) == ["real part of the state, x component", "real part of the state, y component"]


def test_a_complex_target_is_drawn_by_its_real_part():
    fields = wave_fields(columns=1)
    fields = replace(fields, kind=FIELD_KIND, data=2 * fields.state, predicted=fields.state, noise=None)
    panels = {axes.get_title(): axes for axes in draw_result(fields, {}).axes}
    np.testing.assert_allclose(colors_of(panels["target"]), 2 * colors_of(panels["real part of the state"]))


def test_real_states_have_no_such_picture_and_complex_coefficients_are_refused():
    fields = fields_on("P1")
    assert draw_complex(fields, {}) is None
    with pytest.raises(ValueError, match="coefficient is complex"):
        replace(fields, coefficient=fields.coefficient * 1j)


def test_a_complex_coefficient_is_refused_before_anything_is_solved():
    problem = problem_on(space_of("P1"))
    misfit = L2Misfit.of(FullField(), np.ones(25), 1.0)
    functional = ReducedFunctional(lambda k: abs(k), misfit, parametrization=lambda m: m * (1 + 1j))
    check_state_space(problem)
    with pytest.raises(InputError, match="the parametrization returns a complex coefficient"):
        check_state_space(replace(problem, functional=functional))


@pytest.mark.slow
def test_a_run_with_a_complex_state_leaves_all_its_parts(tmp_path):
    options = ["--n", "3", "--frequencies", "2", "--wavenumber", "4", "--directions", "2", "--receivers", "8"]
    out = tmp_path / "run"
    words = [*options, "--max-iterations", "3", "--no-check", "--out", str(out), "--quiet"]
    assert main(["run", "helmholtz_scattering", *words]) == 0
    fields = read_fields(out / "result.npz")
    assert fields.experiments == 4, "two directions at two frequencies"
    assert all(np.iscomplexobj(values) for values in (fields.state, fields.adjoint, fields.data, fields.predicted))
    assert (out / "complex.png").is_file()
    assert (out / "complex.pdf").is_file()
    assert {"state_4_imaginary", "adjoint_1_real", "coefficient"} <= set(meshio.read(out / "fields.vtu").point_data)
