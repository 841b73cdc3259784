"""SciPy's SuperLU objects, made and freed on one thread of their own.

SciPy counts the memory of a SuperLU object in the thread that makes it, and a free in any other thread is without
effect. XLA runs host callbacks on several threads: a factor that one makes and another drops would never be freed
(100 factors of 5041 unknowns: 340 MiB). Solving is not bound to a thread, because it frees what it took.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sla
from scipy.sparse.csgraph import structural_rank


class _Worker:
    """A daemon thread that runs jobs in order.

    Any thread may hand in a job, also from within garbage collection.

    Attributes:
        hand_in: The function that takes a job.
    """

    def __init__(self) -> None:
        jobs = SimpleQueue[Callable[[], None]]()
        self.hand_in = jobs.put
        self._thread = threading.Thread(target=_work, args=(jobs,), name="SuperLU", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for the jobs so far, and end the thread.

        SuperLU must not allocate while Python shuts down.
        """
        self.hand_in(_end_of_thread)
        self._thread.join()

    @property
    def has_ended(self) -> bool:
        """True where the thread has ended, because Python shuts down."""
        return not self._thread.is_alive()


def _work(jobs: SimpleQueue[Callable[[], None]]) -> None:
    _keep_record_of_memory()
    with suppress(_End):
        while True:
            jobs.get()()  # no variable that would keep the last job while this waits for the next


def _keep_record_of_memory() -> None:
    """Let SciPy's record of this thread's memory outlive the thread.

    SciPy keeps it among the data of the thread, and when it goes while factors are alive, it leaves a TypeError pending
    in whatever runs next: `threading` in the child of a fork, or the last flush of stdout.
    """
    sla.splu(sp.csc_matrix([[1.0]]))  # now there is a record
    python = ctypes.pythonapi
    python.PyThreadState_GetDict.restype = ctypes.c_void_p  # borrowed
    python.PyDict_Values.argtypes, python.PyDict_Values.restype = [ctypes.c_void_p], ctypes.py_object
    for value in python.PyDict_Values(python.PyThreadState_GetDict()):
        python.Py_IncRef(ctypes.py_object(value))


class _End(Exception):
    """An exception that ends a worker."""


def _end_of_thread() -> None:
    raise _End


_start = threading.Lock()
_current: _Worker | None = None


def _worker() -> _Worker:
    global _current
    with _start:
        if _current is None:
            _current = _Worker()
            atexit.register(_current.stop)
        return _current


def _after_fork() -> None:
    """Start anew in the child of a fork, which has neither the thread nor the state of its lock."""
    global _start, _current
    if _current is not None:
        atexit.unregister(_current.stop)
    _start, _current = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class SuperLUFactors:
    """The factors of a matrix (n, n), with which any thread may solve, and which any thread may drop."""

    def __init__(self, lu: sla.SuperLU, worker: _Worker) -> None:
        self._held = [lu]
        weakref.finalize(self, worker.hand_in, self._held.clear).atexit = False

    def solve(self, rhs: np.ndarray, transposed: bool = False) -> np.ndarray:
        """Return X with A X = rhs, or with Aᵀ X = rhs without conjugation.

        Args:
            rhs: The right-hand side (n,), or several (n, k).
            transposed: Whether to solve with Aᵀ.
        """
        x: np.ndarray = self._held[0].solve(rhs, "T" if transposed else "N")
        return x

    @property
    def nnz(self) -> int:
        """The number of entries of both factors."""
        return int(self._held[0].nnz)

    @property
    def lower(self) -> sp.csc_matrix:
        """The lower triangular factor L in P_r A P_c = L U."""
        return self._held[0].L

    @property
    def upper(self) -> sp.csc_matrix:
        """The upper triangular factor U in P_r A P_c = L U."""
        return self._held[0].U

    @property
    def permutations(self) -> tuple[np.ndarray, np.ndarray]:
        """The new place (n,) of each row, and that (n,) of each column; both are copies."""
        return self._held[0].perm_r.copy(), self._held[0].perm_c.copy()


def superlu_factors(matrix: sp.csc_matrix, **options: Any) -> SuperLUFactors:
    """Return the LU factors that `scipy.sparse.linalg.splu` makes with ``options``.

    Raises:
        RuntimeError: The matrix is singular; already its pattern may tell.
        Exception: Any other one that SciPy raises.
    """
    _refuse_deficient_pattern(matrix)
    return _made(partial(sla.splu, matrix, **options))


def incomplete_factors(matrix: sp.csc_matrix, **options: Any) -> SuperLUFactors:
    """Return the incomplete LU factors that `scipy.sparse.linalg.spilu` makes with ``options``.

    Stored zeros are left out: SuperLU ends the process where they leave a complex column without a pivot.

    Raises:
        RuntimeError: The matrix is singular; already its pattern may tell.
        Exception: Any other one that SciPy raises.
    """
    matrix = matrix.copy()
    matrix.eliminate_zeros()
    _refuse_deficient_pattern(matrix)
    return _made(partial(sla.spilu, matrix, **options))


def _refuse_deficient_pattern(matrix: sp.csc_matrix) -> None:
    """Refuse a matrix for which no choice of pivots exists.

    On some such matrices SuperLU writes beyond its arrays.

    Raises:
        RuntimeError: The pattern alone makes the matrix singular.
    """
    n, columns = matrix.shape
    if n == columns and np.count_nonzero(matrix.diagonal()) < n and structural_rank(matrix) < n:
        raise RuntimeError("the matrix is singular by its pattern")


def _made(make: Callable[[], sla.SuperLU]) -> SuperLUFactors:
    worker, result = _worker(), Future[SuperLUFactors]()
    if worker.has_ended:  # at the exit of Python, in a handler after ours: nothing is to be freed any more
        return SuperLUFactors(make(), worker)

    def job() -> None:
        try:
            result.set_result(SuperLUFactors(make(), worker))
        except BaseException as error:  # whatever it is, the caller is to get it
            result.set_exception(error)

    worker.hand_in(job)
    return result.result()
