"""Pictures of what changes in time, of made-up fields: curves of sensors, fields at some times, an animation."""

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import meshio
import numpy as np
import pytest
import skfem
from PIL import Image
from run_directories import TICKS, fields_on, space_of, write_run

import pdeopt
from pdeopt.cli import main
from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad
from pdeopt.inverse import (
    AtPoints,
    InTime,
    L2Misfit,
    MisfitSum,
    Numbers,
    Parameter,
    Problem,
    ReducedFunctional,
    mass,
)
from pdeopt.io import FileError, read_run
from pdeopt.pde import Evolution, TransientStateEquation
from pdeopt.run.errors import UsageError
from pdeopt.run.pictures.canvas.field_axes import beyond_scale, state_colors
from pdeopt.run.pictures.canvas.style import ERROR_MAP, STATE_MAP
from pdeopt.run.pictures.in_time import animation
from pdeopt.run.pictures.in_time.animation import animated_state
from pdeopt.run.pictures.in_time.chosen import evenly_chosen
from pdeopt.run.pictures.in_time.curves_figure import draw_curves_in_time, sensor_curves
from pdeopt.run.pictures.in_time.times_figure import coefficients_in_time, draw_times, states_in_time
from pdeopt.run.pictures.result_figure import draw_result, draw_unknowns
from pdeopt.run.store import mesh_output
from pdeopt.run.store.data.data_set import DataSet
from pdeopt.run.store.directory import RunDirectory, refuse_irregular_files, remove_final_files
from pdeopt.run.store.fields import FIELD_KIND, Unknown, read_fields, write_fields
from pdeopt.run.store.mesh_output import files_in_time, mesh_files, write_series
from pdeopt.run.store.placement import nowhere, place_field, place_parameter

TIMES = np.linspace(0, 1.1, 12)
READ = np.array([0.1, 0.2, 0.4, 0.8])
SENSORS = 20


def waves(experiments=2):
    """Fields of a state in time of a few experiments, read by sensors at four times."""
    fields = fields_on("P1")
    x = fields.state_at.x[0]
    phase = 2 * np.pi * x[:, None, None] + np.arange(1, experiments + 1)[:, None] * TIMES
    data = np.sin(np.arange(SENSORS)[:, None, None] + READ) * np.arange(1, experiments + 1)[:, None]
    return replace(
        fields,
        state=np.sin(phase),
        axes=("dof", "experiment", "time"),
        adjoint=None,
        state_times=TIMES,
        data=data,
        predicted=data + 0.1,
        initial_predicted=2 * data,
        noise=np.full((), 0.2),
        points=np.stack([np.linspace(0.1, 0.9, SENSORS), np.full(SENSORS, 0.5)]),
        data_times=READ,
        data_label="wave u (m)",
        time_unit="s",
    )


def heat(steps=10):
    """Fields of a controlled state in time: a target, and a control in each step."""
    fields = fields_on("P1", truth=False)
    times = np.arange(1, steps + 1) / steps
    control = np.outer(times, 1 + np.arange(len(fields.coefficient))).ravel()
    state = np.outer(np.ones(len(fields.state)), times)
    return replace(
        fields,
        parameter=control,
        coefficient=control,
        initial=0 * control,
        state=state,
        axes=("dof", "time"),
        adjoint=None,
        state_times=times,
        coefficient_times=times,
        kind=FIELD_KIND,
        data=2 * state,
        predicted=state,
        noise=None,
        points=None,
        role="control",
        data_label="temperature (K)",
    )


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


# --- the choice of a few -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (1, [0]),
        (2, [0, 1]),
        (6, [0, 1, 2, 3, 4, 5]),
        (10, [0, 3, 6, 9]),
        (101, [0, 20, 40, 60, 80, 100]),
        (8, [0, 1, 3, 4, 6, 7]),
    ],
)
def test_a_few_are_chosen_in_equal_steps_where_there_are_such(count, chosen):
    assert evenly_chosen(count, 6) == chosen
    assert len(evenly_chosen(count, 6, fewer=False)) == min(count, 6)


# --- curves of sensors -------------------------------------------------------------------------------------------


def test_each_sensor_shows_what_was_measured_and_predicted_there():
    fields = waves()
    figure = draw_curves_in_time(fields, {})
    assert titles(figure)[1] == "sensor 5 of 20 at (0.268, 0.5)"
    lines = {line.get_label(): line.get_xydata().T for line in figure.axes[1].get_lines()}
    assert lines["measured"] == pytest.approx(np.stack([READ, fields.data[4, 0]]))
    assert lines["predicted"] == pytest.approx(np.stack([READ, fields.predicted[4, 0]]))
    assert lines["at the initial guess"] == pytest.approx(np.stack([READ, fields.initial_predicted[4, 0]]))
    (band,) = figure.axes[1].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert [heights.min(), heights.max()] == pytest.approx(
        [fields.predicted[4, 0].min() - 0.2, fields.predicted[4, 0].max() + 0.2]
    )
    assert figure.axes[3].get_xlabel() == "time t (s)"
    assert figure.axes[0].get_ylabel() == "wave u (m)"
    assert "experiment 1 of 2" in figure.get_suptitle()


def test_times_are_drawn_in_order():
    order = np.array([2, 0, 3, 1])
    fields = waves(experiments=1)
    shuffled = replace(fields, data=fields.data[..., order], predicted=fields.predicted[..., order])
    curves = sensor_curves(replace(shuffled, data_times=READ[order], initial_predicted=None).data_sets)
    assert np.array_equal(curves[0].times, READ)
    assert np.array_equal(curves[0].measured, fields.data[0, 0])
    assert curves[0].initial is None


def test_noise_beyond_the_curves_is_told_in_place_of_a_band():
    figure = draw_curves_in_time(replace(waves(), noise=np.full((), 100.0)), {})
    assert not figure.axes[0].collections
    assert "σ = 1e+02, beyond the panels" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_sensors_with_different_times_are_data_sets_of_their_own():
    fields = waves(experiments=1)
    late = DataSet(
        "deep", np.ones((1, 2)), np.ones((1, 2)), np.ones(()), np.array([3.0, 4.0]), np.array([[0.5], [0.1]])
    )
    plain = DataSet("counts", np.ones(3), np.ones(3), None)
    curves = sensor_curves([*fields.data_sets, plain, late])
    assert curves[0].title == "wave u (m), sensor 1 of 20 at (0.1, 0.5)"
    assert curves[-1].title == "deep at (0.5, 0.1)"
    assert np.array_equal(curves[-1].times, [3, 4])
    assert titles(draw_curves_in_time(replace(fields, further_data=(plain, late)), {}))[-1] == "deep at (0.5, 0.1)"


def test_data_that_are_no_readings_in_time_have_no_curves():
    assert draw_curves_in_time(fields_on("P1"), {}) is None


def test_the_panel_above_a_missing_one_has_times():
    fields = waves(experiments=1)
    few = {name: getattr(fields, name)[:5] for name in ("data", "predicted", "initial_predicted")}
    figure = draw_curves_in_time(replace(fields, **few, points=None), {})
    assert [axes.get_xlabel() for axes in figure.axes[:5]] == ["", "", *3 * ["time t (s)"]]
    assert titles(figure)[4] == "sensor 5 of 5"


# --- fields at some times ----------------------------------------------------------------------------------------


def test_rows_are_experiments_at_some_times_on_one_scale():
    fields = waves(experiments=3)
    rows = states_in_time(fields, 6, 2)
    assert [row.name for row in rows] == ["state, experiment 1 of 3", "state, experiment 2 of 3"]
    assert rows[0].scale is rows[1].scale
    assert rows[1].drawn[2] == pytest.approx(fields.state_at.magnitude(fields.state[:, 1, 4]))
    assert rows[1].times[2] == TIMES[4]
    figure = draw_times(fields, {})
    assert titles(figure) == [f"t = {t:.4g} s" for t in TIMES[evenly_chosen(len(TIMES), 6)]]


def test_waves_are_white_at_zero_and_large_values_beyond_the_scale():
    wave = np.append(np.sin(np.arange(998.0)), [-50.0, 50.0])
    scale, colors = state_colors(wave)
    assert (scale.vmin, colors) == (-scale.vmax, ERROR_MAP)
    assert scale.vmax == pytest.approx(1, rel=1e-3)
    assert (beyond_scale(wave, scale), beyond_scale(wave[:-10] / 2, scale)) == ("both", "neither")
    scale, colors = state_colors(np.array([-1.0, 0.0, 50.0]))
    assert (scale.vmin, scale.vmax, colors) == (-1.0, 50.0, STATE_MAP)
    pulse = np.zeros(10_000)
    pulse[:2] = -2.0, 2.0
    assert state_colors(pulse)[0].vmax == 2.0


def test_a_controlled_state_is_shown_with_its_target_and_its_control():
    fields = heat()
    figure = draw_times(fields, {})
    names = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel() in ("target", "state", "control")]
    assert names == ["target", "state", "control"]
    assert titles(figure) == 2 * ["t = 0.1", "t = 0.4", "t = 0.7", "t = 1"]
    (control,) = coefficients_in_time(fields)
    assert control.drawn[1].max() == pytest.approx(0.4 * len(fields.at.x[0])), "that of step 4"


def test_the_result_shows_the_control_at_the_time_of_the_state():
    fields = heat()
    shown = fields.first
    assert np.array_equal(shown.coefficient, fields.coefficient.reshape(10, -1)[5])
    assert {"control, t = 0.6", "state, t = 0.6"} <= set(titles(draw_result(shown, {})))


@pytest.mark.parametrize(("time", "step"), [(0.05, 0), (0.1, 0), (0.1 + 1e-12, 0), (0.11, 1), (1.0, 9), (7.0, 9)])
def test_a_time_is_in_one_step(time, step):
    assert heat().step_at(time) == step


def test_fields_along_a_curve_are_lines():
    fields = waves(experiments=1)
    space = FunctionSpace(skfem.MeshLine(TICKS), skfem.ElementLineP1())
    state = np.outer(np.arange(space.n), TIMES)
    figure = draw_times(replace(fields, state=state, axes=("dof", "time"), state_at=place_field(space)), {})
    (axes,) = figure.axes
    assert len(axes.get_lines()) == 6
    assert axes.get_lines()[-1].get_ydata()[-1] == pytest.approx((space.n - 1) * TIMES[-1])


def test_a_curve_moves_within_axes_that_stay(monkeypatch):
    seen = []
    monkeypatch.setattr(animation, "draw_curve", lambda axes, at, drawn, **_: seen.append((axes, drawn)))
    space = FunctionSpace(skfem.MeshLine(TICKS), skfem.ElementLineP1())
    state = np.outer(np.arange(space.n), TIMES)
    fields = replace(waves(), state=state, axes=("dof", "time"), state_at=place_field(space))
    assert frames_of(animated_state(fields))[0] == len(TIMES)
    assert np.array_equal(seen[-1][1], state[:, -1])
    low, high = seen[-1][0].get_ylim()
    assert low < state.min()
    assert high > state.max()


def test_a_parameter_over_time_names_its_coordinate():
    space = FunctionSpace(skfem.MeshLine(TICKS), skfem.ElementLineP1())
    assert place_parameter(Parameter(space, "flux q", coordinate="time t (s)"), "m").abscissa_label == "time t (s)"
    assert place_parameter(Parameter(space, "flux q"), "m").abscissa_label == "x (m)"


def test_states_that_are_not_in_time_have_no_such_picture():
    assert draw_times(fields_on("P1"), {}) is None
    assert animated_state(fields_on("P1")) is None


# --- the animation -----------------------------------------------------------------------------------------------


def frames_of(content):
    with Image.open(io.BytesIO(content)) as picture:
        return picture.n_frames, picture.info


def test_the_animation_has_a_frame_for_each_time_and_begins_again():
    count, info = frames_of(animated_state(waves()))
    assert (count, info["loop"]) == (len(TIMES), 0)
    assert b"written by pdeopt" in info["comment"]


def test_few_times_are_not_animated():
    fields = waves()
    few = replace(fields, state=fields.state[..., :4], state_times=TIMES[:4])
    assert animated_state(few) is None


def test_a_large_animation_leaves_out_frames(monkeypatch):
    monkeypatch.setattr(animation, "MAX_BYTES", 1000)
    assert frames_of(animated_state(waves()))[0] == len(TIMES) // 2


def test_slow_frames_are_fewer_or_none(monkeypatch):
    monkeypatch.setattr(animation, "DRAWING_SECONDS", 0.0)
    assert animated_state(waves()) is None


# --- the store ---------------------------------------------------------------------------------------------------


def test_times_are_read_back(tmp_path):
    late = DataSet(
        "deep", np.ones((1, 2)), np.ones((1, 2)), None, np.array([3.0, 4.0]), np.zeros((2, 1)), np.ones((1, 2))
    )
    fields = replace(waves(), further_data=(late,))
    write_fields(tmp_path / "result.npz", fields)
    found = read_fields(tmp_path / "result.npz")
    assert np.array_equal(found.state_times, TIMES)
    assert found.time_unit == "s"
    assert found.extra == {}
    for mine, theirs in zip(found.data_sets, fields.data_sets, strict=True):
        assert np.array_equal(mine.times, theirs.times)
        assert np.array_equal(mine.points, theirs.points)
        assert np.array_equal(mine.initial_predicted, theirs.initial_predicted)
    write_fields(tmp_path / "control.npz", heat())
    assert read_fields(tmp_path / "control.npz").steps == 10


def test_one_of_several_parameters_may_be_in_time(tmp_path):
    fields = heat()
    size, at = len(fields.coefficient), fields.at
    both = np.append(fields.coefficient, 3.0)
    several = replace(
        fields,
        **dict.fromkeys(("parameter", "coefficient", "initial"), both),
        at=nowhere(size + 1),
        coefficient_times=None,
        unknowns={
            "u": Unknown(slice(0, size), slice(0, size), at, "control u", "control", (), fields.coefficient_times),
            "rate": Unknown(slice(size, size + 1), slice(size, size + 1), nowhere(1), "rate", "control", ("rate",)),
        },
    )
    write_fields(tmp_path / "result.npz", several)
    found = read_fields(tmp_path / "result.npz")
    assert (found.each["u"].steps, found.each["rate"].steps) == (10, 1)
    assert np.array_equal(found.first.coefficient, fields.drawn.coefficient)
    assert "control, t = 0.6" in titles(draw_unknowns(found, {}))
    assert [row.name for row in coefficients_in_time(found)] == ["control"]
    assert {"coefficient_u", "parameter_u"} <= set(next(files_in_time(found))[1].data)


def test_a_file_without_times_is_read(tmp_path):
    write_fields(tmp_path / "result.npz", fields_on("P1"))
    with np.load(tmp_path / "result.npz") as file:
        kept = {name: file[name] for name in file if name != "time_unit"}
    np.savez(tmp_path / "old.npz", **kept)
    found = read_fields(tmp_path / "old.npz")
    assert (found.state_times, found.coefficient_times, found.time_unit, found.steps) == (None, None, "", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_times": TIMES[1:]}, "12 times"),
        ({"coefficient_times": np.arange(7.0)}, "7 steps in time"),
        ({"coefficient_times": np.zeros(0)}, "0 steps in time"),
    ],
)
def test_times_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(waves(), **change)


def test_readings_need_as_many_times():
    with pytest.raises(ValueError, match="one time for each entry of the last axis"):
        DataSet("a", np.ones((2, 3)), np.ones((2, 3)), None, np.arange(2.0))


def test_a_former_control_is_evaluated_in_each_step(tmp_path):
    fields = heat()
    write_run(tmp_path / "run", fields)
    run = read_run(tmp_path / "run")
    assert run.coefficient_at(space_of("P1").locations) == pytest.approx(fields.coefficient)


def test_steps_of_a_former_run_must_divide_its_values(tmp_path):
    write_run(tmp_path / "run", heat())
    with np.load(tmp_path / "run" / "result.npz") as file:
        arrays = dict(file) | {"coefficient_times": np.arange(7.0)}
    np.savez(tmp_path / "run" / "result.npz", **arrays)
    with pytest.raises(FileError, match="those of 7 steps"):
        read_run(tmp_path / "run")


# --- a stored run ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_plot_and_report_show_a_run_in_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), waves())
    assert main(["plot", "run"]) == 0
    for name in ("curves.png", "curves.pdf", "times.png", "times.pdf", "animation.gif"):
        assert Path("run", name).stat().st_size > 1000
    assert main(["report", "run"]) == 0
    page = Path("run/report.html").read_text()
    assert page.count("data:image/gif;base64,") == 1
    assert "What sensors measured in time" in page
    assert main(["plot", "run", "--out", "a.png"]) == 0
    assert Path("a-animation.gif").exists()


# --- files for ParaView ------------------------------------------------------------------------------------------


def series_in(folder):
    """The times of fields.pvd, and the content of each of its files."""
    entries = [entry.attrib for entry in ElementTree.parse(folder / "fields.pvd").iter("DataSet")]
    return [float(one["timestep"]) for one in entries], [meshio.read(folder / one["file"]) for one in entries]


def test_a_state_in_time_is_a_series_and_the_coefficient_stays(tmp_path):
    fields = waves()
    write_series(tmp_path, files_in_time(fields))
    times, files = series_in(tmp_path)
    assert np.array_equal(times, TIMES)
    assert set(files[0].point_data) == {"state_1", "state_2"}
    assert files[3].point_data["state_2"] == pytest.approx(fields.state_at.drawn(fields.state[:, 1, 3]))
    (file,) = mesh_files(fields).values()
    assert set(file.data) == {"parameter", "coefficient", "truth", "error"}


def test_a_series_is_in_the_order_of_its_times(tmp_path):
    fields = waves()
    order = np.roll(np.arange(len(TIMES)), 5)
    write_series(tmp_path, files_in_time(replace(fields, state=fields.state[..., order], state_times=TIMES[order])))
    times, files = series_in(tmp_path)
    assert np.array_equal(times, TIMES)
    assert files[3].point_data["state_1"] == pytest.approx(fields.state_at.drawn(fields.state[:, 0, 3]))


def test_of_many_times_some_are_in_the_series(monkeypatch):
    monkeypatch.setattr(mesh_output, "MAX_SERIES_FILES", 4)
    assert [time for time, _ in files_in_time(waves())] == pytest.approx([0.0, 0.4, 0.7, 1.1])


def test_a_control_in_time_is_in_the_series(tmp_path):
    fields = heat()
    kept = {name: getattr(fields, name)[:, 1::4] for name in ("state", "data", "predicted")}
    some = replace(fields, **kept, state_times=fields.state_times[1::4])
    write_series(tmp_path, files_in_time(some))
    times, files = series_in(tmp_path)
    assert times == pytest.approx([0.2, 0.6, 1.0])
    assert set(files[0].point_data) == {"state", "target", "parameter", "coefficient"}
    assert files[1].point_data["coefficient"] == pytest.approx(fields.at.drawn(fields.coefficient.reshape(10, -1)[5]))
    assert files[1].point_data["target"] == pytest.approx(2 * files[1].point_data["state"])
    assert mesh_files(fields) == {}


def test_what_is_not_in_time_has_no_series(tmp_path):
    write_series(tmp_path, files_in_time(fields_on("P1")))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_goes_on_removes_its_series_and_nothing_else(tmp_path):
    write_series(tmp_path, files_in_time(waves()))
    (tmp_path / "fields_in_time" / "notes.txt").write_text("mine")
    remove_final_files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == ["fields_in_time/notes.txt"]
    (tmp_path / "fields_in_time" / "notes.txt").unlink()
    write_series(tmp_path, files_in_time(waves()))
    remove_final_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_series_is_not_followed(tmp_path):
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    elsewhere.mkdir()
    run.mkdir()
    (elsewhere / "0000.vtu").write_text("precious")
    (run / "fields_in_time").symlink_to(elsewhere)
    remove_final_files(run)
    for refused in (lambda: write_series(run, files_in_time(waves())), lambda: refuse_irregular_files(run)):
        with pytest.raises(UsageError, match="fields_in_time is no folder, or a link to one"):
            refused()
    assert (elsewhere / "0000.vtu").read_text() == "precious"
    with pytest.raises(UsageError, match="holds fields_in_time, which a run writes"):
        RunDirectory("heat", run)


# --- runs --------------------------------------------------------------------------------------------------------


def read_by(points, times, noise):
    """A misfit of the solution of ∂u/∂t = κ ∂²u/∂x² on (0, 1), u = 0 at both ends, to readings of noise alone."""
    observation = InTime(AtPoints.of(LINE, points), times)
    return L2Misfit.of(observation, np.ones((points.shape[1], len(times))), noise)


LINE = FunctionSpace(skfem.MeshLine(TICKS), skfem.ElementLineP1())


@pytest.mark.slow
def test_a_sum_of_readings_in_time_has_times_places_and_misfits():
    stiffness = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(LINE)
    start = np.sin(np.pi * LINE.locations[0])
    equation = TransientStateEquation(
        lambda m: Evolution(mass.assemble(LINE), jnp.exp(m[0]) * stiffness, initial=start),
        np.linspace(0, 0.1, 6),
        dirichlet=Dirichlet.on(LINE),
        kept=[0.02, 0.1],
        parts={"u": LINE},
    )
    west, east = read_by(np.array([[0.25]]), [0.04, 0.02], 0.1), read_by(np.array([[0.5, 0.75]]), [0.1], 0.2)
    misfit = MisfitSum.of({"west": west, "east": east})
    parameter = Numbers(["log κ"], "log κ")
    problem = Problem(ReducedFunctional(equation, misfit), initial=np.zeros(1), parameter=parameter, time_unit="s")
    solution = pdeopt.solve(problem, max_iterations=2, progress=False, verify=False)
    first, second = solution.fields.data_sets
    assert (first.label, second.label) == ("west", "east")
    assert np.array_equal(first.times, [0.04, 0.02])
    assert np.array_equal(second.points, [[0.5, 0.75]])
    assert second.initial_predicted == pytest.approx(np.asarray(equation.read(np.zeros(1), [0.1], np.array([2, 3]))))
    for one, part in ((first, west), (second, east)):
        expected = 0.5 * (((one.predicted - 1) / part.noise) ** 2).sum()
        assert solution.summary["misfits"][one.label]["misfit"] == pytest.approx(expected)
    assert solution.summary["time_steps"] >= 5 * solution.summary["evaluations"]
    assert solution.summary["adjoint_time_steps"] >= 5 * solution.summary["evaluations"]
    assert solution.summary["peak_state_memory"] > 0
    assert np.array_equal(solution.fields.state_times, [0.02, 0.1])
    assert len(titles(solution.plot("curves"))) == 3


@pytest.mark.slow
def test_a_run_in_time_writes_all_of_it_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = ["run", "heat_control", "--n", "4", "--steps", "6", "--out", "a", "--quiet", "--no-check"]
    assert main([*run, "--max-iterations", "2"]) == 0
    names = {path.name for path in Path("a").iterdir()}
    assert {"times.png", "times.pdf", "animation.gif", "fields.pvd", "fields_in_time"} <= names
    assert not {"curves.png", "fields.vtu", "state.vtu"} & names
    assert series_in(Path("a"))[0] == pytest.approx(np.arange(1, 7) / 6)
    fields = read_fields(Path("a/result.npz"))
    assert fields.coefficient_times == pytest.approx(np.arange(1, 7) / 6)
    assert fields.time_unit == "s"
    assert main(["resume", "a", "--max-iterations", "9", "--quiet"]) == 0
    assert series_in(Path("a"))[0] == pytest.approx(np.arange(1, 7) / 6)
    again = [*run[:6], "--out", "b", "--quiet", "--no-check", "--no-pictures", "--initial-guess", "a"]
    assert main([*again, "--max-iterations", "1"]) == 0
    assert pdeopt.load("b").history["objective"][0] == pytest.approx(pdeopt.load("a").history["objective"][-1])
    assert not Path("b/animation.gif").exists()
    capsys.readouterr()
    assert main(["run", "heat_control", "--n", "4", "--steps", "3", "--out", "c", "--initial-guess", "a"]) == 2
    assert "a holds 6 steps in time; this problem has 3" in capsys.readouterr().err
