"""What a run directory may do: nothing in it is executed unasked or followed elsewhere, nothing foreign is touched."""

import json
import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from run_directories import fields_on, write_run

from pdeopt.cli import main
from pdeopt.cli.command import sweep_of
from pdeopt.run.errors import UsageError
from pdeopt.run.execution.conclusion import write_result
from pdeopt.run.execution.live_picture import LivePicture
from pdeopt.run.pictures.canvas.style import save
from pdeopt.run.problem_files import trust
from pdeopt.run.problem_files.trust import is_trusted, remember_trusted
from pdeopt.run.store.directory import (
    LIVE_PICTURE_FILE,
    RunDirectory,
    atomic_write,
    remove_leftovers,
    write_json,
    write_text,
)
from pdeopt.run.store.evaluation_log import EvaluationFile
from pdeopt.run.sweep.sweep import resume_sweep
from pdeopt.run.watch.run_log import RunLog

#: Leaves a trace when it is executed, and is no problem.
SPY = '''"""A spy."""
from pathlib import Path
Path("executed").touch()
def build(n: int = 4):
    """Nothing."""
'''
CONFIG = {
    **{"problem": "spy", "options": {"n": 4}, "optimizer": "l-bfgs-b", "inner_product": "l2", "folder": None},
    **{"gradient_tolerance": 1e-4, "absolute_gradient_tolerance": 0.0, "max_iterations": 9},
    **{"regularization_strength": 1.0, "discrepancy_factor": 1.0, "initial_guess": None, "truth": None},
    "argv": ["run", "./spy.py"],
}
EXECUTED = Path("executed")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def foreign(tmp_path):
    """A run directory that somebody else made, and whose problem file lies beside it."""
    Path("spy.py").write_text(SPY)
    Path("run").mkdir()
    write_json(Path("run/config.json"), {**CONFIG, "path": str(tmp_path / "spy.py")})
    return Path("run")


@contextmanager
def within(seconds):
    """Fail instead of waiting for ever."""

    def too_long(*_):
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(capsys, *words):
    with within(60):
        assert main(list(map(str, words))) == 2
    error = capsys.readouterr().err
    assert error.startswith("pdeopt: error: ")
    assert error.count("\n") == 1
    return error


# --- what is executed --------------------------------------------------------------------------------------------


def test_a_problem_file_that_the_user_never_ran_is_not_executed(foreign, tmp_path, capsys):
    error = refused(capsys, "resume", "run")
    assert f"pdeopt resume run --trust {tmp_path / 'spy.py'}" in error
    assert trust._digest(Path("spy.py")) in error
    assert not EXECUTED.exists()


def test_it_is_executed_once_it_is_trusted_and_from_then_on(foreign, capsys):
    assert "returned None" in refused(capsys, "resume", "run", "--trust", "spy.py")
    assert EXECUTED.exists()
    EXECUTED.unlink()
    assert "returned None" in refused(capsys, "resume", "run")
    assert EXECUTED.exists()


def test_trust_is_in_one_file_as_it_stands(foreign, capsys):
    Path("other.py").write_text(SPY)
    assert "--trust names other.py" in refused(capsys, "resume", "run", "--trust", "other.py")
    remember_trusted(Path("spy.py"))
    Path("spy.py").write_text(f"{SPY}# changed\n")
    assert "have not run as it stands" in refused(capsys, "resume", "run")
    Path("elsewhere").mkdir()  # the same content with other modules beside it
    shutil.copy("spy.py", "elsewhere")
    remember_trusted(Path("elsewhere/spy.py"))
    assert "have not run as it stands" in refused(capsys, "resume", "run")
    assert not EXECUTED.exists()


def test_a_name_of_a_shipped_problem_makes_no_file_trusted(foreign, capsys):
    Path("robin.py").write_text(SPY)
    config = json.loads(Path("run/config.json").read_text())
    write_json(Path("run/config.json"), {**config, "problem": "robin", "path": str(Path("robin.py").resolve())})
    refused(capsys, "resume", "run")
    assert not EXECUTED.exists()


def test_what_the_user_runs_is_remembered_once(capsys):
    Path("spy.py").write_text(SPY)
    assert not is_trusted(Path("spy.py"))
    for _ in range(2):
        assert "returned None" in refused(capsys, "run", "./spy.py")
    assert is_trusted(Path("spy.py"))
    assert len(Path("state/pdeopt/problem_files").read_text().splitlines()) == 1


def test_a_name_with_a_line_break_vouches_for_no_other_file():
    Path("spy.py").write_text(SPY)
    line = trust._line(Path("spy.py"))
    Path(f"x\n{line.replace('/', '_')}").write_text("")
    for path in Path().glob("x*"):
        remember_trusted(path)
    assert len(Path("state/pdeopt/problem_files").read_text().splitlines()) == 1


def test_where_nothing_can_be_remembered_a_run_still_runs_and_resume_asks(foreign, capsys, monkeypatch):
    Path("state").write_text("no folder")
    assert "returned None" in refused(capsys, "run", "./spy.py")
    EXECUTED.unlink()
    assert "--trust" in refused(capsys, "resume", "run")
    assert not EXECUTED.exists()


def test_the_problem_file_of_a_foreign_sweep_is_not_executed(tmp_path, capsys):
    Path("spy.py").write_text(SPY)
    Path("s").mkdir()
    argv = ["sweep", "./spy.py", "--n", "4,6"]
    stored = {"problem": "./spy.py", "folder": str(tmp_path), "grid": {"n": ["4", "6"]}, "argv": argv}
    write_json(Path("s/sweep.json"), stored)
    assert "--trust" in refused(capsys, "resume", "s")
    assert not EXECUTED.exists()
    write_json(Path("s/sweep.json"), {**stored, "argv": ["run", "./spy.py"]})
    assert "expected the words of a 'pdeopt sweep'" in refused(capsys, "resume", "s")
    assert not EXECUTED.exists()


@pytest.mark.parametrize("command", ["plot", "report"])
def test_pictures_and_reports_execute_nothing(tmp_path, command):
    Path("spy.py").write_text(SPY)
    run = write_run(tmp_path / "run", config={"path": str(tmp_path / "spy.py"), "problem": "spy"})
    np.savez(run / "checkpoint.npz", parameter=np.array([Trap()], dtype=object))
    assert main([command, str(run)]) == 0
    assert not EXECUTED.exists()


class Trap:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (EXECUTED,)


@pytest.mark.parametrize(("command", "name"), [("plot", "result.npz"), ("resume", "checkpoint.npz")])
def test_pickles_are_not_read(foreign, tmp_path, capsys, command, name):
    if command == "plot":
        write_run(tmp_path / "drawn", fields_on("P1"))
    folder = Path("drawn" if command == "plot" else "run")
    np.savez(folder / name, **dict.fromkeys(("parameter", "p", "format"), np.array([Trap()], dtype=object)))
    refused(capsys, command, folder)
    assert not EXECUTED.exists()


# --- what is followed --------------------------------------------------------------------------------------------

#: What may stand in the place of a file.
OTHERS = {
    "a symbolic link": lambda path: path.symlink_to(Path("precious").resolve()),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["evaluations.bin", "run.log", "checkpoint.npz", "config.json", "result.png"])
def test_resume_opens_regular_files_only(foreign, capsys, kind, name):
    Path("precious").write_text("precious")
    (foreign / name).unlink(missing_ok=True)
    OTHERS[kind](foreign / name)
    assert f"run/{name} is {kind}; expected a regular file" in refused(capsys, "resume", "run")
    assert Path("precious").read_text() == "precious"


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["history.csv", "summary.json", "result.npz", "config.json"])
@pytest.mark.parametrize("command", ["plot", "report"])
def test_pictures_and_reports_read_regular_files_only(tmp_path, capsys, kind, name, command):
    run = write_run(tmp_path / "run", config={})
    Path("precious").write_bytes((run / "history.csv").read_bytes())
    (run / name).unlink(missing_ok=True)
    OTHERS[kind](run / name)
    assert f"{name} is {kind}; expected a regular file" in refused(capsys, command, run)


def test_a_picture_that_is_a_link_does_not_get_into_a_report(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    save(Figure(), Path("private.png"))
    (run / "history.png").symlink_to(Path("private.png").resolve())
    assert "history.png is a symbolic link" in refused(capsys, "report", run)


@pytest.mark.parametrize("name", ["evaluations.bin", "run.log"])
def test_a_second_name_of_another_file_is_not_written(foreign, capsys, name):
    Path("precious").write_text("precious")
    os.link("precious", foreign / name)
    assert f"run/{name} has a second name" in refused(capsys, "resume", "run")
    assert Path("precious").read_text() == "precious"


def test_files_are_checked_where_they_are_opened_too(tmp_path):
    """What was put there after all was looked at."""
    Path("precious").write_text("precious")
    for name in ("evaluations.bin", "run.log"):
        Path(name).symlink_to("precious")
    with pytest.raises(UsageError, match="is a symbolic link"):
        EvaluationFile().open(Path("evaluations.bin"))
    log = RunLog()
    log.write("said")
    log.open(Path("run.log"))
    assert "is a symbolic link" in str(log.failure)
    assert Path("precious").read_text() == "precious"


def test_runs_of_a_sweep_that_lie_elsewhere_are_left_alone(tmp_path):
    Path("thesis").mkdir()
    argv = ["sweep", "poisson_control", "--n", "4,6"]
    Path("s").mkdir()
    grid = {"n": ["4", "6"]}
    stored = {"problem": "poisson_control", "folder": str(tmp_path), "grid": grid, "argv": argv}
    write_json(Path("s/sweep.json"), stored)
    Path("s/n=6").symlink_to(Path("thesis").resolve())
    with pytest.raises(UsageError, match="n=6 is a symbolic link"):
        resume_sweep(Path("s"), sweep_of, Console(quiet=True))
    assert not list(Path("thesis").iterdir())


def test_temporary_files_cannot_be_foreseen(tmp_path):
    seen = []
    for _ in range(2):
        with atomic_write(tmp_path / "x.txt") as temporary:
            assert temporary.exists(), "made before it is opened by its name"
            seen.append(temporary.name)
    assert seen[0] != seen[1]
    write_text(tmp_path / "x.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


# --- what is touched ---------------------------------------------------------------------------------------------


def png():
    save(Figure(figsize=(1, 1)), Path("ours.png"))
    return Path("ours.png").read_bytes()


@pytest.mark.parametrize("name", ["live.png", "report.html", "scene.pdf", "run.log"])
def test_a_folder_with_a_name_that_a_run_writes_is_refused(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to("nowhere")
    with pytest.raises(UsageError, match=f"holds .*{name}"):
        RunDirectory("x", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == [name]


def test_other_files_in_a_given_folder_are_told(tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("notes.txt", ".12-old", ".77-probe"):
        (tmp_path / "out" / name).touch()
    directory = RunDirectory("x", tmp_path / "out")
    assert directory.others == [".12-old", ".77-probe", "notes.txt"]
    assert directory.make({}) == tmp_path / "out"
    remove_leftovers(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [".12-old", ".77-probe", "config.json", "notes.txt"]


@pytest.mark.slow
def test_the_end_of_a_run_removes_the_live_picture_that_pdeopt_drew_only(tmp_path):
    fields = fields_on("P1")
    for content, stays in ((b"\x89PNG mine", True), (png(), False)):
        run = write_run(tmp_path / f"run {stays}", fields)
        (run / LIVE_PICTURE_FILE).write_bytes(content)
        (run / "result.png").write_bytes(png())
        write_result(run, [], {}, fields)
        assert (run / LIVE_PICTURE_FILE).exists() == stays


def test_a_live_picture_replaces_none_that_is_not_ours(tmp_path):
    (tmp_path / LIVE_PICTURE_FILE).write_bytes(b"\x89PNG mine")
    with pytest.raises(UsageError, match="pdeopt did not write it"):
        LivePicture("x", None, None)._draw(tmp_path / LIVE_PICTURE_FILE, None, None)
    assert (tmp_path / LIVE_PICTURE_FILE).read_bytes() == b"\x89PNG mine"


def test_a_report_replaces_reports_only(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "report.html").write_text("<p>my own words on pdeopt</p>")
    assert "pdeopt did not write it" in refused(capsys, "report", run)
    assert (run / "report.html").read_text() == "<p>my own words on pdeopt</p>"
    (run / "report.html").unlink()
    for _ in range(2):
        assert main(["report", str(run)]) == 0


def test_a_comparison_replaces_comparisons_only(tmp_path, capsys):
    runs = [str(write_run(tmp_path / name)) for name in ("one", "two")]
    Path("comparison.png").write_bytes(b"\x89PNG mine")
    assert "comparison.png is there, and pdeopt did not write it" in refused(capsys, "plot", *runs)
    Path("comparison.png").unlink()
    for _ in range(2):
        assert main(["plot", *runs]) == 0


def test_pictures_in_a_folder_that_no_run_claimed_are_not_replaced(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    (run / "config.json").unlink()
    (run / "history.pdf").write_bytes(b"%PDF mine")
    assert "history.pdf is there" in refused(capsys, "plot", run)
    assert (run / "history.pdf").read_bytes() == b"%PDF mine"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_every_format_says_who_wrote_it(tmp_path, suffix):
    save(Figure(figsize=(1, 1)), tmp_path / f"x.{suffix}")
    assert b"written by pdeopt" in (tmp_path / f"x.{suffix}").read_bytes()
