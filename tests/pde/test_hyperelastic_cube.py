"""A neo-Hookean cube that is twisted and pulled by its ends: reference values, and Newton's convergence to them."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, dot, energy, functional
from pdeopt.fem.models import neo_hookean
from pdeopt.pde import NonlinearStateEquation

#: The tetrahedra of a box by its corners v0 … v7: v1 = +x₁, v2 = +x₂, v3 = both, v4 … v7 the same at +x₃.
TETRAHEDRA = np.array([[0, 1, 3, 7], [0, 1, 7, 5], [0, 5, 7, 4], [0, 3, 2, 7], [0, 6, 4, 7], [0, 2, 6, 7]])
E, NU = 10.0, 0.3
BODY_FORCE, TRACTION = np.array([0.0, -0.5, 0.0]), np.array([0.1, 0.0, 0.0])

strain_energy = energy(neo_hookean)


@energy
def work_of_loads(u, w):
    return -dot(w["force"], u)


def cube(n):
    """The unit cube in n = (n₁, n₂, n₃) boxes, each cut into six tetrahedra."""
    shape = [k + 1 for k in n]
    points = np.stack(np.meshgrid(*(np.linspace(0, 1, k) for k in shape), indexing="ij")).reshape(3, -1)
    number = np.arange(points.shape[1]).reshape(shape)
    ends = (slice(None, -1), slice(1, None))
    corners = np.stack([number[ends[i], ends[j], ends[k]].ravel() for k in (0, 1) for j in (0, 1) for i in (0, 1)])
    mesh = skfem.MeshTet(points, corners[TETRAHEDRA].transpose(1, 0, 2).reshape(4, -1))
    return mesh.with_boundaries({"fixed": lambda x: x[0] == 0, "turned": lambda x: x[0] == 1})


def turned(x):
    """The displacement (3, k) of the end x₁ = 1: half of a turn by 60° around its middle."""
    c, s, y, z = np.cos(np.pi / 3), np.sin(np.pi / 3), x[1] - 0.5, x[2] - 0.5
    return 0.5 * np.stack([0 * y, y * c - z * s - y, y * s + z * c - z])


def end_values(V):
    fixed, moved = V.dofs("fixed"), V.dofs("turned")
    components = np.zeros(V.n, int)
    components[V.basis.nodal_dofs] = np.arange(3)[:, None]
    values = turned(V.locations[:, moved])[components[moved], np.arange(len(moved))]
    return Dirichlet(V.n, fixed) + Dirichlet(V.n, moved, jnp.asarray(values))


@cache
def twisted_cube(n, load_steps=1):
    """Return the space and the state equation of the cube in n = (n₁, n₂, n₃) boxes; κ is Young's modulus."""
    V = FunctionSpace(cube(n), skfem.ElementVector(skfem.ElementTetP1()), order=2)

    def system(u, modulus):
        inside, inner_tangent = strain_energy.linearized(V, u, E=modulus, nu=NU)
        body = work_of_loads.assemble(V, u, force=BODY_FORCE[:, None, None])
        surface = work_of_loads.assemble(V.boundary(), u, force=TRACTION[:, None, None])
        return inside + body + surface, inner_tangent

    return V, NonlinearStateEquation(system, end_values(V), load_steps=load_steps, parts={"displacement": V})


def numbers(V, u):
    """Return ∫ψ, the potential energy Π and the L² norm of u."""
    stored = float(strain_energy.value(V, u, E=E, nu=NU))
    body = float(work_of_loads.value(V, u, force=BODY_FORCE[:, None, None]))
    surface = float(work_of_loads.value(V.boundary(), u, force=TRACTION[:, None, None]))
    size = functional(lambda w: dot(w["u"], w["u"])).assemble(V, u=V.interpolate(u))
    return stored, stored + body + surface, float(jnp.sqrt(size))


@pytest.mark.slow
def test_the_cube_has_its_reference_values():
    V, state = twisted_cube((4, 3, 3))
    stored, potential, size = numbers(V, state(E))
    assert stored == pytest.approx(0.17115826356296, rel=1e-10)
    assert potential == pytest.approx(0.16342801590363, rel=1e-10)
    assert size == pytest.approx(0.11871355679359, rel=1e-10)


@pytest.mark.slow
def test_the_cube_has_them_with_load_steps_too_and_the_derivative_of_its_size_is_exact():
    _, state = twisted_cube((4, 3, 3), load_steps=3)
    _, at_once = twisted_cube((4, 3, 3))
    np.testing.assert_allclose(state(E), at_once(E), rtol=0, atol=1e-12)

    def size(modulus):
        return jnp.sum(at_once(modulus) ** 2)

    slope, h = float(jax.grad(size)(E)), 1e-3
    difference = float(size(E + h) - size(E - h)) / (2 * h)
    assert slope == pytest.approx(difference, rel=1e-6)
