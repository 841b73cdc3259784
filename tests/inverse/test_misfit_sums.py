"""Misfits that add up: several sets of data with their observations and noise, in formulas, in runs and in pictures."""

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    AtDofs,
    EstimatedScale,
    FieldMisfit,
    HuberMisfit,
    InputError,
    L2Misfit,
    MisfitSum,
    Parameter,
    Problem,
    ReducedFunctional,
    StudentMisfit,
    as_misfit,
    tikhonov,
)
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.store.fields import fields_of, read_fields, write_fields
from pdeopt.verify import adjoint_identity, taylor_test

N = 6
rng = np.random.default_rng(3)
MIXING = rng.standard_normal((N, N)) / 2
FIRST, LAST = AtDofs(np.arange(2)), AtDofs(np.arange(2, N))
A = L2Misfit.of(FIRST, [1.0, 2.0], 0.3)
B = HuberMisfit.of(lambda u, _: u[2:].reshape(2, 2) ** 2, [[1.0, -1.0], [0.5, 2.0]], [[0.2, 0.3], [0.4, 0.5]])
C = L2Misfit.of(lambda u, _: u[:3] * jnp.exp(1j * u[3:]), [1j, 2.0, 0.5 - 1j], 0.7)
HEAVY = StudentMisfit.of(LAST, [0.0, 1.0, 2.0, 3.0], 0.4, 3)
SUMS = {
    "two": lambda: A + B,
    "real and complex": lambda: MisfitSum.of({"voltages": C, "temperatures": B, "depths": A}),
    "heavy tails": lambda: MisfitSum.of({"a": A, "b": HEAVY}),
    "one is a function": lambda: MisfitSum.of({"a": A, "f": lambda u, c: jnp.sum((u - c) ** 4)}),
}


def functional(misfit):
    return ReducedFunctional(lambda c: jnp.sin(MIXING @ c), misfit)


@pytest.fixture(params=SUMS, scope="module")
def J(request):
    return functional(SUMS[request.param]())


def test_the_value_is_the_sum_of_the_parts(J):
    m = rng.standard_normal(N)
    u, misfit = jnp.asarray(J.solution(m)), J.misfit
    values = misfit.values(u, jnp.asarray(m))
    assert list(values) == list(misfit.parts)
    assert J(m) == pytest.approx(sum(float(part(u, jnp.asarray(m))) for part in misfit.parts.values()), rel=1e-13)
    assert J.terms(m).misfit == pytest.approx(sum(map(float, values.values())), rel=1e-13)


def test_derivatives_of_a_sum(J):
    m, v, w = rng.standard_normal((3, N))
    test = taylor_test(J, J.derivative(m), m, 0.2 * v, hessian_action=J.hessian_action(m, 0.2 * v))
    assert test.passed, test
    image = J.prediction_tangent(m, v)
    cotangent = rng.standard_normal(image.shape)
    if np.iscomplexobj(image):
        cotangent = cotangent + 1j * rng.standard_normal(image.shape)
    assert adjoint_identity(lambda _: image, lambda w: J.prediction_adjoint(m, w), v, cotangent) < 1e-12
    assert adjoint_identity(J.hessian(m), J.hessian(m), v, w) < 1e-11


@pytest.mark.parametrize("name", ["two", "real and complex", "heavy tails"])
def test_the_gauss_newton_matrix_of_a_sum_is_the_sum_of_those_of_its_parts(name):
    J, m = functional(SUMS[name]()), rng.standard_normal(N)
    found = J.gauss_newton(m)(np.eye(N))
    parts = [functional(part).gauss_newton(m)(np.eye(N)) for part in J.misfit.parts.values()]
    np.testing.assert_allclose(found, sum(parts), atol=1e-12 * np.abs(found).max())
    assert np.linalg.eigvalsh(found).min() > -1e-12 * np.abs(found).max()


def test_what_a_sum_knows_of_its_data():
    misfit = SUMS["real and complex"]()
    np.testing.assert_array_equal(misfit.data, [*C.data, *B.data.ravel(), *A.data])
    np.testing.assert_array_equal(misfit.noise, [0.7, 0.7, 0.7, 0.2, 0.3, 0.4, 0.5, 0.3, 0.3])
    assert misfit.expected == pytest.approx(C.expected + B.expected + A.expected)
    u = jnp.asarray(rng.standard_normal(N))
    assert float(misfit.distance(misfit.observation(u, None))) == pytest.approx(float(misfit(u, None)), rel=1e-13)


def test_what_one_part_does_not_know_the_sum_does_not_know():
    of_a_function = SUMS["one is a function"]()
    scaled = MisfitSum.of({"a": A, "scaled": EstimatedScale(A, "s")})
    wanted = MisfitSum.of(
        {"a": A, "wanted": FieldMisfit.of(FunctionSpace(skfem.MeshLine(), skfem.ElementLineP1()), [1, 2])}
    )
    for misfit in (of_a_function, scaled, wanted):
        assert misfit.expected is None
    assert of_a_function.data is of_a_function.noise is of_a_function.distance is None
    assert scaled.distance is None
    assert scaled.data is not None
    assert wanted.noise is None
    assert wanted.distance is not None


def test_misfits_are_named_where_they_have_no_name():
    assert list((A + B).parts) == ["data 1", "data 2"]
    assert list((A + B + C).parts) == ["data 1", "data 2", "data 3"]
    assert list((C + (A + B)).parts) == ["data 3", "data 1", "data 2"]
    named = MisfitSum.of({"voltages": A})
    assert list((named + MisfitSum.of({"temperatures": B})).parts) == ["voltages", "temperatures"]
    assert list((B + named).parts) == ["data 1", "voltages"]
    assert (A + B).parts["data 2"] is B
    with pytest.raises(InputError, match="the names voltages, voltages; expected a different one for each"):
        named + MisfitSum.of({"voltages": B})
    with pytest.raises(TypeError):
        A + (lambda u, _: u.sum())


def test_a_functional_takes_misfits_by_name():
    J, m = functional({"a": A, "b": B}), rng.standard_normal(N)
    assert J(m) == pytest.approx(functional(A + B)(m), rel=1e-14)
    assert list(J.misfit.parts) == ["a", "b"]
    assert as_misfit({"a": lambda u, _: u.sum()}).parts["a"].data is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there are no misfits to add up; expected at least one by name"),
        ({1: A}, "the name of a misfit is 1; expected a text"),
        ({"a": 3.0}, "the misfit 'a' is 3.0; expected a misfit as L2Misfit.of"),
        ({"a": L2Misfit}, "the misfit 'a' is <class .*; expected a misfit as L2Misfit.of"),
    ],
)
def test_what_is_no_misfit_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        functional(given)


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda u, _: u[:3], r"returns an array of shape \(3,\)"), (lambda u, _: 1j * u.sum(), "returns complex numbers")],
)
def test_a_part_that_is_no_real_number_is_refused(function, message):
    with pytest.raises(InputError, match=f"the misfit {message}"):
        functional({"f": function})(np.ones(N))


def test_a_part_that_predicts_complex_values_for_real_data_is_refused():
    wrong = L2Misfit.of(lambda u, _: u[:2] + 1j, [1.0, 2.0], 0.3)
    with pytest.raises(InputError, match="the observation predicts complex values, the data are real"):
        functional(MisfitSum.of({"right": C, "wrong": wrong})).gauss_newton(np.ones(N))


# --- pictures and files --------------------------------------------------------------------------------------------

TICKS = np.linspace(0, 1, 4)
V = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS), skfem.ElementTriP1())
TRUTH = rng.random(V.n) + 0.5
SETS = {
    "voltages u (V)": L2Misfit.of(AtDofs(np.arange(5)), TRUTH[:5], 0.1),
    "waves": L2Misfit.of(lambda u, _: u[3:] * (1 + 1j), TRUTH[3:] * (1 + 1j), 0.2),
    "target": FieldMisfit.of(V, TRUTH),
    "nothing measured": lambda u, _: jnp.sum(u**2),
}


def problem(names):
    J = ReducedFunctional(lambda m: m, {name: SETS[name] for name in names}, tikhonov(V, 1e-3))
    return Problem(J, np.ones(V.n), Parameter(V, "source f"), truth=TRUTH, data_label="not used", state_space=V)


def axes_of(fields):
    figure = draw_result(fields, {})
    return [one for one in figure.axes if one.get_label() != "<colorbar>"][3:]


def test_each_set_of_data_is_drawn():
    axes = axes_of(fields_of(problem(["nothing measured", "voltages u (V)", "waves"]), 1.1 * TRUTH))
    assert [one.get_title() for one in axes] == ["data fit", "data fit", "residuals", "state"]
    assert [one.get_xlabel() for one in axes[:2]] == ["measured voltages u (V)", "measured waves"]
    assert axes[2].get_xlabel() == "(predicted − measured) / σ"


def test_further_data_are_drawn_beside_a_wanted_state():
    axes = axes_of(fields_of(problem(["target", "waves"]), 1.1 * TRUTH))
    assert [one.get_title() for one in axes] == ["target", "state", "state − target", "data fit"]
    assert axes[3].get_xlabel() == "measured waves"


def test_the_noise_level_of_the_only_set_with_one_is_told():
    axes = axes_of(fields_of(problem(["voltages u (V)", "target"]), 1.1 * TRUTH))
    assert [one.get_title() for one in axes][2] == "residuals, σ = 0.1 (noise level)"


def test_each_set_of_data_is_written_and_read(tmp_path):
    fields = fields_of(problem(["voltages u (V)", "target", "waves"]), 1.1 * TRUTH)
    write_fields(tmp_path / "result.npz", fields)
    again = read_fields(tmp_path / "result.npz")
    assert [one.label for one in again.data_sets] == ["voltages u (V)", "target", "waves"]
    for before, after in zip(fields.data_sets, again.data_sets, strict=True):
        np.testing.assert_array_equal(before.data, after.data)
        np.testing.assert_array_equal(before.predicted, after.predicted)
        assert (before.noise is None) == (after.noise is None)
    assert again.extra == {}
    np.testing.assert_allclose(again.data_sets[2].predicted, 1.1 * TRUTH[3:] * (1 + 1j))


def test_a_file_whose_further_data_do_not_fit_is_refused(tmp_path):
    write_fields(tmp_path / "result.npz", fields_of(problem(["voltages u (V)", "waves"]), TRUTH))
    with np.load(tmp_path / "result.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "result.npz", **arrays | {"further_0_predicted": np.ones(2)})
    with pytest.raises(ValueError, match="the data 'waves' have the shape"):
        read_fields(tmp_path / "result.npz")


FILE = '''"""A source from temperatures, counted photons and a wanted state."""

import numpy as np
import skfem

from pdeopt.fem import *
from pdeopt.inverse import *
from pdeopt.pde import LinearStateEquation

diffusion = bilinear_form(lambda u, v, _: dot(grad(u), grad(v)))
load = linear_form(lambda v, w: w["m"] * v)


def build():
    ticks = np.linspace(0, 1, 7)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    A = diffusion.assemble(V)
    state = LinearStateEquation(lambda m: (A, load.assemble(V, m=V.interpolate(m))), Dirichlet.on(V))
    truth = 20 * np.exp(-8 * ((V.locations[0] - 0.4) ** 2 + (V.locations[1] - 0.6) ** 2))
    inside = np.setdiff1d(np.arange(V.n), V.dofs())
    clean = np.asarray(state(truth))[inside]
    rng = np.random.default_rng(0)
    misfit = {
        "temperatures": L2Misfit.of(AtDofs(inside), clean + 0.02 * rng.standard_normal(len(inside)), 0.02),
        "photons": PoissonMisfit.of(lambda u, m: 1 + 40 * u[inside], rng.poisson(1 + 40 * clean)),
    }
    J = ReducedFunctional(state, misfit, h1(V, 1e-2))
    return Problem(J, np.ones(V.n), Parameter(V, "source f"), truth=truth, optimizer="OPTIMIZER")
'''


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["newton-cg", "gauss-newton"])
def test_a_run_with_two_sets_of_data(optimizer, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("sources.py").write_text(FILE.replace("OPTIMIZER", optimizer), encoding="utf-8")
    words = ["--no-pictures"] if optimizer == "gauss-newton" else []
    assert main(["run", "sources.py", "--out", "run", "--regularization-strength", "discrepancy", *words]) == 0
    output = capsys.readouterr()
    assert "could not" not in output.err + output.out
    summary = json.loads(Path("run/summary.json").read_text(encoding="utf-8"))
    parts = summary["misfits"]
    assert list(parts) == ["temperatures", "photons"]
    assert sum(part["misfit"] for part in parts.values()) == pytest.approx(summary["misfit"], rel=1e-10)
    assert sum(part["expected_misfit"] for part in parts.values()) == pytest.approx(summary["expected_misfit"])
    assert parts["temperatures"]["noise_level"] == pytest.approx(0.02)
    assert [part["data"] for part in parts.values()] == [25, 25]
    assert summary["discrepancy"] == pytest.approx(1, abs=0.02)
    assert summary["verification"]["passed"]
    assert re.search(rf"^ +photons +{parts['photons']['misfit']:.6g} = ", output.out, re.MULTILINE)
    if optimizer == "newton-cg":
        assert Path("run/result.png").exists()
        assert main(["check", "sources.py"]) == 0
        assert main(["plot", "run"]) == 0
        assert "photons" in Path(main(["report", "run", "--out", "r.html"]) or "r.html").read_text(encoding="utf-8")
