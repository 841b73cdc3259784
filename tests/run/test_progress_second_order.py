"""What a person sees of Newton's method and of a rule for the strength: on the way, at the end, and in history.png."""

import io
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console
from small_problem import SMALL, read_json

from pdeopt.cli import main
from pdeopt.inversion.history import HISTORY_COLUMNS, Row
from pdeopt.run.pictures.canvas.style import new_figure
from pdeopt.run.pictures.history_figure import draw_histories_into, draw_history
from pdeopt.run.watch.end_of_run import print_summary
from pdeopt.run.watch.progress import Progress

pytestmark = pytest.mark.usefixtures("compiled_once")

ROW = Row(
    **dict.fromkeys(HISTORY_COLUMNS, 0)
    | {"objective": 2.0, "misfit": 1.5, "regularization": 0.5, "seconds": 0.1, "strength": 1.0}
)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")


def shown(*rows, note="", terminal=True, quiet=False):
    """What is on the screen at the end."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=140)
    with Progress(console, quiet) as progress:
        progress.row(ROW)
        if note:
            progress.note(note)
        for row in rows:
            progress.row(row)
            progress.status("on the way …")
    return console.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "plain"])
@pytest.mark.parametrize(
    ("title", "change"), [("CG iterations", {"cg_iterations": 7}), ("strength", {"strength": 0.31})]
)
def test_a_column_is_shown_where_it_says_something(title, change, terminal):
    assert title not in shown(replace(ROW, iteration=1), terminal=terminal)
    text = shown(replace(ROW, iteration=1, **change), terminal=terminal)
    assert title in text
    assert str(*change.values()) in text


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "plain"])
def test_a_note_stays(terminal):
    rows = [replace(ROW, iteration=k) for k in range(1, 31)]
    text = shown(*rows, note="discrepancy: strength 0.31", terminal=terminal)
    assert text.count("discrepancy: strength 0.31") == 1
    assert text.index("discrepancy") < text.rindex("gradient norm")
    assert shown(note="discrepancy: strength 0.31", terminal=terminal, quiet=True) == ""


@pytest.mark.slow
def test_a_run_by_rule_says_all_of_it(tmp_path, capsys):
    words = ["--optimizer", "newton-cg", "--inner-product", "euclidean", "--regularization-strength", "discrepancy"]
    assert main(["run", "./small.py", *words, "--out", "out", "--no-pictures"]) == 0
    out, summary = capsys.readouterr().out, read_json(tmp_path / "out" / "summary.json")
    tried = summary["strength"]["tried"]
    for one in tried:
        assert f"discrepancy: strength {one['strength']:.4g}, misfit {one['misfit']:.5g}" in out
    end = {line.split("  ")[1].strip(): line for line in out[out.index("converged: ") :].splitlines()[1:]}
    chosen = f"{summary['regularization_strength']:.4g} × the problem's, by the rule discrepancy"
    assert end["strength"].endswith(f"{chosen} ({len(tried)} minimizations)")
    assert end["inner product"].endswith("euclidean")
    assert f"iterations with {summary['cg_iterations']} CG iterations, " in end["work"]


@pytest.mark.slow
def test_no_start_passes_for_the_minimum_at_a_weaker_strength(tmp_path, capsys):
    """The gradient of 16 exact data is below the goal at once; their misfit falls with the square of the strength."""
    words = ["--optimizer", "newton-cg", "--regularization-strength", "lcurve", "--noise", "0.0003", "--quiet"]
    main(["run", "./small.py", *words, "--out", "out", "--no-pictures"])
    tried = read_json(tmp_path / "out" / "summary.json")["strength"]["tried"]
    weak = [one["misfit"] for one in sorted(tried, key=lambda one: -one["strength"])[-4:]]
    assert all(after < 0.1 * before for before, after in pairwise(weak)), weak


@pytest.mark.slow
def test_a_plain_run_does_not_mention_them(capsys):
    assert main(["run", "./small.py", "--max-iterations", "2", "--no-pictures"]) == 0
    out = capsys.readouterr().out
    assert not any(word in out for word in ("CG", "strength", "inner product"))


def test_the_strength_of_a_rule_is_said_where_it_is_one(tmp_path, capsys):
    summary = {"status": "converged", "message": "", "objective": 1.0, "misfit": 1.0, "regularization": 0.0}
    counts = dict.fromkeys(
        ("iterations", "cg_iterations", "evaluations", "newton_iterations", "factorizations", "solves", "seconds"), 1
    )
    chosen = {"regularization_strength": 1.0, "strength_rule": "cooling", "strength": {"tried": [{}]}}
    unknown = {"relative_error": None, "discrepancy": None, "inner_product": "l2"}
    print_summary(Console(width=120), summary | counts | chosen | unknown, tmp_path)
    assert "1 × the problem's, by the rule cooling (1 minimization)\n" in capsys.readouterr().out


def test_a_given_strength_is_said(capsys):
    assert (
        main(["run", "./small.py", "--max-iterations", "2", "--regularization-strength", "0.25", "--no-pictures"]) == 0
    )
    assert "  strength        0.25 × the problem's\n" in capsys.readouterr().out


def history_of(strengths):
    rows = [replace(ROW, iteration=k, strength=s, gradient_norm=1.0 / (k + 1)) for k, s in enumerate(strengths)]
    return {name: np.array([asdict(row)[name] for row in rows], float) for name in HISTORY_COLUMNS}


def test_history_is_broken_where_the_strength_changes():
    figure = draw_history(history_of([1] * 8 + [10] * 8 + [3] + [2] * 8), {})
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["1", "10", "2"], "no room for the 3"
        marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert marks == [7.5, 15.5, 16.5]
        curve = next(line for line in axes.lines if len(line.get_xdata()) > 2)
        assert np.flatnonzero(np.isnan(curve.get_ydata())).tolist() == [8, 17, 19]
        assert curve.get_marker() == "o", "a part of one row is a point"
    assert len(figure.legends) == 1
    assert "strength" in figure.legends[0].get_texts()[-1].get_text()


def test_history_of_one_strength_is_not():
    figure = draw_history(history_of([0.3] * 20), {})
    assert not any(axes.texts for axes in figure.axes)
    assert not figure.legends
    curve = figure.axes[1].lines[0]
    assert len(curve.get_xdata()) == 20


def test_compared_histories_are_broken_too():
    figure = new_figure(12, 4)
    draw_histories_into(figure, {"a": history_of([1, 1, 2]), "b": history_of([1, 1, 1])}, [{}, {}])
    lengths = {line.get_label(): len(line.get_xdata()) for line in figure.axes[0].lines}
    assert lengths["a"] == 4
    assert lengths["b"] == 3
