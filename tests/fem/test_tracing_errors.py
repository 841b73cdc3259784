"""What JAX cannot trace is told in one message, with the user's own line, wherever the function was given."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import skfem

from pdeopt.cli import main
from pdeopt.fem import Dirichlet, FormError, FunctionSpace, bilinear_form, linear_form
from pdeopt.inverse import FullField, L2Misfit, ReducedFunctional, add_noise
from pdeopt.pde import LinearStateEquation

V = FunctionSpace(skfem.MeshTri().refined(1).with_defaults(), skfem.ElementTriP1())


@bilinear_form
def mass(u, v, w):
    return u * v


@linear_form
def load(v, w):
    return w["q"] * v


def asks_for_a_number(q):
    return q * float(q[0])


def asks_for_an_item(q):
    return q * q[0].item()


def decides(q):
    return q if q[0] > 0 else -q


def masks(q):
    return q.at[q > 0].set(1.0) * q[q > 0].sum()


def counts(q):
    return q * [1.0, 2.0][(q[0] > 0).astype(int)]


def computes_with_numpy(q):
    return np.tanh(q)


def computes_with_scipy(q):
    return scipy.special.erf(q)


def passes_it_to_the_library(q):
    return add_noise(q, 0.1, seed=0)[0]


WAYS = {
    asks_for_a_number: ("return q * float(q[0])", "leave that out"),
    asks_for_an_item: ("return q * q[0].item()", "leave that out"),
    decides: ("return q if q[0] > 0 else -q", "`if` on values by jnp.where"),
    masks: ("return q.at[q > 0]", "jnp.where(mask, a, b)"),
    counts: ("return q * [1.0, 2.0]", "index an array"),
    computes_with_numpy: ("return np.tanh(q)", "np.tanh(...) → jnp.tanh(...)"),
    computes_with_scipy: ("return scipy.special.erf(q)", "NumPy and SciPy cannot compute"),
    passes_it_to_the_library: ("return add_noise(q, 0.1, seed=0)[0]", "replace np. by jnp."),
}


def equation(system=lambda q: q, dirichlet=lambda q: q):
    A = mass.assemble(V)
    left = V.dofs("left")
    return LinearStateEquation(
        lambda q: (A, load.assemble(V, q=V.interpolate(system(q)))), lambda q: Dirichlet(V.n, left, dirichlet(q)[left])
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_in_a_state_equation_the_line_is_shown(way):
    J = ReducedFunctional(equation(way), L2Misfit.of(FullField(), np.zeros(V.n), 1.0))
    with pytest.raises(FormError) as raised:
        J(np.ones(V.n))
    line, advice = WAYS[way]
    message = str(raised.value)
    number = way.__code__.co_firstlineno + 1
    assert message.startswith(
        f"the state equation cannot be traced by JAX (test_tracing_errors.py, line {number}: {line}"
    )
    assert advice in message
    assert "assemble" not in message
    assert "w['m']" not in message


PLACES = {
    "the parametrization": lambda f: ReducedFunctional(lambda q: q, lambda u, q: jnp.sum(u), (), f),
    "the state equation": lambda f: ReducedFunctional(equation(dirichlet=f), lambda u, q: jnp.sum(u)),
    "the observation": lambda f: ReducedFunctional(lambda q: q, L2Misfit.of(lambda u, q: f(u), np.zeros(V.n), 1.0)),
    "the misfit": lambda f: ReducedFunctional(lambda q: q, lambda u, q: jnp.sum(f(u))),
    "the regularization term <lambda>": lambda f: ReducedFunctional(
        lambda q: q, lambda u, q: jnp.sum(u), lambda q: jnp.sum(f(q))
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", [asks_for_a_number, computes_with_numpy], ids=lambda way: way.__name__)
def test_every_function_that_is_traced_is_named(place, way):
    J = PLACES[place](way)
    with pytest.raises(FormError) as raised:
        J.value_and_derivative(np.ones(V.n))
    assert str(raised.value).startswith(f"{place} cannot be traced by JAX (test_tracing_errors.py, line ")
    assert WAYS[way][0] in str(raised.value)


def test_a_form_shows_its_own_line_and_function():
    @bilinear_form
    def wrong(u, v, w):
        return np.sqrt(w["k"]) * u * v

    with pytest.raises(FormError, match=r"form 'wrong' .*: return np.sqrt\(w\[\"k\"\]\) .*np.sqrt\(...\) → jnp.sqrt"):
        wrong.assemble(V, k=V.interpolate(np.ones(V.n)))


@pytest.mark.slow
def test_the_command_says_it_once(tmp_path, monkeypatch, capsys):
    from small_problem import SMALL

    text = SMALL.replace("source=V.interpolate(source))", "source=V.interpolate(source * float(source[0])))")
    (tmp_path / "small.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "./small.py", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.count("(small.py, line ") == 1
    assert "float(source[0])" in error
    assert "Traceback" not in error
