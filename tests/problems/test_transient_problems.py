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
from pdeopt.cli.own_arguments import memory_size
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


def test_a_memory_limit_changes_no_number_and_is_refused_where_nothing_is_kept():
    problem = pdeopt.build("wave_speed", n=4, dt=0.05, receivers=3)
    m, state_bytes = problem.initial, 8 * 2 * 3 * problem.parameter.size  # two states of three shots
    value, derivative = problem.functional.value_and_derivative(m)
    before = work.copy()
    again, with_less = problem.with_memory(14 * state_bytes).functional.value_and_derivative(m)
    assert work.since(before).time_steps > 21, "states are computed again"
    assert again == value
    np.testing.assert_allclose(with_less, derivative, rtol=1e-12, atol=1e-13 * abs(derivative).max())
    with pytest.raises(pdeopt.PdeoptError, match=r"LinearStateEquation is not one in time"):
        pdeopt.build("poisson_control", n=2).with_memory(1e9)


@pytest.mark.parametrize(("text", "size"), [("2G", 2e9), ("500M", 5e8), ("1.5gb", 1.5e9), ("2e9", 2e9), ("100", 100.0)])
def test_a_size_of_memory_has_a_unit(text, size):
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "2X", "nan", "infG", "2 G G"])
def test_what_is_no_size_of_memory_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # argparse says which option it was
        memory_size(text)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("heat_control", {"alpha": 0.0}, "alpha 0.0; expected"),
        ("heat_control", {"steps": 0}, "steps 0.*expected"),
        ("wave_speed", {"dt": 0.0}, "dt 0.0.*expected"),
        ("wave_speed", {"start": 5.0}, "start 5.0.*expected"),
        ("heat_source_in_time", {"depth": 30.0}, "depth 30.0.*a depth between 0 and 20 mm"),
        ("heat_source_in_time", {"steps": 2}, "steps 2"),
        ("diffusion_in_time", {"n": 6}, "n is 6.*expected a multiple of 4"),
        ("contaminant_source", {"n": 20}, "n is 20.*expected a multiple of 8"),
        ("contaminant_source", {"first": 1.0}, "first 1.0, end 0.8"),
    ],
)
def test_options_that_mean_nothing_are_refused(name, options, message):
    with pytest.raises(pdeopt.PdeoptError, match=message):
        pdeopt.build(name, **options)


@pytest.mark.slow
def test_a_flux_in_time_is_found_from_thermocouples_below_the_surface():
    problem = pdeopt.build("heat_source_in_time", n=4)
    summary = pdeopt.solve(problem, verify=False, progress=False).summary
    assert summary["status"] == "converged"
    assert summary["relative_error"] < 0.15
    assert 0.7 < summary["misfit"] / summary["expected_misfit"] < 1.2


@pytest.mark.slow
def test_a_flux_is_found_from_a_table_whose_sensors_have_their_own_times(tmp_path):
    simulated = pdeopt.build("heat_source_in_time", n=4)
    data = np.asarray(simulated.functional.misfit.data)
    times, rows = np.linspace(0, 20, 81)[1:], ["x (m),y (m),time (s),temperature (K)"]
    for k, (x, y) in enumerate(simulated.points.T):
        rows += [f"{x},{y},{t},{data[k, j]}" for j, t in enumerate(times) if j % 2 == k % 2]  # one thermocouple in turn
    rows[7] = rows[7].rpartition(",")[0] + ","  # a reading that is missing
    (tmp_path / "readings.csv").write_text("\n".join(rows))
    problem = pdeopt.build("heat_source_in_time", n=4, data=str(tmp_path / "readings.csv"))
    assert problem.functional.misfit.data.size == 119
    solution = pdeopt.solve(problem, verify=False, progress=False)
    assert solution.summary["status"] == "converged"
    error = problem.parameter.relative_error(solution.coefficient, simulated.truth)
    assert error < 0.2


@pytest.mark.slow
def test_a_conductivity_is_found_as_a_function_of_the_temperature():
    problem = pdeopt.build("diffusion_in_time", n=4, steps=16)
    solution = pdeopt.solve(problem, verify=False, progress=False)
    assert solution.summary["status"] == "converged"
    assert solution.summary["relative_error"] < 0.12
    assert solution.summary["newton_iterations"] > 0
    assert 0.6 < solution.summary["misfit"] / solution.summary["expected_misfit"] < 1.3


@pytest.mark.slow
def test_a_release_among_buildings_is_found_downwind():
    problem = pdeopt.build("contaminant_source", n=16, steps=16, sensors=6, readings=6)
    summary = pdeopt.solve(problem, verify=False, progress=False).summary
    assert summary["status"] == "converged"
    assert summary["relative_error"] < 0.3
    assert 0.7 < summary["misfit"] / summary["expected_misfit"] < 1.2


@pytest.mark.slow
def test_a_run_within_a_memory_limit_is_the_same_and_tells_its_steps(tmp_path):
    options = ["--n", "6", "--dt", "0.04", "--max-iterations", "2", "--no-pictures", "--no-check"]
    for name, more in (("whole", []), ("bounded", ["--memory", "40K"])):
        assert main(["run", "wave_speed", *options, *more, "--out", str(tmp_path / name)]) == 0
    whole, bounded = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("whole", "bounded"))
    assert bounded["objective"] == pytest.approx(whole["objective"], rel=1e-12)
    assert bounded["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=1e-10)
    assert bounded["time_steps"] > whole["time_steps"] > 0
    assert bounded["peak_state_memory"] < whole["peak_state_memory"]
    assert json.loads((tmp_path / "bounded" / "config.json").read_text())["memory"] == 40e3
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
