"""MKL's PARDISO by ctypes: several factorizations of a pattern and matrix type, each freed by itself.

It is described in Intel, "oneMKL Developer Reference for C", section "oneMKL PARDISO - Parallel Direct Sparse Solver
Interface". The indices of ``iparm`` here are those of C, from 0.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from pdeopt.errors import PdeoptError
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.fallbacks import warn_unusable

#: PARDISO's number of the matrix type: real, symmetric and positive definite.
REAL_DEFINITE = 2
#: PARDISO's number of the matrix type: real, symmetric and indefinite.
REAL_SYMMETRIC = -2
#: PARDISO's number of the matrix type: complex and symmetric.
COMPLEX_SYMMETRIC = 6
#: PARDISO's number of the matrix type: real, not symmetric.
REAL_GENERAL = 11
#: PARDISO's number of the matrix type: complex, not symmetric.
COMPLEX_GENERAL = 13
#: PARDISO's number of the phase that analyzes a pattern.
ANALYZE = 11
#: PARDISO's number of the phase that factors values.
FACTOR = 22
#: PARDISO's number of the phase that solves with a factor.
SOLVE = 33
#: PARDISO's number of the phase that frees one factor.
FREE_FACTOR = 0
#: PARDISO's number of the phase that frees everything.
FREE_ALL = -1
#: The largest number of factors that one instance holds; the number itself takes no memory (measured).
MAX_FACTORS = 64
#: PARDISO's error code where a pivot is zero, or a matrix is not positive definite.
NOT_DEFINITE = -4
#: The number of entries below which one thread is used.
MIN_THREADED_ENTRIES = 150_000
#: The meaning of PARDISO's error codes, in words.
ERRORS = {
    -1: "the input is inconsistent",
    -2: "there is not enough memory",
    -3: "the reordering failed",
    NOT_DEFINITE: "a pivot is zero, or the matrix is not positive definite",
    -7: "the diagonal is singular",
    -8: "32-bit integers overflow",
}


_lock = threading.RLock()  # one for all instances, as a factor may be freed by any thread


class PardisoError(PdeoptError, RuntimeError):
    """A failure that PARDISO reports by an error code.

    Attributes:
        code: The error code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"PARDISO error {code}: {ERRORS.get(code, 'an internal error')}")
        self.code = code


@cache
def _routine() -> Any:
    """Return the function ``pardiso`` of the library that pypardiso finds.

    Raises:
        ImportError: pypardiso is not installed, or does not find the library.
        OSError: The library cannot be loaded.
    """
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # threads that wait actively would keep JAX's from the cores
    import pypardiso

    routine = ctypes.CDLL(pypardiso.ps.libmkl._name).pardiso  # an object of its own: pypardiso types its arguments
    routine.argtypes, routine.restype = [ctypes.c_void_p] * 16, None
    return routine


@cache
def _diagonal_routine() -> Any:
    """Return the function ``pardiso_getdiag`` of the library that pypardiso finds."""
    import pypardiso

    routine = ctypes.CDLL(pypardiso.ps.libmkl._name).pardiso_getdiag
    routine.argtypes, routine.restype = [ctypes.c_void_p] * 5, None
    return routine


@contextmanager
def _threads_for(entries: int) -> Iterator[None]:
    """Use one thread for a small matrix, where several would only wait for each other.

    Args:
        entries: The number of entries of the matrix.
    """
    if entries >= MIN_THREADED_ENTRIES:
        yield
        return
    set_threads = _local_threads()
    before = set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


@cache
def _local_threads() -> Any:
    import pypardiso

    routine = ctypes.CDLL(pypardiso.ps.libmkl._name).MKL_Set_Num_Threads_Local
    routine.argtypes, routine.restype = [ctypes.c_int], ctypes.c_int
    return routine


def pardiso_is_installed() -> bool:
    """Return whether pypardiso and its library can be loaded on this machine."""
    try:
        _routine()
    except ImportError as error:
        if error.name != "pypardiso":
            warn_unusable("pypardiso", str(error))
        return False
    except OSError as error:
        warn_unusable("pypardiso", str(error))
        return False
    return True


def _parameters(kind: int) -> np.ndarray:
    """Return PARDISO's parameters ``iparm`` (64,) int32 for a matrix type.

    Measured on saddle points of Stokes' equations and of optimality systems in different units: with scaling and
    matching no pivot is perturbed, without them up to a sixth of all.
    """
    iparm = np.zeros(64, np.int32)
    iparm[0] = 1  # the values are given
    iparm[1] = 2  # nested dissection by METIS
    iparm[9] = 13  # a pivot below 10^-13 of the matrix is perturbed
    iparm[10] = iparm[12] = kind != REAL_DEFINITE  # scaling and weighted matching, for the values of the analysis
    iparm[17] = -1  # report the number of entries of the factors
    iparm[20] = 1  # Bunch–Kaufman pivots
    iparm[34] = 1  # indices from zero
    iparm[55] = kind == REAL_DEFINITE  # the pivots can be asked for
    return iparm


class _Instance:
    """An instance of PARDISO, with one handle ``pt``, and the raw calls of it.

    Attributes:
        free_slots: The numbers of the slots that hold no factor in use; the one that is taken next comes last.
    """

    _with_memory: weakref.ref[_Instance] | None = None

    def __init__(self, kind: int, pattern: SparsityPattern) -> None:
        self._call, self._kind, self._pattern = _routine(), kind, pattern
        self._pt, self._iparm = np.zeros(64, np.int64), _parameters(kind)
        self.free_slots = list(range(MAX_FACTORS, 0, -1))
        self._is_open = True

    def run(
        self,
        phase: int,
        data: np.ndarray | None = None,
        slot: int = 1,
        rhs: np.ndarray | None = None,
        x: np.ndarray | None = None,
        transposed: bool = False,
    ) -> tuple[int, int]:
        """Run one phase.

        Args:
            phase: The phase, such as `FACTOR`.
            data: The values (nnz,), float64 or complex128, in the order of the pattern.
            slot: The number of the slot.
            rhs: The right-hand sides (n, k), in Fortran order.
            x: The array (n, k), in Fortran order, into which the solution is written.
            transposed: Whether to solve with the transposed matrix.

        Returns:
            The number of entries of the factors, and the number of perturbed pivots.

        Raises:
            PardisoError: PARDISO reports a failure.
        """
        columns = 1 if rhs is None else rhs.shape[1]
        numbers = [MAX_FACTORS, slot, self._kind, phase, self._pattern.shape[0], columns, 0, 0]
        maxfct, mnum, kind, step, n, nrhs, silent, error = (ctypes.c_int32(number) for number in numbers)
        ref, at = ctypes.byref, _address
        with _lock, _threads_for(self._pattern.nnz):
            iparm = self._iparm.copy()  # for this call alone, as garbage collection may free a factor within it
            iparm[11] = 2 if transposed else 0
            self._call(
                *(at(self._pt), ref(maxfct), ref(mnum), ref(kind), ref(step), ref(n), at(data)),
                *(at(self._pattern.indptr), at(self._pattern.indices), None, ref(nrhs), at(iparm), ref(silent)),
                *(at(rhs), at(x), ref(error)),
            )
            counts = int(iparm[17]), int(iparm[13])
        if error.value:
            raise PardisoError(error.value)
        return counts

    def pivots(self, slot: int) -> np.ndarray:
        """Return the diagonal (n,) of D in L D Lᵀ of a real positive definite matrix.

        Raises:
            PardisoError: PARDISO reports a failure.
        """
        pivots, diagonal = np.zeros((2, self._pattern.shape[0]))
        which, error = ctypes.c_int32(slot), ctypes.c_int32(0)
        with _lock:
            arrays = (_address(array) for array in (self._pt, pivots, diagonal))
            _diagonal_routine()(*arrays, ctypes.byref(which), ctypes.byref(error))
        if error.value:
            raise PardisoError(error.value)
        return pivots

    def give_back(self, slot: int) -> None:
        """Give a slot back; the last one that was given back keeps its memory for the next factor.

        Factoring takes two thirds of the time there. Only one instance of all has such a slot.
        """
        with _lock:
            if self._is_open:
                other = _Instance._with_memory() if _Instance._with_memory else None
                if other is not None:
                    other._free(other.free_slots[-1])
                self.free_slots.append(slot)
                _Instance._with_memory = weakref.ref(self)

    def take_slot(self) -> int:
        """Return the number of a free slot, which is then in use."""
        with _lock:
            if _Instance._with_memory is not None and _Instance._with_memory() is self:
                _Instance._with_memory = None
            return self.free_slots.pop()

    def _free(self, slot: int) -> None:
        with _lock:
            if self._is_open:
                self.run(FREE_FACTOR, slot=slot)

    def close(self) -> None:
        """Free everything; garbage collection may call `give_back` for a factor after it."""
        with _lock:
            self.run(FREE_ALL)
            self._is_open = False


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


class Analysis:
    """An analysis of a pattern, sorted and with all its diagonal entries, for one matrix type."""

    def __init__(self, kind: int, pattern: SparsityPattern, sample: np.ndarray) -> None:
        self._instance, self._kind = _Instance(kind, pattern), kind
        weakref.finalize(self, self._instance.close).atexit = False
        self._instance.run(ANALYZE, sample)

    @property
    def is_full(self) -> bool:
        """True where no slot is free."""
        return not self._instance.free_slots

    def factor(self, data: np.ndarray) -> PardisoFactor:
        """Return the factor of values (nnz,); the factors made before stay as they are.

        Raises:
            RuntimeError: The factorization fails, or pivots were perturbed: the factors are then those of another
                matrix, which hides a singular one.
        """
        slot = self._instance.take_slot()
        try:
            entries, perturbed = self._instance.run(FACTOR, data, slot)
            if perturbed:
                raise RuntimeError(f"{perturbed} pivots are too small")
        except RuntimeError:
            self._instance.give_back(slot)
            raise
        return PardisoFactor(self, self._instance, slot, data, entries)

    def smallest_pivot(self, slot: int) -> float:
        """Return the smallest pivot of the factor in a slot, or 0 where the matrix type does not tell."""
        return float(self._instance.pivots(slot).min(initial=np.inf)) if self._kind == REAL_DEFINITE else 0.0


class PardisoFactor:
    """A numeric factorization in one slot, which is free again when this object is gone."""

    def __init__(self, analysis: Analysis, instance: _Instance, slot: int, data: np.ndarray, entries: int) -> None:
        self._analysis = analysis  # it lives as long as its factors
        self._instance, self._slot, self._data, self._entries = instance, slot, data, entries
        self.smallest_pivot = analysis.smallest_pivot(slot)
        weakref.finalize(self, instance.give_back, slot).atexit = False

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Return X (n, k) with A X = rhs, or Aᵀ X = rhs."""
        b = np.asfortranarray(rhs, self._data.dtype)
        x = np.empty_like(b)
        self._instance.run(SOLVE, self._data, self._slot, b, x, transposed)
        return np.ascontiguousarray(x)

    @property
    def nbytes(self) -> int:
        """The memory of the values and of the factor."""
        return self._data.nbytes + self._data.itemsize * self._entries
