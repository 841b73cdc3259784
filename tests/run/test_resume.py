"""Runs that end too early go on, and come to where they would have come."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from pdeopt.cli import main
from pdeopt.inversion import recorder
from pdeopt.inversion.evaluation_log import LoggedEvaluation, SpentWork
from pdeopt.run.errors import UsageError
from pdeopt.run.problem_files.template import TEMPLATE
from pdeopt.run.problem_files.trust import remember_trusted
from pdeopt.run.store import directory
from pdeopt.run.store import evaluation_log as answers
from pdeopt.run.store.checkpoint import read_checkpoint, write_checkpoint
from pdeopt.run.store.evaluation_log import EvaluationFile
from pdeopt.sparse.solvers.direct.solver import DirectSolver

pytestmark = pytest.mark.usefixtures("compiled_once")

#: The matrix depends on the parameter, so that the problem is not quadratic.
SMALL = (
    TEMPLATE.replace("] = 24", "] = 6")
    .replace("] = 12", "] = 4")
    .replace("diffusion.assemble(V, k=k)", "diffusion.assemble(V, k=V.interpolate(k * (1 + 0.5 * source**2)))")
)
#: The same without a simulation, which takes longer than all else, and with many iterations.
QUICK = SMALL.replace("(simulated(n, k, points)", "(0.05 * true_source(points)").replace("] = 200.0", "] = 2.0")
RUNS = (
    [],
    ["--optimizer", "newton-cg"],
    pytest.param(["--optimizer", "slsqp"], marks=pytest.mark.slow),
    pytest.param(["--regularization-strength", "discrepancy"], marks=pytest.mark.slow),
    pytest.param(["--regularization-strength", "cooling", "--optimizer", "gauss-newton"], marks=pytest.mark.slow),
)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    return "./small.py"


@pytest.fixture(scope="module")
def former(tmp_path_factory):
    """A folder with two runs: one that came to its end ("whole"), and one that was stopped early ("run")."""
    folder = tmp_path_factory.mktemp("former")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("small.py").write_text(SMALL, encoding="utf-8")
        assert main(["run", "./small.py", "--out", "whole", "--no-pictures", "--quiet"]) == 0
        assert main(["run", "./small.py", "--max-iterations", "3", "--out", "run", "--no-pictures", "--quiet"]) == 0
    return folder


@pytest.fixture
def stopped(former, tmp_path):
    """A copy of the run that was stopped, in the current folder."""
    shutil.copytree(former / "run", "run")
    shutil.copy(former / "small.py", "small.py")
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "path": str(tmp_path / "small.py")}))
    remember_trusted(Path("small.py"))
    return Path("run")


def rows_of(path):
    with (Path(path) / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def summary_of(path):
    return json.loads((Path(path) / "summary.json").read_text(encoding="utf-8"))


def assert_same_end(path, reference, exact=True):
    """The same objective, and a history without a gap or a double row."""
    found, expected = rows_of(path), rows_of(reference)
    assert [row["iteration"] for row in found] == list(range(len(expected)))
    for one, other in zip(found, expected, strict=True):
        for name in set(one) - {"seconds", "factorizations"}:  # factors are remembered by a process
            assert one[name] == (other[name] if exact else pytest.approx(other[name], rel=1e-10)), name
    assert [row["seconds"] for row in found] == sorted(row["seconds"] for row in found)
    assert summary_of(path)["objective"] == pytest.approx(summary_of(reference)["objective"], rel=1e-10)
    assert summary_of(path)["message"] == summary_of(reference)["message"]


def interrupt_at(monkeypatch, count):
    """Ctrl-C during the evaluation of that number (products with a Hessian count, too)."""
    kept = recorder.Recorder._kept
    calls = []

    def keep_and_interrupt(self, *args):
        calls.append(1)
        if len(calls) == count:
            signal.raise_signal(signal.SIGINT)
        return kept(self, *args)

    monkeypatch.setattr(recorder.Recorder, "_kept", keep_and_interrupt)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("options", RUNS, ids=lambda options: options[-1] if options else "l-bfgs-b")
def test_an_interrupted_run_ends_where_it_would_have_ended(small, capsys, monkeypatch, options):
    words = [small, "--noise", "0.05", "--quiet", *options]
    calls = interrupt_at(monkeypatch, -1)
    assert main(["run", *words, "--out", "whole", "--no-pictures"]) == 0
    total = len(calls)
    with monkeypatch.context() as patch:
        interrupt_at(patch, int(0.6 * total))
        assert main(["run", *words, "--out", "run", "--no-pictures"]) == 130
    assert main(["resume", "run", "--quiet"]) == 0
    assert_same_end("run", "whole")
    assert not (Path("whole") / "evaluations.bin").exists(), "nothing to go on with"


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(small, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        assert main(["run", small, "--out", "my run", "--no-pictures"]) == 130
    assert "go on with: pdeopt resume 'my run'\n" in capsys.readouterr().out
    assert read_checkpoint(Path("my run/checkpoint.npz")).iteration == rows_of("my run")[-1]["iteration"]
    assert main(["resume", "my run"]) == 0
    said = capsys.readouterr().out
    assert "going on from iteration" in said
    assert "iteration    0:" not in said, "what a former run said is not said again"
    assert main(["resume", "my run"]) == 0
    assert "has converged; there is nothing to go on with" in capsys.readouterr().out


@pytest.mark.slow
def test_a_second_ctrl_c_in_a_solve_quits_and_loses_nothing(small, former, capsys, monkeypatch):
    solve, calls = DirectSolver.solve, []

    def interrupted(self, *args):
        calls.append(1)
        for _ in range(2 * (len(calls) == 21)):
            signal.raise_signal(signal.SIGINT)
        return solve(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(DirectSolver, "solve", interrupted)
        assert main(["run", small, "--no-check", "--out", "run", "--no-pictures"]) == 130
    assert capsys.readouterr().err == "pdeopt: error: interrupted; go on with: pdeopt resume run\n"
    assert not (Path("run") / "summary.json").exists()
    assert main(["resume", "run", "--quiet"]) == 0
    assert_same_end("run", former / "whole")


@pytest.mark.slow
def test_a_run_goes_on_from_another_folder(tmp_path, monkeypatch, compiled_once):
    """Paths among the options are those of the folder where the run was started."""
    option = '    data: Annotated[str, "a file"] = "factor",\n'
    text = SMALL.replace("    seed: Annotated", f"{option}    seed: Annotated")
    text = text.replace("    ticks = np", "    k *= float(open(data).read())\n    ticks = np")
    Path("reads.py").write_text(text, encoding="utf-8")
    Path("factor").write_text("2", encoding="utf-8")
    assert (
        main(["run", "./reads.py", "--max-iterations", "2", "--out", "run", "--no-check", "--quiet", "--no-pictures"])
        == 0
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for limit in ("3", "4"):
        compiled_once.clear()  # the file is read again
        assert main(["resume", "../run", "--max-iterations", limit, "--quiet"]) == 0
    assert len(rows_of("../run")) == 5


@pytest.mark.slow
def test_a_run_at_its_limit_goes_on_with_a_higher_one(stopped, former, capsys):
    assert main(["resume", "run"]) == 2
    assert "go on with: pdeopt resume run --max-iterations 6" in capsys.readouterr().err
    assert main(["resume", "run", "--max-iterations", "2"]) == 2
    assert "the run was started with 3" in capsys.readouterr().err
    assert main(["resume", "run", "--max-iterations", "200", "--quiet"]) == 0
    assert_same_end("run", former / "whole")
    config = json.loads(Path("run/config.json").read_text())
    assert config["max_iterations"] == 200
    assert config["argv"][:2] == ["run", "./small.py"]
    assert config["resumed"] == [["resume", "run", "--max-iterations", "200", "--quiet"]]


#: The problem file with a solver among the keywords of build, which is threaded to the state.
THREADED = (
    SMALL.replace(") -> Problem:", '    solver: str = "superlu",\n) -> Problem:')
    .replace("state_equation(V, k),", "state_equation(V, k, solver),")
    .replace("def state_equation(V, k):", 'def state_equation(V, k, solver="auto"):')
    .replace("Dirichlet.on(V), ", "Dirichlet.on(V), solver, ")
)


@pytest.mark.slow
@pytest.mark.parametrize("text", [SMALL, THREADED], ids=["chosen from outside", "by build"])
def test_a_run_goes_on_with_its_solver(tmp_path, capsys, text):
    (tmp_path / "small.py").write_text(text, encoding="utf-8")
    assert main(["run", "./small.py", "--solver", "rslab", "--max-iterations", "2", "--out", "run", "--quiet"]) == 0
    assert main(["resume", "run", "--max-iterations", "3", "--quiet"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert (config["solver"], config["requested_solver"]) == ("rslab", "rslab" if text == SMALL else None)
    assert summary_of("run")["solver"] == "rslab"


@pytest.mark.slow
def test_a_run_that_goes_on_without_pictures_is_drawn_when_it_goes_on_again(stopped):
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "pictures": True}))
    assert main(["resume", "run", "--max-iterations", "4", "--no-pictures", "--quiet"]) == 0
    assert json.loads(Path("run/config.json").read_text())["pictures"] is True
    assert not Path("run/result.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("missing", [1, 7, 300])
def test_what_a_killed_process_left_unfinished_is_computed_again(stopped, former, missing):
    """A torn record at the end of the file, and temporary files."""
    path = stopped / answers.EVALUATIONS_FILE
    os.truncate(path, path.stat().st_size - missing)
    (stopped / ".pdeopt-0123456789abcdef-history.csv").write_text("iter")
    assert main(["resume", "run", "--max-iterations", "200", "--quiet"]) == 0
    assert_same_end("run", former / "whole")
    assert not list(stopped.glob(".*"))


@pytest.mark.slow
def test_answers_to_other_questions_are_not_used(stopped, former, capsys):
    """Whatever stands in the file: a wrong number cannot come of it."""
    path = stopped / answers.EVALUATIONS_FILE
    content = path.read_bytes()
    kept = EvaluationFile()
    kept.open(path)
    first = kept.recall("value", kept._next.question)
    kept.close()
    other = answers._record(replace(first, question="0" * 32, array=0 * first.array))
    path.write_bytes(other + content)
    assert main(["resume", "run", "--max-iterations", "200"]) == 0
    assert "the optimizer goes another way than before" in capsys.readouterr().out
    assert_same_end("run", former / "whole")


def changed(stopped, **values):
    checkpoint = read_checkpoint(stopped / "checkpoint.npz")
    write_checkpoint(stopped / "checkpoint.npz", replace(checkpoint, **values))


def set_in_config(stopped, **values):
    config = json.loads((stopped / "config.json").read_text())
    (stopped / "config.json").write_text(json.dumps({**config, **values}))


def set_option(stopped, **values):
    config = json.loads((stopped / "config.json").read_text())
    set_in_config(stopped, options={**config["options"], **values})


def change_file(stopped):
    path = Path("small.py")
    path.write_text(path.read_text() + "\n# other\n")


def change_data(stopped):
    """The problem file is the same, what it reads is not."""
    set_option(stopped, noise=0.02)


def change_regularization(stopped):
    """Which the misfit at the initial guess does not tell."""
    set_option(stopped, weight=300.0)


def change_mesh(stopped):
    set_option(stopped, n=5)


def remove(name):
    return lambda stopped: (stopped / name).unlink()


def spoil(name, text="no"):
    return lambda stopped: (stopped / name).write_text(text)


REFUSED = {
    "another problem": (lambda s: changed(s, problem="other"), "is of the problem other, and the run is of small"),
    "another version": (lambda s: changed(s, version="0.0.1"), "was written by pdeopt 0.0.1, and this is"),
    "another format": (lambda s: changed(s, format=99), "has the format 99, and this pdeopt reads"),
    "the format before": (lambda s: changed(s, format=1), "has the format 1, and this pdeopt reads 2; start a new run"),
    "a changed file": (change_file, "was changed (undo the change to go on)"),
    "another regularization": (change_regularization, "there now: something that it imports was changed"),
    "other data": (change_data, "its data, its mesh, its initial guess or something that it imports was changed"),
    "another mesh": (change_mesh, "has 49 parameters, and the problem has 36 now"),
    "a damaged checkpoint": (spoil("checkpoint.npz"), "run/checkpoint.npz is no checkpoint, or damaged"),
    "no evaluations": (remove("evaluations.bin"), "run has no evaluations.bin, from which a run goes on"),
    "no configuration": (remove("config.json"), "run is not a run directory: it has no config.json"),
    "a damaged configuration": (spoil("config.json"), "cannot read run/config.json"),
    "an old configuration": (spoil("config.json", '{"options": {}}'), "it is of another version of pdeopt"),
    "a changed configuration": (lambda s: set_in_config(s, options=[1]), "its options is [1]"),
    "no problem file": (lambda s: Path("small.py").unlink(), "which is not there; put it back"),
}


@pytest.mark.slow
@pytest.mark.parametrize("reason", REFUSED)
def test_a_run_that_cannot_be_gone_on_with_is_refused_and_left_alone(stopped, capsys, reason):
    change, message = REFUSED[reason]
    change(stopped)
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    assert main(["resume", "run", "--max-iterations", "9", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_wrong_bits_are_told(stopped):
    """Also those that zlib or zipfile fall over, and lengths of records beyond all memory."""
    path, records = stopped / "checkpoint.npz", stopped / answers.EVALUATIONS_FILE
    whole, kept = path.read_bytes(), records.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(flipped(whole, place))
        with suppress(UsageError):
            read_checkpoint(path)
    for place in range(answers.RECORD_HEAD.size):
        records.write_bytes(flipped(kept, place))
        damaged = EvaluationFile()
        damaged.open(records)
        assert not damaged.replaying
        damaged.close()


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]


@pytest.mark.slow
def test_a_run_that_is_being_written_is_left_alone(stopped, capsys):
    other = EvaluationFile()
    other.open(stopped / answers.EVALUATIONS_FILE)
    assert main(["resume", "run", "--max-iterations", "4", "--quiet"]) == 2
    assert "run is being written by another process" in capsys.readouterr().err
    other.close()
    assert main(["resume", "run", "--max-iterations", "4", "--quiet"]) == 0


def full_after(monkeypatch, count):
    """The disk fills up at the so many-th file or record."""
    calls = []

    def failing(write):
        def wrapped(*args, **kwargs):
            calls.append(1)
            if len(calls) >= count:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(directory.os, "replace", failing(os.replace))
    monkeypatch.setattr(EvaluationFile, "_write", failing(EvaluationFile._write))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 15, 27])
def test_a_full_disk_ends_in_one_message_and_the_run_goes_on_later(small, former, capsys, monkeypatch, count):
    with monkeypatch.context() as patch:
        full_after(patch, count)
        assert main(["run", small, "--out", "run", "--quiet", "--no-pictures"]) == 1
    error = capsys.readouterr().err
    assert error == (
        "pdeopt: error: cannot write to run: No space left on device; what was reached is kept: make room, then go on "
        "with: pdeopt resume run\n"
    )
    assert not list(Path("run").glob(".*"))
    assert main(["resume", "run", "--quiet"]) == 0
    assert_same_end("run", former / "whole")


def test_half_a_record_is_taken_back_where_the_disk_is_full(tmp_path):
    class Full(BytesIO):
        def write(self, data):
            if self.tell() > 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(bytes(data[:60]))

    kept = EvaluationFile()
    kept._file = Full()
    with pytest.raises(OSError, match="No space left"):
        kept.keep(LoggedEvaluation("value", "q", (1.0, 1.0, 0.0), np.ones(100), "", SpentWork(), 0.0))
    assert kept._file.getvalue() == b""


def test_answers_come_back_in_order_and_whole(tmp_path):
    given = [
        LoggedEvaluation("value", "a", (1.5, float("inf"), -0.0), np.arange(3.0), "", SpentWork(products=1), 0.1),
        LoggedEvaluation("value", "b", (), None, "singular", SpentWork(products=1), 0.2),
        LoggedEvaluation("product", "c", (), np.array([np.nan, 1e-300]), "", SpentWork(products=2), 0.3),
    ]
    first = EvaluationFile()
    first.keep(given[0])  # before there is a file
    first.open(tmp_path / "file")
    first.keep(given[1])
    first.keep(given[2])
    first.close()
    second = EvaluationFile()
    second.open(tmp_path / "file")
    for answer in given:
        assert second.replaying
        found = second.recall(answer.kind, answer.question)
        for name in ("numbers", "error", "spent", "seconds"):
            assert getattr(found, name) == getattr(answer, name)
        assert answer.array is found.array or np.array_equal(found.array, answer.array, equal_nan=True)
    assert not second.replaying
    assert second.recall("value", "a") is None
    second.close()


def start(words):
    code = "import sys; from pdeopt.cli import main; sys.exit(main())"
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process):
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error.decode()


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.005)


def assert_whole(path):
    """Every file can be read."""
    for file in path.iterdir():
        if LEFT.fullmatch(file.name) or file.name == answers.EVALUATIONS_FILE:
            continue
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        elif file.suffix == ".npz":
            with np.load(file) as arrays:
                assert all(arrays[name] is not None for name in arrays)
        elif file.suffix == ".csv":
            assert all(len(row) == len(rows_of(path)[0]) for row in rows_of(path))
            assert file.read_text().endswith("\n")
        elif file.suffix == ".png":
            assert b"IEND" in file.read_bytes()[-12:]


LEFT = directory.TEMPORARY_NAME
SEED = 20261123


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("optimizer", ["l-bfgs-b", "newton-cg"])
def test_a_run_killed_at_any_moment_ends_where_it_would_have_ended(tmp_path, optimizer):
    (tmp_path / "quick.py").write_text(QUICK, encoding="utf-8")
    check = [] if optimizer == "l-bfgs-b" else ["--no-check"]  # which one is killed while it verifies, too
    words = ["run", "./quick.py", "--n", "16", "--optimizer", optimizer, *check, "--no-pictures", "--quiet", "--out"]
    process = start([*words, "whole"])
    wait_for(tmp_path / "whole" / "config.json", process)
    begun = time.monotonic()
    wait_for(tmp_path / "whole" / "result.npz", process)
    minimized = time.monotonic() - begun
    finish(process)
    duration = time.monotonic() - begun
    rng = np.random.default_rng(SEED)
    kills = min(settings.default.max_examples // 20, 100)  # one of each kind, or 100 with -m fuzz
    moments = [*rng.uniform(0, minimized, kills), *rng.uniform(minimized, duration, kills)]
    for k, moment in enumerate(moments):
        path = tmp_path / f"run {k}"
        process = start([*words, path.name])
        wait_for(path / "config.json", process)
        time.sleep(moment)
        process.kill()
        process.communicate()
        assert_whole(path)
        if process.returncode == -signal.SIGKILL and rng.uniform() < 0.3:  # and once more, while it goes on
            process = start(["resume", path.name, "--quiet"])
            time.sleep(rng.uniform(0, 2 * duration))
            process.kill()
            process.communicate()
            assert_whole(path)
        finish(start(["resume", path.name, "--quiet"]))
        assert_whole(path)
        assert_same_end(path, tmp_path / "whole", exact=False)


@pytest.mark.slow
def test_a_run_killed_amid_its_steps_in_time_ends_where_it_would_have_ended(tmp_path):
    words = ["run", "wave_speed", "--n", "10", "--dt", "0.02", "--memory", "200K", "--max-iterations", "12"]
    words += ["--no-check", "--no-pictures", "--quiet", "--out"]
    assert main([*words, "whole"]) == 0
    process, history = start([*words, "killed"]), tmp_path / "killed" / "history.csv"
    wait_for(history, process)
    while len(history.read_text().splitlines()) < 6:
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_whole(tmp_path / "killed")
    assert main(["resume", "killed", "--quiet"]) == 0
    assert_same_end(tmp_path / "killed", tmp_path / "whole", exact=False)
