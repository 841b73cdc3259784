"""Errors of the finite-element layer; each says what was got, what was expected and how to fix it."""

from pdeopt.errors import PdeoptError


class FEMError(PdeoptError, ValueError):
    """Bad input to a function space, a form or an assembly."""


class MeshError(FEMError):
    """A mesh on which nothing can be computed: inverted, folded or degenerate elements, unknown names."""


class FormError(FEMError):
    """A weak form that cannot be evaluated.

    JAX cannot trace it, it is not linear, or its coefficients do not fit.
    """
