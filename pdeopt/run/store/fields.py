"""The arrays that a run ends with, as they stand in result.npz."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import fields as members
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import FieldMisfit, InputError, Numbers, Problem
from pdeopt.io.npz import read_arrays
from pdeopt.pde import LinearStateEquation
from pdeopt.run.store.directory import write_arrays
from pdeopt.run.store.placement import Placement, PlainMesh, has_place, place_field, place_parameter

#: The version of result.npz. 1 (no number) held one mesh, that of the parameter, and no role.
FORMAT = 2
SAMPLES, FIELD, NOTHING = "samples", "field", ""
RECONSTRUCTION, RESULT = "reconstruction", "result"
#: The cells that are looked at to tell whether the state's matrix couples the degrees of freedom of a space: more than
#: this part of those that share a cell, in matrices of that space nearly all.
SAMPLED, COUPLED = 2000, 0.7


@dataclass(frozen=True, eq=False)
class Fields:
    """The content of result.npz.

    Attributes:
        parameter: m (p,). coefficient, initial: physical, (p,). truth: the same, or None.
        state: (n,) or (n, r). adjoint: λ of Aᵀλ = ∂J/∂u, of the same shape; None where it is not known.
        data, predicted, noise: of the data's shape, noise possibly one number; None where the misfit has none.
        kind: what the data are: "samples", a "field" with the degrees of freedom of the state, "" for none.
        points: (d, k), or None.
        at: where the parameter sits, in its mesh. state_at: where the state sits, in its own mesh, which may be the
            same; None where that is not known.
        label, data_label: names with units.
        role: what the coefficient is called: "reconstruction", "control", "design" or "result".
        names: of the coefficient's values, with units, where they are a few numbers; empty where it is a function.
        extra: what the problem's `interpret` adds, by name.

    Raises:
        ValueError: for arrays that do not fit each other.
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
    at: Placement
    state_at: Placement | None
    label: str
    data_label: str
    role: str
    names: tuple[str, ...] = ()
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("coefficient", "initial", "truth"):
            self._check_shape(name, "parameter")
        if self.names and len(self.names) != len(self.coefficient):
            raise ValueError(f"{len(self.coefficient)} numbers have {len(self.names)} names")
        self._check_shape("adjoint", "state")
        self._check_shape("predicted", "data")
        self.at.check(self.coefficient, "the coefficient")
        if self.state_at is not None:
            self.state_at.check(self.state, "the state")
            if self.kind == FIELD:
                self._check_shape("data", "state")

    def _check_shape(self, name: str, other: str) -> None:
        mine, theirs = getattr(self, name), getattr(self, other)
        if mine is not None and (theirs is None or mine.shape != theirs.shape):
            expected = "none" if theirs is None else f"{theirs.shape}, as {other} has"
            raise ValueError(f"{name} has shape {mine.shape}; expected {expected}")

    @property
    def state_has_own_mesh(self) -> bool:
        """Whether the state's place is known, and is another mesh than the parameter's."""
        return self.state_at is not None and not self.state_at.mesh.is_same_as(self.at.mesh)


ARRAYS = ("parameter", "coefficient", "initial", "truth", "state", "adjoint", "data", "predicted", "noise", "points")
OPTIONAL = frozenset({"truth", "adjoint", "data", "predicted", "noise", "points"})
TEXTS = ("label", "data_label", "kind", "role")
MESH = ("p", "t", "cell")
#: Names that result.npz has of its own.
STORED = frozenset(
    {
        *("format", "length_unit", "number_names", *ARRAYS, *TEXTS, *MESH, *(f"state_{part}" for part in MESH)),
        *(f"{at}_{part.name}" for at in ("at", "state_at") for part in members(Placement) if part.name != "mesh"),
    }
)


def fields_of(problem: Problem, m: np.ndarray) -> Fields:
    """Everything that is drawn, at the parameter m.

    Raises InputError where the state is not of the problem's `state_space`.
    """
    functional = problem.functional
    solved, misfit = functional.solved(m), functional.misfit
    data, noise = getattr(misfit, "data", None), getattr(misfit, "noise", None)
    kind = NOTHING if data is None else FIELD if isinstance(misfit, FieldMisfit) else SAMPLES
    return Fields(
        parameter=np.asarray(m),
        coefficient=functional.coefficient(m),
        initial=functional.coefficient(problem.initial),
        truth=problem.truth,
        state=solved.state,
        adjoint=solved.adjoint,
        data=data,
        predicted=None if data is None else solved.prediction,
        noise=noise,
        kind=kind,
        points=problem.points,
        at=place_parameter(problem.parameter, problem.length_unit),
        state_at=_place_state(problem, solved.state),
        label=problem.parameter.label,
        data_label=problem.data_label,
        names=tuple(problem.parameter.names) if isinstance(problem.parameter, Numbers) else (),
        role=problem.parameter.role or _role(kind, noise),
    )


def write_fields(path: Path, fields: Fields) -> None:
    """Write result.npz: the parameter's mesh as p, t and cell; the state's, where it is another, as state_p, …"""
    arrays = {name: getattr(fields, name) for name in ARRAYS if getattr(fields, name) is not None}
    texts = {name: np.array(getattr(fields, name)) for name in TEXTS}
    arrays |= {"format": np.array(FORMAT), "length_unit": np.array(fields.at.mesh.unit)}
    if fields.names:
        arrays["number_names"] = np.array(fields.names)
    arrays |= _mesh_arrays(fields.at.mesh) | fields.at.to_arrays("at")
    if fields.state_at is not None:
        arrays |= fields.state_at.to_arrays("state_at")
        if fields.state_has_own_mesh:
            arrays |= {f"state_{name}": array for name, array in _mesh_arrays(fields.state_at.mesh).items()}
    write_arrays(path, {**fields.extra, **arrays, **texts})


def read_fields(path: Path) -> Fields:
    """Return what `write_fields` wrote, also of former versions.

    Raises FileError for a damaged file, KeyError where an array is missing, ValueError for arrays that do not fit each
    other: a file of a former version may hold a state without its mesh.
    """
    arrays = dict(read_arrays(path, "the result of a run"))
    if int(arrays.get("format", 1)) > FORMAT:
        raise ValueError(f"its format is {arrays['format']}; this version of pdeopt reads up to {FORMAT}: update it")
    arrays.setdefault("kind", np.array(SAMPLES))  # of files from before there was another
    arrays.setdefault("role", np.array(_role(str(arrays["kind"]), arrays.get("noise"))))
    given: dict[str, Any] = {name: arrays.get(name) if name in OPTIONAL else arrays[name] for name in ARRAYS}
    given |= {name: str(arrays[name]) for name in TEXTS}
    unit = str(arrays.get("length_unit", ""))
    mesh = PlainMesh(arrays["p"], arrays["t"], str(arrays["cell"]), unit)
    state_mesh = mesh
    if "state_p" in arrays:
        state_mesh = PlainMesh(arrays["state_p"], arrays["state_t"], str(arrays["state_cell"]), unit)
    state_at = Placement.from_arrays("state_at", arrays, state_mesh) if "state_at_kind" in arrays else None
    extra = {name: array for name, array in arrays.items() if name not in STORED}
    names = tuple(map(str, arrays.get("number_names", ())))
    return Fields(**given, names=names, at=Placement.from_arrays("at", arrays, mesh), state_at=state_at, extra=extra)


def _mesh_arrays(mesh: PlainMesh) -> dict[str, np.ndarray]:
    return {"p": mesh.p, "t": mesh.t, "cell": np.array(mesh.cell)}


def _role(kind: str, noise: np.ndarray | None) -> str:
    """Nothing is reconstructed where there are no data, or where a state is wanted."""
    return RECONSTRUCTION if kind == SAMPLES or noise is not None else RESULT


def check_state_space(problem: Problem) -> None:
    """Raise InputError where the state is not of the space that the problem says; nothing is solved."""
    space, functional = problem.state_space, problem.functional
    if space is not None:
        state = jax.eval_shape(functional.state, functional.coefficient(problem.initial))
        _check_length(len(state.shape) and state.shape[0], space)


def _check_length(n: int, space: FunctionSpace) -> None:
    if n != space.n:
        raise InputError(
            f"the state has {n} degrees of freedom, the problem's state_space {space.n} ({space}): give the space that "
            "the state is computed in"
        )


def _place_state(problem: Problem, state: np.ndarray) -> Placement | None:
    """In the problem's state space; in the parameter's where that may be the state's."""
    space = problem.state_space
    if space is not None:
        _check_length(len(state), space)
    else:
        space = problem.parameter.space
        if space is None or len(state) != space.n or not _may_hold_state(space, problem):
            return None
    return place_field(space, unit=problem.length_unit) if has_place(space) else None


def _may_hold_state(space: FunctionSpace, problem: Problem) -> bool:
    """Whether the state's matrix couples what shares a cell of the space: another space may have as many dofs."""
    equation = problem.functional.state
    if not isinstance(equation, LinearStateEquation):
        return True
    coefficient = problem.functional.coefficient(problem.initial)
    pattern = jax.eval_shape(lambda k: equation.system(k)[0], coefficient).pattern
    rows, columns = np.repeat(np.arange(space.n), np.diff(pattern.indptr)), pattern.indices
    coupled = np.zeros(space.n, bool)  # all, unless it is assembled on a subdomain only
    coupled[rows[rows != columns]] = True
    every = -(-space.basis.element_dofs.shape[1] // SAMPLED)
    local = np.nonzero(~np.eye(space.basis.Nbfun, dtype=bool))
    i, j = (space.basis.element_dofs[k, ::every].ravel() for k in local)
    kept = coupled[i] & coupled[j]
    if not kept.any():
        return True
    i, j = i[kept].astype(np.int64), j[kept].astype(np.int64)
    return float(np.isin(i * space.n + j, rows * space.n + columns).mean()) > COUPLED
