"""The directory of a sweep, in which one process at a time works, on one grid."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdeopt.run.errors import UsageError
from pdeopt.run.store.directory import write_json
from pdeopt.run.store.file_lock import try_lock
from pdeopt.run.store.json_file import check_entries, read_object, shown
from pdeopt.run.store.regular_file import is_regular

#: The file that says which sweep it is.
SWEEP_FILE = "sweep.json"
#: The entries that it must hold, with their types.
SWEEP_ENTRIES: Mapping[str, Any] = {"problem": str, "folder": str, "grid": dict[str, list[str]], "argv": list[str]}


@contextmanager
def locked_sweep_directory(directory: Path, record: dict[str, Any]) -> Iterator[int]:
    """Make the directory of a sweep and its sweep.json, or find the same there.

    Args:
        directory: The directory.
        record: The entries of sweep.json.

    Yields:
        A file descriptor that keeps others out: the directory is free again when all processes that inherited it have
        ended.

    Raises:
        UsageError: Another sweep, or anything else, is in it, or the same one still runs.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"cannot write to the output directory {directory}: {error.strerror or error}") from error
    try:
        if not try_lock(lock):
            raise UsageError(f"the sweep in {directory} is running; wait for its end, or interrupt it")
        _agree(directory, record)
        yield lock
    finally:
        os.close(lock)


def _agree(directory: Path, record: dict[str, Any]) -> None:
    """Write sweep.json, or refuse to mix two sweeps."""
    stored = stored_sweep(directory)
    if stored is None:
        held = sorted(path.name for path in directory.iterdir())
        if held:
            raise UsageError(f"{directory} holds {held[0]} and no sweep; choose another --out")
        write_json(directory / SWEEP_FILE, record)
        return
    there, here = (
        {"problem": one["problem"], **one["grid"], "warm_start": "given" if one["warm_start"] else "not given"}
        for one in (stored, record)
    )
    differing = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if differing:
        pairs = [(name, _shown(there.get(name)), _shown(here.get(name))) for name in differing]
        words = "; ".join(f"{name} is {old} there, {new} here" for name, old, new in pairs)
        raise UsageError(f"{directory} holds another sweep: {words}; choose another --out")


def _shown(values: str | list[str] | None) -> str:
    """Return values as on the command line."""
    if values is None:
        return "not given"
    return values if isinstance(values, str) else ",".join(values) or "given"


def stored_sweep(directory: Path) -> dict[str, Any] | None:
    """Return the entries of sweep.json, or None where there is none.

    Raises:
        UsageError: The file cannot be read.
    """
    path = directory / SWEEP_FILE
    if not is_regular(path):
        return None
    stored = read_object(path)
    missing = [name for name in SWEEP_ENTRIES if name not in stored]
    if missing:
        raise UsageError(f"cannot read {path}: it has no {missing[0]!r}")
    known = {**SWEEP_ENTRIES, "warm_start": bool}  # which versions before did not write
    check_entries(path, stored, known)
    argv = stored["argv"]
    if argv[:1] != ["sweep"] or len(argv) < 2:
        raise UsageError(f"cannot read {path}: its argv is {shown(argv)}; expected the words of a 'pdeopt sweep'")
    return {"warm_start": False, **{name: stored[name] for name in known if name in stored}}
