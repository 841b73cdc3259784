"""Marches in time: values and derivatives of any order against dense loops, checkpoints, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from jax.flatten_util import ravel_pytree

from pdeopt.sparse import (
    Checkpoints,
    CSRMatrix,
    SolveError,
    diagonal_matrix,
    forward_steps,
    linear_march,
    state_memory,
    work,
)

N, COLUMNS, STEPS = 6, 2, 9
#: A first step of its own, and steps with three states; all three matrices at several lags.
KINDS = (((1.0, 0.3, 0.0), (-1.0, 0.2, 0.1), (0.0, 0.0, 0.05)), ((1.5, 0.2, 0.1), (-2.0, 0.0, 0.1), (0.5, 0.1, 0.0)))
KIND_OF = (0, *[1] * (STEPS - 1))


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


def matrices(rng, symmetric):
    found = []
    for density in (0.3, 0.4, 0.2):
        A = sp.random_array((N, N), density=density, rng=rng, format="csr") + 4 * sp.eye_array(N)
        found.append(CSRMatrix.from_scipy(sp.csr_array(A + A.T if symmetric else A)))
    return found


def numbers(rng, given):
    """Values of matrices, weights, vectors, loads, start."""
    shapes = (STEPS, 3), (3, N, COLUMNS), (STEPS, N, COLUMNS), (2, N, COLUMNS)
    return *(A.data for A in given), *(jnp.array(rng.standard_normal(shape)) for shape in shapes)


def with_values(given, theta):
    return [CSRMatrix(values, A.pattern) for values, A in zip(theta, given, strict=False)]


def march(given, theta, **options):
    weights, vectors, loads, start = theta[3:]
    return linear_march(
        with_values(given, theta), KINDS, KIND_OF, start, weights=weights, vectors=vectors, loads=loads, **options
    )


def dense_march(given, theta):
    """The same in a loop of dense solves, which JAX differentiates."""
    weights, vectors, loads, start = theta[3:]
    X = [jnp.zeros((N, N)).at[A.pattern.rows, A.pattern.indices].set(A.data) for A in with_values(given, theta)]
    u = [start[1], start[0]]
    for k in range(STEPS):
        a = KINDS[KIND_OF[k]]
        rhs = jnp.einsum("s,snr->nr", weights[k], vectors) + loads[k]
        rhs -= sum(sum(a[lag][m] * X[m] for m in range(3)) @ u[-lag] for lag in (1, 2))
        u.append(jnp.linalg.solve(sum(a[0][m] * X[m] for m in range(3)), rhs))
    return jnp.stack(u[2:])


def directions(rng, theta, count=2):
    return [jax.tree.map(lambda leaf: jnp.array(rng.standard_normal(leaf.shape)), theta) for _ in range(count)]


def assert_close(found, expected, rel=1e-12):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=rel * np.abs(other).max())


@pytest.mark.parametrize("symmetric", [True, False])
def test_states_are_those_of_a_loop(rng, symmetric):
    given = matrices(rng, symmetric)
    theta = numbers(rng, given)
    expected = dense_march(given, theta)
    assert_close(march(given, theta), expected)
    some = march(given, theta, dofs=[3, 1], steps=[0, 2, 5])
    assert_close(some[1:], expected[jnp.array([1, 4])][:, jnp.array([3, 1])])
    assert_close(some[0], theta[-1][0][jnp.array([3, 1])])
    one = (*theta[:4], theta[4][..., :1], theta[5][..., :1], theta[6][..., :1])
    assert_close(march(given, one)[..., 0], expected[..., 0])


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    "checkpoints", [None, Checkpoints(2), Checkpoints(3, schedule="mixed"), Checkpoints(1, on_disk=1)], ids=str
)
def test_derivatives_of_all_orders_are_those_of_a_loop(rng, symmetric, checkpoints):
    given = matrices(rng, symmetric)
    theta = numbers(rng, given)
    w = jnp.array(rng.standard_normal((STEPS, N, COLUMNS)))
    one, two = directions(rng, theta)

    def ours(theta):
        return jnp.sum(w * march(given, theta, checkpoints=checkpoints) ** 2)

    def theirs(theta):
        return jnp.sum(w * dense_march(given, theta) ** 2)

    def second(f):
        return lambda theta: jax.jvp(jax.grad(f), (theta,), (one,))[1]

    def third(f):
        return lambda theta: jax.jvp(second(f), (theta,), (two,))[1]

    def reverse_over_reverse(f):
        return jax.grad(lambda theta: sum(map(jnp.vdot, jax.grad(f)(theta), one)))

    assert_close(jax.grad(ours)(theta), jax.grad(theirs)(theta))
    assert_close(jax.jvp(ours, (theta,), (one,)), jax.jvp(theirs, (theta,), (one,)))
    assert_close(second(ours)(theta), second(theirs)(theta))
    assert_close(jax.linearize(jax.grad(ours), theta)[1](one), second(theirs)(theta))
    assert_close(third(ours)(theta), third(theirs)(theta))
    assert_close(reverse_over_reverse(ours)(theta), second(theirs)(theta))


def test_tangent_and_adjoint_are_transposed(rng):
    given = matrices(rng, symmetric=False)
    theta = numbers(rng, given)
    (direction,) = directions(rng, theta, 1)
    options = {"dofs": [4, 0], "steps": [1, 3, 9], "checkpoints": Checkpoints(2)}
    read, tangent = jax.jvp(lambda theta: march(given, theta, **options), (theta,), (direction,))
    w = jnp.array(rng.standard_normal(read.shape))
    (adjoint,) = jax.vjp(lambda theta: march(given, theta, **options), theta)[1](w)
    both = float(jnp.vdot(w, tangent)), float(sum(map(jnp.vdot, adjoint, direction)))
    assert both[0] == pytest.approx(both[1], rel=1e-12)


def test_compiled_and_batched_calls_agree(rng):
    given = matrices(rng, symmetric=False)
    theta = numbers(rng, given)

    def value(theta):
        return jnp.sum(march(given, theta) ** 3)

    assert_close(jax.jit(jax.grad(value))(theta), jax.grad(value)(theta))
    scales = jnp.array([1.0, 1.2])
    batch = jax.vmap(jax.grad(lambda s: value((s * theta[0], *theta[1:]))))(scales)
    assert_close(batch, jnp.stack([jax.grad(lambda s: value((s * theta[0], *theta[1:])))(s) for s in scales]))


def decay(count=40, n=30):
    """The value of κ ↦ Σ u² of a diffusion in so many steps, for some checkpoints."""
    K = CSRMatrix.from_scipy(sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr())
    M, start = diagonal_matrix(np.ones(n)), np.sin(np.linspace(0, 3, n))[None]

    def value(kappa, checkpoints=None):
        u = linear_march([M, kappa * K], [((1.0, 0.1), (-1.0, 0.0))], [0] * count, start, checkpoints=checkpoints)
        return jnp.sum(u[-1] ** 2) + jnp.sum(u[::7] ** 3)

    return value


@pytest.mark.parametrize("schedule", ["revolve", "mixed"])
def test_checkpoints_change_steps_and_memory_and_no_gradient(schedule):
    value, checkpoints = decay(), Checkpoints(4, schedule=schedule)
    state_memory.peak, before = 0, work.copy()
    everything = float(jax.grad(value)(1.3))
    whole, spent = state_memory.peak, work.since(before)
    assert (spent.time_steps, spent.adjoint_time_steps) == (40, 40)
    state_memory.peak, before = 0, work.copy()
    some = float(jax.grad(value)(1.3, checkpoints))
    spent = work.since(before)
    assert some == pytest.approx(everything, rel=1e-12)
    assert (spent.time_steps, spent.adjoint_time_steps) == (forward_steps(40, checkpoints), 40)
    assert spent.factorizations <= 1
    assert state_memory.peak < whole / 4


def test_a_thousand_steps_with_ten_snapshots_run_as_many_as_the_literature_says():
    assert forward_steps(1000, Checkpoints(10)) == 4636
    assert forward_steps(1000, Checkpoints(4, on_disk=6)) == 4636
    assert forward_steps(1000, Checkpoints()) == 1000


@pytest.mark.slow
def test_the_mixed_schedule_runs_fewer():
    assert forward_steps(1000, Checkpoints(10, schedule="mixed")) == 3921


def test_a_changed_number_is_never_replayed_with_its_old_value():
    value = decay()
    for checkpoints in (None, Checkpoints(3)):
        _, first = jax.vjp(lambda kappa, c=checkpoints: value(kappa, c), 1.3)
        others = [jax.grad(value)(kappa, checkpoints) for kappa in (0.7, 0.9, 1.1, 2.0)]  # what is kept is displaced
        assert float(first(1.0)[0]) == pytest.approx(float(jax.grad(value)(1.3)), rel=1e-12)
        assert len({float(one) for one in others}) == 4


def test_a_matrix_that_does_not_change_is_factored_once_and_its_adjoint_needs_no_states():
    before, state_memory.peak = work.copy(), 0
    K = CSRMatrix.from_scipy(sp.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(30, 30)).tocsr())
    M = diagonal_matrix(np.ones(30))

    def of_load(weights):
        u = linear_march(
            [M, K], [((1.0, 0.1), (-1.0, 0.0))], [0] * 40, np.zeros((1, 30)), weights=weights, vectors=np.ones((1, 30))
        )
        return jnp.sum(u**2)

    jax.block_until_ready(jax.grad(of_load)(jnp.ones((40, 1))))
    spent = work.since(before)
    assert (spent.factorizations, spent.solves, spent.adjoint_solves) == (1, 40, 40)
    assert state_memory.peak <= 3 * 8 * 30


def test_what_is_linear_in_its_loads_has_products_of_a_tangent_and_an_adjoint_alone(rng):
    M, K = diagonal_matrix(np.ones(8)), CSRMatrix.from_scipy(sp.eye_array(8, format="csr") * 2.0 + sp.eye_array(8, k=1))

    def value(loads):
        u = linear_march([M, K], [((1.0, 0.1), (-1.0, 0.0))], [0] * 5, np.zeros((1, 8)), loads=loads)
        return jnp.sum(u**2)

    loads, direction = rng.standard_normal((2, 5, 8))
    product = jax.linearize(jax.grad(value), loads)[1]
    before = work.copy()
    found = jax.block_until_ready(product(direction))
    spent = work.since(before)
    assert (spent.time_steps, spent.adjoint_time_steps) == (5, 5)
    np.testing.assert_allclose(found, jax.grad(value)(direction), rtol=1e-12)


def test_taylor_orders(rng):
    given = matrices(rng, symmetric=False)
    theta = numbers(rng, given)
    flat, unflat = ravel_pytree(theta)

    def value(m):
        return jnp.sum(jnp.sin(march(given, unflat(m))))

    direction = rng.standard_normal(flat.shape)
    gradient, hessian = jax.grad(value)(flat), jax.jvp(jax.grad(value), (flat,), (jnp.array(direction),))[1]
    sizes = np.array([0.02, 0.01, 0.005])
    known = [0.0, float(gradient @ direction), 0.5 * float(hessian @ direction)]
    values = np.array([float(value(flat + h * direction)) - float(value(flat)) for h in sizes])
    for order in (1, 2, 3):
        left = np.abs(values - sum(known[j] * sizes**j for j in range(order)))
        assert np.log2(left[:-1] / left[1:]) == pytest.approx(order, abs=0.15)


def test_an_explicit_scheme_is_refused_beyond_the_cfl_condition():
    n, h = 40, 1 / 40
    K = CSRMatrix.from_scipy(sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsr() / h)
    M = diagonal_matrix(np.full(n, h))

    def end(dt):
        kind = ((1.0, 0.0), (-2.0, dt**2), (1.0, 0.0))
        start = np.zeros((2, n))
        start[:, n // 2] = 1.0
        return linear_march([M, K], [kind], [0] * 400, start, times=dt * np.arange(1, 401))

    def damped(dt):
        """With Δt C, C = 0.2 M / Δt: stable where Δt² λ + 2 · 0.2 ≤ 4, Δt ≤ 0.95 h."""
        kind = ((1.0, 0.0), (-2.0 + 0.2, dt**2), (1.0 - 0.2, 0.0))
        return linear_march([M, K], [kind], [0] * 400, np.eye(1, n).repeat(2, axis=0), times=dt * np.arange(1, 401))

    assert np.abs(end(0.99 * h)).max() < 100
    assert np.abs(damped(0.9 * h)).max() < 100
    with pytest.raises(SolveError, match="CFL"):
        damped(1.5 * h)
    with pytest.raises(SolveError, match=r"time step 1 of 400 has size 0\.02525.*stable up to about 0\.0250.*CFL"):
        end(1.01 * h)


def test_a_state_that_is_not_finite_is_told_with_its_step():
    one = CSRMatrix.from_scipy(sp.csr_array([[1.0]]))
    with pytest.raises(SolveError, match=r"after time step .* of 2000 .*not finite"):
        linear_march([one], [((1.0,), (-2.0,))], [0] * 2000, [[1.0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": np.zeros(3)}, r"start of a march has shape \(3,\)"),
        ({"start": np.zeros((2, 1))}, r"start \(2, 1\); expected"),
        ({"weights": np.ones((3, 1))}, r"weights have shape \(3, 1\)"),
        ({"loads": np.ones((4, 1))}, r"loads have shape \(4, 1, 1\)"),
        ({"start": np.ones((1, 1)) * 1j}, "is complex"),
        ({"steps": [5]}, r"steps that are read are \(5,\)"),
        ({"steps": [2, 1]}, "increasing"),
        ({"kinds": [((1.0,), (-1.0,), (0.0,)), ((1.0,), (-1.0,))]}, "kind of steps has the numbers"),
        ({"matrices": [diagonal_matrix(np.array([0.0]))]}, "has 1 zeros"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    given = {
        "matrices": [diagonal_matrix(np.ones(1))],
        "kinds": [((1.0,), (-1.0,))],
        "kind_of": [0, 0],
        "start": np.zeros((1, 1)),
    }
    with pytest.raises(SolveError, match=message):
        linear_march(**(given | changes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"snapshots": 0}, "expected at least one"),
        ({"snapshots": 2, "schedule": "best"}, "schedule is 'best'"),
        ({"snapshots": 2, "on_disk": 1, "schedule": "mixed"}, "mixed schedule keeps"),
    ],
)
def test_checkpoints_that_are_none_are_refused(options, message):
    with pytest.raises(SolveError, match=message):
        Checkpoints(**options)


def test_a_memory_limit_chooses_the_snapshots():
    assert Checkpoints.within(1e6, 100, 8000) == Checkpoints()
    assert Checkpoints.within(2e5, 100, 8000) == Checkpoints(13)
    with pytest.raises(SolveError, match=r"holds 12 states of 8000 bytes; expected at least 1\.04e"):
        Checkpoints.within(1e5, 100, 8000)
