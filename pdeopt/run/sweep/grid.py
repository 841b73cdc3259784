"""The grid of a sweep: every combination of the values that its options were given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

#: The text between two keys in the name of a folder.
KEY_SEPARATOR = ","
#: The largest number of letters in the name of a folder.
MAX_FOLDER_LETTERS = 100


@dataclass(frozen=True)
class Key:
    """An option of a run with the values that it takes in a sweep.

    Attributes:
        flag: The option as it is typed.
        values: The values as texts, at least one; a flag without a value has ("",).
        negative: What is typed for the value "false" of a switch; empty for other options.
    """

    flag: str
    values: tuple[str, ...]
    negative: str = ""

    @property
    def name(self) -> str:
        """The name in sweep.csv and in the names of folders."""
        return self.flag.removeprefix("--").replace("-", "_")

    def word(self, value: str) -> str:
        """Return what is typed for one of the values."""
        if self.negative:
            return self.negative if value == "false" else self.flag
        return f"{self.flag}={value}" if value else self.flag


@dataclass(frozen=True)
class GridPoint:
    """One run of a grid.

    Attributes:
        folder: The name of its folder.
        values: The value of each key that varies, by name.
        words: Its options on the command line.
    """

    folder: str
    values: dict[str, str]
    words: list[str]


@dataclass(frozen=True)
class Grid:
    """The grid of all combinations of the values of keys.

    Attributes:
        keys: All keys that were given; those with one value are the same in every run.
    """

    keys: tuple[Key, ...] = ()

    @property
    def varied(self) -> tuple[Key, ...]:
        """The keys that have several values."""
        return tuple(key for key in self.keys if len(key.values) > 1)

    @property
    def points(self) -> list[GridPoint]:
        """Every combination, the last key's values next to each other."""
        combinations = list(product(*(key.values for key in self.keys)))
        names = _unique([self._folder(values) for values in combinations])
        return [
            GridPoint(
                name,
                {key.name: value for key, value in zip(self.keys, values, strict=True) if key in self.varied},
                [key.word(value) for key, value in zip(self.keys, values, strict=True)],
            )
            for name, values in zip(names, combinations, strict=True)
        ]

    def to_json(self) -> dict[str, list[str]]:
        """Return the values of each key by name, as sweep.json holds them."""
        return {key.name: list(key.values) for key in self.keys}

    def _folder(self, values: tuple[str, ...]) -> str:
        """Return the name of a run's folder, as n=16,noise=0.01.

        It has only what file systems and shells let stand.
        """
        parts = [f"{key.name}={value}" for key, value in zip(self.keys, values, strict=True) if key in self.varied]
        return re.sub(r"[^\w.=,+-]+", "-", KEY_SEPARATOR.join(parts))[:MAX_FOLDER_LETTERS].rstrip(".")


def _unique(names: list[str]) -> list[str]:
    """Return names with a number where they would be the same, in lower case as some disks know no case.

    They are the same where values differ only in what a file's name cannot hold.
    """
    taken: dict[str, str] = {}
    for name in names:
        candidate, k = name, 2
        while candidate.lower() in taken:
            candidate, k = f"{name}-{k}", k + 1
        taken[candidate.lower()] = candidate
    return list(taken.values())
