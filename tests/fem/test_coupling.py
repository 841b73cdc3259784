"""Which slots a form couples and by how many coefficients; and that both ways of assembly give the same matrix."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem
import skfem.helpers

import pdeopt.fem
from pdeopt.fem import FunctionSpace, bilinear_form, ddot, div, dot, grad, mul, sym_grad
from pdeopt.fem.forms import assembly
from pdeopt.fem.forms.assembly import shapes_of
from pdeopt.fem.forms.coefficients import coefficients_of
from pdeopt.fem.forms.coupling import coupled_slots, sample_coefficients
from pdeopt.fem.forms.structure import samples, slots_of, unit
from pdeopt.fem.tracing.form_tracing import traced_form


def bent(mesh):
    """The same mesh with vertices moved, so that no two elements are alike."""
    return type(mesh)(mesh.p + 0.05 * np.sin(3 * mesh.p[::-1] + 1), mesh.t)


TRI, TET = bent(skfem.MeshTri().refined(2)), bent(skfem.MeshTet().refined(1))
P1, TET_P1 = skfem.ElementTriP1(), skfem.ElementTetP1()
SPACES = {
    "2-D": FunctionSpace(TRI, P1),
    "3-D": FunctionSpace(TET, TET_P1),
    "2-D vector": FunctionSpace(TRI, skfem.ElementVector(P1)),
    "3-D vector": FunctionSpace(TET, skfem.ElementVector(TET_P1)),
}


def nodal(V, seed=0):
    """A function with values of both signs, on the scalar space."""
    element = P1 if V.mesh is TRI else TET_P1
    V = V.with_element(element) if isinstance(V.element, skfem.ElementVector) else V
    return V.interpolate(np.random.default_rng(seed).uniform(-1, 2, V.n))


def groups_of(function, V, **given):
    shapes = shapes_of(V.tables)
    w = coefficients_of("form", V, given, ())
    return coupled_slots(
        traced_form(function, "form", samples((shapes, shapes)), sample_coefficients(w)), shapes, shapes, w
    )


def checked_groups(function, V, **given):
    """The groups, after comparing the coefficients of all pairs of slots, one by one."""
    groups = groups_of(function, V, **given)
    w, shapes = coefficients_of("form", V, given, ()), shapes_of(V.tables)
    parts = [(component, part) for component, names in enumerate(shapes) for part in names]

    def coefficient(s, t):
        value = function(*unit(shapes, s), *unit(shapes, t), w)
        return np.broadcast_to(np.asarray(getattr(value, "value", value)), V.basis.dx.shape)

    together = [pair for group in groups for pair in group]
    assert len(together) == len(set(together))
    for group in groups:
        first = coefficient(*group[0])
        for pair in group[1:]:
            np.testing.assert_array_equal(coefficient(*pair), first, err_msg=str(pair))
    slots = slots_of(shapes, set(parts))
    for pair in set(product(slots, slots)) - set(together):
        np.testing.assert_array_equal(coefficient(*pair), 0.0, err_msg=str(pair))
    return groups


def sizes(groups):
    return sorted(len(group) for group in groups)


def gradients(u, v):
    return dot(grad(u), grad(v))


def by_axes(u, v, *coefficients):
    return sum(c * grad(u)[k] * grad(v)[k] for k, c in enumerate(coefficients))


def while_below(limit, x):
    return jax.lax.while_loop(lambda y: y.min() < limit, lambda y: y + 1.0, x)


def cond_on(x, positive, negative):
    return jax.lax.cond(x.sum() > 0, positive, negative, x)


@jax.custom_jvp
def doubled(x):
    return 2.0 * x


doubled.defjvp(lambda primals, tangents: (2.0 * primals[0], 2.0 * tangents[0]))

ISOTROPIC = {
    "exp": lambda u, v, w: jnp.exp(w["m"]) * gradients(u, v),
    "where": lambda u, v, w: jnp.where(w.x[0] > 0.5, 1, 2) * gradients(u, v),
    "a constant": lambda u, v, w: 3.0 * gradients(u, v),
    "no coefficient": lambda u, v, w: gradients(u, v),
    "coefficient behind": lambda u, v, w: gradients(u, v) * w["m"] ** 2,
    "a quotient": lambda u, v, w: gradients(u, v) / (w["m"] + 5.0),
    "softplus": lambda u, v, w: jax.nn.softplus(w["m"].value) * gradients(u, v),
    "compiled": lambda u, v, w: jax.jit(lambda m: jnp.tanh(m) * 2)(w["m"].value) * gradients(u, v),
    "own derivative": lambda u, v, w: doubled(w["m"].value) * gradients(u, v),
    "of another gradient": lambda u, v, w: (1 + dot(grad(w["m"]), grad(w["m"]))) * gradients(u, v),
    "entries written out": lambda u, v, w: by_axes(u, v, *[jnp.exp(w["m"])] * len(grad(u))),
    "minus nothing": lambda u, v, w: w["m"] * gradients(u, v) - 0 * u * v,
    "a number passed": lambda u, v, w: w["k"] * gradients(u, v),
}


@pytest.mark.parametrize("form", ISOTROPIC.values(), ids=ISOTROPIC.keys())
@pytest.mark.parametrize("dim", [2, 3])
def test_the_gradient_product_has_one_coefficient_whatever_it_is(form, dim):
    V = SPACES[f"{dim}-D"]
    assert sizes(checked_groups(form, V, m=nodal(V), k=2.0)) == [dim]


def diagonal(*entries):
    return lambda u, v, w: by_axes(u, v, *(w[name] for name in entries))


COUNTS = {
    "diagonal tensor, all different": ("3-D", diagonal("a", "b", "c"), [1, 1, 1]),
    "diagonal tensor, two equal": ("3-D", diagonal("a", "b", "a"), [1, 2]),
    "diagonal tensor in 2-D": ("2-D", diagonal("a", "b"), [1, 1]),
    "different constants": ("2-D", lambda u, v, w: by_axes(u, v, 1.0, 2.0), [1, 1]),
    "equal constants": ("2-D", lambda u, v, w: by_axes(u, v, 2.0, 2), [2]),
    "scaled axis": ("2-D", lambda u, v, w: by_axes(u, v, w["a"], 2 * w["a"]), [1, 1]),
    "opposite signs": ("2-D", lambda u, v, w: by_axes(u, v, w["a"], -w["a"]), [1, 1]),
    "a − b and b − a": ("2-D", lambda u, v, w: by_axes(u, v, w["a"] - w["b"], w["b"] - w["a"]), [1, 1]),
    "a − 0 and 0 − a": ("2-D", lambda u, v, w: by_axes(u, v, w["a"] - 0.0, 0.0 - w["a"]), [1, 1]),
    "a / 1 and 1 / a": ("2-D", lambda u, v, w: by_axes(u, v, w["a"] / 1.0, 1.0 / w["a"]), [1, 1]),
    "a / b and b / a": ("2-D", lambda u, v, w: by_axes(u, v, w["a"] / w["b"], w["b"] / w["a"]), [1, 1]),
    "a, a + 0 and 1 a": ("3-D", lambda u, v, w: by_axes(u, v, w["a"], w["a"] + 0.0, 1.0 * w["a"]), [3]),
    "a, a + 1 and 0 + a": ("3-D", lambda u, v, w: by_axes(u, v, w["a"], w["a"] + 1.0, 0.0 + w["a"]), [1, 2]),
    "powers": ("2-D", lambda u, v, w: by_axes(u, v, w["a"] ** 2, w["a"] ** 3), [1, 1]),
    "axes of x": ("2-D", lambda u, v, w: by_axes(u, v, w.x[0], w.x[1]), [1, 1]),
    "full tensor": ("2-D", lambda u, v, w: dot(mul(w["K"], grad(u)), grad(v)), [1, 1, 1, 1]),
    "mass": ("2-D", lambda u, v, w: w["a"] * u * v, [1]),
    "vector mass": ("3-D vector", lambda u, v, w: w["a"] * dot(u, v), [3]),
    "diffusion and mass": ("2-D", lambda u, v, w: w["a"] * gradients(u, v) + w["b"] * u * v, [1, 2]),
    "advection": ("2-D", lambda u, v, w: dot(w["beta"], grad(u)) * v, [1, 1]),
    "vector Laplace": ("2-D vector", lambda u, v, w: w["a"] * ddot(grad(u), grad(v)), [4]),
    "a part times zero": ("2-D", lambda u, v, w: w["a"] * gradients(u, v) + 0 * w["b"] * u * v, [2]),
    "an axis times zero": ("3-D", lambda u, v, w: by_axes(u, v, w["a"], 0.0, 0.0 * w["b"]), [1]),
    "a part that zero is selected for": (
        "2-D",
        lambda u, v, w: w["a"] * gradients(u, v) + jnp.where(w["b"].value > 0, 0.0, 0.0) * u * v,
        [2],
    ),
    "nothing": ("2-D", lambda u, v, w: 0.0 * w["a"] * u * v, []),
    "equal for some values only": (
        "2-D",
        lambda u, v, w: by_axes(u, v, jnp.where(w["a"].value > 0, 1.0, 2.0), 1.0),
        [1, 1],
    ),
    "zero for some values only": ("2-D", lambda u, v, w: jnp.where(w["a"].value > 0, 0.0, 1.0) * u * v, [1]),
    "the other way round": (
        "2-D",
        lambda u, v, w: by_axes(
            u, v, jnp.where(w["a"].value > 0, w["a"].value, w["b"].value), jnp.where(w["a"].value > 0, w["b"], w["a"])
        ),
        [1, 1],
    ),
    "softplus and relu": (
        "2-D",
        lambda u, v, w: by_axes(u, v, jax.nn.softplus(w["a"].value), jax.nn.relu(w["a"].value)),
        [1, 1],
    ),
    "different bounds in a compiled function": (
        "2-D",
        lambda u, v, w: by_axes(u, v, jnp.clip(w["a"].value, 0.1, 1.0), jnp.clip(w["a"].value, 0.1, 1.1)),
        [1, 1],
    ),
    "arrays that differ in the last place": (
        "2-D",
        lambda u, v, w: by_axes(u, v, w["a"] * np.full((1, 1), 1.0), w["a"] * np.full((1, 1), np.nextafter(1, 2) + 0)),
        [1, 1],
    ),
}


@pytest.mark.parametrize(("space", "form", "expected"), COUNTS.values(), ids=COUNTS.keys())
def test_pairs_are_grouped_by_equal_coefficients_and_zeros_left_out(space, form, expected):
    V = SPACES[space]
    K = np.asarray(V.basis.default_parameters()["x"])[:2] + 1.0
    given = {name: nodal(V, seed) for seed, name in enumerate("abc")}
    given |= {"beta": K, "K": np.stack([K, 2.0 + K[::-1] ** 2])}
    assert sizes(checked_groups(form, V, **given)) == expected


def test_the_slots_of_a_form_that_is_not_symmetric_are_those_of_trial_and_test():
    V = SPACES["2-D"]
    groups = groups_of(lambda u, v, w: dot(w.x, grad(u)) * v, V)
    assert {(s.part, s.index, t.part) for ((s, t),) in groups} == {("grad", (0,), "value"), ("grad", (1,), "value")}
    (((s, t),),) = groups_of(lambda u, v, w: u * grad(v)[1], V)
    assert (s.part, t.part, t.index) == ("value", "grad", (1,))


def elasticity(u, v, w):
    return 2.0 * w["mu"] * ddot(sym_grad(u), sym_grad(v)) + w["lam"] * div(u) * div(v)


@pytest.mark.parametrize("dim", [2, 3])
def test_elasticity_couples_few_pairs_by_three_coefficients(dim):
    # μ (u_ij + u_ji) v_ij + λ u_ii v_jj: 2 μ + λ for u_ii v_ii, λ for u_ii v_jj, and μ for u_ij and u_ji with v_ij
    V = SPACES[f"{dim}-D vector"]
    groups = checked_groups(elasticity, V, mu=nodal(V, 1), lam=nodal(V, 2))
    kinds = {}
    for group in groups:
        for s, t in group:
            (i, j), (k, l) = s.index, t.index
            kinds.setdefault("normal" if i == j == k == l else "λ" if i == j and k == l else "μ", set()).add(group)
            assert (i == j and k == l) or {i, j} == {k, l}
    assert {kind: len(found) for kind, found in kinds.items()} == {"normal": 1, "λ": 1, "μ": 1}
    assert sum(sizes(groups)) == {2: 8, 3: 21}[dim]
    assert sizes(groups) == sorted([dim, dim * (dim - 1), 2 * dim * (dim - 1)])


def stress_form(u, v, w):
    stress = 2.0 * w["mu"] * sym_grad(u) + pdeopt.fem.eye(w["lam"] * pdeopt.fem.trace(sym_grad(u)), u.shape[0])
    return ddot(stress, sym_grad(v))


def test_elasticity_written_by_its_stress_is_grouped_rightly_too():
    V = SPACES["2-D vector"]
    checked_groups(stress_form, V, mu=nodal(V, 1), lam=nodal(V, 2))


@pytest.mark.parametrize("dim", [2, 3])
def test_a_coefficient_inside_a_product_is_grouped_rightly_too(dim):
    V = SPACES[f"{dim}-D"]
    checked_groups(lambda u, v, w: dot(w["m"] * grad(u), grad(v)), V, m=nodal(V))


OPAQUE = {
    "cond": lambda u, v, w: cond_on(w["m"].value, jnp.exp, jnp.sin) * gradients(u, v),
    "cond with different branches": lambda u, v, w: by_axes(
        u, v, cond_on(w["m"].value, jnp.exp, jnp.sin), cond_on(w["m"].value, jnp.exp, jnp.cos)
    ),
    "cond with branches that differ in the last place": lambda u, v, w: by_axes(
        u,
        v,
        cond_on(w["m"].value, lambda x: 1.0 * x, lambda x: x),
        cond_on(w["m"].value, lambda x: np.nextafter(1, 2) * x, lambda x: x),
    ),
    "cond with branches that differ in an array": lambda u, v, w: by_axes(
        u,
        v,
        cond_on(w["m"].value, lambda x: np.full((1, 1), 1.0) * x, lambda x: x),
        cond_on(w["m"].value, lambda x: np.full((1, 1), 1.0 + 1e-12) * x, lambda x: x),
    ),
    "while": lambda u, v, w: while_below(3.0, w["m"].value) * gradients(u, v),
    "while with different ends": lambda u, v, w: by_axes(
        u, v, while_below(3.0, w["m"].value), while_below(5.0, w["m"].value)
    ),
    "loops with different bodies": lambda u, v, w: by_axes(
        u,
        v,
        jax.lax.fori_loop(0, 2, lambda _, y: 2 * y, w["m"].value),
        jax.lax.fori_loop(0, 2, lambda _, y: 3 * y, w["m"].value),
    ),
    "loop of known values": lambda u, v, w: w["m"] * jax.lax.fori_loop(0, 3, lambda _, y: 2 * y, gradients(u, v)),
    "checkpoint": lambda u, v, w: jax.checkpoint(jnp.sin)(w["m"].value) * gradients(u, v),
    "callback": lambda u, v, w: by_axes(
        u,
        v,
        *(jax.pure_callback(f, jax.ShapeDtypeStruct(w["m"].shape, float), w["m"].value) for f in (np.sin, np.cos)),
    ),
    "cond of zero or not": lambda u, v, w: cond_on(w["m"].value, lambda x: 0 * x, lambda x: x) * gradients(u, v),
    "where of trial functions": lambda u, v, w: jnp.where(w["m"].value > 0, gradients(u, v), 0.0),
    "where of both": lambda u, v, w: jnp.where(w["m"].value > 0, gradients(u, v), 2 * gradients(u, v)),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("form", OPAQUE.values(), ids=OPAQUE.keys())
def test_control_flow_in_a_form_is_neither_grouped_wrongly_nor_taken_for_zero(form, sign):
    V = SPACES["2-D"]
    m = V.interpolate(sign * np.linspace(0.5, 1.0, V.n))
    groups = checked_groups(form, V, m=m)
    assert {(s.index, t.index) for group in groups for s, t in group} >= {((0,), (0,)), ((1,), (1,))}


def test_groups_do_not_depend_on_the_values_of_coefficients():
    V = SPACES["2-D"]
    form = COUNTS["equal for some values only"][1]
    for a in (np.ones(V.n), -np.ones(V.n), np.zeros(V.n)):
        assert sizes(checked_groups(form, V, a=V.interpolate(a))) == [1, 1]
    assert sizes(checked_groups(lambda u, v, w: w["a"] * u * v, V, a=0.0)) == [1]


def test_a_form_follows_a_constant_that_it_takes_from_outside():
    V = SPACES["2-D"]

    def of(k):
        return lambda u, v, w: by_axes(u, v, w["m"], k * w["m"])

    assert [sizes(checked_groups(of(k), V, m=nodal(V))) for k in (0.0, 1.0, 2.0)] == [[1], [2], [1, 1]]


@jax.custom_vjp
def tripled(x):
    return 3.0 * x


tripled.defvjp(lambda x: (3.0 * x, None), lambda _, g: (3.0 * g,))


def test_a_function_with_its_own_reverse_derivative_may_be_applied_to_a_coefficient():
    V = SPACES["2-D"]
    checked_groups(lambda u, v, w: tripled(w["m"].value) * gradients(u, v), V, m=nodal(V))


def test_a_function_with_its_own_reverse_derivative_may_be_applied_to_trial_functions():
    V = SPACES["2-D"]
    checked_groups(lambda u, v, w: w["m"] * tripled(gradients(u, v)), V, m=nodal(V))


FORMS = {
    "diffusion": lambda h, xp, u, v, w: xp.exp(w["m"]) * h.dot(h.grad(u), h.grad(v)),
    "two coefficients": lambda h, xp, u, v, w: (
        xp.exp(w["m"]) * h.grad(u)[0] * h.grad(v)[0] + w["m"] ** 2 * h.grad(u)[1] * h.grad(v)[1]
    ),
    "not symmetric": lambda h, xp, u, v, w: (
        xp.sin(w["m"]) * h.grad(u)[0] * h.grad(v)[1] + w["m"] * w.x[1] * h.grad(u)[1] * h.grad(v)[1]
    ),
}


@pytest.fixture
def mapped_calls(monkeypatch):
    """How often values were made by maps from the coefficients."""
    calls, original = [], assembly._mapped_values
    monkeypatch.setattr(assembly, "_mapped_values", lambda *args: calls.append(args[1]) or original(*args))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("mesh", [TRI, TET], ids=["triangles", "tetrahedra"])
@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
def test_mapped_and_summed_assembly_agree_in_values_and_gradients_and_with_scikit_fem(
    body, mesh, order, mapped_calls, monkeypatch
):
    element = P1 if mesh is TRI else TET_P1
    V = FunctionSpace(mesh, element, order=order)
    form = bilinear_form(lambda u, v, w: body(pdeopt.fem, jnp, u, v, w))
    m = np.random.default_rng(0).uniform(-1, 1, V.n)
    cotangent = np.random.default_rng(1).standard_normal(form.assemble(V, m=V.interpolate(m)).data.shape)

    def values_and_gradient():
        values, pull = jax.vjp(lambda m: form.assemble(V, m=V.interpolate(m)).data, m)
        return np.asarray(values), np.asarray(pull(cotangent)[0])

    mapped = values_and_gradient()
    matrix = form.assemble(V, m=V.interpolate(m)).to_scipy()
    count = len(mapped_calls)
    assert count
    monkeypatch.setattr(assembly, "MAX_MAPPED_ENTRIES", 0)
    summed = values_and_gradient()
    assert len(mapped_calls) == count
    for here, there in zip(mapped, summed, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-14 * np.abs(there).max())
    B = skfem.Basis(mesh, element, intorder=order)
    theirs = skfem.BilinearForm(lambda u, v, w: body(skfem.helpers, np, u, v, w)).assemble(B, m=B.interpolate(m))
    assert abs(matrix - theirs).max() < 1e-13 * abs(theirs).max()


def test_the_orders_above_have_few_and_many_quadrature_points():
    for mesh, element in ((TRI, P1), (TET, TET_P1)):
        few, many = (FunctionSpace(mesh, element, order=order).basis.dx.shape[1] for order in (2, 4))
        assert 1 < few <= assembly.MAX_WRITTEN_OUT_TERMS < many


COEFFICIENTS = {
    "per element": lambda V: V.per_element(np.random.default_rng(0).random(V.mesh.nelements)),
    "per point": lambda V: np.random.default_rng(0).random(V.basis.dx.shape),
    "one number": lambda V: 2.5,
    "one number as an array": lambda V: np.full((1, 1), 2.5),
    "complex": lambda V: 1.0 + 2.0j,
}


@pytest.fixture
def plans(monkeypatch):
    """How the terms of the forms that are assembled are assembled: the plans, in order."""
    made, original = [], assembly._plan
    monkeypatch.setattr(assembly, "_plan", lambda *args: made.append(original(*args)) or made[-1])
    return made


def all_summed(groups, *_):
    return assembly._Plan((), (), groups)


@pytest.mark.parametrize("make", COEFFICIENTS.values(), ids=COEFFICIENTS.keys())
def test_assembly_by_terms_agrees_with_sums_for_coefficients_of_any_kind(make, plans, monkeypatch):
    V = SPACES["2-D"]
    form = bilinear_form(lambda u, v, w: by_axes(u, v, w["k"], 2.0 * w["k"]))
    by_terms = form.assemble(V, k=make(V)).data
    assert not plans[0].summed
    monkeypatch.setattr(assembly, "_plan", all_summed)
    summed = form.assemble(V, k=make(V)).data
    assert by_terms.dtype == summed.dtype
    np.testing.assert_allclose(by_terms, summed, rtol=0, atol=1e-14 * np.abs(summed).max())


#: For each form its function, and how many of its terms are a multiple of fixed values, maps, and sums, on P1 and P2.
TERMS = {
    "reaction": (lambda u, v, w: w["m"] * gradients(u, v) + u * v, (1, 1, 0), (1, 0, 1)),
    "advection": (
        lambda u, v, w: w["m"] * gradients(u, v) + (grad(u)[0] + 2.0 * grad(u)[1]) * v + w["c"] * u * v,
        *((3, 1, 0), (3, 0, 1)),
    ),
    "reaction per element": (lambda u, v, w: w["m"] * gradients(u, v) + w["k"] * u * v, (0, 2, 0), (0, 0, 2)),
    "varying reaction": (lambda u, v, w: w["c"] * gradients(u, v) + w["m"] * u * v, (1, 0, 1), (1, 0, 1)),
    "place": (lambda u, v, w: gradients(u, v) + w.x[0] * u * v, (1, 0, 1), (1, 0, 1)),
    "complex": (lambda u, v, w: w["m"] * gradients(u, v) - 2j * u * v, (1, 1, 0), (1, 0, 1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("element", [P1, skfem.ElementTriP2()], ids=["P1", "P2"])
@pytest.mark.parametrize("name", TERMS)
def test_each_term_of_a_form_is_assembled_in_its_own_way(name, element, plans, monkeypatch):
    function, *counts = TERMS[name]
    V = FunctionSpace(TRI, element, order=4)
    M = V.with_element(P1)
    form, rng = bilinear_form(function), np.random.default_rng(0)
    given = {"m": rng.uniform(-1, 1, M.n), "k": rng.random(TRI.nelements), "c": 1.5}

    def assembled(given):
        fields = {"m": M.interpolate, "k": V.per_element, "c": lambda c: c}
        return form.assemble(V, **{key: fields[key](value) for key, value in given.items()}).data

    def values_and_gradient():
        values, pull = jax.vjp(assembled, given)
        cotangent = np.random.default_rng(1).standard_normal(values.shape).astype(values.dtype)
        return [np.asarray(values), *map(np.asarray, jax.tree.leaves(pull(cotangent)))]

    by_terms = values_and_gradient()
    assert (len(plans[0].uniform), len(plans[0].mapped), len(plans[0].summed)) == counts[element is not P1]
    monkeypatch.setattr(assembly, "_plan", all_summed)
    for here, there in zip(by_terms, values_and_gradient(), strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-13 * np.abs(there).max())


@pytest.mark.parametrize("most", [0, assembly.MAX_WRITTEN_OUT_PRODUCTS], ids=["batched", "written out"])
def test_displacements_with_varying_moduli_agree_with_scikit_fem(most, monkeypatch):
    monkeypatch.setattr(assembly, "MAX_WRITTEN_OUT_PRODUCTS", most)
    jax.clear_caches()
    V = SPACES["2-D vector"]

    def body(h, xp, u, v, w):
        symmetric = 2.0 * h.ddot(h.sym_grad(u), h.sym_grad(v)) + 0.5 * h.div(u) * h.div(v)
        return xp.exp(w["m"]) * symmetric + w["m"] * h.grad(u)[0, 1] * h.grad(v)[1, 1]

    M = V.with_element(P1)
    m = np.random.default_rng(0).uniform(-1, 1, M.n)
    form = bilinear_form(lambda u, v, w: body(pdeopt.fem, jnp, u, v, w))
    ours = form.assemble(V, m=M.interpolate(m)).to_scipy()
    theirs = skfem.BilinearForm(lambda u, v, w: body(skfem.helpers, np, u, v, w)).assemble(
        V.basis, m=M.basis.interpolate(m)
    )
    assert abs(ours - theirs).max() < 1e-13 * abs(theirs).max()


def test_terms_with_many_coefficients_are_summed(plans):
    W = SPACES["3-D"]
    k = [W.per_element(np.random.default_rng(i).random(W.mesh.nelements)) for i in range(3)]
    form = bilinear_form(lambda u, v, w: by_axes(u, v, w["a"], w["b"], w["c"]))
    form.assemble(W, a=k[0], b=k[1], c=k[2])
    form.assemble(W, a=k[0], b=k[1], c=1.0)
    assert [(len(plan.uniform), len(plan.mapped), len(plan.summed)) for plan in plans] == [(0, 0, 3), (1, 2, 0)]


def test_a_form_that_vanishes_has_values_nevertheless():
    V = SPACES["2-D"]
    assert not bilinear_form(lambda u, v, w: 0.0 * gradients(u, v)).assemble(V).data.any()


@pytest.mark.slow
def test_mapped_assembly_under_vmap_and_its_hessian_are_those_of_single_calls():
    V = SPACES["2-D"]
    form = bilinear_form(lambda u, v, w: jnp.exp(w["m"]) * gradients(u, v))

    def values(m):
        return form.assemble(V, m=V.interpolate(m)).data

    M = np.random.default_rng(0).standard_normal((3, V.n))
    np.testing.assert_allclose(jax.vmap(values)(M), np.stack([values(m) for m in M]), rtol=1e-13, atol=1e-14)

    def curved(m):
        return (values(m) ** 2).sum()

    step = 1e-5
    got = jax.jvp(jax.grad(curved), (M[0],), (M[1],))[1]
    want = (jax.grad(curved)(M[0] + step * M[1]) - jax.grad(curved)(M[0] - step * M[1])) / (2 * step)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-7 * np.abs(want).max())
