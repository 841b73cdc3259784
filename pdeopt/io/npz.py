"""Reading of arrays from NPZ files, damaged ones among them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pdeopt.io.errors import FileError

#: The errors that numpy.load raises for a file that is no archive, a part of one, or one with wrong bits in it.
DAMAGED_FILE_ERRORS = (
    *(OSError, ValueError, EOFError, AttributeError, TypeError, LookupError, RuntimeError, SyntaxError),
    *(struct.error, zipfile.BadZipFile, zlib.error, MemoryError, OverflowError, AssertionError),
)
#: The size, in bytes, up to which any file may unpack.
MAX_UNPACKED_BYTES = 4 << 30
#: The size up to which a file may unpack where that is larger, as a multiple of its own size.
MAX_UNPACKING_FACTOR = 20


def read_arrays(path: Path, expected: str) -> Mapping[str, np.ndarray]:
    """Return all arrays of an NPZ file, by name.

    Args:
        path: The path of the file.
        expected: What the file should be, in words, for the message.

    Raises:
        FileError: The file is damaged, unpacks to more than there may be, or has a member that is no array of numbers
            or text.
    """
    name = ""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > max(MAX_UNPACKED_BYTES, MAX_UNPACKING_FACTOR * path.stat().st_size):
            raise FileError(f"{path}: it would unpack to {size:.3g} bytes; expected {expected}")
        found: dict[str, np.ndarray] = {}
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                found[name] = file[name]
    except FileError:
        raise
    except DAMAGED_FILE_ERRORS as error:
        place = f"array {name!r}: " if name else ""
        cause = "it announces more than there is memory for" if isinstance(error, MemoryError) else error
        raise FileError(f"{path}: not readable ({place}{cause}); expected {expected}") from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise FileError(f"{path}: its member {name!r} is no array; expected {expected}")
    return found


def refuse_newer_file(path: Path, arrays: Mapping[str, np.ndarray], newest: int) -> None:
    """Refuse an NPZ file whose format is newer than this version of pdeopt.

    Args:
        path: The path of the file, for the message.
        arrays: The arrays of the file, by name; the number ``format`` is 1 where there is none.
        newest: The newest format that is read.

    Raises:
        FileError: The format is newer, or no whole number.
    """
    found = arrays.get("format", np.array(1))
    if found.ndim or found.dtype.kind not in "iu":
        raise FileError(f"cannot read {path}: its format is {found.tolist()!r}; expected a whole number")
    if found > newest:
        remedy = f"this version of pdeopt reads up to {newest}: update it"
        raise FileError(f"cannot read {path}: its format is {found}; {remedy}")


def text_in(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> str:
    """Return the text in an array.

    Args:
        path: The path of the file, for the message.
        arrays: The arrays of the file, by name.
        name: The name of the array.

    Raises:
        FileError: The array holds numbers, or more than one text.
    """
    array = arrays[name]
    if array.dtype.kind not in "US" or array.size != 1:
        what = f"{array.dtype} of shape {array.shape}"
        raise FileError(f"{path}, array {name!r}: it is {what}; expected one text, such as numpy.array('V')")
    item = array.item()
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)
