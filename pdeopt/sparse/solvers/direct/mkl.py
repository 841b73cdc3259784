"""MKL's PARDISO by ctypes: several factorizations of one pattern and matrix type, each freed by itself.

Intel, "oneMKL Developer Reference for C", section "oneMKL PARDISO - Parallel Direct Sparse Solver Interface". The
indices of ``iparm`` here are those of C, from 0.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from pdeopt.errors import PdeoptError
from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.fallbacks import warn_unusable

#: Matrix types.
REAL_DEFINITE, REAL_SYMMETRIC, COMPLEX_SYMMETRIC, REAL_GENERAL, COMPLEX_GENERAL = 2, -2, 6, 11, 13
ANALYZE, FACTOR, SOLVE, FREE_FACTOR, FREE_ALL = 11, 22, 33, 0, -1
#: Factors that one instance holds at most; a number, no memory (measured).
SLOTS = 64
NOT_DEFINITE = -4
#: Below this number of entries one thread is used.
MANY_ENTRIES = 150_000
ERRORS = {
    -1: "the input is inconsistent",
    -2: "there is not enough memory",
    -3: "the reordering failed",
    NOT_DEFINITE: "a pivot is zero, or the matrix is not positive definite",
    -7: "the diagonal is singular",
    -8: "32-bit integers overflow",
}


_lock = threading.RLock()  # of all instances: a factor may be freed by any thread


class PardisoError(PdeoptError, RuntimeError):
    """A failure that PARDISO reports by its number."""

    def __init__(self, code: int) -> None:
        super().__init__(f"PARDISO error {code}: {ERRORS.get(code, 'an internal error')}")
        self.code = code


@cache
def _routine():
    """``pardiso`` of the library that pypardiso finds. Raises ImportError or OSError."""
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # threads that wait actively would keep JAX's from the cores
    import pypardiso

    routine = ctypes.CDLL(pypardiso.ps.libmkl._name).pardiso  # an object of its own: pypardiso types its arguments
    routine.argtypes, routine.restype = [ctypes.c_void_p] * 16, None
    return routine


@cache
def _diagonal_routine():
    """``pardiso_getdiag`` of the same library."""
    import pypardiso

    routine = ctypes.CDLL(pypardiso.ps.libmkl._name).pardiso_getdiag
    routine.argtypes, routine.restype = [ctypes.c_void_p] * 5, None
    return routine


@contextmanager
def _threads_for(entries: int) -> Iterator[None]:
    """One thread for a small matrix, which several would only wait for."""
    if entries >= MANY_ENTRIES:
        yield
        return
    set_threads = _local_threads()
    before = set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


@cache
def _local_threads():
    import pypardiso

    routine = ctypes.CDLL(pypardiso.ps.libmkl._name).MKL_Set_Num_Threads_Local
    routine.argtypes, routine.restype = [ctypes.c_int], ctypes.c_int
    return routine


def pardiso_is_installed() -> bool:
    """Whether pypardiso and the library can be loaded on this machine."""
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
    """(64,) int32. Measured on saddle points of Stokes' equations and of optimality systems in different units: with
    scaling and matching no pivot is perturbed, without them up to a sixth of all.
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
    """One ``pt``: the raw calls. ``data`` is an array (nnz,) float64 or complex128 in the order of the pattern."""

    _with_memory: weakref.ref[_Instance] | None = None

    def __init__(self, kind: int, pattern: SparsityPattern) -> None:
        self._call, self._kind, self._pattern = _routine(), kind, pattern
        self._pt, self._iparm = np.zeros(64, np.int64), _parameters(kind)
        self.free_slots = list(range(SLOTS, 0, -1))
        self._is_open = True

    def run(self, phase: int, data=None, slot: int = 1, rhs=None, x=None, transposed: bool = False) -> tuple[int, int]:
        """One phase; the numbers of entries of the factors and of perturbed pivots. Raises PardisoError."""
        columns = 1 if rhs is None else rhs.shape[1]
        numbers = [SLOTS, slot, self._kind, phase, self._pattern.shape[0], columns, 0, 0]
        maxfct, mnum, kind, step, n, nrhs, silent, error = (ctypes.c_int32(number) for number in numbers)
        ref, at = ctypes.byref, _address
        with _lock, _threads_for(self._pattern.nnz):
            iparm = self._iparm.copy()  # of this call: garbage collection may free a factor within it
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
        """(n,), the diagonal of D in L D Lᵀ of a real positive definite matrix."""
        pivots, diagonal = np.zeros((2, self._pattern.shape[0]))
        which, error = ctypes.c_int32(slot), ctypes.c_int32(0)
        with _lock:
            arrays = (_address(array) for array in (self._pt, pivots, diagonal))
            _diagonal_routine()(*arrays, ctypes.byref(which), ctypes.byref(error))
        if error.value:
            raise PardisoError(error.value)
        return pivots

    def give_back(self, slot: int) -> None:
        """The last slot given back keeps its memory for the next factor, which takes two thirds of the time there.

        Only one instance of all has such a slot.
        """
        with _lock:
            if self._is_open:
                other = _Instance._with_memory() if _Instance._with_memory else None
                if other is not None:
                    other._free(other.free_slots[-1])
                self.free_slots.append(slot)
                _Instance._with_memory = weakref.ref(self)

    def take_slot(self) -> int:
        with _lock:
            if _Instance._with_memory is not None and _Instance._with_memory() is self:
                _Instance._with_memory = None
            return self.free_slots.pop()

    def _free(self, slot: int) -> None:
        with _lock:
            if self._is_open:
                self.run(FREE_FACTOR, slot=slot)

    def close(self) -> None:
        """Free everything. Garbage collection may call `free_slot` of a factor after it."""
        with _lock:
            self.run(FREE_ALL)
            self._is_open = False


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


class Analysis:
    """A pattern (sorted, with all its diagonal entries) analyzed for one matrix type."""

    def __init__(self, kind: int, pattern: SparsityPattern, sample: np.ndarray) -> None:
        self._instance, self._kind = _Instance(kind, pattern), kind
        weakref.finalize(self, self._instance.close).atexit = False
        self._instance.run(ANALYZE, sample)

    @property
    def is_full(self) -> bool:
        return not self._instance.free_slots

    def factor(self, data: np.ndarray) -> PardisoFactor:
        """RuntimeError where it fails; the factors made before stay as they are.

        Also where pivots were perturbed: the factors are then those of another matrix, which hides a singular one.
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
        """0 where the matrix type does not tell."""
        return float(self._instance.pivots(slot).min(initial=np.inf)) if self._kind == REAL_DEFINITE else 0.0


class PardisoFactor:
    """A numeric factorization in one slot, which is free again when this object is gone."""

    def __init__(self, analysis: Analysis, instance: _Instance, slot: int, data: np.ndarray, entries: int) -> None:
        self._analysis = analysis  # lives as long as its factors
        self._instance, self._slot, self._data, self._entries = instance, slot, data, entries
        self.smallest_pivot = analysis.smallest_pivot(slot)
        weakref.finalize(self, instance.give_back, slot).atexit = False

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        b = np.asfortranarray(rhs, self._data.dtype)
        x = np.empty_like(b)
        self._instance.run(SOLVE, self._data, self._slot, b, x, transposed)
        return np.ascontiguousarray(x)

    @property
    def nbytes(self) -> int:
        return self._data.nbytes + self._data.itemsize * self._entries
