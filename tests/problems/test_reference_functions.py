"""Tables of basis functions as combinations of a few reference functions."""

import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.fem.spaces.reference import reference_of

AFFINE = skfem.MeshTri().refined(4).translated((0.1, 0.2))


def table(mesh, element, part):
    return np.asarray(FunctionSpace(mesh, element).tables.components[0][part])


@pytest.mark.parametrize(
    ("element", "part", "rank"),
    [
        (skfem.ElementTriP2(), "grad", 2),
        (skfem.ElementTriP2(), "value", 1),
        (skfem.ElementTriP3(), "grad", 2),
        (skfem.ElementVector(skfem.ElementTriP2()), "grad", 4),
    ],
)
def test_an_affine_table_is_a_combination_of_few_functions(element, part, rank):
    T = table(AFFINE, element, part)
    reference = reference_of(T)
    assert reference.functions.shape[0] == rank
    rebuilt = np.einsum("...rc,riq->...icq", reference.coefficients, reference.functions)
    np.testing.assert_allclose(rebuilt, T, atol=1e-12 * np.abs(T).max())


def test_there_are_none_of_tables_that_differ_from_cell_to_cell_and_of_zeros():
    assert reference_of(np.random.default_rng(0).standard_normal((2, 6, 50, 7))) is None
    assert reference_of(np.zeros((2, 6, 50, 7))) is None


def test_a_single_cell_that_does_not_fit_is_noticed():
    T = table(AFFINE, skfem.ElementTriP2(), "grad").copy()
    for cell in (0, 5, 511):
        bent = T.copy()
        bent[:, :, cell] += 1e-6 * np.abs(T).max() * np.random.default_rng(0).standard_normal((2, 6, T.shape[-1]))
        reference = reference_of(bent)
        rebuilt = T if reference is None else np.einsum("arc,riq->aicq", reference.coefficients, reference.functions)
        assert reference is None or np.abs(rebuilt - bent).max() < 1e-11 * np.abs(T).max()
