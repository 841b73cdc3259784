"""The arrays that a run ends with, which result.npz holds."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from dataclasses import fields as members
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import (
    FieldMisfit,
    InputError,
    Misfit,
    MisfitSum,
    Numbers,
    OfPart,
    ParameterInTime,
    Parameters,
    Problem,
    StateAndAdjoint,
    Views,
)
from pdeopt.inverse.unknowns.parameters import AnyParameter
from pdeopt.io.former_run import RESULT_FORMAT
from pdeopt.io.npz import read_arrays, refuse_newer_file
from pdeopt.pde import StateEquation, StateInTime
from pdeopt.run.store.data.data_set import (
    DATA_SET_ARRAYS,
    DataSet,
    further_from_arrays,
    further_to_arrays,
    with_times,
)
from pdeopt.run.store.directory import write_arrays
from pdeopt.run.store.placement import (
    NUMBERS_KIND,
    Placement,
    PlainMesh,
    has_place,
    nowhere,
    place_field,
    place_parameter,
)
from pdeopt.run.store.views.stored_views import VIEW_ARRAYS, views_from_arrays, views_to_arrays

#: The kind of data that are samples of the state.
SAMPLES_KIND = "samples"
#: The kind of data that are a field with the degrees of freedom of the state.
FIELD_KIND = "field"
#: The kind where there are no data.
NO_DATA_KIND = ""
#: The axes of states in files that do not name them.
FORMER_AXES = ("dof", "experiment")
#: The part of all its steps by which a time may lie after a step of a coefficient in time: rounding.
STEP_TOLERANCE = 1e-9
#: The role of a coefficient that is found from data.
RECONSTRUCTION_ROLE = "reconstruction"
#: The role of a coefficient where there are no data, or where a state is wanted.
RESULT_ROLE = "result"


@dataclass(frozen=True, eq=False)
class Unknown:
    """One of several parameters that are looked for: its place in m and in its mesh, and its words.

    Attributes:
        where: The place of its values in m.
        values: The place of its coefficient's values among those of all.
        at: Their place in its mesh.
        label: The name of its coefficient, with its unit.
        role: The word for it, as in `Fields`.
        names: The names of its values where they are a few numbers.
        times: The times (K,) at the ends of its steps, where it is a function in each of these.
    """

    where: slice
    values: slice
    at: Placement
    label: str
    role: str
    names: tuple[str, ...] = ()
    times: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Fields:
    """The content of result.npz.

    Of several parameters, m and the coefficients are theirs in one row, without a place; `each` has them one by one.

    Attributes:
        parameter: The last iterate m, (p,).
        coefficient: The physical coefficient there, (p,), or (n,) where it is a function of a tree of weights.
        initial: The physical coefficient at the initial guess, of that shape.
        truth: The true coefficient, of that shape; None where it is not known.
        state: The state u, (n,) or (n, r), real or complex; of a state in time with an axis of times, the last one.
        axes: The names of the axes of the state, as in `StateEquation`.
        adjoint: The solution λ of Aᵀλ = ∂J/∂u, of the state's shape; None where it is not known. Of a complex state as
            `StateAndAdjoint` says.
        data: The data; None where the misfit has none.
        predicted: The predicted data, of the data's shape; None where the misfit has none.
        noise: The standard deviation of the data, of their shape or one number; None where the misfit has none. Data,
            predicted data and noise are those of the first part of a sum of misfits that has data.
        kind: The kind of the data: "samples", a "field" with the degrees of freedom of the state, "" for none.
        points: The coordinates (d, k) of the data; None where they are not known.
        at: The place of the parameter in its mesh.
        state_at: The place of the state in its own mesh, which may be the same; None where that is not known. Of a
            coupled state it is that of its first part that has one.
        label: The name of the coefficient, with its unit.
        data_label: The name of the data, with their unit; of a sum of misfits the name of the part.
        role: The word for the coefficient: "reconstruction", "control", "design" or "result".
        names: The names of the coefficient's values, with units, where they are a few numbers; empty where it is a
            function.
        views: What pictures show beside coefficient, data and state.
        extra: The arrays that the problem's `interpret` adds, by name.
        parts: The places of the parts of a coupled state in it, by name, on the mesh of ``state_at``; empty where the
            state has one part.
        target_at: The place of a field of data among these, where it is of one part of the state; None where it is of
            the whole.
        unknowns: The parameters by name where there are several; empty where there is one.
        further_data: The data of the other parts of a sum of misfits.
        state_times: The times (T,) at which a state in time is kept; None of other states, and where not known.
        coefficient_times: The times (K,) at the ends of the steps of a coefficient in time, which has a function in
            each of them, one after the other; None of other coefficients. ``at`` is the place of one of these.
        data_times: The times (T,) of the data where these are readings in time.
        initial_predicted: The data that the initial guess predicts, where they are readings in time and it is known.
        time_unit: The unit of all times; "" where none is stated.

    Raises:
        ValueError: The arrays do not fit each other.
    """

    parameter: np.ndarray
    coefficient: np.ndarray
    initial: np.ndarray
    truth: np.ndarray | None
    state: np.ndarray
    axes: tuple[str, ...]
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
    views: Views = field(default_factory=Views)
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    parts: dict[str, Placement] = field(default_factory=dict)
    target_at: Placement | None = None
    unknowns: dict[str, Unknown] = field(default_factory=dict)
    further_data: tuple[DataSet, ...] = ()
    state_times: np.ndarray | None = None
    coefficient_times: np.ndarray | None = None
    data_times: np.ndarray | None = None
    initial_predicted: np.ndarray | None = None
    time_unit: str = ""

    def __post_init__(self) -> None:
        for name in ("initial", "truth"):
            self._check_shape(name, "coefficient")
        for name in ("parameter", "coefficient", "initial", "truth", "noise", "points"):
            if np.iscomplexobj(getattr(self, name)):
                raise ValueError(f"{name} is complex; expected real numbers")
        if self.names and len(self.names) != len(self.coefficient):
            raise ValueError(f"{len(self.coefficient)} numbers have {len(self.names)} names")
        if len(self.axes) != self.state.ndim:
            raise ValueError(f"the state has shape {self.state.shape} and the axes {self.axes}; expected as many")
        self._check_shape("adjoint", "state")
        self._check_shape("predicted", "data")
        if self.state_times is not None and self.state_times.shape != (self.times,):
            raise ValueError(
                f"the state has {self.times} times, and there are {self.state_times.shape}; expected as many"
            )
        if self.steps < 1 or len(self.coefficient) % self.steps:
            raise ValueError(f"a coefficient of {len(self.coefficient)} values has {self.steps} steps in time")
        self.at.check(self.coefficient, "the coefficient")
        if self.target_at is not None and self.data is not None:
            self.target_at.check(self.data, "the target")
        for at in (self.state_at, *self.parts.values()):
            if at is not None:
                at.check(self.state, "the state")
        if self.state_at is not None and self.target_at is None and self.kind == FIELD_KIND:
            self._check_shape("data", "state")

    def _check_shape(self, name: str, other: str) -> None:
        mine, theirs = getattr(self, name), getattr(self, other)
        if mine is not None and (theirs is None or mine.shape != theirs.shape):
            expected = "none" if theirs is None else f"{theirs.shape}, as {other} has"
            raise ValueError(f"{name} has shape {mine.shape}; expected {expected}")

    @property
    def data_sets(self) -> list[DataSet]:
        """All data, each beside what is predicted of it; none where the misfit has none."""
        if self.data is None or self.predicted is None:
            return []
        timed = self.data_times, self.points, self.initial_predicted
        return [DataSet(self.data_label, self.data, self.predicted, self.noise, *timed), *self.further_data]

    @property
    def experiments(self) -> int:
        """The number of experiments that the state is of."""
        return dict(zip(self.axes, self.state.shape, strict=True)).get("experiment", 1)

    @property
    def times(self) -> int:
        """The number of times at which the state is kept; 1 of a state that is not one in time."""
        return dict(zip(self.axes, self.state.shape, strict=True)).get("time", 1)

    @property
    def drawn_time(self) -> int:
        """The place among these times of the one that is drawn, the middle one."""
        return self.times // 2

    def by_experiment(self, values: np.ndarray) -> np.ndarray:
        """Return values of the state, or of a part of it, with the experiments as their first axis, (r, n).

        Of a state in time they are those at the time that is drawn.

        Args:
            values: The values (n, r), or (n,) where the state has no such axis: of one experiment then; with one more
                axis of a state in time.
        """
        if "time" in self.axes:
            values = values[..., self.drawn_time]
        return np.moveaxis(values, self.axes.index("experiment"), 0) if "experiment" in self.axes else values[None]

    def at_time(self, k: int) -> Fields:
        """Return the fields with a state in time, and its target, at the k-th of its times alone."""
        names = ("state", "adjoint", "data", "predicted") if self.kind == FIELD_KIND else ("state", "adjoint")
        rows = {name: getattr(self, name) for name in names}
        rows = {name: None if one is None else one[..., k] for name, one in rows.items()}
        return replace(self, **rows, axes=self.axes[:-1], state_times=None)

    @property
    def steps(self) -> int:
        """The number K of steps of a coefficient in time; 1 of other coefficients."""
        return 1 if self.coefficient_times is None else len(self.coefficient_times)

    def at_step(self, k: int) -> Fields:
        """Return the fields with the coefficient of a step of a coefficient in time, k = 0, 1, …, alone."""
        assert self.coefficient_times is not None
        names = ("parameter", "coefficient", "initial", "truth")
        rows = {name: getattr(self, name) for name in names}
        rows = {name: None if one is None else one.reshape(self.steps, -1)[k] for name, one in rows.items()}
        return replace(self, **rows, coefficient_times=self.coefficient_times[k : k + 1])

    @property
    def drawn(self) -> Fields:
        """The fields with a coefficient in time at the time at which the state is drawn."""
        if self.coefficient_times is None or self.steps == 1:
            return self
        return self.at_step(
            self.steps // 2 if self.state_times is None else self.step_at(self.state_times[self.drawn_time])
        )

    def step_at(self, time: float) -> int:
        """Return the number 0, 1, … of the step of a coefficient in time at whose end, or in which, a time is."""
        assert self.coefficient_times is not None
        rounding = STEP_TOLERANCE * np.ptp(self.coefficient_times)
        return min(int(np.searchsorted(self.coefficient_times, time - rounding)), self.steps - 1)

    @cached_property
    def each(self) -> dict[str, Fields]:
        """The fields of each of several parameters by name, as if it were the only one; of one itself, by ""."""
        if not self.unknowns:
            return {"": self}
        found = {}
        for name, one in self.unknowns.items():
            coefficient, initial = self.coefficient[one.values], self.initial[one.values]
            truth = None if self.truth is None else self.truth[one.values]
            found[name] = replace(
                self,
                parameter=self.parameter[one.where],
                coefficient=coefficient,
                initial=initial,
                truth=None if truth is None or np.isnan(truth).any() else truth,
                at=one.at,
                label=one.label,
                role=one.role,
                names=one.names,
                unknowns={},
                coefficient_times=one.times,
            )
        return found

    @property
    def first(self) -> Fields:
        """The fields of the first of several parameters that is a function, or of the first one.

        Of one in time they are those at the time that is drawn.
        """
        candidates = list(self.each.values())
        return next((one for one in candidates if one.at.kind != NUMBERS_KIND), candidates[0]).drawn

    @property
    def field_at(self) -> Placement | None:
        """The place of a field of data, and of what is predicted of it; None where that is not known."""
        return self.state_at if self.target_at is None else self.target_at

    @property
    def state_has_own_mesh(self) -> bool:
        """True where the state's place is known, and is another mesh than the parameter's."""
        return self.state_at is not None and not self.state_at.mesh.is_same_as(self.first.at.mesh)


#: The arrays of result.npz that are attributes of `Fields`.
FIELD_ARRAYS = (
    *("parameter", "coefficient", "initial", "truth", "state", "adjoint", "data", "predicted", "noise"),
    *("points", "state_times", "coefficient_times", "data_times", "initial_predicted"),
)
#: The arrays that are always there.
PRESENT_ARRAYS = frozenset({"parameter", "coefficient", "initial", "state"})
#: The texts of result.npz that are attributes of `Fields`.
FIELD_TEXTS = ("label", "data_label", "kind", "role", "time_unit")
#: The arrays of a mesh.
MESH_ARRAYS = ("p", "t", "cell")
#: The arrays of a place.
PLACEMENT_ARRAYS = tuple(part.name for part in members(Placement) if part.name != "mesh")
#: The names that result.npz has of its own, so that the problem's `interpret` cannot use them.
RESULT_NAMES = frozenset(
    {
        *("format", "length_unit", "number_names", "state_axes", "part_names", "further_labels"),
        *("unknown_names", "unknown_labels", "unknown_roles", "unknown_starts"),
        *(*FIELD_ARRAYS, *FIELD_TEXTS),
        *(name for part in MESH_ARRAYS for name in (part, f"state_{part}")),
        *VIEW_ARRAYS,
        *(f"{at}_{name}" for at in ("at", "state_at", "target_at") for name in PLACEMENT_ARRAYS),
    }
)
#: The names of the arrays of the parts of a coupled state, of further data, and of several parameters, which are
#: counted from 0.
COUNTED_ARRAY = re.compile(
    rf"part_\d+_({'|'.join(PLACEMENT_ARRAYS)})|further_\d+_({'|'.join(DATA_SET_ARRAYS)})|"
    rf"unknown_\d+_({'|'.join((*PLACEMENT_ARRAYS, *MESH_ARRAYS, 'number_names', 'times'))})"
)
#: The arrays that result.npz has of each of several parameters, with its name at their ends.
UNKNOWN_ARRAYS = ("parameter", "coefficient", "initial", "truth")


def is_result_name(name: str, unknowns: Collection[str] = ()) -> bool:
    """Return whether result.npz has a name of its own, so that the problem's `interpret` cannot use it.

    Args:
        name: The name of an array.
        unknowns: The names of several parameters.
    """
    own = any(name == f"{array}_{one}" for array in UNKNOWN_ARRAYS for one in unknowns)
    return own or name in RESULT_NAMES or COUNTED_ARRAY.fullmatch(name) is not None


def fields_of(problem: Problem, m: np.ndarray, initial_data: bool = False) -> Fields:
    """Return the arrays that a run ends with, at the parameter m.

    Args:
        problem: The problem.
        m: The parameter (p,).
        initial_data: Whether what the initial guess predicts of readings in time is among them, for which the state
            equation is solved once more.

    Raises:
        InputError: The state is not of the problem's `state_space`.
    """
    functional = problem.functional
    solved, coefficient = functional.solved(m), functional.coefficient(m)
    if problem.state_space is not None:
        _check_length(len(solved.state), problem.state_space)
    sets, misfit = _data_sets(problem, solved, coefficient)
    sets = with_times(sets, functional.misfit)
    if initial_data and any(one.times is not None for one in sets):
        start = solved._replace(prediction=functional.prediction(problem.initial))
        before, _ = _data_sets(problem, start, coefficient)
        sets = [replace(one, initial_predicted=two.predicted) for one, two in zip(sets, before, strict=True)]
    first, observation = sets[0] if sets else None, misfit.observation
    parts, parameter = _place_parts(problem, solved.state), problem.parameter
    kind = NO_DATA_KIND if first is None else FIELD_KIND if isinstance(misfit, FieldMisfit) else SAMPLES_KIND
    role = parameter.role or _role(kind, misfit.noise)
    unknowns = {}
    if isinstance(parameter, Parameters):
        for name, part in parameter.parts.items():
            where, values = parameter.slices[name], parameter.coefficient_slices[name]
            at = place_parameter(part, problem.length_unit)
            own = part.role or _role(kind, misfit.noise)
            times = _step_times(part, functional.state)
            unknowns[name] = Unknown(where, values, at, part.label, own, _names(part), times)
    return Fields(
        parameter=np.asarray(m),
        coefficient=parameter.flat(coefficient),
        initial=parameter.flat(functional.coefficient(problem.initial)),
        truth=problem.truth,
        state=solved.state,
        axes=functional.state.axes,
        adjoint=solved.adjoint,
        data=None if first is None else first.data,
        predicted=None if first is None else first.predicted,
        noise=misfit.noise,
        kind=kind,
        points=first.points if problem.points is None and first is not None else problem.points,
        at=_place_all(problem),
        state_at=_place_state(problem, solved.state) or next(iter(parts.values()), None),
        label=parameter.label,
        data_label=problem.data_label if first is None else first.label,
        names=_names(parameter),
        role=role,
        views=problem.views,
        parts=parts if len(parts) > 1 else {},
        target_at=_place(observation.space, problem) if isinstance(observation, OfPart) else None,
        further_data=tuple(sets[1:]),
        unknowns=unknowns,
        state_times=np.asarray(functional.state.kept_times) if isinstance(functional.state, StateInTime) else None,
        coefficient_times=_step_times(parameter, functional.state),
        data_times=None if first is None else first.times,
        initial_predicted=None if first is None else first.initial_predicted,
        time_unit=problem.time_unit,
    )


def _step_times(parameter: AnyParameter, equation: StateEquation) -> np.ndarray | None:
    """Return the times (K,) at the ends of the steps of a parameter in time; None of others."""
    if not isinstance(parameter, ParameterInTime):
        return None
    if isinstance(equation, StateInTime) and 0 <= len(equation.grid) - parameter.steps <= 1:
        return equation.grid[-parameter.steps :]
    return np.cumsum(np.asarray(parameter.weights))


def _place_all(problem: Problem) -> Placement:
    """Return the place of the parameter; of several, they are one by one where they are."""
    if isinstance(problem.parameter, Parameters):
        return nowhere(problem.parameter.coefficient_size)
    return place_parameter(problem.parameter, problem.length_unit)


def _data_sets(problem: Problem, solved: StateAndAdjoint, coefficient: Any) -> tuple[list[DataSet], Misfit]:
    """Return all data beside what is predicted of them, and the misfit that the first ones belong to.

    It is the whole misfit where there are no data.
    """
    misfit = problem.functional.misfit
    if not isinstance(misfit, MisfitSum):
        label, data = problem.data_label, misfit.data
        return ([] if data is None else [DataSet(label, data, solved.prediction, misfit.noise)]), misfit
    known = {name: part for name, part in misfit.parts.items() if part.data is not None}
    measured = [np.asarray(part.data) for part in known.values()]
    if len(known) == len(misfit.parts):  # the prediction is theirs, one after the other
        rows = np.split(np.ravel(solved.prediction), np.cumsum([one.size for one in measured])[:-1])
        pairs = zip(rows, measured, strict=True)
        found = [(row if np.iscomplexobj(one) else row.real).reshape(one.shape) for row, one in pairs]
    else:
        state = jnp.asarray(solved.state)
        found = [np.asarray(part.observation(state, coefficient)) for part in known.values()]
    sets = [
        DataSet(name, one, values, part.noise)
        for (name, part), one, values in zip(known.items(), measured, found, strict=True)
    ]
    return sets, next(iter(known.values()), misfit)


def _names(parameter: AnyParameter) -> tuple[str, ...]:
    return tuple(parameter.names) if isinstance(parameter, Numbers) else ()


def write_fields(path: Path, fields: Fields) -> None:
    """Write result.npz, with the mesh of the parameter, or of the first of several, as p, t and cell.

    The state's mesh, where it is another, is written as state_p, state_t and state_cell. Of several parameters there
    are also ``coefficient_NAME`` and the like, and the place of each.
    """
    arrays = {name: getattr(fields, name) for name in FIELD_ARRAYS if getattr(fields, name) is not None}
    texts = {name: np.array(getattr(fields, name)) for name in FIELD_TEXTS}
    arrays |= {"format": np.array(RESULT_FORMAT), "length_unit": np.array(fields.first.at.mesh.unit)}
    arrays |= views_to_arrays(fields.views)
    arrays["state_axes"] = np.array(fields.axes)
    arrays |= further_to_arrays(fields.further_data)
    if fields.names:
        arrays["number_names"] = np.array(fields.names)
    mesh = fields.first.at.mesh
    arrays |= _mesh_arrays(mesh) | fields.at.to_arrays("at") | _unknown_arrays(fields, mesh)
    if fields.state_at is not None:
        arrays |= fields.state_at.to_arrays("state_at")
        if fields.target_at is not None:
            arrays |= fields.target_at.to_arrays("target_at")
        for k, at in enumerate(fields.parts.values()):
            arrays |= at.to_arrays(f"part_{k}")
        if fields.parts:
            arrays["part_names"] = np.array(list(fields.parts))
        if fields.state_has_own_mesh:
            arrays |= {f"state_{name}": array for name, array in _mesh_arrays(fields.state_at.mesh).items()}
    write_arrays(path, {**fields.extra, **arrays, **texts})


def _unknown_arrays(fields: Fields, mesh: PlainMesh) -> dict[str, np.ndarray]:
    """Return the arrays of several parameters: place, words, and own values under the name of each.

    Args:
        fields: The arrays of the run.
        mesh: The mesh that the file holds anyway.
    """
    if not fields.unknowns:
        return {}
    found = {
        "unknown_names": np.array(list(fields.unknowns)),
        "unknown_labels": np.array([one.label for one in fields.unknowns.values()]),
        "unknown_roles": np.array([one.role for one in fields.unknowns.values()]),
        "unknown_starts": np.array([(one.where.start, one.values.start) for one in fields.unknowns.values()]),
    }
    for k, (name, one) in enumerate(fields.unknowns.items()):
        found |= one.at.to_arrays(f"unknown_{k}")
        if one.names:
            found[f"unknown_{k}_number_names"] = np.array(one.names)
        if one.times is not None:
            found[f"unknown_{k}_times"] = one.times
        if not one.at.mesh.is_same_as(mesh):
            found |= {f"unknown_{k}_{array}": values for array, values in _mesh_arrays(one.at.mesh).items()}
        own = fields.each[name]
        given = {f"{array}_{name}": getattr(own, array) for array in UNKNOWN_ARRAYS}
        found |= {array: values for array, values in given.items() if values is not None}
    return found


def _read_unknowns(arrays: Mapping[str, np.ndarray], mesh: PlainMesh) -> dict[str, Unknown]:
    """Return what `_unknown_arrays` made arrays of."""
    names = list(map(str, arrays.get("unknown_names", ())))
    if not names:
        return {}
    starts = np.vstack([arrays["unknown_starts"], (len(arrays["parameter"]), len(arrays["coefficient"]))])
    found = {}
    for k, name in enumerate(names):
        own = mesh
        if f"unknown_{k}_p" in arrays:
            p, t, cell = (arrays[f"unknown_{k}_{array}"] for array in MESH_ARRAYS)
            own = PlainMesh(p, t, str(cell), mesh.unit)
        found[name] = Unknown(
            slice(*starts[k : k + 2, 0].tolist()),
            slice(*starts[k : k + 2, 1].tolist()),
            Placement.from_arrays(f"unknown_{k}", arrays, own),
            str(arrays["unknown_labels"][k]),
            str(arrays["unknown_roles"][k]),
            tuple(map(str, arrays.get(f"unknown_{k}_number_names", ()))),
            arrays.get(f"unknown_{k}_times"),
        )
    return found


def read_fields(path: Path) -> Fields:
    """Return the fields that `write_fields` wrote, also those of former versions.

    A file of a former version may hold a state without its mesh.

    Raises:
        FileError: The file is damaged, or its format is newer than this version of pdeopt.
        KeyError: An array is missing.
        ValueError: Arrays do not fit each other.
    """
    arrays = dict(read_arrays(path, "the result of a run"))
    refuse_newer_file(path, arrays, RESULT_FORMAT)
    arrays.setdefault("kind", np.array(SAMPLES_KIND))  # the only kind when files did not name it
    arrays.setdefault("time_unit", np.array(""))  # they knew no times
    arrays.setdefault("role", np.array(_role(str(arrays["kind"]), arrays.get("noise"))))
    given: dict[str, Any] = {
        name: arrays[name] if name in PRESENT_ARRAYS else arrays.get(name) for name in FIELD_ARRAYS
    }
    given |= {name: str(arrays[name]) for name in FIELD_TEXTS}
    unit = str(arrays.get("length_unit", ""))
    axes = arrays.get("state_axes", FORMER_AXES[: arrays["state"].ndim])
    mesh = PlainMesh(arrays["p"], arrays["t"], str(arrays["cell"]), unit)
    state_mesh = mesh
    if "state_p" in arrays:
        state_mesh = PlainMesh(arrays["state_p"], arrays["state_t"], str(arrays["state_cell"]), unit)
    state_at = Placement.from_arrays("state_at", arrays, state_mesh) if "state_at_kind" in arrays else None
    target_at = Placement.from_arrays("target_at", arrays, state_mesh) if "target_at_kind" in arrays else None
    names = map(str, arrays.get("part_names", ()))
    given["axes"] = tuple(map(str, np.atleast_1d(axes)))
    unknowns = _read_unknowns(arrays, mesh)
    extra = {name: array for name, array in arrays.items() if not is_result_name(name, unknowns)}
    return Fields(
        **given,
        at=nowhere(len(given["coefficient"])) if unknowns else Placement.from_arrays("at", arrays, mesh),
        state_at=state_at,
        unknowns=unknowns,
        names=tuple(map(str, arrays.get("number_names", ()))),
        views=views_from_arrays(arrays, given["data_label"]),
        extra=extra,
        parts={name: Placement.from_arrays(f"part_{k}", arrays, state_mesh) for k, name in enumerate(names)},
        target_at=target_at,
        further_data=further_from_arrays(arrays),
    )


def _mesh_arrays(mesh: PlainMesh) -> dict[str, np.ndarray]:
    return {"p": mesh.p, "t": mesh.t, "cell": np.array(mesh.cell)}


def _role(kind: str, noise: np.ndarray | None) -> str:
    """Return the role of a coefficient whose parameter does not state it.

    Nothing is reconstructed where there are no data, or where a state is wanted.
    """
    return RECONSTRUCTION_ROLE if kind == SAMPLES_KIND or noise is not None else RESULT_ROLE


def check_state_space(problem: Problem) -> None:
    """Check, without a solve, that the state is of the problem's space, and the coefficient real.

    Raises:
        InputError: They are not.
    """
    space, functional = problem.state_space, problem.functional
    coefficient = functional.coefficient(problem.initial)
    if np.iscomplexobj(problem.parameter.flat(coefficient)):
        raise InputError(
            "the parametrization returns a complex coefficient, which is neither drawn nor stored; let it return real "
            "numbers, and make complex ones of them in the state equation"
        )
    if space is not None:
        state = jax.eval_shape(functional.state, coefficient)
        _check_length(len(state.shape) and state.shape[0], space)


def _check_length(n: int, space: FunctionSpace) -> None:
    if n != space.n:
        raise InputError(
            f"the state has {n} degrees of freedom, the problem's state_space {space.n} ({space}): give the space that "
            "the state is computed in"
        )


def _place_state(problem: Problem, state: np.ndarray) -> Placement | None:
    """Return the place of the state; None where its space is not known, or it holds more."""
    space = problem.known_state_space
    if space is None or len(state) != space.n:
        return None
    return _place(space, problem)


def _place(space: FunctionSpace, problem: Problem) -> Placement | None:
    return place_field(space, unit=problem.length_unit) if has_place(space) else None


def _place_parts(problem: Problem, state: np.ndarray) -> dict[str, Placement]:
    """Return the places of the parts of a coupled state in it, as far as they share the first one's mesh.

    There are none where the state is one space, or has fewer degrees of freedom than its parts.
    """
    equation = problem.functional.state
    indices = equation.part_indices()
    is_coupled = len(indices) > 1 or any(space.is_part for space in equation.parts.values())
    if not is_coupled or max(one.max(initial=-1) for one in indices.values()) >= len(state):
        return {}
    placed = {name: _place(space, problem) for name, space in equation.parts.items()}
    found = {name: at.among(indices[name]) for name, at in placed.items() if at is not None}
    first = next(iter(found.values()), None)
    return {name: at for name, at in found.items() if first is not None and at.mesh.is_same_as(first.mesh)}
