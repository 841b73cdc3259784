"""The options of a sweep: those of a run, each with several values."""

from __future__ import annotations

import argparse
import csv
from collections import Counter

from pdeopt.run.errors import UsageError
from pdeopt.run.sweep.grid import Grid, Key

#: The arguments of a run that are the sweep's own, or have no meaning in one.
NOT_VARIED = frozenset({"help", "problem", "out", "quiet", "verbose", "traceback"})


def add_grid(parser: argparse.ArgumentParser, run: argparse.ArgumentParser) -> None:
    """Give a sweep's parser every option of a run's, in the same groups; each takes several values.

    Args:
        parser: The parser of the command ``sweep``.
        run: The parser of the command ``run``.

    Raises:
        UsageError: A problem's option has the name of one of the sweep's.
    """
    for group in run._action_groups:
        varied = [action for action in group._group_actions if action.dest not in NOT_VARIED]
        if varied:
            title = f"{group.title}{' of each run' if group.title == 'options' else ''}: one value or several, a,b,c"
            target = parser.add_argument_group(title)
            for action in varied:
                text = ((action.help or "") % {**vars(action), "prog": run.prog}).replace("%", "%%")
                try:
                    _add_key(target, action, text)
                except argparse.ArgumentError:
                    flag = action.option_strings[0]
                    raise UsageError(f"{flag} of the problem has the name of pdeopt sweep's own {flag}") from None


def grid_of(run: argparse.ArgumentParser, given: argparse.Namespace) -> Grid:
    """Return the grid of the options that a sweep was given.

    Args:
        run: The parser of the command ``run``.
        given: The arguments that a parser with the options of `add_grid` has parsed.

    Raises:
        UsageError: Values are missing or given twice, or nothing varies.
    """
    keys = [_key(action, texts) for action in run._actions if (texts := _texts(action, given))]
    grid = Grid(tuple(keys))
    if not grid.varied:
        raise UsageError("nothing varies: give an option several values, as in --noise 0.01,0.02,0.05")
    return grid


def _add_key(group: argparse._ArgumentGroup, action: argparse.Action, text: str) -> None:
    flag, dest = action.option_strings[0], action.dest
    if isinstance(action, argparse.BooleanOptionalAction):
        group.add_argument(flag, action="append", nargs="?", const="true", dest=dest, metavar="true,false", help=text)
        group.add_argument(action.option_strings[-1], action="append_const", const="false", dest=dest, help="")
    elif action.nargs == 0:
        group.add_argument(flag, action="append_const", const="", dest=dest, help=text)
    else:
        group.add_argument(flag, action="append", dest=dest, metavar=f"{action.metavar},…", help=text)


def _texts(action: argparse.Action, given: argparse.Namespace) -> list[str]:
    return [] if action.dest in NOT_VARIED else getattr(given, action.dest, None) or []


def _key(action: argparse.Action, texts: list[str]) -> Key:
    flag = action.option_strings[0]
    if action.nargs == 0 and not isinstance(action, argparse.BooleanOptionalAction):
        return Key(flag, ("",))
    values = tuple(text.strip() for text in (_split(texts[0]) if len(texts) == 1 else texts))
    if not values or not all(values):
        raise UsageError(f"{flag} {texts[0]!r}: an empty value; expected a list such as a,b,c")
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise UsageError(f"{flag}: {twice[0]!r} is given twice; expected values that differ")
    if not isinstance(action, argparse.BooleanOptionalAction):
        return Key(flag, values)
    if not set(values) <= {"true", "false"}:
        raise UsageError(f"{flag} {texts[0]}: expected true, false or true,false")
    return Key(flag, values, action.option_strings[-1])


def _split(text: str) -> list[str]:
    """Split a text at commas outside of double quotes."""
    return next(csv.reader([text], skipinitialspace=True), [""])
