"""Random forms: assembled as by scikit-fem, and differentiated as finite differences say."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
import skfem.helpers
from hypothesis import given, settings
from hypothesis import strategies as st
from skfem.element import ElementHcurl, ElementHdiv

import pdeopt.fem
from pdeopt.fem import FunctionSpace, bilinear_form, functional, linear_form
from pdeopt.sparse import CSRMatrix

pytestmark = pytest.mark.fuzz

# --- meshes and spaces -------------------------------------------------------------------------------------------


def ticks(n):
    return np.linspace(0, 1, n + 1)


def named(mesh):
    return mesh.with_boundaries({"left": lambda x: x[0] < 1e-9}).with_subdomains({"half": lambda x: x[0] < 0.5})


def bent(mesh, seed):
    """The mesh with vertices moved, on the boundary along it."""
    rng = np.random.default_rng(seed)
    p = mesh.p + 0.12 * rng.uniform(-1, 1, mesh.p.shape) * (mesh.p * (1 - mesh.p) > 1e-9) / 2
    return type(mesh)(p, mesh.t)


def curved(seed):
    """A mesh of curved cells, whose parts are those of the straight one: its left side has moved, too."""
    straight = named(skfem.MeshTri.init_tensor(ticks(2), ticks(2)))
    mesh = skfem.MeshTri2.from_mesh(straight)
    moved = skfem.MeshTri2(mesh.doflocs + 0.05 * np.sin((2 + seed) * mesh.doflocs[::-1]), mesh.t)
    return moved.with_boundaries(straight.boundaries).with_subdomains(straight.subdomains)


AFFINE = {
    "line": skfem.MeshLine(ticks(4)),
    "tri": skfem.MeshTri.init_tensor(ticks(2), ticks(2)),
    "quad": skfem.MeshQuad.init_tensor(ticks(2), ticks(2)),
    "tet": skfem.MeshTet(),
    "hex": skfem.MeshHex.init_tensor(ticks(2), ticks(1), ticks(1)),
}
MESHES = {
    **{f"{kind} {seed}": named(bent(mesh, seed)) for kind, mesh in AFFINE.items() for seed in (1, 2)},
    **{f"{kind} affine": named(mesh) for kind, mesh in AFFINE.items()},
    **{f"curved {variant}": curved(k) for k, variant in enumerate(("1", "2", "affine"))},
}
ELEMENTS: dict[str, dict[str, skfem.Element]] = {
    "line": {
        "P0": skfem.ElementLineP0(),
        "P1": skfem.ElementLineP1(),
        "P2": skfem.ElementLineP2(),
        "P2 P1": skfem.ElementLineP2() * skfem.ElementLineP1(),
    },
    "tri": {
        "P0": skfem.ElementTriP0(),
        "P1": skfem.ElementTriP1(),
        "P2": skfem.ElementTriP2(),
        "P1 DG": skfem.ElementTriP1DG(),
        "CR": skfem.ElementTriCR(),
        "vector P1": skfem.ElementVector(skfem.ElementTriP1()),
        "vector P2": skfem.ElementVector(skfem.ElementTriP2()),
        "RT": skfem.ElementTriRT0(),
        "N": skfem.ElementTriN1(),
        "RT P0": skfem.ElementTriRT0() * skfem.ElementTriP0(),
        "vector P2 P1": skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1(),
    },
    "quad": {
        "Q0": skfem.ElementQuad0(),
        "Q1": skfem.ElementQuad1(),
        "Q2": skfem.ElementQuad2(),
        "vector Q1": skfem.ElementVector(skfem.ElementQuad1()),
    },
    "tet": {
        "P0": skfem.ElementTetP0(),
        "P1": skfem.ElementTetP1(),
        "P2": skfem.ElementTetP2(),
        "vector P1": skfem.ElementVector(skfem.ElementTetP1()),
        "RT": skfem.ElementTetRT0(),
        "N": skfem.ElementTetN0(),
        "RT P0": skfem.ElementTetRT0() * skfem.ElementTetP0(),
    },
    "hex": {"Q1": skfem.ElementHex1(), "vector Q1": skfem.ElementVector(skfem.ElementHex1())},
    "curved": {"P1": skfem.ElementTriP1(), "P2": skfem.ElementTriP2(), "P0": skfem.ElementTriP0()},
}
NODAL = {
    "line": skfem.ElementLineP1(),
    "tri": skfem.ElementTriP1(),
    "quad": skfem.ElementQuad1(),
    "tet": skfem.ElementTetP1(),
    "hex": skfem.ElementHex1(),
    "curved": skfem.ElementTriP1(),
}
PLACES = ["cells", "cells", "half", "boundary", "left", "interior"]
ORDER = 3


@lru_cache(None)
def mine(mesh: str, element: skfem.Element, place: str) -> tuple[FunctionSpace, ...]:
    V = FunctionSpace(MESHES[mesh], element, order=ORDER)
    if place == "interior":
        return V.interior_facets()
    parts: dict[str, Callable] = {"cells": lambda: V, "boundary": V.boundary}
    return (parts.get(place, lambda: V.subdomain("half") if place == "half" else V.boundary("left"))(),)


@lru_cache(None)
def theirs(mesh: str, element: skfem.Element, place: str) -> list[Any]:
    m = MESHES[mesh]
    if place == "cells":
        return [skfem.CellBasis(m, element, intorder=ORDER)]
    if place == "half":
        return [skfem.CellBasis(m, element, intorder=ORDER, elements="half")]
    if place == "interior":
        return [skfem.InteriorFacetBasis(m, element, intorder=ORDER, side=side) for side in (0, 1)]
    facets = m.boundary_facets() if place == "boundary" else m.boundaries["left"]
    return [skfem.FacetBasis(m, element, intorder=ORDER, facets=facets)]


# --- random forms, written once for both libraries ---------------------------------------------------------------
# A form takes seconds to compile and is assembled in milliseconds, so that a few forms are drawn, and for each of them
# many cases of values and meshes: each form is that of a number.


@dataclass(frozen=True)
class Named:
    """A function with a text, so that a failing example can be read."""

    text: str
    function: Callable[..., Any]

    def __call__(self, *arguments):
        return self.function(*arguments)

    def __repr__(self):
        return self.text


UNARY = {
    "exp(0.3 {})": lambda xp, w, a: xp.exp(0.3 * a),
    "sin({})": lambda xp, w, a: xp.sin(1.0 * a),
    "{}²": lambda xp, w, a: a**2,
    "-{}": lambda xp, w, a: -a,
    "where(x[0] > 0.4, {}, 1)": lambda xp, w, a: xp.where(w.x[0] > 0.4, a, 1.0),
}
BINARY = {
    "({} * {})": lambda a, b: a * b,
    "({} + {})": lambda a, b: a + b,
    "({} - {})": lambda a, b: a - b,
    "({} / (2 + {}²))": lambda a, b: a / (2 + b**2),
}


def coefficient(rng, dim, place, depth=2):
    """A function of (h, xp, w), the helpers, NumPy or JAX, and the coefficients; smooth in the fields."""
    kind = rng.random()
    if depth and kind < 0.3:
        text, operation = rng.choice(list(UNARY.items()))
        a = coefficient(rng, dim, place, depth - 1)
        return Named(text.format(a), lambda h, xp, w: operation(xp, w, a(h, xp, w)))
    if depth and kind < 0.7:
        text, operation = rng.choice(list(BINARY.items()))
        a, b = (coefficient(rng, dim, place, depth - 1) for _ in range(2))
        return Named(text.format(a, b), lambda h, xp, w: operation(a(h, xp, w), b(h, xp, w)))
    axis, number = rng.randrange(dim), round(rng.uniform(-2, 2), 3)
    leaves = {
        "m": lambda h, xp, w: w["m"],
        f"grad(m)[{axis}]": lambda h, xp, w: h.grad(w["m"])[axis],
        "k": lambda h, xp, w: w["k"],
        "f": lambda h, xp, w: w["f"],
        "q": lambda h, xp, w: w["q"],
        "c": lambda h, xp, w: w["c"],
        f"b[{axis}]": lambda h, xp, w: w["b"][axis],
        f"x[{axis}]": lambda h, xp, w: w.x[axis],
        "h": lambda h, xp, w: w.h,
        f"{number}": lambda h, xp, w: number,
        "0": lambda h, xp, w: 0.0,
    }
    if place in ("boundary", "left", "interior"):
        leaves[f"n[{axis}]"] = lambda h, xp, w: w.n[axis]
    if place == "interior":
        leaves["m of the other side"] = lambda h, xp, w: w["m1"]
    return Named(*rng.choice(list(leaves.items())))


def pieces(element, dim):
    """(name, tensor rank, function of (h, field)) of what a form may take of a trial or test function."""
    axes = range(dim)
    if isinstance(element, skfem.ElementVector):
        return [
            ("u", 1, lambda h, u: u),
            ("grad u", 2, lambda h, u: h.grad(u)),
            ("sym_grad u", 2, lambda h, u: h.sym_grad(u)),
            ("div u", 0, lambda h, u: h.div(u)),
            *((f"u[{i}]", 0, lambda h, u, i=i: u[i]) for i in axes),
            *((f"grad u[{i}, 0]", 0, lambda h, u, i=i: h.grad(u)[i, 0]) for i in axes),
        ]
    if isinstance(element, (ElementHdiv, ElementHcurl)):
        flux = isinstance(element, ElementHdiv)
        last = ("div u", 0, lambda h, u: h.div(u)) if flux else ("curl u", dim - 2, lambda h, u: h.curl(u))
        return [("u", 1, lambda h, u: u), *((f"u[{i}]", 0, lambda h, u, i=i: u[i]) for i in axes), last]
    return [
        ("u", 0, lambda h, u: u),
        ("grad u", 1, lambda h, u: h.grad(u)),
        *((f"grad u[{i}]", 0, lambda h, u, i=i: h.grad(u)[i]) for i in axes),
    ]


def components(element):
    return element.elems if isinstance(element, skfem.ElementComposite) else [element]


def product(h, w, values, ranks):
    """Tensors of one rank are contracted with each other, others with x."""
    if len(values) == 2 and ranks[0] == ranks[1] and ranks[0]:
        return (h.dot if ranks[0] == 1 else h.ddot)(*values)
    scalars = []
    for value, rank in zip(values, ranks, strict=True):
        value = h.mul(value, w.x) if rank == 2 else value
        scalars.append(h.dot(w.x, value) if rank else value)
    return reduce(lambda a, b: a * b, scalars)


def term(rng, dim, place, elements):
    """A coefficient times a piece of each argument, as a function of (h, xp, arguments, w)."""
    factor, chosen, start = coefficient(rng, dim, place), [], 0
    for element in elements:
        parts = components(element)
        which = rng.randrange(len(parts))
        chosen.append((start + which, *rng.choice(pieces(parts[which], dim))))
        start += len(parts)
    jumps = place == "interior" and bool(elements) and rng.random() < 0.5

    def function(h, xp, arguments, w):
        values = [piece(h, arguments[position]) for position, _, _, piece in chosen]
        if jumps:
            jumped = h.jump(w, *values)
            values = jumped if isinstance(jumped, (list, tuple)) else [jumped]
        scalar = product(h, w, values, [rank for _, _, rank, _ in chosen]) if chosen else 1.0 + 0.0 * w.x[0]
        return factor(h, xp, w) * scalar

    names = "".join(f" · [{position}] {name}" for position, name, _, _ in chosen)
    return Named(f"{factor}{names}{' (jumps)' * jumps}", function)


@dataclass(frozen=True)
class RandomForm:
    """A form in up to three terms: bilinear, linear or a functional, as there are two elements, one or none."""

    kind: str
    place: str
    elements: tuple[skfem.Element, ...]
    terms: tuple[Named, ...]

    def of(self, h, xp):
        def function(*arguments):
            return sum(term(h, xp, arguments[:-1], arguments[-1]) for term in self.terms)

        return function


@lru_cache(None)
def random_form(number):
    rng = random.Random(number)
    kind, place = rng.choice(list(ELEMENTS)), rng.choice(PLACES)
    names = rng.choices(list(ELEMENTS[kind]), k=rng.choice([2, 2, 2, 2, 1, 0]))
    if len(names) == 2 and rng.random() < 0.5:
        names[1] = names[0]
    elements = tuple(ELEMENTS[kind][name] for name in names)
    count, dim = rng.choice([1, 2, 3]), MESHES[f"{kind} 1"].dim()
    form = RandomForm(kind, place, elements, tuple(term(rng, dim, place, elements) for _ in range(count)))
    h = pdeopt.fem
    make = (functional, linear_form, bilinear_form)[len(elements)]
    return form, make(form.of(h, jnp))


@dataclass(frozen=True)
class Case:
    """A form, by its number, on a mesh, with coefficients of a seed."""

    number: int
    variant: str
    seed: int

    @property
    def form(self):
        return random_form(self.number)[0]

    @property
    def mesh(self):
        return f"{self.form.kind} {self.variant}"

    def __repr__(self):
        form = self.form
        elements = [type(e).__name__ for e in form.elements]
        name = f"Case({self.number}, {self.variant!r}, {self.seed})"
        return f"{name}: {form.terms} of {elements} on {self.mesh}, {form.place}"

    @property
    def nodal(self):
        return NODAL[self.form.kind]

    def values(self):
        """What the coefficients depend on."""
        rng = np.random.default_rng(self.seed)
        space = mine(self.mesh, self.nodal, self.form.place)[0]
        points, dim = space.basis.dx.shape, space.mesh.dim()
        sizes = {"m": space.n, "k": space.mesh.nelements, "q": points, "c": (), "b": (dim, *points)}
        return {name: rng.standard_normal(size) for name, size in sizes.items()}


def function_of_x(x):
    return 1 + x[0] * x[-1] ** 2


def assembled(case, values):
    """By pdeopt: the matrix, the vector, or the number."""
    traces = mine(case.mesh, case.nodal, case.form.place)
    given = {"m": traces[0].interpolate(values["m"]), "k": traces[0].per_element(values["k"]), "f": function_of_x}
    if len(traces) > 1:
        given["m1"] = traces[1].interpolate(values["m"])
    spaces = [mine(case.mesh, element, case.form.place) for element in case.form.elements] or [traces[0]]
    return random_form(case.number)[1].assemble(*spaces, **given, **{name: values[name] for name in ("q", "c", "b")})


def expected(case, values):
    """By scikit-fem, dense."""
    traces = theirs(case.mesh, case.nodal, case.form.place)
    basis = traces[0]
    cells = slice(None) if basis.tind is None else basis.tind
    given = {
        "m": basis.interpolate(values["m"]),
        "k": np.broadcast_to(values["k"][cells][:, None], basis.dx.shape),
        "f": function_of_x(np.asarray(basis.default_parameters()["x"])),
    }
    if len(traces) > 1:
        given["m1"] = traces[1].interpolate(values["m"])
    given |= {"q": values["q"], "c": float(values["c"]), "b": values["b"]}
    bases = [theirs(case.mesh, element, case.form.place) for element in case.form.elements]
    function = case.form.of(skfem.helpers, np)
    if not bases:
        return skfem.Functional(function).assemble(basis, **given)
    if len(bases) == 1:
        return skfem.asm(skfem.LinearForm(function), *bases, **given)
    return skfem.asm(skfem.BilinearForm(function), *bases, **given).toarray()


def flat(assembled):
    return assembled.data if isinstance(assembled, CSRMatrix) else jnp.ravel(assembled)


def case_of(draw_form):
    variants = st.sampled_from(["1", "2", "affine"])
    return st.builds(Case, draw_form, variants, st.integers(0, 2**32 - 1))


any_case = st.deferred(lambda: case_of(st.integers(0, 2 + settings.default.max_examples // 60)))


@pytest.mark.slow
@given(any_case)
def test_a_random_form_is_assembled_as_by_scikit_fem_and_differentiated(case):
    values = case.values()
    got, want = assembled(case, values), expected(case, values)
    dense = got.to_scipy().toarray() if isinstance(got, CSRMatrix) else np.asarray(got)
    np.testing.assert_allclose(dense, want, rtol=0, atol=1e-11 * (1 + np.abs(want).max()))
    if case.seed % 4 == 0:
        check_derivative(case, values)


def check_derivative(case, values):
    """Along a random direction: forward against differences of fourth order, reverse against forward."""
    rng = np.random.default_rng(case.seed + 1)
    direction = {name: rng.standard_normal(np.shape(value)) for name, value in values.items()}

    def entries(values):
        return flat(assembled(case, values))

    def at(t):
        return np.asarray(entries({name: value + t * direction[name] for name, value in values.items()}))

    _, forward = jax.jvp(entries, (values,), (direction,))
    out, pullback = jax.vjp(entries, values)
    weights = rng.standard_normal(out.shape)
    (gradient,) = pullback(jnp.asarray(weights))
    h = 1e-3
    differences = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    size = 1 + np.abs(forward).max() + np.abs(out).max()
    np.testing.assert_allclose(forward, differences, rtol=0, atol=1e-6 * size)
    transposed = sum(float(np.sum(np.asarray(gradient[name]) * direction[name])) for name in values)
    terms = np.abs(weights * np.asarray(forward)).sum()
    assert transposed == pytest.approx(float(weights @ np.asarray(forward)), rel=0, abs=1e-11 * (1 + terms))
