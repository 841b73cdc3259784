"""A bounded memory of scaled matrices and of preconditioners.

A preconditioner serves for other values than its own as long as it serves well.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pdeopt.sparse.pattern import SparsityPattern
from pdeopt.sparse.solvers.krylov.preconditioners import Applied
from pdeopt.sparse.solvers.scaling import Equilibrated, equilibrated

#: The factor by which the iterations of an old set-up may exceed those of its first solve.
ALLOWED_GROWTH = 1.5
#: The number of iterations that an old set-up may take beyond that.
ALLOWED_EXTRA = 3
#: The factor by which the sums of rows may differ without a scaling, see `equilibrated`: an iteration ends at the
#: residual that it is asked for, and may leave it all to small rows.
ITERATIVE_ROW_SPREAD = 2.0**8
#: The number of values that a set-up remembers to have been solved with it, the last ones.
REMEMBERED_VALUES = 64


@dataclass(eq=False)
class SetUp:
    """A preconditioner, and what it was used for.

    Attributes:
        key: The pattern, the solver and the data type, which must not change.
        values: The digest of the matrix values that it was made from.
        applied: The preconditioner.
        iterations: The number of iterations of the first solve with it; None before that.
        served: The digests of the values that were solved with it, the last ones last.
    """

    key: Hashable
    values: bytes
    applied: Applied
    iterations: int | None = None
    served: list[bytes] = field(default_factory=list)

    def allowance(self, most: int) -> int:
        """Return how many iterations it may take for values that it was not made from; ``most`` at most."""
        return most if self.iterations is None else min(most, int(ALLOWED_GROWTH * self.iterations) + ALLOWED_EXTRA)

    def serve(self, values: bytes, iterations: int) -> None:
        """Remember a solve; one of a zero right-hand side, without iterations, tells nothing.

        Args:
            values: The digest of the values.
            iterations: The number of iterations.
        """
        if self.iterations is None and iterations:
            self.iterations = iterations
        if values not in self.served:
            self.served = [*self.served, values][-REMEMBERED_VALUES:]


class SetUpMemo:
    """A memory of set-ups by key, of which the least recently used is dropped first.

    Attributes:
        max_set_ups: The largest number of set-ups, and that of scaled matrices.
        lock: The lock that is held while the memory is used.
    """

    def __init__(self, max_set_ups: int = 4) -> None:
        self.max_set_ups = max_set_ups
        self.lock = threading.RLock()
        self._set_ups: list[SetUp] = []  # the most recent one comes last
        self._scaled: OrderedDict[tuple[SparsityPattern, bytes], Equilibrated] = OrderedDict()

    def clear(self) -> None:
        """Forget all set-ups and scaled matrices."""
        with self.lock:
            self._set_ups.clear()
            self._scaled.clear()

    def scaled(self, pattern: SparsityPattern, data: np.ndarray, values: bytes) -> Equilibrated:
        """Return a matrix scaled where it needs it; values that are not scaled are not kept.

        Args:
            pattern: The pattern of the matrix.
            data: Its values (nnz,).
            values: The digest of its values.

        Raises:
            SolveError: A value is not finite.
        """
        key = (pattern, values)
        if key in self._scaled:
            self._scaled.move_to_end(key)
            found = self._scaled[key]
            return replace(found, values=data) if found.scaling.is_trivial else found
        made = equilibrated(pattern, data, ITERATIVE_ROW_SPREAD, hermitian=True)
        self._scaled[key] = replace(made, values=made.values[:0]) if made.scaling.is_trivial else made
        if len(self._scaled) > self.max_set_ups:
            self._scaled.popitem(last=False)
        return made

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Forget after the block what is set up in it; what was there before is there again, as it was."""
        before = [replace(set_up, served=list(set_up.served)) for set_up in self._set_ups]
        try:
            yield
        finally:
            with self.lock:
                self._set_ups = before

    def serving(self, key: Hashable, values: bytes) -> SetUp | None:
        """Return the set-up that these values were solved with last, or None."""
        return self._use(s for s in reversed(self._set_ups) if s.key == key and values in s.served)

    def latest(self, key: Hashable) -> SetUp | None:
        """Return the set-up that was used last for any values, or None."""
        return self._use(s for s in reversed(self._set_ups) if s.key == key)

    def add(self, set_up: SetUp) -> None:
        """Add a set-up in place of those that served its values so far."""
        for other in self._set_ups:
            if other.key == set_up.key and set_up.values in other.served:
                other.served.remove(set_up.values)
        self._set_ups = [*self._set_ups, set_up][-self.max_set_ups :]

    def _use(self, found: Any) -> SetUp | None:
        set_up = next(found, None)
        if set_up is not None:
            self._set_ups.remove(set_up)
            self._set_ups.append(set_up)
        return set_up


def digest(values: np.ndarray) -> bytes:
    """Return a digest of values (nnz,), by which they are recognized."""
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).digest()
