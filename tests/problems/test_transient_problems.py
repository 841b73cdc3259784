"""Problems in time: the numbers that are known."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse.linalg as spla

import pdeopt
from pdeopt.cli import main
from pdeopt.inverse import mass
from pdeopt.sparse import work


@pytest.mark.slow
def test_heat_control_has_the_known_start_gradient_and_minimum():
    problem = pdeopt.build("heat_control")
    before = work.copy()
    objective, derivative = problem.functional.value_and_derivative(problem.initial)
    assert objective == pytest.approx(0.0382916696542625, rel=1e-12)
    assert work.since(before).factorizations <= 1
    M = mass.assemble(problem.parameter.space).to_scipy().tocsc()
    rows = problem.parameter.in_steps(derivative)
    gradient_norm = np.sqrt(sum(row @ spla.spsolve(M, row) for row in rows))
    assert gradient_norm == pytest.approx(0.00291898685365884, rel=1e-11)
    solution = pdeopt.solve(problem, progress=False)
    assert solution.summary["objective"] == pytest.approx(0.00152076466108199, rel=1e-8)
    # the run's product is that of L² in space and time, ⟨a, b⟩ = Σ Δt ∫ a_k b_k, whose gradient is g_k / Δt
    assert solution.history["gradient_norm"][0] * np.sqrt(0.1) == pytest.approx(gradient_norm, rel=1e-11)


def test_heat_control_starts_from_the_control_that_is_asked_for():
    problem = pdeopt.build("heat_control", n=4, control=2.0)
    rows = problem.parameter.in_steps(problem.initial)
    x = problem.parameter.space.locations
    middle = int(np.argmin(((x - 0.5) ** 2).sum(0)))
    assert rows[:, middle] == pytest.approx(2.0 * np.linspace(0.1, 1.0, 10))


@pytest.mark.slow
def test_wave_speed_has_the_known_data_objective_and_derivative():
    problem = pdeopt.build("wave_speed", n=20, dt=0.01, weight=0.0)
    assert (problem.functional.misfit.data**2).sum() == pytest.approx(0.225336770911, rel=1e-11)
    objective, derivative = problem.functional.value_and_derivative(problem.initial)
    assert objective == pytest.approx(0.13709336087121, rel=1e-12)
    assert np.linalg.norm(derivative) == pytest.approx(0.22286656781, rel=1e-10)


def test_a_wave_beyond_the_cfl_condition_is_refused_with_the_step_that_is_allowed():
    with pytest.raises(pdeopt.PdeoptError, match=r"time step 1 of 26 has size 0\.04, .*stable up to about 0\.0.*CFL"):
        pdeopt.build("wave_speed", n=20, dt=0.04)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("heat_control", {"alpha": 0.0}, "alpha 0.0; expected"),
        ("heat_control", {"steps": 0}, "steps 0.*expected"),
        ("wave_speed", {"dt": 0.0}, "dt 0.0.*expected"),
        ("wave_speed", {"start": 5.0}, "start 5.0.*expected"),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    with pytest.raises(pdeopt.PdeoptError, match=message):
        pdeopt.build(name, **options)


@pytest.mark.slow
def test_a_run_within_a_memory_limit_is_the_same_and_tells_its_steps(tmp_path):
    options = ["--n", "6", "--dt", "0.04", "--max-iterations", "2", "--no-pictures", "--no-check"]
    for name, more in (("whole", []), ("bounded", ["--memory", "40K"])):
        assert main(["run", "wave_speed", *options, *more, "--out", str(tmp_path / name)]) == 0
    whole, bounded = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "bounded"))
    assert bounded["objective"] == pytest.approx(whole["objective"], rel=1e-12)
    assert bounded["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=1e-10)
    assert bounded["time_steps"] > whole["time_steps"] > 0
    assert bounded["peak_state_bytes"] < whole["peak_state_bytes"]
    assert json.loads((tmp_path / "bounded" / "config.json").read_text())["memory"] == 40 * 1024
    assert main(["run", "wave_speed", "--memory", "1K", "--out", str(tmp_path / "none")]) != 0
    assert main(["run", "robin", "--memory", "1G", "--out", str(tmp_path / "robin")]) != 0


KILLED = """
import os, signal
from pdeopt.run.problem_files.loading import load_build, problem_files
from pdeopt.sparse.march.steps import Stepper

left, back = [int(os.environ.get("BACKWARD_STEPS", "0"))], Stepper.back

def counted(self, *given):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of an adjoint
    return back(self, *given)

Stepper.back = counted

def build():
    return load_build(problem_files()["wave_speed"])(n=6, dt=0.04, receivers=4)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_in_the_middle_of_an_adjoint_ends_where_it_would_have_ended(tmp_path):
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    command = [sys.executable, "-m", "pdeopt", "run", "./killed.py", "--max-iterations", "6", "--no-check", "--quiet"]
    words = [*command, "--memory", "40K", "--no-pictures", "--out"]
    for name, steps, status in (("whole", 0, 0), ("killed", 100, -signal.SIGKILL)):
        environment = os.environ | {"BACKWARD_STEPS": str(steps)}
        done = subprocess.run([*words, name], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
    assert not (tmp_path / "killed" / "summary.json").exists()
    resume = [sys.executable, "-m", "pdeopt", "resume", "killed", "--quiet"]
    subprocess.run(resume, cwd=tmp_path, check=True, capture_output=True)
    whole, killed = (np.load(tmp_path / name / "result.npz") for name in ("whole", "killed"))
    np.testing.assert_array_equal(killed["parameter"], whole["parameter"])
    np.testing.assert_array_equal(killed["state"], whole["state"])
