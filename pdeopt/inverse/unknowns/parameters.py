"""Several parameters by name, which are one flat m for optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from pdeopt.inverse.errors import InputError
from pdeopt.inverse.unknowns.in_time import ParameterInTime
from pdeopt.inverse.unknowns.numbers import Numbers
from pdeopt.inverse.unknowns.parameter import Parameter
from pdeopt.inverse.unknowns.tree import Tree
from pdeopt.optimize.bounds import full_bounds
from pdeopt.optimize.objective import OptimizerError

#: A single parameter: a function, one in time, a few numbers, or the arrays of a pytree.
SingleParameter = Parameter | ParameterInTime | Numbers | Tree


@dataclass(frozen=True, eq=False)
class Parameters:
    """Several parameters by name; the coefficient of the state equation is a dict of theirs.

    It is the parametrization of a `ReducedFunctional` and the parameter of its `Problem`. The m of optimizers is theirs
    one after the other, in the order of the names; here alone it is put together and taken apart. Inner products and
    Newton's preconditioner are block-diagonal.

    Attributes:
        parts: The parameters by name, each with its parametrization, initial guess, bounds and truth.

    Raises:
        InputError: There are none, a name is no identifier, or two parts name a number alike.

    Example:
        >>> from pdeopt.inverse import Log, Numbers
        >>> rates = Numbers(["left", "right"], "rates")
        >>> both = Parameters({"rates": rates, "loss": Numbers(["loss"], "loss", parametrization=Log())})
        >>> both(np.array([1.0, 2.0, 0.0]))
        {'rates': array([1., 2.]), 'loss': Array([1.], dtype=float64)}
    """

    parts: Mapping[str, SingleParameter]

    space = None
    dofs = None

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Mapping) or not self.parts:
            raise InputError(f"the parameters are {self.parts!r}; expected some by name, as {{'sigma': Parameter(…)}}")
        object.__setattr__(self, "parts", dict(self.parts))
        for name, part in self.parts.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise InputError(f"a parameter is named {name!r}; expected a word of letters, digits and _, as 'sigma'")
            if not isinstance(part, SingleParameter):
                raise InputError(
                    f"the parameter {name!r} is a {type(part).__name__}; expected a Parameter, a ParameterInTime, "
                    "Numbers or a Tree"
                )
            if part.size == 0:
                raise InputError(f"the parameter {name!r} has no degrees of freedom: check its dofs")
        numbers = [one for part in self.parts.values() if isinstance(part, Numbers) for one in part.names]
        twice = {one for one in numbers if numbers.count(one) > 1}
        if twice:
            raise InputError(f"two parameters have a number {min(twice)!r}; expected a different name for each")

    def __call__(self, m: jax.Array) -> dict[str, Any]:
        """Return the coefficients by name, of m (p,).

        Raises:
            InputError: There are more entries, or fewer.
        """
        if np.shape(m) != (self.size,):
            raise InputError(f"m has shape {np.shape(m)}; expected ({self.size},), {', '.join(self.parts)} in a row")
        return {name: _coefficient(self.parts[name], values) for name, values in self.split(m).items()}

    def inverse(self, coefficient: Mapping[str, Any]) -> np.ndarray:
        """Return the m (p,) of coefficients by name.

        Raises:
            InputError: A coefficient is missing, or has no m.
        """
        missing = [name for name in self.parts if name not in coefficient]
        if missing:
            raise InputError(f"the coefficient {missing[0]!r} is missing; expected {', '.join(self.parts)}")
        return np.asarray(self.join({name: _inverse(part, coefficient[name]) for name, part in self.parts.items()}))

    def join(self, parts: Mapping[str, Any]) -> Any:
        """Return the m (p,) of its parts by name, each a number, (p_k,), or the arrays of a `Tree`.

        It may be differentiated.

        Raises:
            InputError: A part is missing, or has another shape.
        """
        if set(parts) != set(self.parts):
            raise InputError(f"m is given by {', '.join(map(str, parts))}; expected {', '.join(self.parts)}")
        for name, part in self.parts.items():
            if parts[name] is None:
                raise InputError(f"the m of {name!r} is None; expected a number, or ({part.size},)")
        rows = [_full(name, "m", flat_parameter(part, parts[name]), part.size) for name, part in self.parts.items()]
        is_traced = any(isinstance(row, jax.core.Tracer) for row in rows)
        return jnp.concatenate(rows) if is_traced else np.concatenate(rows)

    def split(self, m: Any) -> dict[str, Any]:
        """Return the parts of m (p,) by name."""
        return {name: m[where] for name, where in self.slices.items()}

    def flat(self, coefficient: Mapping[str, Any]) -> np.ndarray:
        """Return coefficients by name as one row of numbers, (q,), where q = p but for functions of trees."""
        return np.concatenate([part.flat(coefficient[name]) for name, part in self.parts.items()])

    def unflat(self, values: np.ndarray) -> dict[str, Any]:
        """Return the coefficients by name of one row of numbers, (q,)."""
        return {name: self.parts[name].unflat(values[where]) for name, where in self.coefficient_slices.items()}

    @cached_property
    def slices(self) -> dict[str, slice]:
        """The places of the parts in m, by name."""
        return _slices({name: part.size for name, part in self.parts.items()})

    @cached_property
    def coefficient_slices(self) -> dict[str, slice]:
        """The places of the parts in the row of their coefficients, by name."""
        return _slices({name: part.coefficient_size for name, part in self.parts.items()})

    @property
    def coefficient_size(self) -> int:
        """The number of values of all coefficients."""
        return sum(part.coefficient_size for part in self.parts.values())

    @property
    def size(self) -> int:
        """The number p of all parameters."""
        return sum(part.size for part in self.parts.values())

    @property
    def label(self) -> str:
        """The labels of all, one after the other."""
        return ", ".join(part.label for part in self.parts.values())

    @property
    def role(self) -> str | None:
        """The role of the first one that states it."""
        return next((part.role for part in self.parts.values() if part.role), None)

    @property
    def initial(self) -> np.ndarray:
        """The initial guess of m, (p,).

        Raises:
            InputError: That of a part has another shape.
        """
        return np.concatenate(
            [_full(name, "initial guess", part.initial, part.size) for name, part in self.parts.items()]
        )

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The bounds (lower, upper) of m, each (p,); None where no part has some.

        Raises:
            InputError: Those of a part do not fit it.
        """
        if all(part.bounds is None for part in self.parts.values()):
            return None
        found = []
        for name, part in self.parts.items():
            try:
                found.append(full_bounds(part.bounds, part.size))
            except OptimizerError as error:
                raise InputError(f"the parameter {name!r}: {error}") from None
        lower, upper = zip(*found, strict=True)
        return np.concatenate(lower), np.concatenate(upper)

    @property
    def truth(self) -> np.ndarray | None:
        """The true coefficients in one row, (q,), NaN where they are not known; None where none is.

        Raises:
            InputError: That of a part has another shape.
        """
        if all(part.truth is None for part in self.parts.values()):
            return None
        return np.concatenate(
            [
                np.full(part.coefficient_size, np.nan)
                if part.truth is None
                else _finite(name, _full(name, "truth", part.truth, part.coefficient_size))
                for name, part in self.parts.items()
            ]
        )

    @cached_property
    def mass(self) -> sp.csr_matrix:
        """The mass matrices of all as blocks, (p, p)."""
        return sp.block_diag([part.mass for part in self.parts.values()], format="csr")

    @property
    def lumped_mass(self) -> np.ndarray:
        """The diagonals of the lumped mass matrices of all, (p,)."""
        return np.concatenate([part.lumped_mass for part in self.parts.values()])

    def relative_errors(self, values: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """Return the relative errors of all by name, each as its own kind defines it.

        Args:
            values: The coefficients in one row, (q,).
            truth: The true ones, (q,), NaN where they are not known, for which the error is None.
        """
        return {
            name: None if np.isnan(truth[where]).any() else self.parts[name].relative_error(values[where], truth[where])
            for name, where in self.coefficient_slices.items()
        }

    def relative_error(self, values: np.ndarray, truth: np.ndarray) -> float | None:
        """Return the root mean square of the relative errors that are known; None where none is.

        Args:
            values: The coefficients in one row, (q,).
            truth: The true ones, (q,), NaN where they are not known.
        """
        known = [error for error in self.relative_errors(values, truth).values() if error is not None]
        return float(np.sqrt(np.mean(np.square(known)))) if known else None


#: A parameter that is looked for: one, or several by name.
AnyParameter = SingleParameter | Parameters


def blocks(parameter: AnyParameter) -> Iterator[tuple[slice, SingleParameter]]:
    """Yield the single parameters, each with its place in m."""
    if isinstance(parameter, Parameters):
        yield from ((where, parameter.parts[name]) for name, where in parameter.slices.items())
    else:
        yield slice(0, parameter.size), parameter


def flat_parameter(parametrization: Any, m: Any) -> Any:
    """Return the flat m (p,) of a pytree of parameters; an array, or a number, is returned itself.

    It may be differentiated.

    Args:
        parametrization: The `Parameters`, whose pytree is a dict of their parts, the `Tree`, whose pytree has the
            arrays of its example, or a parametrization of a flat m.
        m: The parameters.

    Raises:
        InputError: The pytree is not one of these parameters.
    """
    if m is None or isinstance(m, (np.ndarray, np.generic, jax.Array, int, float)):
        return m
    if isinstance(parametrization, Tree):
        found, wanted = (str(jax.tree.structure(tree)) for tree in (m, parametrization.example))
        if found == wanted:
            return parametrization.row(m)
        if not (isinstance(m, (list, tuple)) and all(isinstance(one, (int, float)) for one in m)):
            raise InputError(f"the m of {parametrization.label} has the structure {found}; expected {wanted}")
    if not isinstance(m, Mapping):
        return m
    if isinstance(parametrization, Parameters):
        return parametrization.join(m)
    raise InputError(f"m is a dict of {', '.join(map(str, m)) or 'nothing'}; expected numbers in a row, (p,)")


def _coefficient(part: SingleParameter, m: jax.Array) -> Any:
    if isinstance(part, Tree):
        return part(m)
    return m if part.parametrization is None else part.parametrization(m)


def _inverse(part: SingleParameter, coefficient: Any) -> np.ndarray:
    if isinstance(part, Tree):
        return part.inverse(coefficient)
    return np.asarray(coefficient, float) if part.parametrization is None else part.parametrization.inverse(coefficient)


def _finite(name: str, truth: np.ndarray) -> np.ndarray:
    if not np.isfinite(truth).all():
        raise InputError(f"the truth of {name!r} has NaN or infinite values")
    return truth


def _slices(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Return the places of values of given numbers one after the other, by name."""
    ends = np.cumsum(list(sizes.values())).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def _full(name: str, what: str, given: Any, size: int) -> Any:
    """Return values of a part, a number or (size,), as an array; zeros where there are none.

    The values may be traced.

    Args:
        name: The name of the part.
        what: The word for the values, for messages.
        given: The values, or None.
        size: Their number.

    Raises:
        InputError: They have another shape, or are no real numbers.
    """
    leaves = jax.tree.leaves(given)
    is_traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    if any(np.iscomplexobj(leaf) for leaf in leaves):
        raise InputError(f"the {what} of {name!r} is complex; expected real numbers")
    try:
        values = jnp.asarray(given) if is_traced else np.asarray(0.0 if given is None else given, float)
    except (TypeError, ValueError):
        raise InputError(f"the {what} of {name!r} is a {type(given).__name__}; expected numbers in a row") from None
    if values.shape not in ((), (size,)):
        raise InputError(f"the {what} of {name!r} has shape {values.shape}; expected a number, or ({size},)")
    return jnp.broadcast_to(values, size) if is_traced else np.broadcast_to(values, size)
