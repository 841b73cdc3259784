"""All errors of pdeopt have one root, which carries a remedy in the words of the caller."""

import copy
import importlib
import inspect
import pickle
import pkgutil

import pytest

import pdeopt
from pdeopt.fem import FEMError
from pdeopt.inverse import InputError
from pdeopt.io import FileError
from pdeopt.optimize import OptimizerError
from pdeopt.run.errors import RunError, UsageError
from pdeopt.sparse import ProcessError, SolveError

#: Exceptions that end or interrupt a computation of pdeopt's own, and say nothing to the user.
SIGNALS = {"Finished", "Interrupted", "SearchEnded", "_End", "_Opaque", "_Stop"}


def exceptions_of_pdeopt():
    for found in pkgutil.walk_packages(pdeopt.__path__, "pdeopt."):
        for value in vars(importlib.import_module(found.name)).values():
            if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == found.name:
                yield value


def test_every_error_that_pdeopt_defines_has_one_root():
    defined = set(exceptions_of_pdeopt())
    assert len(defined) >= 10
    astray = {kind for kind in defined if not issubclass(kind, pdeopt.PdeoptError) and kind.__name__ not in SIGNALS}
    assert not astray, f"make PdeoptError a base of {astray}, or list what is no error in SIGNALS"


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        (FEMError, (ValueError,)),
        (InputError, (ValueError,)),
        (FileError, (ValueError,)),
        (OptimizerError, (ValueError,)),
        (SolveError, (RuntimeError, ArithmeticError)),
        (ProcessError, (RuntimeError,)),
    ],
)
def test_errors_are_still_those_of_python(kind, bases):
    assert all(issubclass(kind, base) for base in bases)


@pytest.mark.parametrize("kind", [FEMError, FileError, RunError, SolveError, UsageError])
def test_the_remedy_ends_the_text_and_outlives_a_copy(kind):
    error = kind("n is 0; expected at least 1")
    assert str(error) == "n is 0; expected at least 1"
    error.remedy = "give --n 32"
    for same in (
        error,
        kind("n is 0; expected at least 1", "give --n 32"),
        copy.copy(error),
        pickle.loads(pickle.dumps(error)),
    ):
        assert str(same) == "n is 0; expected at least 1; give --n 32"
        assert same.args == ("n is 0; expected at least 1",)
