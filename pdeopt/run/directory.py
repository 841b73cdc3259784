"""The run directory: chosen early, created late, every file written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.run.errors import UsageError

#: What a run writes; a folder that holds one of them holds a run.
FILES = (
    *("config.json", "history.csv", "summary.json", "result.npz", "fields.vtu", "run.log"),
    *("result.png", "history.png", "strength.png", "segmentation.png", "reference.png"),
)


class RunDirectory:
    """Chosen early, so that bad input is refused at once; made late, when there is something to keep.

    Attributes:
        path: where the run writes; final once it is made.

    Raises:
        UsageError: where the folder could not be written, or holds a run.
    """

    def __init__(self, problem: str, out: Path | None) -> None:
        self._default = Path("runs") / problem if out is None else None
        self.path = _unused(Path("runs") / problem) if out is None else out
        self._expected = os.path.lexists(self.path)
        held = [name for name in FILES if os.path.exists(self.path / name)]  # False also where it cannot be looked at
        if held:
            raise UsageError(f"{self.path} already holds a run ({held[0]}); choose another --out, or move it away")
        _probe(self.path)

    def make(self) -> Path:
        """Make it and claim it, also against runs that were started at the same time.

        A default name that was taken meanwhile gives way to the next one; a given folder that was raises UsageError.
        """
        while not _claimed(self.path, self._expected):
            if self._default is None:
                raise UsageError(f"{self.path} was taken by another run meanwhile; choose another --out")
            self.path = _unused(self._default)
        return self.path


def _claimed(path: Path, expected: bool) -> bool:
    """Whether this run is the one that made config.json in the folder; one that was not expected must be empty."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not expected and (not path.is_dir() or any(path.iterdir())):
            return False
    try:
        (path / FILES[0]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block succeeds, and vanishes when it does not."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Strict JSON: NaN and infinity become null."""
    write_text(path, json.dumps(_json_ready(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _json_ready(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _unused(path: Path) -> Path:
    candidate, k = path, 2
    while os.path.lexists(candidate):
        candidate, k = path.with_name(f"{path.name}-{k}"), k + 1
    return candidate


def _probe(path: Path) -> None:
    """Create a file and the missing folders beside where they will be, and take them away: permissions do not tell all.

    The folder itself is not made: a run that starts at the same moment would see it.
    """
    start = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    probe = start / f".{os.getpid()}-probe"
    try:
        (probe / path.relative_to(start)).mkdir(parents=True)
        (probe / "file").touch()
    except OSError as error:
        raise UsageError(f"cannot write to the output directory {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(probe, ignore_errors=True)
