"""The arrays that a run ends with, as they stand in result.npz."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import fields as members
from pathlib import Path
from typing import Any

import numpy as np

from pdeopt.inverse import FieldMisfit, Problem
from pdeopt.run.directory import write_arrays
from pdeopt.run.placement import CELLS, Placement, has_place, place_field, place_parameter


@dataclass(frozen=True)
class Fields:
    """The content of result.npz.

    Attributes:
        parameter: m (p,). coefficient, initial: physical, (p,). truth: the same, or None.
        state: (n,) or (n, r). adjoint: λ of Aᵀλ = ∂J/∂u, of the same shape; None where it is not known.
        data, predicted, noise: of the data's shape, noise possibly one number; None where the misfit has none.
        kind: what the data are: "samples", a "field" with the degrees of freedom of the state, "" for none.
        points: (d, k), or None. p: (d, vertices). t: (vertices of a cell, cells). cell: a name of `CELLS`, or "".
        at: where the parameter sits. state_at: where the state sits, None where that is not known.
        label, data_label: names with units.
        extra: what the problem's `interpret` adds, by name.
    """

    parameter: np.ndarray
    coefficient: np.ndarray
    initial: np.ndarray
    truth: np.ndarray | None
    state: np.ndarray
    adjoint: np.ndarray | None
    data: np.ndarray | None
    predicted: np.ndarray | None
    noise: np.ndarray | None
    kind: str
    points: np.ndarray | None
    p: np.ndarray
    t: np.ndarray
    cell: str
    at: Placement
    state_at: Placement | None
    label: str
    data_label: str
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_control(self) -> bool:
        """A state is wanted: nothing was measured, and nothing is reconstructed."""
        return self.kind == FIELD and self.noise is None


SAMPLES, FIELD, NOTHING = "samples", "field", ""
ARRAYS = (
    *("parameter", "coefficient", "initial", "truth", "state", "adjoint", "data", "predicted", "noise", "points"),
    *("p", "t"),
)
OPTIONAL = frozenset({"truth", "adjoint", "data", "predicted", "noise", "points"})
TEXTS = ("cell", "label", "data_label", "kind")
#: Names that result.npz has of its own.
STORED = frozenset(
    {*ARRAYS, *TEXTS, *(f"{at}_{part.name}" for at in ("at", "state_at") for part in members(Placement))}
)


def fields_of(problem: Problem, m: np.ndarray) -> Fields:
    """Everything that is drawn, at the parameter m."""
    functional, mesh = problem.functional, problem.parameter.space.mesh
    solved, misfit = functional.solved(m), functional.misfit
    data = getattr(misfit, "data", None)
    return Fields(
        parameter=np.asarray(m),
        coefficient=functional.coefficient(m),
        initial=functional.coefficient(problem.initial),
        truth=problem.truth,
        state=solved.state,
        adjoint=solved.adjoint,
        data=data,
        predicted=None if data is None else solved.prediction,
        noise=getattr(misfit, "noise", None),
        kind=NOTHING if data is None else FIELD if isinstance(misfit, FieldMisfit) else SAMPLES,
        points=problem.points,
        p=mesh.p,
        t=mesh.t,
        cell=CELLS.get((mesh.dim(), len(mesh.t)), ""),
        at=place_parameter(problem.parameter),
        state_at=_place_state(problem, solved.state),
        label=problem.parameter.label,
        data_label=problem.data_label,
    )


def write_fields(path: Path, fields: Fields) -> None:
    write_arrays(path, _to_arrays(fields))


def read_fields(path: Path) -> Fields:
    """What `write_fields` wrote. Raises KeyError where an array is missing."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays.setdefault("kind", np.array(SAMPLES))  # of files from before there was another
    given: dict[str, Any] = {name: arrays.get(name) if name in OPTIONAL else arrays[name] for name in ARRAYS}
    given |= {name: str(arrays[name]) for name in TEXTS}
    state_at = Placement.from_arrays("state_at", arrays) if "state_at_kind" in arrays else None
    extra = {name: array for name, array in arrays.items() if name not in STORED}
    return Fields(**given, at=Placement.from_arrays("at", arrays), state_at=state_at, extra=extra)


def _to_arrays(fields: Fields) -> dict[str, np.ndarray]:
    arrays = {name: getattr(fields, name) for name in ARRAYS if getattr(fields, name) is not None}
    texts = {name: np.array(getattr(fields, name)) for name in TEXTS}
    state_at = fields.state_at.to_arrays("state_at") if fields.state_at is not None else {}
    return {**fields.extra, **arrays, **texts, **fields.at.to_arrays("at"), **state_at}


def _place_state(problem: Problem, state: np.ndarray) -> Placement | None:
    """In the problem's state space; in the parameter's where that has as many degrees of freedom."""
    space = problem.state_space or problem.parameter.space
    return place_field(space) if len(state) == space.n and has_place(space) else None
