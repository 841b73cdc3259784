"""Linear states in time: orders of schemes, what is prescribed and read in time, derivatives, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, MeanValue, MultiPoint, bilinear_form, dot, grad
from pdeopt.pde import Evolution, Modulated, Sampled, TransientStateEquation, newmark, theta
from pdeopt.pde.transient.schemes import scheme_named
from pdeopt.sparse import Checkpoints, SolveError, diagonal_matrix, forward_steps, work


@functools.cache
def line():
    """A line with its mass and stiffness matrices and its lumped mass."""
    V = FunctionSpace(skfem.MeshLine().refined(3), skfem.ElementLineP1())
    M = bilinear_form(lambda u, v, w: u * v).assemble(V)
    K = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
    return V, M, K, diagonal_matrix(M @ jnp.ones(V.n))


def known_state(x):
    """a cos t + b sin 2t: a, b, and the weights of both with their first and second derivatives."""
    weights = (jnp.cos, lambda t: jnp.sin(2 * t))
    rates = (lambda t: -jnp.sin(t), lambda t: 2 * jnp.cos(2 * t))
    bends = (lambda t: -jnp.cos(t), lambda t: -4 * jnp.sin(2 * t))
    return (np.cos(x) + x, np.exp(x)), weights, rates, bends


def error(scheme, times, damped=False, sampled=False):
    """The largest error of a scheme for the load that makes the known state, prescribed at both ends."""
    V, M, K, lumped = line()
    vectors, weights, rates, bends = known_state(V.locations[0])
    D, is_wave = Dirichlet.on(V), scheme_named(scheme).is_second
    M = lumped if scheme in ("leapfrog", "explicit-euler") else M
    load = [Modulated(w, K @ v) for w, v in zip(weights, vectors, strict=True)]
    load += [Modulated(w, M @ v) for w, v in zip(bends if is_wave else rates, vectors, strict=True)]
    load += [Modulated(w, M @ v) for w, v in zip(rates, vectors, strict=True)] if damped else []
    exact = sum(v[:, None] * np.asarray(w(times)) for w, v in zip(weights, vectors, strict=True))
    pieces = [Modulated(w, v[D.dofs]) for w, v in zip(weights, vectors, strict=True)]
    evolution = Evolution(
        M, K, load, M if damped else None, initial=vectors[0], velocity=2 * vectors[1] if is_wave else None
    )
    boundary = Sampled(exact[D.dofs].T) if sampled else pieces
    state = TransientStateEquation(lambda _: evolution, times, scheme, D, lambda _: boundary)
    return float(np.abs(state(None) - exact).max())


@pytest.mark.parametrize(
    ("scheme", "order", "options"),
    [
        ("implicit-euler", 1, {}),
        (theta(0.7), 1, {}),
        ("crank-nicolson", 2, {}),
        ("bdf2", 2, {}),
        ("sdirk2", 2, {}),
        ("newmark", 2, {"damped": True}),
        ("newmark", 2, {"sampled": True}),
        (newmark(0.3, 0.6), 1, {}),
        ("leapfrog", 2, {}),
        ("leapfrog", 1, {"damped": True}),
    ],
    ids=str,
)
def test_schemes_have_their_orders(scheme, order, options):
    errors = [error(scheme, np.linspace(0, 0.5, count + 1), **options) for count in (80, 160)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(
    ("scheme", "order"), [("implicit-euler", 1), ("crank-nicolson", 2), ("bdf2", 2), ("sdirk2", 2)]
)
def test_schemes_keep_their_orders_with_unequal_steps(scheme, order):
    grids = [np.linspace(0, 0.5, count + 1) for count in (80, 160)]
    errors = [error(scheme, t + 0.5 * t * (0.5 - t)) for t in grids]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_explicit_euler_has_its_order_and_its_condition():
    errors = [error("explicit-euler", np.linspace(0, 0.5, count + 1)) for count in (200, 400)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.05)
    with pytest.raises(SolveError, match=r"time step 1 of 50 .*CFL"):
        error("explicit-euler", np.linspace(0, 0.5, 51))


def heat(checkpoints=None, times=None, scheme="crank-nicolson", **options):
    """κ = (diffusivity, size of the load, initial state) ↦ state; two experiments, and values prescribed in time."""
    V, M, K, _ = line()
    times = np.linspace(0, 0.4, 13) if times is None else times
    x, D = V.locations[0], Dirichlet.on(V, lambda x: x[0] < 0.1)
    loads = np.stack([np.exp(x), x**2], axis=1)
    return TransientStateEquation(
        lambda kappa: Evolution(
            M,
            kappa["k"] * K,
            [Modulated(lambda t: kappa["w"] * jnp.sin(t), M @ loads), Modulated(np.linspace(0, 1, len(times)), M @ x)],
            initial=kappa["start"],
        ),
        times,
        scheme,
        D,
        lambda kappa: Modulated(lambda t: jnp.cos(kappa["w"] * t), kappa["start"][D.dofs]),
        axes=("dof", "experiment", "time"),
        checkpoints=checkpoints,
        **options,
    )


def parameters():
    return {"k": jnp.array(0.8), "w": jnp.array(1.5), "start": jnp.array(np.cos(line()[0].locations[0]))}


def loss(state, kappa, **options):
    return jnp.sum(jnp.sin(3 * state.read(kappa, [0.05, 0.21, 0.4], np.array([3, 0, 5]), **options)))


@pytest.mark.parametrize("scheme", ["crank-nicolson", "sdirk2"])
def test_what_is_read_is_what_a_whole_trajectory_has(scheme):
    state, kappa = heat(scheme=scheme), parameters()
    u = np.asarray(state(kappa))
    assert u.shape == (line()[0].n, 2, 13)
    read = state.read(kappa, [0.4, 0.05, 0.0], np.array([3, 0, 5]))
    places = [3, 0, 5]
    part = 0.05 / 0.4 * 12 - 1
    between = (1 - part) * u[places, :, 1] + part * u[places, :, 2]
    np.testing.assert_allclose(read, np.stack([u[places, :, -1], between, u[places, :, 0]], axis=-1), atol=1e-14)
    kept = heat(scheme=scheme, kept=[0.4, 0.1])(kappa)
    np.testing.assert_allclose(kept, np.stack([u[..., -1], u[..., 3]], axis=-1), atol=1e-14)


@pytest.mark.slow
def test_derivatives_are_those_of_differences_and_of_every_choice_of_checkpoints():
    kappa = parameters()
    direction = jax.tree.map(lambda leaf: jnp.array(np.random.default_rng(1).standard_normal(leaf.shape)), kappa)

    def along(state):
        return lambda h: loss(state, jax.tree.map(lambda a, b: a + h * b, kappa, direction))

    f = along(heat())
    rate, bend = float(jax.grad(f)(0.0)), float(jax.jvp(jax.grad(f), (0.0,), (1.0,))[1])
    sizes = np.array([0.02, 0.01])
    values = np.array([float(f(h)) - float(f(0.0)) for h in sizes])
    for order, left in enumerate((values, values - rate * sizes, values - rate * sizes - 0.5 * bend * sizes**2), 1):
        assert np.log2(abs(left[0] / left[1])) == pytest.approx(order, abs=0.2)
    for checkpoints in (Checkpoints(2), Checkpoints(1, on_disk=2)):
        g = along(heat(checkpoints))
        assert float(jax.grad(g)(0.0)) == pytest.approx(rate, rel=1e-12)
        assert float(jax.jvp(jax.grad(g), (0.0,), (1.0,))[1]) == pytest.approx(bend, rel=1e-12)


def test_a_memory_limit_costs_the_steps_that_it_must():
    V = line()[0]
    state, before = heat(times=np.linspace(0, 0.4, 41)).with_memory(15 * 8 * 2 * (V.n - 1)), work.copy()
    jax.block_until_ready(jax.grad(lambda kappa: loss(state, kappa))(parameters()))
    assert work.since(before).time_steps == forward_steps(40, Checkpoints(3)) > 40


@pytest.mark.parametrize("scheme", ["bdf2", "sdirk2"])
def test_a_source_is_added_to_the_load_and_its_derivative_is_the_adjoint_state(scheme):
    V, M, K, _ = line()
    times, x = np.linspace(0, 0.3, 7), V.locations[0]
    rows = np.stack([M @ np.sin(k + 3 * x) for k in range(6)])

    def state(load):
        return TransientStateEquation(lambda _: Evolution(M, K, load, initial=x), times, scheme, Dirichlet.on(V))

    source = jnp.concatenate([jnp.zeros((V.n, 1)), jnp.array(rows.T)], axis=1)
    np.testing.assert_allclose(state(None)(None, source=source), state(Sampled(rows))(None), atol=1e-14)
    adjoint = jax.grad(lambda s: jnp.sum(state(None)(None, source=s)[4] ** 2))(source)
    assert adjoint.shape == source.shape
    assert not adjoint[:, 0].any()
    assert not adjoint[V.dofs()].any()


def test_periodic_ends_are_tied_at_all_times():
    mesh = skfem.MeshLine().refined(4)
    V = FunctionSpace(mesh, skfem.ElementLineP1())
    M = bilinear_form(lambda u, v, w: u * v).assemble(V)
    K = bilinear_form(lambda u, v, w: dot(grad(u), grad(v))).assemble(V)
    tied = MultiPoint.periodic(V, lambda x: x[0] < 1e-9, lambda x: x[0] > 1 - 1e-9)
    start = np.cos(2 * np.pi * V.locations[0] + 0.3)
    u = TransientStateEquation(lambda _: Evolution(M, K, initial=start), np.linspace(0, 0.02, 21), "sdirk2", tied)(None)
    assert np.ptp(np.asarray(u[V.dofs()]), axis=0).max() < 1e-15
    assert float(u[:, -1] @ start / (start @ start)) == pytest.approx(np.exp(-0.02 * 4 * np.pi**2), rel=0.02)


def evolution(**changes):
    _, M, K, _ = line()
    return lambda _: Evolution(**({"mass": M, "stiffness": K} | changes))


TIMES = np.linspace(0, 1, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransientStateEquation(evolution(), [0.0]), r"times have shape \(1,\)"),
        (lambda: TransientStateEquation(evolution(), [0, 0.1, np.nan]), "time number 3 is nan"),
        (lambda: TransientStateEquation(evolution(), [0, 0.2, 0.1]), "out of order: number 3 is 0.1, after 0.2"),
        (
            lambda: TransientStateEquation(evolution(), TIMES, "euler"),
            "scheme is 'euler'.*did you mean|expected one of",
        ),
        (lambda: TransientStateEquation(evolution(), TIMES, axes=("dof",)), "axes of a state in time"),
        (
            lambda: TransientStateEquation(evolution(), [0, 0.1, 0.3], "newmark"),
            "step 2 of 2 has size 0.2.*equal steps",
        ),
        (
            lambda: TransientStateEquation(evolution(), TIMES, kept=[1.1]),
            "number 1 is 1.1; expected times between 0 and 1",
        ),
        (
            lambda: TransientStateEquation(evolution(), TIMES).read(None, [0.5, 2.0]),
            "read at 2 times, of which number 2 is 2",
        ),
        (lambda: TransientStateEquation(lambda _: 1, TIMES)(None), "must return an Evolution"),
        (lambda: TransientStateEquation(evolution(damping=line()[1]), TIMES)(None), "first order in time"),
        (lambda: TransientStateEquation(evolution(load=np.ones(4)), TIMES)(None), r"the load has the shape \(4,\)"),
        (lambda: TransientStateEquation(evolution(initial=np.ones((9, 2))), TIMES)(None), r"have \[2\] columns"),
        (lambda: TransientStateEquation(evolution(load=Sampled(np.ones((3, 9)))), TIMES)(None), "3 values in time"),
        (
            lambda: TransientStateEquation(evolution(load=Modulated(lambda t: t[:2], np.ones(9))), TIMES)(None),
            "weight of the load returns",
        ),
        (
            lambda: TransientStateEquation(evolution(), TIMES, boundary=lambda _: np.ones(2))(None),
            "expected a Dirichlet condition that says where",
        ),
        (
            lambda: TransientStateEquation(evolution(), TIMES, dirichlet=MeanValue.of(line()[0]))(None),
            "is a MeanValue; expected a Dirichlet",
        ),
        (lambda: TransientStateEquation(evolution(stiffness=1.0), TIMES)(None), "expected a CSRMatrix"),
        (lambda: TransientStateEquation(evolution(), TIMES).with_memory(100.0)(None), "memory limit of 100 bytes"),
        (lambda: theta(1.5), "θ is 1.5"),
        (lambda: newmark(-1.0), "Newmark's β is -1"),
    ],
)
def test_input_that_means_nothing_is_refused(make, message):
    with pytest.raises(SolveError, match=message):
        make()
