"""The options of the command line that the keyword parameters of ``build`` become."""

from __future__ import annotations

import argparse
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pdeopt.cli.own_arguments import Argument, argument
from pdeopt.run.errors import UsageError, problem_file_errors

#: The types that an option may have.
OPTION_TYPES = (int, float, str, bool)


@dataclass(frozen=True)
class Option:
    """An option of the command line for one keyword of ``build``.

    Attributes:
        name: The keyword.
        kind: The type of its values: int, float, str or bool.
        choices: The values of a Literal; None for any value.
        default: The value where the option is not given.
        optional: Whether None is a value (written "none").
        help: The text of the help, one line.
    """

    name: str
    kind: type
    choices: tuple[Any, ...] | None
    default: Any
    optional: bool
    help: str

    @property
    def dest(self) -> str:
        """The name of the option's value among the parsed arguments."""
        return f"option {self.name}"  # cannot clash with a name of pdeopt's own

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for.

        Raises:
            ValueError: The text is no value of the option's type.
        """
        if self.optional and text.lower() == "none":
            return None
        if self.choices is not None:
            return {str(choice): choice for choice in self.choices}.get(text, text)
        return self.kind(text)

    def argument(self) -> Argument:
        """Return the option as argparse takes it."""
        flag = "--" + self.name.replace("_", "-")
        text = self.help if self.default is None else f"{self.help} (default: {self.default})".strip()
        if self.kind is bool:
            action = argparse.BooleanOptionalAction
            return argument(flag, text, dest=self.dest, default=self.default, action=action)

        def parse(given: str) -> Any:
            return self.parse(given)

        parse.__name__ = kind = self.kind.__name__  # argparse names the type in its message
        metavar = kind.upper() if self.choices is None else "{" + ",".join(map(str, self.choices)) + "}"
        choices = None if self.choices is None else (*self.choices, *([None] if self.optional else []))
        return argument(flag, text, metavar, parse, dest=self.dest, default=self.default, choices=choices)


def options_of(build: Callable[..., Any], path: Path) -> list[Option]:
    """Return the options of a problem, one for each keyword of ``build``.

    Args:
        build: The function ``build`` of the problem file.
        path: The problem file, for messages.

    Raises:
        UsageError: A keyword cannot be an option.
    """
    with problem_file_errors(path):
        parameters = inspect.signature(build, eval_str=True).parameters.values()
        return [_option(p, path) for p in parameters if p.kind is not p.VAR_KEYWORD]


def option_values(options: list[Option], given: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of ``build`` with their values, as given or by default."""
    return {option.name: getattr(given, option.dest, option.default) for option in options}


def _option(parameter: inspect.Parameter, path: Path) -> Option:
    name, default = parameter.name, parameter.default
    if default is parameter.empty or parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        raise UsageError(f"{path}: the parameter {name!r} of build needs a default value, as in {name}: float = 1.0")
    annotation = type(default) if parameter.annotation is parameter.empty else parameter.annotation
    annotation, text = _without_help(annotation)
    annotation, optional = _without_none(annotation)
    annotation, inner_text = _without_help(annotation)
    choices = get_args(annotation) if get_origin(annotation) is Literal else None
    kind = type(choices[0]) if choices else annotation
    if kind not in OPTION_TYPES:
        raise UsageError(
            f"{path}: the parameter {name!r} of build has the type {getattr(kind, '__name__', kind)}; "
            "expected int, float, str, bool or Literal[...], each possibly | None"
        )
    return Option(name, kind, choices, default, optional, text or inner_text)


def _without_help(annotation: Any) -> tuple[Any, str]:
    if get_origin(annotation) is not Annotated:
        return annotation, ""
    inner, *extra = get_args(annotation)
    return inner, next((item for item in extra if isinstance(item, str)), "")


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    inner = tuple(part for part in get_args(annotation) if part is not type(None))
    return (inner[0] if len(inner) == 1 else annotation), len(inner) < len(get_args(annotation))
