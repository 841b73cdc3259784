"""Misfits of every kind, in formulas, in runs and in pictures: data with noise, wanted states, plain functions."""

import json

import jax
import jax.numpy as jnp
import meshio
import numpy as np
import pytest
import skfem
from run_directories import write_meshes

from pdeopt.cli import main
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    AtDofs,
    FieldMisfit,
    InputError,
    L2Misfit,
    Misfit,
    Parameter,
    Problem,
    ReducedFunctional,
    as_misfit,
    tikhonov,
)
from pdeopt.inverse.problem import SUMMARY_NAMES
from pdeopt.run.pictures.result_figure import draw_result
from pdeopt.run.store.fields import fields_of, read_fields, write_fields

TICKS = np.linspace(0, 1, 5)
MESH = skfem.MeshTri.init_tensor(TICKS, TICKS)
V = FunctionSpace(MESH, skfem.ElementTriP2())


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# --- ½ ∫ (u − d)² ------------------------------------------------------------------------------------------------


def half_square_integral(space, difference):
    """½ ∫ |difference|² from scikit-fem's values and weights at quadrature points."""
    values = np.asarray(space.basis.interpolate(difference))  # (components, cells, points) or (cells, points)
    return 0.5 * float((values**2 * space.basis.dx).sum())


SPACES = {
    "P2": V,
    "vector-valued": FunctionSpace(MESH, skfem.ElementVector(skfem.ElementTriP1())),
    "on a boundary": V.boundary(lambda x: x[0] == 0),
    "on a part of the cells": V.subdomain(lambda x: x[0] < 0.5),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_field_misfit_is_half_the_squared_distance_in_l2(name):
    space = SPACES[name]
    u, target = random(space.n, seed=1), random(space.n)
    misfit = FieldMisfit.of(space, target)
    assert float(misfit(jnp.asarray(u), None)) == pytest.approx(half_square_integral(space, u - target), rel=1e-12)
    assert float(misfit.distance(jnp.asarray(target))) == 0


def test_experiments_add_up():
    u, target = random(V.n, 3, seed=1), random(V.n, 3)
    apart = sum(float(FieldMisfit.of(V, target[:, k]).distance(jnp.asarray(u[:, k]))) for k in range(3))
    assert float(FieldMisfit.of(V, target).distance(jnp.asarray(u))) == pytest.approx(apart, rel=1e-13)


@pytest.mark.parametrize("shape", [(), (V.n,), (V.n, 2)], ids=["number", "a degree of freedom", "two experiments"])
def test_noise_alone_gives_the_expected_field_misfit(shape):
    sigma = np.abs(random(*shape, seed=3)) if shape else np.array(0.3)
    data = np.zeros(shape or (V.n,))
    misfit = FieldMisfit.of(V, data, sigma)
    draws = [float(misfit.distance(jnp.asarray(sigma * random(*data.shape, seed=k)))) for k in range(400)]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - misfit.expected) < 4 * error
    assert error < 0.05 * misfit.expected


def test_a_wanted_state_has_no_noise():
    misfit = FieldMisfit.of(V, np.ones(V.n))
    assert misfit.noise is None
    assert misfit.expected is None


def test_one_sigma_gives_half_sigma_squared_times_the_trace():
    misfit = FieldMisfit.of(V, np.ones(V.n), 0.2)
    assert misfit.expected == pytest.approx(0.5 * 0.04 * misfit.mass.to_scipy().trace())


@pytest.mark.parametrize(
    ("target", "noise", "message"),
    [
        (np.ones(3), None, "the target has shape (3,)"),
        (np.ones((V.n, 2, 2)), None, "the target has shape"),
        (np.full(V.n, np.nan), None, "target values are NaN"),
        (np.ones(V.n) + 1j * np.inf, None, "target values are NaN"),
        (np.ones(V.n), 1j, "the noise level is complex"),
        (np.ones(V.n), 0.0, "leave it out for no noise"),
        (np.ones(V.n), -1.0, "got -1.0"),
        (np.ones(V.n), np.ones(3), "the noise level has shape (3,)"),
    ],
)
def test_bad_targets_are_refused(target, noise, message):
    with pytest.raises(InputError) as error:
        FieldMisfit.of(V, target, noise)
    assert message in str(error.value)


def test_a_state_of_another_space_is_refused():
    with pytest.raises(InputError, match=r"the target has shape \(81,\); the state has \(3,\)"):
        FieldMisfit.of(V, np.ones(V.n))(jnp.ones(3), None)


# --- the protocol ------------------------------------------------------------------------------------------------

DATA = random(V.n)
MISFITS = {
    "L2": L2Misfit.of(AtDofs(np.arange(7)), DATA[:7], 0.1 + np.abs(DATA[:7])),
    "field": FieldMisfit.of(V, DATA),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_a_convex_distance_of_an_observation(name):
    misfit, u = MISFITS[name], jnp.asarray(random(V.n, seed=5))
    predicted = misfit.observation(u, None)
    assert predicted.shape == misfit.data.shape
    assert float(misfit(u, None)) == float(misfit.distance(predicted))
    curvature = np.asarray(jax.hessian(misfit.distance)(predicted))
    assert np.linalg.eigvalsh(curvature).min() > 0
    assert float(misfit.distance(jnp.asarray(misfit.data))) == 0


def test_a_plain_function_observes_the_state():
    u = jnp.arange(3.0)
    assert as_misfit(lambda u, _: u.sum()).observation(u, None) is u
    J = ReducedFunctional(lambda m: 2 * m, lambda u, _: (u**2).sum())
    np.testing.assert_array_equal(J.prediction(np.ones(3)), 2 * np.ones(3))
    np.testing.assert_array_equal(J.derivative(np.ones(3)), 8 * np.ones(3))


def test_a_misfit_that_states_nothing_observes_the_state():
    class Squares(Misfit):
        def __call__(self, u, _):
            return (u**2).sum()

    misfit, u = Squares(), jnp.arange(3.0)
    assert as_misfit(misfit) is misfit
    assert [misfit.data, misfit.noise, misfit.expected, misfit.distance] == [None] * 4
    J = ReducedFunctional(lambda m: 2 * m, misfit)
    assert (J(u), J.prediction(u).tolist()) == (20.0, [0.0, 2.0, 4.0])


def test_an_object_with_a_part_of_a_misfit_is_told_what_it_lacks():
    class Mine:
        data = DATA

        def __call__(self, u, _):
            return ((u - self.data) ** 2).sum()

    lacking = "Mine states data, but is no pdeopt.inverse.Misfit, and lacks distance, expected, noise, observation; "
    with pytest.raises(InputError, match=lacking):
        ReducedFunctional(lambda m: m, Mine())


# --- a problem of each kind, run and checked ---------------------------------------------------------------------

FILE = '''"""A wanted state; the misfit is {misfit}."""

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, dot, grad, linear_form
from pdeopt.inverse import FieldMisfit, Parameter, Problem, ReducedFunctional, tikhonov
from pdeopt.pde import LinearStateEquation

diffusion = bilinear_form(lambda u, v, _: dot(grad(u), grad(v)))
load = linear_form(lambda v, w: w["m"] * v)


def build():
    ticks = np.linspace(0, 1, 6)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    A = diffusion.assemble(V)
    state = LinearStateEquation(lambda m: (A, load.assemble(V, m=V.interpolate(m))), Dirichlet.on(V))
    target = V.nodal(lambda x: x[0] * (1 - x[0]))
    functional = ReducedFunctional(state, {misfit}, tikhonov(V, 1e-4))
    quantities = {{"{quantity}": lambda m: np.abs(m).max()}}
    return Problem(functional, np.zeros(V.n), Parameter(V, "control m"), quantities=quantities)
'''
PLAIN = "lambda u, m: ((u - target) ** 2).sum() / V.n"
WRITTEN = {"plain": PLAIN, "field": "FieldMisfit.of(V, target)"}


@pytest.fixture(params=WRITTEN)
def problem_file(request, tmp_path):
    path = tmp_path / f"{request.param}.py"
    path.write_text(FILE.format(misfit=WRITTEN[request.param], quantity="largest"))
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_a_run_leaves_out_what_does_not_exist(problem_file, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["run", str(problem_file), "--out", str(folder)]) == 0
    output = capsys.readouterr()
    assert "could not" not in output.err + output.out
    assert "largest" in output.err + output.out
    summary = json.loads((folder / "summary.json").read_text())
    assert [summary[name] for name in ("noise_level", "expected_misfit", "discrepancy", "relative_error")] == [None] * 4
    with np.load(folder / "result.npz") as arrays:
        assert summary["largest"] == pytest.approx(np.abs(arrays["parameter"]).max())
        assert summary["data"] == (arrays["data"].size if problem_file.stem == "field" else None)
        assert ("data" in arrays) == ("predicted" in arrays) == (problem_file.stem == "field")
        assert "noise" not in arrays
    assert set(summary) <= SUMMARY_NAMES | {"largest"}
    assert (folder / "result.png").is_file()
    assert main(["plot", str(folder)]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_once")
def test_a_check_takes_the_state_for_the_data(problem_file, capsys):
    assert main(["check", str(problem_file)]) == 0
    assert "adjoint identity" in capsys.readouterr().out


def test_a_quantity_cannot_take_a_name_of_the_summary(tmp_path, capsys):
    path = tmp_path / "taken.py"
    path.write_text(FILE.format(misfit=PLAIN, quantity="misfit"))
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "a quantity is named 'misfit'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gradient_tolerance": -1.0}, "gradient_tolerance is -1.0"),
        ({"absolute_gradient_tolerance": float("nan")}, "absolute_gradient_tolerance is nan"),
        ({"optimizer": None}, "the optimizer is None"),
    ],
)
def test_a_problem_refuses_senseless_settings(given, message):
    with pytest.raises(InputError, match=message):
        Problem(ReducedFunctional(lambda m: m, MISFITS["field"]), np.ones(V.n), Parameter(V, "m"), **given)


# --- pictures ----------------------------------------------------------------------------------------------------


def problem(misfit, truth=None):
    functional = ReducedFunctional(lambda m: m, misfit, tikhonov(V, 1e-3))
    parameter = Parameter(V, "control m")
    return Problem(functional, np.zeros(V.n), parameter, truth=truth, data_label="state u (K)", state_space=V)


def drawn_texts(fields):
    figure = draw_result(fields, {})
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    return [one.get_title() for one in axes], " ".join(
        text for one in figure.axes for text in (one.get_title(), one.get_xlabel(), one.get_ylabel())
    )


def test_a_wanted_state_is_drawn_beside_the_state():
    titles, everything = drawn_texts(fields_of(problem(FieldMisfit.of(V, DATA)), DATA))
    assert titles == ["initial guess", "result", "target", "state", "state − target"]
    assert not {word for word in ("measured", "reconstruction", "noise") if word in everything}


def test_an_exact_control_is_not_called_a_truth():
    titles, _ = drawn_texts(fields_of(problem(FieldMisfit.of(V, DATA), truth=DATA), DATA))
    assert titles == ["exact", "result", "result − exact", "target", "state", "state − target"]


def test_a_measured_field_is_called_so():
    sigma = np.full(V.n, 0.25)
    sigma[V.dofs()] = 0  # exact there, as on a Dirichlet boundary
    titles, _ = drawn_texts(fields_of(problem(FieldMisfit.of(V, DATA, sigma), truth=DATA), DATA))
    assert titles[:3] == ["truth", "reconstruction", "reconstruction − truth"]
    assert titles[3:] == ["measured", "state", "state − measured, σ = 0.25"]


def test_a_plain_function_leaves_the_state():
    titles, _ = drawn_texts(fields_of(problem(lambda u, _: (u**2).sum()), DATA))
    assert titles == ["initial guess", "result", "state"], "nothing was measured"


def test_data_without_a_noise_level_are_not_scaled_by_it():
    class Squares(Misfit):
        data = DATA[:9]
        observation = AtDofs(np.arange(9))

        def __call__(self, u, _):
            return ((u[:9] - DATA[:9]) ** 2).sum()

    titles, everything = drawn_texts(fields_of(problem(Squares()), DATA))
    assert titles == ["initial guess", "reconstruction", "data fit", "residuals", "state"]
    assert "predicted − target state u (K)" in everything
    assert "σ" not in everything


def test_samples_of_which_some_are_exact_are_drawn():
    class Some(Misfit):
        data, noise, expected = DATA, np.where(np.arange(V.n) % 2, 0.1, 0.0), 1.0

        def __call__(self, u, _):
            return ((u - DATA) ** 2).sum()

    titles, _ = drawn_texts(fields_of(problem(Some()), 2 * DATA))
    assert "residuals, σ = 0.1 (noise level)" in titles


@pytest.mark.parametrize("misfit", [*MISFITS.values(), lambda u, _: (u**2).sum()], ids=[*MISFITS, "plain"])
def test_fields_are_read_as_they_were_written(misfit, tmp_path):
    fields = fields_of(problem(misfit), DATA)
    write_fields(tmp_path / "result.npz", fields)
    again = read_fields(tmp_path / "result.npz")
    assert again.kind == fields.kind
    assert again.role == fields.role
    for name in ("data", "predicted", "noise", "state", "coefficient"):
        before, after = getattr(fields, name), getattr(again, name)
        assert (before is None) == (after is None)
        np.testing.assert_array_equal(before, after)


def test_files_of_an_older_version_are_read(tmp_path):
    path = tmp_path / "result.npz"
    write_fields(path, fields_of(problem(MISFITS["L2"]), DATA))
    with np.load(path) as file:
        older = {name: array for name, array in file.items() if name != "kind"}
    np.savez(path, **older)
    assert read_fields(path).kind == "samples"


def test_the_target_is_written_for_paraview(tmp_path):
    assert write_meshes(tmp_path, fields_of(problem(FieldMisfit.of(V, DATA)), 2 * DATA))
    written = meshio.read(tmp_path / "fields.vtu").point_data
    np.testing.assert_allclose(written["state"], 2 * written["target"])
