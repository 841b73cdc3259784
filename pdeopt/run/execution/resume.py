"""The resumption of a run that was stopped, from the files in its directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from pdeopt.inverse import Problem, continuation
from pdeopt.inversion.minimization import RequestedSettings, Settings
from pdeopt.inversion.strength_option import parse_strength
from pdeopt.optimize import full_bounds
from pdeopt.run.errors import UsageError, problem_file_errors
from pdeopt.run.execution.execute import Outcome, announce, execute_and_write
from pdeopt.run.execution.request import RunRequest, config_of
from pdeopt.run.execution.run_journal import RunJournal, resume_command
from pdeopt.run.problem_files.loading import load_build, problem_files
from pdeopt.run.problem_files.trust import refuse_untrusted
from pdeopt.run.store.checkpoint import CHECKPOINT_FILE, Checkpoint, read_checkpoint
from pdeopt.run.store.directory import refuse_irregular_files, remove_leftovers, working_in, write_json
from pdeopt.run.store.evaluation_log import EVALUATIONS_FILE
from pdeopt.run.store.json_file import check_entries, read_object, refuse_newer
from pdeopt.run.store.regular_file import is_regular
from pdeopt.run.store.stored_run import read_summary
from pdeopt.run.watch.progress import Progress
from pdeopt.run.watch.run_log import LOG_FILE

#: A positive number in config.json.
PositiveNumber = Annotated[float, Meta(gt=0, le=1e308)]
#: The types of the entries of config.json, and the least and the largest value of its numbers.
CONFIG_ENTRIES: Mapping[str, Any] = {
    **dict.fromkeys(("problem", "path", "optimizer", "inner_product"), str),
    "gradient_tolerance": Annotated[float, Meta(ge=0, le=1)],
    **dict.fromkeys(("absolute_gradient_tolerance", "discrepancy_factor"), Annotated[float, Meta(ge=0, le=1e308)]),
    "max_iterations": Annotated[int, Meta(ge=0, le=10**15)],
    "regularization_strength": float | str,
    "initial_seed": Annotated[int, Meta(ge=0, le=10**15)] | None,
    "memory": Annotated[float, Meta(gt=0, le=1e308)] | None,
    "initial_spread": PositiveNumber | dict[str, PositiveNumber] | None,
    **dict.fromkeys(("folder", "initial_guess", "truth", "requested_solver"), str | None),
    **{"options": dict, "check": bool, "pictures": bool, "argv": list, "resumed": list},
}
#: The message where the answers that are kept are no longer those that the optimizer asks for.
DEPARTED_MESSAGE = (
    "the optimizer goes another way than before, as with another version of a package or number of threads: "
    "from here on all is computed again"
)


def resume_run(
    directory: Path,
    max_iterations: int | None,
    live: bool,
    pictures: bool,
    argv: list[str],
    progress: Progress,
    trusted: Path | None = None,
) -> Outcome:
    """Go on with a run to where it would have come by itself.

    Args:
        directory: The run directory.
        max_iterations: The largest number of iterations; None for the run's own.
        live: Whether the iterates are drawn on the way.
        pictures: Whether the result is drawn, where the run was begun with pictures.
        argv: The words of the command line, for the record.
        progress: Told what is done.
        trusted: The problem file of the run, where the user has not run it before and says that it may be executed.

    Raises:
        UsageError: There is nothing to go on from, what there is belongs to another problem or version, or the problem
            file is neither pdeopt's nor known to be the user's. Nothing of the directory is executed then.
    """
    refuse_irregular_files(directory)
    config = read_config(directory)
    former = _settings(config, directory)
    _refuse_at_limit(directory, former.max_iterations, max_iterations)
    settings = replace(former, max_iterations=_limit(former.max_iterations, max_iterations))
    path = _problem_file(config, directory)
    checkpoint = _checkpoint(directory, path)
    refuse_untrusted(path, directory, trusted)
    with working_in(config.get("folder")):
        request = _request(config, path, settings, argv)
        request = replace(request, live=live, pictures=pictures and request.pictures)
        announce(request, progress)
        problem = request.problem()
    if checkpoint is not None:
        _refuse_other_values(checkpoint, problem, path)
    journal = RunJournal(lambda: directory, path)
    journal.open(lambda: progress.note(DEPARTED_MESSAGE))
    progress.log.open(directory / LOG_FILE)
    _prepare(directory, _resumed(config_of(request, problem, settings), config))
    if checkpoint is not None:
        progress.note(f"going on from iteration {checkpoint.iteration}, after {checkpoint.seconds:.1f} s")
    return execute_and_write(request, problem, settings, journal, progress)


def has_converged(directory: Path) -> bool:
    """Return whether a run is complete, so that there is nothing to go on with."""
    return _summary(directory).get("status") == "converged"


def _summary(directory: Path) -> dict[str, Any]:
    """Return the entries of summary.json; empty for a run that has not ended."""
    return read_summary(directory / "summary.json")


def _refuse_at_limit(directory: Path, former: int, given: int | None) -> None:
    at_limit = str(_summary(directory).get("message")).startswith("the maximum number of iterations")
    if at_limit and given in (None, former):
        more = resume_command(directory, f" --max-iterations {2 * max(former, 1)}")
        raise UsageError(f"{directory} has come to its largest number of iterations, {former}; go on with: {more}")


def read_config(directory: Path) -> dict[str, Any]:
    """Return the entries of config.json.

    Raises:
        UsageError: There is no such file, or it cannot be read.
    """
    path = directory / "config.json"
    if not is_regular(path):
        raise UsageError(f"{directory} is not a run directory: it has no config.json")
    config = read_object(path)
    refuse_newer(path, config)
    check_entries(path, config, CONFIG_ENTRIES)
    return config


def _checkpoint(directory: Path, path: Path) -> Checkpoint | None:
    """Return the checkpoint of a run, or None for a run that was stopped before its first one.

    Raises:
        UsageError: The run cannot be resumed from it.
    """
    checkpoint = read_checkpoint(directory / CHECKPOINT_FILE)
    if checkpoint is None:
        return None
    checkpoint.refuse_other(path)
    if not is_regular(directory / EVALUATIONS_FILE):
        raise UsageError(f"{directory} has no {EVALUATIONS_FILE}, from which a run goes on; start a new one")
    return checkpoint


def _prepare(directory: Path, config: dict[str, Any]) -> None:
    remove_leftovers(directory)
    write_json(directory / "config.json", config)


def _settings(config: dict[str, Any], directory: Path) -> Settings:
    path = directory / "config.json"
    if "path" not in config and "versions" in config and "argv" not in config:
        raise UsageError(f"{directory} was saved from Python, which keeps nothing to go on from; solve it again there")
    missing = {"options", *(part.name for part in fields(Settings))} - set(config)
    if missing:
        raise UsageError(f"{path} has no {min(missing)!r}; it is of another version of pdeopt")
    given = {part.name: config[part.name] for part in fields(Settings)}
    strength = parse_strength(str(given["regularization_strength"]), f"{path}: regularization_strength")
    return Settings(**{**given, "regularization_strength": strength})


def _limit(former: int, given: int | None) -> int:
    if given is not None and given < former:
        raise UsageError(f"--max-iterations is {given}; the run was started with {former}: give at least that")
    return former if given is None else given


def _problem_file(config: dict[str, Any], directory: Path) -> Path:
    """Return the problem file of a run: where it was, or where the problem of pdeopt with its name is.

    Raises:
        UsageError: The file is not there, and pdeopt has no problem of this name.
    """
    path, name = Path(config.get("path", "")), config.get("problem")
    known = problem_files().get(str(name))
    if os.path.isfile(path):  # False, too, for what can be no name of a file
        return path.resolve()
    if known is not None:
        return known
    raise UsageError(f"the run in {directory} is of the problem file {path}, which is not there; put it back")


def _request(config: dict[str, Any], path: Path, settings: Settings, argv: list[str]) -> RunRequest:
    return RunRequest(
        path=path,
        build=load_build(path),
        options=dict(config["options"]),
        asked=RequestedSettings(
            optimizer=settings.optimizer,
            inner_product=settings.inner_product,
            gradient_tolerance=settings.gradient_tolerance,
            max_iterations=settings.max_iterations,
            regularization_strength=settings.regularization_strength,
            discrepancy_factor=settings.discrepancy_factor,
        ),
        solver=config.get("requested_solver"),
        memory=config.get("memory"),
        initial_guess=_former_run(config.get("initial_guess")),
        initial_seed=config.get("initial_seed"),
        initial_spread=config.get("initial_spread"),
        truth=_former_run(config.get("truth")),
        out=None,
        argv=argv,
        check=bool(config.get("check", True)),
        pictures=bool(config.get("pictures", True)),
    )


def _former_run(given: str | None) -> Path | None:
    return None if given is None else Path(given)


def _resumed(config: dict[str, Any], former: dict[str, Any]) -> dict[str, Any]:
    """Return the new entries of config.json.

    Folder, command line and whether pictures are drawn stay those of the start; the command lines that went on with the
    run are added.
    """
    start = {"folder": former.get("folder"), "argv": former.get("argv"), "pictures": former.get("pictures", True)}
    return {**config, **start, "resumed": [*former.get("resumed", []), config["argv"]]}


def _refuse_other_values(checkpoint: Checkpoint, problem: Problem, path: Path) -> None:
    functional = problem.functional
    lower, upper = full_bounds(problem.bounds, problem.parameter.size)
    with problem_file_errors(path):
        first, _ = functional.terms_and_derivative(np.clip(problem.initial, lower, upper))
        checkpoint.refuse_other_values(first.misfit, problem.parameter.size)
        if len(continuation(functional)) == 1:  # otherwise the checkpoint may be of an earlier stage
            last, _ = functional.with_strength(checkpoint.strength).terms_and_derivative(checkpoint.parameter)
            checkpoint.refuse_other_regularization(last.regularization)
