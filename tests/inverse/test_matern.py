"""Matérn terms as random fields: variance and correlation of the discrete covariance against the stated formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import InputError, mass, matern, matern_from_length
from pdeopt.inverse.local_mass import lumped_mass, scaled_spectrum

SIGMA = 1.7


def ticks(n):
    return np.linspace(0, 1, n + 1)


def square(n, element=None):
    return FunctionSpace(skfem.MeshTri.init_tensor(ticks(n), ticks(n)), element or skfem.ElementTriP1())


LINE = FunctionSpace(skfem.MeshLine(ticks(100)), skfem.ElementLineP1())
CUBE = FunctionSpace(skfem.MeshTet.init_tensor(ticks(12), ticks(12), ticks(12)), skfem.ElementTetP1())
GRADED = FunctionSpace(skfem.MeshTri.init_tensor(ticks(30) ** 1.5, ticks(30) ** 1.5), skfem.ElementTriP1())
QUADS = FunctionSpace(skfem.MeshQuad.init_tensor(ticks(30), ticks(30)), skfem.ElementQuad1())


class Field:
    """The dense covariance of a term."""

    def __init__(self, space, term):
        self.places = space.locations
        self.covariance = np.linalg.inv(term.operator(np.zeros(space.n)).toarray())

    def nearest(self, *x):
        return int(np.argmin(((self.places.T - np.array(x)) ** 2).sum(1)))

    def deviation(self, *x):
        i = self.nearest(*x)
        return np.sqrt(self.covariance[i, i])

    def correlation(self, x, y):
        i, j = self.nearest(*x), self.nearest(*y)
        return self.covariance[i, j] / np.sqrt(self.covariance[i, i] * self.covariance[j, j])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "length", "tolerance"),
    [(LINE, 0.3, 0.01), (square(30), 0.4, 0.03), (GRADED, 0.4, 0.03), (QUADS, 0.4, 0.05), (CUBE, 0.5, 0.08)],
    ids=["line", "square", "graded square", "quadrilaterals", "cube"],
)
def test_deviation_and_correlation_length_are_those_asked_for(space, length, tolerance):
    term = matern_from_length(space, deviation=SIGMA, length=length)
    assert term.deviation == pytest.approx(SIGMA)
    assert term.length == pytest.approx(length)
    dim = space.mesh.dim()
    field, center = Field(space, term), [0.5] * dim
    assert field.deviation(*center) == pytest.approx(SIGMA, rel=tolerance)
    assert field.correlation(center, [0.5 + length, *center[1:]]) == pytest.approx(0.14, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dim", "variance"),
    [
        (1, lambda g, d: 1 / (4 * g**0.5 * d**1.5)),
        (2, lambda g, d: 1 / (4 * np.pi * g * d)),
        (3, lambda g, d: 1 / (8 * np.pi * g**1.5 * d**0.5)),
    ],
)
def test_the_formulas_of_each_dimension(dim, variance):
    space = {1: LINE, 2: QUADS, 3: CUBE}[dim]
    term = matern(space, gamma=0.3, delta=2.0, weight=4.0)
    assert term.deviation**2 == pytest.approx(variance(0.3, 2.0) / 4)
    assert term.length == pytest.approx(np.sqrt(8 * (2 - dim / 2) * 0.3 / 2.0))
    again = matern_from_length(space, deviation=2 * term.deviation, length=term.length)
    assert (again.gamma, again.delta) == pytest.approx((0.3, 2.0))


@pytest.mark.slow
def test_the_variance_does_not_depend_on_the_mesh():
    deviations = [
        Field(space, matern_from_length(space, deviation=SIGMA, length=0.5)).deviation(0.3, 0.3)
        for space in (square(20), square(40), GRADED)
    ]
    assert np.ptp(deviations) < 0.04 * SIGMA


def test_the_robin_condition_takes_the_excess_from_the_boundary():
    space = square(30)
    with_robin, without = (
        Field(space, matern_from_length(space, deviation=SIGMA, length=0.4, robin=robin)) for robin in (True, False)
    )
    assert without.deviation(0, 0.5) == pytest.approx(np.sqrt(2) * SIGMA, rel=0.05)
    assert without.deviation(0, 0) == pytest.approx(2 * SIGMA, rel=0.06)
    for place in ((0, 0.5), (0.5, 1), (0, 0), (1, 1)):
        assert with_robin.deviation(*place) == pytest.approx(SIGMA, rel=0.1)


@pytest.mark.parametrize("angle", [0.0, np.pi / 4])
def test_anisotropy_stretches_the_correlation_and_keeps_the_deviation(angle):
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    tensor = 4.0 * np.outer(along, along) + 1.0 * np.outer(across, across)
    space = square(40)
    field = Field(space, matern_from_length(space, deviation=SIGMA, length=0.2, anisotropy=tensor))
    center = np.array([0.5, 0.5])
    assert field.deviation(*center) == pytest.approx(SIGMA, rel=0.05)
    assert field.correlation(center, center + 0.4 * along) == pytest.approx(0.14, abs=0.03)
    assert field.correlation(center, center + 0.2 * across) == pytest.approx(0.14, abs=0.03)
    assert field.correlation(center, center + 0.4 * across) < 0.03
    for place in ((0, 0.5), (0.5, 0)):
        assert field.deviation(*place) == pytest.approx(SIGMA, rel=0.1)


def test_quadratic_triangles_have_positive_lumped_masses_and_the_same_field():
    space = square(14, skfem.ElementTriP2())
    lumped = lumped_mass(space)
    assert lumped.min() > 0
    assert lumped.sum() == pytest.approx(1.0)
    field = Field(space, matern_from_length(space, deviation=SIGMA, length=0.4))
    assert field.deviation(0.5, 0.5) == pytest.approx(SIGMA, rel=0.05)


def test_samples_have_the_covariance_and_the_mean():
    space = square(4)
    mean = 3.0 + space.locations[0]
    term = matern(space, gamma=0.1, delta=4.0, weight=2.0, reference=mean)
    covariance = np.linalg.inv(term.operator(mean).toarray())
    rng = np.random.default_rng(0)
    samples = np.stack([term.sample(rng) for _ in range(4000)])
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.1 * np.sqrt(covariance.max()))
    np.testing.assert_allclose(np.cov(samples.T), covariance, atol=0.1 * covariance.max())
    np.testing.assert_array_equal(term.sample(np.random.default_rng(5)), term.sample(np.random.default_rng(5)))


def test_the_term_is_half_the_square_of_the_whitened_parameter():
    space = square(4)
    term = matern(space, gamma=0.1, delta=4.0, weight=2.0, anisotropy=[[2.0, 0.5], [0.5, 1.0]])
    m, z = np.random.default_rng(0).standard_normal((2, space.n))
    assert float(term(m)) == pytest.approx(0.5 * term.whiten(m) @ term.whiten(m))
    np.testing.assert_allclose(term.whiten(term.color(z)), z, atol=1e-12)
    assert term.color(z) @ m == pytest.approx(z @ term.color_transposed(m))
    columns = np.stack([m, z], axis=1)
    np.testing.assert_allclose(term.solve(columns)[:, 1], term.solve(z), atol=1e-13)
    np.testing.assert_allclose(jax.grad(term)(jnp.asarray(m)), term.operator(m) @ m, rtol=1e-10)


def test_a_field_along_a_boundary_is_one_dimensional():
    space = FunctionSpace(skfem.MeshTri.init_tensor(ticks(60), ticks(2)).with_defaults(), skfem.ElementTriP1())
    dofs = space.dofs("top")
    term = matern_from_length(space.boundary("top"), deviation=SIGMA, length=0.3, dofs=dofs)
    covariance = np.linalg.inv(term.operator(np.zeros(len(dofs))).toarray())
    middle = np.argmin(np.abs(space.locations[0, dofs] - 0.5))
    assert np.sqrt(covariance[middle, middle]) == pytest.approx(SIGMA, rel=0.02)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: matern_from_length(LINE, deviation=0.0, length=1.0), "standard deviation of a Matérn term is 0.0"),
        (lambda: matern_from_length(LINE, deviation=1.0, length=-1.0), "correlation length of a Matérn term is -1.0"),
        (lambda: matern(LINE, gamma=1.0, delta=1.0, weight=0.0).color(np.ones(LINE.n)), "no covariance"),
    ],
)
def test_fields_that_do_not_exist_are_refused(ask, message):
    with pytest.raises(InputError, match=message):
        ask()


# --- lengths that the mesh does not resolve ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "length"),
    [
        (square(8), 0.02),
        (square(8), 0.17),
        (QUADS, 0.04),
        (LINE, 0.009),
        (CUBE, 0.14),
        (square(4).boundary(), 0.2),
        (square(4, skfem.ElementTriP2()), 0.15),
    ],
)
def test_a_length_below_the_cell_size_is_refused_with_the_size(space, length):
    with pytest.raises(
        InputError, match=rf"length {length:g} of a Matérn term is below the size of the cells in 100%.*from "
    ):
        matern_from_length(space, deviation=1.0, length=length)


@pytest.mark.slow
def test_a_length_of_few_cells_is_logged_and_a_resolved_one_is_not(caplog):
    for length, logged in ((0.3, 1), (0.5, 0)):
        caplog.clear()
        term = matern_from_length(square(8), deviation=1.0, length=length)
        assert len(caplog.records) == logged
        assert Field(square(8), term).deviation(0.5, 0.5) == pytest.approx(1, abs=0.3)
    matern(square(8), gamma=1e-4, delta=1.0)
    assert "correlation length 0.0283 of a Matérn term is less than 2 cells in 100 %" in caplog.text
    caplog.clear()
    matern_from_length(square(8, skfem.ElementTriP2()), deviation=1.0, length=0.3)
    assert not caplog.records


def test_coarse_cells_in_a_small_part_of_a_graded_mesh_are_allowed(caplog):
    fine = np.r_[np.linspace(0, 0.8, 17), 1.0]
    graded = FunctionSpace(skfem.MeshTri.init_tensor(fine, np.linspace(0, 1, 21)), skfem.ElementTriP1())
    matern_from_length(graded, deviation=1.0, length=0.18)
    assert "in 20 % of the domain" in caplog.text
    with pytest.raises(InputError, match="in 100%"):
        matern_from_length(graded, deviation=1.0, length=0.05)


def test_the_length_along_each_axis_of_an_anisotropic_field_is_compared_with_the_cells_there():
    flat = FunctionSpace(skfem.MeshTri.init_tensor(ticks(4), ticks(40)), skfem.ElementTriP1())
    along, across = np.diag([100.0, 1.0]), np.diag([1.0, 100.0])
    matern_from_length(flat, deviation=1.0, length=0.1, anisotropy=along)
    for tensor in (None, across):
        with pytest.raises(InputError, match="below the size of the cells"):
            matern_from_length(flat, deviation=1.0, length=0.1, anisotropy=tensor)


# --- element mass matrices ---------------------------------------------------------------------------------------

SPACES = {
    "P1": (square(4), (1 / 2, 2)),
    "P1, graded": (FunctionSpace(skfem.MeshTri.init_tensor(ticks(8) ** 3, ticks(8)), skfem.ElementTriP1()), (1 / 2, 2)),
    "P1, tetrahedra": (FunctionSpace(skfem.MeshTet().refined(1), skfem.ElementTetP1()), (1 / 2, 5 / 2)),
    "Q1": (FunctionSpace(skfem.MeshQuad.init_tensor(ticks(4), ticks(4)), skfem.ElementQuad1()), (1 / 4, 9 / 4)),
    "Q1, distorted": (
        FunctionSpace(skfem.MeshQuad(np.array([[0, 1, 2, 0], [0, 0, 3, 1.0]])), skfem.ElementQuad1()),
        None,
    ),
    "P2": (square(3, skfem.ElementTriP2()), None),
    "P0": (square(3, skfem.ElementTriP0()), (1, 1)),
    "vectors": (square(3, skfem.ElementVector(skfem.ElementTriP1())), (1 / 2, 2)),
    "boundary": (square(3).boundary(), (1 / 2, 3 / 2)),
    "fluxes": (square(3, skfem.ElementTriRT1()), None),
}
every_space = pytest.mark.parametrize(("space", "known"), SPACES.values(), ids=SPACES.keys())


@every_space
def test_the_spectrum_of_the_scaled_mass_lies_between_its_bounds(space, known):
    """Wathen's table where it has an entry."""
    low, high = scaled_spectrum(space)
    M = mass.assemble(space).to_scipy().toarray()
    seen = M.diagonal() > 1e-12 * M.max()
    root = np.sqrt(M.diagonal()[seen])
    eigenvalues = np.linalg.eigvalsh(M[seen][:, seen] / np.outer(root, root))
    assert low - 1e-12 <= eigenvalues.min() <= eigenvalues.max() <= high + 1e-12
    assert low > 0
    if known:
        assert (low, high) == pytest.approx(known)


@every_space
def test_lumped_masses_are_positive_and_add_up_to_that_of_constants(space, known):
    lumped = lumped_mass(space)
    M = mass.assemble(space).to_scipy().toarray()
    np.testing.assert_array_equal(lumped > 0, M.diagonal() > 1e-12 * M.max())
    assert lumped.sum() == pytest.approx(M.sum())


def test_deviation_and_length_come_in_this_order():
    named, placed = matern_from_length(LINE, deviation=2.0, length=0.5), matern_from_length(LINE, 2.0, 0.5)
    assert (placed.gamma, placed.delta) == (named.gamma, named.delta)
