"""The run directory: chosen early, created late, every file written whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.run.errors import UsageError

#: What a run writes; a folder that holds one of them holds a run.
FILES = ("config.json", "history.csv", "summary.json", "result.npz", "fields.vtu", "result.png", "history.png")


def choose_directory(problem: str, out: Path | None) -> Path:
    """Where the run will write. Nothing is left there yet; raises UsageError where it could not be written."""
    path = _unused(Path("runs") / problem) if out is None else out
    held = [name for name in FILES if os.path.exists(path / name)]  # False also where it cannot be looked at
    if held:
        raise UsageError(f"{path} already holds a run ({held[0]}); choose another --out, or move it away")
    _probe(path)
    return path


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
    """Create the folder and a file in it, and take both away again: permissions alone do not tell."""
    made: list[Path] = []
    probe = path / f".{os.getpid()}-probe"
    try:
        for folder in [*reversed(path.parents), path]:
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        probe.touch()
    except OSError as error:
        raise UsageError(f"cannot write to the output directory {path}: {error.strerror or error}") from error
    finally:
        if path.is_dir():
            probe.unlink(missing_ok=True)
        for folder in reversed(made):
            folder.rmdir()
