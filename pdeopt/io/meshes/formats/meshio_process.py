"""meshio in a process of its own.

On damaged files its readers may loop forever, crash, or fill the memory.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pdeopt.io.errors import FileError

#: The time that reading any file may take, in seconds.
READING_SECONDS = 10.0
#: The number of bytes of a file for which reading it may take one more second.
BYTES_PER_SECOND = 100_000
#: The memory that reading any file may take, in bytes.
READING_MEMORY_BYTES = 4 << 30
#: The memory that reading may take in addition for each byte of the file, in bytes.
MEMORY_PER_BYTE = 100
#: The size of a file, in bytes, above which the process is ended after it: it keeps its memory.
LARGE_FILE_BYTES = 20_000_000


class MeshioProcess:
    """A process that reads meshes with meshio, one after the other.

    It starts with the first mesh and ends with the process that has started it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0

    def read(self, path: Path, file_format: str) -> tuple[Any, str, str]:
        """Return the mesh that meshio reads, or the reason why it reads none.

        Args:
            path: The path of the file.
            file_format: The name of its format in meshio.

        Returns:
            The mesh of meshio or None, the name of the exception or "", and what meshio says.

        Raises:
            FileError: The process does not answer in time, or ends on the file twice: once it may have been ended from
                outside.
        """
        size = _size(path, file_format)
        limit = READING_SECONDS + size / BYTES_PER_SECOND
        request = pickle.dumps((str(path.absolute()), file_format, READING_MEMORY_BYTES + MEMORY_PER_BYTE * size))
        with self._lock:
            for _ in range(2):
                process = self._running()
                timer = threading.Timer(limit, process.kill)
                timer.start()
                try:
                    return self._answer(process, request)
                except (EOFError, OSError, pickle.UnpicklingError) as error:
                    if not timer.is_alive():
                        what = f"reading it did not end within {limit:.0f} s"
                        raise FileError(f"{path}: {what}: it is damaged or cut short; write it anew") from error
                finally:
                    timer.cancel()
                    if size > LARGE_FILE_BYTES:
                        self._end()
        raise FileError(f"{path}: the reader crashed on it: it is damaged or cut short; write it anew")

    def _answer(self, process: subprocess.Popen[bytes], request: bytes) -> tuple[Any, str, str]:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(request)
            process.stdin.flush()
            answer: tuple[Any, str, str] = pickle.load(process.stdout)
            return answer
        except BaseException:
            self._end()  # or the next read would get the rest of this answer
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process that reads, a new one where it has ended or is another process's after a fork."""
        if self._process is None or self._parent != os.getpid() or self._process.poll() is not None:
            process = subprocess.Popen(
                [sys.executable, "-P", Path(__file__).with_name("meshio_child.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )
            assert process.stdout
            process.stdout.readline()  # it has imported meshio, which may take long from a slow disk
            self._process, self._parent = process, os.getpid()
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _size(path: Path, file_format: str) -> int:
    """Return the size of a file in bytes, for XDMF with the sizes of the files that hold its data."""
    if file_format != "xdmf":
        return path.stat().st_size
    texts = re.findall(rb">([^<>]{1,255})<", path.read_bytes())
    names = {os.fsdecode(text.strip().partition(b":")[0]) for text in texts}
    beside = {place for name in names for place in (path.parent / name, Path(name)) if os.path.isfile(place)}
    return sum(place.stat().st_size for place in {file.resolve() for file in (path, *beside)})


#: The reader that everything in this process shares.
MESHIO = MeshioProcess()
