"""Arrays from NPZ files, damaged ones among them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pdeopt.io.errors import FileError

#: What numpy.load raises for a file that is no archive, a part of one, or one with wrong bits in it.
DAMAGED = (
    *(OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, RuntimeError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


def read_arrays(path: Path, expected: str) -> Mapping[str, np.ndarray]:
    """All arrays of an NPZ file. Raises FileError for a damaged one; ``expected``: what it should be."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except DAMAGED as error:
        raise FileError(f"{path}: not readable ({error}); expected {expected}") from error
