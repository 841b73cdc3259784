"""Optimizers as objects: one from outside pdeopt by name, what is refused with which names, and what is minimized."""

import csv
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pdeopt.cli import main
from pdeopt.inversion.minimization import Settings
from pdeopt.optimize import (
    Diagonal,
    Differentiable,
    NewtonCG,
    Objective,
    Optimizer,
    OptimizerError,
    minimize,
    optimizer_named,
    optimizers,
    register,
    registry,
)

#: All that it takes to add one.
TOY = '''
from dataclasses import dataclass

from pdeopt.optimize import Optimizer, register


@dataclass(frozen=True)
class SteepestDescent(Optimizer):
    """Steepest descent in the inner product, with Armijo's rule."""

    sufficient: float = 0.1
    name = "toy"

    def run(self, trace):
        length = 1.0
        while True:
            m, (value, derivative) = trace.last.m, trace.evaluate(trace.last.m)
            gradient = trace.product.gradient(derivative)
            slope = float(derivative @ gradient)
            while trace.evaluate(m - length * gradient)[0] > value - self.sufficient * length * slope:
                length /= 2
            trace.accept(m - length * gradient)
            length *= 2


register(SteepestDescent())
'''
#: A problem that compiles at once: the state is the parameter.
DENOISING = """
import numpy as np
import skfem
import toy
from pdeopt.fem import FunctionSpace
from pdeopt.inverse import FullField, L2Misfit, Parameter, Problem, ReducedFunctional, add_noise, h1

def build() -> Problem:
    ticks = np.linspace(0, 1, 5)
    V = FunctionSpace(skfem.MeshTri.init_tensor(ticks, ticks), skfem.ElementTriP1())
    truth = V.nodal(lambda x: 1.0 + (x[0] > 0.5))
    data, sigma = add_noise(truth, 0.2, 0)
    functional = ReducedFunctional(lambda m: m, L2Misfit.of(FullField(), data, sigma), h1(V, 0.5))
    return Problem(functional, np.zeros(V.n), Parameter(V, "m"), truth=truth, points=V.locations, optimizer="toy")
"""
#: The optimizers that keep bounds and need no Hessian.
PLAIN = "l-bfgs-b, tnc, slsqp, augmented-lagrangian, mma, ccsa, ipopt"
TARGET = np.array([0.5, -0.3, 1.5])
CURVATURES = np.array([1.0, 2.0, 4.0])


def value_and_derivative(m):
    return 1.0 + 0.5 * CURVATURES @ (m - TARGET) ** 2, CURVATURES * (m - TARGET)


def hessian(m):
    return lambda v: CURVATURES * v


@pytest.fixture(autouse=True)
def registered_for_one_test(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_optimizers", {optimizer.name: optimizer for optimizer in registry.BUILT_IN})
    yield
    sys.modules.pop("toy", None)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module of the one from outside."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import toy

    return toy


def rows_of(directory):
    with (Path(directory) / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


# --- one from outside --------------------------------------------------------------------------------------------


def test_an_optimizer_of_one_file_is_known_by_its_name(toy):
    seen = []
    result = minimize(value_and_derivative, np.zeros(3), optimizer="toy", callback=seen.append)
    assert (result.status, list(optimizers())[-1]) == ("converged", "toy")
    np.testing.assert_allclose(result.m, TARGET, atol=1e-3)
    assert [iterate.iteration for iterate in seen] == list(range(result.iterations + 1))
    assert all(after.objective < before.objective for before, after in pairwise(seen))


def test_it_works_in_every_inner_product(toy):
    product = Diagonal("of the Hessian", CURVATURES)
    result = minimize(value_and_derivative, np.zeros(3), optimizer="toy", inner_product=product)
    assert result.iterations == 1, "there it is Newton's method"


def test_it_has_its_own_options_and_need_not_be_registered(toy, monkeypatch):
    monkeypatch.delitem(registry._optimizers, "toy")
    cautious = toy.SteepestDescent(sufficient=0.6)
    bold, careful = (
        minimize(value_and_derivative, np.zeros(3), optimizer=optimizer).evaluations
        for optimizer in (toy.SteepestDescent(), cautious)
    )
    assert bold != careful
    with pytest.raises(OptimizerError, match="unknown optimizer 'toy'"):
        minimize(value_and_derivative, np.zeros(3), optimizer="toy")


def test_what_it_does_not_keep_is_refused(toy):
    with pytest.raises(OptimizerError, match=rf"toy keeps no bounds.*use one of {PLAIN}$"):
        minimize(value_and_derivative, np.zeros(3), optimizer="toy", bounds=(0.0, 1.0))


@pytest.mark.slow
def test_a_problem_file_brings_its_optimizer_to_the_command_line(tmp_path, capsys):
    """It imports the file beside it; the command lists, takes, and suggests the name, and resumes its runs."""
    (tmp_path / "toy.py").write_text(TOY, encoding="utf-8")
    (tmp_path / "denoising.py").write_text(DENOISING, encoding="utf-8")
    assert main(["run", "conductivity", "--optimizer", "toy"]) == 2
    assert "invalid choice: 'toy'" in capsys.readouterr().err
    assert main(["run", "./denoising.py", "--help"]) == 0
    assert "ipopt, toy" in " ".join(capsys.readouterr().out.split())
    assert main(["run", "./denoising.py", "--optimizer", "tyo"]) == 2
    assert "did you mean 'toy'?" in capsys.readouterr().err
    assert (
        main(["run", "./denoising.py", "--optimizer", "toy", "--max-iterations", "4", "--no-pictures", "--out", "out"])
        == 0
    )
    assert json.loads(Path("out/summary.json").read_text())["status"] == "stopped"
    before = rows_of("out")
    assert main(["resume", "out", "--max-iterations", "200", "--quiet"]) == 0, capsys.readouterr().err
    summary = json.loads(Path("out/summary.json").read_text())
    assert (summary["optimizer"], summary["status"]) == ("toy", "converged")
    assert [row["objective"] for row in rows_of("out")[:5]] == [row["objective"] for row in before]
    assert (
        main(["run", "./denoising.py", "--optimizer", "newton-cg", "--no-pictures", "--out", "newton", "--quiet"]) == 0
    )
    newton = json.loads(Path("newton/summary.json").read_text())
    assert summary["objective"] == pytest.approx(newton["objective"], rel=1e-4)


# --- the registry ------------------------------------------------------------------------------------------------


class Named(Optimizer):
    """Takes no step."""

    def __init__(self, name="mine", **attributes):
        self.name = name
        vars(self).update(attributes)

    def run(self, trace):
        return


class WithoutName(Optimizer):
    def run(self, trace):
        return


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            Named("cg"),
            "the name 'cg' belongs to pdeopt.optimize.libraries.scipy_methods.SciPyMethod.*choose another name",
        ),
        (Named("My method"), "the optimizer's name is 'My method'; expected small letters"),
        (Named(needs=frozenset({"hesian"})), r"mine needs .*hesian.*expected a frozenset of 'hessian', 'gauss_newton'"),
        (Named(needs=["hessian"]), r"mine needs \['hessian'\]; expected a frozenset"),
        (Named(keeps={"integers"}), "mine keeps .*integers.*frozenset of 'bounds', 'inequalities', 'equalities'"),
        (NewtonCG, "expected a name, or an object of a subclass of pdeopt.optimize.Optimizer"),
        (WithoutName(), r"that has a name and a method run\(trace\)"),
        (minimize, "expected a name, or an object"),
        (None, "the optimizer is None; expected a name"),
    ],
)
def test_what_is_no_optimizer_is_refused(optimizer, message):
    before = dict(optimizers())
    with pytest.raises(OptimizerError, match=message):
        register(optimizer)
    assert optimizers() == before


def test_one_that_is_no_optimizer_is_not_run_either():
    with pytest.raises(OptimizerError, match="mine keeps"):
        minimize(value_and_derivative, np.zeros(3), optimizer=Named(keeps=frozenset({"bound"})))


def test_a_class_may_replace_its_own_and_the_view_cannot_be_written():
    register(Named(loose_iterations=7))
    register(Named(loose_iterations=8))
    assert optimizer_named("mine").loose_iterations == 8
    with pytest.raises(TypeError):
        optimizers()["mine"] = Named()


def test_a_rough_minimum_takes_as_many_iterations_as_the_optimizer_says():
    register(Named(loose_iterations=7))
    found = {name: Settings(name, "l2", 1e-4, 0.0, 9).loose_iterations for name in optimizers()}
    assert found.pop("mine") == 7
    assert {name for name, count in found.items() if count == 3} == {"newton-cg", "gauss-newton", "levenberg-marquardt"}
    assert set(found.values()) == {3, 15, 75}


@pytest.mark.parametrize(("start", "status"), [(np.zeros(3), "failed"), (TARGET + 1e-6, "converged")])
def test_one_that_gives_up_is_judged_by_what_is_left_to_gain(start, status):
    """It has seen the curvature, by a step that it did not take."""

    class Looking(Named):
        def run(self, trace):
            m, derivative = trace.last.m, trace.evaluate(trace.last.m)[1]
            trace.secants.remember(1e-3 * derivative, trace.evaluate(m + 1e-3 * derivative)[1] - derivative)

    result = minimize(value_and_derivative, start, optimizer=Looking())
    assert result.status == status
    assert "mine finds no step that lowers the objective" in result.message


# --- refusals ----------------------------------------------------------------------------------------------------

FULL = Objective(value_and_derivative, hessian, hessian)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (
            FULL,
            {"optimizer": "bfgs", "bounds": (0.0, 1.0)},
            "bfgs keeps no bounds, and the parameter has some; use one of "
            "l-bfgs-b, newton-cg, gauss-newton, levenberg-marquardt, tnc, slsqp, trust-constr, active-set, "
            "augmented-lagrangian, augmented-lagrangian.newton-cg, mma, ccsa, ipopt",
        ),
        (
            Objective(value_and_derivative),
            {"optimizer": "trust-ncg", "bounds": (0.0, 1.0)},
            r"trust-ncg needs hessian\(m\), which returns v ↦ Hv, and the objective has none; use one of "
            f"{PLAIN}",
        ),
        (
            Objective(value_and_derivative, hessian),
            {"optimizer": "gauss-newton"},
            r"gauss-newton needs gauss_newton\(m\).*use one of l-bfgs-b, newton-cg, cg, bfgs, tnc, slsqp, trust-ncg, "
            "trust-krylov, trust-constr, trust-exact, dogleg, active-set, augmented-lagrangian, "
            "augmented-lagrangian.newton-cg, mma, ccsa, ipopt",
        ),
    ],
)
def test_what_an_optimizer_cannot_is_refused_with_those_that_can(objective, options, message):
    def never(m):
        raise AssertionError("refused before anything is evaluated")

    unevaluated = Objective(never, objective.hessian, objective.gauss_newton)
    with pytest.raises(OptimizerError, match=f"{message}$"):
        minimize(unevaluated, np.zeros(3), **options)


# --- what is minimized -------------------------------------------------------------------------------------------


class ValueOnly(Differentiable):
    def value_and_derivative(self, m):
        return value_and_derivative(m)


class WithHessian(ValueOnly):
    asked = 0

    def hessian(self, m):
        return hessian(m)

    def preconditioner(self, m, free):
        self.asked += 1
        return lambda residual: np.where(free, residual / CURVATURES, 0.0)


def test_a_subclass_offers_what_it_has():
    with pytest.raises(OptimizerError, match=r"newton-cg needs hessian\(m\)"):
        minimize(ValueOnly(), np.zeros(3), optimizer="newton-cg")
    assert minimize(ValueOnly(), np.zeros(3)).status == "converged"
    objective = WithHessian()
    result = minimize(objective, np.zeros(3), optimizer="newton-cg")
    assert (result.status, result.cg_iterations) == ("converged", 1), "preconditioned by the Hessian"
    assert objective.asked > 0


@pytest.mark.parametrize("own", [True, False])
def test_the_preconditioner_is_that_of_the_objective_unless_another_is_given(own):
    asked = []

    def preconditioner(name):
        return lambda m, free: asked.append(name)

    objective = Objective(value_and_derivative, hessian, preconditioner=preconditioner("the objective's"))
    given = None if own else preconditioner("another")
    assert minimize(objective, np.zeros(3), optimizer="newton-cg", preconditioner=given).status == "converged"
    assert set(asked) == {"the objective's" if own else "another"}


def test_what_is_no_objective_is_refused():
    with pytest.raises(OptimizerError, match="the objective is a ndarray; expected a function m ↦"):
        minimize(np.zeros(3), np.zeros(3))
