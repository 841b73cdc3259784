"""Run directories, the history, failures on the way, and the checks of a problem."""

import errno
import io
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from small_problem import (
    NO_DERIVATIVE,
    WRONG_ADJOINT,
    WRONG_TANGENT,
    WRONG_TRANSPOSE,
    read_json,
    rows_of,
    small_problem,
)

from pdeopt.cli import main
from pdeopt.inversion import checking, recorder
from pdeopt.inversion.history import Row
from pdeopt.optimize import Iterate, full_bounds
from pdeopt.run.errors import UsageError
from pdeopt.run.execution import conclusion, request, run_journal
from pdeopt.run.pictures import run_pictures as pictures
from pdeopt.run.store.directory import RUN_FILES, RunDirectory, atomic_write, write_json
from pdeopt.run.watch.progress import Progress
from pdeopt.sparse import clear_memo, work

pytestmark = pytest.mark.usefixtures("compiled_once")

COLUMNS = [
    *("iteration", "objective", "misfit", "regularization", "gradient_norm", "step", "evaluations", "cg_iterations"),
    *("factorizations", "solves", "seconds", "strength", "forward_solves", "adjoint_solves", "tangent_solves"),
    *("second_order_solves", "hessian_products", "newton_iterations", "violation", "format"),
]
#: strength.png is drawn after a rule only, the others where a problem's interpretation asks for them.
OPTIONAL = ("strength", "components", "parts", "complex", "segmentation", "reference", "scene", "curves", "times")
WRITTEN = (
    set(RUN_FILES)
    - {"state.vtu", "fields.pvd", "animation.gif"}
    - {f"{name}.{kind}" for name in OPTIONAL for kind in ("png", "pdf")}
)
SUMMARY = [
    *("problem", "status", "message", "objective", "misfit", "regularization", "gradient_norm", "iterations"),
    *("cg_iterations", "evaluations", "factorizations", "solves", "seconds", "relative_error", "noise_level"),
    *("forward_solves", "adjoint_solves", "tangent_solves", "second_order_solves"),
    *("solver", "fallbacks", "optimizer", "inner_product", "discrepancy", "regularization_strength", "strength_rule"),
    "strength",
]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run of the main job."""
    path = tmp_path_factory.mktemp("finished") / "run"
    words = ["run", "conductivity", "--n", "8", "--max-iterations", "3", "--seed", "5", "--out", str(path), "--quiet"]
    said = io.StringIO()
    clear_memo()  # of the tests before, which may have met the same matrices
    with redirect_stdout(said), redirect_stderr(said):
        assert main(words) == 0
    assert said.getvalue() == "", "--quiet"
    return path


@pytest.mark.slow
def test_a_run_directory_holds_all_files_and_nothing_else(finished):
    assert {path.name for path in finished.iterdir()} == WRITTEN


def test_history_has_one_row_an_iterate_and_adds_up(finished):
    assert (finished / "history.csv").read_text().splitlines()[0].split(",") == COLUMNS
    rows = rows_of(finished)
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["objective"] < rows[0]["objective"]
    for row in rows:
        assert row["misfit"] + row["regularization"] == pytest.approx(row["objective"], rel=1e-12)
        assert row["factorizations"] == row["evaluations"], "one factorization an evaluation"
        assert row["solves"] == 2 * row["evaluations"], "one solve forward, one adjoint"
    assert rows[0]["step"] == 0
    assert 0 < rows[0]["seconds"] < rows[-1]["seconds"]


def test_summary_and_config_tell_the_run(finished):
    summary, config = read_json(finished / "summary.json"), read_json(finished / "config.json")
    last = rows_of(finished)[-1]
    assert set(SUMMARY) <= set(summary)
    assert summary["status"] == "stopped"
    assert {name: summary[name] for name in ("objective", "misfit", "seconds")} == {
        name: last[name] for name in ("objective", "misfit", "seconds")
    }
    assert summary["discrepancy"] == pytest.approx(summary["misfit"] / (0.5 * summary["data"]))
    assert summary["relative_error"] < summary["initial_relative_error"]
    assert summary["solver"] in ("pardiso", "rslab", "superlu")
    assert summary["fallbacks"] == {}
    assert config["options"]["seed"] == config["seed"] == 5
    assert config["options"]["noise"] == 0.01
    assert {"python", "pdeopt", "jax", "numpy", "scipy", "scikit-fem"} <= set(config["versions"])
    assert config["argv"][:2] == ["run", "conductivity"]


def test_a_mistake_in_the_equation_is_told_with_its_line(tmp_path, capsys):
    mistake = ("def system(source):\n", "def system(source):\n        source = missing * source\n")
    data = ("add_noise(simulated(n, k, points), noise, seed)", "np.ones(points.shape[1]), 0.1")
    wrong = small_problem(tmp_path, mistake, data)
    for more in ([], ["--no-check"]):
        assert main(["run", wrong, "--out", "out", *more]) == 2
        message = capsys.readouterr().err
        assert message.startswith("pdeopt: error: NameError: name 'missing' is not defined (small.py, line "), message
        assert not (tmp_path / "out").exists()


def test_result_repeats_the_summary(finished):
    summary = read_json(finished / "summary.json")
    with np.load(finished / "result.npz") as arrays:
        residual = (arrays["predicted"] - arrays["data"]) / arrays["noise"]
        assert 0.5 * np.sum(residual**2) == pytest.approx(summary["misfit"], rel=1e-9)
        assert np.exp(arrays["parameter"]) == pytest.approx(arrays["coefficient"])
        assert arrays["truth"].shape == arrays["coefficient"].shape == (summary["parameters"],)
        assert arrays["noise"].mean() == summary["noise_level"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history(finished, tmp_path):
    words = ["run", "conductivity", "--n", "8", "--max-iterations", "2", "--seed", "5", "--out", "again"]
    assert main([*words, "--no-pictures", "--quiet"]) == 0
    assert [row["objective"] for row in rows_of(tmp_path / "again")] == [
        row["objective"] for row in rows_of(finished)[:3]
    ]


def test_no_run_is_overwritten(finished, tmp_path, capsys):
    for name in ("small", "small-2"):
        assert RunDirectory("small", None).make({}).samefile(tmp_path / "runs" / name)
    assert main(["run", small_problem(tmp_path), "--out", str(finished)]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_an_empty_folder_may_be_given(tmp_path):
    (tmp_path / "empty").mkdir()
    given = [RunDirectory("x", tmp_path / "empty"), RunDirectory("x", tmp_path / "a" / "b")]
    assert [directory.path for directory in given] == [tmp_path / "empty", tmp_path / "a" / "b"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"], "choosing leaves nothing behind"
    (tmp_path / "empty" / "notes.txt").touch()
    assert RunDirectory("x", tmp_path / "empty").make({}) == tmp_path / "empty"
    with pytest.raises(UsageError, match="already holds a run"):
        RunDirectory("x", tmp_path / "empty")


@pytest.mark.parametrize("out", [None, "given", "there"])
def test_runs_started_together_never_share_a_folder(tmp_path, out):
    """All have chosen before any has made its folder."""
    (tmp_path / "there").mkdir()
    directories = [RunDirectory("x", out and tmp_path / out) for _ in range(8)]
    barrier = Barrier(len(directories))

    def make(directory):
        barrier.wait()
        with suppress(UsageError):
            return directory.make({})

    with ThreadPoolExecutor(len(directories)) as pool:
        made = [path for path in pool.map(make, directories) if path is not None]
    assert len(set(made)) == len(made) == (8 if out is None else 1)
    assert all((path / "config.json").exists() for path in made)


def test_a_folder_that_was_filled_meanwhile_is_left_alone(tmp_path):
    directory = RunDirectory("x", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="taken by another run meanwhile"):
        directory.make({})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "status", "taken"), [([], 0, "runs/small"), (["--out", "mine"], 2, "mine")])
def test_a_run_gives_way_to_one_that_was_faster(tmp_path, capsys, monkeypatch, words, status, taken):
    """Another run takes the folder while this one is building."""
    build = request.build_problem

    def slow(*arguments):
        (tmp_path / taken).mkdir(parents=True)
        (tmp_path / taken / "config.json").write_text("theirs")
        return build(*arguments)

    monkeypatch.setattr(request, "build_problem", slow)
    assert main(["run", small_problem(tmp_path), "--max-iterations", "0", "--no-pictures", "--quiet", *words]) == status
    assert [path.read_text() for path in (tmp_path / taken).iterdir()] == ["theirs"]
    assert (tmp_path / "runs" / "small-2" / "summary.json").exists() == (status == 0)
    assert ("taken by another run" in capsys.readouterr().err) == (status == 2)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write_half():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "before"
    assert [item.name for item in tmp_path.iterdir()] == ["file.txt"]


def test_json_has_null_for_what_is_not_finite(tmp_path):
    write_json(
        tmp_path / "x.json", {"a": np.nan, "b": [np.float64(np.inf), np.int64(3)], "c": None, "d": np.bool_(True)}
    )
    assert read_json(tmp_path / "x.json") == {"a": None, "b": [None, 3], "c": None, "d": True}


@pytest.mark.slow
def test_plain_output_has_iterates_and_a_summary(tmp_path, capsys):
    assert main(["run", small_problem(tmp_path), "--max-iterations", "1", "--no-pictures"]) == 0
    captured = capsys.readouterr()
    for expected in ("building small", "iteration    1:", "stopped:", "relative error", "runs/small/"):
        assert expected in captured.out
    assert captured.err == ""


@pytest.mark.slow
def test_a_picture_that_fails_loses_no_numbers(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(pictures, "draw_result", fail)
    monkeypatch.setattr(conclusion, "write_mesh", fail)
    changes = [("truth=V.nodal(true_source)", "truth=np.zeros(V.n)")]
    assert main(["run", small_problem(tmp_path, *changes), "--max-iterations", "1", "--out", "out", "--quiet"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"pdeopt: warning: {name} could not be written: RuntimeError: no ink"
        for name in ("fields.vtu", "result.png and result.pdf")
    ]
    missing = {"fields.vtu", "result.png", "result.pdf"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN - missing
    assert read_json(tmp_path / "out" / "summary.json")["relative_error"] is None, "the truth is zero"


@pytest.mark.slow
def test_a_result_that_cannot_be_evaluated_is_a_failed_run(tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no state")

    monkeypatch.setattr(conclusion, "fields_of", fail)
    assert (
        main(["run", small_problem(tmp_path), "--max-iterations", "1", "--out", "out", "--quiet", "--no-pictures"]) == 1
    )
    assert "the result cannot be evaluated: RuntimeError: no state" in capsys.readouterr().err
    summary = read_json(tmp_path / "out" / "summary.json")
    assert (summary["status"], summary["iterations"]) == ("failed", 1)


def test_a_terminal_shows_a_table_that_grows(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    row = Row(0, 2.0, 1.5, 0.5, 1.0, 0.0, 1, 0, 1, 2, 0.1, 1.0, 1, 1, 0, 0, 0)
    with Progress(console) as progress:
        progress.status("building …")
        for k in range(30):
            progress.row(replace(row, iteration=k, objective=100.0 + k))
        progress.status("writing …")
    last = console.file.getvalue().split("gradient norm")[-1]
    assert "1.29000e+02" in last
    assert "1.00000e+02" in last, "the initial guess stays in sight"
    assert "1.05000e+02" not in last


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_run_with_one_message(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "history.csv")

    monkeypatch.setattr(run_journal, "write_history", full)
    assert main(["run", small_problem(tmp_path), "--quiet"]) == 1
    assert capsys.readouterr().err.startswith("pdeopt: error: cannot write to runs/small: No space left on device;")


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_reached(tmp_path, capsys, monkeypatch):
    accept = recorder.Recorder.accept

    def accept_and_interrupt(self, iterate: Iterate):
        accept(self, iterate)
        if iterate.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(recorder.Recorder, "accept", accept_and_interrupt)
    assert main(["run", small_problem(tmp_path), "--out", "stopped"]) == 130
    summary = read_json(tmp_path / "stopped" / "summary.json")
    assert summary["status"] == "stopped"
    assert summary["iterations"] == 2
    assert (tmp_path / "stopped" / "result.png").exists()
    assert "interrupted after iteration 2" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_the_first_iterate_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(request, "build_problem", interrupted)
    assert main(["run", small_problem(tmp_path), "--quiet"]) == 130
    assert capsys.readouterr().err == "pdeopt: error: interrupted\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_solve_that_fails_on_the_way_is_a_failed_run(tmp_path, capsys):
    """The diffusivity vanishes as soon as the source leaves the initial guess (the simulation has more unknowns)."""
    path = small_problem(
        tmp_path,
        ("diffusion.assemble(V, k=k)", "diffusion.assemble(V, k=k * ((len(source) > 100) | (abs(source).max() == 0)))"),
    )
    assert main(["run", path, "--out", "failed", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pdeopt: error: the run failed: the search of l-bfgs-b failed: no step lowers")
    assert "a step was tried where the objective cannot be evaluated" in error
    assert "failed/" in error
    assert error.count("\n") == 1
    summary = read_json(tmp_path / "failed" / "summary.json")
    assert summary["status"] == "failed"
    assert "singular" in summary["message"]
    assert {item.name for item in (tmp_path / "failed").iterdir()} == WRITTEN


@pytest.mark.slow
def test_an_error_on_the_way_is_a_failed_run_that_keeps_its_iterates(tmp_path, capsys, monkeypatch):
    evaluate = recorder.Recorder.evaluate

    def evaluate_twice(self, m):
        if len(self.rows) == 2:
            raise RuntimeError("out of luck")
        return evaluate(self, m)

    monkeypatch.setattr(recorder.Recorder, "evaluate", evaluate_twice)
    assert main(["run", small_problem(tmp_path), "--out", "failed", "--quiet", "--no-pictures"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pdeopt: error: the run failed: after iteration 1: RuntimeError: out of luck;")
    assert read_json(tmp_path / "failed" / "summary.json")["iterations"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "failing"),
    [
        (WRONG_ADJOINT, ("with the derivative", "with the Hessian", "adjoint identity")),
        (WRONG_TANGENT, ("with the derivative",)),
        (WRONG_TRANSPOSE, ("with the derivative", "adjoint identity ⟨Jv, w⟩")),
        (NO_DERIVATIVE, ("with the derivative",)),
    ],
    ids=["wrong adjoint", "wrong tangent", "wrong transpose", "no derivative"],
)
def test_check_fails_for_a_broken_derivative(tmp_path, capsys, rule, failing):
    changes = [
        ("import skfem\n", f"import skfem\n{rule}"),
        ("source=V.interpolate(source))", "source=V.interpolate(broken(source)))"),
    ]
    assert main(["check", small_problem(tmp_path, *changes)]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    for name in failing:
        assert any("FAIL" in line for line in lines if name in line), f"{name} must fail"
    assert captured.err == ""


def test_a_derivative_that_factors_again_is_too_dear():
    class Functional:
        def terms(self, m):
            work.factorizations += 1

        def value_and_derivative(self, m):
            work.factorizations += 2

    (check,) = checking._cost(Functional(), checking.VerificationPoint(*np.ones((3, 4))))
    assert (check.value, check.required, check.passed) == ("2; value alone: 1", "no more than the value alone", False)


@pytest.mark.slow
def test_check_fails_where_nothing_depends_on_the_parameter(tmp_path, capsys):
    changes = [("source=V.interpolate(source))", "source=1.0)"), ("h1(V, weight),", "(),")]
    assert main(["check", small_problem(tmp_path, *changes)]) == 1
    out = capsys.readouterr().out
    assert out.count("J does not change along this direction: it") == 3
    assert out.count("does not depend on m, or too little") == 3, "the column is folded"
    assert "Jv = 0: the predicted data do not depend on" in out


@pytest.mark.slow
def test_check_words_what_is_not_finite(tmp_path, capsys):
    changes = [("h1(V, weight),", "lambda m: 1.0 * (m[0] * 0 + 1) / (1 - abs(m[0] * 0 + 1)),")]
    assert main(["check", small_problem(tmp_path, *changes)]) == 1
    assert "J or its derivative is not finite" in capsys.readouterr().out


@pytest.mark.parametrize(
    "bounds",
    [None, (0.0, None), (None, 1.0), (0.95, 1.05), (1.0, 2.0), (np.array([0.0, 1.0, -np.inf, 0.5]), 1.0), (5.0, 9.0)],
    ids=str,
)
def test_all_steps_of_a_check_stay_within_the_bounds(bounds):
    def evaluate(m):
        return float(np.sum(m**4)), 4 * m**3

    point = checking.verification_point(SimpleNamespace(initial=np.ones(4), bounds=bounds), evaluate)
    lower, upper = full_bounds(bounds, 4)
    for direction in (point.v, point.w):
        assert np.all(direction != 0) or np.array_equal(direction != 0, lower < upper), "only what is fixed stays"
        for step in (0, checking.COST_STEP, checking.FIRST_STEP):
            m = point.m + step * direction
            assert ((lower <= m) & (m <= upper)).all()


def test_check_refuses_bad_input(tmp_path, capsys):
    path = small_problem(tmp_path, ("system, Dirichlet.on(V)", "system"))
    assert main(["check", path]) == 2
    assert "singular" in capsys.readouterr().err
