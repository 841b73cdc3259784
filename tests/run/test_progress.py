"""What is seen of a run while it goes on: the table and what is beneath it, plain lines, and the time that is left."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from pdeopt.inversion.history import HISTORY_COLUMNS, Row
from pdeopt.run.watch import progress as progress_module
from pdeopt.run.watch.progress import Progress
from pdeopt.run.watch.progress_table import TABLE_COLUMNS
from pdeopt.run.watch.remaining_time import ConvergenceGoal
from pdeopt.run.watch.stopwatch import StageTimes, in_words, total_seconds
from pdeopt.sparse.solvers.counters import march, watched_march, work

ROW = Row(
    **dict.fromkeys(HISTORY_COLUMNS, 0)
    | {"objective": 2.29236e05, "misfit": 2.2924e05, "regularization": 1.3e-4, "gradient_norm": 3e6, "step": 0.1}
    | {"seconds": 12.3, "strength": 1.0, "evaluations": 98, "factorizations": 97, "solves": 196}
)
ALL = {"strength": 0.0123, "cg_iterations": 1234, "violation": 0.1}


def rows_of(norms, pace=2.0):
    """Iterates with these gradient norms, one every ``pace`` seconds."""
    return [replace(ROW, iteration=k, gradient_norm=norm, seconds=pace * k) for k, norm in enumerate(norms)]


def on_terminal(rows, width=80, height=24, verbose=False, goal=None):
    """The last screen before the end, and what stays after it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    with Progress(console, verbose=verbose) as progress:
        progress.goal = goal
        for row in rows:
            progress.row(row)
        shown = Console(file=io.StringIO(), width=width)
        shown.print(progress._screen())
    return shown.file.getvalue(), console.file.getvalue()


def plain(rows, **settings):
    console = Console(file=io.StringIO(), width=120)
    with Progress(console, **settings) as progress:
        progress.status("building …")
        progress.detail("a detail")
        for row in rows:
            progress.row(row)
    return console.file.getvalue()


@pytest.mark.parametrize("more", [{}, ALL], ids=["few columns", "all columns"])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_nothing_is_cut_off_at_any_width(width, more):
    rows = [replace(row, **more) for row in rows_of(np.geomspace(3e6, 2, 30))]
    screen, _ = on_terminal(rows, width=width, goal=ConvergenceGoal(1e-4, 0.0, 200))
    assert "…" not in screen
    assert max(map(len, screen.splitlines())) <= width
    for number in ("2.29236e+05", "3.00e+06", "2.00e+00"):
        assert number in screen, "the objective and the gradient norm are never left out"


def test_eighty_columns_hold_all_that_changes_and_the_totals_stand_beneath():
    screen, _ = on_terminal(rows_of([3e6, 2e6]))
    for title in ("objective", "misfit", "regular-", "gradient", "step", "solves", "seconds"):
        assert title in screen
    assert "98 evaluations, 97 factorizations, 196 solves; " in screen


def test_the_step_of_a_long_march_stands_beneath_the_table(monkeypatch):
    progress = Progress(Console(file=io.StringIO(), force_terminal=True))
    progress.time_step = march.where
    for is_adjoint, counter in ((False, "time_steps"), (True, "adjoint_time_steps")):
        with watched_march(1000, is_adjoint):
            monkeypatch.setattr(work, counter, getattr(work, counter) + 120)
            assert "time step" not in progress._below(), "a short one is not shown"
            march.start -= 2.0
            assert progress._below().endswith(f", {'adjoint ' * is_adjoint}time step 120 of 1000")
        assert "time step" not in progress._below()


def test_the_step_of_a_long_loop_of_steps_is_shown_until_the_last_one():
    progress = Progress(Console(file=io.StringIO(), force_terminal=True))
    progress.time_step = march.where
    for step in range(1, 4):
        work.time_steps += 1
        march.reach(step, 3)
        if step == 1:
            assert "time step" not in progress._below(), "a short one is not shown"
            march.start -= 2.0
        if step < 3:
            assert progress._below().endswith(f", time step {step} of 3")
    assert "time step" not in progress._below()


def test_a_wide_terminal_has_whole_titles():
    screen, _ = on_terminal([replace(ROW, **ALL)], width=150)
    assert all(column.title in screen for column in TABLE_COLUMNS if not column.counted)


def test_a_low_terminal_has_fewer_rows():
    screen, _ = on_terminal(rows_of([1.0] * 50), height=11)
    assert len(screen.splitlines()) <= 10
    assert "\n    0  " in screen, "the initial guess stays in sight"
    assert "\n   49  " in screen


def test_beneath_the_table_stands_what_is_done_and_for_how_long():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with Progress(console) as progress:
        progress.row(replace(ROW, seconds=75.0))
        progress.status("interpreting the result …")
        shown = Console(file=io.StringIO(), width=80)
        shown.print(progress._screen())
    assert "interpreting the result …  1 min 15 s" in shown.file.getvalue()
    assert "interpreting" not in console.file.getvalue().split("\n")[-2], "the table alone stays"


def test_plain_lines_are_few_but_none_is_silent_for_long(monkeypatch):
    assert plain(rows_of([1.0] * 25)).count("iteration ") == 12, "0 to 10, and 20"
    monkeypatch.setattr(progress_module, "MAX_SILENT_SECONDS", -1.0)
    assert plain(rows_of([1.0] * 25)).count("iteration ") == 25


def test_quiet_says_nothing_and_verbose_everything():
    rows = [replace(row, **ALL) for row in rows_of([1.0] * 25)]
    assert plain(rows, quiet=True) == ""
    text = plain(rows, verbose=True)
    assert text.count("iteration ") == 25
    last = text.splitlines()[-1]
    for cell in ("step 1.00e-01", "evaluations 98", "CG iterations 1234", "factorizations 97", "solves 196"):
        assert cell in last
    assert "a detail" in text
    assert "a detail" not in plain(rows)
    assert "step" not in plain(rows)


def test_verbose_on_a_terminal_prints_lines_instead_of_a_table():
    screen, said = on_terminal(rows_of([1.0] * 25), verbose=True)
    assert said.count("iteration ") == 25
    assert "objective" not in screen
    assert "98 evaluations" in screen


def test_text_with_brackets_is_no_markup():
    console = Console(file=io.StringIO(), width=80)
    with Progress(console) as progress:
        progress.note("a[0] and [red]")
    assert console.file.getvalue() == "a[0] and [red]\n"


def test_warnings_come_at_the_end_on_stderr(capsys):
    with Progress(Console(file=io.StringIO()), quiet=True) as progress:
        progress.warn("no ink")
        assert capsys.readouterr().err == ""
    assert capsys.readouterr().err == "pdeopt: warning: no ink\n"


def test_the_screen_shows_the_clock_of_the_rows(monkeypatch):
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    now = [100.0]
    monkeypatch.setattr("pdeopt.run.watch.progress.time.perf_counter", lambda: now[0])
    with Progress(console) as progress:
        progress.row(replace(ROW, seconds=40.0))  # of a run that was gone on with: it began before this process
        now[0] += 2
        assert progress._below().endswith("; 42 s")


def test_a_run_has_one_clock():
    stages = {"building": 2.0, "compiling": 1.0, "optimization": 5.0, "optimization/solves": 4.0, "evaluating": 0.5}
    assert total_seconds(8.0, {**stages, "pictures": 1.5}) == sum(stages.values()) - 4.0 + 1.5
    assert total_seconds(60.0, {"optimization": 5.0, "pictures": 1.0}) == 61.0, "gone on with"


# --- stages ------------------------------------------------------------------------------------------------------


def test_stages_add_up_and_say_what_they_took(monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 10.0))
    monkeypatch.setattr("pdeopt.run.watch.stopwatch.time.perf_counter", lambda: next(clock))
    times = StageTimes()
    assert times.begin("building")[0] == ""
    assert times.begin("optimization")[0] == "building"
    times.begin("live picture")
    times.begin("optimization")
    times.add("optimization/solves", 1.5)
    found = times.seconds()
    assert list(found) == ["building", "optimization", "live picture", "optimization/solves"]
    assert found["optimization/solves"] == 1.5
    assert found["optimization"] > found["building"] > 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.84, "0.8 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_seconds_in_words(seconds, words):
    assert in_words(seconds) == words


# --- the time that is left ---------------------------------------------------------------------------------------


def test_a_steady_fall_is_continued_to_the_goal():
    rows = rows_of(np.geomspace(1.0, 1e-2, 21))
    assert ConvergenceGoal(1e-4, 0.0, 200).seconds_left(rows) == pytest.approx(40.0)
    assert ConvergenceGoal(0.0, 1e-3, 200).seconds_left(rows) == pytest.approx(20.0)
    assert ConvergenceGoal(1e-4, 0.0, 200).time_left(rows) == "about 40 s left"
    assert ConvergenceGoal(1e-4, 0.0, 30).time_left(rows) == "about 20 s left", "the iterations end before"


def test_a_noisy_fall_is_told_within_a_factor():
    rng = np.random.default_rng(0)
    norms = np.geomspace(1.0, 1e-4, 101) * np.exp(0.5 * rng.standard_normal(101))
    for k in (30, 50, 70):
        assert 0.5 < ConvergenceGoal(1e-4, 0.0, 1000).seconds_left(rows_of(norms)[:k]) / (2.0 * (100 - k)) < 2


@pytest.mark.parametrize(
    "norms", [[1.0], [1.0, 0.5, 0.2], [1.0] * 30, [0.0] * 9], ids=["one row", "three rows", "no fall", "zero"]
)
def test_what_cannot_be_told_is_left_out(norms):
    goal = ConvergenceGoal(1e-4, 0.0, 200)
    assert goal.seconds_left(rows_of(norms)) is None
    assert "about" not in goal.time_left(rows_of(norms))
    assert goal.time_left(rows_of(norms[:3])) == ""


def test_without_a_fall_the_iterations_are_the_limit():
    assert ConvergenceGoal(1e-4, 0.0, 100).time_left(rows_of([1.0] * 31)) == "", (
        "most runs need a small part of their iterations"
    )
    assert ConvergenceGoal(1e-4, 0.0, 100).time_left(rows_of([1.0] * 61)) == "at most 1 min 20 s left"
