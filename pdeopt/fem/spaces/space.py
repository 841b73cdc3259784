"""Function spaces: a scikit-fem mesh and element, with the tables that assembly in JAX needs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import skfem
from jax.typing import ArrayLike
from skfem.assembly.basis import AbstractBasis

from pdeopt.fem.errors import FEMError, MeshError
from pdeopt.fem.field import PARTS, Field
from pdeopt.fem.meshes.mesh_check import check_mesh
from pdeopt.fem.meshes.periodic import boundary_facets_where, is_periodic
from pdeopt.fem.spaces.points import OUTSIDE_TOLERANCE, concrete_points, point_matrix
from pdeopt.fem.spaces.reference import Reference, reference_of
from pdeopt.sparse import CSRMatrix, LinearMap, with_stored_derivatives

#: The largest number of basis functions, and of quadrature points, over which sums are written out.
MAX_WRITTEN_OUT_TERMS = 4
#: The facets that are meant: names of boundaries, indices of facets, a condition on facet midpoints, or None for the
#: whole boundary.
Facets = str | Sequence[str] | np.ndarray | Callable[[np.ndarray], np.ndarray] | None

#: What to do where a periodic mesh of scikit-fem cannot do something.
PERIODIC_REMEDY = "take the ordinary mesh, and tie its sides by MultiPoint.periodic(V, 'right', 'left')"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tables:
    """A set of tables of a space, for JAX.

    Letters: i local dof, c cell (or facet), q quadrature point, d dimension.

    Attributes:
        local: The map that takes the values of the local dofs, (i · c,), from those of all, (n,); its transpose
            assembles vectors.
        components: For each component of a mixed element (one otherwise) the tables (tensor axes, i, c, q) of the parts
            of the basis functions, by name; c or q is 1 where the table does not depend on it.
        dx: The quadrature weights times Jacobian determinants, (c, q).
        geometry: The fields ``x``, ``h`` and, on facets, ``n``.
        references: For each component the tables of its parts by reference functions, by name; None for parts that
            have none.
    """

    local: LinearMap
    components: tuple[dict[str, jax.Array], ...]
    dx: jax.Array
    geometry: dict[str, Field]
    references: tuple[dict[str, Reference | None], ...]

    @property
    def local_shape(self) -> tuple[int, int]:
        """The numbers of local dofs and of cells, (i, c)."""
        cells = self.dx.shape[0]
        return self.local.shape[0] // cells, cells


class FunctionSpace:
    """A space of finite-element functions on a scikit-fem mesh, or on facets of it. Immutable.

    Args:
        mesh: Any scikit-fem mesh; named boundaries and subdomains are used by name.
        element: Any scikit-fem element of the same cell type, also vector-valued and mixed ones.
        order: The polynomial degree that the quadrature integrates exactly; default twice the element's degree.
        check_conformity: False for a mesh that does not conform on purpose, such as parts that a form couples.

    Raises:
        MeshError: Elements are inverted, folded or degenerate, or the mesh does not conform: it has hanging nodes, or
            parts that do not match, that overlap, or that touch without a common facet.
        FEMError: The element is not of the mesh's cell type.

    Example:
        >>> import skfem
        >>> V = FunctionSpace(skfem.MeshTri().refined(2), skfem.ElementTriP1())
        >>> V
        FunctionSpace(ElementTriP1 on MeshTri1, n=25, CellBasis)
        >>> len(V.dofs()), len(V.dofs(lambda x: x[0] == 0))  # on the boundary, and on its left side
        (16, 5)
    """

    def __init__(
        self, mesh: skfem.Mesh, element: skfem.Element, *, order: int | None = None, check_conformity: bool = True
    ) -> None:
        check_mesh(mesh, check_conformity=check_conformity)
        if mesh.refdom is not element.refdom:
            raise FEMError(
                f"{type(element).__name__} lives on {element.refdom.__name__}, {type(mesh).__name__} has "
                f"{mesh.refdom.__name__} cells: choose an element of the mesh's cell type"
            )
        self.order = 2 * element.maxdeg if order is None else order
        self.basis: AbstractBasis = _lightened(skfem.CellBasis(mesh, element, intorder=self.order))
        self._side = 0  # of interior facets
        self._part: tuple[FunctionSpace, np.ndarray] | None = None

    @classmethod
    def _from_basis(
        cls,
        basis: AbstractBasis,
        order: int,
        side: int = 0,
        part: tuple[FunctionSpace, np.ndarray] | None = None,
    ) -> FunctionSpace:
        space = cls.__new__(cls)
        space.basis, space.order, space._side, space._part = _lightened(basis), order, side, part
        return space

    def split(self) -> tuple[FunctionSpace, ...]:
        """Return the spaces of the components of a mixed or vector-valued element, as parts of this space.

        A part is a space with degrees of freedom of its own, for fields, forms and interpolants. Conditions,
        observations and misfits that are made with it are those of states of the whole space, so that nobody counts
        degrees of freedom.

        Raises:
            FEMError: The element has one component only.

        Example:
            >>> import skfem
            >>> V = FunctionSpace(
            ...     skfem.MeshTri().refined(2), skfem.ElementVector(skfem.ElementTriP2()) * skfem.ElementTriP1()
            ... )
            >>> velocity, pressure = V.split()
            >>> V.n, velocity.n, pressure.n
            (187, 162, 25)
            >>> pressure.restrict(np.arange(V.n)).shape
            (25,)
        """
        element = self.element
        if isinstance(element, skfem.ElementComposite):
            elements = list(element.elems)
        elif isinstance(element, skfem.ElementVector):
            elements = [element.elem] * element.dim
        else:
            raise FEMError(
                f"{type(element).__name__} has one component only; parts are those of mixed elements, as "
                "ElementVector(ElementTriP2()) * ElementTriP1(), and of vector-valued ones"
            )
        bases = (self.with_element(one).basis for one in elements)
        return tuple(
            self._from_basis(basis, self.order, self._side, (self.whole, self.indices[own]))
            for basis, own in zip(bases, self.basis.split_indices(), strict=True)
        )

    @property
    def whole(self) -> FunctionSpace:
        """The space that this one is a part of, made by `split`; the space itself where it is no part."""
        return self if self._part is None else self._part[0]

    @property
    def is_part(self) -> bool:
        """True where the space is a part of another one, made by `split`."""
        return self._part is not None

    @property
    def indices(self) -> np.ndarray:
        """The numbers (n,) of the degrees of freedom among those of the whole space, sorted."""
        return np.arange(self.n) if self._part is None else self._part[1]

    def restrict(self, values: ArrayLike) -> jax.Array:
        """Return the degrees of freedom of this part among those of the whole space.

        Args:
            values: The degrees of freedom of the whole space, (whole,) or (whole, r). Differentiable.

        Returns:
            Those of this space, (n,) or (n, r).

        Raises:
            FEMError: The values have another shape.
        """
        values = jnp.asarray(values)
        if values.ndim not in (1, 2) or len(values) != self.whole.n:
            raise FEMError(
                f"restrict expects the {self.whole.n} degrees of freedom of {self.whole}, got shape {values.shape}"
            )
        return values if self._part is None else self._restriction(values)

    @cached_property
    def _restriction(self) -> LinearMap:
        with jax.ensure_compile_time_eval():  # the first use may be inside a function that JAX traces
            return LinearMap.selection(self.indices, self.whole.n)

    def with_element(self, element: skfem.Element) -> FunctionSpace:
        """Return the space of another element on the same cells or facets and quadrature.

        For its own element this is the space itself.
        """
        basis = self.basis
        if type(element) is type(basis.elem) and not vars(element) and not vars(basis.elem):
            return self
        if isinstance(basis, skfem.FacetBasis):
            other = type(basis)(
                basis.mesh,
                element,
                mapping=basis.mapping,
                facets=basis.find,
                quadrature=basis.quadrature,
                side=self._side,
            )
        else:
            other = basis.with_element(element)
        return self._from_basis(other, self.order, self._side)

    def boundary(self, facets: Facets = None) -> FunctionSpace:
        """Return the space of traces on boundary facets, for integrals over these.

        Neumann and Robin conditions and boundary functionals are such integrals.

        Args:
            facets: Names of boundaries, indices of facets, or a condition on facet midpoints (default: the whole
                boundary).

        Raises:
            FEMError: The space is not one on the cells of the whole mesh, or the mesh is periodic.
            MeshError: The mesh has no such boundary, or it is empty.
        """
        self._check_whole("boundary")
        indices = self._facets(facets)
        basis = skfem.FacetBasis(self.mesh, self.element, intorder=self.order, facets=indices)
        return self._from_basis(basis, self.order, part=self._part)

    def interior_facets(self) -> tuple[FunctionSpace, FunctionSpace]:
        """Return the spaces of traces from both sides of every interior facet.

        A form that is assembled on the pair has jump terms.

        Raises:
            FEMError: The space is not one on the cells of the whole mesh.
        """
        self._check_whole("interior_facets")
        return tuple(  # type: ignore[return-value]
            self._from_basis(
                skfem.InteriorFacetBasis(self.mesh, self.element, intorder=self.order, side=side),
                self.order,
                side,
                self._part,
            )
            for side in (0, 1)
        )

    def subdomain(self, elements: str | np.ndarray | Callable[[np.ndarray], np.ndarray]) -> FunctionSpace:
        """Return the space of the same functions, integrated over a part of the cells only.

        Args:
            elements: The name of a subdomain, indices of cells, or a condition on cell midpoints.

        Raises:
            MeshError: The mesh has no such subdomain, or it is empty.
        """
        indices = self._named(elements, self.mesh.subdomains, "subdomain", self.mesh.normalize_elements)
        basis = skfem.CellBasis(self.mesh, self.element, intorder=self.order, elements=indices)
        return self._from_basis(basis, self.order, part=self._part)

    @property
    def mesh(self) -> skfem.Mesh:
        """The whole mesh, also of a space on a part of it."""
        return self.basis.mesh

    @property
    def element(self) -> skfem.Element:
        """The scikit-fem element."""
        return self.basis.elem

    @property
    def n(self) -> int:
        """The number of degrees of freedom."""
        return int(self.basis.N)

    @property
    def locations(self) -> np.ndarray:
        """The places of the degrees of freedom, (d, n)."""
        places: np.ndarray = self.basis.doflocs
        return places

    def dofs(self, facets: Facets = None, names: Sequence[str] | None = None) -> np.ndarray:
        """Return the sorted degrees of freedom on boundary facets (default: on the whole boundary).

        Args:
            facets: The facets, as for `boundary`.
            names: The degrees of freedom that are wanted, by scikit-fem's names: ``["u^1"]`` for the first component
                (default: all).

        Raises:
            FEMError: The element has no degrees of freedom of such a name.
            MeshError: The mesh has no such boundary, or it is empty.
        """
        found = self.basis.get_dofs(self._facets(facets))
        self._check_names(names)
        return np.sort(found.flatten() if names is None else found.all(list(names)))

    def subdomain_dofs(self, elements: str | np.ndarray | Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the sorted degrees of freedom of a subdomain's cells, including those on its rim."""
        indices = self._named(elements, self.mesh.subdomains, "subdomain", self.mesh.normalize_elements)
        return np.unique(self.basis.dofs.element_dofs[:, indices])

    def nodal(self, function: Callable[[np.ndarray], ArrayLike]) -> np.ndarray:
        """Return the nodal interpolant (n,) of a function: its values at the places of the degrees of freedom.

        Args:
            function: A function of x (d, n) that returns (n,) or a number; with a vector-valued element, vectors
                (components, n).

        Raises:
            FEMError: The element has degrees of freedom that are not point values, the function returns another
                shape, or JAX traces what it returns.
        """
        self.check_nodal()
        given = function(self.locations)
        if isinstance(given, jax.core.Tracer):
            raise FEMError(
                "nodal: JAX traces what the function returns, and NumPy cannot take it; compute the values in jax.numpy"
                " from V.locations, and pass V.interpolate(values)"
            )
        values = np.asarray(self.own_components(given, np.arange(self.n)))
        if values.shape not in ((), (self.n,)):
            raise FEMError(f"nodal: the function returned shape {values.shape}; expected a number or ({self.n},)")
        return np.array(np.broadcast_to(values, (self.n,)))

    @property
    def vector_size(self) -> int:
        """The number of components of a vector-valued element's functions; 1 of those of all others."""
        return self.element.dim if isinstance(self.element, skfem.ElementVector) else 1

    def own_components(self, vectors: ArrayLike, dofs: np.ndarray) -> ArrayLike:
        """Return of vectors at the places of degrees of freedom the component that each of these gives.

        What is no array of vectors, or of a space of scalars, is returned as it is.

        Args:
            vectors: The vectors (components, k). Differentiable.
            dofs: The degrees of freedom (k,).

        Returns:
            The values of these, (k,).
        """
        element = self.element
        if not isinstance(element, skfem.ElementVector) or np.shape(vectors) != (element.dim, len(dofs)):
            return vectors
        component = np.empty(self.n, int)
        for k, own in enumerate(self.basis.split_indices()):
            component[own] = k
        known = vectors if isinstance(vectors, jax.core.Tracer) else np.asarray(vectors)
        return known[component[dofs], np.arange(len(dofs))]

    def check_nodal(self, names: Sequence[str] | None = None) -> None:
        """Refuse an element with degrees of freedom that are not point values: fluxes, slopes, bubbles.

        Args:
            names: The degrees of freedom that are looked at, by scikit-fem's names (default: all).

        Raises:
            FEMError: Some of these are not point values.
        """
        others = {n for n in (names or self.element.dofnames) if not re.fullmatch(r"u(\^\d+)*", n)}
        if others:
            raise FEMError(
                f"{type(self.element).__name__} has degrees of freedom that are no point values ({', '.join(others)}); "
                "project the function (space.basis.project), or give one value a degree of freedom"
            )

    def _check_whole(self, method: str) -> None:
        if self.basis.tind is not None:
            raise FEMError(f"{method}() of a part of the mesh; call it on the space of the whole mesh, with names")
        if is_periodic(self.mesh):
            raise FEMError(
                f"{method}(): scikit-fem integrates over no facets of a periodic mesh, a {type(self.mesh).__name__}; "
                f"{PERIODIC_REMEDY}"
            )

    def _check_names(self, names: Sequence[str] | None) -> None:
        unknown = set(names or ()) - set(self.element.dofnames)
        if unknown:
            known = ", ".join(dict.fromkeys(self.element.dofnames))
            raise FEMError(f"{type(self.element).__name__} has no degrees of freedom named {unknown}; it has {known}")

    def interpolate(self, values: ArrayLike) -> Any:
        """Return the function with given degrees of freedom at the quadrature points, with its derivatives.

        Args:
            values: The degrees of freedom, (n,). Differentiable.

        Returns:
            A `Field`, or a tuple of them for a mixed element.

        Raises:
            FEMError: The values have another shape.
        """
        values = jnp.asarray(values)
        if values.shape != (self.n,):
            raise FEMError(f"interpolate expects one value a degree of freedom, ({self.n},), got shape {values.shape}")
        fields = tuple(Field(field.parts, self.cells) for field in _interpolate(self.tables, values))
        return fields if len(fields) > 1 else fields[0]

    def per_element(self, values: ArrayLike) -> Field:
        """Return the function that is constant in each element, as a field.

        Args:
            values: The value in each element of the mesh, (elements,). Differentiable.

        Raises:
            FEMError: The values have another shape.
        """
        values = jnp.asarray(values)
        if values.shape != (self.mesh.nelements,):
            raise FEMError(f"per_element expects shape ({self.mesh.nelements},), got {values.shape}")
        cells = self.basis.tind
        return Field({"value": (values if cells is None else values[cells])[:, None]}, self.cells)

    def point_evaluation(self, points: ArrayLike, *, tolerance: float = OUTSIDE_TOLERANCE) -> CSRMatrix:
        """Return the matrix (k, n) that evaluates a function of this space at points (d, k).

        For vector-valued functions (components · k, n): all points of the first component come first, so that
        ``(matrix @ u).reshape(components, k)`` has a column a point, as `point_load` takes forces. Points that are
        a little outside are moved to the nearest place of the boundary, and a logged warning says how many and how far.

        Args:
            points: The points (d, k), one column each.
            tolerance: The largest distance outside at which points are moved, relative to the longest edge of the cell
                there; 0 moves none.

        Raises:
            FEMError: Points lie further outside, which it lists and of which it says how far the worst is; or they
                have another shape, or the space has no values at points.
        """
        if not isinstance(self.basis, skfem.CellBasis) or isinstance(self.element, skfem.ElementComposite):
            raise FEMError(f"{self} cannot be evaluated at points; take a space on cells, one component of a mixed one")
        if is_periodic(self.mesh):
            raise FEMError(f"scikit-fem finds no points in a periodic mesh; {PERIODIC_REMEDY}")
        points = np.atleast_2d(concrete_points(points))
        if points.ndim != 2 or points.shape[0] != self.mesh.dim() or not points.size:
            raise FEMError(f"points have shape {points.shape}; expected ({self.mesh.dim()}, k), one column a point")
        return CSRMatrix.from_scipy(point_matrix(self.basis, points, tolerance))

    def point_load(self, points: ArrayLike, rates: ArrayLike) -> jax.Array:
        """Return the load Σ_k rate_k v(x_k) of point sources or forces.

        It is the transpose of `point_evaluation`; each source lies in one cell, and the sum of a load is that of its
        rates.

        Args:
            points: The points (d, k), one column each.
            rates: The rates (k,), or (k, r) for r loads; for vector-valued functions the forces (components, k), or
                (components, k, r). Differentiable.

        Returns:
            The load (n,), or (n, r).

        Raises:
            FEMError: Points lie outside the mesh, which it lists, or rates have another shape.
        """
        matrix = self.point_evaluation(points)
        rates, count = jnp.asarray(rates), np.atleast_2d(points).shape[1]
        components = matrix.shape[0] // count
        expected = (count,) if components == 1 else (components, count)
        if rates.shape[: len(expected)] != expected or rates.ndim > len(expected) + 1:
            raise FEMError(f"rates have shape {rates.shape}; expected {expected}, or one axis more for several loads")
        return matrix.T @ rates.reshape(matrix.shape[0], *rates.shape[len(expected) :])

    @cached_property
    def cells(self) -> bytes:
        """The digest of the cells and quadrature points; fields with the same one can meet in a form."""
        basis = self.basis
        parts: list[Any] = [self.mesh.p, self.mesh.t, basis.X]
        parts += [getattr(basis, "find", basis.tind), getattr(getattr(basis, "find", None), "ori", None)]
        content = hashlib.blake2b(digest_size=16)
        for part in parts:
            content.update(b"-" if part is None else np.ascontiguousarray(part).tobytes() + b"|")
        return content.digest()

    @cached_property
    def patterns(self) -> dict[Any, Any]:
        """The patterns of matrices with this trial space and the maps that fill them, kept by `assembly`."""
        return {}

    @cached_property
    def tables(self) -> Tables:
        """The tables of this space, made on first use."""
        basis = self.basis
        fields = _with_new_mapping(basis).default_parameters()  # of a copy, because scikit-fem would keep them
        with jax.ensure_compile_time_eval():  # the first use may be inside a function that JAX traces
            components = tuple(_component_tables(basis, k) for k in range(len(basis.basis[0])))
            _share_memory(basis, components)
            return Tables(
                local=LinearMap.selection(basis.element_dofs, int(basis.N)),
                components=components,
                dx=jax.device_put(basis.dx),
                geometry={name: Field({"value": jax.device_put(np.asarray(f))}) for name, f in fields.items()},
                references=tuple(_references(parts) for parts in components),
            )

    def _facets(self, facets: Facets) -> np.ndarray:
        if facets is None:
            whole: np.ndarray = self.mesh.boundary_facets()
            return whole
        if callable(facets) and is_periodic(self.mesh):
            facets = boundary_facets_where(self.mesh, facets)
        elif callable(facets):  # scikit-fem alone would take facets inside, too
            facets = self.mesh.facets_satisfying(facets, boundaries_only=True)
        return self._named(facets, self.mesh.boundaries, "boundary", self.mesh.normalize_facets)

    def _named(self, key: Any, known: dict[str, Any] | None, what: str, normalize: Callable[..., Any]) -> np.ndarray:
        names = [key] if isinstance(key, str) else key if isinstance(key, (list, tuple, set)) else []
        for name in names:
            if isinstance(name, str) and name not in (known or {}):
                have = ", ".join(map(repr, known)) if known else "none; name them with mesh.with_boundaries({...})"
                raise MeshError(f"the mesh has no {what} named {name!r}; it has {have}")
        if isinstance(key, np.ndarray) and key.dtype == bool:
            key = np.flatnonzero(key)
        indices = normalize(key) if callable(key) or np.size(key) else np.zeros(0, int)
        if len(indices) == 0:
            raise MeshError(f"the {what} is empty: no name, index or midpoint fits")
        return indices

    def __repr__(self) -> str:
        kind = type(self.basis).__name__
        return f"FunctionSpace({type(self.element).__name__} on {type(self.mesh).__name__}, n={self.n}, {kind})"


def _lightened(basis: AbstractBasis) -> AbstractBasis:
    """Return the basis with derivatives stored once where they are the same at all points of each cell."""
    fields = (field for local in basis.basis for field in local)
    for field, name in product(fields, PARTS[1:]):
        part = getattr(field, name)
        if part is not None and part.shape[-1] > 1 and (part == part[..., :1]).all():
            setattr(field, name, np.broadcast_to(part[..., :1].copy(), part.shape))
    return _with_new_mapping(basis)


def _with_new_mapping(basis: AbstractBasis) -> AbstractBasis:
    """Return a copy of a basis without the matrices that an affine mapping keeps once it was used.

    The mapping makes them again when it is asked for them.
    """
    other = copy(basis)
    if type(basis.mapping) is skfem.MappingAffine and basis.mapping.tind is None:
        other.mapping = skfem.MappingAffine(basis.mesh)
    return other


def _component_tables(basis: AbstractBasis, component: int) -> dict[str, jax.Array]:
    functions = [dict(zip(PARTS, local[component].astuple, strict=True)) for local in basis.basis]
    present = [name for name in PARTS if functions[0][name] is not None]
    return {name: jax.device_put(_compressed([f[name] for f in functions])) for name in present}


def _share_memory(basis: AbstractBasis, components: tuple[dict[str, jax.Array], ...]) -> None:
    """Make scikit-fem's basis functions look into the tables, in place of arrays of their own."""
    for i, local in enumerate(basis.basis):
        for field, parts in zip(local, components, strict=True):
            for name in PARTS[1:]:
                if name in parts:
                    shared = np.asarray(parts[name])[..., i, :, :]
                    setattr(field, name, np.broadcast_to(shared, getattr(field, name).shape))


def _references(parts: dict[str, jax.Array]) -> dict[str, Reference | None]:
    """Return for each part its table as a sum over reference functions, None where there is none.

    It is made for elements with many basis functions, whose element matrices are made by products.

    Args:
        parts: The tables (tensor axes, i, c, q) of the parts of a component, by name.
    """
    return {
        name: reference_of(np.asarray(table))
        if table.shape[-3] > MAX_WRITTEN_OUT_TERMS and table.shape[-1] > 1
        else None
        for name, table in parts.items()
    }


def _compressed(parts: list[np.ndarray]) -> np.ndarray:
    """Return one table (tensor axes, i, c, q) of functions, cut to c = 1 or q = 1 where it is constant.

    Args:
        parts: The part (tensor axes, c, q) of each function i.
    """
    by_point = slice(1) if all((part == part[..., :1]).all() for part in parts) else slice(None)
    by_cell = slice(1) if all((part == part[..., :1, :]).all() for part in parts) else slice(None)
    return np.stack([np.asarray(part[..., by_cell, by_point]) for part in parts], axis=-3)


def _interpolate(tables: Tables, values: jax.Array) -> tuple[Field, ...]:
    count, cells = tables.local_shape
    local = jax.lax.split(tables.local(values), (cells,) * count)  # (c,) each

    def part(table: jax.Array) -> jax.Array:
        return with_stored_derivatives(_combine(table, local), tables.local.index)

    return tuple(Field({name: part(table) for name, table in component.items()}) for component in tables.components)


def _combine(table: jax.Array, local: Sequence[jax.Array]) -> jax.Array:
    """Return the function (…, c, q) with given local dofs, Σ_i local[i] · table[…, i, :, q].

    Of few functions at few points the sum is written out. XLA then evaluates a form point by point in one loop,
    where a sum over an axis of three would end it.

    Args:
        table: The table (…, i, c, q) of the basis functions.
        local: For each local dof i its values in the cells, (c,).
    """
    if len(local) > MAX_WRITTEN_OUT_TERMS:
        if table.shape[-2] == 1:  # the same in all cells
            return jnp.einsum("ic,...iq->...cq", jnp.stack(local), table[..., 0, :])
        return (jnp.stack(local)[:, :, None] * table).sum(-3)
    if table.shape[-1] > MAX_WRITTEN_OUT_TERMS:
        return sum(local[i][:, None] * table[..., i, :, :] for i in range(len(local)))  # type: ignore[return-value]
    points = [sum(local[i] * table[..., i, :, q] for i in range(len(local))) for q in range(table.shape[-1])]
    return jnp.stack(points, axis=-1)
