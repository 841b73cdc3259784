"""The direct solvers by name, with marks that skip those whose library is missing."""

import importlib.util

import pytest


def needing(library, *values):
    """A parameter that is skipped where ``library`` cannot be imported."""
    missing = importlib.util.find_spec(library) is None
    return pytest.param(*values, marks=pytest.mark.skipif(missing, reason=f"{library} is not installed"))


EVERY_SOLVER = ["rslab", "superlu", needing("cvxopt", "cholmod"), needing("pypardiso", "pardiso")]
every_solver = pytest.mark.parametrize("solver", EVERY_SOLVER)
