"""Forms: assembled as by scikit-fem, differentiated exactly, refused with a message where they are not forms."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
import skfem.helpers
from skfem.models import elasticity, general, poisson

import pdeopt.fem
from pdeopt.fem import FEMError, FormError, FunctionSpace, bilinear_form, dot, functional, grad, linear_form
from pdeopt.sparse import CSRMatrix, linear_solve
from pdeopt.verify import taylor_test

SIDES = {
    "left": lambda x: x[0] == x[0].min(),
    "right": lambda x: x[0] == x[0].max(),
}


def bent(mesh):
    """The same mesh with vertices moved, so that no two elements are alike."""
    p = mesh.p + 0.05 * np.sin(3 * mesh.p[::-1] + 1) * (mesh.p * (1 - mesh.p)).prod(0) * 4
    return type(mesh)(p, mesh.t).with_boundaries(SIDES).with_subdomains({"half": lambda x: x[0] < 0.5})


LINE = bent(skfem.MeshLine(np.linspace(0, 1, 8)))
TRI = bent(skfem.MeshTri().refined(2))
QUAD = bent(skfem.MeshQuad().refined(2))
TET = bent(skfem.MeshTet().refined(1))
HEX = bent(skfem.MeshHex().refined(1))
DISC = skfem.MeshTri2.init_circle(1).with_boundaries({"right": lambda x: x[0] > 0})


def spaces(mesh, element, where):
    """The same space here and there."""
    V, B = FunctionSpace(mesh, element), skfem.Basis(mesh, element)
    if where == "cells":
        return V, B
    if where == "interior":
        return V.interior_facets(), [skfem.InteriorFacetBasis(mesh, element, side=side) for side in (0, 1)]
    if where == "half":
        return V.subdomain("half"), skfem.Basis(mesh, element, elements="half")
    return V.boundary(where), skfem.FacetBasis(mesh, element, facets=mesh.boundaries[where])


def nodal(element):
    """A function given by random degrees of freedom."""

    def make(V, B):
        V, B = V.with_element(element), B.with_element(element)
        values = np.random.default_rng(0).standard_normal(B.N)
        return V.interpolate(values), B.interpolate(values)

    return make


def per_element(V, B):
    values = np.random.default_rng(0).random(V.mesh.nelements)
    cells = slice(None) if B.tind is None else B.tind
    return V.per_element(values), np.broadcast_to(values[cells][:, None], B.dx.shape)


def per_point(V, B):
    values = np.random.default_rng(0).random(B.dx.shape)
    return values, values


def of_x(function):
    return lambda V, B: (function, function(np.asarray(B.default_parameters()["x"])))


def constant(value):
    return lambda V, B: (value, value)


@dataclass
class Case:
    """One form, written once for both libraries: ``make(h, xp)`` gets the helpers and NumPy or JAX."""

    mesh: skfem.Mesh
    element: skfem.Element
    make: Callable
    test: skfem.Element | None = None
    where: str = "cells"
    given: dict[str, Callable] = field(default_factory=dict)

    def coefficients(self, V: FunctionSpace, B: Any) -> tuple[dict, dict]:
        pairs = {name: make(V, B) for name, make in self.given.items()}
        return {k: here for k, (here, _) in pairs.items()}, {k: there for k, (_, there) in pairs.items()}


def form(body):
    """``body(h, xp, *arguments)`` as the maker of a form."""
    return lambda h, xp: lambda *arguments: body(h, xp, *arguments)


def assert_same_matrix(A, S, tolerance=1e-12):
    mine = A.to_scipy()
    size = np.abs(S.data).max(initial=1e-30)
    assert A.shape == S.shape
    assert np.abs((mine - S).toarray()).max() <= tolerance * size
    stored = CSRMatrix(jnp.ones(A.pattern.nnz), A.pattern).to_scipy().toarray() > 0
    assert stored[S.nonzero()].all()


P1, P2, VP1 = skfem.ElementTriP1(), skfem.ElementTriP2(), skfem.ElementVector(skfem.ElementTriP1())
DIFFUSION = form(lambda h, xp, u, v, w: w["k"] * h.dot(h.grad(u), h.grad(v)))
MASS = form(lambda h, xp, u, v, w: u * v)
LAPLACE = form(lambda h, xp, u, v, w: h.dot(h.grad(u), h.grad(v)))
VECTOR_MASS = form(lambda h, xp, u, v, w: h.dot(u, v))


def elasticity_of(h, xp, u, v, w):
    stress = 2.0 * w["mu"] * h.sym_grad(u) + h.eye(w["lam"] * h.trace(h.sym_grad(u)), u.shape[0])
    return h.ddot(stress, h.sym_grad(v))


def interior_penalty(h, xp, u, v, w):
    jump_u, jump_v = h.jump(w, u, v)
    flux_u, flux_v = h.dot(h.grad(u), w.n), h.dot(h.grad(v), w.n)
    return 10.0 / w.h * jump_u * jump_v - 0.5 * flux_u * jump_v - 0.5 * flux_v * jump_u


BILINEAR = {
    "diffusion, exp of nodal P1": Case(
        TRI, P2, form(lambda h, xp, u, v, w: xp.exp(w["m"]) * h.dot(h.grad(u), h.grad(v))), given={"m": nodal(P1)}
    ),
    "diffusion, nodal P2": Case(TRI, P1, DIFFUSION, given={"k": nodal(P2)}),
    "diffusion, per element": Case(TRI, P1, DIFFUSION, given={"k": per_element}),
    "diffusion, per quadrature point": Case(TRI, P2, DIFFUSION, given={"k": per_point}),
    "diffusion, constant": Case(TRI, P1, DIFFUSION, given={"k": constant(3.0)}),
    "diffusion, function of x": Case(TRI, P1, DIFFUSION, given={"k": of_x(lambda x: 1 + x[0] * x[1] ** 2)}),
    "diffusion, of w.x and w.h": Case(
        TRI, P1, form(lambda h, xp, u, v, w: xp.sin(w.x[0]) * w.h * h.dot(h.grad(u), h.grad(v)))
    ),
    "diffusion, complex": Case(TRI, P1, DIFFUSION, given={"k": constant(1.0 + 2.0j)}),
    "diffusion, tensor": Case(
        TRI,
        P1,
        form(lambda h, xp, u, v, w: h.dot(h.mul(w["K"], h.grad(u)), h.grad(v))),
        given={"K": of_x(lambda x: np.array([[1 + x[0], x[1]], [0 * x[0], 2 + x[1]]]))},
    ),
    "diffusion, of another field's gradient": Case(
        TRI, P1, form(lambda h, xp, u, v, w: h.dot(h.grad(w["f"]), h.grad(u)) * v), given={"f": nodal(P2)}
    ),
    "advection": Case(
        TRI, P2, form(lambda h, xp, u, v, w: h.dot(w["beta"], h.grad(u)) * v), given={"beta": nodal(VP1)}
    ),
    "advection in skew form": Case(
        TRI, P1, form(lambda h, xp, u, v, w: w.x[1] * h.grad(u)[0] * v - w.x[1] * u * h.grad(v)[0])
    ),
    "reaction": Case(TRI, P2, form(lambda h, xp, u, v, w: w["c"] ** 2 * u * v), given={"c": nodal(P1)}),
    "a subdomain": Case(TRI, P1, DIFFUSION, where="half", given={"k": nodal(P1)}),
    "a subdomain, per element": Case(TRI, P1, DIFFUSION, where="half", given={"k": per_element}),
    "Robin": Case(TRI, P2, form(lambda h, xp, u, v, w: w["alpha"] * u * v), where="right", given={"alpha": nodal(P1)}),
    "Robin, per element": Case(
        TRI, P1, form(lambda h, xp, u, v, w: w["alpha"] * u * v), where="left", given={"alpha": per_element}
    ),
    "Nitsche": Case(TRI, P2, form(lambda h, xp, u, v, w: -h.dot(h.grad(u), w.n) * v + u * v / w.h), where="left"),
    "boundary of a curved mesh": Case(DISC, P2, form(lambda h, xp, u, v, w: w.n[0] * u * v), where="right"),
    "curved mesh": Case(DISC, P2, LAPLACE),
    "elasticity with fields": Case(
        TRI,
        skfem.ElementVector(P2),
        form(elasticity_of),
        given={"lam": nodal(P1), "mu": of_x(lambda x: 1 + x[0])},
    ),
    "elasticity in 3-D": Case(
        TET,
        skfem.ElementVector(skfem.ElementTetP1()),
        form(elasticity_of),
        given={"lam": constant(2.0), "mu": nodal(skfem.ElementTetP1())},
    ),
    "Stokes, P2-P1": Case(
        TRI,
        skfem.ElementVector(P2) * P1,
        form(lambda h, xp, u, p, v, q, w: h.ddot(h.grad(u), h.grad(v)) - p * h.div(v) - q * h.div(u)),
    ),
    "Stokes, Mini": Case(
        TRI,
        skfem.ElementVector(skfem.ElementTriMini()) * P1,
        form(lambda h, xp, u, p, v, q, w: h.ddot(h.sym_grad(u), h.sym_grad(v)) - p * h.div(v) - q * h.div(u)),
    ),
    "mixed Poisson, RT0-P0": Case(
        TRI,
        skfem.ElementTriRT0() * skfem.ElementTriP0(),
        form(lambda h, xp, s, u, t, v, w: h.dot(s, t) / w["k"] + u * h.div(t) + v * h.div(s)),
        given={"k": of_x(lambda x: 1 + x[0])},
    ),
    "mixed Poisson, BDM1-P0": Case(
        TRI,
        skfem.ElementTriBDM1() * skfem.ElementTriP0(),
        form(lambda h, xp, s, u, t, v, w: h.dot(s, t) + u * h.div(t) + v * h.div(s)),
    ),
    "RT0 in 3-D": Case(TET, skfem.ElementTetRT0(), form(lambda h, xp, u, v, w: h.dot(u, v) + h.div(u) * h.div(v))),
    "Nédélec curl-curl in 3-D": Case(
        TET,
        skfem.ElementTetN0(),
        form(lambda h, xp, u, v, w: h.dot(h.curl(u), h.curl(v)) - w["k"] * h.dot(u, v)),
        given={"k": nodal(skfem.ElementTetP1())},
    ),
    "Nédélec in 2-D": Case(TRI, skfem.ElementTriN1(), form(lambda h, xp, u, v, w: h.curl(u) * h.curl(v) + h.dot(u, v))),
    "discontinuous Galerkin, interior penalty": Case(
        TRI, skfem.ElementTriP1DG(), form(interior_penalty), where="interior"
    ),
    "ghost penalty on P2": Case(
        TRI,
        P2,
        form(lambda h, xp, u, v, w: h.dot(*[h.jump(w, h.grad(f), h.grad(g))[k] for k, f, g in ((0, u, v), (1, u, v))])),
        where="interior",
    ),
    "Morley plate": Case(
        TRI,
        skfem.ElementTriMorley(),
        form(lambda h, xp, u, v, w: w["D"] * h.ddot(h.dd(u), h.dd(v))),
        given={"D": nodal(P1)},
    ),
    "Argyris plate": Case(
        skfem.MeshTri().refined(1), skfem.ElementTriArgyris(), form(lambda h, xp, u, v, w: h.ddot(h.dd(u), h.dd(v)))
    ),
    "Hermite beam": Case(LINE, skfem.ElementLineHermite(), form(lambda h, xp, u, v, w: h.dd(u)[0, 0] * h.dd(v)[0, 0])),
    "P1 on a line": Case(LINE, skfem.ElementLineP1(), DIFFUSION, given={"k": nodal(skfem.ElementLineP1())}),
    "P2 on a line, end point": Case(LINE, skfem.ElementLineP2(), MASS, where="left"),
    "Q1": Case(QUAD, skfem.ElementQuad1(), DIFFUSION, given={"k": nodal(skfem.ElementQuad1())}),
    "Q2": Case(QUAD, skfem.ElementQuad2(), DIFFUSION, given={"k": per_element}),
    "Q2 on the boundary": Case(QUAD, skfem.ElementQuad2(), MASS, where="right"),
    "tetrahedra P1": Case(TET, skfem.ElementTetP1(), DIFFUSION, given={"k": nodal(skfem.ElementTetP1())}),
    "tetrahedra P2": Case(TET, skfem.ElementTetP2(), DIFFUSION, given={"k": nodal(skfem.ElementTetP1())}),
    "tetrahedra on the boundary": Case(TET, skfem.ElementTetP1(), MASS, where="left"),
    "hexahedra Q1": Case(HEX, skfem.ElementHex1(), DIFFUSION, given={"k": of_x(lambda x: 1 + x[2])}),
    "hexahedra Q2": Case(skfem.MeshHex(), skfem.ElementHex2(), LAPLACE),
    "hexahedra on the boundary": Case(HEX, skfem.ElementHex1(), MASS, where="left"),
    "trial P2, test P1": Case(TRI, P2, MASS, test=P1),
    "trial P1, test vector": Case(TRI, P1, form(lambda h, xp, p, v, w: p * h.div(v)), test=skfem.ElementVector(P2)),
    "Crouzeix–Raviart": Case(TRI, skfem.ElementTriCR(), LAPLACE),
    "a form that is zero": Case(TRI, P1, form(lambda h, xp, u, v, w: 0.0 * u * v)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BILINEAR.values(), ids=BILINEAR.keys())
def test_a_bilinear_form_is_assembled_as_by_scikit_fem(case):
    V, B = spaces(case.mesh, case.element, case.where)
    mine, theirs = bilinear_form(case.make(pdeopt.fem, jnp)), case.make(skfem.helpers, np)
    if case.test is not None:  # the quadrature of the richer space, on both sides
        order = 2 * max(case.element.maxdeg, case.test.maxdeg)
        V, B = FunctionSpace(case.mesh, case.element, order=order), skfem.Basis(case.mesh, case.element, intorder=order)
        W, C = V.with_element(case.test), B.with_element(case.test)
    else:
        W, C = V, B
    here, there = case.coefficients(V, B)
    dtype = complex if any(np.iscomplexobj(np.asarray(value)) for value in there.values()) else float
    reference = skfem.BilinearForm(theirs, dtype=dtype)
    S = skfem.asm(reference, B, C, **there) if case.where == "interior" else reference.assemble(B, C, **there)
    assert_same_matrix(mine.assemble(V, W, **here), S.tocsr())


SCALAR_SPACES = {
    "line P1": (LINE, skfem.ElementLineP1()),
    "triangles P2": (TRI, P2),
    "quads Q2": (QUAD, skfem.ElementQuad2()),
    "tetrahedra P1": (TET, skfem.ElementTetP1()),
    "hexahedra Q1": (HEX, skfem.ElementHex1()),
}
VECTOR_SPACES = {
    "triangles": (TRI, VP1),
    "quads": (QUAD, skfem.ElementVector(skfem.ElementQuad1())),
    "tetrahedra": (TET, skfem.ElementVector(skfem.ElementTetP2())),
    "hexahedra": (HEX, skfem.ElementVector(skfem.ElementHex1())),
}


@pytest.mark.parametrize("mesh_element", SCALAR_SPACES.values(), ids=SCALAR_SPACES.keys())
@pytest.mark.parametrize("name", ["laplace", "mass", "unit_load"])
def test_scalar_forms_of_skfem_models(name, mesh_element):
    V, B = spaces(*mesh_element, "cells")
    theirs = getattr(poisson, name)
    if name == "unit_load":
        np.testing.assert_allclose(linear_form(theirs).assemble(V), theirs.assemble(B), rtol=0, atol=1e-13)
    else:
        assert_same_matrix(bilinear_form(theirs).assemble(V), theirs.assemble(B))


@pytest.mark.parametrize("mesh_element", VECTOR_SPACES.values(), ids=VECTOR_SPACES.keys())
@pytest.mark.parametrize(
    "form", [poisson.vector_laplace, elasticity.linear_elasticity(2.0, 3.0)], ids=["laplace", "elasticity"]
)
def test_vector_forms_of_skfem_models(form, mesh_element):
    V, B = spaces(*mesh_element, "cells")
    assert_same_matrix(bilinear_form(form).assemble(V), form.assemble(B))


GENERAL = {
    "divu, vector": (general.divu, TRI, skfem.ElementVector(P2), P1),
    "divu, RT": (general.divu, TRI, skfem.ElementTriRT0(), skfem.ElementTriP0()),
    "divergence, 3-D": (general.divergence, TET, skfem.ElementVector(skfem.ElementTetP1()), skfem.ElementTetP1()),
    "curluv, 3-D": (general.curluv, TET, skfem.ElementTetN0(), skfem.ElementTetRT0()),
    "curluv, 2-D": (general.curluv, TRI, P1, VP1),
}


@pytest.mark.parametrize(("form", "mesh", "trial", "test"), GENERAL.values(), ids=GENERAL.keys())
def test_general_bilinear_forms_of_skfem_models(form, mesh, trial, test):
    V, B = FunctionSpace(mesh, trial, order=4), skfem.Basis(mesh, trial, intorder=4)
    A = bilinear_form(form).assemble(V, V.with_element(test))
    assert_same_matrix(A, form.assemble(B, B.with_element(test)))


VECTOR, EDGE = skfem.ElementVector(skfem.ElementTetP1()), skfem.ElementTetN0()
ROTATIONS = {  # with helpers of pdeopt, because the coefficient is traced
    "rot": (lambda v, w: dot(pdeopt.fem.curl(v), w["w"]), EDGE, VECTOR),
    "vrot": (lambda v, w: dot(v, pdeopt.fem.curl(w["w"])), VECTOR, EDGE),
}


@pytest.mark.parametrize("name", ROTATIONS)
def test_general_linear_forms_of_skfem_models(name):
    mine, element, given = ROTATIONS[name]
    V, B = spaces(TET, element, "cells")
    here, there = nodal(given)(V, B)
    expected = getattr(general, name).assemble(B, w=there)
    np.testing.assert_allclose(linear_form(mine).assemble(V, w=here), expected, atol=1e-13)


LINEAR = {
    "load": Case(TRI, P2, form(lambda h, xp, v, w: xp.exp(w["f"]) * v), given={"f": nodal(P1)}),
    "load, function of x": Case(TRI, P1, form(lambda h, xp, v, w: w["f"] * v), given={"f": of_x(lambda x: x[0] ** 3)}),
    "load, per element": Case(TRI, P1, form(lambda h, xp, v, w: w["f"] * v), given={"f": per_element}),
    "load, complex": Case(TRI, P1, form(lambda h, xp, v, w: w["f"] * v), given={"f": constant(1j)}),
    "Neumann": Case(TRI, P2, form(lambda h, xp, v, w: w["g"] * v), where="right", given={"g": nodal(P1)}),
    "Neumann, of the normal": Case(TRI, P1, form(lambda h, xp, v, w: (w.n[0] + w.x[1]) * v), where="right"),
    "traction": Case(TRI, VP1, form(lambda h, xp, v, w: h.dot(w["p"] * w.n, v)), where="left", given={"p": nodal(P1)}),
    "residual": Case(TRI, P2, form(lambda h, xp, v, w: h.dot(h.grad(w["u"]), h.grad(v))), given={"u": nodal(P2)}),
    "RT boundary values": Case(TRI, skfem.ElementTriRT0(), form(lambda h, xp, v, w: h.dot(v, w.n)), where="left"),
    "mixed": Case(TRI, VP1 * P1, form(lambda h, xp, v, q, w: w.x[0] * h.div(v) + w.x[1] * q)),
    "on quads": Case(QUAD, skfem.ElementQuad2(), form(lambda h, xp, v, w: w.x[0] * v)),
    "jump": Case(TRI, skfem.ElementTriP1DG(), form(lambda h, xp, v, w: h.jump(w, v) * w.x[0]), where="interior"),
}


@pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR.keys())
def test_a_linear_form_is_assembled_as_by_scikit_fem(case):
    V, B = spaces(case.mesh, case.element, case.where)
    here, there = case.coefficients(V, B)
    dtype = complex if any(np.iscomplexobj(np.asarray(value)) for value in there.values()) else float
    theirs = skfem.LinearForm(case.make(skfem.helpers, np), dtype=dtype)
    expected = skfem.asm(theirs, B, **there) if case.where == "interior" else theirs.assemble(B, **there)
    got = linear_form(case.make(pdeopt.fem, jnp)).assemble(V, **here)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


FUNCTIONALS = {
    "energy": Case(
        TRI,
        P2,
        form(lambda h, xp, w: xp.exp(w["m"]) * h.dot(h.grad(w["u"]), h.grad(w["u"]))),
        given={"u": nodal(P2), "m": nodal(P1)},
    ),
    "area": Case(TRI, P1, form(lambda h, xp, w: 1.0 + 0.0 * w.x[0])),
    "boundary flux": Case(
        TRI,
        P2,
        form(lambda h, xp, w: w["k"] * h.dot(h.grad(w["u"]), w.n)),
        where="left",
        given={"u": nodal(P2), "k": nodal(P1)},
    ),
    "length of a curved boundary": Case(DISC, P2, form(lambda h, xp, w: 1.0 + 0.0 * w.x[0]), where="right"),
    "mixed field": Case(
        TRI, P1, form(lambda h, xp, w: h.div(w["s"][0]) + w["s"][1] ** 2), given={"s": nodal(VP1 * P1)}
    ),
    "tensor functions": Case(
        TRI,
        P1,
        form(lambda h, xp, w: h.det(h.grad(w["y"])) + h.trace(h.inv(h.eye(3.0 + w.x[0], 2) + h.grad(w["y"])))),
        given={"y": nodal(VP1)},
    ),
    "tensor functions in 3-D": Case(
        TET,
        skfem.ElementTetP1(),
        form(
            lambda h, xp, w: (
                h.det(h.grad(w["y"]))
                + h.trace(h.inv(h.identity(h.grad(w["y"])) * 5.0 + h.grad(w["y"])))
                + h.dot(h.cross(w["y"], w.x), h.curl(w["y"]))
                + h.ddot(h.prod(w["y"], w.x), h.transpose(h.grad(w["y"])))
                + h.dddot(h.prod(w["y"], w.x, w.x), h.prod(w.x, w.x, w.x))
            )
        ),
        given={"y": nodal(skfem.ElementVector(skfem.ElementTetP1()))},
    ),
    "cross product in 2-D": Case(TRI, P1, form(lambda h, xp, w: h.cross(w["y"], w.x)), given={"y": nodal(VP1)}),
}


@pytest.mark.parametrize("case", FUNCTIONALS.values(), ids=FUNCTIONALS.keys())
def test_a_functional_is_assembled_as_by_scikit_fem(case):
    V, B = spaces(case.mesh, case.element, case.where)
    here, there = case.coefficients(V, B)
    expected = skfem.Functional(case.make(skfem.helpers, np)).assemble(B, **there)
    assert functional(case.make(pdeopt.fem, jnp)).assemble(V, **here) == pytest.approx(expected, rel=1e-12)


def test_inner_of_tuples_and_d_of_each_kind_of_element():
    case = form(lambda h, xp, u, p, v, q, w: h.inner((u, p), (v, q)) + h.inner(h.d(u), h.d(v)))
    for element in (VP1 * P1, skfem.ElementTriRT0() * skfem.ElementTriP1()):
        V, B = spaces(TRI, element, "cells")
        assert_same_matrix(
            bilinear_form(case(pdeopt.fem, jnp)).assemble(V), skfem.BilinearForm(case(skfem.helpers, np)).assemble(B)
        )


def test_the_pattern_does_not_depend_on_the_values():
    V = FunctionSpace(TRI, P1)
    diffusion = bilinear_form(DIFFUSION(pdeopt.fem, jnp))
    patterns = [diffusion.assemble(V, k=V.per_element(k * np.ones(TRI.nelements))).pattern for k in (1.0, 0.0)]
    assert patterns[0] is patterns[1]
    assert patterns[0] == bilinear_form(MASS(pdeopt.fem, jnp)).assemble(V).pattern


def test_a_coefficient_hidden_in_a_loop_is_not_taken_for_zero():
    """Terms that vanish for every coefficient are left out; what a scan carries must not count as such."""

    @bilinear_form
    def rotated(u, v, w):
        g = grad(u)

        def turn(carry, _):
            return (carry[1], w["k"] * g[0]), None

        zero = jnp.zeros_like(w["k"] * g[0])
        return jax.lax.scan(turn, (zero, zero), None, length=2)[0][0] * grad(v)[0]

    V = FunctionSpace(TRI, P1)
    k = V.interpolate(np.ones(V.n))
    direct = bilinear_form(lambda u, v, w: w["k"] * grad(u)[0] * grad(v)[0])
    np.testing.assert_allclose(rotated.assemble(V, k=k).data, direct.assemble(V, k=k).data, atol=1e-14)


# --- the adjoint of the assembly ---------------------------------------------------------------------------------

TINY = bent(skfem.MeshTri().refined(1))


def diffusion_matrix(V, M):
    diffuse = bilinear_form(lambda u, v, w: jnp.exp(w["m"]) * dot(grad(u), grad(v)) + w["m"] ** 2 * u * grad(v)[0])
    return lambda m: diffuse.assemble(V, m=M.interpolate(m)).data


@pytest.mark.slow
@pytest.mark.parametrize("element", [P1, P2, skfem.ElementTriP2() * P1], ids=["P1", "P2", "mixed"])
def test_the_adjoint_of_the_assembly_is_its_transposed_jacobian(element):
    if isinstance(element, skfem.ElementComposite):
        V = FunctionSpace(TINY, element)
        mixed = bilinear_form(lambda u, p, v, q, w: w["m"] ** 2 * dot(grad(u), grad(v)) + jnp.sin(w["m"]) * p * q)
        assemble = lambda m: mixed.assemble(V, m=V.with_element(P1).interpolate(m)).data  # noqa: E731
    else:
        V = FunctionSpace(TINY, element)
        assemble = diffusion_matrix(V, V.with_element(P1))
    m = np.random.default_rng(0).standard_normal(TINY.nvertices)
    forward, reverse = jax.jacfwd(assemble)(m), jax.jacrev(assemble)(m)
    np.testing.assert_allclose(forward, reverse, atol=1e-12)
    h = 1e-6
    for k in range(len(m)):
        e = h * np.eye(len(m))[k]
        np.testing.assert_allclose(forward[:, k], (assemble(m + e) - assemble(m - e)) / (2 * h), atol=1e-8)


KINDS = ["nodal", "per element", "per point", "constant", "Neumann", "Robin", "Dirichlet", "gradient of a field"]


EVERY_KIND_COMPILED = [pytest.param(kind, jax.jit, id=kind) for kind in KINDS]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "transform"), [*EVERY_KIND_COMPILED, pytest.param("nodal", lambda f: f, id="eager")])
def test_taylor_orders_of_a_functional_through_assembly_and_solve(kind, transform):
    """J(m) = ∫ u³ with −∇·(k∇u) + c·∇u + u = f, k ∂u/∂n = g or α(1 − u), or u = g, by what m stands for."""
    V = FunctionSpace(TINY, P2)
    M = V.with_element(P1)
    left = V.boundary("left")
    sizes = {"per element": (TINY.nelements,), "per point": V.basis.dx.shape, "constant": ()}
    if kind == "Dirichlet":
        sizes[kind] = V.dofs("left").shape
    operator = bilinear_form(lambda u, v, w: w["k"] * dot(grad(u), grad(v)) + grad(u)[0] * v + u * v)
    tilted = bilinear_form(lambda u, v, w: dot(grad(w["f"]), grad(u)) * v)
    load, flux = linear_form(lambda v, w: w.x[0] * v), linear_form(lambda v, w: w["g"] ** 2 * v)
    robin = bilinear_form(lambda u, v, w: jnp.exp(w["a"]) * u * v)
    cubed = functional(lambda w: w["u"] ** 3)

    def J(m):
        k = {
            "nodal": lambda: jnp.exp(M.interpolate(m).value),
            "per element": lambda: jnp.exp(V.per_element(m).value),
            "per point": lambda: jnp.exp(m),
            "constant": lambda: jnp.exp(m),
        }.get(kind, lambda: 1.0)()
        A, b = operator.assemble(V, k=k), load.assemble(V)
        if kind == "Neumann":
            b = b + flux.assemble(left, g=left.with_element(P1).interpolate(m))
        if kind == "Robin":
            A = A + robin.assemble(left, a=left.with_element(P1).interpolate(m))
        if kind == "gradient of a field":
            A = A + tilted.assemble(V, f=M.interpolate(m))
        values = jnp.sin(m) if kind == "Dirichlet" else None
        dirichlet = pdeopt.fem.Dirichlet.on(V, "left" if kind == "Dirichlet" else "right", values)
        A, b = dirichlet.condense(A, b)
        return cubed.assemble(V, u=V.interpolate(dirichlet.extend(linear_solve(A, b))))

    rng = np.random.default_rng(0)
    shape = sizes.get(kind, (M.n,))
    m, direction = rng.standard_normal(shape), rng.standard_normal(shape)
    value, derivative = transform(J), transform(jax.grad(J))
    hessian_action = transform(lambda m, v: jax.jvp(jax.grad(J), (m,), (v,))[1])
    result = taylor_test(
        lambda m: float(value(m)),
        np.asarray(derivative(m)),
        m,
        direction,
        hessian_action=np.asarray(hessian_action(m, direction)),
        first_step=0.05,
        halvings=7,
    )
    assert result.passed, str(result)
    assert np.linalg.norm(derivative(m)) > 0


# --- refused -----------------------------------------------------------------------------------------------------

V = FunctionSpace(TRI, P1)
ONES = np.ones(V.n)


def uses_numpy(u, v, w):
    return np.exp(w["k"]) * u * v


def uses_numpy_on_values(u, v, w):
    return np.exp(w["k"].value) * u * v


def uses_skfem_helpers(u, v, w):
    return skfem.helpers.dot(skfem.helpers.grad(w["k"]), skfem.helpers.grad(u)) * v


def branches_on_values(u, v, w):
    return u * v if w["k"].value.max() > 0 else 2 * u * v


def passes_a_field_to_an_array_function(u, v, w):
    return jax.nn.sigmoid(w["k"]) * u * v


NODAL = {"k": V.interpolate(ONES)}
REFUSED = [
    (uses_numpy, NODAL, r"NumPy function to a field; replace np. by jnp."),
    (uses_numpy, {"k": 1.0}, r"np.exp\(...\) → jnp.exp"),
    (uses_numpy_on_values, NODAL, r"np.exp\(...\) → jnp.exp"),
    (uses_skfem_helpers, NODAL, "helpers of skfem.helpers by those of pdeopt.fem"),
    (branches_on_values, NODAL, "`if` on values by jnp.where"),
    (DIFFUSION(pdeopt.fem, jnp), {}, r"asks for w\['k'\], which was not passed; w has h, x"),
    (lambda u, v, w: w.k * u * v, {}, "asks for w.k, which was not passed"),
    (lambda u, v, w: w.n[0] * u * v, {}, "asks for w.n"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": ONES}, r"shape \(25,\), which could be nodal or per element.*space.interpolate"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": np.ones((7, 3))}, r"shape \(7, 3\), but the integral is over 32 cells"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": FunctionSpace(TRI, P1, order=6).interpolate(ONES)}, "on a space made by"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": V.boundary("left").interpolate(ONES)}, "on a space made by"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": "0.5"}, "coefficient 'k' is a str; expected a field"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": None}, "coefficient 'k' is a NoneType"),
    (DIFFUSION(pdeopt.fem, jnp), {"k": 1.0, "x": 1.0}, "'x' is the name of a built-in coefficient"),
    (lambda u, v, w: u * u * v, {}, "not linear in its trial function"),
    (lambda u, v, w: u * v * v, {}, "not linear in its test function"),
    (lambda u, v, w: u * v + 1.0, {}, "not linear in its trial function"),
    (lambda u, v, w: 1.0 * v, {}, "not linear in its trial function"),
    (lambda u, v, w: abs(u) * v, {}, "not linear in its trial function"),
    (lambda u, v, w: grad(u) * grad(v), {}, r"returns a tensor of shape \(2,\), not a scalar"),
    (lambda u, v, w: None, {}, "returns None"),
]


@pytest.mark.parametrize(("function", "given", "message"), REFUSED)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "jit"])
def test_what_is_not_a_bilinear_form_is_refused_by_name(function, given, message, traced):
    refused = bilinear_form(function)

    def assemble(factor):
        return refused.assemble(V, **given).data * factor

    with pytest.raises(FormError, match=rf"(?s)form '{refused.name}'.*{message}"):
        (jax.jit(assemble) if traced else assemble)(1.0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda v, w: v**2, "not linear in its test function"),
        (lambda v, w: w.x[0], "not linear in its test function"),
        (lambda v, w: grad(v), "not a scalar"),
    ],
)
def test_what_is_not_a_linear_form_is_refused(function, message):
    with pytest.raises(FormError, match=message):
        linear_form(function).assemble(V)


def test_what_is_not_a_functional_is_refused():
    with pytest.raises(FormError, match="not a scalar"):
        functional(lambda w: grad(w["u"])).assemble(V, u=V.interpolate(ONES))
    with pytest.raises(FormError, match="made from a function"):
        bilinear_form(3)


def test_spaces_of_different_quadrature_are_refused():
    mass = bilinear_form(MASS(pdeopt.fem, jnp))
    with pytest.raises(FormError, match=r"different cells or quadrature.*with_element"):
        mass.assemble(V, FunctionSpace(TRI, P2))
    with pytest.raises(FormError, match="different cells or quadrature"):
        mass.assemble(V, V.boundary("left"))


def test_a_field_passed_to_a_function_of_arrays_is_refused_with_the_remedy():
    with pytest.raises(FormError, match=r'pass its values, w\["k"\].value instead of w\["k"\]$'):
        bilinear_form(passes_a_field_to_an_array_function).assemble(V, **NODAL)


# --- fields ------------------------------------------------------------------------------------------------------


def test_a_field_behaves_like_the_array_of_its_values():
    u = V.interpolate(np.arange(1.0, V.n + 1))
    x = np.asarray(u.value)
    both_ways = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a**b]
    comparisons = [lambda a, b: a < b, lambda a, b: a > b, lambda a, b: a <= b, lambda a, b: a >= b]
    pairs = [(f(u, 2.0), f(x, 2.0)) for f in both_ways + comparisons] + [(f(2.0, u), f(2.0, x)) for f in both_ways]
    pairs += [(-u, -x), (abs(u), x), (u[0], x[0]), (np.ones(x.shape) * u, x), (u * u, x * x)]
    pairs += [(jnp.exp(u), np.exp(x)), (np.asarray(u), x)]
    for got, want in pairs:
        np.testing.assert_allclose(got, want)
    assert (u.shape, u.ndim, u.dtype) == (x.shape, 2, x.dtype)
    assert u.hess is None
    assert "grad" in repr(u)
    with pytest.raises(AttributeError, match="no attribute 'laplacian'"):
        _ = u.laplacian
    with pytest.raises(TypeError):
        np.exp(u)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, u)
    np.testing.assert_allclose(doubled.grad, 2 * u.grad)


@pytest.mark.slow
def test_bad_input_is_always_a_value_error():
    assert issubclass(FormError, FEMError)
    assert issubclass(FEMError, ValueError)
