"""The history of an inversion: one row for each iterate, and what it cost to come there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of history.csv; row 0 is the initial guess. All counts are totals since the start.

    Attributes:
        iteration: The number of the row.
        objective: J, the sum of misfit and regularization.
        misfit: The misfit.
        regularization: The regularization, at the strength of the row.
        gradient_norm: The norm of the gradient in the optimizer's inner product.
        step: The norm of the step to this iterate in that product.
        evaluations: Evaluations of J and its derivative.
        cg_iterations: Iterations of the conjugate gradient method in Newton's methods.
        factorizations: Factorizations of matrices of the state equation.
        solves: The sum of the four counts of solves below; a block of right-hand sides counts once.
        seconds: The time since the start of the command.
        strength: The strength of the regularization, as a factor of the problem's own.
        forward_solves: Solves for states.
        adjoint_solves: Transposed solves for derivatives.
        tangent_solves: Solves for products with a Hessian.
        second_order_solves: Transposed solves for products with a Hessian.
        hessian_products: Products with a Hessian.
        newton_iterations: Newton steps for the states of nonlinear equations.
        violation: The largest violation of a constraint; 0 where there are none.
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
    newton_iterations: int = 0
    violation: float = 0.0


#: The columns of history.csv, in order.
HISTORY_COLUMNS = tuple(field.name for field in fields(Row))


def rows_of(table: Mapping[str, np.ndarray]) -> list[Row]:
    """Return the rows of the history from the table that `as_table` made of them."""
    kinds = {field.name: int if field.type == "int" else float for field in fields(Row)}
    columns = [[kind(value) for value in table[name]] for name, kind in kinds.items()]
    return [Row(*values) for values in zip(*columns, strict=True)]


def as_table(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the history as a table: column → values (rows,), in the order of history.csv."""
    values = np.array([astuple(row) for row in rows], float).reshape(len(rows), len(HISTORY_COLUMNS))
    return dict(zip(HISTORY_COLUMNS, values.T, strict=True))
