"""Manufactured solutions: the L² error falls with the order that the element promises."""

import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import Dirichlet, FunctionSpace, bilinear_form, div, dot, functional, grad, linear_form
from pdeopt.pde import LinearStateEquation
from pdeopt.sparse import linear_solve


def exact(x):
    """u(x) = sin(1.3 x₀ + 0.2) exp(½ Σ_{i>0} x_i) + x₀³, without a symmetry that could flatter the error."""
    return np.sin(1.3 * x[0] + 0.2) * growth(x) + x[0] ** 3


def growth(x):
    return np.exp(0.5 * np.sum(x[1:], axis=0))


def gradient(x):
    other = 0.5 * np.sin(1.3 * x[0] + 0.2) * growth(x)
    return np.stack([1.3 * np.cos(1.3 * x[0] + 0.2) * growth(x) + 3 * x[0] ** 2] + [other] * (len(x) - 1))


def laplacian(x):
    return (0.25 * (len(x) - 1) - 1.69) * np.sin(1.3 * x[0] + 0.2) * growth(x) + 6 * x[0]


def k(x):
    return 1.0 + 0.5 * x[0] * x[-1]


def flux(x):
    """k ∇u."""
    return k(x) * gradient(x)


def source(x):
    """f = u − ∇·(k∇u)."""
    gradient_of_k = np.zeros(np.shape(x))
    gradient_of_k[0] += 0.5 * x[-1]
    gradient_of_k[-1] += 0.5 * x[0]
    return exact(x) - k(x) * laplacian(x) - np.sum(gradient_of_k * gradient(x), axis=0)


operator = bilinear_form(lambda u, v, w: w["k"] * dot(grad(u), grad(v)) + u * v)
load = linear_form(lambda v, w: w["f"] * v)
neumann = linear_form(lambda v, w: dot(w["q"], w.n) * v)
robin_matrix = bilinear_form(lambda u, v, w: 2.0 * u * v)
robin_load = linear_form(lambda v, w: (2.0 * w["u"] + dot(w["q"], w.n)) * v)
squared_error = functional(lambda w: (w["u"] - w["exact"]) ** 2)


def l2_error(V, u):
    return float(jnp.sqrt(squared_error.assemble(V, u=V.interpolate(u), exact=exact)))


def primal_error(mesh, element, conditions):
    """−∇·(k∇u) + u = f, with ``conditions`` where x₀ = 1 and where x₁ = 1, and u given on the rest of the boundary."""
    V = FunctionSpace(mesh, element, order=2 * element.maxdeg + 2)
    A, b = operator.assemble(V, k=k), load.assemble(V, f=source)
    for axis, condition in enumerate(conditions):
        side = V.boundary(lambda x, axis=axis: (x[axis] == 1) & (x[:axis] < 1).all(0))
        if condition == "Neumann":
            b = b + neumann.assemble(side, q=flux)
        if condition == "Robin":  # k ∂u/∂n + 2 u = 2 g
            A, b = A + robin_matrix.assemble(side), b + robin_load.assemble(side, q=flux, u=exact)
    free = [axis for axis, condition in enumerate(conditions) if condition != "Dirichlet"]
    dirichlet = Dirichlet.on(V, lambda x: (x[free] < 1).all(0), exact)
    return l2_error(V, LinearStateEquation(lambda _: (A, b), dirichlet)(None))


def unit(kind, n):
    ticks = np.linspace(0, 1, n + 1)
    if kind is skfem.MeshLine:
        return kind(ticks)
    return kind.init_tensor(*[ticks] * (3 if kind in (skfem.MeshTet, skfem.MeshHex) else 2))


def observed_order(errors, sizes):
    return np.log(errors[-2] / errors[-1]) / np.log(sizes[-1] / sizes[-2])


ELEMENTS = {
    "line P1": (skfem.MeshLine, skfem.ElementLineP1(), 2, (16, 32)),
    "line P2": (skfem.MeshLine, skfem.ElementLineP2(), 3, (8, 16)),
    "triangles P1": (skfem.MeshTri, skfem.ElementTriP1(), 2, (12, 24)),
    "triangles P2": (skfem.MeshTri, skfem.ElementTriP2(), 3, (6, 12)),
    "quads Q1": (skfem.MeshQuad, skfem.ElementQuad1(), 2, (12, 24)),
    "quads Q2": (skfem.MeshQuad, skfem.ElementQuad2(), 3, (6, 12)),
    "tetrahedra P1": (skfem.MeshTet, skfem.ElementTetP1(), 2, (6, 12)),
    "hexahedra Q1": (skfem.MeshHex, skfem.ElementHex1(), 2, (6, 12)),
}


def check_order(mesh, element, order, sizes, conditions):
    errors = [primal_error(unit(mesh, n), element, conditions) for n in sizes]
    assert observed_order(errors, sizes) == pytest.approx(order, abs=0.15), errors


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "element", "order", "sizes"), ELEMENTS.values(), ids=ELEMENTS.keys())
def test_the_l2_error_falls_with_order_p_plus_one_under_all_three_conditions(mesh, element, order, sizes):
    check_order(mesh, element, order, sizes, ["Robin"] if mesh is skfem.MeshLine else ["Neumann", "Robin"])


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["Dirichlet", "Neumann", "Robin"])
def test_each_condition_alone_keeps_the_order(condition):
    check_order(*ELEMENTS["triangles P1"], [condition])


@pytest.mark.slow
def test_the_mixed_form_converges_in_potential_and_flux():
    """q = −k∇u, ∇·q + u = f, u given on the boundary (naturally): RT0-P0, first order in both."""

    def mixed(q, u, t, v, w):
        return dot(q, t) / w["k"] - u * div(t) - v * div(q) - u * v

    form = bilinear_form(mixed)
    right_side = linear_form(lambda t, v, w: -w["f"] * v)
    natural = linear_form(lambda t, v, w: -w["g"] * dot(t, w.n))
    flux_error = functional(lambda w: dot(w["q"] + w["exact"], w["q"] + w["exact"]))
    errors, sizes = [], (12, 24)
    for n in sizes:
        V = FunctionSpace(unit(skfem.MeshTri, n), skfem.ElementTriRT0() * skfem.ElementTriP0(), order=4)
        b = right_side.assemble(V, f=source) + natural.assemble(V.boundary(), g=exact)
        q, u = V.interpolate(linear_solve(form.assemble(V, k=k), b))
        potential = squared_error.assemble(V, u=u, exact=exact)
        errors.append([float(jnp.sqrt(e)) for e in (potential, flux_error.assemble(V, q=q, exact=flux))])
    for coarse, fine in zip(*errors, strict=True):
        assert observed_order([coarse, fine], sizes) == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_advection_converges_and_tells_the_direction_of_the_flow():
    beta = np.array([1.0, -2.0])
    carried = bilinear_form(lambda u, v, w: dot(grad(u), grad(v)) + (beta[0] * grad(u)[0] + beta[1] * grad(u)[1]) * v)
    errors, sizes = [], (12, 24)
    for n in sizes:
        V = FunctionSpace(unit(skfem.MeshTri, n), skfem.ElementTriP1(), order=4)
        dirichlet = Dirichlet.on(V, values=exact)
        f = np.tensordot(beta, gradient(V.tables.geometry["x"].value), 1) - laplacian(V.tables.geometry["x"].value)
        A, b = dirichlet.condense(carried.assemble(V), load.assemble(V, f=f))
        errors.append(l2_error(V, dirichlet.extend(linear_solve(A, b))))
    assert observed_order(errors, sizes) == pytest.approx(2, abs=0.15)
