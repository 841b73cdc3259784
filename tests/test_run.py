"""Run directories, the history, failures on the way, and the checks of a problem."""

import csv
import errno
import io
import json
import signal
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from pdeopt.cli import main
from pdeopt.optimize import Iterate
from pdeopt.run import checking, execute, recorder
from pdeopt.run.directory import FILES, atomic, choose_directory, write_json
from pdeopt.run.errors import UsageError
from pdeopt.run.progress import Progress
from pdeopt.run.recorder import Row
from pdeopt.run.template import TEMPLATE
from pdeopt.sparse import work

SMALL = TEMPLATE.replace("] = 24", "] = 6").replace("] = 12", "] = 4")
COLUMNS = [
    *("iteration", "objective", "misfit", "regularization", "gradient_norm", "step", "evaluations", "cg_iterations"),
    *("factorizations", "solves", "seconds"),
]
SUMMARY = [
    *("problem", "status", "message", "objective", "misfit", "regularization", "gradient_norm", "iterations"),
    *("cg_iterations", "evaluations", "factorizations", "solves", "seconds", "relative_error", "noise_level"),
    *("solver", "optimizer", "discrepancy"),
]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run of the main job."""
    path = tmp_path_factory.mktemp("finished") / "run"
    words = ["run", "conductivity", "--n", "8", "--max-iterations", "3", "--seed", "5", "--out", str(path), "--quiet"]
    assert main(words) == 0
    return path


def read_json(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def rows_of(path):
    with (path / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def small_problem(folder, *changes):
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "small.py").write_text(text, encoding="utf-8")
    return "./small.py"


def test_a_run_directory_holds_all_files_and_nothing_else(finished):
    assert sorted(path.name for path in finished.iterdir()) == sorted(FILES)


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
    assert summary["solver"] in ("rslab", "superlu")
    assert config["options"]["seed"] == config["seed"] == 5
    assert config["options"]["noise"] == 0.01
    assert {"python", "pdeopt", "jax", "numpy", "scipy", "scikit-fem"} <= set(config["versions"])
    assert config["argv"][:2] == ["run", "conductivity"]


def test_result_repeats_the_summary(finished):
    summary = read_json(finished / "summary.json")
    with np.load(finished / "result.npz") as arrays:
        residual = (arrays["predicted"] - arrays["data"]) / arrays["noise"]
        assert 0.5 * np.sum(residual**2) == pytest.approx(summary["misfit"], rel=1e-9)
        assert np.exp(arrays["parameter"]) == pytest.approx(arrays["coefficient"])
        assert arrays["truth"].shape == arrays["coefficient"].shape == (summary["parameters"],)
        assert arrays["noise"].mean() == summary["noise_level"]


def test_the_same_seed_gives_the_same_history(finished, tmp_path):
    words = ["run", "conductivity", "--n", "8", "--max-iterations", "2", "--seed", "5", "--out", "again", "--quiet"]
    assert main(words) == 0
    assert [row["objective"] for row in rows_of(tmp_path / "again")] == [
        row["objective"] for row in rows_of(finished)[:3]
    ]


def test_no_run_is_overwritten(finished, tmp_path, capsys):
    path = small_problem(tmp_path)
    for _ in range(2):
        assert main(["run", path, "--max-iterations", "0", "--quiet"]) == 0
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["small", "small-2"]
    assert main(["run", path, "--out", str(finished)]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_an_empty_folder_may_be_given(tmp_path):
    (tmp_path / "empty").mkdir()
    assert choose_directory("x", tmp_path / "empty") == tmp_path / "empty"
    assert choose_directory("x", tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"], "probing leaves nothing behind"
    (tmp_path / "empty" / "summary.json").touch()
    with pytest.raises(UsageError, match="already holds a run"):
        choose_directory("x", tmp_path / "empty")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write_half():
        with atomic(path) as temporary:
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


def test_quiet_prints_nothing_and_plain_output_the_summary(tmp_path, capsys):
    path = small_problem(tmp_path)
    assert main(["run", path, "--max-iterations", "1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["run", path, "--max-iterations", "1"]) == 0
    captured = capsys.readouterr()
    for expected in ("building small", "iteration    1:", "stopped:", "relative error", "runs/small-2/"):
        assert expected in captured.out
    assert captured.err == ""


def test_a_terminal_shows_a_table_that_grows(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    row = Row(0, 2.0, 1.5, 0.5, 1.0, 0.0, 1, 0, 1, 2, 0.1)
    with Progress(console) as progress:
        progress.status("building …")
        for k in range(30):
            progress.row(replace(row, iteration=k, objective=100.0 + k))
        progress.status("writing …")
    last = console.file.getvalue().split("gradient norm")[-1]
    assert "1.29000e+02" in last
    assert "1.00000e+02" in last, "the initial guess stays in sight"
    assert "1.05000e+02" not in last


def test_a_disk_that_fills_up_ends_the_run_with_one_message(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "history.csv")

    monkeypatch.setattr(execute, "write_history", full)
    assert main(["run", small_problem(tmp_path), "--quiet"]) == 1
    assert capsys.readouterr().err == "pdeopt: error: No space left on device: history.csv\n"


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

    monkeypatch.setattr(execute, "build_problem", interrupted)
    assert main(["run", small_problem(tmp_path), "--quiet"]) == 130
    assert capsys.readouterr().err == "pdeopt: error: interrupted\n"
    assert not (tmp_path / "runs").exists()


def test_a_solve_that_fails_on_the_way_is_a_failed_run(tmp_path, capsys):
    """The diffusivity vanishes as soon as the source leaves the initial guess (the simulation has more unknowns)."""
    path = small_problem(
        tmp_path,
        ("diffusion.assemble(V, k=k)", "diffusion.assemble(V, k=k * ((len(source) > 100) | (abs(source).max() == 0)))"),
    )
    assert main(["run", path, "--out", "failed", "--quiet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pdeopt: error: the run failed: after iteration 0:")
    assert "failed/" in error
    assert error.count("\n") == 1
    summary = read_json(tmp_path / "failed" / "summary.json")
    assert summary["status"] == "failed"
    assert "singular" in summary["message"]
    assert sorted(item.name for item in (tmp_path / "failed").iterdir()) == sorted(FILES)


WRONG_ADJOINT = """
import jax


@jax.custom_vjp
def broken(x):
    return x


broken.defvjp(lambda x: (x, None), lambda _, g: (1.01 * g,))
"""
WRONG_TANGENT = """
import jax


@jax.custom_jvp
def broken(x):
    return x


broken.defjvp(lambda primals, tangents: (primals[0], 1.01 * tangents[0]))
"""
WRONG_TRANSPOSE = """
from jax.custom_derivatives import linear_call


def broken(x):
    return linear_call(lambda _, x: x, lambda _, g: 1.01 * g, (), x)
"""
NO_DERIVATIVE = "\nfrom jax.lax import stop_gradient as broken\n"


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

    (check,) = checking._cost(Functional(), checking.Point(*np.ones((3, 4))))
    assert (check.value, check.required, check.passed) == ("2", "≤ 1, as the value alone", False)


def test_check_passes_for_a_correct_problem(capsys):
    assert main(["check", "conductivity", "--n", "8"]) == 0
    out = capsys.readouterr().out
    assert out.count("pass") == 6
    assert "FAIL" not in out


def test_check_refuses_bad_input(tmp_path, capsys):
    path = small_problem(tmp_path, ("system, Dirichlet.on(V), solver", "system, None, solver"))
    assert main(["check", path]) == 2
    assert "singular" in capsys.readouterr().err
