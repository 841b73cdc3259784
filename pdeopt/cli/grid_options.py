"""The options of a sweep: those of a run, each with several values."""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterable

from pdeopt.cli.own_arguments import Argument
from pdeopt.run.errors import UsageError
from pdeopt.run.sweep.grid import Grid, Key

#: The arguments of a run that are the sweep's own, or have no meaning in one.
FIXED_ARGUMENTS = frozenset({"problem", "--out", "--quiet", "--verbose", "--traceback"})


def multi_value_options(arguments: Iterable[Argument]) -> list[Argument]:
    """Return the options of a sweep that take several values for the arguments of a run."""
    listed = []
    for one in variable_arguments(arguments):
        common = {"dest": _dest(one), "help": one.settings["help"]}
        action = one.settings.get("action")
        if action is argparse.BooleanOptionalAction:
            either = {"nargs": "?", "const": "true", "metavar": "true,false"}
            listed.append(Argument(one.name, {**common, "action": "append", **either}))
            listed.append(Argument(_negative(one), {**common, "action": "append_const", "const": "false", "help": ""}))
        elif action == "store_true":
            listed.append(Argument(one.name, {**common, "action": "append_const", "const": ""}))
        else:
            metavar = f"{one.settings['metavar']},…"
            listed.append(Argument(one.name, {**common, "action": "append", "metavar": metavar}))
    return listed


def variable_arguments(arguments: Iterable[Argument]) -> list[Argument]:
    """Return the arguments of a run that may take several values in a sweep."""
    return [one for one in arguments if one.name not in FIXED_ARGUMENTS]


def grid_of(arguments: Iterable[Argument], given: argparse.Namespace) -> Grid:
    """Return the grid of the options that a sweep was given.

    Args:
        arguments: The arguments of a run.
        given: What a parser with `multi_value_options` of them has parsed.

    Raises:
        UsageError: Values are missing or given twice, or nothing varies.
    """
    grid = Grid(
        tuple(_key(one, texts) for one in variable_arguments(arguments) if (texts := getattr(given, _dest(one))))
    )
    if not grid.varied:
        raise UsageError("nothing varies: give an option several values, as in --noise 0.01,0.02,0.05")
    return grid


def _dest(argument: Argument) -> str:
    return f"values of {argument.name}"  # cannot clash with a name of the sweep's own


def _negative(argument: Argument) -> str:
    """Return the flag that argparse.BooleanOptionalAction adds for the value "false"."""
    return argument.name.replace("--", "--no-", 1)


def _key(argument: Argument, texts: list[str]) -> Key:
    flag, action = argument.name, argument.settings.get("action")
    if action == "store_true":
        return Key(flag, ("",))
    if len(texts) == 1:  # a list, split at commas outside of double quotes
        texts = next(csv.reader(texts, skipinitialspace=True), [""])
        by_name = flag in ("--inner-product", "--initial-spread")
        if by_name and all("=" in text for text in texts):  # sigma=l2,z=euclidean is one product
            texts = [",".join(texts)]
    values = tuple(text.strip() for text in texts)
    if not values or not all(values):
        raise UsageError(f"{flag} {','.join(texts)!r}: an empty value; expected a list such as a,b,c")
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise UsageError(f"{flag}: {twice[0]!r} is given twice; expected values that differ")
    if action is not argparse.BooleanOptionalAction:
        return Key(flag, values)
    if not set(values) <= {"true", "false"}:
        raise UsageError(f"{flag} {','.join(texts)}: expected true, false or true,false")
    return Key(flag, values, _negative(argument))
