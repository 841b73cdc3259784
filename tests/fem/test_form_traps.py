"""The mistakes that a user of forms will make: each must fail loudly, or do what scikit-fem does."""

import gc
import logging
import sys
import weakref
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skfem

from pdeopt.fem import FormError, FunctionSpace, bilinear_form, dot, functional, grad, jump, linear_form

MESH = skfem.MeshTri().refined(2).with_defaults()
V = FunctionSpace(MESH, skfem.ElementTriP1())
P0 = V.with_element(skfem.ElementTriP0())
LABELS = (MESH.p[0, MESH.t].mean(0) > 0.5).astype(int)
integral = functional(lambda w: w["m"])

SCALE = 1.0


@bilinear_form
def scaled_mass(u, v, _):
    return SCALE * u * v


def test_labels_are_compared_by_value():
    @bilinear_form
    def by_label(u, v, w):
        return jnp.where(w["label"] == 1, 10.0, 1.0) * u * v

    reference = skfem.BilinearForm(lambda u, v, w: np.where(w["label"] == 1, 10.0, 1.0) * u * v)
    ours = by_label.assemble(V, label=V.per_element(LABELS)).to_scipy()
    theirs = reference.assemble(V.basis, label=LABELS[:, None] * np.ones(V.basis.dx.shape))
    assert abs(ours - theirs).max() < 1e-14


def test_labels_index_a_table_and_masks_are_inverted():
    table = jnp.array([1.0, 10.0])
    looked_up = bilinear_form(lambda u, v, w: table[w["label"].value] * u * v)
    masked = bilinear_form(lambda u, v, w: jnp.where(~w["mask"].value, 10.0, 1.0) * u * v)
    first = looked_up.assemble(V, label=V.per_element(LABELS)).data
    second = masked.assemble(V, mask=V.per_element(LABELS == 0)).data
    np.testing.assert_allclose(first, second)


def test_coordinates_unpack_and_a_scalar_field_does_not_loop_forever():
    @linear_form
    def weighted(v, w):
        x, y = w.x
        return x * y * v

    assert float(weighted.assemble(V).sum()) == pytest.approx(0.25)
    with pytest.raises(TypeError, match="no components"):
        list(V.interpolate(np.ones(V.n)))


def test_if_on_a_field_says_where():
    with pytest.raises(FormError, match=r"jnp\.where"):
        bilinear_form(lambda u, v, w: u * v if w["m"] else 0 * u * v).assemble(V, m=P0.interpolate(np.ones(P0.n)))


def test_global_that_a_form_reads_is_followed(monkeypatch):
    assert float(scaled_mass.assemble(V).data.sum()) == pytest.approx(1.0)
    monkeypatch.setitem(globals(), "SCALE", 5.0)
    assert float(scaled_mass.assemble(V).data.sum()) == pytest.approx(5.0)


def test_array_that_a_form_closes_over_is_followed():
    wind = np.array([1.0, 0.0])
    transport = bilinear_form(lambda u, v, w: (wind[0] * u.grad[0] + wind[1] * u.grad[1]) * v)
    before = transport.assemble(V).data
    wind *= 2
    np.testing.assert_allclose(transport.assemble(V).data, 2 * before)


def test_traced_value_from_outside_is_refused_by_name():
    def energy(kappa):
        return bilinear_form(lambda u, v, w: kappa * u * v).assemble(V).data.sum()

    with pytest.raises(FormError, match=r"takes .kappa. from outside.*pass it by name"):
        jax.grad(energy)(1.0)


def test_fields_of_other_facets_or_another_mesh_are_refused():
    left, right = V.boundary("left"), V.boundary("right")
    moved = FunctionSpace(MESH.translated((5.0, 0.0)), skfem.ElementTriP1())
    ones = np.ones(V.n)
    with pytest.raises(FormError, match="other cells, facets"):
        integral.assemble(left, m=right.interpolate(ones))
    with pytest.raises(FormError, match="other cells, facets"):
        integral.assemble(V, m=moved.interpolate(ones))
    with pytest.raises(FormError, match="different cells or quadrature"):
        scaled_mass.assemble(left, right)
    with pytest.raises(FormError, match="different cells or quadrature"):
        scaled_mass.assemble(V, moved)


def test_field_of_an_equal_space_made_apart_is_accepted():
    again = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
    assert float(integral.assemble(V, m=again.interpolate(np.ones(V.n)))) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda u, v, w: u * u * v * jnp.sqrt(w["k"] - 2), "not linear in its trial"),
        (lambda u, v, w: v * v * jnp.log(w["k"] - 10) * u, "not linear in its test"),
        (lambda u, v, w: u.value.mean(-1, keepdims=True) * v, "mixes cells or quadrature points"),
        (lambda u, v, w: w["k"].value[..., :1] * u * v, "mixes cells or quadrature points"),
        (lambda u, v, w: jnp.max(w["k"].value, -1, keepdims=True) * u * v, "mixes cells or quadrature points"),
        (lambda u, v, w: jnp.cumsum(w["k"].value, -1) * u * v, "mixes cells or quadrature points"),
    ],
)
def test_forms_that_only_look_bilinear_are_refused(function, message):
    with pytest.raises(FormError, match=message):
        bilinear_form(function).assemble(V, k=11.0 + 0 * V.tables.dx)


def test_form_is_judged_anew_for_other_coefficients():
    branching = bilinear_form(lambda u, v, w: u * u * v if "q" in w else u * v)
    branching.assemble(V)
    with pytest.raises(FormError, match="not linear"):
        branching.assemble(V, q=1.0)


def test_scalars_stay_scalars_when_a_form_is_tried():
    @bilinear_form
    def anisotropic(u, v, w):
        tensor = jnp.array([[w["a"], 0.0], [0.0, w["b"]]])[..., None, None]
        return dot((tensor * grad(u)[None]).sum(1), grad(v))

    reference = skfem.BilinearForm(lambda u, v, w: 2 * u.grad[0] * v.grad[0] + 3 * u.grad[1] * v.grad[1])
    assert abs(anisotropic.assemble(V, a=2.0, b=3.0).to_scipy() - reference.assemble(V.basis)).max() < 1e-14


def test_parts_of_a_function_are_found_however_it_is_asked():
    by_items = bilinear_form(lambda u, v, w: dict(u.parts.items())["grad"][0] * v.value)
    by_get = bilinear_form(lambda u, v, w: u.parts.get("grad")[0] * v.value)
    usual = bilinear_form(lambda u, v, w: u.grad[0] * v).assemble(V).data
    np.testing.assert_allclose(by_items.assemble(V).data, usual)
    np.testing.assert_allclose(by_get.assemble(V).data, usual)


@pytest.mark.slow
def test_sides_of_interior_facets_can_be_compared():
    @bilinear_form
    def same_side_only(u, v, w):
        return u * v if w.idx[0] == w.idx[1] else 0.0 * u * v

    both = bilinear_form(lambda u, v, w: jump(w, u, v)[0] * jump(w, u, v)[1]).assemble(V.interior_facets())
    same = same_side_only.assemble(V.interior_facets())
    assert abs(both.to_scipy()).sum() < 1e-14  # a continuous function does not jump
    assert float(same.data.sum()) > 0


def test_spaces_and_their_patterns_are_freed():
    def use():
        space = FunctionSpace(MESH, skfem.ElementTriP1())
        scaled_mass.assemble(space)
        return weakref.ref(space)

    reference = use()
    gc.collect()
    assert reference() is None


# --- what forms read from outside ------------------------------------------------------------------------------------

FACTOR = 1.0


def twice_factor():
    return 2 * FACTOR


READ = {
    "through a helper": lambda v, w: twice_factor() * v,
    "in a generator": lambda v, w: sum(FACTOR * v for _ in range(2)),
    "in a function inside": lambda v, w: (lambda x: 2 * FACTOR * x)(v),
    "in a dictionary": lambda v, w: 2 * SETTINGS["factor"] * v,
    "of an object": lambda v, w: 2 * SETTINGS["object"].factor * v,
    "in an array of an object": lambda v, w: 2 * SETTINGS["object"].array[0] * v,
    "of a module": lambda v, w: 2 * MODULE.FACTOR * v,
}
SETTINGS = {}
MODULE = sys.modules[__name__]


@pytest.mark.parametrize("how", READ)
def test_all_that_a_form_reads_from_outside_is_followed(how, monkeypatch):
    form, measure = linear_form(READ[how]), functional(lambda w: READ[how](1.0 + 0 * w.x[0], w))
    for factor in (1.0, 5.0):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        SETTINGS.update(factor=factor, object=SETTINGS.get("object", SimpleNamespace(array=np.ones(2))))
        SETTINGS["object"].factor = SETTINGS["object"].array[0] = factor
        assert float(form.assemble(V).sum()) == pytest.approx(2 * factor)
        assert float(measure.assemble(V)) == pytest.approx(2 * factor)


FORMS_OF_A_TENSOR = {
    "bilinear": lambda K: bilinear_form(
        lambda u, v, w: w["m"] * dot(jnp.einsum("ij,j...->i...", K[0], grad(u)), grad(v))
    ),
    "linear": lambda K: linear_form(lambda v, w: w["m"] * jnp.vdot(K[0], K[0]) * v),
    "functional": lambda K: functional(lambda w: jax.jit(lambda x: jnp.vdot(K[0], K[0]) * x)(w["m"])),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMS_OF_A_TENSOR)
def test_an_array_with_the_content_of_a_former_one_that_was_changed_in_place(kind):
    """What was traced for the former content is found again, and must still compute with it."""
    tensors = [np.eye(2)]
    form = FORMS_OF_A_TENSOR[kind](tensors)

    def size(factor):
        assembled = form.assemble(V, m=V.interpolate(factor * jnp.ones(V.n)))
        return jnp.abs(assembled.data if kind == "bilinear" else assembled).sum()

    before = size(1.0)
    tensors[0] *= 2
    tensors[0] = tensors[0] / 2
    for again in (size(1.0), jax.jit(size)(1.0), jax.grad(size)(1.0), jax.vmap(size)(jnp.ones(2))[1]):
        assert float(again) == pytest.approx(float(before), rel=1e-12)
    tensors[0] *= 2
    assert float(size(1.0)) > 1.5 * float(before)


def test_a_helper_that_is_defined_anew_is_followed():
    seen = {"jnp": jnp}
    exec("def helper(x):\n    return x\ndef form(v, w):\n    return helper(1.0) * v", seen)
    form = linear_form(seen["form"])
    assert float(form.assemble(V).sum()) == pytest.approx(1.0)
    for factor in range(2, 6):  # the place of a former function in memory is taken by a later one
        exec(f"def helper(x):\n    return {factor} * x", seen)
        assert float(form.assemble(V).sum()) == pytest.approx(factor)


def test_traced_value_in_a_helper_is_refused():
    def energy(kappa):
        def scaled(u):
            return kappa * u

        return bilinear_form(lambda u, v, w: scaled(u) * v).assemble(V).data.sum()

    with pytest.raises(FormError, match=r"from outside.*pass it by name"):
        jax.grad(energy)(1.0)


def test_a_form_that_reads_the_same_is_not_compiled_again():
    form = linear_form(lambda v, w: jax.nn.softplus(FACTOR) * jax.nn.sigmoid(w.x[0]) * v)
    form.assemble(V)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        patch.setattr(logging.getLogger("jax._src.interpreters.pxla"), "handle", compiled.append)
        form.assemble(V)
    assert not compiled
