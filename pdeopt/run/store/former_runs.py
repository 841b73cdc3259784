"""The fields of former runs as the initial guess, or as the truth, of a problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from pdeopt.fem import FEMError
from pdeopt.inverse import (
    Identity,
    InputError,
    Numbers,
    Parameter,
    ParameterInTime,
    Parameters,
    Parametrization,
    Problem,
    Tree,
)
from pdeopt.inverse.unknowns.parameters import AnyParameter, SingleParameter
from pdeopt.io import FileError, FormerRun, read_run
from pdeopt.io.npz import read_arrays, refuse_newer_file
from pdeopt.run.errors import UsageError
from pdeopt.run.store.checkpoint import CHECKPOINT_FILE, CHECKPOINT_FORMAT
from pdeopt.run.store.json_file import read_object, refuse_newer
from pdeopt.run.store.placement import Placement, place_parameter


def with_former_runs(problem: Problem, name: str, initial_guess: Path | None, truth: Path | None) -> Problem:
    """Return a problem that starts at a former run's parameter, or is compared with one's coefficient.

    Args:
        problem: The problem.
        name: The name of the problem, to be compared with that of an unfinished run.
        initial_guess: The directory of the run whose parameter is the initial guess, of an unfinished run the last
            checkpoint; None leaves the problem's own.
        truth: The directory of the run whose coefficient is the truth; None leaves the problem's own.

    Raises:
        UsageError: A folder holds no run, one of a newer version of pdeopt, or one of another coefficient or domain, or
            a boundary parameter's degrees of freedom sit elsewhere.
    """
    start = problem
    if initial_guess is not None:
        start = _fitting("--initial-guess", lambda: replace(problem, initial=_initial(problem, name, initial_guess)))
    if truth is None:
        return start
    return _fitting("--truth", lambda: replace(start, truth=_coefficient(problem.parameter, read_run(truth))))


def _fitting(option: str, changed: Callable[[], Problem]) -> Problem:
    try:
        return changed()
    except (FEMError, FileError, InputError) as error:
        raise UsageError(f"{option}: {error}") from error


def _initial(problem: Problem, name: str, directory: Path) -> np.ndarray:
    """Return the parameter m (p,) at which a former run ended.

    It is the run's own where that means the same coefficient here, otherwise the one that its coefficient has here.
    """
    if (directory / CHECKPOINT_FILE).is_file() and not (directory / "summary.json").is_file():
        return _last_iterate(problem, name, directory)
    run, parameter = read_run(directory), problem.parameter
    if not isinstance(parameter, Parameters):
        return _single_initial(parameter, problem.functional.parametrization, run)
    _refuse_other_names(parameter, run)
    return np.concatenate(
        [
            _single_initial(part, part.parametrization or Identity(), run.unknowns[name])
            for name, part in parameter.parts.items()
        ]
    )


def _single_initial(parameter: SingleParameter, parametrization: Parametrization, run: FormerRun) -> np.ndarray:
    """Return the m (p,) of a single parameter at which a run ended, as `_initial` does.

    The weights of a network are taken over as they are: the mesh of their function does not change them.
    """
    if isinstance(parameter, Tree):
        if run.label != parameter.label or run.parameter.shape != (parameter.size,):
            raise FileError(
                f"{run.directory} holds {run.parameter.size} values of {run.label!r}; this problem looks for "
                f"{parameter.size} of {parameter.label!r}: trees of arrays are taken over at the same sizes only"
            )
        return run.parameter
    coefficient = _coefficient(parameter, run)
    if run.parameter.shape == (parameter.size,):
        there = np.asarray(parametrization(jnp.asarray(run.parameter)))
        if np.allclose(there, coefficient, rtol=1e-10, atol=0):
            return run.parameter
    try:
        return np.asarray(parametrization.inverse(coefficient))
    except InputError as error:
        raise FileError(f"{run.directory}: its coefficient is none of this problem's: {error}") from error


def _refuse_other_names(parameter: AnyParameter, run: FormerRun) -> None:
    ours = list(parameter.parts) if isinstance(parameter, Parameters) else []
    if list(run.unknowns) != ours:
        there, here = (", ".join(names) or "one without a name" for names in (run.unknowns, ours))
        raise FileError(f"{run.directory} holds the parameters {there}; this problem looks for {here}")


def _last_iterate(problem: Problem, name: str, directory: Path) -> np.ndarray:
    """Return the last iterate of an unfinished run, which must be of this problem and size.

    Its mesh is not known.
    """
    arrays = read_arrays(directory / CHECKPOINT_FILE, "the checkpoint of a run")
    refuse_newer_file(directory / CHECKPOINT_FILE, arrays, CHECKPOINT_FORMAT)
    m = arrays.get("parameter")
    theirs = _problem_of(directory)
    if theirs != name:
        raise FileError(f"{directory} holds an unfinished run of {theirs!r}; expected one of {name!r}")
    if m is None or m.shape != (problem.parameter.size,):
        raise FileError(
            f"{directory}: its checkpoint has parameters of shape {None if m is None else m.shape}; this problem has "
            f"({problem.parameter.size},). An unfinished run fits the same mesh only: resume it to its end first"
        )
    return m


def _problem_of(directory: Path) -> str | None:
    config = read_object(directory / "config.json")
    refuse_newer(directory / "config.json", config)
    problem = config.get("problem")
    return None if problem is None else str(problem)


def _coefficient(parameter: AnyParameter, run: FormerRun) -> np.ndarray:
    """Return the run's coefficient at a parameter's degrees of freedom, (p,)."""
    if run.label != parameter.label:
        raise FileError(f"{run.directory} holds {run.label!r}; this problem looks for {parameter.label!r}")
    _refuse_other_names(parameter, run)
    if isinstance(parameter, Parameters):
        return np.concatenate([_coefficient(part, run.unknowns[name]) for name, part in parameter.parts.items()])
    if isinstance(parameter, Numbers) or run.names:
        ours = tuple(parameter.names) if isinstance(parameter, Numbers) else ()
        if run.names != ours:
            theirs, wanted = (", ".join(names) or "a function" for names in (run.names, ours))
            raise FileError(f"{run.directory} holds {theirs}; this problem looks for {wanted}")
        return run.coefficient
    at = place_parameter(parameter)
    if isinstance(parameter, Tree):
        if run.coefficient.shape != (parameter.coefficient_size,) or not _is_at(run, at.x):
            raise FileError(
                f"{run.directory} holds {run.coefficient.size} values of {run.label!r}; this problem looks for "
                f"{parameter.coefficient_size}: trees of arrays are taken over at the same sizes, and on the same mesh"
            )
        return run.coefficient
    steps = parameter.steps if isinstance(parameter, ParameterInTime) else 1
    if run.steps != steps:
        raise FileError(f"{run.directory} holds {run.steps} steps in time; this problem has {steps}")
    mesh = parameter.space.mesh
    if len(run.p) != mesh.dim():
        raise FileError(f"{run.directory}: its mesh has {len(run.p)} dimensions; this problem's has {mesh.dim()}")
    if _is_same(run, at, parameter):
        return run.coefficient
    if "boundary" in (run.kind, at.kind):
        raise FileError(
            f"{run.directory}: its parameter sits at {run.x.shape[1]} places ({run.kind}), this problem's at "
            f"{at.x.shape[1]} ({at.kind}); on a boundary they must agree: run both on the same mesh"
        )
    parameter.space.check_nodal()
    if len(parameter.space.basis.nodal_dofs) > 1:
        raise FileError(f"{run.directory}: a coefficient of several components is taken over on the same mesh only")
    x = parameter.space.locations
    return run.coefficient_at(x if parameter.dofs is None else x[:, parameter.dofs])


def _is_same(run: FormerRun, at: Placement, parameter: Parameter | ParameterInTime) -> bool:
    """Return whether the degrees of freedom are the same, in the same order."""
    mesh, size = parameter.space.mesh, parameter.size
    return (
        run.coefficient.shape == (size,)
        and np.array_equal(run.gather, at.gather)
        and _is_at(run, at.x)
        and (at.kind == "boundary" or np.array_equal(run.t, mesh.t))
    )


def _is_at(run: FormerRun, x: np.ndarray) -> bool:
    """Return whether the values of a run sit at given places (d, k)."""
    return run.x.shape == x.shape and np.allclose(run.x, x, rtol=0, atol=1e-9 * np.ptp(x) if x.size else 0.0)
