"""The arguments of the command line: pdeopt's own, and the options of the problem that is named."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pdeopt
from pdeopt.cli.grid_options import add_grid, grid_of
from pdeopt.cli.options import Option, add_options, options_of, values
from pdeopt.errors import did_you_mean
from pdeopt.inversion.strength_option import RULES, parse_strength
from pdeopt.run.errors import UsageError
from pdeopt.run.problem_files.loading import find_problem, load_build
from pdeopt.run.sweep.grid import Grid

#: The commands, each with its line of help.
COMMANDS = {
    "list": "the problems, one line each",
    "run": "solve an inverse problem and write a run directory",
    "resume": "go on with a run that was stopped: interrupted, killed, or at its largest number of iterations",
    "sweep": "run a grid of options in parallel, and tabulate the results",
    "check": "verify the derivatives of a problem; exit status 1 when a check fails",
    "plot": "redraw the pictures of a run, or compare several runs in one figure",
    "report": "write one HTML page about a run, or about several that are compared",
    "new": "write a commented problem file to start from",
}
#: The optimizers named in the help where no problem is given; `pdeopt.optimize.optimizers`, which has all, imports
#: NumPy.
OPTIMIZERS = "l-bfgs-b, newton-cg, gauss-newton, …"
#: The names that `pdeopt.inverse.inner_product_names` returns, which imports JAX.
INNER_PRODUCTS = ("l2", "l2-lumped", "regularization", "euclidean")
#: The names in `pdeopt.run.pictures.history_figure.AXES`, which imports matplotlib.
AXES = ("iterations", "evaluations", "seconds")
#: A negative number, or a list of numbers that begins with one.
NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(,.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Arguments:
    """The command line as it was parsed.

    Attributes:
        command: One of `COMMANDS`.
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
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise UsageError(
            f"unknown command {words[0]!r}; expected {', '.join(COMMANDS)}{did_you_mean(words[0], list(COMMANDS))}"
        )
    if not _names_problem(words):
        return Arguments(words[0] if words else "", _parse_all(*_parsers(), words), words)
    path = find_problem(words[1])
    build = load_build(path)
    options = options_of(build, path)
    parser, commands = _parsers(options, path.stem)
    if words[0] == "sweep":
        add_grid(commands["sweep"], commands["run"])
        given = _parse_all(parser, commands, words)
        return Arguments("sweep", given, words, path, build, grid=_checked_grid(commands["run"], given))
    given = _parse_all(parser, commands, words)
    return Arguments(words[0], given, words, path, build, *_keywords_and_solver(options, given))


def _names_problem(words: list[str]) -> bool:
    if words[:1] not in (["run"], ["sweep"], ["check"]) or set(words[1:2]) & {"-h", "--help"}:
        return False
    if len(words) < 2 or words[1].startswith("-"):
        raise UsageError(f"the problem comes first: pdeopt {words[0]} PROBLEM [options]; 'pdeopt list' names them")
    return True


def _parse_all(parser: Parser, commands: dict[str, Parser], words: list[str]) -> argparse.Namespace:
    if not words:
        parser.print_help()
        raise SystemExit(0)
    given, unknown = parser.parse_known_args(_joined(words))
    if unknown:
        word = unknown[0].split("=")[0]
        if not word.startswith("-"):
            hint = "; values in a list are separated by commas alone: a,b,c" if given.command == "sweep" else ""
            raise UsageError(f"unexpected argument {word!r}{hint}")
        flags = [flag for action in commands[given.command]._actions for flag in action.option_strings]
        raise UsageError(f"unknown option {word}{did_you_mean(word, flags)}; see pdeopt {_usage(given)} --help")
    return given


def _usage(given: argparse.Namespace) -> str:
    return f"{given.command} {given.problem}" if hasattr(given, "problem") else given.command


def _joined(words: list[str]) -> list[str]:
    """Return the words with --key -1e-3 as --key=-1e-3, which argparse would take for an option."""
    joined: list[str] = []
    for word in words:
        if joined and NUMBER.fullmatch(word) and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _keywords_and_solver(options: list[Option], given: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    """Return the keywords of ``build``, and the solver that is chosen for what it returns.

    A ``build`` that takes a solver itself gets the name, and decides what is solved by it.
    """
    keywords = values(options, given)
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


def _checked_grid(run: Parser, given: argparse.Namespace) -> Grid:
    """Return the grid of a sweep, after a check that a run would take each of its values."""
    grid = grid_of(run, given)
    for key in grid.keys:
        for value in key.values:
            one = run.parse_args([given.problem, key.word(value)])
            _check_solver(one.solver)
            if one.regularization_strength is not None:
                parse_strength(one.regularization_strength, "--regularization-strength")
    return grid


def _parsers(options: list[Option] | None = None, problem: str = "") -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(prog="pdeopt", description="Inverse problems with differentiable finite elements.")
    parser.add_argument("--version", action="version", version=f"pdeopt {pdeopt.__version__}")
    group = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands = {name: group.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    _add_run(commands["run"], [] if options is None else _optimizer_names())
    for name, add in ADDED.items():
        add(commands[name])
    if options is not None:
        for name in ("run", "check"):
            add_options(commands[name], options, f"options of {problem}")
    else:
        add_grid(commands["sweep"], commands["run"])
    return parser, commands


def _add_problem(parser: Parser) -> None:
    parser.add_argument("problem", metavar="PROBLEM", help="a name that 'pdeopt list' shows, or the path of a .py file")
    named = "linear solver: auto, rslab, superlu, cholmod, pardiso, cg+amg, gmres+ilu, … (default: the problem's)"
    parser.add_argument("--solver", metavar="NAME", help=named)
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    parser.epilog = "'--help' after PROBLEM lists that problem's options."


def _optimizer_names() -> list[str]:
    """Return the names of all optimizers, those that a problem file has registered among them."""
    from pdeopt.optimize import optimizers

    return list(optimizers())


def _add_run(parser: Parser, optimizers: list[str]) -> None:
    _add_problem(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run directory (default: runs/PROBLEM, runs/PROBLEM-2, …)"
    )
    parser.add_argument("--max-iterations", type=_count, default=200, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--optimizer",
        choices=optimizers or None,
        metavar="NAME",
        help=f"{', '.join(optimizers) or OPTIMIZERS} (default: the problem's, mostly l-bfgs-b)",
    )
    parser.add_argument(
        "--inner-product",
        choices=INNER_PRODUCTS,
        metavar="NAME",
        help=f"in which it works: {', '.join(INNER_PRODUCTS)} (default: {INNER_PRODUCTS[0]})",
    )
    parser.add_argument(
        "--gradient-tolerance",
        type=_fraction,
        metavar="FACTOR",
        help="converged when the gradient norm has fallen by it (default: the problem's, mostly 1e-4)",
    )
    parser.add_argument(
        "--regularization-strength",
        metavar="RULE",
        help=f"{', '.join(RULES)}, or a factor of the problem's own regularization (default: the problem's, mostly 1)",
    )
    parser.add_argument(
        "--discrepancy-factor",
        type=_positive,
        metavar="TAU",
        help="the rules discrepancy and cooling aim at so many times the misfit of the noise (default: the problem's, "
        "mostly 1)",
    )
    former = {"initial-guess": "start at this run's parameter", "truth": "compare with this run's coefficient"}
    for name, text in former.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=f"{text}, on another mesh, too")
    parser.add_argument("--no-check", action="store_true", help="do not verify the derivatives before")
    _add_watching(parser)


def _add_watching(parser: Parser) -> None:
    live = "draw live.png in the run directory while it runs, after ten seconds for the first time"
    parser.add_argument("--live", action="store_true", help=live)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    loudness.add_argument("--verbose", action="store_true", help="print every iteration, and what is done")


def _add_resume(parser: Parser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory, or that of a sweep")
    parser.add_argument("--max-iterations", type=_count, metavar="N", help="(default: the limit of the run)")
    trust = "execute this problem file, of which the directory is, although you have not run it before"
    parser.add_argument("--trust", type=Path, metavar="FILE", help=trust)
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    _add_watching(parser)


def _add_sweep(parser: Parser) -> None:
    parser.add_argument("problem", metavar="PROBLEM", help="as for 'pdeopt run'")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="directory of the sweep; one that holds part of this sweep is gone on with (default: sweeps/PROBLEM, "
        "sweeps/PROBLEM-2, …)",
    )
    parser.add_argument("--jobs", type=_jobs, metavar="N", help="runs at a time (default: as many as there are cores)")
    parser.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    parser.epilog = (
        "Every combination of the values a,b,c of all options is run. Values that contain commas are quoted inside "
        "the list ('\"a,b\",c'), or the option is repeated. '--help' after PROBLEM lists that problem's options."
    )


def _add_check(parser: Parser) -> None:
    _add_problem(parser)


def _add_plot(parser: Parser) -> None:
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run directory")
    where = "the picture, .png, .pdf or .svg (default: those in DIR; of several runs comparison.png)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=where)
    over = "what histories are drawn over: %(choices)s (default: %(default)s)"
    parser.add_argument("--against", choices=AXES, default=AXES[0], metavar="NAME", help=over)


def _add_report(parser: Parser) -> None:
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="a run directory")
    where = "the page (default: report.html in DIR; of several runs in the current folder)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=where)


def _add_new(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="NAME.py is written into the current folder")


#: The functions that add the arguments of each command that has some, besides ``run``.
ADDED = {
    "resume": _add_resume,
    "sweep": _add_sweep,
    "check": _add_check,
    "plot": _add_plot,
    "report": _add_report,
    "new": _add_new,
}


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _jobs(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_jobs.__name__ = "number of jobs"
_count.__name__ = "number of iterations"


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise ValueError
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


_positive.__name__ = "number > 0"
_fraction.__name__ = "factor between 0 and 1"
