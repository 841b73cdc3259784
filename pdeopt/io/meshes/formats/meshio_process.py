"""meshio in a process of its own: on damaged files its readers may loop forever, crash, or fill the memory."""

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

#: A file may take so many seconds, and one more for each so many bytes.
SECONDS, BYTES_PER_SECOND = 10.0, 100_000
#: It may take so many bytes of memory, and so many more for each of its own.
MEMORY, MEMORY_PER_BYTE = 4 << 30, 100
#: After a file of so many bytes the process is ended: it keeps its memory.
LARGE = 20_000_000


class MeshioProcess:
    """A process that reads meshes with meshio, one after the other; it starts with the first and ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._parent = 0

    def read(self, path: Path, file_format: str) -> tuple[Any, str, str]:
        """Return (meshio's mesh or None, the name of the exception or "", what meshio says).

        Raises FileError where the process does not answer in time, or ends on the file twice: once it may have been
        ended from outside.
        """
        size = _size(path, file_format)
        limit = SECONDS + size / BYTES_PER_SECOND
        request = pickle.dumps((str(path.absolute()), file_format, MEMORY + MEMORY_PER_BYTE * size))
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
                    if size > LARGE:
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
        """Return the process; a new one where it has ended, and after a fork, where it is another process's."""
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
    """Return the number of bytes of a file, of XDMF with those of the files that hold its data."""
    if file_format != "xdmf":
        return path.stat().st_size
    texts = re.findall(rb">([^<>]{1,255})<", path.read_bytes())
    names = {os.fsdecode(text.strip().partition(b":")[0]) for text in texts}
    beside = {place for name in names for place in (path.parent / name, Path(name)) if os.path.isfile(place)}
    return sum(place.stat().st_size for place in {file.resolve() for file in (path, *beside)})


#: The one of this process.
MESHIO = MeshioProcess()
