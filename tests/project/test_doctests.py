"""The examples in docstrings run, each by itself, and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import pdeopt

ROOT = Path(pdeopt.__file__).parent
#: The names that a user meets first: each has an example.
NAMES = {
    "pdeopt.api": {"build", "solve"},
    "pdeopt.fem": {"FunctionSpace", "bilinear_form"},
    "pdeopt.inverse": {"AtPoints", "L2Misfit", "Log", "ReducedFunctional", "h1"},
    "pdeopt.pde": {"LinearStateEquation"},
    "pdeopt.sparse": {"CSRMatrix", "linear_solve"},
    "pdeopt.verify": {"taylor_test"},
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_name(path):
    return ".".join(("pdeopt", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


#: Only these modules are imported.
WITH_EXAMPLES = [module_name(path) for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]


def examples_of(module):
    found = doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_they_say(name):
    tests, report = examples_of(importlib.import_module(name)), []
    assert tests, f"the examples of {name} are in no docstring"
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize(("room", "name"), [(room, name) for room, names in NAMES.items() for name in sorted(names)])
def test_what_a_user_meets_first_has_an_example(room, name):
    assert ">>> " in (getattr(importlib.import_module(room), name).__doc__ or "")
