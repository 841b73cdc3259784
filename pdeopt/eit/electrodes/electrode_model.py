"""The complete electrode model: from conductivity and contact impedances to voltages.

The potential u and the voltages U of the electrodes satisfy::

    ∇·(σ∇u) = 0 in Ω,    u + z_l σ ∂u/∂n = U_l and ∫_{e_l} σ ∂u/∂n = I_l on electrode l,    σ ∂u/∂n = 0 elsewhere,

with Σ_l I_l = 0 and Σ_l U_l = 0. (Somersalo, Cheney, Isaacson, "Existence and uniqueness for electrode models for
electric current computed tomography", SIAM J. Appl. Math. 52, 1992; discretized as by Vauhkonen et al.,
"Three-dimensional electrical impedance tomography based on the complete electrode model", IEEE Trans. Biomed. Eng. 46,
1999.) Units are the user's; in SI σ is in S/m, z in Ω·m², currents in A and voltages in V, in 2-D per meter of depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pdeopt.eit.electrodes.contacts import Contacts
from pdeopt.eit.electrodes.patterns import check_balanced, checked_patterns, independent_patterns
from pdeopt.fem import Dirichlet, FEMError, FunctionSpace, bilinear_form, dot, grad
from pdeopt.inverse import InputError
from pdeopt.pde import LinearStateEquation, StateEquation
from pdeopt.sparse import CSRMatrix, Solver, resolve_solver

#: The contact impedances: a number for all electrodes, (L,), or a map from the coefficient to (L,).
Impedances = ArrayLike | Callable[[Any], jax.Array]


@bilinear_form
def _conduction(u, v, w):
    return w["conductivity"] * dot(grad(u), grad(v))


@dataclass(frozen=True, eq=False)
class CompleteElectrodeModel(StateEquation):
    """A differentiable map from the coefficient to the states of the complete electrode model.

    It is made by `complete_electrode_model`.

    The weak form, with U_L = 0 eliminated, is symmetric and positive definite::

        ∫ σ∇u·∇v + Σ_l (1/z_l) ∫_{e_l} (u − U_l)(v − V_l) = Σ_l I_l V_l

    The mean of U is then subtracted from all of (u, U), which is Σ_l U_l = 0.

    The K patterns of currents span only r ≤ L − 1 dimensions: r are solved for, with one factorization, and
    ``state @ combination`` are the states of the K patterns.

    It is accurate for small z, too. Its derivative along z, there a difference of large numbers, is less so: relative
    to a resistance of 1 / σ, measured on a disk, it is accurate to 1e-9 at z = 1e-4 and to 4e-3 at 1e-7, where z hardly
    matters: z ∂U/∂z is 1e-7 of U. Derivatives along σ lose no more than U itself.

    Attributes:
        space: The space of the potential, of n degrees of freedom.
        electrodes: The names of the boundaries of the mesh that are the electrodes 1, …, L.
        currents: The currents (L, K) into the body, a column for each pattern.
        matrix: The map from the coefficient to the matrix (n + L, n + L) of the weak form; constants are in its kernel.
        solver: The linear solver, as in `pdeopt.sparse.linear_solve`.
    """

    space: FunctionSpace
    electrodes: tuple[str, ...]
    currents: np.ndarray
    matrix: Callable[[Any], CSRMatrix]
    solver: str | Solver = "auto"

    axes = ("dof", "experiment")

    def __call__(self, coefficient: Any, *, source: jax.Array | None = None) -> jax.Array:
        """Return the states (n + L, r) of the basis of the currents.

        Args:
            coefficient: The coefficient, as ``matrix`` takes it.
            source: A load (n + L, r) that is added to the weak form, tested with (v, V); that of V_L has no effect.

        Raises:
            SolveError: The system is singular.
        """
        return self.states(coefficient, self.basis, source=source)

    def states(self, coefficient: Any, currents: ArrayLike, *, source: jax.Array | None = None) -> jax.Array:
        """Return the states (n + L, k) of other currents.

        Args:
            coefficient: The coefficient, as ``matrix`` takes it.
            currents: The currents (L, k), whose columns sum to zero.
            source: A load (n + L, k) that is added to the weak form.
        """
        state = self._equation(currents)(coefficient, source=source)
        return state - state[self.space.n :].mean(0)

    @property
    def parts(self) -> Mapping[str, FunctionSpace]:  # type: ignore[override]
        """The space of the potential; the voltages of the electrodes follow it in the state."""
        return {"potential": self.space}

    def with_solver(self, solver: str | Solver) -> Self:
        """Return the same model, solved by another solver.

        Raises:
            SolveError: The solver is unknown or not installed.
        """
        resolve_solver(solver)
        return replace(self, solver=solver)

    def chosen_solver(self, coefficient: Any) -> Solver:
        """Return the solver that solves for the states of the basis, as a `LinearStateEquation` does."""
        return self._equation(self.basis).chosen_solver(coefficient)

    def backward_error(self, coefficient: Any) -> float:
        """Return the backward error of the states of the basis, as a `LinearStateEquation` does."""
        return self._equation(self.basis).backward_error(coefficient)

    @property
    def basis(self) -> np.ndarray:
        """The orthonormal currents (L, r) that are solved for; ``currents = basis @ combination``."""
        return self._factors[0]

    @property
    def combination(self) -> np.ndarray:
        """The combinations (r, K) of the currents of the basis that are the K patterns."""
        return self._factors[1]

    @cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray]:
        return independent_patterns(self.currents)

    def _equation(self, currents: ArrayLike) -> LinearStateEquation:
        size = self.space.n + len(self.electrodes)
        load = jnp.zeros((size, jnp.shape(currents)[1])).at[self.space.n :].set(currents)
        ground = Dirichlet(size, np.array([size - 1]))
        return LinearStateEquation(lambda coefficient: (self.matrix(coefficient), load), ground, self.solver, self.axes)


def complete_electrode_model(
    space: FunctionSpace,
    electrodes: Sequence[str],
    currents: ArrayLike,
    conductivity: Callable[[Any], Any],
    impedances: Impedances,
    solver: str | Solver = "auto",
) -> CompleteElectrodeModel:
    """Return the model of one mesh and one set of current patterns.

    Args:
        space: The space of the potential, on the whole mesh: any scalar element whose degrees of freedom are point
            values.
        electrodes: The names of boundaries of the mesh, in the order of the rows of ``currents``.
        currents: The currents (L, K) into the body, a column for each pattern; each column sums to zero.
        conductivity: The map from the coefficient to σ as a form takes it: ``V.interpolate``, ``V.per_element``, or a
            function that takes a part of the coefficient. It must be positive, which is not checked.
        impedances: The contact impedances z > 0 (Ω·m²): fixed, a number or (L,); or a function from the coefficient to
            (L,).
        solver: The linear solver, as in `pdeopt.sparse.linear_solve`.

    Raises:
        MeshError: The mesh does not have the electrodes, or they overlap or do not lie on the boundary.
        FEMError: The element is vector-valued or mixed, or has degrees of freedom that are not point values.
        InputError: Currents are of another shape, not finite, or have a pattern that does not sum to zero, or
            impedances are not positive.

    Example:
        σ at the vertices alone, or σ and z together as one coefficient of size n + L::

            complete_electrode_model(V, names, currents, V.interpolate, 1e-3)
            complete_electrode_model(V, names, currents, lambda c: V.interpolate(c[: V.n]), lambda c: c[V.n :])
    """
    names = _checked_names(electrodes)
    _check_scalar(space)
    patterns = checked_patterns(currents, len(names), "currents")
    check_balanced(patterns)
    contacts = Contacts.of(space, names)
    fixed = None if callable(impedances) else _checked_impedances(impedances, len(names))

    def matrix(coefficient: Any) -> CSRMatrix:
        interior = _conduction.assemble(space, conductivity=conductivity(coefficient))
        z = fixed if fixed is not None else _checked_impedances(impedances(coefficient), len(names))  # type: ignore
        return contacts.matrix(interior, z)

    return CompleteElectrodeModel(space, names, patterns, matrix, solver)


def _checked_names(electrodes: Sequence[str]) -> tuple[str, ...]:
    names = (electrodes,) if isinstance(electrodes, str) else tuple(electrodes)
    if len(names) < 2:
        raise InputError(f"the electrodes are {names}; expected the names of at least two boundaries")
    return names


def _check_scalar(space: FunctionSpace) -> None:
    components = space.tables.components
    if len(components) > 1 or "value" not in components[0] or components[0]["value"].ndim != 3:
        raise FEMError(f"the potential is scalar, but {type(space.element).__name__} is not; take e.g. ElementTriP1")
    space.check_nodal()


def _checked_impedances(impedances: ArrayLike, count: int) -> jax.Array:
    """Return the contact impedances z (L,).

    Args:
        impedances: The contact impedances, a number or (L,).
        count: The number L of electrodes.

    Raises:
        InputError: The impedances are of another shape or complex, or, where their values are known, not positive.
    """
    if jnp.shape(impedances) not in ((), (count,)):
        raise InputError(
            f"the contact impedances have shape {jnp.shape(impedances)}; expected a number or ({count},), one for each "
            "electrode"
        )
    if jnp.iscomplexobj(impedances):
        raise InputError(
            "the contact impedances are complex; the model is that of direct or slowly varying currents, with real "
            "z > 0: take their real part, or their modulus"
        )
    if not isinstance(impedances, jax.core.Tracer):
        values = np.atleast_1d(np.asarray(impedances))
        bad = np.flatnonzero(~((values > 0) & np.isfinite(values)))
        if len(bad):
            raise InputError(
                f"the contact impedance of electrode {bad[0] + 1} is {values[bad[0]]}; expected a positive number"
            )
    return jnp.broadcast_to(jnp.array(impedances, float), (count,))
