"""The march as an operation of JAX, with its derivatives of both modes and of any order.

Let F(θ) be what is read of the march with the numbers θ (values of matrices, weights, vectors, loads, start). Two
families of operations are closed under differentiation and transposition:

    T_m(θ; η₁, …, η_m)       the m-th derivative of F along directions η, which is symmetric and linear in each
    H_m(θ, w; η₁, …, η_m)    the m-th derivative of the adjoint, w ↦ (∂F/∂θ)ᵀ w, along directions η

T₀ is F and H₀ its adjoint. Differentiating in θ adds a direction: T_m becomes T_{m+1}, and H_m becomes H_{m+1}. With a
cotangent w, T_m transposes in a direction to H_{m−1}(θ, w; the others). With a cotangent ξ, H_m transposes in w to
T_{m+1}(θ; all, ξ), and in a direction to H_m(θ, w; the others, ξ), because its derivatives are symmetric. Each of them
is one call of the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike

from pdeopt.sparse.errors import SolveError, solve_errors
from pdeopt.sparse.march.host import march_back, march_forward
from pdeopt.sparse.march.plan import MarchPlan, StepKind
from pdeopt.sparse.march.schedule import Checkpoints
from pdeopt.sparse.march.steps import Numbers
from pdeopt.sparse.matrix import CSRMatrix
from pdeopt.sparse.process import check_process
from pdeopt.sparse.solvers import Solver, resolve_solver

#: How many arrays the numbers of a march have besides matrices: weights, vectors, loads, start.
OTHERS = 4


def linear_march(
    matrices: Sequence[CSRMatrix],
    kinds: Sequence[StepKind],
    kind_of: Sequence[int],
    start: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    vectors: ArrayLike | None = None,
    loads: ArrayLike | None = None,
    times: Sequence[float] | None = None,
    dofs: Sequence[int] | np.ndarray | None = None,
    steps: Sequence[int] | np.ndarray | None = None,
    solver: str | Solver = "auto",
    checkpoints: Checkpoints | None = None,
) -> jax.Array:
    """March through all steps of a linear recurrence, differentiably in all its numbers.

    The states obey ``Σ_lag Σ_m kinds[kind_of[k]][lag][m] X_m u_{k−lag} = Σ_s weights[k, s] vectors[s] + loads[k]``.
    Each matrix of a new state is factored once, for all steps and for the adjoint; the derivatives are of both modes
    and of any order.

    Args:
        matrices: The matrices X_m, each (n, n).
        kinds: For each kind of steps the numbers a[lag][m], lag 0 first, as many lags for all.
        kind_of: The number of the kind of each step, (K,).
        start: The states (lags, n) or (lags, n, r) before the first step, the last one first; r columns share all
            matrices.
        weights: The weights W (K, S) of the vectors.
        vectors: The vectors q (S, n) or (S, n, r).
        loads: The loads F (K, n) or (K, n, r).
        times: The time at the end of each step, (K,), for messages; None for the numbers of the steps.
        dofs: The degrees of freedom that are returned, all different, (d,); None for all.
        steps: The steps after which they are returned, increasing, (T,), 0 for the start; None for 1, …, K.
        solver: The solver or its name, as in `pdeopt.sparse.linear_solve`. A diagonal matrix needs none.
        checkpoints: Which states are kept for derivatives in the matrices; None for all.

    Returns:
        The states, (T, d) or (T, d, r).

    Raises:
        SolveError: The parts do not fit, a system cannot be solved, a state is not finite, or an explicit scheme is not
            stable with its steps.

    Example:
        du/dt = −u with u(0) = 1, two steps of size 1 with implicit Euler, (1 + 1) u_k − u_{k−1} = 0:

        >>> import scipy.sparse as sp
        >>> one = CSRMatrix.from_scipy(sp.csr_array([[1.0]]))
        >>> euler = ((1.0, 1.0), (-1.0, 0.0))
        >>> linear_march([one, one], [euler], [0, 0], [[1.0]])
        Array([[0.5 ],
               [0.25]], dtype=float64)
        >>> jax.grad(lambda k: linear_march([one, k * one], [euler], [0, 0], [[1.0]])[-1, 0])(1.0)
        Array(-0.25, dtype=float64, weak_type=True)
    """
    check_process()
    arrays = [
        *(matrix.data for matrix in matrices),
        *(one for one in (start, weights, vectors, loads) if one is not None),
    ]
    if any(jnp.iscomplexobj(array) for array in arrays):
        raise SolveError("a matrix or an array of a march is complex; expected real numbers")
    first = jnp.asarray(start, float)
    if first.ndim not in (2, 3):
        raise SolveError(f"the start of a march has shape {first.shape}; expected (lags, n) or (lags, n, r)")
    whole = first if first.ndim == 3 else first[..., None]
    columns, n, count = whole.shape[2], whole.shape[1], len(kind_of)
    ends = tuple(range(1, count + 1)) if times is None else tuple(float(time) for time in times)
    plan = MarchPlan(
        tuple(matrix.pattern for matrix in matrices),
        tuple(tuple(tuple(float(a) for a in row) for row in kind) for kind in kinds),
        tuple(int(kind) for kind in kind_of),
        ends,
        None if dofs is None else tuple(int(dof) for dof in dofs),
        tuple(range(1, count + 1)) if steps is None else tuple(int(step) for step in steps),
        resolve_solver(solver),
        Checkpoints() if checkpoints is None else checkpoints,
    )
    plan.check()
    numbers = [jnp.asarray(matrix.data, float) for matrix in matrices]
    numbers += [
        jnp.zeros((count, 0)) if weights is None else jnp.asarray(weights, float),
        _with_columns("vectors", vectors, (None, n, columns)),
        _with_columns("loads", loads, (count, n, columns)) if loads is not None else jnp.zeros((0, n, columns)),
        whole,
    ]
    expected = (count, len(numbers[-3]))
    if numbers[-4].shape != expected or whole.shape[:2] != (plan.lags, plan.size):
        raise SolveError(
            f"the weights have shape {numbers[-4].shape} and the start {first.shape}; expected {expected} for "
            f"{expected[1]} vectors, and ({plan.lags}, {plan.size}) or ({plan.lags}, {plan.size}, r)"
        )
    with solve_errors():
        read = _Call(plan).forward(numbers, jnp.zeros(()))[0]
        read = read if isinstance(read, jax.core.Tracer) else jax.block_until_ready(read)
    return read[..., 0] if first.ndim == 2 else read


def _with_columns(name: str, given: ArrayLike | None, shape: tuple[int | None, int, int]) -> jax.Array:
    """Return an array (…, n) or (…, n, r) as (…, n, r)."""
    if given is None:
        return jnp.zeros((0, *shape[1:]))
    array = jnp.asarray(given, float)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1] != shape[1] or shape[0] not in (None, array.shape[0]):
        raise SolveError(f"the {name} have shape {array.shape}; expected {shape} or without the last axis")
    return jnp.broadcast_to(array, (array.shape[0], *shape[1:]))


class _Arguments(NamedTuple):
    """The arguments of an operation, by what they are.

    Attributes:
        numbers: The numbers θ.
        token: The number by which the states of a run forward are found.
        cotangent: The cotangent w of what is read; none of a run forward.
        directions: For each direction the arrays that are not zero.
    """

    numbers: list[Any]
    token: Any
    cotangent: list[Any]
    directions: list[list[Any]]


class _Call(NamedTuple):
    """The static part of an operation: T_m or H_m.

    Attributes:
        plan: The march.
        directions: For each direction the places of its arrays that are not zero.
        wanted: The places of the numbers whose cotangents are asked for; None for T_m.
        keeps: Whether states are kept for a run back; of a run back, whether what was kept serves another one.
    """

    plan: MarchPlan
    directions: tuple[tuple[int, ...], ...] = ()
    wanted: tuple[int, ...] | None = None
    keeps: bool = False

    def forward(self, numbers: Sequence[Any], token: Any, directions: Sequence[Any] = ()) -> list[Any]:
        """Return what T_m reads, and the number of what was kept."""
        return list(_march_p.bind(*numbers, token, *directions, call=self))

    def split(self, args: Sequence[Any]) -> _Arguments:
        """Return the arguments by what they are."""
        size = len(self.plan.patterns) + OTHERS
        start = size + 1 + (self.wanted is not None)
        directions = []
        for places in self.directions:
            directions.append(list(args[start : start + len(places)]))
            start += len(places)
        cotangent = [] if self.wanted is None else [args[size + 1]]
        return _Arguments(list(args[:size]), args[size], cotangent, directions)

    @property
    def vanishes(self) -> bool:
        """It is true where the result is zero whatever the numbers are.

        Loads and starting states enter once: no derivative along two of them is left, and none of an adjoint along one
        of them, unless it is that of a matrix.
        """
        matrices = len(self.plan.patterns)
        once = sum(all(place >= matrices + 2 for place in places) for places in self.directions)
        return once >= (2 if self.wanted is None or any(place < matrices for place in self.wanted) else 1)

    def with_direction(self, places: Sequence[int]) -> _Call:
        """Return the operation with one more direction, the last one."""
        return self._replace(directions=(*self.directions, tuple(places)))


_march_p = Primitive("time_march")
_march_p.multiple_results = True


def _outputs(call: _Call, args: Sequence[Any]) -> list[Any]:
    """Return shapes and types of the results."""
    columns = args[len(call.plan.patterns) + OTHERS - 1].shape[2]
    if call.wanted is None:
        return [jax.ShapeDtypeStruct(call.plan.read_shape(columns), np.float64), jax.ShapeDtypeStruct((), np.float64)]
    return [jax.ShapeDtypeStruct(args[place].shape, np.float64) for place in call.wanted]


def _on_host(call: _Call, *arrays: Any) -> list[np.ndarray]:
    """Compute the results, with NumPy only."""
    given = call.split([np.asarray(array) for array in arrays])
    size, plan = len(call.plan.patterns), call.plan
    numbers = Numbers.of(_nonempty(dict(enumerate(given.numbers))), size)
    directions = [
        Numbers.of(_nonempty(dict(zip(places, leaves, strict=True))), size)
        for places, leaves in zip(call.directions, given.directions, strict=True)
    ]
    shapes = [found.shape for found in _outputs(call, arrays)]
    if call.wanted is None:
        read, number = march_forward(plan, numbers, directions, call.keeps)
        return [read.reshape(shapes[0]), np.array(float(number))]
    (cotangent,) = given.cotangent
    cotangent = cotangent[..., 0] if cotangent.shape[-1] == 1 else cotangent
    found = march_back(plan, numbers, directions, cotangent, int(given.token), call.wanted, call.keeps)
    return [np.ascontiguousarray(one).reshape(shape) for one, shape in zip(found, shapes, strict=True)]


def _nonempty(leaves: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    return {place: leaf for place, leaf in leaves.items() if leaf.size}


def _apply(*args: Any, call: _Call) -> list[jax.Array]:
    return list(jax.pure_callback(partial(_on_host, call), _outputs(call, args), *args, vmap_method="sequential"))


def _abstract(*args: Any, call: _Call) -> list[Any]:
    return [jax.core.ShapedArray(one.shape, one.dtype) for one in _outputs(call, args)]


def _tangent(primals: Sequence[Any], tangents: Sequence[Any], *, call: _Call) -> tuple[list[Any], list[Any]]:
    at, along = call.split(primals), call.split(tangents)
    changed = _places(along.numbers)
    if call.wanted is None and not call.directions and any(place < len(call.plan.patterns) for place in changed):
        call = call._replace(keeps=True)  # the adjoint needs the states
    if call.wanted is not None and changed:
        call = call._replace(keeps=True)
    results = _march_p.bind(*primals, call=call)
    token = results[1] if call.wanted is None and not call.directions else at.token
    flat = [leaf for leaves in at.directions for leaf in leaves]
    reused = call._replace(keeps=call.wanted is not None)
    found: list[list[Any]] = []
    further = reused.with_direction(changed)
    if changed and not further.vanishes:
        new = [along.numbers[place] for place in changed]
        found.append(_march_p.bind(*at.numbers, token, *at.cotangent, *flat, *new, call=further))
    if at.cotangent and type(along.cotangent[0]) is not ad.Zero:
        found.append(_march_p.bind(*at.numbers, token, *along.cotangent, *flat, call=reused))
    for i, leaves in enumerate(along.directions):
        places = _places(leaves)
        if places:
            others = [leaf for j, one in enumerate(at.directions) if j != i for leaf in one]
            kinds = tuple(one for j, one in enumerate(call.directions) if j != i)
            own = reused._replace(directions=(*kinds, tuple(call.directions[i][place] for place in places)))
            args = (*at.numbers, token, *at.cotangent, *others, *(leaves[place] for place in places))
            found.append(_march_p.bind(*args, call=own))
    if not found:
        return results, [ad.Zero(jax.typeof(result)) for result in results]
    total = [sum(parts[1:], start=parts[0]) for parts in zip(*found, strict=True)]
    if call.wanted is None:
        total[1] = ad.Zero(jax.typeof(results[1]))
    return results, total


def _places(tangents: Sequence[Any]) -> list[int]:
    """Return the places of the tangents that are not known to be zero."""
    return [place for place, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]


def _transpose(cotangents: Sequence[Any], *args: Any, call: _Call) -> list[Any]:
    given = call.split(args)
    plan, found = call.plan, [None] * len(args)
    linear = [i for i, leaves in enumerate(given.directions) if any(ad.is_undefined_primal(leaf) for leaf in leaves)]
    start = len(plan.patterns) + OTHERS + 1
    if call.wanted is None:
        (i,) = linear
        if type(cotangents[0]) is ad.Zero:
            return found
        places = call.directions[i]
        others = [leaf for j, leaves in enumerate(given.directions) if j != i for leaf in leaves]
        adjoint = _Call(plan, tuple(one for j, one in enumerate(call.directions) if j != i), places, call.keeps)
        back = _march_p.bind(*given.numbers, given.token, cotangents[0], *others, call=adjoint)
        at = start + sum(len(one) for one in call.directions[:i])
        found[at : at + len(places)] = back
        return found
    asked = _places(cotangents)
    if not asked:
        return found
    new = [cotangents[place] for place in asked]
    kinds = tuple(call.wanted[place] for place in asked)
    if not linear:
        flat = [leaf for leaves in given.directions for leaf in leaves]
        tangent = _Call(plan, (*call.directions, kinds))
        found[start] = _march_p.bind(*given.numbers, given.token, *flat, *new, call=tangent)[0]
        return found
    (i,) = linear
    others = [leaf for j, leaves in enumerate(given.directions) if j != i for leaf in leaves]
    rest = tuple(one for j, one in enumerate(call.directions) if j != i)
    adjoint = _Call(plan, (*rest, kinds), call.directions[i], call.keeps)
    back = _march_p.bind(*given.numbers, given.token, *given.cotangent, *others, *new, call=adjoint)
    at = start + 1 + sum(len(one) for one in call.directions[:i])
    found[at : at + len(back)] = back
    return found


def _batched(args: Sequence[Any], axes: Sequence[Any], *, call: _Call) -> tuple[list[Any], list[int]]:
    moved = [jnp.moveaxis(arg, axis, 0) for arg, axis in zip(args, axes, strict=True) if axis is not None]

    def one(batched: list[Any]) -> list[Any]:
        left = iter(batched)
        given = (arg if axis is None else next(left) for arg, axis in zip(args, axes, strict=True))
        return list(_march_p.bind(*given, call=call))

    results: list[Any] = jax.lax.map(one, moved)
    return results, [0] * len(results)


_march_p.def_impl(jax.jit(_apply, static_argnames="call"))
_march_p.def_abstract_eval(_abstract)
ad.primitive_jvps[_march_p] = _tangent
ad.primitive_transposes[_march_p] = _transpose
batching.primitive_batchers[_march_p] = _batched
mlir.register_lowering(_march_p, mlir.lower_fun(_apply, multiple_results=True))
