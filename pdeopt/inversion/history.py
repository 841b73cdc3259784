"""The history of an inversion: one row for each iterate, and what it cost to come there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of history.csv; row 0 is the initial guess. All counts are totals since the start.

    ``solves`` is the sum of the last four before ``hessian_products``; a block of right-hand sides counts once.
    """

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
    strength: float
    forward_solves: int
    adjoint_solves: int
    tangent_solves: int
    second_order_solves: int
    hessian_products: int


COLUMNS = tuple(field.name for field in fields(Row))


def rows_of(table: Mapping[str, np.ndarray]) -> list[Row]:
    """Return the rows of what `as_table` made of them."""
    kinds = {field.name: int if field.type == "int" else float for field in fields(Row)}
    columns = [[kind(value) for value in table[name]] for name, kind in kinds.items()]
    return [Row(*values) for values in zip(*columns, strict=True)]


def as_table(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return column → values (rows,), in the order of history.csv."""
    values = np.array([astuple(row) for row in rows], float).reshape(len(rows), len(COLUMNS))
    return dict(zip(COLUMNS, values.T, strict=True))
