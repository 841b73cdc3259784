"""The state of the process in which JAX computes.

It must be in 64-bit mode, and not forked from a process in which JAX has computed.
"""

from __future__ import annotations

import ctypes
import gc
import os
import warnings
from contextlib import suppress

import jax

from pdeopt.errors import PdeoptError

#: The remedy where a process was forked.
SPAWN_REMEDY = (
    "start processes anew instead: multiprocessing.get_context('spawn'), ProcessPoolExecutor(mp_context=…), or joblib"
    " with its default backend (loky)"
)

_computing: int | None = None  # the number of the process in which JAX was first used for us


class ProcessError(PdeoptError, RuntimeError):
    """An error of the process, in which nothing can be computed rightly; the message says what to change."""


def check_process() -> None:
    """Check that JAX can compute in this process.

    Raises:
        ProcessError: JAX's 64-bit mode was switched off, or the process was forked from one that has computed already.
    """
    global _computing
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ProcessError(
            "JAX's 64-bit mode was switched off after pdeopt was imported, and single precision is not enough for a "
            "solve or a derivative; switch it on again with jax.config.update('jax_enable_x64', True), and leave out "
            "what switches it off (jax_enable_x64 = False, jax.experimental.disable_x64)"
        )
    process = os.getpid()
    if _computing is None:
        _computing = process
    if _computing != process:
        raise ProcessError(
            f"this process was forked from one that had computed with JAX before, whose threads it lacks: it would wait"
            f" for ever; {SPAWN_REMEDY}"
        )


def clear_compiled() -> None:
    """Forget all that JAX has compiled in this process, and free its memory.

    This is of use after each of many meshes, for instance: JAX keeps programs also after the functional and the mesh
    that they were made for, about 50 MB for each size. What is used again is compiled again; no result changes.
    """
    gc.collect()  # frees a functional that is no longer used but is in a cycle of references
    jax.clear_caches()
    gc.collect()
    with suppress(OSError, AttributeError):  # the C library of Linux gives back what is free only when it is asked
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _warn_of_fork() -> None:
    if _computing == os.getpid():
        warnings.warn(
            "this process has computed with JAX and is forked now; pdeopt refuses to compute in the child: "
            f"{SPAWN_REMEDY}",
            stacklevel=2,
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_warn_of_fork)
