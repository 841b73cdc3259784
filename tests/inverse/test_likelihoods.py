"""Misfits of noise that is correlated, heavy-tailed, counted, or of unknown level: densities, derivatives, means."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.sparse as sp
import scipy.stats

from pdeopt.inverse import (
    CorrelatedMisfit,
    EstimatedScale,
    FullField,
    HuberMisfit,
    InputError,
    L2Misfit,
    PoissonMisfit,
    ReducedFunctional,
    StudentMisfit,
)
from pdeopt.optimize import minimize
from pdeopt.verify import adjoint_identity, taylor_test

N = 8
rng = np.random.default_rng(5)
MIXING = rng.standard_normal((N, N)) / 3
DATA = rng.standard_normal(N)
COMPLEX = DATA + 1j * rng.standard_normal(N)
SIGMA = 0.3 + rng.random(N)
ROOT = rng.standard_normal((N, N))
DENSE = ROOT @ ROOT.T + np.eye(N)
BAND = sp.diags_array([0.4, 1.0, 0.4], offsets=[-1, 0, 1], shape=(N, N)).tocsr()
COUNTS = np.array([0.0, 1, 3, 0, 12, 7, 2, 150])
SEEN = FullField()

REAL = {
    "correlated, dense": lambda: CorrelatedMisfit.of(SEEN, DATA, DENSE),
    "correlated, sparse": lambda: CorrelatedMisfit.of(SEEN, DATA, BAND),
    "whitened, dense": lambda: CorrelatedMisfit.whitened(SEEN, DATA, ROOT[:5]),
    "whitened, sparse": lambda: CorrelatedMisfit.whitened(SEEN, DATA, BAND),
    "Huber": lambda: HuberMisfit.of(SEEN, DATA, SIGMA, 1.1),
    "Student": lambda: StudentMisfit.of(SEEN, DATA, SIGMA, 3),
}
OF_COMPLEX_DATA = {
    "correlated, complex": lambda: CorrelatedMisfit.of(SEEN, COMPLEX, DENSE),
    "correlated, sparse, complex": lambda: CorrelatedMisfit.of(SEEN, COMPLEX, BAND),
    "Huber, complex": lambda: HuberMisfit.of(SEEN, COMPLEX, SIGMA, 1.1),
    "Student, complex": lambda: StudentMisfit.of(SEEN, COMPLEX, SIGMA, 3),
}
POSITIVE = {"Poisson": lambda: PoissonMisfit.of(SEEN, COUNTS)}
MISFITS = REAL | OF_COMPLEX_DATA | POSITIVE
QUADRATIC = [name for name in MISFITS if "correlated" in name or "whitened" in name]
every = pytest.mark.parametrize("name", MISFITS)


def state(name, linear=False):
    """A state of m whose values any of the misfits takes."""
    bend = (lambda x: x) if linear else (lambda x: x + 0.3 * jnp.sin(2 * x))
    if name in OF_COMPLEX_DATA:
        return lambda m: bend(MIXING @ m) + 1j * bend(MIXING.T @ m)
    return lambda m: jnp.exp(bend(MIXING @ m)) if name in POSITIVE else bend(MIXING @ m)


@cache
def functional(name, linear=False):
    return ReducedFunctional(state(name, linear), MISFITS[name]())


def hessian_matrix(action):
    return action(np.eye(N))


# --- derivatives ---------------------------------------------------------------------------------------------------


def assert_taylor(J, m, direction):
    test = taylor_test(J, J.derivative(m), m, direction, hessian_action=J.hessian_action(m, direction))
    assert test.passed, test
    assert set(test.orders) == {1, 2, 3}


@every
def test_derivatives_of_first_and_second_order(name):
    J, m, direction = functional(name), *rng.standard_normal((2, N))
    assert_taylor(J, 0.5 * m, 0.3 * direction)


@every
def test_the_adjoint_of_the_prediction_and_the_symmetry_of_the_hessian(name):
    J, (m, v, w) = functional(name), rng.standard_normal((3, N))
    cotangent = w + 1j * v if name in OF_COMPLEX_DATA else w
    gap = adjoint_identity(lambda v: J.prediction_tangent(m, v), lambda w: J.prediction_adjoint(m, w), v, cotangent)
    assert gap < 1e-12
    assert adjoint_identity(J.hessian(m), J.hessian(m), v, w) < 1e-11


@every
def test_a_gauss_newton_matrix_is_positive_semidefinite_and_exact_for_a_quadratic_misfit(name):
    J, m = functional(name, linear=True), 2 * rng.standard_normal(N)
    model, exact = hessian_matrix(J.gauss_newton(m)), hessian_matrix(J.hessian(m))
    np.testing.assert_allclose(model, model.T, atol=1e-12 * np.abs(model).max())
    assert np.linalg.eigvalsh(model).min() > -1e-12 * np.abs(model).max()
    if name in QUADRATIC:
        np.testing.assert_allclose(model, exact, atol=1e-12 * np.abs(exact).max())


@pytest.mark.parametrize("name", ["Huber", "Student", "Huber, complex", "Student, complex"])
def test_the_model_of_a_robust_misfit_reweights_the_squares_and_lies_above_it(name):
    J, m = functional(name, linear=True), 2 * rng.standard_normal(N)
    misfit = J.misfit
    residual = (np.asarray(J.prediction(m)) - misfit.data) / SIGMA
    t, p = np.abs(residual), 1 + np.iscomplexobj(residual)
    assert (t > 1.1).any(), "some data are far off"
    weight = np.minimum(1, 1.1 / t) if isinstance(misfit, HuberMisfit) else (3 + p) / (3 + t**2)
    scaled = np.sqrt(weight) / SIGMA
    rows = [scaled[:, None] * MIXING] + [scaled[:, None] * MIXING.T] * (p - 1)
    np.testing.assert_allclose(hessian_matrix(J.gauss_newton(m)), sum(a.T @ a for a in rows), atol=1e-12)
    gap = hessian_matrix(J.gauss_newton(m)) - hessian_matrix(J.hessian(m))
    assert np.linalg.eigvalsh(gap).min() > -1e-12
    if name != "Huber, complex":  # which is curved across a residual, however large that is
        assert np.linalg.eigvalsh(hessian_matrix(J.hessian(m))).min() < 1e-12, "without weights it is not definite"


@pytest.mark.parametrize("name", ["Huber", "Student"])
def test_a_full_gauss_newton_step_lowers_a_robust_misfit_from_far_away(name):
    J, m = functional(name, linear=True), 30 * rng.standard_normal(N)
    step = -np.linalg.solve(hessian_matrix(J.gauss_newton(m)), J.derivative(m))
    assert J(m + step) < J(m)


# --- densities -----------------------------------------------------------------------------------------------------


def value(misfit, predicted):
    found = float(misfit(jnp.asarray(predicted), None))
    assert found == pytest.approx(float(misfit.distance(jnp.asarray(predicted))), rel=1e-14)
    return found


@every
def test_a_misfit_is_zero_at_the_data_alone(name):
    misfit = MISFITS[name]()
    assert abs(value(misfit, misfit.data)) < 1e-12
    assert value(misfit, 1.5 * misfit.data + 0.2) > 0


@pytest.mark.parametrize("covariance", [DENSE, BAND], ids=["dense", "sparse"])
@pytest.mark.parametrize("shape", [(N,), (4, 2)])
def test_a_correlated_misfit_is_the_normal_density(covariance, shape):
    misfit = CorrelatedMisfit.of(SEEN, DATA.reshape(shape), covariance)
    full = covariance.toarray() if sp.issparse(covariance) else covariance
    density = scipy.stats.multivariate_normal(DATA, full)
    predicted = rng.standard_normal(N)
    expected = density.logpdf(DATA) - density.logpdf(predicted)
    assert value(misfit, predicted.reshape(shape)) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(misfit.noise, np.sqrt(full.diagonal()).reshape(shape))
    assert misfit.expected == N / 2


def test_a_diagonal_covariance_is_independent_noise():
    predicted = rng.standard_normal(N)
    plain = value(L2Misfit.of(SEEN, COMPLEX, SIGMA), predicted + 0j)
    for covariance in (np.diag(SIGMA**2), sp.diags_array(SIGMA**2)):
        misfit = CorrelatedMisfit.of(SEEN, COMPLEX, covariance)
        assert value(misfit, predicted + 0j) == pytest.approx(plain, rel=1e-13)
        assert misfit.expected == N


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_a_whitening_matrix_stands_for_the_inverse_root_of_the_covariance(make):
    W = np.linalg.inv(np.linalg.cholesky(DENSE))
    predicted = rng.standard_normal(N)
    whitened = CorrelatedMisfit.whitened(SEEN, DATA, make(W))
    assert value(whitened, predicted) == pytest.approx(value(REAL["correlated, dense"](), predicted), rel=1e-12)
    assert CorrelatedMisfit.whitened(SEEN, DATA, make(W[:3])).expected == 1.5


def test_students_misfit_is_students_density():
    misfit, predicted = REAL["Student"](), 5 * rng.standard_normal(N)
    density = scipy.stats.t(3, scale=SIGMA)
    expected = (density.logpdf(0) - density.logpdf(predicted - DATA)).sum()
    assert value(misfit, predicted) == pytest.approx(expected, rel=1e-13)


def test_of_complex_data_it_is_the_bivariate_density():
    misfit, predicted = StudentMisfit.of(SEEN, COMPLEX, 0.7, 3), COMPLEX + 2 * rng.standard_normal(N) - 1j
    density = scipy.stats.multivariate_t(np.zeros(2), 0.49 * np.eye(2), df=3)
    parts = np.stack([(predicted - COMPLEX).real, (predicted - COMPLEX).imag], axis=-1)
    expected = (density.logpdf([0, 0]) - density.logpdf(parts)).sum()
    assert value(misfit, predicted) == pytest.approx(expected, rel=1e-12)


def test_hubers_misfit_is_the_square_inside_and_linear_outside():
    misfit = HuberMisfit.of(SEEN, np.zeros(3), 2.0, threshold=1.5)
    assert value(misfit, [1.0, 0, 0]) == pytest.approx(0.5 * 0.5**2)
    assert value(misfit, [0, -8.0, 0]) == pytest.approx(1.5 * 4 - 0.5 * 1.5**2)
    on_the_edge = [float(HuberMisfit.of(SEEN, [0.0], 1.0, 1.5)(jnp.array([t]), None)) for t in (1.5, 1.5 + 1e-9)]
    assert on_the_edge[0] == pytest.approx(on_the_edge[1], abs=1e-8)
    of_complex = HuberMisfit.of(SEEN, [0j], 1.0, threshold=1.5)
    assert value(of_complex, [3 + 4j]) == pytest.approx(1.5 * 5 - 0.5 * 1.5**2), "the modulus counts"
    wide = HuberMisfit.of(SEEN, DATA, SIGMA, threshold=1e3)
    assert value(wide, 2 * DATA) == pytest.approx(value(L2Misfit.of(SEEN, DATA, SIGMA), 2 * DATA))


def test_a_poisson_misfit_is_the_density_relative_to_the_best_prediction():
    misfit, predicted = POSITIVE["Poisson"](), rng.random(N) * 10 + 0.1
    best = scipy.stats.poisson.logpmf(COUNTS, COUNTS)
    expected = (best - scipy.stats.poisson.logpmf(COUNTS, predicted)).sum()
    assert value(misfit, predicted) == pytest.approx(expected, rel=1e-12)


# --- what noise alone gives ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.3, 1.345, 4.0])
@pytest.mark.parametrize("data", [DATA, COMPLEX], ids=["real", "complex"])
def test_the_expected_misfit_of_huber_is_that_of_its_density(data, threshold):
    misfit = HuberMisfit.of(SEEN, data, SIGMA, threshold)

    def rho(t):
        return 0.5 * t**2 if t <= threshold else threshold * t - 0.5 * threshold**2

    def integral(f):
        weighted = lambda t: f(t) * np.exp(-rho(t)) * t ** np.iscomplexobj(data)  # noqa: E731
        inside, outside = (scipy.integrate.quad(weighted, *e)[0] for e in ((0, threshold), (threshold, np.inf)))
        return inside + outside

    mean, mass = integral(rho), integral(lambda t: 1)
    assert misfit.expected == pytest.approx(N * mean / mass, rel=1e-8)


@pytest.mark.parametrize("nu", [0.8, 3, 40])
@pytest.mark.parametrize("data", [DATA, COMPLEX], ids=["real", "complex"])
def test_the_expected_misfit_of_student_is_that_of_its_density(data, nu):
    misfit, p = StudentMisfit.of(SEEN, data, SIGMA, nu), 1 + np.iscomplexobj(data)

    def loss(t):
        return 0.5 * (nu + p) * np.log1p(t**2 / nu)

    def integral(f):
        weighted = lambda s: f(np.exp(s)) * np.exp(p * s - loss(np.exp(s)))  # noqa: E731
        return scipy.integrate.quad(weighted, -40, 60, limit=400)[0]

    mean, mass = integral(loss), integral(lambda t: 1)
    assert misfit.expected == pytest.approx(N * mean / mass, rel=1e-6)


def test_many_degrees_of_freedom_or_a_far_threshold_are_gaussian_noise():
    assert StudentMisfit.of(SEEN, DATA, SIGMA, 1e7).expected == pytest.approx(N / 2, rel=1e-6)
    assert HuberMisfit.of(SEEN, COMPLEX, SIGMA, 12.0).expected == pytest.approx(N, rel=1e-6)


@pytest.mark.parametrize("mean", [0.1, 1.0, 7.0, 49.0, 51.0, 400.0])
def test_the_expected_misfit_of_counts_is_that_of_their_density(mean):
    n = np.arange(3000)
    half_deviance = mean - n + scipy.special.xlogy(n, n / mean)
    exact = (scipy.stats.poisson.pmf(n, mean) * half_deviance).sum()
    assert PoissonMisfit.of(SEEN, np.zeros(6), mean).expected == pytest.approx(6 * exact, rel=2e-7)


@pytest.mark.parametrize(("mean", "error"), [(0.5, 0.06), (1.0, 0.06), (5.0, 0.01), (30.0, 0.01)])
def test_counts_alone_tell_what_is_expected_on_average(mean, error):
    counts = rng.poisson(mean, 40_000).astype(float)
    known = PoissonMisfit.of(SEEN, counts, mean).expected
    assert PoissonMisfit.of(SEEN, counts).expected == pytest.approx(known, rel=error + 0.005)


# --- outside of the domain -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("predicted", "found"), [(0.0, 0.0), (-1e-9, np.inf)])
def test_where_nothing_was_counted_nothing_may_be_predicted_but_nothing_negative(predicted, found):
    assert value(PoissonMisfit.of(SEEN, [0.0]), [predicted]) == found
    assert value(PoissonMisfit.of(SEEN, [1.0]), [predicted]) == np.inf


@pytest.mark.parametrize("optimizer", ["newton-cg", "gauss-newton", "l-bfgs-b"])
def test_minimizers_step_back_from_negative_mean_counts(optimizer):
    """The state is m itself, which a step of Newton's method from 40 takes below zero."""
    counts = np.array([1.0, 2.0, 5.0])
    J = ReducedFunctional(lambda m: m, PoissonMisfit.of(SEEN, counts))
    tried = []

    class Watched(ReducedFunctional):
        def evaluate(self, m):
            tried.append(m.min())
            return super().evaluate(m)

    watched = Watched(J.state, J.misfit)
    found = minimize(watched, np.full(3, 40.0), optimizer=optimizer, gradient_tolerance=1e-8)
    assert found.status == "converged", found.message
    np.testing.assert_allclose(found.m, counts, rtol=1e-5)
    assert min(tried) < 0


# --- a scale that is estimated -------------------------------------------------------------------------------------


class WithScale:
    """The parametrization of a coefficient m (N,) and a noise scale, whose logarithm is the last entry of m."""

    def __call__(self, m):
        return {"source": m[:-1], "scale": jnp.exp(m[-1])}

    def inverse(self, coefficient):
        return np.append(coefficient["source"], np.log(coefficient["scale"]))


BASES = {
    "independent": lambda: L2Misfit.of(SEEN, DATA, SIGMA),
    "complex": lambda: L2Misfit.of(SEEN, COMPLEX, SIGMA),
    "correlated": lambda: CorrelatedMisfit.of(SEEN, DATA, DENSE),
}


@cache
def with_scale(base):
    maps = (lambda x: x + 1j * x**2) if base == "complex" else (lambda x: x + 0.2 * x**2)
    misfit = EstimatedScale(BASES[base](), "scale")
    return ReducedFunctional(lambda c: maps(MIXING @ c["source"]), misfit, (), WithScale())


@pytest.mark.parametrize("base", BASES)
def test_derivatives_with_respect_to_coefficient_and_scale(base):
    J, (m, direction, w) = with_scale(base), rng.standard_normal((3, N + 1))
    assert_taylor(J, 0.5 * m, 0.3 * direction)
    assert adjoint_identity(J.hessian(m), J.hessian(m), direction, w) < 1e-11
    cotangent = w[:N] + 1j * m[:N] if base == "complex" else w[:N]
    gap = adjoint_identity(
        lambda v: J.prediction_tangent(m, v), lambda w: J.prediction_adjoint(m, w), direction, cotangent
    )
    assert gap < 1e-12


def test_an_estimated_scale_is_the_normal_density():
    misfit, predicted, s = EstimatedScale(BASES["correlated"](), "s"), rng.standard_normal(N), 1.7
    density, unit = (scipy.stats.multivariate_normal(DATA, one * DENSE) for one in (s**2, 1.0))
    expected = unit.logpdf(DATA) - density.logpdf(predicted)
    assert float(misfit(jnp.asarray(predicted), {"s": jnp.array([s])})) == pytest.approx(expected, rel=1e-12)
    assert misfit.expected is None
    np.testing.assert_array_equal(misfit.noise, misfit.misfit.noise)


@pytest.mark.parametrize("base", BASES)
def test_the_best_scale_of_given_residuals(base):
    misfit = EstimatedScale(BASES[base](), "s")
    predicted = jnp.zeros(N) + (0j if base == "complex" else 0.0)
    phi, numbers = float(misfit.misfit(predicted, None)), N * (2 if base == "complex" else 1)
    best = np.sqrt(2 * phi / numbers)
    assert abs(float(jax.grad(lambda s: misfit(predicted, {"s": s}))(best))) < 1e-12 * numbers


@pytest.mark.parametrize("optimizer", ["newton-cg", "gauss-newton", "l-bfgs-b"])
def test_a_scale_is_found_together_with_the_coefficient(optimizer):
    """Many data of few unknowns, with five times the noise that was assumed."""
    design = rng.standard_normal((400, 3))
    truth = np.array([1.0, -2.0, 0.5])
    data = design @ truth + 0.5 * rng.standard_normal(400)
    misfit = EstimatedScale(L2Misfit.of(SEEN, data, 0.1), "scale")
    J = ReducedFunctional(lambda c: design @ c["source"], misfit, (), WithScale())
    found = minimize(J, np.zeros(4), optimizer=optimizer, gradient_tolerance=1e-8)
    assert found.status == "converged", found.message
    least_squares = np.linalg.lstsq(design, data, rcond=None)[0]
    np.testing.assert_allclose(found.m[:3], least_squares, atol=1e-6)
    assert np.exp(found.m[3]) == pytest.approx(np.std(design @ least_squares - data) / 0.1, rel=1e-3)


def test_a_scale_that_is_not_positive_is_stepped_back_from():
    misfit = EstimatedScale(BASES["independent"](), "s")
    for s in (0.0, -1.0):
        at, slope = jax.value_and_grad(lambda s: misfit(jnp.zeros(N), {"s": s}))(s)
        assert at == np.inf
        assert slope == 0


# --- what is refused -----------------------------------------------------------------------------------------------

NOT_SYMMETRIC = DENSE + np.triu(np.ones((N, N)), 1)
REFUSED = {
    "covariance of another size": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, np.eye(3)),
        r"the covariance has shape \(3, 3\); expected 8 columns, one for each of 8 data",
    ),
    "covariance that is not square": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, ROOT[:5]),
        r"the covariance has shape \(5, 8\); expected \(8, 8\)",
    ),
    "variances in place of a covariance": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, SIGMA**2),
        r"the covariance has shape \(8,\)",
    ),
    "covariance that is not symmetric": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, NOT_SYMMETRIC),
        r"not symmetric: \|C − Cᵀ\| is up to 1; expected 0",
    ),
    "sparse covariance that is not symmetric": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, sp.csr_array(NOT_SYMMETRIC)),
        r"not symmetric: \|C − Cᵀ\| is up to 1; expected 0",
    ),
    "indefinite covariance": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, DENSE - 5 * np.eye(N)),
        "the covariance is not positive definite .* add the variance of each datum's own noise to its diagonal",
    ),
    "sparse indefinite covariance": (
        lambda: CorrelatedMisfit.of(SEEN, DATA, BAND - 0.5 * sp.eye_array(N)),
        "the covariance is not positive definite .* add the variance of each datum's own noise to its diagonal",
    ),
    "complex covariance": (
        lambda: CorrelatedMisfit.of(SEEN, COMPLEX, DENSE + 0j),
        "the covariance is complex; expected a real one, of complex data that of the real and of the imaginary part",
    ),
    "whitening with too many rows": (
        lambda: CorrelatedMisfit.whitened(SEEN, DATA, np.vstack([ROOT, ROOT])),
        r"the whitening matrix has shape \(16, 8\); expected at most 8 rows",
    ),
    "whitening with a hole": (
        lambda: CorrelatedMisfit.whitened(SEEN, DATA, np.full((N, N), np.nan)),
        "the whitening matrix has entries that are NaN or infinite",
    ),
    "no threshold": (lambda: HuberMisfit.of(SEEN, DATA, SIGMA, 0.0), "the threshold of Huber's misfit is 0.0"),
    "negative degrees of freedom": (
        lambda: StudentMisfit.of(SEEN, DATA, SIGMA, -1),
        "the degrees of freedom of Student's t are -1; expected a number > 0, as 4; for Gaussian noise use L2Misfit",
    ),
    "noise of another shape": (lambda: StudentMisfit.of(SEEN, DATA, SIGMA[:3], 3), "the noise level has shape"),
    "no data": (lambda: HuberMisfit.of(SEEN, [], 1.0), "there are no data"),
    "negative counts": (
        lambda: PoissonMisfit.of(SEEN, [3.0, -1.0]),
        "the counts range from -1.0 to 3.0; expected finite numbers ≥ 0: a background",
    ),
    "complex counts": (lambda: PoissonMisfit.of(SEEN, [1j]), "the counts are complex"),
    "negative mean counts": (lambda: PoissonMisfit.of(SEEN, [1.0], -2.0), "the mean counts range from -2.0"),
    "mean counts of another shape": (
        lambda: PoissonMisfit.of(SEEN, [1.0], [1.0, 2.0]),
        r"the mean counts have shape \(2,\); expected a number or \(1,\)",
    ),
    "a scale of counts": (
        lambda: EstimatedScale(POSITIVE["Poisson"](), "s"),
        "the noise scale of a PoissonMisfit cannot be estimated; expected a misfit of Gaussian noise",
    ),
    "a scale in no dict": (
        lambda: EstimatedScale(BASES["independent"](), "s")(jnp.zeros(N), jnp.ones(3)),
        "the coefficient has no names; expected a dict with the noise scale 's'",
    ),
    "a scale of another name": (
        lambda: EstimatedScale(BASES["independent"](), "s")(jnp.zeros(N), {"a": 1.0, "b": 2.0}),
        "the coefficient has the names a, b; expected a dict with the noise scale 's'",
    ),
    "two scales": (
        lambda: EstimatedScale(BASES["independent"](), "s")(jnp.zeros(N), {"s": jnp.ones(2)}),
        r"the noise scale 's' has shape \(2,\); expected one number",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        make()


@every
def test_predictions_of_another_shape_or_kind_are_refused(name):
    misfit = MISFITS[name]()
    with pytest.raises(InputError, match=r"the data have shape \(8,\); the observation predicts \(3,\)"):
        misfit(jnp.ones(3), None)
    other = jnp.ones(N) if name in OF_COMPLEX_DATA else jnp.ones(N) + 1j
    with pytest.raises(InputError, match="the observation predicts"):
        misfit(other, None)
