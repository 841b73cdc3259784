"""Inner products: each against dense matrices, on uniform and graded meshes, for all kinds of parameters."""

import numpy as np
import pytest
import scipy.sparse as sp
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    InputError,
    Parameter,
    ReducedFunctional,
    h1,
    matern,
    stiffness,
    tikhonov,
    total_variation,
)
from pdeopt.inverse.inner_product import (
    has_bounds,
    inner_product_named,
    inner_product_names,
    l2_product,
    lumped_product,
    regularization_product,
)
from pdeopt.inverse.newton_model import softness
from pdeopt.optimize.inner_product import Diagonal, euclidean
from pdeopt.sparse import SolveError
from pdeopt.sparse.matrix_function import MatrixFunction
from pdeopt.sparse.solvers.direct.cholesky import Cholesky


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


# --- the pieces --------------------------------------------------------------------------------------------------


def random_definite(n, condition):
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = Q @ np.diag(np.geomspace(1, condition, n)) @ Q.T
    return sp.csr_matrix(0.5 * (A + A.T))


@pytest.mark.parametrize("condition", [1.5, 30.0, 500.0])
@pytest.mark.parametrize(("function", "power"), [(lambda x: x**-0.5, -0.5), (lambda x: 1 / x, -1.0)])
def test_a_function_of_a_matrix_is_that_of_its_eigenvalues(condition, function, power):
    A = random_definite(12, condition)
    f = MatrixFunction(A, (1.0, condition), function)
    values, vectors = np.linalg.eigh(A.toarray())
    expected = vectors @ np.diag(values**power) @ vectors.T
    np.testing.assert_allclose(np.stack([f(e) for e in np.eye(12)], axis=1), expected, atol=1e-13 * condition**0.5)


def test_a_function_of_a_multiple_of_the_identity():
    f = MatrixFunction(sp.csr_matrix(4.0 * np.eye(3)), (4.0, 4.0), lambda x: x**-0.5)
    np.testing.assert_allclose(f(np.arange(3.0)), np.arange(3.0) / 2)


@pytest.mark.parametrize("interval", [(0.0, 1.0), (-1.0, 1.0), (1e-6, 1.0), (1.0, np.nan)])
def test_a_spectrum_without_a_short_series_is_refused(interval):
    with pytest.raises(SolveError, match="spectrum"):
        MatrixFunction(sp.csr_matrix(np.eye(3)), interval, lambda x: 1 / x)


@pytest.mark.parametrize("condition", [10.0, 1e8])
def test_the_halves_of_a_cholesky_factor(condition):
    A = random_definite(15, condition)
    factor = Cholesky(A)
    S = np.stack([factor.primal(e) for e in np.eye(15)], axis=1)
    np.testing.assert_allclose(S.T @ A @ S, np.eye(15), atol=1e-15 * condition + 1e-13)
    np.testing.assert_allclose(
        np.stack([factor.transposed(e) for e in np.eye(15)], axis=1), S.T, rtol=1e-10, atol=1e-12
    )
    x = np.arange(15.0)
    np.testing.assert_allclose(factor.solve(A @ x), x, atol=1e-13 * condition)


@pytest.mark.parametrize("diagonal", [[1.0, -1.0, 2.0], [1.0, 0.0, 2.0]])
def test_a_matrix_that_is_not_definite_has_no_cholesky_factor(diagonal):
    with pytest.raises(SolveError, match="3 x 3 matrix is not positive definite"):
        Cholesky(sp.csr_matrix(np.diag(diagonal)))


# --- products of parameters --------------------------------------------------------------------------------------

UNIFORM, GRADED = np.linspace(0, 1, 6), np.linspace(0, 1, 6) ** 3
MESHES = {
    "uniform": skfem.MeshTri.init_tensor(UNIFORM, UNIFORM).with_defaults(),
    "graded": skfem.MeshTri.init_tensor(GRADED, GRADED).with_defaults(),
}
ELEMENTS = {
    "P0": skfem.ElementTriP0(),
    "P1": skfem.ElementTriP1(),
    "P2": skfem.ElementTriP2(),
    "DG1": skfem.ElementDG(skfem.ElementTriP1()),
    "vectors": skfem.ElementVector(skfem.ElementTriP1()),
}
PARAMETERS = {
    f"{element}, {mesh}": Parameter(FunctionSpace(MESHES[mesh], ELEMENTS[element]), "m")
    for mesh in MESHES
    for element in ELEMENTS
}
P1 = FunctionSpace(MESHES["graded"], skfem.ElementTriP1())
PARAMETERS |= {
    "quadrilaterals": Parameter(FunctionSpace(skfem.MeshQuad.init_tensor(GRADED, UNIFORM), skfem.ElementQuad1()), "m"),
    "boundary": Parameter(P1.boundary("top"), "m", P1.dofs("top")),
    "inner dofs": Parameter(P1, "m", np.setdiff1d(np.arange(P1.n), P1.dofs())),
    "dofs in another order": Parameter(P1, "m", np.random.default_rng(0).permutation(P1.n)[:20]),
}
every_parameter = pytest.mark.parametrize("parameter", PARAMETERS.values(), ids=PARAMETERS.keys())


def functional(regularization, strength=1.0):
    return ReducedFunctional(lambda m: m, lambda u, _: (u**2).sum(), regularization, strength=strength)


@every_parameter
def test_the_l2_product_is_that_of_the_mass_matrix(parameter):
    product = l2_product(parameter)
    M = parameter.mass.toarray()
    check_contract(product, M)
    assert product.name == "l2"
    assert product.norm(np.ones(parameter.size)) == pytest.approx(parameter.norm(np.ones(parameter.size)))
    if product.weights is None:
        assert np.count_nonzero(M) > len(M)
    else:
        np.testing.assert_array_equal(np.diag(product.weights), M)


def test_the_l2_product_of_piecewise_constants_is_diagonal():
    assert l2_product(PARAMETERS["P0, graded"]).weights is not None
    assert l2_product(PARAMETERS["P1, graded"]).weights is None


@every_parameter
def test_the_lumped_product_is_diagonal_and_keeps_the_norm_of_constants(parameter):
    product = lumped_product(parameter)
    check_contract(product, np.diag(product.weights))
    if parameter.dofs is None:
        everywhere = np.ones(parameter.size)
        assert product.norm(everywhere) == pytest.approx(parameter.norm(everywhere))


def test_lumped_and_consistent_products_agree_up_to_a_factor_of_the_element():
    parameter = PARAMETERS["P1, graded"]
    M, weights = parameter.mass.toarray(), lumped_product(parameter).weights
    root = np.sqrt(weights)
    eigenvalues = np.linalg.eigvalsh(M / np.outer(root, root))
    assert 1 / 4 - 1e-12 <= eigenvalues.min() <= eigenvalues.max() <= 1 + 1e-12


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_a_matern_term_whitens(strength):
    parameter = PARAMETERS["P1, graded"]
    term = matern(parameter.space, gamma=0.1, delta=2.0, weight=3.0)
    product = regularization_product(functional(term, strength), parameter)
    check_contract(product, strength * term.operator(np.zeros(parameter.size)).toarray(), tolerance=1e-10)


@pytest.mark.parametrize(
    "make",
    [
        lambda V: h1(V, 3.0),
        lambda V: total_variation(V, 3.0, 0.1),
        lambda V: [h1(V, 1.0), lambda m: (m**4).sum(), total_variation(V, 2.0)],
    ],
    ids=["H1", "TV", "H1, TV and a function"],
)
def test_semidefinite_terms_get_a_mass_term_of_the_softest_mode(make):
    parameter = PARAMETERS["P1, graded"]
    J = functional(make(parameter.space), 2.0)
    initial = parameter.space.locations[0] ** 2
    product = regularization_product(J, parameter, initial)
    R = J.regularization_operator(initial)
    G = (R + softness(R, parameter) * parameter.mass).toarray()
    check_contract(product, G, tolerance=1e-10)


def test_the_mass_term_of_h1_on_the_unit_square_is_near_the_softest_mode():
    space = FunctionSpace(skfem.MeshTri.init_tensor(*2 * [np.linspace(0, 1, 33)]), skfem.ElementTriP1())
    K = sp.csr_array(stiffness.assemble(space).to_scipy())
    assert softness(K, Parameter(space, "m")) == pytest.approx(12.0)  # π² is the smallest eigenvalue


@pytest.mark.parametrize("make", [tikhonov, lambda V, w: h1(V, w) + tikhonov(V, 0.1)], ids=["Tikhonov", "sum"])
def test_definite_terms_are_taken_as_they_are(make):
    parameter = PARAMETERS["P1, graded"]
    term = make(parameter.space, 3.0)
    product = regularization_product(functional(term, 2.0), parameter)
    check_contract(product, 2 * term.operator(np.zeros(parameter.size)).toarray(), tolerance=1e-11)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (),
        lambda: lambda m: (m**2).sum(),
        lambda: h1(P1, 0.0),
        lambda: matern(P1, gamma=1.0, delta=1.0, weight=0.0),
    ],
    ids=["none", "a function", "weight 0", "Matérn of weight 0"],
)
def test_without_an_operator_there_is_no_product_of_the_regularization(make):
    with pytest.raises(InputError, match="use the inner product l2"):
        regularization_product(functional(make()), Parameter(P1, "m"))


# --- by name -----------------------------------------------------------------------------------------------------

REGULARIZED = functional(h1(P1, 1.0))


@pytest.mark.parametrize("name", ["l2", "l2-lumped", "regularization", "euclidean"])
def test_products_by_name(name):
    product = inner_product_named(name, REGULARIZED, Parameter(P1, "m"))
    assert product.name == name
    assert product.primal(np.ones(P1.n)).shape == (P1.n,)
    assert (product.weights is None) == (name in ("l2", "regularization"))
    assert name in inner_product_names()


def test_bounds_need_a_diagonal_product():
    bounds = (0.0, None)
    parameter, constants = Parameter(P1, "m"), PARAMETERS["P0, graded"]
    assert inner_product_named("l2", REGULARIZED, parameter, bounds).name == "l2-lumped"
    assert inner_product_named("l2", functional(()), constants, bounds).name == "l2"
    assert inner_product_named("euclidean", REGULARIZED, parameter, bounds).name == "euclidean"
    with pytest.raises(InputError, match="use the inner product l2-lumped"):
        inner_product_named("regularization", REGULARIZED, parameter, bounds)
    assert inner_product_named("l2", REGULARIZED, parameter, (None, None)).name == "l2"


def test_what_counts_as_bounds():
    assert has_bounds((0.0, None))
    assert has_bounds((None, np.array([np.inf, 1.0])))
    assert not has_bounds(None)
    assert not has_bounds((None, None))
    assert not has_bounds((-np.inf, np.full(3, np.inf)))


@pytest.mark.slow
def test_what_gives_no_product_is_refused():
    with pytest.raises(InputError, match="unknown inner product 'H1'; expected one of l2, l2-lumped"):
        inner_product_named("H1", REGULARIZED, Parameter(P1, "m"))
    for make in (l2_product, lumped_product):
        with pytest.raises(InputError, match=r"dofs=space.dofs"):
            make(Parameter(P1.boundary("top"), "m"))
    with pytest.raises(InputError, match="higher order"):
        l2_product(Parameter(FunctionSpace(MESHES["uniform"], skfem.ElementTriP2(), order=2), "m"))
