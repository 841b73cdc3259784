"""The words of a command line, parsed: pdeopt's own arguments, and the options of the problem."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pdeopt
from pdeopt.cli.grid_options import grid_of, multi_value_options
from pdeopt.cli.options import Option, option_values, options_of
from pdeopt.cli.own_arguments import (
    COMMAND_ARGUMENTS,
    COMMAND_EPILOGS,
    COMMAND_HELP,
    EXCLUSIVE_OPTIONS,
    Argument,
    run_arguments,
)
from pdeopt.errors import did_you_mean
from pdeopt.inversion.strength_option import parse_strength
from pdeopt.run.errors import UsageError
from pdeopt.run.problem_files.loading import find_problem, load_build
from pdeopt.run.sweep.grid import Grid

#: A negative number, or a list of numbers that begins with one.
NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(,.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Arguments:
    """The command line as it was parsed.

    Attributes:
        command: One of `COMMAND_HELP`.
        given: The values of pdeopt's own arguments.
        words: The words of the command line.
        path: The problem file, for the commands that take a problem.
        build: The function ``build`` of that file.
        options: The keywords of ``build`` with their values.
        solver: The name of the linear solver that is chosen for the state equation; None where the problem chooses.
        grid: The grid of a sweep.
    """

    command: str
    given: argparse.Namespace
    words: list[str]
    path: Path = Path()
    build: Callable[..., Any] = print
    options: dict[str, Any] = field(default_factory=dict)
    solver: str | None = None
    grid: Grid = field(default_factory=Grid)


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of exiting, and does not guess abbreviations."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        """Raise a message of argparse as UsageError, with the nearest of the known choices."""
        unknown = re.fullmatch(r"argument .*: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if unknown is None:
            raise UsageError(message)
        given, known = unknown.groups()
        raise UsageError(message + did_you_mean(given, re.sub(r"'", "", known).split(", ")))


def parse(words: list[str]) -> Arguments:
    """Return the arguments that the words of a command line stand for.

    Raises:
        UsageError: The words are no command, or an argument is wrong.
        SystemExit: ``--help`` or ``--version`` has been printed.
    """
    command = words[0] if words else "--help"
    if command in ("-h", "--help", "--version"):
        _print_overview(command)
    if command not in COMMAND_HELP:
        hint = did_you_mean(command, [*COMMAND_HELP, "--help", "--version"])
        raise UsageError(f"unknown command {command!r}; expected {', '.join(COMMAND_HELP)}{hint}")
    if command not in COMMAND_EPILOGS or set(words[1:2]) & {"-h", "--help"}:
        return Arguments(command, _given(_parser(command, run_arguments([]), {}), words), words)
    if len(words) < 2 or words[1].startswith("-"):
        raise UsageError(f"the problem comes first: pdeopt {command} PROBLEM [options]; 'pdeopt list' names them")
    path = find_problem(words[1])
    build = load_build(path)
    options = options_of(build, path)
    from pdeopt.optimize import optimizers  # those that the problem file has registered among them; imports NumPy

    run = run_arguments(list(optimizers()))
    named = {f"options of {path.stem}": [option.argument() for option in options if option.name != "solver"]}
    of_run = _parser("run", run, named)
    given = _given(of_run if command == "run" else _parser(command, run, named), words)
    if command != "sweep":
        return Arguments(command, given, words, path, build, *_keywords_and_solver(options, given))
    grid = grid_of([one for arguments in (run, *named.values()) for one in arguments], given)
    for key in grid.keys:
        for value in key.values:  # a run would take it
            one = of_run.parse_args([words[1], key.word(value)])
            _check_solver(one.solver)
            if one.regularization_strength is not None:
                parse_strength(one.regularization_strength, "--regularization-strength")
    return Arguments(command, given, words, path, build, grid=grid)


def _print_overview(word: str) -> NoReturn:
    """Print the help of all commands or the version, and raise SystemExit."""
    parser = Parser(prog="pdeopt", description="Inverse problems with differentiable finite elements.")
    parser.add_argument("--version", action="version", version=f"pdeopt {pdeopt.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, text in COMMAND_HELP.items():
        commands.add_parser(name, help=text)
    parser.parse_args([word])
    raise SystemExit(0)


def _parser(command: str, run: Sequence[Argument], named: Mapping[str, Sequence[Argument]]) -> Parser:
    """Return the parser of a command.

    Args:
        command: One of `COMMAND_HELP`.
        run: The arguments of the command ``run``.
        named: The options of the problem that is named, by the title of their group in the help.

    Raises:
        UsageError: An option of the problem has the name of one of pdeopt's own.
    """
    parser = Parser(prog=f"pdeopt {command}", description=COMMAND_HELP[command], epilog=COMMAND_EPILOGS.get(command))
    for own in run if command == "run" else COMMAND_ARGUMENTS.get(command, ()):
        parser.add_argument(own.name, **own.settings)
    if command == "sweep":
        runs = {"options of each run": run, **named}
        named = {
            f"{title}: one value or several, a,b,c": multi_value_options(arguments) for title, arguments in runs.items()
        }
    for title, arguments in named.items():
        group = parser.add_argument_group(title)
        for one in arguments:
            try:
                group.add_argument(one.name, **one.settings)
            except argparse.ArgumentError:
                raise UsageError(
                    f"{one.name} of the problem has the name of pdeopt's own {one.name}; rename the keyword of build"
                ) from None
    return parser


def _given(parser: Parser, words: list[str]) -> argparse.Namespace:
    """Return the values of the arguments that a command line gives to its command.

    Raises:
        UsageError: An argument is missing, wrong or unknown.
    """
    joined: list[str] = []
    for word in words[1:]:
        if joined and NEGATIVE_NUMBER.fullmatch(word) and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"  # --key -1e-3, which argparse would take for an option
        else:
            joined.append(word)
    given, unknown = parser.parse_known_args(joined)
    if unknown:
        word = unknown[0].split("=")[0]
        if not word.startswith("-"):
            hint = "; values in a list are separated by commas alone: a,b,c" if words[0] == "sweep" else ""
            raise UsageError(f"unexpected argument {word!r}{hint}")
        known = re.findall(r"(?<![\w-])--[\w-]+", parser.format_usage())
        which = " ".join(words[:2] if words[0] in COMMAND_EPILOGS else words[:1])
        raise UsageError(f"unknown option {word}{did_you_mean(word, known)}; see pdeopt {which} --help")
    for one, other in EXCLUSIVE_OPTIONS:
        if {one, other} <= set(words):
            raise UsageError(f"argument {other}: not allowed with argument {one}")
    return given


def _keywords_and_solver(options: list[Option], given: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    """Return the keywords of ``build``, and the solver that is chosen for what it returns.

    A ``build`` that takes a solver itself gets the name, and decides what is solved by it.
    """
    keywords = option_values(options, given)
    _check_solver(given.solver)
    if given.solver is not None and "solver" in keywords:
        return {**keywords, "solver": given.solver}, None
    return keywords, given.solver


def _check_solver(name: str | None) -> None:
    if name is None:
        return
    from pdeopt.sparse import SolveError, resolve_solver

    try:
        resolve_solver(name)
    except SolveError as error:
        raise UsageError(str(error)) from error
