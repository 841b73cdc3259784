"""What every problem that comes with pdeopt owes: exact and cheap derivatives, and an objective that falls."""

import pytest

from pdeopt.inversion.checking import check_problem
from pdeopt.inversion.verification import verify_derivatives
from pdeopt.optimize import Objective, minimize
from pdeopt.run.problem_files.loading import build_problem, load_build, problem_files
from pdeopt.sparse import clear_memo, work

#: Options that make a problem small; one that is not named here is taken as it is.
SMALL = {
    "conductivity": [{"n": 8}, {"dim": 3, "n": 3, "data": "points", "sensors": 3}],
    "advection_diffusion": [
        {"refinements": 2, "sensors": 8},
        {"refinements": 2, "sensors": 8, "unknown": "diffusivity"},
    ],
    "robin": [{"n": 3}],
    "poisson_control": [{"n": 6}],
    "box_control": [{"n": 6}],
    "neumann_control": [{"n": 6}],
    "state_constrained_control": [{"n": 6}],
    "sparse_control": [{"n": 6}],
    "poisson_mother": [{"n": 6}, {"n": 6, "graded": True}],
    "stokes_control": [{"n": 4}],
    "poisson_coefficient": [{"n": 6}, {"n": 6, "regularization": "tv"}],
    "thermal_recovery": [{}, {"load": "nodes"}],
    "eit_tank": [{"cells": 5.0}, {"cells": 5.0, "unknowns": "sigma,impedances"}],
    "helmholtz_scattering": [
        {"n": 3, "frequencies": 2, "wavenumber": 4.0, "directions": 2, "receivers": 8, "data": data}
        for data in ("fields", "magnitudes")
    ],
    "elastography": [{"n": 4}, {"n": 4, "solid": "plane_stress"}],
    "hyperelastic_modulus": [{"n": 3}],
    "elastic_moduli": [{"n": 3}],
    "neural_coefficient": [{"n": 5, "width": 3, "sensors": 4}],
    "joint": [{"n": 4}, {"n": 4, "data": "heads", "coupling": 0.1}],
    "semilinear_control": [{"n": 6}],
    "p_laplace": [{"n": 6}, {"n": 6, "p": 1.5, "gamma": 1e-6}],
    "navier_stokes": [{"n": 4, "sensors": 3}],
    "temperature_dependent_conductivity": [{"n": 5, "sensors": 3}, {"n": 5, "sensors": 3, "unknown": "field"}],
    "heat_control": [{"n": 4, "steps": 3, "control": 1.0}],
    "wave_speed": [{"n": 6, "dt": 0.04, "receivers": 4}],
    "heat_source_in_time": [{"n": 2, "steps": 8}],
    "diffusion_in_time": [{"n": 4, "steps": 3, "knots": 4, "sensors": 2}],
    "contaminant_source": [{"n": 8, "steps": 4, "sensors": 3, "readings": 3}],
}
#: The matrices of a state, where there are several, or the solves of its steps in time; an explicit scheme needs none.
MATRICES = {
    "helmholtz_scattering": 2,
    "temperature_dependent_conductivity": 3,
    "heat_control": 3,
    "wave_speed": 0,
    "heat_source_in_time": 8,
    "contaminant_source": 8,
    "diffusion_in_time": 6,
}
#: Those whose matrix does not depend on the parameter: its factor is remembered.
FIXED_MATRIX = {
    ("advection_diffusion", "source"),
    ("poisson_control", None),
    ("box_control", None),
    ("neumann_control", None),
    ("state_constrained_control", None),
    ("sparse_control", None),
    ("poisson_mother", None),
    ("stokes_control", None),
    ("heat_control", None),
    ("heat_source_in_time", None),
    ("contaminant_source", None),
}
CASES = [(name, options) for name in problem_files() for options in SMALL.get(name, [{}])]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name} {options}" for name, options in CASES])
def test_derivatives_are_exact_cheap_and_lead_down(name, options):
    path = problem_files()[name]
    clear_memo()  # of other tests, which may have met the same matrices
    problem = build_problem(load_build(path), options, path)
    checks = check_problem(problem)
    assert len(checks) == 6
    assert all(check.passed for check in checks), checks
    found = verify_derivatives(problem, lambda: False)  # what a run does before it minimizes
    assert found.passed is True, found
    assert found.message.startswith("derivatives verified: Taylor order ")

    functional, before, points = problem.functional, work.copy(), set()

    def evaluate(m):
        points.add(m.tobytes())  # a line search between bounds may come to one twice
        return functional.value_and_derivative(m)

    result = minimize(Objective(evaluate), problem.initial, bounds=problem.bounds, max_iterations=3)
    spent = work.since(before)
    assert result.objective < functional(problem.initial)
    assert (problem.relative_error(result.m) is None) == (problem.truth is None)
    assert set(problem.measure(result.m)) == set(problem.quantities)
    matrices = MATRICES.get(name, 1)
    if spent.newton_iterations:  # as many solves as the steps take; the last factorization serves the derivative
        assert spent.adjoint_solves <= matrices * result.evaluations <= spent.newton_iterations
        assert spent.factorizations <= spent.newton_iterations + matrices * result.evaluations
        return
    assert spent.solves == spent.adjoint_solves == matrices * result.evaluations
    kind = options.get("unknown", "source") if name == "advection_diffusion" else None
    if (name, kind) in FIXED_MATRIX:
        assert spent.factorizations == 0
    else:  # a point that a line search comes back to may have lost its factor
        assert matrices * len(points) <= spent.factorizations <= matrices * result.evaluations
