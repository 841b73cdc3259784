"""The reading of JSON files of a run directory: objects whose entries have the types that they should."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pdeopt.run.errors import UsageError
from pdeopt.run.store.regular_file import is_regular, read_bytes

#: The largest size of a file, in bytes; those that pdeopt writes have some thousand.
MAX_FILE_BYTES = 2**26
#: The format of config.json and summary.json, their entry ``format``; files of the version before have none.
JSON_FORMAT = 1
#: The largest number of levels of a file; those that pdeopt writes have some ten.
MAX_LEVELS = 50
#: The words for the types that msgspec names.
WORDS_OF_TYPES: Mapping[str, str] = {
    **{"str": "a text", "bool": "true or false", "int": "a whole number", "float": "a number", "array": "a list"},
    **{"object": "an object {…}", "null": "null"},
}


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; empty where there is no file.

    Raises:
        UsageError: The file cannot be read, holds no object, or is nested too deeply.
    """
    if not is_regular(path):
        return {}
    try:
        content = read_bytes(path)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"it has {len(content)} bytes; expected at most {MAX_FILE_BYTES}")
        values = json.loads(content.decode("utf-8"))
        _refuse_deep(values)
        if not isinstance(values, dict):
            raise ValueError(f"it holds {shown(values)}; expected {WORDS_OF_TYPES['object']}")
        return values
    except RecursionError:
        raise UsageError(f"cannot read {path}: {TOO_DEEP}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def check_entries(path: Path, values: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check the types of the entries of an object, as msgspec does: true and false are no numbers.

    Args:
        path: The file that holds it, for messages.
        values: The object.
        expected: The type that each entry has, if it is there; `Annotated` with a `msgspec.Meta` limits it.

    Raises:
        UsageError: An entry has another type, or lies outside its limits.
    """
    for name in [name for name in expected if name in values]:
        try:
            msgspec.convert(values[name], expected[name])
        except msgspec.ValidationError as error:
            reason = _in_words(str(error))
            raise UsageError(f"cannot read {path}: its {name} is {shown(values[name])}; {reason}") from error


def _in_words(message: str) -> str:
    """Return a message of msgspec without the names of types.

    Such a message is "Expected `int | null`, got `str` - at `$[1]`".
    """

    def named(types: re.Match[str]) -> str:
        return " or ".join(WORDS_OF_TYPES.get(one, one) for one in types[1].split(" | "))

    short = re.sub(", got `.*?`", "", message).replace(" - at `$", " at `")
    return re.sub("`(.*?)`", named, short).replace("Expected", "expected")


def refuse_newer(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse an object whose format is newer than this version of pdeopt.

    Args:
        path: The file that holds it, for messages.
        values: The object.

    Raises:
        UsageError: Its format is newer, or no whole number.
    """
    check_entries(path, values, {"format": int})
    found = values.get("format", JSON_FORMAT)
    if found > JSON_FORMAT:
        remedy = f"this version of pdeopt reads up to {JSON_FORMAT}: update it"
        raise UsageError(f"cannot read {path}: its format is {shown(found)}; {remedy}")


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


#: The message for a file with too many levels.
TOO_DEEP = f"it is nested too deeply; expected at most {MAX_LEVELS} levels"


def _refuse_deep(value: Any) -> None:
    level = [value]
    for _ in range(MAX_LEVELS):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        level = [item for items in inner for item in items]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def is_number(value: Any) -> bool:
    """Return whether something that a JSON file holds can be written as a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
