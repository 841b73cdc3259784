"""The command ``pdeopt``: every subcommand, and the exit status of each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from pdeopt.cli.arguments import Arguments, parse
from pdeopt.errors import PdeoptError
from pdeopt.run.errors import RunError, UsageError, problem_file_errors
from pdeopt.run.watch.interruption import exit_status, forget_signals, interrupts_come_through
from pdeopt.run.watch.screen import robust_streams

if TYPE_CHECKING:
    from argparse import Namespace

    from pdeopt.inverse import Problem
    from pdeopt.run.execution.execute import Outcome
    from pdeopt.run.sweep.sweep import Sweep
    from pdeopt.run.watch.progress import Progress

# Everything that imports JAX or matplotlib is imported where it is used: `pdeopt list` answers at once.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return the exit status.

    Args:
        argv: The words of the command line, without the name of the command; those of the process where None.

    Returns:
        0 for success, 1 for a failed run or check, 2 for bad input, and 128 + its number after a signal: 130 after
        Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    forget_signals()
    with robust_streams():
        try:
            arguments = parse(words)
            with interrupts_come_through():
                return COMMAND_FUNCTIONS[arguments.command](arguments)
        except SystemExit as done:  # --help and --version have printed
            return int(done.code or 0)
        except RunError as error:
            _complain(str(error))
            return 1
        except PdeoptError as error:
            _complain(str(error))
            if "--traceback" in words:
                traceback.print_exception(error.__cause__ or error)
            return 2
        except OSError as error:
            _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
            return 1
        except KeyboardInterrupt as interrupt:
            _complain(str(interrupt) or "interrupted")
            return exit_status()


def _list(arguments: Arguments) -> int:
    from pdeopt.run.problem_files.loading import first_line, problem_files

    files = problem_files()
    width = max(map(len, files), default=0) + 2
    for name, path in files.items():
        print(f"{name:<{width}}{first_line(path)}")
    return 0


def _run(arguments: Arguments) -> int:
    from pdeopt.inversion.minimization import RequestedSettings
    from pdeopt.inversion.strength_option import parse_strength
    from pdeopt.run.execution.execute import run_problem
    from pdeopt.run.execution.request import RunRequest
    from pdeopt.run.problem_files.trust import remember_trusted

    remember_trusted(arguments.path)
    given = arguments.given
    strength = given.regularization_strength
    asked = RequestedSettings(
        optimizer=given.optimizer,
        inner_product=given.inner_product,
        gradient_tolerance=given.gradient_tolerance,
        max_iterations=given.max_iterations,
        regularization_strength=None if strength is None else parse_strength(strength, "--regularization-strength"),
        discrepancy_factor=given.discrepancy_factor,
    )
    request = RunRequest(
        path=arguments.path,
        build=arguments.build,
        options=arguments.options,
        asked=asked,
        solver=arguments.solver,
        memory=given.memory,
        initial_guess=given.initial_guess,
        truth=given.truth,
        out=given.out,
        argv=arguments.words,
        check=not given.no_check,
        live=given.live,
        pictures=not given.no_pictures,
    )
    return _shown(given, lambda progress: run_problem(request, progress))


def _resume(arguments: Arguments) -> int:
    from pdeopt.run.execution.resume import has_converged, resume_run

    given = arguments.given
    if (given.directory / "sweep.json").exists():
        return _resume_sweep(given)
    if has_converged(given.directory):
        if not given.quiet:
            print(f"{given.directory}: the run has converged; there is nothing to go on with")
        return 0
    limit, pictures = given.max_iterations, not given.no_pictures
    return _shown(
        given,
        lambda progress: resume_run(
            given.directory, limit, given.live, pictures, arguments.words, progress, given.trust
        ),
    )


def _shown(given: Namespace, run: Callable[[Progress], Outcome]) -> int:
    """Show a run while it goes on, say how it ended and how to go on, and return the exit status."""
    from pdeopt.run.watch.end_of_run import print_summary
    from pdeopt.run.watch.progress import Progress

    console = _console()
    with Progress(console, given.quiet, given.verbose, given.traceback) as progress:
        outcome = run(progress)
        for warning in outcome.warnings:
            progress.warn(warning)
        log = Console(file=progress.log, width=120, color_system=None)  # type: ignore[arg-type]  # it has what is used
        print_summary(log, outcome.summary, outcome.directory)
    if outcome.exit_status == 1:
        _complain(f"the run failed: {outcome.summary['message']}; what it reached is in {outcome.directory}/")
    elif not given.quiet:
        print_summary(console, outcome.summary, outcome.directory)
        if outcome.next_step is not None:
            print(f"go on with: {outcome.next_step}")
    return outcome.exit_status


def _sweep(arguments: Arguments) -> int:
    from pdeopt.run.sweep.sweep import start_sweep

    return start_sweep(_sweep_of(arguments), _console(), arguments.given.quiet)


def _sweep_of(arguments: Arguments) -> Sweep:
    from pdeopt.run.sweep.sweep import Sweep

    given = arguments.given
    return Sweep.of(given.problem, arguments.path, arguments.grid, given.out, given.jobs, arguments.words)


def sweep_of(words: list[str]) -> Sweep:
    """Return the sweep that the words of a command line ask for.

    Raises:
        UsageError: The words are no command, or an argument is wrong.
    """
    return _sweep_of(parse(words))


def _resume_sweep(given: Namespace) -> int:
    from pdeopt.run.sweep.sweep import resume_sweep

    if given.max_iterations is not None:
        raise UsageError(f"--max-iterations: {given.directory} holds a sweep, whose runs have limits of their own")
    for flag, is_given in {"--live": given.live, "--verbose": given.verbose}.items():
        if is_given:
            raise UsageError(f"{flag}: {given.directory} holds a sweep, whose runs are not shown one by one")
    if given.no_pictures:
        raise UsageError(f"--no-pictures: {given.directory} holds a sweep, which goes on as it was begun")
    return resume_sweep(given.directory, sweep_of, _console(), given.quiet, given.trust)


def _check(arguments: Arguments) -> int:
    from pdeopt.inversion.checking import check_problem
    from pdeopt.run.problem_files.loading import build_problem
    from pdeopt.run.watch.end_of_run import print_checks
    from pdeopt.run.watch.progress import Progress

    console = _console()
    with Progress(console) as progress:
        progress.status(f"building {arguments.path.stem} …")
        problem: Problem = build_problem(arguments.build, arguments.options, arguments.path)
        with problem_file_errors(arguments.path):
            problem = problem if arguments.solver is None else problem.with_solver(arguments.solver)
            problem = problem if arguments.given.memory is None else problem.with_memory(arguments.given.memory)
            checks = check_problem(problem, progress.status)
    print_checks(console, checks)
    return 0 if all(check.passed for check in checks) else 1


def _plot(arguments: Arguments) -> int:
    from pdeopt.run.pictures.run_pictures import missing_scene, redraw

    given = arguments.given
    for picture in redraw(given.directories, given.out, given.against):
        print(picture)
    if len(given.directories) == 1 and (note := missing_scene(given.directories[0])):
        print(note, file=sys.stderr)
    return 0


def _report(arguments: Arguments) -> int:
    from pdeopt.run.report.page import write_report

    print(write_report(arguments.given.directories, arguments.given.out))
    return 0


def _new(arguments: Arguments) -> int:
    from pdeopt.run.problem_files.template import write_template

    path = write_template(arguments.given.name)
    print(f"wrote {path}; next: pdeopt check ./{path}, then pdeopt run ./{path}")
    return 0


#: The function of each command, which returns the exit status.
COMMAND_FUNCTIONS: dict[str, Callable[[Arguments], int]] = {
    "list": _list,
    "run": _run,
    "resume": _resume,
    "sweep": _sweep,
    "check": _check,
    "plot": _plot,
    "report": _report,
    "new": _new,
}


def _console() -> Console:
    """Return the console of standard output, wide enough for a table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def _complain(message: str) -> None:
    """Print an error on stderr, without the control characters that it may quote from a file."""
    harmless = "".join(one if one.isprintable() or one == "\n" else "?" for one in message)
    print(f"pdeopt: error: {harmless}", file=sys.stderr)
