"""The problem helmholtz_scattering: what its waves tell of the permittivity."""

import numpy as np
import pytest

import pdeopt
from pdeopt.run.errors import UsageError

SMALL = {"n": 5, "frequencies": 2, "wavenumber": 4.0, "directions": 6, "receivers": 16}


@pytest.mark.slow
@pytest.mark.parametrize("data", ["fields", "magnitudes"])
def test_the_inclusions_are_found_as_well_as_the_noise_allows(data):
    problem = pdeopt.build("helmholtz_scattering", **SMALL, data=data, noise=0.01)
    found = pdeopt.solve(problem, verify=False, progress=False).summary
    assert found["status"] == "converged"
    assert 0.7 < found["discrepancy"] < 1.3
    assert found["relative_error"] < 0.4 * found["initial_relative_error"]


def gap(n):
    """How far the waves of the interpolated true permittivity are from the data, relative to these."""
    problem = pdeopt.build("helmholtz_scattering", **{**SMALL, "n": n}, noise=1e-6)
    m = problem.functional.parametrization.inverse(problem.truth)
    predicted, data = problem.functional.prediction(np.asarray(m)), problem.functional.misfit.data
    assert data.shape == (16, 12)
    assert np.iscomplexobj(data)
    return np.linalg.norm(predicted - data) / np.linalg.norm(data)


@pytest.mark.slow
def test_the_simulated_data_are_those_of_another_mesh_up_to_its_error():
    coarse, fine = gap(5), gap(10)
    assert 1e-3 < fine < 0.03
    assert coarse > 3 * fine, "of second order, as the interpolation of the permittivity"


@pytest.mark.parametrize("option", [{"n": 2}, {"frequencies": 0}, {"receivers": 0}, {"wavenumber": -1.0}])
def test_options_that_make_no_waves_are_refused(option):
    with pytest.raises(UsageError, match="expected at least 3 cells a unit"):
        pdeopt.build("helmholtz_scattering", **option)
