"""The search for problem files, and the loading of their function ``build``."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pdeopt
from pdeopt.errors import did_you_mean
from pdeopt.run.errors import UsageError, problem_file_errors

if TYPE_CHECKING:
    from pdeopt.inverse import Problem


def problem_files() -> dict[str, Path]:
    """Return the files of the problems that come with pdeopt, by name.

    They are inside the package when it is installed, and beside it in a checkout.
    """
    package = Path(pdeopt.__file__).parent
    for folder in (package / "problems", package.parent / "problems"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    return {}


def first_line(path: Path) -> str:
    """Return the first line of a file's docstring, which is read without importing the file."""
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except SyntaxError as error:
        return f"(syntax error in line {error.lineno})"
    return docstring.splitlines()[0] if docstring else "(no docstring)"


def find_problem(given: str) -> Path:
    """Return the file of a problem that is given by its name, or by the path of a Python file.

    Raises:
        UsageError: There is no such problem.
    """
    known = problem_files()
    if given in known:
        return known[given]
    if given.endswith(".py"):
        path = Path(given)
        if not path.is_file():
            raise UsageError(f"there is no problem file {given}; 'pdeopt new {path.stem}' writes one to start from")
        return path
    hint = f"; did you mean ./{given}.py?" if Path(f"{given}.py").is_file() else did_you_mean(given, list(known))
    raise UsageError(f"unknown problem {given!r}; known are {', '.join(known)}, or the path of a .py file{hint}")


def load_build(path: Path) -> Callable[..., Any]:
    """Return the function ``build`` of a problem file.

    Raises:
        UsageError: The file cannot be imported, or has no such function.
    """
    _refuse_missing_platform()
    with problem_file_errors(path):
        module = _imported(path)
    build = getattr(module, "build", None)
    if not callable(build):
        raise UsageError(f"{path} has no function build(...); a problem file defines one that returns a Problem")
    return build


def build_problem(build: Callable[..., Any], options: dict[str, Any], path: Path) -> Problem:
    """Call ``build``, and return the problem that it makes.

    Args:
        build: The function ``build`` of a problem file.
        options: Its keywords with their values.
        path: The problem file, for messages.

    Raises:
        UsageError: ``build`` fails, or returns no Problem.
    """
    from pdeopt.inverse import Problem

    with problem_file_errors(path):
        problem = build(**options)
    if not isinstance(problem, Problem):
        raise UsageError(f"build(...) in {path} returned {_kind(problem)}; expected a pdeopt.inverse.Problem")
    return problem


def _refuse_missing_platform() -> None:
    """Refuse a setting of JAX_PLATFORMS that names a device that is not there.

    JAX would end in errors of its own later.

    Raises:
        UsageError: JAX finds no such device.
    """
    asked = os.environ.get("JAX_PLATFORMS")
    if not asked:
        return
    import jax

    try:
        jax.devices()
    except Exception as error:
        reason = "".join(f" ({line})" for line in str(error).splitlines()[:1])
        raise UsageError(f"JAX_PLATFORMS={asked}: JAX finds no such device{reason}; unset it, or say cpu") from error


def _kind(value: Any) -> str:
    return "None (is a return missing?)" if value is None else f"an object of type {type(value).__name__}"


def _imported(path: Path) -> ModuleType:
    name = f"pdeopt_problem_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and postponed annotations look their module up
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last: helpers beside the file are found, and hide no installed package
    spec.loader.exec_module(module)
    return module
