"""The run directory: chosen early, created late, every file written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.run.errors import UsageError
from pdeopt.run.store.regular_file import is_regular, read_bytes, refuse_irregular

#: The files that a run writes; a folder that holds one of them holds a run, and what has such a name is the run's.
RUN_FILES = (
    *("config.json", "history.csv", "evaluations.bin", "checkpoint.npz", "summary.json", "result.npz"),
    *("fields.vtu", "state.vtu", "fields.pvd"),
    *("result.png", "history.png", "strength.png", "segmentation.png", "reference.png"),
    "run.log",
    *("result.pdf", "history.pdf", "strength.pdf", "segmentation.pdf", "reference.pdf"),
    *("scene.png", "scene.pdf", "components.png", "components.pdf", "parts.png", "parts.pdf"),
    *("complex.png", "complex.pdf", "curves.png", "curves.pdf", "times.png", "times.pdf", "animation.gif"),
)
#: The folder of the files that fields.pvd names, one for each time at which a state in time is kept.
SERIES_FOLDER = "fields_in_time"
#: The names of these files.
SERIES_NAME = re.compile(r"\d+\.vtu")
#: The files that a run goes on from; all others are written when it ends.
RESUMED_FILES = ("config.json", "history.csv", "evaluations.bin", "checkpoint.npz", "run.log")
#: The files that are written in place.
APPENDED_FILES = ("evaluations.bin", "run.log")
#: The picture of a run that is under way; it is replaced, or removed, only where it `is_written_by_pdeopt`.
LIVE_PICTURE_FILE = "live.png"
#: The page about a run, which may be written later; it is replaced only where it `is_written_by_pdeopt`.
REPORT_FILE = "report.html"
#: The name of a file that is being written, which nobody else chooses and nobody can foresee.
TEMPORARY_NAME = re.compile(r"\.pdeopt-[0-9a-f]{16}-.+")
#: The text that stands in the metadata of every picture that pdeopt writes.
SIGNATURE = "written by pdeopt"
#: The texts of which one stands in every picture and page that pdeopt writes.
SIGNATURES = (SIGNATURE.encode(), b'<meta name="generator" content="pdeopt ')


class RunDirectory:
    """A run directory, which is chosen early and made late.

    Bad input is thus refused at once, and nothing is made before there is something to keep.

    Attributes:
        path: The folder where the run writes; final once it is made.
        others: The names of what is in a given folder already, and stays as it is.
    """

    def __init__(self, problem: str, out: Path | None) -> None:
        """Choose the directory.

        Args:
            problem: The name of the problem.
            out: The folder; None for an unused one in runs/ that is named after the problem.

        Raises:
            UsageError: The folder cannot be written, holds a run, or holds a name that a run writes.
        """
        self._default = Path("runs") / problem if out is None else None
        self.path = unused_path(Path("runs") / problem) if out is None else out
        self._expected = os.path.lexists(self.path)
        names = (*RUN_FILES, LIVE_PICTURE_FILE, REPORT_FILE, SERIES_FOLDER)
        held = [name for name in names if os.path.lexists(self.path / name)]
        if held:
            what = (
                f"already holds a run ({held[0]})"
                if held[0] in RESUMED_FILES
                else f"holds {held[0]}, which a run writes"
            )
            raise UsageError(f"{self.path} {what}; choose another folder, or move it away")
        _probe(self.path)
        self.others = sorted(path.name for path in self.path.iterdir()) if self._expected else []

    def make(self, config: Mapping[str, Any]) -> Path:
        """Make the folder and claim it with its config.json, also against runs that started at the same time.

        A default name that was taken meanwhile gives way to the next one.

        Args:
            config: The entries of config.json.

        Returns:
            The path of the folder.

        Raises:
            UsageError: A given folder was taken meanwhile.
        """
        while not _claimed(self.path, self._expected, config):
            if self._default is None:
                raise UsageError(f"{self.path} was taken by another run meanwhile; choose another folder")
            self.path = unused_path(self._default)
        return self.path


def _claimed(path: Path, expected: bool, config: Mapping[str, Any]) -> bool:
    """Return whether this run is the one that made config.json in the folder.

    Args:
        path: The folder; it is made where there is none.
        expected: Whether it was there before; a folder that was not expected must be empty.
        config: The entries of config.json.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not expected and (not path.is_dir() or any(path.iterdir())):
            return False
    return _created(path / RUN_FILES[0], json_text(config))


def _created(path: Path, text: str) -> bool:
    """Write a new file, whole from the first moment on; return False where it exists already."""
    temporary = _beside(path)
    with temporary.open("x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        return _created_empty(path) and bool(temporary.replace(path))
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _created_empty(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def refuse_irregular_files(directory: Path) -> None:
    """Refuse a directory in which a link, a pipe or a folder has a name that a run writes.

    Raises:
        UsageError: There is such a thing, or something else than a folder is in the place of `SERIES_FOLDER`.
    """
    for name in (*RUN_FILES, LIVE_PICTURE_FILE, REPORT_FILE):
        refuse_irregular(directory / name, written=name in APPENDED_FILES)
    refuse_other_than_folder(directory / SERIES_FOLDER)


def refuse_other_than_folder(path: Path) -> None:
    """Refuse a path where something other than a folder is, such as a link to one; it may be free.

    Raises:
        UsageError: Something else has this name.
    """
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
        raise UsageError(f"{path} is no folder, or a link to one; expected a folder, or nothing")


def is_written_by_pdeopt(path: Path) -> bool:
    """Return whether nothing has this name, or a picture or a page that pdeopt wrote."""
    try:
        return not is_regular(path) or any(words in read_bytes(path) for words in SIGNATURES)
    except UsageError:  # a link, or the like
        return False


def refuse_foreign(path: Path) -> None:
    """Refuse a path where a picture or a page would replace what pdeopt did not write.

    Raises:
        UsageError: Something else is there.
    """
    if not is_written_by_pdeopt(path):
        raise UsageError(f"{path} is there, and pdeopt did not write it; choose another name, or move it away")


def remove_final_files(directory: Path) -> None:
    """Remove what a run wrote when it ended: it is of an earlier end as soon as the run goes on."""
    for name in RUN_FILES:
        if name not in RESUMED_FILES:
            (directory / name).unlink(missing_ok=True)
    remove_series(directory / SERIES_FOLDER)


def remove_series(folder: Path) -> None:
    """Remove the files of a series in time, and their folder if it is empty then; a link is left alone."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if SERIES_NAME.fullmatch(path.name) or TEMPORARY_NAME.fullmatch(path.name):
            path.unlink()
    with suppress(OSError):  # it holds something else
        folder.rmdir()


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote."""
    for path in directory.iterdir():
        if TEMPORARY_NAME.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    It is removed when the block fails.
    """
    temporary = _beside(path)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".pdeopt-{secrets.token_hex(8)}-{path.name}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, as a whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, as a whole or not at all.

    Bytes in names of files that are no text become escapes, which JSON reads back.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as strict JSON, as a whole or not at all; NaN and infinity become null."""
    write_text(path, json_text(values))


def json_text(values: Mapping[str, Any]) -> str:
    """Return values as a text in strict JSON; NaN and infinity become null."""
    return json.dumps(_json_ready(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as a compressed .npz file, as a whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
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


def working_in(folder: str | None) -> AbstractContextManager[None]:
    """Return a context in the folder where a former command was given, so that its relative paths hold.

    It is the current folder where that is gone.
    """
    return chdir(folder) if folder and os.path.isdir(folder) else nullcontext()


def unused_path(path: Path) -> Path:
    """Return a path, with -2, -3, … at its end where it is taken, that nothing has."""
    candidate, k = path, 2
    while os.path.lexists(candidate):
        candidate, k = path.with_name(f"{path.name}-{k}"), k + 1
    return candidate


def _probe(path: Path) -> None:
    """Check that a folder can be written, by a file and the missing folders beside where they will be.

    They are taken away again; permissions alone do not tell all. The folder itself is not made: a run that starts at
    the same moment would see it.

    Raises:
        UsageError: It cannot be written.
    """
    start = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryDirectory(prefix=".pdeopt-", dir=start, ignore_cleanup_errors=True) as probe:
            (Path(probe) / path.relative_to(start)).mkdir(parents=True, exist_ok=True)
            (Path(probe) / "file").touch()
    except OSError as error:
        raise UsageError(f"cannot write to the output directory {path}: {error.strerror or error}") from error
