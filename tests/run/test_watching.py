"""What a run leaves of its way: run.log, the times of its stages, live.png while it goes on; and what Ctrl-C leaves."""

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from small_problem import small_problem

from pdeopt.cli import main
from pdeopt.run.execution import inversion, live_picture
from pdeopt.run.watch import interruption
from pdeopt.run.watch.interruption import exit_status, interrupts_come_through, stop_on_interrupt
from pdeopt.run.watch.progress import Progress
from pdeopt.run.watch.run_log import RunLog
from pdeopt.run.watch.screen import RobustStream
from pdeopt.sparse import clear_memo

pytestmark = pytest.mark.usefixtures("compiled_once")

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  +\S.*")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run that draws every iterate: its folder, and the pictures that were there on the way."""
    folder = tmp_path_factory.mktemp("watched")
    seen = []
    update = live_picture.LivePicture.update

    def update_and_look(self, directory, row, m):
        update(self, directory, row, m)
        seen.append(imread(directory / "live.png").std())

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        clear_memo()  # of the tests before
        patch.setattr(live_picture, "MIN_PAUSE_SECONDS", 0.0)
        patch.setattr(live_picture, "FIRST_DRAWING_SECONDS", 0.0)
        patch.setattr(live_picture, "MAX_DRAWING_PART", 1.0)
        patch.setattr(live_picture.LivePicture, "update", update_and_look)
        assert main(["run", small_problem(folder), "--max-iterations", "2", "--out", "out", "--quiet", "--live"]) == 0
    return folder / "out", seen


def log_of(directory):
    return (directory / "run.log").read_text(encoding="utf-8")


# --- run.log -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_log_has_everything_with_times_even_if_nothing_is_printed(watched):
    text = log_of(watched[0])
    assert all(LINE.fullmatch(line) for line in text.splitlines())
    for said in (
        "pdeopt run ./small.py --max-iterations 2 --out out --quiet --live",
        "numpy " + np.__version__,
        "building small …",
        "derivatives verified: Taylor order 2.00",
        "iteration    0:",
        "iteration    2:",
        "factorizations 1, solves ",
        "stopped: the maximum number of iterations, 2, was reached",
        "files           out/",
    ):
        assert said in text, said
    assert "\x1b" not in text, "no colors"


def test_lines_are_kept_until_there_is_a_folder_and_then_written_at_once(tmp_path):
    log, path = RunLog(), tmp_path / "run.log"
    log.write("first\nsecond")
    assert not path.exists()
    log.open(path)
    log.write("third")
    assert [line.split("  ")[1] for line in path.read_text().splitlines()] == ["first", "second", "third"]
    again = RunLog()
    again.open(path)
    again.write("resumed")
    assert path.read_text().count("\n") == 4, "appended"


def test_what_the_library_logs_is_in_the_log_and_a_warning_at_the_end(tmp_path, capsys):
    library = logging.getLogger("pdeopt.sparse.solvers.test")
    with Progress(Console(), quiet=True) as progress:
        progress.log.open(tmp_path / "run.log")
        library.info("%s is taken", "rslab")
        library.warning("%s took over", "superlu")
        assert capsys.readouterr() == ("", "")
    assert capsys.readouterr() == ("", "pdeopt: warning: superlu took over\n")
    said = [line.split("  ", 1)[1] for line in (tmp_path / "run.log").read_text().splitlines()]
    assert said == ["rslab is taken", "warning: superlu took over"]
    assert not logging.getLogger("pdeopt").handlers
    assert logging.getLogger("pdeopt").level == logging.NOTSET


def test_a_level_that_the_user_has_set_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pdeopt"), "level", logging.WARNING)
    with Progress(Console(), quiet=True) as progress:
        progress.log.open(tmp_path / "run.log")
        logging.getLogger("pdeopt.sparse").info("rslab is taken")
    assert logging.getLogger("pdeopt").level == logging.WARNING
    assert "rslab" not in (tmp_path / "run.log").read_text()


@pytest.mark.slow
def test_a_log_that_cannot_be_written_is_one_warning(tmp_path, capsys, monkeypatch):
    def full(self):
        self.failure = OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunLog, "_append", full)
    assert (
        main(["run", small_problem(tmp_path), "--max-iterations", "0", "--quiet", "--no-check", "--no-pictures"]) == 0
    )
    assert capsys.readouterr().err.count("run.log could not be written") == 1


@pytest.mark.slow
def test_an_error_is_in_the_log_with_its_traceback(tmp_path, capsys):
    small_problem(tmp_path, ("        initial=np.zeros(V.n),", "        initial=np.zeros(V.n), interpret=broken,"))
    with open("small.py", "a", encoding="utf-8") as file:
        file.write("\n\ndef broken(m):\n    raise RuntimeError('no objects')\n")
    words = ["run", "./small.py", "--max-iterations", "0", "--no-check", "--quiet", "--out", "out"]
    assert main([*words, "--traceback"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error, "asked for"
    assert "RuntimeError: no objects" in error.splitlines()[-2]
    log = log_of(tmp_path / "out")
    assert "Traceback" in log
    assert "in broken" in log
    assert "failed: " in log


@pytest.mark.slow
def test_a_killed_run_leaves_its_log(tmp_path):
    path = small_problem(tmp_path)
    words = [sys.executable, "-m", "pdeopt", "run", path, "--out", "out", "--no-check", "--gradient-tolerance", "0"]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "out" / "run.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and "iteration    1" in log.read_text()) and time.monotonic() < deadline:
        assert run.poll() is None, "it ended before"
        time.sleep(0.002)
    run.kill()
    run.wait()
    assert all(LINE.fullmatch(line) for line in log.read_text().splitlines())


# --- times -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_stages_are_timed(watched):
    summary = json.loads((watched[0] / "summary.json").read_text())
    seconds = summary["stage_seconds"]
    stages = ("building", "compiling", "verification", "optimization", "live picture", "evaluating", "pictures")
    assert set(seconds) == {*stages, "optimization/factorizations", "optimization/solves"}
    assert all(seconds[name] > 0 for name in stages)
    parts = seconds["optimization/factorizations"] + seconds["optimization/solves"]
    assert parts < seconds["optimization"] + seconds["compiling"]
    assert summary["seconds"] < sum(seconds[name] for name in stages)


@pytest.mark.slow
def test_they_are_said_at_the_end(tmp_path, capsys):
    assert main(["run", small_problem(tmp_path), "--max-iterations", "0", "--no-pictures"]) == 0
    text = capsys.readouterr().out
    end = " ".join(text[text.index("  time ") :].split())
    assert re.match(r"time \S+ s: building \S+ s, compiling \S+ s, verification \S+ s", end)
    assert "derivatives verified: Taylor order" in text


# --- live.png ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_picture_is_drawn_on_the_way_and_gone_at_the_end(watched):
    directory, seen = watched
    assert len(seen) == 3
    assert min(seen) > 0.05, "not blank"
    assert not (directory / "live.png").exists()
    assert (directory / "result.png").exists()
    assert "live picture: out/live.png" in log_of(directory)


def test_drawing_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    clock = [0.0]
    drawn = []

    class Picture(live_picture.LivePicture):
        def _draw(self, path, row, m):
            drawn.append(clock[0])
            clock[0] += 2.0

        def _tell(self, directory, warnings):
            assert warnings == []

    class Progress:
        def stage(self, name):
            pass

    monkeypatch.setattr(live_picture.time, "perf_counter", lambda: clock[0])
    picture = Picture("x", None, Progress())
    while clock[0] < 1000:
        clock[0] += 0.5
        picture.update(tmp_path, None, None)
    assert 30 < len(drawn) <= 1 + 0.1 * 1000 / 2.0


@pytest.mark.slow
def test_a_live_picture_that_fails_is_one_warning_and_no_more(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("no ink")

    for name in ("MIN_PAUSE_SECONDS", "FIRST_DRAWING_SECONDS"):
        monkeypatch.setattr(live_picture, name, 0.0)
    monkeypatch.setattr(live_picture, "draw_result", fail)
    words = ["run", small_problem(tmp_path), "--max-iterations", "3", "--quiet", "--live", "--no-check"]
    assert main(words) == 0
    assert capsys.readouterr().err == (
        "pdeopt: warning: live.png could not be written: RuntimeError: no ink; the run went on without it\n"
    )
    assert (tmp_path / "runs" / "small" / "result.png").exists()


# --- what is said, and what not ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_options_that_did_nothing_are_mentioned(tmp_path, capsys):
    path = small_problem(tmp_path, ("initial=np.zeros(V.n),", "initial=np.zeros(V.n), bounds=(-9.0, 9.0),"))
    assert main(["run", path, "--max-iterations", "0", "--no-check", "--live", "--inner-product", "l2"]) == 0
    out = capsys.readouterr().out
    assert "--live: the run was over before its first picture was due" in out
    assert "--inner-product l2: the problem has bounds, with which l2-lumped was used" in out


@pytest.mark.slow
def test_verbose_tells_every_iteration_and_what_was_done(tmp_path, capsys):
    assert (
        main(["run", small_problem(tmp_path), "--max-iterations", "12", "--verbose", "--no-check", "--no-pictures"])
        == 0
    )
    text = capsys.readouterr().out
    assert [f"iteration {k:4d}:" in text for k in range(13)] == [True] * 13
    assert re.search(r"49 parameters on a mesh of 72 cells, 16 data", text)
    assert re.search(r"\d factorizations and 0 set-ups of preconditioners in .* by the solver ", text)


@pytest.mark.parametrize(("one", "other"), [("--quiet", "--verbose"), ("--no-pictures", "--live")])
@pytest.mark.parametrize("words", [["run", "robin"], ["resume", "out"]])
def test_options_that_exclude_each_other(capsys, words, one, other):
    assert main([*words, other, one]) == 2
    assert f"{other}: not allowed with argument {one}" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_without_pictures_draws_none_and_imports_no_matplotlib(tmp_path):
    words = ["run", small_problem(tmp_path), "--max-iterations", "1", "--no-pictures", "--out", "out", "--quiet"]
    code = (
        f"import sys; from pdeopt.cli import main; status = main({words!r}); "
        "sys.exit('it imported matplotlib' if 'matplotlib' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")

    def drawn():
        return sorted(path.name for path in Path("out").iterdir() if path.suffix in (".png", ".pdf"))

    assert main(["resume", "out", "--max-iterations", "2", "--quiet"]) == 0
    assert drawn() == [], "a run that was begun without pictures goes on without"
    config = json.loads(Path("out/config.json").read_text())
    assert config["pictures"] is False
    Path("out/config.json").write_text(json.dumps({**config, "pictures": True}))
    assert main(["resume", "out", "--max-iterations", "3", "--no-pictures", "--quiet"]) == 0
    assert drawn() == [], "nor does one that is told so"
    assert main(["plot", "out"]) == 0
    assert drawn() == ["history.pdf", "history.png", "result.pdf", "result.png"]


# --- Ctrl-C ------------------------------------------------------------------------------------------------------

INTERRUPTED = "pdeopt: error: interrupted\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_the_command_is_imported_ends_in_one_line(name):
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'rich': os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from pdeopt.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.Signals[name], INTERRUPTED)


def test_the_package_is_a_command():
    done = subprocess.run([sys.executable, "-m", "pdeopt", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "pdeopt")


def test_ctrl_c_while_a_problem_is_imported_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")
    assert main(["run", "./slow.py", "--no-pictures"]) == 130
    assert capsys.readouterr().err == INTERRUPTED


def test_ctrl_c_that_python_ignores_comes_again(capsys):
    class Collected:
        def __del__(self):
            raise KeyboardInterrupt

    def collect():
        Collected()
        time.sleep(10)

    with interrupts_come_through(), pytest.raises(KeyboardInterrupt):
        collect()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "Exception ignored" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "message", "number"),
    [
        ("pdeopt.run.execution.conclusion.fields_of", "interrupted while the result was evaluated", signal.SIGINT),
        ("pdeopt.run.pictures.run_pictures.draw_run", "the maximum number of iterations", signal.SIGTERM),
    ],
)
def test_a_signal_after_the_optimization_keeps_its_numbers(tmp_path, capsys, monkeypatch, where, message, number):
    monkeypatch.setattr(where, lambda *_, **__: signal.raise_signal(number))
    words = ["run", small_problem(tmp_path), "--max-iterations", "1", "--out", "out", "--no-check", "--quiet"]
    assert main(words) == 128 + number
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert message in summary["message"]
    assert (summary["status"], summary["iterations"]) == ("stopped", 1)
    assert (tmp_path / "out" / "result.npz").exists() == where.endswith("draw_run")
    assert ("to draw them: pdeopt plot out" in capsys.readouterr().err) == where.endswith("draw_run")


def test_ctrl_c_during_the_verification_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(problem, stop, stage):
        os.kill(os.getpid(), signal.SIGINT)
        while not stop():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(inversion, "verify_derivatives", interrupted)
    assert main(["run", small_problem(tmp_path), "--quiet", "--no-pictures"]) == 130
    assert capsys.readouterr().err == INTERRUPTED
    assert not (tmp_path / "runs").exists()


# --- SIGTERM and SIGHUP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_problem_is_built_leaves_nothing(tmp_path, capsys, number):
    text = f"import signal\ndef build(n: int = 1):\n    signal.raise_signal({int(number)})\n"
    (tmp_path / "slow.py").write_text(text)
    before = signal.getsignal(number)
    assert main(["run", "./slow.py", "--quiet", "--no-pictures"]) == 128 + number
    assert capsys.readouterr().err == INTERRUPTED
    assert not (tmp_path / "runs").exists()
    assert signal.getsignal(number) == before


@pytest.mark.slow
def test_sigterm_ends_a_run_in_order(tmp_path):
    """A real process, as a batch system sees it; how it goes on is the same as after Ctrl-C (test_resume.py)."""
    words = [sys.executable, "-m", "pdeopt"]
    options = ["--out", "out", "--no-check", "--gradient-tolerance", "0", "--max-iterations", "100000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([*words, "run", small_problem(tmp_path), *options], **pipes)
    log = tmp_path / "out" / "run.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and "iteration    1" in log.read_text()) and time.monotonic() < deadline:
        assert run.poll() is None, "it ended before"
        time.sleep(0.002)
    run.send_signal(signal.SIGTERM)
    said, error = run.communicate(timeout=240)
    assert (run.returncode, error) == (143, "")
    assert "go on with: pdeopt resume out\n" in said
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "interrupted after iteration" in summary["message"]
    assert {"result.npz", "result.png", "checkpoint.npz", "evaluations.bin"} <= {*os.listdir("out")}
    assert "stopping after this evaluation (SIGTERM again quits at once)" in log_of(tmp_path / "out")


def test_a_second_signal_ends_it_at_once():
    said = []
    with interrupts_come_through(), stop_on_interrupt(said.append) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert said == ["stopping after this evaluation (SIGTERM again quits at once)"]
    assert exit_status() == 143


def test_two_kinds_of_signals_at_one_time_are_one(monkeypatch):
    """As service managers send them, and a sweep hands on what its runs were sent, too."""
    with interrupts_come_through(), stop_on_interrupt(lambda _: None) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
        assert stop()
        assert exit_status() == 143
        monkeypatch.setattr(interruption, "SAME_INTERRUPT_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts_come_through(), stop_on_interrupt(lambda _: None) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_exit_status_is_that_of_the_last_command(tmp_path):
    (tmp_path / "slow.py").write_text("raise KeyboardInterrupt\n")
    with interrupts_come_through(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert main(["run", "./slow.py", "--no-pictures"]) == 130


OUTLIVES = """
import sys, time
from pathlib import Path
from pdeopt.run.watch.interruption import exit_status, interrupts_come_through, stop_on_interrupt
from pdeopt.run.watch.screen import robust_streams
with robust_streams(), interrupts_come_through(), stop_on_interrupt(print) as stop:
    print("ready", flush=True)
    while not stop():
        time.sleep(0.01)
    for _ in range(3):
        print("ä result", flush=True)
        print("a warning", file=sys.stderr, flush=True)
    Path("written").write_text(str(exit_status()))
"""


def test_a_closed_terminal_keeps_no_result_from_being_written(tmp_path):
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", OUTLIVES])
    while b"ready" not in os.read(terminal, 1000):
        pass
    os.close(terminal)
    os.waitpid(child, 0)
    assert (tmp_path / "written").read_text() == "129"


def test_a_reader_that_has_gone_keeps_no_result_from_being_written(tmp_path):
    """As `| tee log`, which a Ctrl-C ends, too."""
    run = subprocess.Popen([sys.executable, "-c", OUTLIVES], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.readline() == b"ready\n"
    run.stdout.close()
    run.stderr.close()
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == 0
    assert (tmp_path / "written").read_text() == "130"


def test_a_full_disk_behind_standard_output_is_told():
    with open("/dev/full", "w", encoding="utf-8") as full, pytest.raises(OSError, match="No space left"):
        print("x" * 10_000, file=RobustStream(full), flush=True)
