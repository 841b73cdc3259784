"""What a problem says of its last iterate: in the files of a run, in its pictures; and the strength that it chooses."""

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from matplotlib.collections import LineCollection
from matplotlib.image import imread

from pdeopt.cli import main
from pdeopt.eit.tanks.tank import Tank
from pdeopt.eit.tanks.tank_disk import disk_mesh
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    AtDofs,
    InputError,
    L2Misfit,
    LabelImage,
    Log,
    Marks,
    Parameter,
    Problem,
    ReducedFunctional,
    Series,
    Views,
)
from pdeopt.inverse.views import DEFAULT_COLORS
from pdeopt.run.execution.interpretation import interpretations
from pdeopt.run.pictures import segmentation_figure
from pdeopt.run.pictures.canvas.boundary_marks import label_places
from pdeopt.run.pictures.reference_figure import draw_reference
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.pictures.segmentation_figure import draw_segmentation
from pdeopt.run.store.data.data_set import DataSet
from pdeopt.run.store.fields import RESULT_NAMES, fields_of, is_result_name, read_fields, write_fields
from pdeopt.run.store.placement import place_field

pytestmark = pytest.mark.usefixtures("compiled_once")

FILE = '''"""The state is the coefficient, with noise."""

import numpy as np
import skfem
import jax.numpy as jnp

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import FullField, L2Misfit, LabelImage, Parameter, Problem, ReducedFunctional, Series, Views, h1

TICKS = np.linspace(0, 1, 5)


def interpret(m):
    {body}


VIEWS = Views(
    segmentation=LabelImage("segmentation", ["water", "resistive", "conductive"]),
    reference=Series("reference_measured", "reference_predicted", "the model misses the reference"),
    headline={{"score": "grade"}},
)

def build(seed: int = 0) -> Problem:
    V = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS), skfem.ElementTriP1())
    data = V.nodal(lambda x: np.sin(3 * x[0])) + 0.1 * np.random.default_rng(seed).standard_normal(V.n)
    functional = ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), data, 0.1), h1(V, 1.0))
    return Problem(
        functional, np.zeros(V.n), Parameter(V, "m"), optimizer="newton-cg", views=VIEWS, interpret=interpret{more}
    )
'''
LABELS = "np.repeat(np.repeat([[0, 1], [2, 0]], 4, 0), 4, 1).astype(np.uint8)"
MEANING = f"""return {{
        "score": 0.75, "objects": np.int64(2), "kind_of_tank": "round", "size": jnp.asarray(float(m @ m)),
        "segmentation": {LABELS}, "reference_measured": np.ones((3, 4)), "reference_predicted": 1.1 * np.ones((3, 4)),
    }}"""


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(body="return {}", more=""):
    Path("tiny.py").write_text(FILE.format(body=body, more=more), encoding="utf-8")
    return "./tiny.py"


def summary_of(*words, body="return {}", more="", status=0, drawn=False):
    quiet = ["--no-check", "--quiet"] if drawn else ["--no-check", "--quiet", "--no-pictures"]
    assert main(["run", written(body, more), "--out", "out", *quiet, *words]) == status
    return json.loads(Path("out/summary.json").read_text(encoding="utf-8"))


# --- files of a run ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_scalars_are_in_the_summary_and_arrays_in_the_result(capsys):
    assert main(["run", written(MEANING), "--out", "out", "--no-pictures"]) == 0
    said = capsys.readouterr().out
    assert said.index("evaluating the result") < said.index("interpreting the result") < said.index("writing results")
    for line in ("grade           0.75", "objects         2", "kind_of_tank    round"):
        assert f"  {line}" in said
    summary = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    fields = read_fields(Path("out/result.npz"))
    assert (summary["score"], summary["objects"], summary["kind_of_tank"]) == (0.75, 2, "round")
    assert summary["size"] == pytest.approx(fields.parameter @ fields.parameter)
    assert "segmentation" not in summary
    assert set(fields.extra) == {"segmentation", "reference_measured", "reference_predicted"}
    assert fields.extra["segmentation"].dtype == np.uint8
    assert (fields.extra["reference_predicted"] == 1.1).all()


@pytest.mark.slow
def test_its_pictures_are_drawn_and_drawn_again(capsys):
    summary_of(body=MEANING, drawn=True)
    pictures = [Path(f"out/{name}.png") for name in ("segmentation", "reference")]
    for picture in pictures:
        assert imread(picture).std() > 0.05, "not blank"
        picture.unlink()
    assert main(["plot", "out"]) == 0
    names = ("result", "history", "segmentation", "reference")
    assert capsys.readouterr().out.split() == [f"out/{name}.{kind}" for name in names for kind in ("png", "pdf")]
    assert all(picture.exists() for picture in pictures)
    assert main(["plot", "out", "--out", "page.png"]) == 0
    assert Path("page-segmentation.png").exists()


@pytest.mark.slow
def test_an_array_that_is_not_there_to_be_shown_is_told(capsys):
    assert main(["run", written("return {'segmentation': np.zeros((2, 2), int)}"), "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert "interpret returned no array 'reference_measured', which the problem's views show" in said
    assert "'segmentation'" not in said
    assert "interpret returned no number 'score', which the headline of the views shows" in said


def test_views_of_what_nothing_returns_are_refused():
    for views, name in ((Views(segmentation=IMAGE), "segmentation"), (Views(headline={"smallest": "low"}), "smallest")):
        with pytest.raises(InputError, match=f"the views show '{name}', and nothing returns it"):
            tank_problem(views=views, quantities={"largest": np.max})
    shown = Views(ELECTRODES, headline={"largest": "largest", "iterations": "iterations"})
    assert tank_problem(views=shown, quantities={"largest": np.max}).views is shown


def test_without_an_interpretation_nothing_is_said_of_it(capsys):
    path = written()
    Path(path).write_text(
        Path(path).read_text(encoding="utf-8").replace(", views=VIEWS, interpret=interpret", ""), "utf-8"
    )
    assert main(["run", path, "--out", "out", "--no-pictures"]) == 0
    assert "interpreting" not in capsys.readouterr().out
    assert not {"segmentation.png", "reference.png"} & {item.name for item in Path("out").iterdir()}
    assert read_fields(Path("out/result.npz")).extra == {}


@pytest.mark.slow
def test_a_failure_loses_nothing_else(capsys):
    summary = summary_of(body="raise RuntimeError('no objects')", status=1, drawn=True)
    assert "the result cannot be interpreted: RuntimeError: no objects (tiny.py, line 14)" in capsys.readouterr().err
    assert summary["status"] == "failed"
    assert summary["message"].startswith("the gradient norm")
    assert summary["misfit"] > 0
    assert read_fields(Path("out/result.npz")).extra == {}
    assert Path("out/result.png").exists()


def test_ctrl_c_during_the_interpretation_loses_nothing_else():
    summary = summary_of(body="raise KeyboardInterrupt", status=130)
    assert summary["status"] == "stopped"
    assert summary["message"].endswith("interrupted while the result was interpreted")
    assert Path("out/result.npz").exists()


PARTS = "yield {'found': 1.5, 'table': np.ones(3)}\n    "


@pytest.mark.parametrize(
    ("ending", "status", "message"),
    [
        ("raise KeyboardInterrupt", 130, "interrupted while the result was interpreted"),
        ("raise RuntimeError('no objects')", 1, "RuntimeError: no objects (tiny.py, line 15)"),
        ("yield {'found': 2.5}", 1, "a value 'found', which an earlier part has already; choose another name"),
    ],
)
def test_what_was_said_before_the_interpretation_ended_stays(ending, status, message):
    summary = summary_of(body=PARTS + ending, status=status)
    assert message in summary["message"]
    assert summary["found"] == 1.5
    assert (read_fields(Path("out/result.npz")).extra["table"] == 1).all()


def test_parts_add_up():
    summary = summary_of(body=PARTS + "yield {'more': 2}")
    assert (summary["status"], summary["found"], summary["more"]) == ("converged", 1.5, 2)


def test_a_picture_that_fails_is_a_warning(capsys):
    body = 'return {"segmentation": np.full((3, 3), "water"), "reference_measured": np.ones((2, 2))}'
    assert summary_of(body=body, drawn=True)["status"] == "converged"
    assert "segmentation.png and segmentation.pdf could not be written" in capsys.readouterr().err
    assert Path("out/result.npz").exists()


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"misfit": 1.0}, "'misfit', which summary.json has already; choose another name"),
        ({"largest": 1.0}, "'largest', which summary.json has already"),
        ({"truth": np.ones(3)}, "'truth', which result.npz has already; choose another name"),
        ({"state_at_gather": np.ones(3)}, "'state_at_gather', which result.npz has already"),
        ({"file": np.ones(3)}, "'file', which result.npz has already"),
        ({"views": np.ones(3)}, "'views', which result.npz has already"),
        ({"headline": 1.0}, "'headline', which summary.json has already"),
        ({"a/b": 1.0}, "'a/b'; expected a name of letters, digits and _"),
        ({3: 1.0}, "expected a name"),
        ({"score": None}, "score of type NoneType; expected a number, a text or an array"),
        ({"ragged": [[1], [1, 2]]}, "ragged of type list; expected a number, a text or an array"),
        ({"score": 1j}, "no complex numbers"),
        ([1.0], "interpret returned list; expected a dictionary"),
        (None, "interpret returned NoneType; expected a dictionary"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_refused(returned, words):
    problem = tank_problem(interpret=lambda m: returned, quantities={"largest": np.max})
    with pytest.raises(InputError) as raised:
        list(interpretations(problem, problem.initial))
    assert words in str(raised.value)


def test_names_of_the_other_file_are_free():
    """A scalar goes to summary.json alone, an array to result.npz."""
    (found,) = interpretations(tank_problem(interpret=lambda m: {"truth": 1.5, "misfit": m}), np.arange(3.0))
    assert found.scalars == {"truth": 1.5}
    assert found.arrays["misfit"] == pytest.approx(np.arange(3.0))


def test_an_interpretation_cannot_change_the_result():
    problem = tank_problem(interpret=lambda m: {"first": m.fill(7.0) or m[0]})
    m = problem.initial.copy()
    assert next(interpretations(problem, m)).scalars == {"first": 7.0}
    assert (m == problem.initial).all()


@pytest.mark.parametrize(
    "given",
    [{"interpret": 3}, {"discrepancy_factor": 0.0}, *({"regularization_strength": s} for s in (0.0, -1, np.inf, True))],
    ids=str,
)
def test_a_problem_refuses_what_it_can_check(given):
    with pytest.raises(InputError, match=f"{next(iter(given))} is .*expected"):
        tank_problem(**given)


def test_stored_names_are_those_that_are_written(tmp_path):
    problem = tank_problem(truth=np.ones(MESH.nvertices), views=VIEWS, interpret=dict)
    fields = fields_of(problem, problem.initial)
    fields = replace(fields, points=np.zeros((2, 1)), adjoint=fields.state)
    write_fields(tmp_path / "result.npz", fields)
    finer = FunctionSpace(MESH.refined(1), skfem.ElementTriP1())
    other = replace(fields, state=np.zeros(finer.n), adjoint=None, state_at=place_field(finer))
    write_fields(tmp_path / "other.npz", other)
    target = replace(
        fields,
        target_at=fields.at,
        data=fields.state,
        predicted=fields.state,
        parts={"potential": fields.state_at},
        further_data=(DataSet("counts", np.ones(2), np.ones(2), np.ones(2)),),
    )
    write_fields(tmp_path / "parts.npz", target)
    with np.load(tmp_path / "parts.npz") as parts:
        assert all(is_result_name(name) for name in parts)
        added = {name for name in parts if name.startswith("target_at_")} | {"part_names", "further_labels"}
    with np.load(tmp_path / "result.npz") as one_mesh, np.load(tmp_path / "other.npz") as two_meshes:
        unknowns = {f"unknown_{name}" for name in ("names", "labels", "roles", "starts")}  # of several parameters
        times = {"state_times", "coefficient_times", "data_times", "initial_predicted"}  # of states in time
        assert set(one_mesh) | set(two_meshes) | added | unknowns | times | {"number_names"} == RESULT_NAMES
        assert set(two_meshes) - set(one_mesh) == {"state_p", "state_t", "state_cell"}


# --- the strength that a problem chooses -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_rule_of_the_problem_is_followed():
    summary = summary_of(more=', regularization_strength="Cooling", discrepancy_factor=1.3', drawn=True)
    assert summary["strength_rule"] == "cooling"
    assert summary["strength"]["target"] == pytest.approx(1.3 * summary["expected_misfit"])
    assert Path("out/strength.png").exists()
    config = json.loads(Path("out/config.json").read_text(encoding="utf-8"))
    assert (config["regularization_strength"], config["discrepancy_factor"]) == ("cooling", 1.3)


@pytest.mark.parametrize("asked", ["1", "0.5"])
def test_the_command_line_comes_before_the_problem(asked):
    more = ', regularization_strength="cooling", discrepancy_factor=1.3'
    summary = summary_of("--regularization-strength", asked, more=more)
    assert (summary["strength_rule"], summary["regularization_strength"]) == (None, float(asked))


@pytest.mark.slow
def test_a_factor_on_the_command_line_comes_before_that_of_the_problem():
    more = ', regularization_strength="cooling", discrepancy_factor=1.3'
    summary = summary_of("--discrepancy-factor", "1.1", more=more)
    assert summary["strength"]["target"] == pytest.approx(1.1 * summary["expected_misfit"])


def test_a_number_of_the_problem_is_taken():
    assert summary_of(more=", regularization_strength=0.25")["regularization_strength"] == 0.25


def test_an_unknown_rule_is_bad_input(capsys):
    assert main(["run", written(more=', regularization_strength="coolin"'), "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert "tiny.py: regularization_strength = 'coolin': expected discrepancy, cooling, lcurve or a number" in error
    assert "did you mean 'cooling'?" in error
    assert not Path("out").exists()


# --- pictures ----------------------------------------------------------------------------------------------------

TANK = Tank()
MESH = disk_mesh(TANK, TANK.radius / 5)
TRUE = np.zeros((64, 64), np.uint8)
TRUE[10:20, 20:40], TRUE[40:50, 20:30] = 1, 2
EXTRA = {"segmentation": np.roll(TRUE, 2, 0), "segmentation_truth": TRUE}
ELECTRODES = Marks.on_boundaries(
    FunctionSpace(MESH, skfem.ElementTriP1()), {name: str(number) for number, name in enumerate(MESH.boundaries, 1)}
)
EXTENT = TANK.radius * np.array([-1, 1, -1, 1])
CLASSES = ["water", "resistive", "conductive"]
IMAGE = LabelImage("segmentation", CLASSES, truth="segmentation_truth", extent=EXTENT)
REFERENCE = Series(
    *("reference_measured", "reference_predicted", "reference: the empty tank misses the voltages"),
    **{"unit": "V", "row": "difference", "column": "current pattern"},
)
VIEWS = Views(ELECTRODES, IMAGE, REFERENCE, {"score": "score"})


def tank_problem(mesh=MESH, element=None, **given):
    """The 'state' is the coefficient; enough to draw."""
    V = FunctionSpace(mesh, element or skfem.ElementTriP1())
    misfit = L2Misfit.of(AtDofs(np.arange(9)), np.linspace(0, 1, 9), np.linspace(0.1, 0.2, 9))
    functional = ReducedFunctional(lambda m: jnp.exp(m), misfit, parametrization=Log())
    return Problem(functional, np.zeros(V.n), Parameter(V, "conductivity σ (S/m)"), state_space=V, **given)


def tank_fields(truth=None, views=VIEWS, **extra):
    problem = tank_problem(truth=truth, data_label="voltage change (V)", views=views, interpret=dict)
    return replace(fields_of(problem, problem.initial + 0.1), extra={k: v for k, v in extra.items() if v is not None})


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def marks(axes):
    """The labels beside the marks, and their pieces (s, 2, 2)."""
    lines = [one for one in axes.collections if isinstance(one, LineCollection)]
    return [text.get_text() for text in axes.texts], np.array(lines[0].get_segments()) if lines else None


@pytest.mark.parametrize("known", [True, False])
def test_a_segmentation_takes_the_place_of_the_initial_guess(known):
    extra = EXTRA if known else {**EXTRA, "segmentation_truth": None}
    summary = {"problem": "p", "status": "stopped", "iterations": 3, "score": 0.5, "headline": VIEWS.headline}
    figure = draw_result(tank_fields(**extra), summary)
    expected = ["reconstruction", "segmentation", *["true segmentation"] * known, "data fit"]
    assert titles(figure)[: len(expected)] == expected
    assert "residuals, mean σ = 0.15 (noise level)" in titles(figure)
    assert "score 0.500" in figure.get_suptitle()
    figure.savefig("x.png", dpi=30)


def test_a_true_coefficient_keeps_its_place():
    figure = draw_result(tank_fields(np.ones(MESH.nvertices), **EXTRA), {})
    assert titles(figure)[:3] == ["truth", "reconstruction", "reconstruction − truth"]
    assert not any("segmentation" in title for title in titles(figure))


def test_electrodes_stand_just_outside_of_the_rim():
    figure = draw_result(tank_fields(**EXTRA), {})
    drawn = [axes for axes in figure.axes if marks(axes)[1] is not None and axes.texts]
    assert [axes.get_title() for axes in drawn] == ["reconstruction", "segmentation", "true segmentation", "state"]
    for axes in drawn:
        numbers, pieces = marks(axes)
        assert numbers == [str(k) for k in range(1, 33, 4)]
        radii = np.linalg.norm(pieces, axis=-1) / TANK.radius
        assert 1 < radii.min() <= radii.max() < 1.03
        assert axes.get_xlim()[1] > 1.1 * TANK.radius
    ninth = next(text for text in drawn[0].texts if text.get_text() == "9")
    assert ninth.xy == pytest.approx((-TANK.radius, 0), abs=1e-3), "electrode 9 is at the left"
    assert ninth.xyann == pytest.approx((-9, 0), abs=0.1), "and its number beyond it"


def test_few_electrodes_are_all_numbered():
    few = [piece for piece, label in enumerate(ELECTRODES.labels) if int(label) <= 6]
    marked = Marks(ELECTRODES.segments[few], [ELECTRODES.labels[piece] for piece in few])
    assert list(label_places(marked)) == list("123456")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("views", "extra"),
    [
        ({"marks": None}, {}),
        ({"marks": replace(ELECTRODES, labels=())}, {}),
        ({"segmentation": None}, {}),
        ({"segmentation": replace(IMAGE, truth="")}, {}),
        ({"segmentation": replace(IMAGE, extent=None)}, {}),
        ({}, {"segmentation": None}),
        ({}, {"segmentation_truth": np.zeros((3, 3))}),
        ({}, {"segmentation": np.zeros((64, 64), np.uint8), "segmentation_truth": np.ones((64, 64), np.uint8)}),
    ],
    ids=["marks", "labels", "image", "true name", "extent", "found", "shape of the truth", "one class"],
)
def test_missing_pieces_are_done_without(views, extra):
    fields = tank_fields(views=replace(VIEWS, **views), **{**EXTRA, **extra})
    draw_result(fields, {}).savefig("x.png", dpi=30)
    figure = draw_segmentation(fields, {})
    assert (figure is None) == ("segmentation" in views | extra and (views | extra)["segmentation"] is None)
    if figure is not None:
        figure.savefig("x.png", dpi=30)


def test_segmentation_beside_the_truth():
    figure = draw_segmentation(tank_fields(**EXTRA), {"problem": "tank", "score": 0.7654, "headline": VIEWS.headline})
    assert figure.get_suptitle() == "tank: segmentation,  score 0.765"
    found, truth = figure.axes
    assert titles(figure) == ["segmentation", "true segmentation"]
    for axes, labels in ((found, EXTRA["segmentation"]), (truth, TRUE)):
        (image,) = axes.images
        assert (image.get_array() == labels).all()
        assert image.origin == "upper"
        assert image.get_extent() == pytest.approx(EXTENT)
        (rim,) = axes.patches
        assert rim.radius == pytest.approx(TANK.radius, rel=1e-3)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*CLASSES, "outline of the truth"]
    figure.savefig("x.png", dpi=30)


def test_the_outline_lies_around_the_true_objects():
    found = draw_segmentation(tank_fields(**EXTRA), {}).axes[0]
    outlines = [one for one in found.collections if not isinstance(one, LineCollection)]
    points = np.concatenate([path.vertices for one in outlines for path in one.get_paths()])
    pixel = 2 * TANK.radius / 64
    low, high = -TANK.radius + 20 * pixel, -TANK.radius + 40 * pixel
    assert (points[:, 0].min(), points[:, 0].max()) == pytest.approx((low, high), abs=0.51 * pixel)
    top, bottom = TANK.radius - 10 * pixel, TANK.radius - 50 * pixel
    assert (points[:, 1].min(), points[:, 1].max()) == pytest.approx((bottom, top), abs=0.51 * pixel)


def test_each_label_has_its_color():
    figure = draw_segmentation(tank_fields(**EXTRA), {})
    image = figure.axes[1].images[0]
    shown = image.to_rgba(np.array([[0, 1, 2]]))[0, :, :3]
    patches = [patch.get_facecolor()[:3] for patch in figure.legends[0].get_patches()]
    assert shown == pytest.approx(np.array(patches))
    lightness = shown @ [0.2126, 0.7152, 0.0722]
    assert np.ptp(lightness) > 0.4
    assert np.diff(np.sort(lightness)).min() > 0.15, "told apart without colors, too"


@pytest.mark.slow
def test_a_tank_in_three_dimensions_has_no_electrodes_in_its_picture():
    mesh = skfem.MeshTet.init_tensor(*3 * (np.linspace(-0.1, 0.1, 3),))
    problem = tank_problem(mesh, skfem.ElementTetP1(), views=VIEWS, interpret=dict)
    fields = replace(fields_of(problem, problem.initial), extra=EXTRA)
    figure = draw_result(fields, {})
    assert not [axes for axes in figure.axes if marks(axes)[0]]
    assert titles(figure)[:2] == ["reconstruction (slice z = 0)", "segmentation"]
    figure.savefig("x.png", dpi=30)
    assert not draw_segmentation(fields, {}).axes[0].patches, "no circle around what is not round"


def test_a_segmentation_on_a_mesh_in_one_dimension_has_no_circle():
    problem = tank_problem(skfem.MeshLine(np.linspace(0, 1, 10)), skfem.ElementLineP1(), views=VIEWS, interpret=dict)
    fields = replace(fields_of(problem, problem.initial), extra=EXTRA)
    assert not draw_segmentation(fields, {}).axes[0].patches


def test_the_classes_that_need_no_colors_are_as_many_as_there_are():
    assert len(segmentation_figure.CLASS_COLORS) == DEFAULT_COLORS


def reference(q=5, patterns=8):
    measured = 1 + np.arange(q * patterns, dtype=float).reshape(q, patterns)
    predicted = 1.1 * measured
    predicted[2] = 1.2 * measured[2]
    predicted[:, 3] = measured[:, 3]
    measured[4], measured[0, 5] = np.nan, np.nan
    return measured, predicted


def test_reference_page():
    measured, predicted = reference()
    figure = draw_reference(
        tank_fields(reference_measured=measured, reference_predicted=predicted), {"problem": "tank"}
    )
    seen = np.isfinite(measured)
    overall = 100 * np.linalg.norm((predicted - measured)[seen]) / np.linalg.norm(measured[seen])
    assert figure.get_suptitle() == f"tank, reference: the empty tank misses the voltages by {overall:.2g} %"
    page, beside, below = (figure.axes[k] for k in (0, 1, 2))
    (image,) = page.images
    assert np.ma.filled(image.get_array(), np.nan) == pytest.approx(predicted - measured, nan_ok=True)
    assert image.norm.vmin == -image.norm.vmax
    assert page.get_title() == "predicted − measured (gray: not used)"
    heights = [bar.get_height() for bar in below.patches]
    widths = [bar.get_width() for bar in beside.patches]
    assert heights[3] == 0
    assert 10 < heights[0] < 20
    assert widths[4] == 0, "nothing was measured"
    sizes = np.linalg.norm((predicted - measured)[2]) / np.linalg.norm(measured[2])
    assert widths[2] == pytest.approx(100 * sizes)
    assert any("predicted − measured (V)" in axes.get_ylabel() for axes in figure.axes)
    assert (page.get_ylabel(), below.get_xlabel()) == ("difference", "current pattern")
    figure.savefig("x.png", dpi=30)


@pytest.mark.parametrize(
    ("measured", "predicted"),
    [(None, np.ones((2, 3))), (np.ones((2, 3)), None), (np.ones((2, 3)), np.ones((3, 2))), (np.ones(3), np.ones(3))],
)
def test_no_reference_no_page(measured, predicted):
    assert draw_reference(tank_fields(reference_measured=measured, reference_predicted=predicted), {}) is None


def test_a_reference_without_any_measurement_has_no_page():
    nothing = np.full((2, 3), np.nan)
    assert draw_reference(tank_fields(reference_measured=nothing, reference_predicted=np.ones((2, 3))), {}) is None


def test_a_reference_that_is_met_exactly():
    ones = np.ones((2, 3))
    figure = draw_reference(tank_fields(reference_measured=ones, reference_predicted=ones), {})
    assert figure.get_suptitle() == "reference: the empty tank misses the voltages by 0 %"
    figure.savefig("x.png", dpi=30)
