"""Random initial guesses: reproducible, within bounds, the same function on every mesh."""

import json
from pathlib import Path

import numpy as np
import pytest
import skfem

import pdeopt
from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    AtDofs,
    InputError,
    L2Misfit,
    Log,
    Numbers,
    Parameter,
    ParameterInTime,
    Parameters,
    Problem,
    ReducedFunctional,
    Tree,
)


def space(n):
    return FunctionSpace(skfem.MeshTri.init_tensor(*[np.linspace(0, 1, n + 1)] * 2), skfem.ElementTriP1())


V, FINE = space(8), space(32)


def problem(parameter, **given):
    if not isinstance(parameter, Parameters):
        return Problem(
            ReducedFunctional(lambda c: c, L2Misfit.of(AtDofs([0]), [1.0], 1.0)), parameter=parameter, **given
        )
    return Problem(ReducedFunctional(lambda c: c["numbers"], L2Misfit.of(AtDofs([0]), [1.0], 1.0), (), parameter))


def test_a_seed_gives_one_start_and_another_seed_another():
    made = problem(Parameter(V, "κ"), initial=np.full(V.n, 3.0))
    first, again, other = (made.at_random_start(seed).initial for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5
    np.testing.assert_allclose(made.at_random_start(0, 0.1).initial - 3, 0.1 * (first - 3), rtol=1e-12)


def test_a_function_is_smooth_and_the_same_on_every_mesh():
    coarse, fine = (problem(Parameter(one, "κ")).at_random_start(2).initial for one in (V, FINE))
    _, at = np.unique(np.round(np.hstack([V.locations, FINE.locations]), 9), axis=1, return_inverse=True)
    for k, value in enumerate(coarse):
        np.testing.assert_allclose(fine[np.flatnonzero(at[V.n :] == at[k])], value, rtol=1e-12)
    edges = FINE.mesh.facets
    assert np.abs(fine[edges[0]] - fine[edges[1]]).max() < np.ptp(fine) / 4


def test_the_starts_have_the_stated_mean_and_deviation():
    made = problem(Parameter(V, "κ"), initial=np.full(V.n, 3.0))
    starts = np.array([made.at_random_start(seed, 2.0).initial for seed in range(400)])
    np.testing.assert_allclose(starts.mean(axis=0), 3, atol=4 * 2 / np.sqrt(400))
    np.testing.assert_allclose(starts.std(axis=0), 2, rtol=4 / np.sqrt(2 * 400))


def test_between_bounds_it_is_distributed_evenly():
    lower = np.where(np.arange(V.n) % 2, -1.0, -np.inf)
    made = problem(Parameter(V, "κ"), bounds=(lower, 3.0))
    starts = np.array([made.at_random_start(seed).initial for seed in range(300)])
    between = starts[:, 1::2]
    assert between.min() > -1
    assert starts.max() <= 3
    np.testing.assert_allclose(between.mean(axis=0), 1, atol=4 * 4 / np.sqrt(12 * 300))
    np.testing.assert_allclose(between.std(axis=0), 4 / np.sqrt(12), rtol=0.2)


def test_numbers_and_arrays_have_their_own_distributions():
    net = Tree({"bias": np.zeros(3), "weights": np.full((40, 40), 0.1)}, "net")
    numbers = Numbers(["a", "b"], "numbers", initial=np.array([5.0, 6.0]))
    made = problem(Parameters({"numbers": numbers, "net": net}))
    start = made.at_random_start(4).initial
    assert np.abs(start[:2] - [5, 6]).max() < 4
    np.testing.assert_array_equal(start[2:5], 0)
    assert start[5:].std() == pytest.approx(0.1, rel=0.1)
    assert abs(start[5:].mean()) < 0.02


def test_the_arrays_of_a_parametrized_tree_are_those_of_m():
    net = Tree({"rates": np.full(900, 1e3)}, "net", parametrization=Log(1.0))
    start = problem(Parameters({"numbers": Numbers(["a"], "numbers"), "net": net})).at_random_start(0).initial
    assert start[1:].std() == pytest.approx(np.log(1e3), rel=0.1)


def test_the_components_of_a_vector_are_functions_of_their_own():
    vectors = FunctionSpace(V.mesh, skfem.ElementVector(skfem.ElementTriP1()))
    start = problem(Parameter(vectors, "f")).at_random_start(0).initial
    first, second = (np.asarray(component.restrict(start)) for component in vectors.split())
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5
    some = np.arange(7, 30)
    np.testing.assert_array_equal(problem(Parameter(vectors, "f", some)).at_random_start(0).initial, start[some])
    edges = V.mesh.facets
    assert np.abs(first[edges[0]] - first[edges[1]]).max() < np.ptp(first)


def test_each_of_several_parameters_has_its_own_spread():
    parts = {"field": Parameter(V, "κ", initial=3.0), "numbers": Numbers(["a", "b"], "numbers")}
    J = ReducedFunctional(lambda c: c["numbers"], L2Misfit.of(AtDofs([0]), [1.0], 1.0), (), Parameters(parts))
    made = Problem(J)
    usual, small = made.at_random_start(1).initial, made.at_random_start(1, {"field": 0.01}).initial
    np.testing.assert_allclose(small[: V.n] - 3, 0.01 * (usual[: V.n] - 3), atol=1e-13)
    np.testing.assert_array_equal(small[V.n :], usual[V.n :])
    with pytest.raises(InputError, match="there is a spread for 'fields'; the parameters are field, numbers"):
        made.at_random_start(1, {"fields": 0.01})
    with pytest.raises(InputError, match="there is a spread for 'κ'; the parameters are one without a name"):
        problem(Parameter(V, "κ")).at_random_start(1, {"κ": 0.01})


def test_one_bound_reflects_and_gathers_nothing():
    start = problem(Parameter(V, "κ"), bounds=(0.0, None)).at_random_start(0).initial
    assert (start > 0).all()
    free = problem(Parameter(V, "κ")).at_random_start(0).initial
    np.testing.assert_allclose(start, abs(free))


def test_a_function_in_space_and_time_is_smooth_in_both():
    part = ParameterInTime(FINE, "u", np.full(20, 0.1))
    rows = part.in_steps(problem(part).at_random_start(0).initial)
    assert np.abs(np.diff(rows, axis=0)).max() < np.ptp(rows) / 4
    edges = FINE.mesh.facets
    assert np.abs(rows[:, edges[0]] - rows[:, edges[1]]).max() < np.ptp(rows) / 4


def test_a_tree_of_zeros_starts_at_random_all_the_same():
    net = Tree({"weights": np.zeros(500)}, "net")
    J = ReducedFunctional(lambda c: c["weights"], L2Misfit.of(AtDofs([0]), [1.0], 1.0), (), net)
    start = Problem(J).at_random_start(0).initial
    assert start.std() == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize(
    ("seed", "spread", "message"),
    [
        (-1, 1.0, "the seed of a random start is -1; expected a whole number ≥ 0"),
        (0.5, 1.0, "the seed of a random start is 0.5"),
        (True, 1.0, "the seed of a random start is True"),
        (0, 0.0, "the spread of a random start is 0.0; expected a number > 0"),
        (0, np.nan, "the spread of a random start is nan"),
    ],
)
def test_wrong_seeds_and_spreads_are_refused(seed, spread, message):
    with pytest.raises(InputError, match=message):
        problem(Parameter(V, "κ")).at_random_start(seed, spread)


# --- from the command line -----------------------------------------------------------------------------------------

RUN = ["run", "poisson_control", "--n", "4", "--no-check", "--no-pictures", "--quiet", "--initial-seed", "3"]


def test_a_run_starts_at_random_and_is_resumed_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, "--initial-spread", "20", "--out", "whole"]) == 0
    assert main([*RUN, "--initial-spread", "20", "--max-iterations", "2", "--out", "parts"]) == 0
    config = json.loads(Path("parts/config.json").read_text())
    assert (config["initial_seed"], config["initial_spread"]) == (3, 20)
    assert main(["resume", "parts", "--max-iterations", "200", "--quiet"]) == 0
    whole, parts = (pdeopt.load(one) for one in ("whole", "parts"))
    np.testing.assert_array_equal(whole.coefficient, parts.coefficient)
    start = pdeopt.build("poisson_control", n=4).at_random_start(3, 20.0)
    assert whole.history["objective"][0] == pytest.approx(start.functional(start.initial), rel=1e-12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*RUN[:-2], "--initial-spread", "2"], "--initial-spread is that of a random start, of which --initial-seed"),
        ([*RUN[:-1], "1000000000000001"], "argument --initial-seed: invalid seed value: '1000000000000001'"),
        ([*RUN[:-1], "-1"], "argument --initial-seed: invalid seed value: '-1'"),
    ],
)
def test_wrong_options_are_refused(capsys, words, message):
    assert main(words) == 2
    assert message in capsys.readouterr().err
