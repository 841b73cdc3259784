"""The problem that a problem file returns, with everything that a run, a check and a picture need."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.constraint import Constraint, as_constraints
from pdeopt.inverse.errors import InputError
from pdeopt.inverse.functional.reduced_functional import ReducedFunctional
from pdeopt.inverse.unknowns.initial_guesses import INITIAL_SPREAD, random_start
from pdeopt.inverse.unknowns.parameters import AnyParameter, Parameters, flat_parameter
from pdeopt.inverse.unknowns.tree import Tree
from pdeopt.inverse.views import Views
from pdeopt.optimize.bounds import BoundsLike, full_bounds
from pdeopt.optimize.objective import OptimizerError
from pdeopt.sparse import Solver

#: The results of an interpretation, by name.
Values = Mapping[str, float | int | str | np.ndarray]
#: The names of summary.json that every run writes; a problem's own quantities have others.
# fmt: off
SUMMARY_NAMES = frozenset({
    "problem", "status", "message", "objective", "misfit", "regularization", "gradient_norm", "iterations",
    "cg_iterations", "evaluations", "factorizations", "solves", "forward_solves", "adjoint_solves", "tangent_solves",
    "second_order_solves", "newton_iterations", "seconds", "relative_error", "initial_relative_error", "noise_level",
    "expected_misfit", "discrepancy", "parameters", "data", "solver", "optimizer", "inner_product",
    "gradient_tolerance", "absolute_gradient_tolerance", "regularization_strength", "strength_rule", "strength",
    "verification", "stage_seconds", "numbers", "relative_errors", "fallbacks", "format", "headline", "misfits",
    "constraints", "time_steps", "adjoint_time_steps", "peak_state_memory",
})
# fmt: on


@dataclass(frozen=True, eq=False)
class Problem:
    """An inverse problem, ready to be run.

    Attributes:
        functional: The reduced functional J(m).
        initial: The initial guess of m, (p,); that of the parameter where None.
        parameter: The space and the name of the coefficient, or the names of a few numbers; or the `Parameters` that
            are the functional's parametrization, which may be left out here.
        bounds: The bounds (lower, upper) of m, numbers or arrays (p,), None where there are none; or a
            `scipy.optimize.Bounds`. See `pdeopt.optimize.full_bounds`.
        constraints: What the state and the coefficient must satisfy besides, one or several; those of the functional
            where there are none.
        truth: The true coefficient (physical, not m) at the parameter's degrees of freedom, (p,), where it is known.
        data_label: The data in words, with their unit.
        points: The places (d, k) where the data were taken, in the state's mesh, for the picture; None where they were
            not taken at points.
        state_space: The state's space, for the pictures, where the state equation does not state it as its only part;
            its mesh may be another one than the parameter's.
        optimizer: The name of the optimizer that suits the problem, used where none is asked for.
        gradient_tolerance: The norm of the gradient at which a run has converged, relative to that at the initial
            guess.
        absolute_gradient_tolerance: The norm of the gradient, not relative, at which a run has converged; it converges
            when either is reached.
        regularization_strength: A factor of the functional's regularization, or the name of the rule that chooses it,
            "discrepancy", "cooling" or "lcurve"; used where none is asked for.
        discrepancy_factor: The misfit at which the rules discrepancy and cooling aim, in misfits of the noise.
        quantities: The functions of m that give named numbers of the last iterate, for summary.json.
        interpret: A function of the last iterate m that says by name what m means beyond its coefficient: scalars go to
            summary.json, arrays to result.npz. It is called once, at the end of a run, and may take its time. Where it
            yields several dictionaries, the first ones stay when it is interrupted or fails later.
        views: What pictures and texts show beside coefficient, data and state: marks on the boundary, arrays of
            `interpret` as images, numbers in titles.
        length_unit: The unit of the mesh's coordinates, "m", for the axes of pictures; these claim none without it.
        time_unit: The unit of the state equation's times, "s", for the axes of pictures; these claim none without it.
        name: The name of the problem in titles and summaries; `pdeopt.build` gives that of its file.

    Raises:
        InputError: Arrays do not fit each other, bounds cannot hold or the initial guess is outside of them, a
            tolerance is negative, a strength is not positive, the name of a quantity is taken, or the optimizer,
            ``interpret`` or ``views`` is not of its kind.
    """

    functional: ReducedFunctional
    initial: np.ndarray = None  # type: ignore[assignment]  # __post_init__ fills in what is left out
    parameter: AnyParameter = None  # type: ignore[assignment]
    bounds: BoundsLike = None
    constraints: Constraint | Sequence[Constraint] = ()
    truth: np.ndarray | None = None
    data_label: str = "data"
    points: np.ndarray | None = None
    state_space: FunctionSpace | None = None
    optimizer: str = "l-bfgs-b"
    gradient_tolerance: float = 1e-4
    absolute_gradient_tolerance: float = 0.0
    regularization_strength: float | str = 1.0
    discrepancy_factor: float = 1.0
    quantities: Mapping[str, Callable[[np.ndarray], float]] = field(default_factory=dict)
    interpret: Callable[[np.ndarray], Values | Iterator[Values]] | None = None
    views: Views = field(default_factory=Views)
    length_unit: str = ""
    time_unit: str = ""
    name: str = "problem"

    def __post_init__(self) -> None:
        self._complete()
        self._check_arrays()
        self._check_bounds()
        self._check_stopping()
        self._check_strength()
        if self.interpret is not None and not callable(self.interpret):
            raise InputError(f"interpret is {self.interpret!r}; expected a function of m that returns a dictionary")
        if not isinstance(self.views, Views):
            raise InputError(f"views is {self.views!r}; expected pdeopt.inverse.Views(marks=…, segmentation=…, …)")
        taken = set(self.quantities) & SUMMARY_NAMES
        if taken:
            raise InputError(f"a quantity is named {min(taken)!r}, which summary.json has already; choose another name")
        if self.interpret is None:
            self._check_views()

    def __repr__(self) -> str:
        label = self.parameter.label
        return f"Problem({label}: {self.parameter.size} parameters, {self.functional!r}, optimizer {self.optimizer!r})"

    @property
    def known_state_space(self) -> FunctionSpace | None:
        """The state's space, `state_space` or the equation's only part; None where neither is stated."""
        if self.state_space is not None:
            return self.state_space
        parts = tuple(self.functional.state.parts.values())
        return parts[0] if len(parts) == 1 and not parts[0].is_part else None

    def _complete(self) -> None:
        """Take from the parameter and the functional what is not given."""
        if self.constraints:
            given = as_constraints(self.constraints)
            if self.functional.constraints not in ((), given):
                raise InputError(
                    "the problem and its functional state different constraints; give those of one of them, or "
                    "constraints=() with the functional's own"
                )
            object.__setattr__(self, "constraints", given)
            object.__setattr__(self, "functional", self.functional.with_constraints(given))
        known = self.functional.parametrization
        if self.parameter is None:
            if not isinstance(known, Parameters | Tree):
                raise InputError("the parameter is missing; expected Parameter(space, label), or the names of Numbers")
            object.__setattr__(self, "parameter", known)
        if isinstance(self.parameter, Parameters | Tree) and self.parameter is not known:
            kind = type(self.parameter).__name__
            raise InputError(
                f"the parameter is a {kind}, and the functional has another parametrization; give both the same object:"
                " ReducedFunctional(state, misfit, terms, unknowns), Problem(functional, parameter=unknowns)"
            )
        if not isinstance(self.parameter, Parameters | Tree) and self.parameter.parametrization not in (None, known):
            raise InputError(
                "the parameter states a parametrization, and the functional has another one; give that of a single "
                "parameter to the ReducedFunctional"
            )
        for name in ("initial", "bounds", "truth"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.parameter, name))
        object.__setattr__(self, "initial", flat_parameter(self.parameter, self.initial))
        if self.initial is None or np.ndim(self.initial) == 0:
            start = np.full(self.parameter.size, 0.0 if self.initial is None else self.initial)
            object.__setattr__(self, "initial", start)
        for name in ("initial", "truth"):
            given = getattr(self, name)
            if given is None:
                continue
            if np.iscomplexobj(given):
                raise InputError(f"the {name} is complex; expected real numbers")
            try:
                object.__setattr__(self, name, np.asarray(given, float))
            except (TypeError, ValueError):
                raise InputError(f"the {name} is a {type(given).__name__}; expected numbers (p,) in a row") from None

    def _check_bounds(self) -> None:
        try:
            lower, upper = full_bounds(self.bounds, self.parameter.size)
        except OptimizerError as error:
            raise InputError(str(error)) from None
        rounding = 1e-9 * np.abs(self.initial).max(initial=0)
        outside = np.flatnonzero((self.initial < lower - rounding) | (self.initial > upper + rounding))
        if len(outside):
            k = int(outside[0])
            raise InputError(
                f"the initial guess is outside the bounds in {len(outside)} of {len(lower)} entries, the first is "
                f"{self.initial[k]:g} at entry {k}, where {lower[k]:g} to {upper[k]:g} is allowed; bounds are those of "
                "m, not of the coefficient. Start inside, e.g. at np.clip(initial, lower, upper)"
            )

    def _check_views(self) -> None:
        numbers = {*self.quantities, *SUMMARY_NAMES}
        missing = [*self.views.arrays, *(name for name in self.views.headline if name not in numbers)]
        if missing:
            raise InputError(
                f"the views show {missing[0]!r}, and nothing returns it: the problem has no interpret; expected a "
                "function of m that returns a dictionary with it, or views without it"
            )

    def _check_stopping(self) -> None:
        if not isinstance(self.optimizer, str):
            raise InputError(f"the optimizer is {self.optimizer!r}; expected its name, e.g. 'newton-cg'")
        for name in ("gradient_tolerance", "absolute_gradient_tolerance"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 <= value < np.inf):
                raise InputError(f"{name} is {value}; expected a number ≥ 0, e.g. 1e-6")

    def _check_strength(self) -> None:
        strength = self.regularization_strength
        if not isinstance(strength, str) and not _is_positive(strength):
            raise InputError(
                f"regularization_strength is {strength}; expected a number > 0 or a rule's name: 'cooling'"
            )
        if not _is_positive(self.discrepancy_factor):
            raise InputError(f"discrepancy_factor is {self.discrepancy_factor}; expected a number > 0, e.g. 1.1")

    def _check_arrays(self) -> None:
        size = self.parameter.size
        if size == 0:
            raise InputError("the parameter has no degrees of freedom, so that nothing is to be found: check its dofs")
        if np.shape(self.initial) != (size,):
            raise InputError(f"the initial guess has shape {np.shape(self.initial)}; the parameter has ({size},)")
        if not np.isfinite(self.initial).all():
            raise InputError("the initial guess has NaN or infinite values")
        known = self.parameter.coefficient_size
        if self.truth is not None and np.shape(self.truth) != (known,):
            raise InputError(f"the truth has shape {np.shape(self.truth)}; the parameter has ({known},)")
        is_partly_known = isinstance(self.parameter, Parameters)
        if self.truth is not None and not (is_partly_known or np.isfinite(self.truth).all()):
            raise InputError("the truth has NaN or infinite values")
        space = self.known_state_space or self.parameter.space
        dim = "d" if space is None else space.mesh.dim()
        if self.points is not None and (np.ndim(self.points) != 2 or len(self.points) != dim != "d"):
            raise InputError(f"the points have shape {np.shape(self.points)}; expected ({dim}, k), one column a point")

    def with_solver(self, solver: str | Solver) -> Problem:
        """Return the same problem, whose state equation is solved by another linear solver.

        What was solved when the problem was made, as simulated data are, stays as it is, and so does what `quantities`
        and `interpret` solve for themselves.

        Args:
            solver: The solver or its name, as in `pdeopt.sparse.linear_solve`.

        Raises:
            SolveError: The solver is unknown or not installed, or the state equation lets nobody choose it.
        """
        return replace(self, functional=self.functional.with_solver(solver))

    def with_memory(self, limit: float) -> Problem:
        """Return the same problem, whose state equation in time keeps states in at most so much memory.

        Args:
            limit: The memory for the states that the adjoint needs, in bytes; the others are computed again.

        Raises:
            SolveError: The state equation is not one in time, or not even one state fits.
        """
        return replace(self, functional=self.functional.with_memory(limit))

    def at_random_start(self, seed: int, spread: float | Mapping[str, float] = INITIAL_SPREAD) -> Problem:
        """Return the same problem with a random initial guess about its own, or between its bounds.

        Several starts show whether a minimum depends on the initial guess. Functions are smooth and the same on every
        mesh: the initial guess plus a random sum of waves, which is nearly a Gaussian field of a fifth of the domain's
        extent as correlation length (Rahimi, Recht, "Random features for large-scale kernel machines", NIPS 2007). The
        components of a vector have a sum each. Numbers are normally distributed about the initial guess. Where there is
        one bound, what is beyond it is reflected. Where an entry has a lower and an upper bound, it is distributed
        evenly between the two, whatever the initial guess. The arrays of a `Tree` are replaced by normal numbers of the
        root mean square that each has in the initial guess of m: zeros stay zero, unless all are.

        Args:
            seed: The seed of the random numbers, ≥ 0.
            spread: The standard deviation in units of m, and of a `Tree` in root mean squares; one number, or those of
                several parameters by name, of which the others have 1.

        Raises:
            InputError: The seed is no number ≥ 0, a spread is not positive, or it is that of a parameter that is not
                there.
        """
        return replace(self, initial=random_start(self.parameter, self.initial, self.bounds, seed, spread))

    def measure(self, m: np.ndarray) -> dict[str, float]:
        """Return the numbers of `quantities` at m, by name."""
        return {name: float(quantity(m)) for name, quantity in self.quantities.items()}

    def relative_error(self, m: np.ndarray) -> float | None:
        """Return the relative error of the physical coefficient of m, as the parameter defines it.

        It is None without a truth, and where the parameter defines none, as for a truth of zero.
        """
        if self.truth is None:
            return None
        return self.parameter.relative_error(self.parameter.flat(self.functional.coefficient(m)), self.truth)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < np.inf
