"""Weak forms, written as for scikit-fem and evaluated in JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax

from pdeopt.fem.errors import FormError
from pdeopt.fem.forms.assembly import (
    Blocks,
    functional_value,
    linear_values,
    matrix_values,
    pattern_of,
    shapes_of,
)
from pdeopt.fem.forms.coefficients import Coefficients, coefficients_of
from pdeopt.fem.forms.coupling import sample_coefficients, shape_of
from pdeopt.fem.forms.linearity import check_linear
from pdeopt.fem.forms.structure import Shapes, samples
from pdeopt.fem.spaces.space import FunctionSpace
from pdeopt.fem.tracing.form_tracing import TracedForm, form_errors, traced_form
from pdeopt.sparse import CSRMatrix

#: A space, or the two sides of the interior facets (`FunctionSpace.interior_facets`).
Spaces = FunctionSpace | Sequence[FunctionSpace]


@dataclass(frozen=True)
class BilinearForm:
    """A bilinear form a(u, v, w), linear in the trial function u and the test function v.

    It is made by `bilinear_form`.

    Attributes:
        function: The function a, evaluated at quadrature points.
        name: The name of the form, for messages.
    """

    function: Callable[..., Any]
    name: str

    def assemble(self, trial: Spaces, test: Spaces | None = None, **coefficients: Any) -> CSRMatrix:
        """Return the matrix A[i, j] = a(u_j, v_i), with a row for each v_i and a column for each u_j.

        Args:
            trial: The space of u; with facet spaces the integral is over the facets.
            test: The space of v on the same cells or facets, with the same quadrature (default: the space of u).
            **coefficients: Fields (``space.interpolate(m)``, ``space.per_element(k)``), arrays of shape (…, cells,
                points), scalars, or functions of x (d, cells, points). Differentiable.

        Raises:
            FormError: Coefficients do not fit, or the form is one that JAX cannot trace or that is not bilinear.
        """
        trials = sides_of(trial)
        tests = trials if test is None else sides_of(test)
        blocks = tuple((u, v) for u, v in product(trials, tests))
        _check_quadrature(self.name, blocks)
        sides = list(product(range(len(trials)), range(len(tests)))) if len(blocks) > 1 else [()]
        data = [self._block(blocks, which, index, coefficients) for which, index in enumerate(sides)]
        return CSRMatrix(sum(data[1:], data[0]), pattern_of(blocks))

    def _block(self, blocks: Blocks, which: int, index: tuple[int, ...], given: dict[str, Any]) -> jax.Array:
        trial, test = blocks[which]
        w = coefficients_of(self.name, trial, given, index)
        arguments = shapes_of(trial.tables), shapes_of(test.tables)
        with form_errors(self.name):
            form = traced_form(self.function, self.name, samples(arguments), sample_coefficients(w))
            self._check(form, arguments, w)
            return matrix_values(form, blocks, which, w)

    def _check(self, form: TracedForm, arguments: tuple[Shapes, ...], w: Coefficients) -> None:
        """Refuse a form that is not linear in both functions, as `check_linear` does."""
        check_linear(form, arguments, w)


@dataclass(frozen=True)
class LinearForm:
    """A linear form L(v, w), linear in the test function v. It is made by `linear_form`.

    Attributes:
        function: The function L, evaluated at quadrature points.
        name: The name of the form, for messages.
    """

    function: Callable[..., Any]
    name: str

    def assemble(self, test: Spaces, **coefficients: Any) -> jax.Array:
        """Return the vector b[i] = L(v_i), (n,).

        Args:
            test: The space of v; with a facet space the integral is over the facets.
            **coefficients: The coefficients, as in `BilinearForm.assemble`.

        Raises:
            FormError: Coefficients do not fit, or the form is one that JAX cannot trace or that is not linear.
        """
        tests = sides_of(test)
        terms = [self._block(v, (k,) if len(tests) > 1 else (), coefficients) for k, v in enumerate(tests)]
        return sum(terms[1:], terms[0])

    def _block(self, test: FunctionSpace, index: tuple[int, ...], given: dict[str, Any]) -> jax.Array:
        w = coefficients_of(self.name, test, given, index)
        arguments = (shapes_of(test.tables),)
        with form_errors(self.name):
            form = traced_form(self.function, self.name, samples(arguments), sample_coefficients(w))
            check_linear(form, arguments, w)
            values: jax.Array = linear_values(form, test.tables, w)
            return values


@dataclass(frozen=True)
class Functional:
    """A functional J(w), an integral of given fields. It is made by `functional`.

    Attributes:
        function: The function J, evaluated at quadrature points.
        name: The name of the form, for messages.
    """

    function: Callable[..., Any]
    name: str

    def assemble(self, space: FunctionSpace, **coefficients: Any) -> jax.Array:
        """Return the integral over the cells or facets of a space, a scalar.

        Args:
            space: The space.
            **coefficients: The coefficients, as in `BilinearForm.assemble`.

        Raises:
            FormError: Coefficients do not fit, or the form is one that JAX cannot trace or that is no scalar.
        """
        w = coefficients_of(self.name, space, coefficients, ())
        with form_errors(self.name):
            form = traced_form(self.function, self.name, (), jax.tree.map(shape_of, w))
            value: jax.Array = functional_value(form, space.tables, w)
            return value


def bilinear_form(function: Callable[..., Any]) -> BilinearForm:
    """Make a bilinear form of a function ``a(u, v, w)``, as its decorator, or of a `skfem.BilinearForm`.

    Mixed elements give ``a(u1, u2, v1, v2, w)``.

    Example:
        >>> import skfem
        >>> import jax.numpy as jnp
        >>> from pdeopt.fem import FunctionSpace, dot, grad
        >>> @bilinear_form
        ... def stiffness(u, v, w):
        ...     return jnp.exp(w["m"]) * dot(grad(u), grad(v))
        >>> V = FunctionSpace(skfem.MeshLine().refined(2), skfem.ElementLineP1())
        >>> stiffness.assemble(V, m=V.interpolate(jnp.zeros(V.n)))
        CSRMatrix(5 x 5, nnz=13, float64)
    """
    return BilinearForm(*function_and_name(function))


def linear_form(function: Callable[..., Any]) -> LinearForm:
    """Make a linear form of a function ``L(v, w)``, as its decorator, or of a `skfem.LinearForm`."""
    return LinearForm(*function_and_name(function))


def functional(function: Callable[..., Any]) -> Functional:
    """Make a functional of a function ``J(w)``, as its decorator, or of a `skfem.Functional`."""
    return Functional(*function_and_name(function))


def function_and_name(function: Any) -> tuple[Callable[..., Any], str]:
    """Return the function of a form and its name.

    Raises:
        FormError: It is no function.
    """
    inner = getattr(function, "form", function)  # a form of scikit-fem carries its function there
    if not callable(inner):
        raise FormError(f"a form is made from a function, got {type(function).__name__}")
    return inner, getattr(inner, "__name__", "form")


def sides_of(spaces: Spaces) -> tuple[FunctionSpace, ...]:
    """Return the spaces that a form is integrated on: one, or those of both sides of the interior facets."""
    return (spaces,) if isinstance(spaces, FunctionSpace) else tuple(spaces)


def _check_quadrature(name: str, blocks: tuple[tuple[FunctionSpace, FunctionSpace], ...]) -> None:
    for u, v in blocks:
        if u.cells != v.cells:
            raise FormError(
                f"form '{name}': trial and test space have different cells or quadrature, {u.basis.dx.shape} and "
                f"{v.basis.dx.shape} (cells, points); make one from the other with space.with_element(...)"
            )
