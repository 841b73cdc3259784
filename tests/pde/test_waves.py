"""Waves: absorbing boundaries and layers, a cylinder against its Mie series, and several frequencies."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import skfem
from scipy.special import h1vp, hankel1, jv, jvp

from pdeopt.fem import Dirichlet, FEMError, FunctionSpace
from pdeopt.fem.models import BoxLayer, RadialLayer, impedance, plane_wave, wave_mass, wave_stiffness
from pdeopt.pde import FunctionState, JoinedStates, LinearStateEquation
from pdeopt.sparse import SolveError, work

RADIUS, PERMITTIVITY, WAVENUMBER = 0.5, 2.0, 2 * np.pi
#: The scattered field at r = 1 that the issue prints, at 0, 45, 90, 135 and 180 degrees.
PRINTED = [
    -1.143376599865 + 1.598175561360j,
    -0.152380297280 + 0.335479756520j,
    0.249377864953 - 0.134661047401j,
    -0.185803759965 + 0.082930381351j,
    -0.231938198257 - 0.169956413173j,
]
ANGLES = np.deg2rad([0, 45, 90, 135, 180])


def mie_series(r, angles, terms=40):
    """The field that a dielectric cylinder scatters, outside of it: u and ∂u/∂r are continuous at its surface."""
    m, inside = np.arange(-terms, terms + 1), np.sqrt(PERMITTIVITY) * WAVENUMBER
    k, a = WAVENUMBER, RADIUS
    ratio = inside * jvp(m, inside * a) / jv(m, inside * a)
    scattered = (ratio * jv(m, k * a) - k * jvp(m, k * a)) / (k * h1vp(m, k * a) - ratio * hankel1(m, k * a))
    return ((1j**m * scattered * hankel1(m, k * r)) * np.exp(1j * np.outer(angles, m))).sum(1)


def disk(rings, h):
    """A disk of second-order triangles: ring j has the radius j h and 8 j vertices, and its edges are arcs."""
    counts = np.array([1, *(8 * np.arange(1, rings + 1))])
    start = np.concatenate([[0], np.cumsum(counts)])
    angles = [2 * np.pi * np.arange(count) / count for count in counts]
    points = np.hstack([j * h * np.stack([np.cos(a), np.sin(a)]) for j, a in enumerate(angles)])
    cells = []
    for j in range(1, rings + 1):
        for octant in range(8):
            out = start[j] + (octant * j + np.arange(j + 1)) % counts[j]
            within = start[j - 1] + (octant * (j - 1) + np.arange(j)) % counts[j - 1]
            cells += [(within[i], out[i], out[i + 1]) for i in range(j)]
            cells += [(within[i], out[i + 1], within[i + 1]) for i in range(j - 1)]
    straight = skfem.MeshTri(points, np.array(cells).T)
    radii = np.linalg.norm(points, axis=0)[straight.facets]
    middle = points[:, straight.facets].mean(1)
    along = np.isclose(*radii)
    middle[:, along] *= radii[0, along] / np.linalg.norm(middle[:, along], axis=0)
    return dataclasses.replace(skfem.MeshTri2.from_mesh(straight), doflocs=np.hstack([points, middle]))


def scattered_field(cells_per_wavelength, layer=None, outer=2.0):
    """The scattered field of the cylinder at the angles, at r = 1, and the space."""
    h = 1 / cells_per_wavelength
    V = FunctionSpace(disk(round(outer / h), h), skfem.ElementTriP2(), order=6)
    x = V.locations
    layer = RadialLayer(WAVENUMBER, 1.25, outer, 1e-8) if layer is None else layer
    inside = np.asarray(np.linalg.norm(V.mesh.p[:, V.mesh.t[:3]].mean(1), axis=0) < RADIUS, float)
    contrast = wave_mass.assemble(V, c=V.per_element((PERMITTIVITY - 1) * inside))
    background = wave_mass.assemble(V, c=layer.mass)
    A = wave_stiffness.assemble(V, D=layer.diffusion) - WAVENUMBER**2 * (background + contrast)
    b = WAVENUMBER**2 * (contrast @ plane_wave(x, WAVENUMBER, [[1.0], [0.0]])[:, 0])
    u = np.asarray(LinearStateEquation(lambda _: (A, b), Dirichlet.on(V))(None))
    wanted = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
    places = [int(np.argmin(np.linalg.norm(x - point[:, None], axis=0))) for point in wanted.T]
    np.testing.assert_allclose(x[:, places], wanted, atol=1e-12)
    return u[places]


def test_the_mie_series_is_the_one_that_is_printed():
    np.testing.assert_allclose(mie_series(1.0, ANGLES), PRINTED, atol=1e-12)


@pytest.mark.slow
def test_a_cylinder_scatters_as_its_mie_series_with_the_order_of_p2():
    errors = [np.abs(scattered_field(cells) - PRINTED).max() for cells in (6, 12, 24)]
    assert errors[1] < 5e-3
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (orders > 2.7).all(), (errors, orders)


def identity(x):
    return np.eye(2)[:, :, None, None] + 0 * x[0]


def ended_by_impedance(curvature):
    """The scattered field where the disk ends at r = 2 with the absorbing condition."""
    h = 1 / 8
    V = FunctionSpace(disk(16, h), skfem.ElementTriP2())
    inside = np.asarray(np.linalg.norm(V.mesh.p[:, V.mesh.t[:3]].mean(1), axis=0) < RADIUS, float)
    contrast = wave_mass.assemble(V, c=V.per_element((PERMITTIVITY - 1) * inside))
    A = wave_stiffness.assemble(V, D=identity) - WAVENUMBER**2 * (wave_mass.assemble(V, c=1.0) + contrast)
    A = A + impedance.assemble(V.boundary(), k=WAVENUMBER, curvature=curvature)
    b = WAVENUMBER**2 * (contrast @ plane_wave(V.locations, WAVENUMBER, [[1.0], [0.0]])[:, 0])
    u = np.asarray(LinearStateEquation(lambda _: (A, b))(None))
    wanted = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
    places = [int(np.argmin(np.linalg.norm(V.locations - point[:, None], axis=0))) for point in wanted.T]
    return np.abs(u[places] - PRINTED).max()


def test_the_curvature_makes_the_absorbing_boundary_of_a_circle_better():
    straight, curved = ended_by_impedance(0.0), ended_by_impedance(0.5)
    assert curved < 0.03
    assert straight > 2 * curved


def of_point_source(reflection, thickness=0.5, k=10.0):
    """The error in 1-D of the wave i/(2k) exp(ik|x|) of a point source between two layers."""
    V = FunctionSpace(skfem.MeshLine(np.linspace(-1.5, 1.5, 361)), skfem.ElementLineP2())
    layer = BoxLayer(k, (-1.5,), (1.5,), thickness, reflection)
    A = wave_stiffness.assemble(V, D=layer.diffusion) - k**2 * wave_mass.assemble(V, c=layer.mass)
    state = LinearStateEquation(lambda _: (A, V.point_load([[0.0]], [1.0])), Dirichlet.on(V))
    x = V.locations[0]
    exact = 0.5j / k * np.exp(1j * k * abs(x))
    return float(2 * k * np.abs(np.asarray(state(None)) - exact)[abs(x) < 1].max())


def test_a_layer_reflects_the_stated_amplitude():
    assert of_point_source(1e-1) == pytest.approx(2 * 1e-1, rel=0.15), "at the source the waves of both sides add up"
    assert of_point_source(1e-6) < 1e-4


def stretched_box(layer, x):
    total = -0.5 * np.log(layer.reflection) / layer.wavenumber
    wall = layer.upper[0] - layer.thickness
    depth = np.maximum(abs(x) - wall, 0) / layer.thickness
    return x + 1j * np.sign(x) * total * depth**3


def stretched_radially(layer, x):
    total = -0.5 * np.log(layer.reflection) / layer.wavenumber
    r = np.maximum(np.linalg.norm(x, axis=0), 1e-300)
    depth = np.maximum(r - layer.inner, 0) / (layer.outer - layer.inner)
    return x * (1 + 1j * total * depth**3 / r)


@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["box", "radial"])
def test_a_wave_of_continued_coordinates_solves_the_equation_of_the_layer(kind, dim):
    """The weak residual of exp(ik d·x̃) falls with the mesh as that of a solution does; D and q both matter."""
    k = 3.0
    box, radial = BoxLayer(k, (-1.0,) * dim, (1.0,) * dim, 0.6, 0.05), RadialLayer(k, 0.4, 1.8, 0.05)
    layer, stretched = (box, stretched_box) if kind == "box" else (radial, stretched_radially)
    direction = np.array([0.6, 0.8, 0.0][:dim])

    def residual(n, mass):
        mesh = (skfem.MeshTri if dim == 2 else skfem.MeshTet).init_tensor(*[np.linspace(-1, 1, n + 1)] * dim)
        V = FunctionSpace(mesh, (skfem.ElementTriP2 if dim == 2 else skfem.ElementTetP2)())
        A = wave_stiffness.assemble(V, D=layer.diffusion) - k**2 * wave_mass.assemble(V, c=mass)
        u = np.exp(1j * k * direction @ stretched(layer, V.locations))
        inner = np.setdiff1d(np.arange(V.n), V.dofs())
        found = np.asarray(A @ u)[inner]
        # the norm of the dual of H¹, up to constants: the energy of the error that the residual makes
        matrix = wave_stiffness.assemble(V, D=lambda x: np.eye(dim)[:, :, None, None] + 0 * x[0]).to_scipy()
        scale = np.sqrt(matrix.diagonal()[inner].real)
        return np.linalg.norm(found / scale)

    coarse, fine = (5, 10) if dim == 3 else (10, 20)
    assert residual(fine, layer.mass) < 0.5 * residual(coarse, layer.mass)
    assert residual(fine, lambda x: layer.mass(x) ** 2) > 3 * residual(fine, layer.mass)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RadialLayer(1.0, 2.0, 1.0), "expected 0 < inner < outer"),
        (lambda: RadialLayer(-1.0, 1.0, 2.0), "wavenumber -1.0"),
        (lambda: RadialLayer(1.0, 1.0, 2.0, reflection=0.0), "reflection 0.0"),
        (lambda: BoxLayer(1.0, (0.0, 0.0), (1.0, 2.0), 0.5), "layers that do not meet"),
        (lambda: BoxLayer(1.0, (0.0, 0.0), (1.0, 2.0), -0.5), "thickness -0.5"),
    ],
)
def test_layers_that_cannot_be_are_refused(make, message):
    with pytest.raises(FEMError, match=message):
        make()


SQUARE = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())


def wave_equation(k, columns):
    """A closed box with some loss, of wavenumber k, with random loads."""
    loads = jnp.asarray(np.random.default_rng(columns).standard_normal((SQUARE.n, columns)))

    def system(m):
        mass = wave_mass.assemble(SQUARE, c=SQUARE.interpolate(jnp.exp(m)))
        return wave_stiffness.assemble(SQUARE, D=identity) - (k**2 + 1j) * mass, loads

    return LinearStateEquation(system, axes=("dof", "experiment"), parts={"u": SQUARE})


def test_joined_states_are_those_of_the_single_equations():
    single = wave_equation(2.0, 2), wave_equation(5.0, 3)
    joined, m = JoinedStates(single), np.linspace(0, 1, SQUARE.n)
    before = work.copy()
    state = np.asarray(joined(m))
    assert work.since(before).factorizations == 2
    np.testing.assert_allclose(state, np.hstack([equation(m) for equation in single]), rtol=1e-12)
    source = np.random.default_rng(0).standard_normal(state.shape) * (1 + 2j)
    parts = [equation(m, source=jnp.asarray(s)) for equation, s in zip(single, np.split(source, [2], 1), strict=True)]
    np.testing.assert_allclose(joined(m, source=jnp.asarray(source)), np.hstack(parts), rtol=1e-12)
    assert joined.parts == {"u": SQUARE}
    assert joined.backward_error(m) == max(equation.backward_error(m) for equation in single) < 1e-13
    assert joined.accuracy(m) == single[0].accuracy(m)


def test_joined_states_are_solved_by_the_solver_that_is_chosen():
    joined, m = JoinedStates((wave_equation(2.0, 2), wave_equation(5.0, 3))), np.linspace(0, 1, SQUARE.n)
    state, iterative = np.asarray(joined(m)), joined.with_solver("gmres+ilu")
    assert iterative.chosen_solver(m).name == "gmres+ilu"
    assert iterative.accuracy(m) > joined.accuracy(m)
    np.testing.assert_allclose(iterative(m), state, atol=1e-6 * abs(state).max())


def test_states_that_cannot_be_joined_are_refused():
    with pytest.raises(SolveError, match="at least one"):
        JoinedStates(())
    alone = dataclasses.replace(wave_equation(2.0, 1), axes=("dof",))
    with pytest.raises(SolveError, match=r"axes \('dof',\) cannot be joined"):
        JoinedStates((wave_equation(2.0, 1), alone))
    one, other = (FunctionState(lambda k, n=n: k * jnp.ones((n, 2)), ("dof", "experiment")) for n in (3, 4))
    with pytest.raises(
        SolveError, match=r"the states have the shapes \[\(3, 2\), \(4, 2\)\]; expected the same number"
    ):
        JoinedStates((one, other))(1.0)
    with pytest.raises(SolveError, match=r"the source has shape \(3, 3\); expected \(3, 4\)"):
        JoinedStates((one, one))(1.0, source=jnp.ones((3, 3)))
