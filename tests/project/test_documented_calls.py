"""Calls that pages and docstrings write out are calls that the functions take."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = [importlib.import_module(f"pdeopt.{room}") for room in ("sparse", "fem", "pde", "inverse", "optimize", "eit")]
PUBLIC = {name: getattr(room, name) for room in ROOMS for name in room.__all__}
TEXTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", *sorted((ROOT / "pdeopt").rglob("*.py"))]


def target_of(call):
    """The public function or method that is called: ``f(…)``, ``Class(…)``, ``Class.method(…)``, ``V.method(…)``."""
    if isinstance(call.func, ast.Name):
        return PUBLIC.get(call.func.id)
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        owner = "FunctionSpace" if call.func.value.id in ("V", "space") else call.func.value.id
        return getattr(PUBLIC.get(owner), call.func.attr, None)
    return None


def calls_in(text):
    """Of every piece of inline code that is Python; an ellipsis stands for the rest of the arguments."""
    for code in re.findall(r"(?<!`)``?([^`\n]+?)``?(?!`)", text):
        try:
            tree = ast.parse(code.strip().replace("…", "..."), mode="eval")
        except SyntaxError:
            continue
        yield from ((code, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def fault_of(call):
    """Why the function does not take the call; None where it does, or is not ours."""
    target = target_of(call)
    if not callable(target):
        return None
    try:
        signature = inspect.signature(target)
    except ValueError:  # of a function in C
        return None
    through_instance = isinstance(call.func, ast.Attribute) and "self" in signature.parameters
    given = [None] * (through_instance + len(call.args))
    named = {keyword.arg: None for keyword in call.keywords if keyword.arg}
    cut = any(isinstance(a, ast.Starred) or (isinstance(a, ast.Constant) and a.value is ...) for a in call.args)
    try:
        if cut or (call.keywords and not call.args):  # keywords alone show one option
            signature.bind_partial(**named)
        else:
            signature.bind(*given, **named)
    except TypeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_calls_fit_the_signatures(path):
    found = {code: fault_of(call) for code, call in calls_in(path.read_text(encoding="utf-8"))}
    assert not {code: fault for code, fault in found.items() if fault}


def test_a_call_that_does_not_fit_is_found():
    text = "`h1(V, 1.0, 2.0, 3.0)` and ``h1(V, 1.0)``, `tikhonov(…)`, `V.nodal()`, `h1(V, scale=1)`"
    assert [fault_of(call) is not None for _, call in calls_in(text)] == [True, False, False, True, True]
