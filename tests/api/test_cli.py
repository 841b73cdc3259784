"""The command line: what it lists and helps with, and what it says to bad input."""

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from rich.console import Console

import pdeopt
from pdeopt.cli import main
from pdeopt.cli.options import options_of
from pdeopt.inversion.checking import Check
from pdeopt.run.errors import UsageError
from pdeopt.run.problem_files.loading import problem_files
from pdeopt.run.problem_files.template import TEMPLATE
from pdeopt.run.store.directory import write_json
from pdeopt.run.store.json_file import read_object
from pdeopt.run.sweep.grid import Grid, Key
from pdeopt.run.sweep.results import FinishedRun
from pdeopt.run.sweep.table import print_results
from pdeopt.run.watch.end_of_run import print_checks
from pdeopt.run.watch.progress import Progress
from pdeopt.run.watch.screen import encodable, robust_streams

SMALL = TEMPLATE.replace("] = 24", "] = 6").replace("] = 12", "] = 4")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capsys, words):
    """The one message of a command that must exit with status 2."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("pdeopt: error: ")
    assert captured.err.count("\n") == 1, "one message, one line"
    assert "Traceback" not in captured.err
    return captured.err


def write(path, *changes):
    """A small problem file with some of its text replaced."""
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return f"./{path.name}"


@pytest.mark.parametrize("words", [["list"], ["--help"], ["--version"], ["run", "--help"], ["sweep", "--help"], []])
def test_light_commands_do_not_import_jax(words):
    code = (
        f"import sys; from pdeopt.cli import main; status = main({words!r}); "
        "heavy = {'jax', 'skfem', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("words", [["list"], ["--help"]])
def test_light_commands_answer_at_once(words):
    """In half a second of processor time, which a busy machine changes less than the time on the clock."""

    def spent():
        before = os.times()
        subprocess.run([sys.executable, "-m", "pdeopt", *words], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(spent() for _ in range(5)) < 0.5


def test_list_names_every_problem_with_its_first_line(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(problem_files())
    assert "Recover several conductive and resistive inclusions" in next(
        line for line in lines if "conductivity" in line
    )


def test_problems_are_found_inside_an_installed_package(tmp_path, monkeypatch):
    inside = tmp_path / "site" / "pdeopt"
    (inside / "problems").mkdir(parents=True)
    (inside / "problems" / "mine.py").write_text('"""Mine."""\n')
    monkeypatch.setattr(pdeopt, "__file__", str(inside / "__init__.py"))
    assert problem_files() == {"mine": inside / "problems" / "mine.py"}


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"pdeopt {pdeopt.__version__}"


def test_help_of_a_problem_lists_its_options_with_defaults(capsys):
    assert main(["run", "conductivity", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--noise FLOAT" in text
    assert "--dim {2,3}" in text
    assert re.search(r"--seed INT .*\(default: 0\)", text)


def test_unknown_words_are_named_with_what_may_have_been_meant(capsys):
    assert "unknown command 'rum'" in refused(capsys, ["rum", "conductivity"])
    assert "unknown command '--verson'; expected list, run" in refused(capsys, ["--verson"])
    assert "did you mean '--version'?" in refused(capsys, ["--verson"])
    assert "did you mean 'conductivity'?" in refused(capsys, ["run", "conductivty"])
    message = refused(capsys, ["run", "conductivity", "--nose", "0.1"])
    assert "unknown option --nose; did you mean '--noise'?" in message
    assert "unknown option --nois;" in refused(capsys, ["run", "conductivity", "--nois", "0.1"]), "no abbreviations"
    assert "unexpected argument 'extra'" in refused(capsys, ["run", "conductivity", "extra"])
    assert "the problem comes first" in refused(capsys, ["run", "--quiet"])


def test_a_name_of_a_file_in_the_folder_is_told_apart_from_a_problem(tmp_path, capsys):
    write(tmp_path / "mine.py")
    assert "did you mean ./mine.py?" in refused(capsys, ["run", "mine"])
    assert "there is no problem file other.py" in refused(capsys, ["run", "other.py"])


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--n", "many", "--n: invalid int value: 'many'"),
        ("--dim", "4", "invalid choice"),
        ("--noise", "0", "noise level is 0.0"),
        ("--background", "-1", "not > 0, e.g. -1.0"),
        ("--background", "-1e-3", "not > 0, e.g. -0.001"),
        ("--solver", "supelu", "did you mean 'superlu'?"),
        ("--optimizer", "adam", "invalid choice: 'adam'"),
        ("--max-iterations", "-1", "invalid number of iterations"),
    ],
)
def test_wrong_values(tmp_path, capsys, option, value, expected):
    assert expected in refused(capsys, ["run", "conductivity", "--n", "8", option, value])
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def line_of(text):
    return SMALL[: SMALL.index(text)].count("\n") + 1


BAD_FILES = {
    "syntax error": ([("def load(v, w):", "def load(v, w:")], "bad.py, line 35: SyntaxError"),
    "no build": ([("def build(", "def make(")], "has no function build(...)"),
    "no return": ([("    return Problem(", "    Problem(")], "returned None (is a return missing?)"),
    "raises on import": (
        [("import skfem\n", "import skfem\n1 / 0\n")],
        "ZeroDivisionError: division by zero (bad.py, line 20)",
    ),
    "raises in build": (
        [("    ticks = ", "    ticks = [][n]\n    ticks = ")],
        "IndexError: list index out of range (bad.py, line",
    ),
    "raises deeper": (
        [("    return np.exp(-", "    return missing + np.exp(-")],
        f"NameError: name 'missing' is not defined (bad.py, line {line_of('    return np.exp(-')})",
    ),
    "no default": (
        [('"diffusivity (W/(m K))"] = 1.0', '"diffusivity (W/(m K))"]'), ("] = 6", "]"), ("] = 4", "]")],
        "needs a default",
    ),
    "odd type": ([('Annotated[int, "of the noise"] = 0', "list = []")], "parameter 'seed' of build has the type list"),
    "own option": ([("seed: Ann", "quiet: Ann"), ("noise, seed)", "noise, quiet)")], "pdeopt's own --quiet"),
    "wrong shape": ([("AtPoints.of(V, points), data,", "AtPoints.of(V, points), data[:-1],")], "data have shape (15,)"),
    "NaN data": ([("    functional =", "    data[3] = np.nan\n    functional =")], "1 of 16 data are NaN or infinite"),
    "inverted element": (
        [
            (
                "    ticks = ",
                "    V.mesh.p[:, 24] += 0.5\n    V = FunctionSpace(V.mesh, skfem.ElementTriP1())\n    ticks = ",
            )
        ],
        "inverted",
    ),
    "pure Neumann": ([("system, Dirichlet.on(V)", "system")], "singular"),
    "singular at the initial guess": (
        [("state_equation(V, k),", "state_equation(V, 0.0),")],
        "singular to working precision",
    ),
    "untraceable form": ([('w["source"] * v', 'np.sin(w["source"]) * v')], "jnp."),
    "bounds that cross": ([("initial=np.zeros(V.n),", "initial=np.zeros(V.n), bounds=(1, 0),")], "lower bound 1"),
    "not finite": ([("h1(V, weight),", "lambda m: np.inf * (1 + m[0]),")], "the objective is inf at the initial guess"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_problem_files(tmp_path, capsys, case):
    changes, expected = BAD_FILES[case]
    path = write(tmp_path / "bad.py", *changes)
    assert expected in refused(capsys, ["run", path, "--quiet"])
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


def test_traceback_on_demand(tmp_path, capsys):
    path = write(tmp_path / "bad.py", ("import skfem\n", "import skfem\n1 / 0\n"))
    assert main(["run", path, "--traceback"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "1 / 0" in error


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_solver_for_a_state_that_lets_nobody_choose_it(tmp_path, capsys, command):
    path = write(tmp_path / "fixed.py", ("state_equation(V, k),", "lambda q: state_equation(V, k)(q),"))
    message = refused(capsys, [command, path, "--solver", "superlu"])
    assert "plain function of the coefficient, whose solver cannot be chosen" in message


@pytest.mark.parametrize("command", ["run", "check", "sweep"])
def test_a_keyword_of_build_that_is_an_option_of_pdeopt_is_refused_by_every_command(tmp_path, capsys, command):
    (tmp_path / "mine.py").write_text(
        '"""Mine."""\ndef build(n: int = 1, verbose: bool = False):\n    """Nothing."""\n'
    )
    message = refused(capsys, [command, "./mine.py", "--n", "1,2" if command == "sweep" else "1"])
    assert "--verbose of the problem has the name of pdeopt's own --verbose; rename the keyword" in message


def test_a_percent_sign_in_the_help_of_a_problem_is_shown(tmp_path, capsys):
    text = '"""Mine."""\nfrom typing import Annotated\ndef build(kind: Annotated[str, "5 % (n)s of it"] = "50 %"): 0\n'
    (tmp_path / "mine.py").write_text(text)
    for command in ("run", "sweep"):
        assert main([command, "./mine.py", "--help"]) == 0
        assert "5 % (n)s of it (default: 50 %)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("out", ["file/run", "file"])
def test_unwritable_output_directory(tmp_path, capsys, out):
    (tmp_path / "file").write_text("not a folder")
    message = refused(capsys, ["run", "conductivity", "--n", "8", "--out", out])
    assert f"cannot write to the output directory {out}" in message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_plot_of_a_folder_without_a_run(tmp_path, capsys):
    assert "has no history.csv" in refused(capsys, ["plot", "."])
    (tmp_path / "history.csv").write_text("iteration,objective\n0,1\n")
    assert "it has no column 'misfit'" in refused(capsys, ["plot", "."])


@pytest.mark.slow
def test_new_writes_a_file_that_runs_and_passes(tmp_path, capsys):
    assert main(["new", "heat"]) == 0
    assert main(["run", "./heat.py", "--n", "8", "--max-iterations", "3", "--quiet"]) == 0
    assert (tmp_path / "runs" / "heat" / "result.png").exists()
    assert main(["check", "./heat.py", "--n", "6"]) == 0
    assert "it is not overwritten" in refused(capsys, ["new", "heat.py"])
    assert "is no name for a problem" in refused(capsys, ["new", "a/b"])


def test_options_from_every_kind_of_keyword(tmp_path):
    from typing import Annotated, Literal

    def build(
        n: int = 3,
        size: Annotated[float | None, "m"] = None,
        fine: bool = False,
        *,
        kind: Literal["a", "b"] = "a",
        bare=2,
    ):
        """Nothing."""

    options = {option.name: option for option in options_of(build, tmp_path / "x.py")}
    assert list(options) == ["n", "size", "fine", "kind", "bare"]
    assert options["size"].help == "m"
    assert [options["size"].parse(text) for text in ("none", "2")] == [None, 2.0]
    assert options["kind"].choices == ("a", "b")
    assert options["bare"].kind is int
    with pytest.raises(UsageError, match="needs a default"):
        options_of(lambda n: n, tmp_path / "x.py")


def test_boolean_and_optional_options_reach_build(tmp_path, capsys):
    text = SMALL.replace(") -> Problem:", "    fine: bool = False,\n    size: float | None = 1.0,\n) -> Problem:")
    text = text.replace("    ticks = ", '    raise RuntimeError(f"fine={fine} size={size}")\n    ticks = ')
    (tmp_path / "told.py").write_text(text, encoding="utf-8")
    assert "fine=True size=None" in refused(capsys, ["run", "./told.py", "--fine", "--size", "none", "--quiet"])
    assert "fine=False size=1.0" in refused(capsys, ["run", "./told.py", "--no-fine", "--quiet"])


# --- output that is not UTF-8 ------------------------------------------------------------------------------------

#: As terminals, log files and batch systems have them.
ENCODINGS = ("ascii", "latin-1", "cp1252", "gbk")


class Shown(io.TextIOWrapper):
    """Standard output of an encoding, and what was written to it."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    @property
    def text(self):
        return self.buffer.getvalue().decode(self.encoding)


@contextmanager
def printed_in(encoding):
    """Standard output and standard error in an encoding that lacks characters."""
    both = Shown(encoding)
    with redirect_stdout(both), redirect_stderr(both):
        yield both


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("words", [["list"], ["--help"], ["run", "--help"], ["sweep", "--help"], ["resume", "--help"]])
def test_every_encoding_shows_what_there_is(encoding, words):
    with printed_in(encoding) as shown:
        assert main(words) == 0
    assert len(shown.text) > 200
    assert "?" not in shown.text, "each character has a stand-in"


def test_every_encoding_shows_the_options_of_a_problem():
    with printed_in("ascii") as shown:
        assert main(["run", "robin", "--help"]) == 0
    assert "?" not in shown.text


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_shows_errors(encoding, tmp_path):
    (tmp_path / "größe.py").write_text('"""Größe."""\nraise RuntimeError("∇u ≠ 0 für 漢字 🙂")\n', encoding="utf-8")
    with printed_in(encoding) as shown:
        assert main(["check", "./größe.py"]) == 2
    assert shown.text.startswith("pdeopt: error: RuntimeError: ")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_shows_checks_summaries_and_tables(encoding):
    console = Console(width=120)  # writes to standard output, as those of the commands
    with printed_in(encoding) as shown, robust_streams():
        print_checks(console, [Check("adjoint identity ⟨Jv, w⟩ = ⟨v, Jᵀw⟩", "gap 1e-16 …", "< 1e-9", True)])
        with Progress(console, verbose=True) as progress:
            progress.status("compiling and evaluating the objective …")
            progress.note("α = ½ · 10⁻³ °C")
        grid = Grid((Key("--n", ("4", "6")),))
        runs = [FinishedRun(point, {"status": "failed", "message": "σ – ∞"}) for point in grid.points]
        print_results(console, grid, runs)
    assert "adjoint identity" in shown.text
    assert "1/2" in shown.text or "½" in shown.text


def test_a_process_prints_in_the_encoding_that_it_is_given():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    words = [sys.executable, "-m", "pdeopt", "list"]
    done = subprocess.run(words, capture_output=True, env=environment, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("½ α ‖∇m‖² − 3·10⁻⁴", "ascii", "1/2 alpha |grad m|^2 - 3*10^-4"),
        ("Größe 5 µm, Ω", "ascii", "Grosse 5 um, Omega"),
        ("½ α ‖∇m‖²", "latin-1", "½ alpha |grad m|²"),
        ("漢 \udce9 🙂", "ascii", "? ? ?"),
        ("漢 \udce9", "utf-8", "漢 ?"),
        ("plain", "ascii", "plain"),
    ],
)
def test_stand_ins_can_be_read(text, encoding, expected):
    assert encodable(text, encoding) == expected


def test_names_of_files_that_are_no_text_are_written_and_read(tmp_path):
    """A byte of an old encoding in a name: such a text cannot be encoded as UTF-8."""
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "x.json", {"path": name, "α": "β"})
    assert (tmp_path / "x.json").read_text(encoding="utf-8").isprintable() is False
    assert read_object(tmp_path / "x.json") == {"path": name, "α": "β"}


def test_standard_output_comes_back_after_a_command(capsys):
    before = sys.stdout
    assert main(["--version"]) == 0
    assert sys.stdout is before


# --- devices -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_told(platform):
    if platform == "cuda" and shutil.which("nvidia-smi"):
        pytest.skip("it may be there")
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    words = [sys.executable, "-m", "pdeopt", "run", "robin", "--n", "4"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"pdeopt: error: JAX_PLATFORMS={platform}: JAX finds no such device")
    assert done.stderr.count("\n") == 1
