"""The history of an optimization: evaluates the functional for the optimizer and keeps what each iterate cost."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from pdeopt.inverse import InputError, ReducedFunctional, Terms
from pdeopt.optimize import Iterate
from pdeopt.run.directory import write_text
from pdeopt.sparse import work

#: A line search evaluates at most about 20 points before one is accepted.
REMEMBERED = 64


@dataclass(frozen=True)
class Row:
    """One line of history.csv; row 0 is the initial guess. All counts are totals since the start."""

    iteration: int
    objective: float
    misfit: float
    regularization: float
    gradient_norm: float
    step: float
    evaluations: int
    cg_iterations: int
    factorizations: int
    solves: int
    seconds: float


COLUMNS = tuple(field.name for field in fields(Row))


class Recorder:
    """Stands between a functional and an optimizer; counts from its creation on.

    Attributes:
        rows: one for each iterate so far.
        m: the last iterate, None before the first.
    """

    def __init__(self, functional: ReducedFunctional, on_row: Callable[[Row], None], stop: Callable[[], bool]) -> None:
        self._functional = functional
        self._on_row = on_row
        self._stop = stop
        self._terms: OrderedDict[bytes, Terms] = OrderedDict()
        self._before = work.copy()
        self._start = time.perf_counter()
        self.rows: list[Row] = []
        self.m: np.ndarray | None = None

    def evaluate(self, m: np.ndarray) -> tuple[float, np.ndarray]:
        """J(m) and its derivative. Raises Interrupted where the run was asked to stop."""
        if self._stop():
            raise Interrupted
        terms, derivative = self._functional.terms_and_derivative(m)
        if not self.rows and not np.isfinite(terms.objective):
            raise InputError(f"the objective is {terms.objective} at the initial guess")
        self._terms[_digest(m)] = terms
        if len(self._terms) > REMEMBERED:
            self._terms.popitem(last=False)
        return terms.objective, derivative

    def accept(self, iterate: Iterate) -> None:
        """The optimizer's callback."""
        terms, spent = self._terms[_digest(iterate.m)], work.since(self._before)
        self.m = iterate.m
        self.rows.append(
            Row(
                iteration=iterate.iteration,
                objective=terms.objective,
                misfit=terms.misfit,
                regularization=terms.regularization,
                gradient_norm=iterate.gradient_norm,
                step=iterate.step,
                evaluations=iterate.evaluations,
                cg_iterations=0,
                factorizations=spent.factorizations,
                solves=spent.solves + spent.adjoint_solves,
                seconds=round(time.perf_counter() - self._start, 6),
            )
        )
        self._on_row(self.rows[-1])


class Interrupted(Exception):
    """The user asked the run to stop."""


def write_history(path: Path, rows: list[Row]) -> None:
    """The whole file again: a reader never sees half a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in rows)
    write_text(path, text.getvalue())


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Column → values (rows,). Raises ValueError for a file that is not a history."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    missing = [name for name in COLUMNS if not lines or name not in lines[0]]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}" if lines else "it has no rows")
    return {name: np.array([float(line[name] or "nan") for line in lines]) for name in COLUMNS}


def _digest(m: np.ndarray) -> bytes:
    return hashlib.blake2b(m.tobytes(), digest_size=16).digest()
