"""The views of a problem in the files of a run, in titles and tables, and those of runs of former versions."""

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from run_directories import fields_on, write_run

import pdeopt
from pdeopt.cli import main
from pdeopt.inverse import LabelImage, Marks, Series, Views
from pdeopt.run.pictures.canvas.style import styled
from pdeopt.run.pictures.reference_figure import draw_reference
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.pictures.segmentation_figure import draw_segmentation
from pdeopt.run.report.report_tables import facts, nested, results
from pdeopt.run.store.fields import read_fields, write_fields
from pdeopt.run.store.stored_run import read_run, read_summary
from pdeopt.run.store.views.headline import headline_facts, in_short
from pdeopt.run.sweep.grid import Grid, Key
from pdeopt.run.sweep.results import FinishedRun
from pdeopt.run.sweep.table import print_results

SEGMENTS = np.array([[[0.0, 0.0], [0.25, 0.0]], [[0.25, 0.0], [0.5, 0.0]], [[1.0, 0.0], [1.0, 0.25]]])
FOUND = np.array([[0, 1, 1], [0, 0, 2], [0, 0, 0]], np.uint8)
ARRAYS = {
    "segmentation": FOUND,
    "segmentation_truth": np.roll(FOUND, 1, 0),
    "reference_measured": np.arange(1.0, 7.0).reshape(2, 3),
    "reference_predicted": np.arange(2.0, 8.0).reshape(2, 3),
}
#: What eit_tank's pictures showed before a problem had views.
VIEWS = Views(
    marks=Marks(SEGMENTS, ["1", "1", "2"]),
    segmentation=LabelImage(
        "segmentation", ["water", "plastic", "metal"], truth="segmentation_truth", extent=np.array([0, 1, 0, 1.0])
    ),
    reference=Series(
        *("reference_measured", "reference_predicted", "reference: the homogeneous model misses the voltages"),
        **{"unit": "V", "row": "difference", "column": "current pattern"},
    ),
    headline={"score": "score"},
)
SUMMARY = {"problem": "tank", "status": "stopped", "iterations": 3, "score": 0.75, "headline": {"score": "score"}}


def tank():
    return replace(fields_on("P1", truth=False), views=VIEWS, extra=ARRAYS, data_label="corrected voltages (V)")


def drawn(fields):
    """All pictures that show views, as pixels."""
    with styled():
        figures = [draw(fields, SUMMARY) for draw in (draw_result, draw_segmentation, draw_reference)]
        files = [BytesIO() for _ in figures]
        for figure, file in zip(figures, files, strict=True):
            figure.savefig(file, dpi=40)
    return [imread(BytesIO(file.getvalue())) for file in files]


def former_file(path, arrays):
    """Turn result.npz into one of the version before."""
    with np.load(path) as file:
        kept = {name: array for name, array in file.items() if name not in ("views", "mark_segments", "mark_labels")}
    np.savez(path, **kept, **arrays)


@pytest.mark.slow
def test_a_stored_run_is_drawn_without_its_problem_file(tmp_path):
    write_fields(tmp_path / "result.npz", tank())
    found = read_fields(tmp_path / "result.npz")
    assert found.extra.keys() == ARRAYS.keys()
    assert found.views.headline == {"score": "score"}
    assert list(found.views.marks.labels) == ["1", "1", "2"]
    assert found.views.reference == VIEWS.reference
    for before, after in zip(drawn(tank()), drawn(found), strict=True):
        assert (before == after).all()


@pytest.mark.slow
def test_a_run_of_the_version_before_is_drawn_as_it_was(tmp_path):
    write_fields(tmp_path / "result.npz", tank())
    former_file(
        tmp_path / "result.npz",
        {
            "electrode_segments": SEGMENTS,
            "electrode_numbers": np.array([1, 1, 2]),
            "segmentation_names": np.array(["water", "plastic", "metal"]),
            "segmentation_extent": np.array([0.0, 1.0, 0.0, 1.0]),
        },
    )
    for before, after in zip(drawn(tank()), drawn(read_fields(tmp_path / "result.npz")), strict=True):
        assert (before == after).all()


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"electrode_segments": SEGMENTS[:0]},
        {"electrode_segments": np.zeros((3, 2, 3))},
        {"electrode_segments": SEGMENTS, "electrode_numbers": np.arange(9)},
        {"segmentation_names": np.array("water"), "segmentation_extent": np.zeros(3)},
    ],
)
def test_what_a_run_of_the_version_before_lacks_is_done_without(tmp_path, arrays):
    write_fields(tmp_path / "result.npz", tank())
    former_file(tmp_path / "result.npz", arrays)
    views = read_fields(tmp_path / "result.npz").views
    assert (views.marks is None) == (arrays.get("electrode_numbers") is None)
    assert views.marks is None or not views.marks.labels
    assert (views.segmentation.classes, views.segmentation.extent) == (("water", "resistive", "conductive"), None)


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"segmentation_names": np.array(list("abcdefgh"))}, "segmentation"),
        ({"segmentation_extent": np.array([0, 1, 0, np.inf])}, "segmentation"),
        ({"electrode_segments": np.full((2, 2, 2), np.nan)}, "marks"),
        ({"electrode_segments": np.full((2, 2, 2), "x")}, "marks"),
        ({"electrode_numbers": np.array([1, np.nan, 2])}, "marks"),
    ],
)
def test_what_of_a_run_of_the_version_before_cannot_be_shown_is_left_out(tmp_path, arrays, part):
    write_fields(tmp_path / "result.npz", tank())
    shown = {"electrode_segments": SEGMENTS, "electrode_numbers": np.array([1, 1, 2])}
    former_file(tmp_path / "result.npz", {**shown, **arrays})
    views = read_fields(tmp_path / "result.npz").views
    left_out = [name for name in ("marks", "segmentation", "reference") if getattr(views, name) is None]
    assert left_out == [part]


def test_an_array_that_no_view_names_is_not_drawn():
    fields = replace(tank(), views=Views())
    assert draw_segmentation(fields, SUMMARY) is None
    assert draw_reference(fields, SUMMARY) is None


def test_classes_have_the_colors_that_the_problem_gives():
    image = replace(VIEWS.segmentation, colors=["white", "red", "blue"])
    figure = draw_segmentation(replace(tank(), views=replace(VIEWS, segmentation=image)), SUMMARY)
    assert [patch.get_facecolor() for patch in figure.legends[0].get_patches()] == [
        *((1, 1, 1, 1), (1, 0, 0, 1), (0, 0, 1, 1))
    ]
    shown = figure.axes[0].images[0].to_rgba(np.array([[0, 1, 2]]))
    assert (shown[0] == [[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 1, 1]]).all()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"segmentation": {"found": 3}, "reference": null, "headline": {}}'])
def test_views_that_cannot_be_read_are_refused(tmp_path, capsys, text):
    folder = write_run(tmp_path / "run", tank())
    with np.load(folder / "result.npz") as file:
        arrays = {**file, "views": np.array(text)}
    np.savez(folder / "result.npz", **arrays)
    assert main(["plot", str(folder)]) == 2
    assert f"cannot read {folder / 'result.npz'}" in capsys.readouterr().err


# --- numbers in titles and tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8334, "0.833"), (1.0, "1.000"), (0.0, "0.000"), (4, "4"), (1234.5, "1.23e+03"), (-2e-5, "-2e-05")],
)
def test_numbers_are_written_in_short(value, text):
    assert in_short(value) == text


def test_numbers_of_the_problem_stand_beside_the_error(tmp_path):
    told = {"peak": 312.25, "headline": {"peak": "peak temperature (K)", "drift": "drift"}}
    run = read_run(write_run(tmp_path / "run", fields_on("P1"), told))
    expected = [("peak temperature (K)", "312.250"), ("relative error", "50 %")]
    assert facts(run)[:2] == expected
    assert (
        "peak temperature (K) 312.250,  relative L² error 50 %" in draw_result(run.fields, run.summary).get_suptitle()
    )
    assert results(run)["peak"] == "312.25"
    assert "stopped, peak temperature (K) 312.250, relative error 50 %)" in repr(pdeopt.load(tmp_path / "run"))
    assert not nested(run), "words are no result"


def test_a_summary_of_the_version_before_has_its_score_in_the_headline(tmp_path):
    folder = write_run(tmp_path / "run", fields_on("P1"), {"score": 0.75})
    assert "headline" not in json.loads((folder / "summary.json").read_text())
    assert headline_facts(read_summary(folder / "summary.json")) == [("score", "0.750")]
    assert read_summary(tmp_path / "nothing.json") == {}


def test_the_table_of_a_sweep_has_a_column_for_each_number(capsys):
    grid = Grid((Key("--n", ("4", "6")),))
    one = {"status": "stopped", "message": "", "objective": 1.0, "peak": 0.5, "headline": {"peak": "peak (K)"}}
    other = {"status": "failed", "message": "no"}
    runs = [FinishedRun(point, summary) for point, summary in zip(grid.points, (one, other), strict=True)]
    print_results(Console(width=100), grid, runs)
    header, first, second = capsys.readouterr().out.splitlines()[:3]
    assert header.split() == ["n", "status", "objective", "peak", "(K)"]
    assert first.split() == ["4", "stopped", "*1", "0.500"]
    assert second.split()[-1] == "–"
