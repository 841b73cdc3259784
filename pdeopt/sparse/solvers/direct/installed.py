"""The solver libraries that this machine has, and how to get the others."""

from __future__ import annotations

from collections.abc import Callable

from pdeopt.sparse.errors import SolveError
from pdeopt.sparse.solvers.direct.mkl import pardiso_is_installed
from pdeopt.sparse.solvers.fallbacks import warn_unusable


def rslab_is_installed() -> bool:
    """Return whether the rslab wheel can be imported, and warn where it is installed and cannot."""
    try:
        import rslab  # noqa: F401
    except ImportError as error:
        if error.name != "rslab":
            warn_unusable("rslab", str(error))
        return False
    return True


def cholmod_is_installed() -> bool:
    """Return whether cvxopt's CHOLMOD can be imported."""
    try:
        import cvxopt.cholmod  # noqa: F401
    except ImportError:
        return False
    return True


#: For each solver by name, the function that tells whether its library is installed, and the command that installs it.
_LIBRARIES: dict[str, tuple[Callable[[], bool], str]] = {
    "rslab": (rslab_is_installed, "pip install rslab"),
    "cholmod": (cholmod_is_installed, 'pip install "pdeopt[cholmod]" (or: pip install cvxopt)'),
    "pardiso": (pardiso_is_installed, 'pip install "pdeopt[pardiso]" (or: pip install pypardiso)'),
}


def require_library(solver: str) -> None:
    """Check that the library of a solver is installed.

    Raises:
        SolveError: The library is missing; the message says which command installs it.
    """
    is_installed, command = _LIBRARIES.get(solver, (lambda: True, ""))
    if not is_installed():
        raise SolveError(f"solver {solver!r} is not installed; run: {command}")
