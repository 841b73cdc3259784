"""Several runs in one figure."""

from dataclasses import replace

import numpy as np
import pytest
import skfem
from matplotlib.image import imread
from run_directories import fields_on, linear, problem_on, rows, space_of, write_run

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import LabelImage, Views
from pdeopt.run.pictures.common_truth import shared_truth
from pdeopt.run.pictures.comparison_figure import draw_comparison
from pdeopt.run.store.fields import fields_of
from pdeopt.run.store.stored_run import read_run, read_runs

IMAGE = LabelImage("found", ["water", "wood"], truth="known", extent=(0, 1, 0, 1))


def comparison(folder, *runs, against="iterations"):
    """The figure, without its parts: those with color bars are counted, too. Args: runs as `write_run` takes them."""
    paths = [write_run(folder / f"run {k}", **run) for k, run in enumerate(runs)]
    figure = draw_comparison(read_runs(paths), against)
    figure.savefig(folder / "x.png", dpi=30)
    return figure


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title() and axes.get_visible()]


def legend_of(figure):
    return [text.get_text() for panel in figure.subfigs for legend in panel.legends for text in legend.get_texts()]


def on_mesh(cells, function=linear, element=skfem.ElementTriP1, size=1):
    ticks = np.linspace(0, size, cells + 1)
    space = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), element())
    problem = problem_on(space)
    return replace(fields_of(problem, problem.initial), truth=function(space.locations))


def bump(width):
    return lambda x: 1 + np.exp(-((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2) / width**2)


def test_reconstructions_share_a_scale_with_the_truth_before_them(tmp_path):
    P1, Q0 = fields_on("P1"), fields_on("Q0")
    figure = comparison(tmp_path, {"fields": replace(P1, coefficient=3.5 * P1.coefficient)}, {"fields": Q0})
    assert titles(figure) == ["truth", "run 0\nerror 50 %", "run 1\nerror 50 %"]
    norms = [axes.collections[0].norm for axes in figure.axes if axes.get_title()]
    assert {(norm.vmin, norm.vmax) for norm in norms} == {(1.0, 4.0)}


@pytest.mark.parametrize(
    ("make", "same"),
    [
        (lambda: (on_mesh(8), on_mesh(8)), True),
        (lambda: (on_mesh(8), on_mesh(13)), True),
        (lambda: (on_mesh(12, bump(0.2)), on_mesh(31, bump(0.2))), True),
        (lambda: (on_mesh(8), on_mesh(8, lambda x: linear(x) + 1e-3)), False),
        (lambda: (on_mesh(12, bump(0.2)), on_mesh(31, bump(0.3))), False),
        (lambda: (on_mesh(8), on_mesh(16, size=2)), False),
        (lambda: (on_mesh(8), replace(on_mesh(8), truth=None)), False),
        (lambda: (on_mesh(16), on_mesh(16, element=skfem.ElementTriP0)), True),
    ],
)
def test_a_truth_is_recognized_on_another_mesh(make, same):
    first, second = make()
    for runs in ([first, second], [second, first]):
        found = shared_truth(runs)
        assert (found is not None) is same
        assert not same or found.at.x.shape[1] == max(first.at.x.shape[1], second.at.x.shape[1])


def test_a_slice_is_called_one(tmp_path):
    figure = comparison(tmp_path, *[{"fields": fields_on("tetrahedra P1")}] * 2)
    assert figure.axes[-1].get_ylabel() == "coefficient (–), slice z = 0.5"


def test_different_truths_are_not_drawn(tmp_path):
    figure = comparison(tmp_path, {"fields": on_mesh(6)}, {"fields": on_mesh(6, lambda x: 2 * linear(x))})
    assert [title.split("\n")[0] for title in titles(figure)] == ["run 0", "run 1"]


def test_curves_are_compared_in_one_panel(tmp_path):
    space = space_of("P1")
    problem = problem_on(space, dofs=space.dofs(lambda x: x[0] == 1))
    fields = fields_of(problem, problem.initial)
    figure = comparison(tmp_path, {"fields": fields}, {"fields": fields})
    assert [text.get_text() for text in figure.axes[-1].get_legend().get_texts()] == ["truth", "run 0", "run 1"]


def test_runs_that_did_not_end_are_drawn_and_named(tmp_path):
    other = replace(fields_on("P1"), label="source (1/s)")
    failed = {"fields": fields_on("P1"), "summary": {"status": "failed", "relative_error": None}}
    figure = comparison(tmp_path, {"fields": fields_on("P1")}, {}, failed, {"fields": other})
    assert legend_of(figure)[:4] == ["run 0", "run 1 (unfinished)", "run 2 (failed)", "run 3"]
    assert figure.get_supxlabel() == "no reconstruction here: run 1 (unfinished), run 3 (source (1/s), 2-D)"
    assert titles(figure) == ["truth", "run 0\nerror 50 %", "run 2 (failed)"]
    assert len(figure.axes[0].lines) == 4, "a history each"


def test_many_runs_are_wrapped_into_rows(tmp_path):
    figure = comparison(tmp_path, *[{"fields": fields_on("P1")}] * 7)
    panels = [axes for axes in figure.axes if axes.get_title()]
    heights = {round(axes.get_position().y0, 2) for axes in panels}
    assert (len(panels), len(heights)) == (8, 2)
    assert min(axes.get_position().width * figure.get_figwidth() for axes in panels) > 1.5, "inches"
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 7


def test_changes_of_the_strength_are_marked_for_each_run_in_its_color(tmp_path):
    changing = [replace(row, strength=10.0 ** (row.iteration // 2)) for row in rows((5, 4, 3, 2))]
    figure = comparison(tmp_path, {"history": changing}, {}, {"history": changing}, against="evaluations")
    axes = figure.axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [mark.get_xdata()[0] for mark in marks] == [2.5, 2.5]
    assert [mark.get_color() for mark in marks] == [axes.lines[0].get_color(), axes.lines[3].get_color()]
    assert [text.get_text() for text in axes.texts] == ["1", "10"] * 2
    assert len({text.get_position()[1] for text in axes.texts}) == 2, "a line of text each"
    assert axes.get_xlabel() == "evaluations of the objective"


def segmented(score=None, truth=None):
    found = np.zeros((4, 4), int)
    found[1:3, 1:3] = 1
    extra = {"found": found} if truth is None else {"found": found, "known": truth}
    fields = replace(fields_on("P1", truth=False), views=Views(segmentation=IMAGE), extra=extra)
    return {"fields": fields, "summary": {"score": score, "headline": {"score": "grade"}}}


def test_segmentations_stand_side_by_side(tmp_path):
    truth = np.eye(4, dtype=int)
    figure = comparison(tmp_path, segmented(0.75, truth), segmented(None, truth), {"fields": fields_on("P1")})
    assert titles(figure)[-3:] == ["true segmentation", "run 0\ngrade 0.750", "run 1"]
    assert "wood" in legend_of(figure)
    (tmp_path / "other").mkdir()
    figure = comparison(tmp_path / "other", segmented(0.75, truth), segmented(0.5, 1 - truth))
    assert "true segmentation" not in titles(figure)


@pytest.mark.slow
def test_the_command_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_run(tmp_path / name, fields_on("P1"))
    assert main(["plot", "a", "b", "--against", "seconds"]) == 0
    assert capsys.readouterr().out == "comparison.png\n"
    assert imread("comparison.png").std() > 0.05
    assert main(["plot", "a", "./a", "--out", "one.png"]) == 0
    assert capsys.readouterr().out.split() == ["one.png", "one-history.png"], "the same run twice is one"
    assert main(["plot", "a", "b", "--against", "second"]) == 2
    assert "seconds" in capsys.readouterr().err


def test_a_title_tells_the_options_that_were_given(tmp_path):
    options = {"n": 4, "noise": 0.01, "continuation": False, "data": "/a/long/path/to/some/folder/measured"}
    argv = ["run", "tank", "--data", options["data"], "--noise=0.01", "--no-continuation", "--optimizer", "cg"]
    run = read_run(write_run(tmp_path / "tank", config={"options": options, "argv": argv}))
    assert run.title == "tank (noise 0.01, no continuation, data …measured)"
    assert run.titled_summary == {}, "unfinished"


@pytest.mark.parametrize(("solver", "title"), [("superlu", "tank (n 4, solver superlu)"), (None, "tank (n 4)")])
def test_a_title_tells_the_solver_that_was_asked_for(tmp_path, solver, title):
    config = {"options": {"n": 4}, "argv": ["run", "tank", "--n=4"], "requested_solver": solver}
    assert read_run(write_run(tmp_path / "tank", config=config)).title == title
