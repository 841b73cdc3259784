"""Sweeps: the grid of a command line, runs in parallel processes, what is left of interrupted ones, tables."""

import csv
import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from pdeopt.cli import main
from pdeopt.cli.arguments import parse
from pdeopt.cli.command import sweep_of
from pdeopt.run.errors import UsageError
from pdeopt.run.sweep.figure import draw_sweep
from pdeopt.run.sweep.grid import Grid, Key
from pdeopt.run.sweep.processes import ChildTask, EndedChild
from pdeopt.run.sweep.results import FinishedRun, ended_run, write_table
from pdeopt.run.sweep.sweep import resume_sweep
from pdeopt.run.sweep.table import print_results

#: Takes the place of pdeopt in the children: a run ends as its alpha says, and keeps a record of its calls.
FAKE = '''
import json, os, signal, sys, time
from pathlib import Path

words = sys.argv[1:]
assert os.getpgrp() == os.getpid(), "else a terminal's Ctrl-C arrives twice"
with open("calls.txt", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
options = dict(word.lstrip("-").split("=", 1) for word in words if "=" in word and word.startswith("-"))
folder = Path(options["out"] if words[0] == "run" else words[1])
alpha = options.get("alpha", "")

def end(status, message, code):
    summary = {"problem": "fake", "status": status, "message": message, "objective": 2.0, "misfit": 1.0,
               "relative_error": None, "iterations": 3, "seconds": 0.1, "solver": "rslab", "nested": {"a": 1}}
    (folder / "summary.json").write_text(json.dumps(summary))
    sys.exit(code)

def interrupted(*_):
    """As a run does: the first asks to stop, the second ends it at once."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    time.sleep(0.5)
    end("stopped", "interrupted after iteration 2", 130)

if alpha == "7":
    print("pdeopt: error: alpha is 7", file=sys.stderr)
    sys.exit(2)
if words[0] == "resume" and os.environ.get("REFUSE"):
    sys.exit(2)
signal.signal(signal.SIGINT, signal.SIG_IGN if alpha == "11" else interrupted)
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text("{}")
if words[0] == "resume":
    end("converged", "resumed", 0)
if alpha == "3":
    end("failed", "the line search failed", 1)
if alpha == "5":
    os.kill(os.getpid(), signal.SIGKILL)
if alpha == "13":
    sys.exit(143)
if alpha in ("9", "11") and not os.environ.get("FAST"):
    time.sleep(60)
end("converged", os.environ["OMP_NUM_THREADS"], 0)
'''
GRID = ["sweep", "poisson_control", "--n", "4,6", "--out", "s", "--jobs", "2"]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Children that take no time."""
    package = tmp_path / "fake" / "pdeopt"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def calls():
    return [json.loads(line) for line in Path("calls.txt").read_text().splitlines()]


def table(folder="s"):
    with Path(folder, "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def refused(capsys, words):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pdeopt: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def grid(*words):
    return parse(["sweep", "poisson_control", *words]).grid


@pytest.mark.slow
def test_a_sweep_of_real_runs(capsys):
    assert main(["sweep", "poisson_control", "--n", "4", "--alpha", "1e-4,1e-2", "--no-check"]) == 0
    said = capsys.readouterr().out
    folder = Path("sweeps/poisson_control")
    rows = table(folder)
    assert [row["alpha"] for row in rows] == ["1e-4", "1e-2"]
    for row in rows:
        summary = json.loads((folder / row["folder"] / "summary.json").read_text())
        assert row["folder"] == f"alpha={row['alpha']}"
        assert float(row["objective"]) == summary["objective"]
        config = json.loads((folder / row["folder"] / "config.json").read_text())
        assert config["options"]["alpha"] == float(row["alpha"])
        assert config["options"]["n"] == 4
    assert "[2/2] alpha=" in said
    assert f"pdeopt plot {folder}/*/" in said
    assert imread(folder / "sweep.png").std() > 0
    assert main(["plot", *map(str, sorted(folder.glob("*/")))]) == 0, "as the last line says"


def test_every_combination_of_all_values():
    points = grid("--n", "4,6", "--optimizer", "cg,bfgs", "--max-iterations", "7").points
    assert [point.folder for point in points] == [
        *("optimizer=cg,n=4", "optimizer=cg,n=6", "optimizer=bfgs,n=4", "optimizer=bfgs,n=6"),
    ]
    assert points[1].words == ["--max-iterations=7", "--optimizer=cg", "--n=6"]
    assert points[1].values == {"optimizer": "cg", "n": "6"}


def test_values_with_commas_signs_and_quotes():
    (key,) = grid("--alpha", "-1e-3,-2").keys
    assert key.values == ("-1e-3", "-2")
    text = '''
def build(a: str = "", fine: bool = False, jobs_: int = 1):
    """Nothing."""
'''
    Path("p.py").write_text(f'"""P."""\n{text}')
    values = {
        ("--a", "x,y"): ("x", "y"),
        ("--a", "x,y", "--a", "z"): ("x,y", "z"),
        ("--a", '"x,y", z'): ("x,y", "z"),
        ("--fine", "true,false"): ("true", "false"),
        ("--fine", "--no-fine"): ("true", "false"),
    }
    for words, expected in values.items():
        assert parse(["sweep", "./p.py", *words]).grid.varied[0].values == expected
    points = parse(["sweep", "./p.py", "--fine", "true,false", "--a", "q"]).grid.points
    assert [point.words for point in points] == [["--a=q", "--fine"], ["--a=q", "--no-fine"]]
    assert [point.folder for point in points] == ["fine=true", "fine=false"]


def test_folders_are_safe_and_unique():
    names = [point.folder for point in Grid((Key("--data", ("a/b c", "a b c", "a-b-c", "A/b c")),)).points]
    assert len({name.lower() for name in names}) == 4
    assert all(set(name) <= set("dat=bcA-234") for name in names)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--n", "4,many"], "--n: invalid int value: 'many'"),
        (["--n", "4,,6"], "an empty value"),
        (["--n", ""], "an empty value"),
        (["--n", "4,4"], "'4' is given twice"),
        (["--n", "4"], "nothing varies"),
        ([], "nothing varies"),
        (["--m", "4,6"], "unknown option --m"),
        (["--n", "4", "6"], "unexpected argument '6'; values in a list are separated by commas"),
        (["--n", "4,6", "--solver", "auto,supelu"], "did you mean 'superlu'?"),
        (["--n", "4,6", "--optimizer", "adam"], "invalid choice: 'adam'"),
        (["--regularization-strength", "1,lcurv"], "expected discrepancy, cooling, lcurve or a number"),
        (["--n", "4,6", "--jobs", "0"], "invalid number of jobs"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(tmp_path, capsys, words, expected):
    assert expected in refused(capsys, ["sweep", "poisson_control", *words])
    assert list(tmp_path.iterdir()) == []


def test_a_problem_may_have_an_option_of_the_sweeps_name(capsys):
    Path("p.py").write_text('"""P."""\ndef build(jobs: int = 1):\n    """Nothing."""\n')
    assert "--jobs of the problem" in refused(capsys, ["sweep", "./p.py", "--jobs", "1,2"])
    assert parse(["run", "./p.py", "--jobs", "3"]).options == {"jobs": 3}


@pytest.mark.parametrize("words", [[], ["--no-pictures"]])
def test_a_sweep_without_pictures_draws_none_and_tells_its_runs(fake, words):
    assert main([*GRID, *words]) == 0
    assert (fake / "s" / "sweep.png").exists() == (not words)
    assert [set(words) <= set(call) for call in calls()] == [True, True]
    assert [row["folder"] for row in table()] == ["n=4", "n=6"]


def test_the_pictures_of_a_sweep_are_settled_when_it_begins(fake, capsys):
    assert main([*GRID, "--no-pictures"]) == 0
    assert "--no-pictures: s holds a sweep" in refused(capsys, ["resume", "s", "--no-pictures"])
    assert main(["resume", "s", "--quiet"]) == 0
    assert not (fake / "s" / "sweep.png").exists()


def starts():
    """The initial guess of each run by its folder, in the order in which they were called."""
    options = [
        dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word) for words in calls()
    ]
    return [(Path(one["out"]).name, Path(one.get("initial-guess", "none")).name) for one in options]


def test_with_a_warm_start_each_run_begins_where_the_last_good_one_ended(fake, capsys):
    words = ["sweep", "poisson_control", "--alpha", "1,3,2", "--n", "4", "--out", "s", "--warm-start"]
    assert main(words) == 1, "alpha = 3 fails"
    assert starts() == [("alpha=1", "none"), ("alpha=3", "alpha=1"), ("alpha=2", "alpha=1")]
    assert "holds another sweep: warm_start is given there, not given here" in refused(capsys, words[:-1])
    assert main([*words, "--quiet"]) == 1
    assert len(calls()) == 3, "nothing is left to be run"


def test_an_interrupted_sweep_goes_on_with_its_warm_start(fake, monkeypatch):
    words = ["sweep", "poisson_control", "--alpha", "1,13,2", "--n", "4", "--out", "s", "--warm-start"]
    assert main(words) != 0
    assert [folder for folder, _ in starts()] == ["alpha=1", "alpha=13"]
    (Path("s") / "alpha=13" / "config.json").unlink(missing_ok=True)
    main(["resume", "s"])
    assert starts()[2:] == [("alpha=13", "alpha=1")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--jobs", "2"), "--warm-start runs one after the other, and --jobs is 2"),
        (("--initial-guess", "a"), "where each run starts, and so does --initial-guess"),
        (("--initial-seed", "0,1"), "where each run starts, and so does --initial-seed"),
    ],
)
def test_a_warm_start_beside_what_forbids_it_is_refused(capsys, words, expected):
    assert expected in refused(capsys, ["sweep", "poisson_control", "--alpha", "1,2", "--warm-start", *words])


def test_failed_runs_are_rows_with_their_message(fake, capsys):
    assert main([*GRID[:4], "--alpha", "1,3,7,5", "--out", "s", "--max-iterations", "4"]) == 1
    rows = {(row["n"], row["alpha"]): row for row in table()}
    assert len(rows) == 8
    assert {rows["4", "1"]["status"], rows["6", "1"]["status"]} == {"converged"}
    messages = {alpha: rows["6", alpha]["message"] for alpha in "375"}
    assert messages == {"3": "the line search failed", "7": "alpha is 7", "5": "ended by signal 9"}
    assert {rows["6", alpha]["status"] for alpha in "375"} == {"failed"}
    assert "n=6,alpha=7 failed: alpha is 7" in capsys.readouterr().out
    assert all({"--max-iterations=4", "--quiet"} <= set(call) for call in calls())


@pytest.mark.slow
def test_finished_runs_are_left_alone(fake, capsys):
    main([*GRID, "--alpha", "1,3"])
    assert len(calls()) == 4
    (fake / "s" / "n=4,alpha=1" / "summary.json").unlink()
    assert main([*GRID, "--alpha", "1,3"]) == 1
    assert calls()[4:] == [["resume", "s/n=4,alpha=1", "--quiet"]]
    assert "3 of 4 runs are finished already" in capsys.readouterr().out
    assert table()[0]["message"] == "resumed"
    assert resume_sweep(Path("s"), sweep_of, Console(quiet=True)) == 1
    assert len(calls()) == 5


def interrupt_when(path, times=1, number=signal.SIGINT):
    """Ctrl-C, or another signal, once a file is there."""

    def wait():
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for _ in range(times):
            time.sleep(0.3)
            os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(fake, capsys, monkeypatch):
    interrupt_when(fake / "s" / "n=6,alpha=9" / "config.json")
    assert main([*GRID, "--alpha", "1,9"]) == 130
    assert "go on with: pdeopt resume s" in capsys.readouterr().err
    assert (fake / "s" / "n=4,alpha=9" / "summary.json").exists(), "each run ended cleanly"
    assert [row["alpha"] for row in table()] == ["1", "1"]
    assert resume_sweep(Path("s"), sweep_of, Console(quiet=True)) == 0
    assert [call[0] for call in calls()] == ["run"] * 4 + ["resume"] * 2
    assert [row["message"] for row in table()] == ["1", "resumed", "1", "resumed"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_sweep_with_its_runs_in_order(fake, capsys, number):
    interrupt_when(fake / "s" / "n=6" / "config.json", number=number)
    assert main([*GRID, "--alpha", "9"]) == 128 + number
    assert "0 of 2 runs are finished; go on with: pdeopt resume s" in capsys.readouterr().err
    for name in ("n=4", "n=6"):
        summary = json.loads((fake / "s" / name / "summary.json").read_text())
        assert "interrupted" in summary["message"], "each run ended cleanly"
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_run_that_somebody_ended_is_not_taken_for_done(fake, capsys):
    """The sweep goes on with the others, and says at the end that one is missing."""
    assert main([*GRID, "--alpha", "1,13"]) == 130
    assert "2 of 4 runs are finished; go on with" in capsys.readouterr().err


def test_a_second_interrupt_ends_what_does_not_stop(fake, capsys, monkeypatch):
    monkeypatch.setattr("pdeopt.run.sweep.processes.ENDING_SECONDS", 0.3)
    interrupt_when(fake / "s" / "n=6" / "config.json", times=2)
    start = time.monotonic()
    assert main([*GRID, "--alpha", "11"]) == 130
    assert time.monotonic() - start < 30
    error = capsys.readouterr().err
    assert error.endswith("0 of 2 runs are finished; go on with: pdeopt resume s\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setenv("FAST", "1")
    assert main([*GRID[:4], "--alpha", "11", *GRID[4:]]) == 0, "nothing of them runs any more"


def test_a_run_that_cannot_be_resumed_starts_again(fake, capsys, monkeypatch):
    monkeypatch.setenv("REFUSE", "1")
    interrupt_when(fake / "s" / "n=6" / "config.json")
    main([*GRID, "--alpha", "9"])
    monkeypatch.setenv("FAST", "1")
    assert main([*GRID, "--alpha", "9"]) == 0
    assert "n=4 cannot be resumed and starts again" in capsys.readouterr().out
    assert sorted(path.name for path in (fake / "s" / ".aside").iterdir()) == ["n=4", "n=6"]
    assert {row["status"] for row in table()} == {"converged"}


def test_a_run_that_another_process_writes_is_not_set_aside(fake, capsys, monkeypatch):
    interrupt_when(fake / "s" / "n=6" / "config.json")
    main([*GRID, "--alpha", "9"])
    monkeypatch.setenv("REFUSE", "1")
    with (fake / "s" / "n=4" / "evaluations.bin").open("wb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        monkeypatch.setenv("FAST", "1")
        assert main([*GRID, "--alpha", "9"]) == 1
    assert [path.name for path in (fake / "s" / ".aside").iterdir()] == ["n=6"]
    assert [row["status"] for row in table()] == ["failed", "converged"]


def test_a_sweep_goes_on_from_another_folder(fake, monkeypatch):
    Path("p.py").write_text('"""P."""\ndef build(alpha: str = ""):\n    """Nothing."""\n')
    interrupt_when(fake / "s" / "alpha=9" / "config.json")
    assert main(["sweep", "./p.py", "--alpha", "9,1", "--out", "s", "--jobs", "1"]) == 130
    (fake / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main(["resume", "../s", "--quiet"]) == 0
    assert [row["status"] for row in table("../s")] == ["converged"] * 2
    assert list(Path().iterdir()) == []


def test_a_child_that_is_interrupted_while_python_starts_has_not_failed(tmp_path):
    (point, _) = Grid((Key("--n", ("4", "6")),)).points
    child = ChildTask(point.folder, [])
    assert ended_run(tmp_path, point, EndedChild(child, -signal.SIGINT, "")) is None
    assert ended_run(tmp_path, point, EndedChild(child, -signal.SIGKILL, "")).failed


def test_two_sweeps_are_not_mixed(fake, capsys):
    assert main([*GRID, "--alpha", "1"]) == 0
    error = refused(capsys, [*GRID[:2], "--n", "4,8", "--max-iterations", "3", "--out", "s"])
    for part in ("n is 4,6 there, 4,8 here", "alpha is 1 there, not given here", "max_iterations is not given there"):
        assert part in error
    error = refused(capsys, ["sweep", "robin", *GRID[2:]])
    assert "problem is poisson_control there, robin here" in error
    (fake / "other").mkdir()
    (fake / "other" / "notes.txt").touch()
    assert "holds notes.txt and no sweep" in refused(capsys, [*GRID, "--out", "other"])
    (fake / "s" / "sweep.json").write_text("{")
    assert "cannot read s/sweep.json" in refused(capsys, GRID)
    with pytest.raises(UsageError, match="holds no sweep"):
        resume_sweep(Path("other"), sweep_of, Console())


def test_a_sweep_that_runs_is_not_run_twice(fake, capsys):
    (fake / "s").mkdir()
    lock = os.open("s", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    try:
        assert "the sweep in s is running" in refused(capsys, GRID)
    finally:
        os.close(lock)
    assert main(GRID) == 0


def test_cores_are_shared(fake):
    from pdeopt.run.sweep.processes import cores

    main([*GRID[:-1], "1"])
    assert [row["message"] for row in table()] == [str(cores())] * 2
    assert main([*GRID[:4], "--alpha", "1", "--out", "t", "--jobs", "1000"]) == 0
    assert [row["message"] for row in table("t")] == [str(max(1, cores() // 2))] * 2


def runs_of(keys, values, name="relative_error"):
    """Runs of a grid with these values of one number; None for those that failed."""
    failed = {"problem": "p", "status": "failed", "message": "no"}
    stopped = {"problem": "p", "status": "stopped", "message": "", "solver": "rslab"}
    pairs = zip(Grid(keys).points, values, strict=True)
    return [FinishedRun(point, failed if value is None else {**stopped, name: value}) for point, value in pairs]


def test_what_a_summary_has_under_a_keys_name_is_kept(tmp_path):
    keys = (Key("--solver", ("auto", "cg")),)
    write_table(tmp_path / "sweep.csv", Grid(keys), runs_of(keys, [0.1, 0.2]))
    rows = table(tmp_path)
    assert [(row["solver"], row["result_solver"]) for row in rows] == [("auto", "rslab"), ("cg", "rslab")]
    assert "nested" not in rows[0]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_best_is_marked(terminal):
    keys = (Key("--n", ("4", "6", "8")),)
    console = Console(width=80, record=True, file=open(os.devnull, "w"), force_terminal=terminal)  # noqa: SIM115
    print_results(console, Grid(keys), runs_of(keys, [0.5, 0.25, None]))
    said = console.export_text()
    assert "*25.000%" in said
    assert "*50" not in said
    assert "n=8 failed: no" in said


ONE = (Key("--n", ("4", "6", "8")),)
LOGARITHMIC = (Key("--noise", ("1e-3", "1e-2", "1e-1")),)
NAMES = (Key("--optimizer", ("cg", "bfgs", "tnc")),)
SEEDS = (Key("--initial-seed", ("0", "1", "2")),)
TWO = (Key("--n", ("4", "6")), Key("--noise", ("0.1", "0.2", "0.3")))
THREE = (*TWO, Key("--seed", ("0", "1")))


def axes_of(monkeypatch, keys, values, name="relative_error"):
    drawn = []
    monkeypatch.setattr("pdeopt.run.sweep.figure.save", lambda figure, path: drawn.append(figure))
    draw_sweep(Path("sweep.png"), Grid(keys), runs_of(keys, values, name))
    return drawn[0].axes[0] if drawn else None


def test_picture_of_one_key(monkeypatch):
    axes = axes_of(monkeypatch, ONE, [0.3, 0.2, None])
    assert axes.get_xscale() == axes.get_yscale() == "linear"
    assert axes.lines[0].get_xydata()[:2] == pytest.approx(np.array([[4, 0.3], [6, 0.2]]))
    assert axes.lines[1].get_xdata() == [8], "where it failed"
    axes = axes_of(monkeypatch, LOGARITHMIC, [0.3, 0.02, 0.01], "misfit")
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylabel().startswith("misfit")
    axes = axes_of(monkeypatch, NAMES, [0.3, 0.02, None])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cg", "bfgs", "tnc"]
    axes = axes_of(monkeypatch, SEEDS, [0.3, 0.2, 0.4], "objective")
    assert axes.get_ylabel().startswith("objective")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "2"], "no line through seeds"


def test_picture_of_two_keys(monkeypatch):
    axes = axes_of(monkeypatch, TWO, [1, 2, 3, 4, 5, None])
    assert axes.images[0].get_array().tolist() == [[1, 2, 3], [4, 5, None]]
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3", "4", "5", "–"]
    assert axes_of(monkeypatch, THREE, [1.0] * 12) is None
    assert axes_of(monkeypatch, ONE, [None] * 3) is None
