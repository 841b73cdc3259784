"""The program of the process that reads with meshio.

Requests come on its input, answers go to its output, both pickled.
"""

import contextlib
import io
import pickle
import sys

import meshio

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def read_with_meshio(path: str, file_format: str, most_memory: int) -> tuple[object, str, str]:
    """Return the mesh that meshio reads, or the reason why it reads none.

    meshio prints what it has to say, and exits on files that it cannot read.

    Args:
        path: The path of the file.
        file_format: The name of its format in meshio.
        most_memory: The largest memory of this process, bytes.

    Returns:
        The mesh or None, the name of the exception or "", and what meshio says.
    """
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        with contextlib.suppress(ValueError, OSError):  # some systems do not let it be set
            resource.setrlimit(resource.RLIMIT_AS, (most_memory if hard < 0 else min(most_memory, hard), hard))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            mesh = meshio.read(path, file_format)
        return mesh, "", " ".join(said.getvalue().split())
    except ImportError as error:
        return None, "ImportError", error.name or str(error)
    except MemoryError:
        return None, "MemoryError", "it announces more than there is memory for"
    except (Exception, SystemExit) as error:
        words = said.getvalue() if isinstance(error, SystemExit) else str(error)
        return None, type(error).__name__, " ".join(words.split())


if __name__ == "__main__":
    output = sys.stdout.buffer
    sys.stdout = sys.stderr
    output.write(b"ready\n")
    output.flush()
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:  # the other process has ended
            break
        pickle.dump(read_with_meshio(*request), output, protocol=5)
        output.flush()
