"""Inner products: each against dense matrices, on uniform and graded meshes, for all kinds of parameters."""

import numpy as np
import pytest

from pdeopt.optimize.inner_product import Diagonal, euclidean


def dense(product, q):
    """S as a matrix."""
    return np.stack([product.primal(e) for e in np.eye(q)], axis=1)


def check_contract(product, G, tolerance=1e-12):
    """The five operations of a product against its dense matrix G."""
    p = len(G)
    rng = np.random.default_rng(0)
    a, z = rng.standard_normal((2, p))
    d = G @ rng.standard_normal(p)
    S = dense(product, p)
    np.testing.assert_allclose(S.T @ G @ S, np.eye(p), atol=tolerance)  # equivalent to S Sᵀ G = I, and well scaled
    np.testing.assert_allclose(product.pullback(d), S.T @ d, atol=tolerance * np.abs(S.T @ d).max())
    assert product.primal(z) @ d == pytest.approx(z @ product.pullback(d), rel=tolerance)
    g = product.gradient(d)
    np.testing.assert_allclose(G @ g, d, atol=tolerance * np.abs(d).max())
    np.testing.assert_allclose(g, product.primal(product.pullback(d)), atol=tolerance * np.abs(g).max())
    assert product.norm(a) == pytest.approx(np.sqrt(a @ G @ a), rel=tolerance)
    assert product.norm(g) == pytest.approx(np.linalg.norm(product.pullback(d)), rel=tolerance)


def test_a_diagonal_product():
    weights = np.geomspace(1e-3, 1e2, 7)
    check_contract(Diagonal("l2-lumped", weights), np.diag(weights))
    np.testing.assert_array_equal(Diagonal("l2-lumped", weights).weights, weights)


def test_in_the_euclidean_product_derivative_and_gradient_coincide():
    product = euclidean(4)
    assert product.name == "euclidean"
    check_contract(product, np.eye(4))
    np.testing.assert_array_equal(product.gradient(np.arange(4.0)), np.arange(4.0))


@pytest.mark.parametrize(("weights", "said"), [([1, 0], "entry 1 is 0"), ([np.nan], "nan"), ([[1.0]], "shape")])
def test_weights_that_give_no_inner_product_are_refused(weights, said):
    with pytest.raises(ValueError, match=said):
        Diagonal("l2-lumped", weights)
