"""The arguments of each command that are pdeopt's own, as data for argparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from pdeopt.inversion.strength_option import STRENGTH_RULES

#: The line of help of each command.
COMMAND_HELP = {
    "list": "the problems, one line each",
    "run": "solve an inverse problem and write a run directory",
    "resume": "go on with a run that was stopped: interrupted, killed, or at its largest number of iterations",
    "sweep": "run a grid of options in parallel, and tabulate the results",
    "check": "verify the derivatives of a problem; exit status 1 when a check fails",
    "plot": "redraw the pictures of a run, or compare several runs in one figure",
    "report": "write one HTML page about a run, or about several that are compared",
    "new": "write a commented problem file to start from",
}
#: The last lines of the help of each command that takes a problem.
COMMAND_EPILOGS = {
    "run": "'--help' after PROBLEM lists that problem's options.",
    "check": "'--help' after PROBLEM lists that problem's options.",
    "sweep": "Every combination of the values a,b,c of all options is run. Values that contain commas are quoted "
    "inside the list ('\"a,b\",c'), or the option is repeated. '--help' after PROBLEM lists that problem's options.",
}
#: The optimizers named in the help where no problem is given; `pdeopt.optimize.optimizers`, which has all, imports
#: NumPy.
OPTIMIZER_EXAMPLES = "l-bfgs-b, newton-cg, gauss-newton, …"
#: The names that `pdeopt.inverse.inner_product_names` returns, which imports JAX.
INNER_PRODUCTS = ("l2", "l2-lumped", "regularization", "euclidean")
#: The number in `pdeopt.inversion.minimization`, which imports JAX.
MAX_ITERATIONS = 200
#: The number in `pdeopt.inverse.unknowns.initial_guesses`, which imports JAX.
INITIAL_SPREAD = 1.0
#: The names in `pdeopt.run.pictures.history_figure.HISTORY_AXES`, which imports matplotlib.
HISTORY_AXIS_NAMES = ("iterations", "evaluations", "seconds")


class InnerProductNames(tuple[str, ...]):
    """The names of inner products, and those of several parameters, "sigma=l2,z=euclidean"."""

    __slots__ = ()

    def __contains__(self, text: object) -> bool:
        pairs = str(text).split(",")
        known = all(super(InnerProductNames, self).__contains__(one.rpartition("=")[2]) for one in pairs)
        return known and (len(pairs) == 1 or all("=" in one for one in pairs))


@dataclass(frozen=True)
class Argument:
    """An argument of a command.

    Attributes:
        name: The option as it is typed, or the name of an argument that is told by its place.
        settings: The keywords with which `argparse.ArgumentParser.add_argument` takes it.
    """

    name: str
    settings: dict[str, Any]


def argument(name: str, text: str, metavar: str | None = None, parse: Any = None, **settings: Any) -> Argument:
    """Return an argument.

    Args:
        name: The option as it is typed, or the name of an argument that is told by its place.
        text: The text of the help, in which "%" has no meaning.
        metavar: What stands for its value in the help; None for a switch.
        parse: Makes the value of a text; None where the text is the value.
        **settings: Further keywords of `argparse.ArgumentParser.add_argument`.
    """
    given = {"metavar": metavar, "type": parse} if metavar else {"action": "store_true"}
    return Argument(name, {"help": text.replace("%", "%%"), **given, **settings})


def number_parser(name: str, kind: type, is_right: Callable[[Any], bool]) -> Callable[[str], Any]:
    """Return a function that makes a number of a text.

    Args:
        name: What the number is, for the message of argparse.
        kind: int or float.
        is_right: Whether a number is in its range.
    """

    def parse(text: str) -> Any:
        value = kind(text)
        if not is_right(value):
            raise ValueError
        return value

    parse.__name__ = name
    return parse


#: The functions that make numbers of texts, for argparse.
ITERATION_COUNT = number_parser("number of iterations", int, lambda n: n >= 0)
SEED = number_parser("seed", int, lambda n: 0 <= n <= 10**15)
JOB_COUNT = number_parser("number of jobs", int, lambda n: n >= 1)
REDUCTION_FACTOR = number_parser("factor between 0 and 1", float, lambda x: 0 <= x < 1)
POSITIVE_NUMBER = number_parser("number > 0", float, lambda x: 0 < x < inf)


def initial_spread(text: str) -> float | dict[str, float]:
    """Return the spread that a text stands for: a number > 0, or some by name, "sigma=0.3,z=2".

    Raises:
        ValueError: The text stands for none.
    """
    if "=" not in text:
        return float(POSITIVE_NUMBER(text))
    pairs = [pair.split("=") for pair in text.split(",")]
    return {name.strip(): float(POSITIVE_NUMBER(value)) for name, value in pairs}


initial_spread.__name__ = "spread (a number > 0, or name=number,…)"  # argparse names it in its message
#: The letters that stand for powers of ten in a size of memory.
MEMORY_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def memory_size(text: str) -> float:
    """Return the bytes that a text stands for: "2G", "500M" or a number.

    Raises:
        ValueError: The text stands for no size > 0.
    """
    number = text.strip().upper().removesuffix("B")
    unit = MEMORY_UNITS.get(number[-1:], 1.0)
    size = unit * float(number.rstrip("KMGT"))
    if not 0 < size < inf:
        raise ValueError
    return size


memory_size.__name__ = "size of memory, as 500M or 2G,"  # argparse names it in its message
#: Options of several commands.
TRACEBACK_OPTION = argument("--traceback", "show where in the code an error arose")
QUIET_OPTION = argument("--quiet", "print errors and warnings only")
#: The options of the commands that show a run.
DISPLAY_OPTIONS = (
    argument("--live", "draw live.png in the run directory while it runs, after ten seconds for the first time"),
    argument("--no-pictures", "draw no pictures; 'pdeopt plot' draws them later"),
    QUIET_OPTION,
    argument("--verbose", "print every iteration, and what is done"),
)
#: The options that exclude each other.
EXCLUSIVE_OPTIONS = (("--quiet", "--verbose"), ("--no-pictures", "--live"))
#: The arguments of the commands that build a problem.
PROBLEM_ARGUMENTS = (
    argument("problem", "a name that 'pdeopt list' shows, or the path of a .py file", "PROBLEM"),
    argument(
        "--solver",
        "linear solver: auto, rslab, superlu, cholmod, pardiso, cg+amg, gmres+ilu, … (default: the problem's)",
        "NAME",
    ),
    TRACEBACK_OPTION,
)
#: The run directories of a command that takes several.
RUN_DIRECTORIES = argument("directories", "a run directory", "DIR", Path, nargs="+")


def run_arguments(optimizers: list[str]) -> tuple[Argument, ...]:
    """Return the arguments of the command ``run``.

    Args:
        optimizers: The names of all optimizers; empty where they are not known, and any name is taken.
    """
    names = f"{', '.join(optimizers) or OPTIMIZER_EXAMPLES} (default: the problem's, mostly l-bfgs-b)"
    products = (
        f"in which it works: {', '.join(INNER_PRODUCTS)} (default: {INNER_PRODUCTS[0]}); of several parameters "
        "sigma=l2,z=euclidean"
    )
    tolerance = "converged when the gradient norm has fallen by it (default: the problem's, mostly 1e-4)"
    factors = "or a factor of the problem's own regularization (default: the problem's, mostly 1)"
    rules = f"{', '.join(STRENGTH_RULES)}, {factors}"
    factor = (
        "the rules discrepancy and cooling aim at so many times the misfit of the noise (default: the problem's, "
        "mostly 1)"
    )
    return (
        *PROBLEM_ARGUMENTS,
        argument("--out", "run directory (default: runs/PROBLEM, runs/PROBLEM-2, …)", "DIR", Path),
        argument("--max-iterations", f"(default: {MAX_ITERATIONS})", "N", ITERATION_COUNT, default=MAX_ITERATIONS),
        argument("--optimizer", names, "NAME", choices=optimizers or None),
        argument("--inner-product", products, "NAME", choices=InnerProductNames(INNER_PRODUCTS)),
        argument("--gradient-tolerance", tolerance, "FACTOR", REDUCTION_FACTOR),
        argument("--regularization-strength", rules, "RULE"),
        argument("--discrepancy-factor", factor, "TAU", POSITIVE_NUMBER),
        argument(
            "--memory",
            "for the states that an adjoint in time needs, as 500M or 2G (default: the problem's, mostly for all)",
            "SIZE",
            memory_size,
        ),
        argument("--initial-guess", "start at this run's parameter, on another mesh, too", "DIR", Path),
        argument("--initial-seed", "start at random, by this seed", "N", SEED),
        argument(
            "--initial-spread",
            f"standard deviation of a random start, in units of m (default: {INITIAL_SPREAD:g}); of several parameters "
            "sigma=0.3,z=2",
            "X",
            initial_spread,
        ),
        argument("--truth", "compare with this run's coefficient, on another mesh, too", "DIR", Path),
        argument("--no-check", "do not verify the derivatives before"),
        *DISPLAY_OPTIONS,
    )


#: The arguments of each command that has some, besides ``run``.
COMMAND_ARGUMENTS: dict[str, tuple[Argument, ...]] = {
    "resume": (
        argument("directory", "a run directory, or that of a sweep", "DIR", Path),
        argument("--max-iterations", "(default: the limit of the run)", "N", ITERATION_COUNT),
        argument(
            "--trust",
            "execute this problem file, of which the directory is, although you have not run it before",
            "FILE",
            Path,
        ),
        TRACEBACK_OPTION,
        *DISPLAY_OPTIONS,
    ),
    "sweep": (
        argument("problem", "as for 'pdeopt run'", "PROBLEM"),
        argument(
            "--out",
            "directory of the sweep; one that holds part of this sweep is gone on with (default: sweeps/PROBLEM, "
            "sweeps/PROBLEM-2, …)",
            "DIR",
            Path,
        ),
        argument("--warm-start", "one run after the other, each from where the one before it in the list has ended"),
        argument("--jobs", "runs at a time (default: as many as there are cores)", "N", JOB_COUNT),
        QUIET_OPTION,
        TRACEBACK_OPTION,
    ),
    "check": PROBLEM_ARGUMENTS,
    "plot": (
        RUN_DIRECTORIES,
        argument(
            "--out",
            "the picture, .png, .pdf or .svg (default: those in DIR; of several runs comparison.png)",
            "FILE",
            Path,
        ),
        argument(
            "--against",
            f"what histories are drawn over: {', '.join(HISTORY_AXIS_NAMES)} (default: {HISTORY_AXIS_NAMES[0]})",
            "NAME",
            choices=HISTORY_AXIS_NAMES,
            default=HISTORY_AXIS_NAMES[0],
        ),
    ),
    "report": (
        RUN_DIRECTORIES,
        argument(
            "--out", "the page (default: report.html in DIR; of several runs in the current folder)", "FILE", Path
        ),
    ),
    "new": (argument("name", "NAME.py is written into the current folder", "NAME"),),
}
