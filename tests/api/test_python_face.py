"""pdeopt.solve does in Python what the command does, to the last digit."""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from small_problem import SMALL, WRONG_ADJOINT

import pdeopt
from pdeopt.api import SolutionError
from pdeopt.cli import main
from pdeopt.eit.measurements import simulation
from pdeopt.inverse import InputError, Views
from pdeopt.inversion.recorder import Recorder
from pdeopt.inversion.strength_option import StrengthError
from pdeopt.inversion.verification import DerivativeError
from pdeopt.optimize import NewtonCG
from pdeopt.run.errors import UsageError
from pdeopt.run.execution import request
from pdeopt.run.pictures import run_pictures
from pdeopt.sparse import SolveError, clear_memo

#: What the words of a summary say of the clock.
TIMES = ("seconds", "stage_seconds", "verification")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def solution():
    return pdeopt.solve(pdeopt.build("conductivity", n=8), max_iterations=4, progress=False)


def without_times(summary):
    return {name: value for name, value in summary.items() if name not in TIMES}


@pytest.mark.slow
def test_the_solver_is_chosen_from_outside(solution):
    problem = pdeopt.build("conductivity", n=8)
    chosen = pdeopt.solve(problem, solver="superlu", max_iterations=4, progress=False)
    assert chosen.summary["solver"] == chosen.run.config["solver"] == "superlu"
    np.testing.assert_allclose(chosen.coefficient, solution.coefficient, rtol=1e-6)
    assert problem.with_solver("superlu").functional.state.solver == "superlu"
    assert problem.functional.state.solver == "auto", "the problem itself stays"
    with pytest.raises(SolveError, match="did you mean 'superlu'"):
        pdeopt.check(problem, solver="supelu")
    with pytest.raises(InputError, match=r"pdeopt.solve\(problem, solver=…\), or problem.with_solver"):
        pdeopt.build("conductivity", n=8, solver="superlu")


@pytest.mark.parametrize(
    ("name", "options", "iterations"),
    [
        ("conductivity", {"n": 8}, 200),
        ("robin", {"n": 4}, 200),
        ("poisson_control", {"n": 8}, 200),
        pytest.param("eit_tank", {"cells": 5.0}, 8, marks=pytest.mark.slow),
    ],
)
def test_it_gives_what_the_command_writes(name, options, iterations, monkeypatch):
    words = [f"--{option}={value}" for option, value in {**options, "max-iterations": iterations}.items()]
    monkeypatch.setattr(simulation, "MIDDLE_EDGE", 1 / 16)  # of the tank, a third of what it is
    problem = replace(pdeopt.build(name, **options), interpret=None, views=Views())  # the tank's takes most of the time
    monkeypatch.setattr(request, "build_problem", lambda *_: problem)  # compiled once
    clear_memo()  # a factorization at hand would be one less
    assert main(["run", name, *words, "--out", "run", "--quiet", "--no-pictures"]) == 0
    written = pdeopt.load("run")
    clear_memo()
    found = pdeopt.solve(problem, max_iterations=iterations, progress=False)
    assert json.loads(json.dumps(without_times(found.summary))) == without_times(written.summary)
    for column in set(found.history) - {"seconds"}:
        assert np.array_equal(found.history[column], written.history[column]), column
    assert np.array_equal(found.coefficient, written.coefficient)
    assert np.array_equal(found.state, written.state)
    assert found.summary["verification"]["passed"] is True


@pytest.mark.slow
def test_options_are_those_of_the_command(monkeypatch):
    problem = pdeopt.build("conductivity", n=8)
    monkeypatch.setattr(request, "build_problem", lambda *_: problem)  # compiled once
    options = {"optimizer": "newton-cg", "regularization_strength": "discrepancy", "discrepancy_factor": 1.1}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    clear_memo()
    assert main(["run", "conductivity", "--n=8", *words, "--out=run", "--quiet", "--no-pictures"]) == 0
    clear_memo()
    found = pdeopt.solve(problem, **options, progress=False)
    assert without_times(found.summary) == without_times(pdeopt.load("run").summary)
    assert found.summary["strength_rule"] == "discrepancy"


@pytest.mark.slow
def test_it_is_saved_as_the_command_writes_it(solution, capsys):
    path = solution.save("saved", pictures=False)
    again = pdeopt.load(path)
    assert without_times(again.summary) == without_times(solution.summary)
    for column, values in solution.history.items():
        assert np.array_equal(again.history[column], values), column
    assert np.array_equal(again.parameter, solution.parameter)
    assert main(["run", "conductivity", "--n=8", "--max-iterations=4", "--out=run", "--quiet", "--no-pictures"]) == 0
    kept = {"run.log", "checkpoint.npz", "evaluations.bin"}  # what a run goes on from
    assert {file.name for file in path.iterdir()} == {file.name for file in (path.parent / "run").iterdir()} - kept
    with pytest.raises(UsageError, match="already holds a run") as error:
        solution.save("saved", pictures=False)
    assert "--" not in str(error.value)
    assert main(["resume", "saved"]) == 2
    assert "was saved from Python, which keeps nothing to go on from" in capsys.readouterr().err


def test_pictures_are_figures_that_a_notebook_shows(solution):
    result, history = solution.plot(), solution.plot_history(against="evaluations")
    assert result._repr_png_()[:4] == b"\x89PNG"
    assert history.axes[0].get_xlabel() == "evaluations of the objective"
    history.axes[0].set_title("mine")
    history.savefig("mine.png")
    with pytest.raises(SolutionError, match=r"no picture 'histroy'.*did you mean 'history'\?"):
        solution.plot("histroy")
    with pytest.raises(SolutionError, match="conductivity has nothing that the picture 'segmentation' shows"):
        solution.plot("segmentation")


def test_the_history_as_a_data_frame(solution, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SolutionError, match="pip install pandas"):
        solution.to_pandas()


@pytest.mark.slow
def test_it_says_what_it_does_unless_it_is_told_not_to(capsys):
    problem = pdeopt.build("conductivity", n=4)
    pdeopt.solve(problem, max_iterations=1, progress=False)
    assert capsys.readouterr() == ("", "")
    pdeopt.solve(problem, max_iterations=1)
    printed = capsys.readouterr().out
    assert "derivatives verified" in printed
    assert "iteration    1:  objective" in printed


def test_bad_input_is_told_without_the_words_of_the_command():
    problem = pdeopt.build("conductivity", n=4)
    with pytest.raises(UsageError, match=r"unknown problem 'conductivty'.*did you mean 'conductivity'"):
        pdeopt.build("conductivty")
    with pytest.raises(InputError, match=r"conductivity has no option 'nosie'.*did you mean 'noise'\?"):
        pdeopt.build("conductivity", nosie=0.1)
    with pytest.raises(StrengthError, match=r"^regularization_strength 'discrepency'.*did you mean 'discrepancy'\?"):
        pdeopt.solve(problem, regularization_strength="discrepency")
    with pytest.raises(InputError, match=r"solve takes a Problem.*got str"):
        pdeopt.solve("conductivity")
    with pytest.raises(pdeopt.PdeoptError, match=r"unknown optimizer 'newton'.*newton-cg"):
        pdeopt.solve(problem, optimizer="newton")


@pytest.mark.slow
def test_a_wrong_derivative_is_refused_before_anything_is_minimized(tmp_path):
    text = SMALL.replace("import skfem\n", f"import skfem\n{WRONG_ADJOINT}", 1)
    text = text.replace("source=V.interpolate(source))", "source=V.interpolate(broken(source)))")
    (tmp_path / "small.py").write_text(text, encoding="utf-8")
    problem = pdeopt.build("small.py")
    with pytest.raises(DerivativeError, match=r"(?s)the derivatives of small are wrong.*verify=False") as error:
        pdeopt.solve(problem, progress=False)
    assert "--" not in str(error.value)
    assert any(not check.passed for check in pdeopt.check(problem))
    assert pdeopt.solve(problem, verify=False, max_iterations=1, progress=False).summary["iterations"] == 1


def test_a_run_that_has_not_ended_has_a_history_and_no_result(solution, tmp_path):
    path = solution.save("whole", pictures=False)
    for name in ("summary.json", "result.npz"):
        (path / name).unlink()
    begun = pdeopt.load(path)
    assert len(begun.history["objective"]) == 5
    assert repr(begun) == "Solution(conductivity: unfinished)"
    with pytest.raises(SolutionError, match="conductivity has no result; its status is 'unfinished'"):
        begun.coefficient  # noqa: B018
    with pytest.raises(SolutionError, match="nothing that the picture 'result' shows"):
        begun.plot()
    assert begun.plot_history() is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regularization_strength": 0}, "regularization_strength 0: expected a number > 0"),
        ({"gradient_tolerance": 5.0}, "gradient_tolerance is 5.0; expected a factor between 0 and 1"),
        ({"max_iterations": -2}, "max_iterations is -2; expected a number of at least 0"),
        ({"discrepancy_factor": -2, "regularization_strength": "discrepancy"}, "discrepancy_factor is -2; expected"),
        ({"inner_product": "h1"}, "unknown inner product 'h1'; expected one of l2, "),
        ({"optimizer": NewtonCG()}, "an object is given to minimize, or to register first"),
    ],
)
def test_what_the_command_refuses_is_refused(options, message, capsys):
    with pytest.raises(pdeopt.PdeoptError, match=message):
        pdeopt.solve(pdeopt.build("conductivity", n=4), **options)
    assert capsys.readouterr().out == "", "before anything is computed"


def test_the_stop_button_leaves_what_was_reached(monkeypatch):
    accept = Recorder.accept

    def accept_and_interrupt(self, iterate):
        accept(self, iterate)
        if iterate.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Recorder, "accept", accept_and_interrupt)
    handler = signal.getsignal(signal.SIGINT)
    found = pdeopt.solve(pdeopt.build("conductivity", n=4), verify=False, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (found.summary["status"], found.summary["iterations"]) == ("stopped", 2)
    assert found.summary["message"] == "interrupted after iteration 2"
    assert found.coefficient.shape == (25,)


def test_a_failure_on_the_way_is_warned_of():
    def interpret(m):
        raise RuntimeError("mine")

    problem = replace(pdeopt.build("conductivity", n=4), interpret=interpret)
    with pytest.warns(UserWarning, match="the inversion failed: .*cannot be interpreted: RuntimeError: mine"):
        found = pdeopt.solve(problem, max_iterations=1, verify=False, progress=False)
    assert found.summary["status"] == "failed"
    assert len(found.history["objective"]) == 2


@pytest.mark.slow
def test_pictures_are_saved_and_one_that_fails_is_warned_of(solution, monkeypatch):
    assert (solution.save("drawn") / "result.png").stat().st_size > 1000
    monkeypatch.setitem(run_pictures.PICTURES, "history", lambda run, against: 1 / 0)
    with pytest.warns(UserWarning, match="history.png and history.pdf could not be written: ZeroDivisionError"):
        solution.save("again")


@pytest.mark.slow
def test_the_notebook_of_the_documentation_shows_progress_and_pictures(tmp_path):
    notebook = nbformat.read(Path(__file__).parents[2] / "docs" / "notebook.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "it is kept without what it prints"
    cells[0].source = cells[0].source.replace("n=32", "n=8")  # the site executes it as it stands
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    texts = [output.data["text/plain"] for output in outputs if output.output_type == "display_data"]
    assert any("derivatives verified" in text for text in texts)
    assert sum("objective" in text for text in texts) > 5
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2, "each once, and none twice"
    assert outputs[-1].text.startswith("unknown optimizer 'newton_cg'")
