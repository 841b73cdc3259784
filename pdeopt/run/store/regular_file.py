"""The opening of files in a run directory: regular ones only, so that no link is followed.

No pipe is waited for, either.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

from pdeopt.run.errors import UsageError

#: The flags of binary modes of `open`: to read, to read and write, to append; the last two make a missing file.
MODE_FLAGS = {
    "rb": os.O_RDONLY,
    "r+b": os.O_RDWR | os.O_CREAT,
    "ab": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
}
#: The flags of every mode. Systems that lack one have no links or no pipes of this kind, or keep bytes as they are.
COMMON_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def open_regular(path: Path, mode: str) -> BinaryIO:
    """Open a regular file; what is read and written has no buffer, so that it is on the disk at once.

    Args:
        path: The file.
        mode: One of `MODE_FLAGS`.

    Raises:
        UsageError: Something else has this name, such as a link, a pipe or a folder, or a file that is to be written
            has a second name, by which it is somebody else's.
        OSError: The file is missing, or cannot be opened.
    """
    refuse_irregular(path, written=mode != "rb")
    descriptor = os.open(path, MODE_FLAGS[mode] | COMMON_FLAGS, 0o666)
    try:
        _check(path, os.fstat(descriptor), mode != "rb")  # something else may have been put there since
        return cast(BinaryIO, os.fdopen(descriptor, mode, buffering=0 if mode == "r+b" else -1))
    except BaseException:
        os.close(descriptor)
        raise


def refuse_irregular(path: Path, written: bool = False) -> None:
    """Refuse a path where something other than a regular file has this name; nothing may have it.

    Args:
        path: The path.
        written: Whether the file is to be written, so that a second name of it is refused, too.

    Raises:
        UsageError: Something else has this name.
    """
    try:
        found = path.lstat()
    except (OSError, ValueError):  # it is missing, or its name is none: whoever opens it says so
        return
    _check(path, found, written)


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file.

    Raises:
        UsageError: Something else has its name.
    """
    refuse_irregular(path)
    return path.is_file()


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        UsageError: Something else has its name.
        OSError: The file is missing, or cannot be opened.
    """
    with open_regular(path, "rb") as file:
        return file.read()


def _check(path: Path, found: os.stat_result, written: bool) -> None:
    if stat.S_ISREG(found.st_mode):
        if written and found.st_nlink > 1:
            raise UsageError(f"{path} has a second name (a hard link), which would change with it; put a copy here")
        return
    kinds = {stat.S_ISLNK: "a symbolic link", stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe"}
    kind = next((words for is_kind, words in kinds.items() if is_kind(found.st_mode)), "a device or a socket")
    remedy = "; put a copy of the file in its place" if stat.S_ISLNK(found.st_mode) else ""
    raise UsageError(f"{path} is {kind}; expected a regular file, nothing else is opened in a run directory{remedy}")
