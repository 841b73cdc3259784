"""Other processes and threads: what is copied there, and what is refused in a fork."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import AtPoints, InputError, L2Misfit, Log, Parameter, Problem, ReducedFunctional, total_variation
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import CSRMatrix, ProcessError, clear_compiled, linear_solve

V = FunctionSpace(skfem.MeshTri().refined(1), skfem.ElementTriP1())
FORCE = 1.0
M = np.linspace(-0.3, 0.4, V.n)


@bilinear_form
def stiffness(u, v, w):
    return w["k"] * dot(grad(u), grad(v))


@linear_form
def load(v, w):
    return FORCE * v


def system(k):
    return stiffness.assemble(V, k=V.interpolate(k)), load.assemble(V)


def functional():
    observed = AtPoints.of(V, [[0.4, 0.6], [0.3, 0.7]])
    state = LinearStateEquation(system, Dirichlet.on(V))
    return ReducedFunctional(state, L2Misfit.of(observed, [0.1, 0.2], 0.1), total_variation(V, 1.0), Log())


@pytest.mark.slow
def test_a_used_functional_is_copied_with_all_that_belongs_to_it(monkeypatch):
    J = functional()
    value, derivative = J.value_and_derivative(M)
    J.regularization.next_dual(J.regularization.first_dual(M), M, M)
    problem = Problem(J, M, Parameter(V, "k (S/m)"))
    for copy in (pickle.loads(pickle.dumps(J)), pickle.loads(pickle.dumps(problem)).functional):
        again = copy.value_and_derivative(M)
        assert again[0] == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(again[1], derivative, rtol=1e-12, atol=1e-14)
    term = pickle.loads(pickle.dumps(J.regularization))
    dual = term.first_dual(M)
    np.testing.assert_allclose(term.next_dual(dual, M, 2 * M), J.regularization.next_dual(dual, M, 2 * M), rtol=1e-13)
    monkeypatch.setitem(globals(), "FORCE", 2.0)
    with pytest.raises(InputError, match=r"have changed since its first use.*replace\(J\)"):
        pickle.dumps(J)
    fresh = pickle.loads(pickle.dumps(replace(J)))
    assert fresh.terms(M).misfit != pytest.approx(J.terms(M).misfit)
    assert fresh.terms(M) == pytest.approx(replace(J).terms(M), rel=1e-14)


@pytest.mark.slow
def test_what_was_compiled_can_be_forgotten(monkeypatch):
    """And the functional still keeps what it has read."""
    J = functional()
    before = J.value_and_derivative(M)
    monkeypatch.setitem(globals(), "FORCE", 2.0)
    clear_compiled()
    after = J.value_and_derivative(M)
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.slow
def test_several_threads_use_one_functional():
    J = functional()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda s: J.value_and_derivative(s * M), np.linspace(0, 1, 6)))
    for scale, (value, derivative) in zip(np.linspace(0, 1, 6), found, strict=True):
        expected = J.value_and_derivative(scale * M)
        assert value == pytest.approx(expected[0], rel=1e-14)
        np.testing.assert_allclose(derivative, expected[1], rtol=1e-12, atol=1e-14)


SCRIPT = """
import multiprocessing, sys, warnings
import numpy as np
from test_processes import M, functional

def value(J):
    return J(M)

def ask(J, answers):
    try:
        answers.put(str(J(M)))
    except Exception as error:
        answers.put(f"{type(error).__name__}: {error}")

if __name__ == "__main__":
    J = functional()
    expected = J(M)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("spawned", abs(pool.apply(value, (J,)) - expected) < 1e-12 * abs(expected))
    forking = multiprocessing.get_context("fork")
    answers = forking.Queue()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        child = forking.Process(target=ask, args=(J, answers))
        child.start()
    print("forked", answers.get(timeout=60))
    child.join()
    print("warned", [str(warning.message) for warning in caught])
    print("still", J(M) == expected)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_spawned_process_computes_and_a_forked_one_says_why_not(tmp_path):
    """In processes of its own, since a fork cannot be tried in this one."""
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    given = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=given, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    spawned, forked, warned, still = run.stdout.splitlines()
    assert (spawned, still) == ("spawned True", "still True")
    assert forked.startswith("forked ProcessError: this process was forked")
    for words in (forked, warned):
        assert "get_context('spawn')" in words.replace('"', "'")
        assert "joblib" in words


@pytest.mark.parametrize(
    "compute",
    [
        lambda: functional()(M),
        lambda: load.assemble(V),
        lambda: linear_solve(CSRMatrix.from_scipy(stiffness.assemble(V, k=1.0).to_scipy()), jnp.ones(V.n)),
    ],
    ids=["functional", "form", "solve"],
)
def test_single_precision_is_refused(compute):
    with (
        jax.enable_x64(False),
        pytest.raises(ProcessError, match=r"64-bit mode was switched off.*'jax_enable_x64', True"),
    ):
        compute()
