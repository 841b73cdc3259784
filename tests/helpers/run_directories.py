"""Small run directories, and fields on meshes of every kind, for the tests of pictures and reports."""

import jax.numpy as jnp
import numpy as np
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import AtDofs, L2Misfit, Parameter, Problem, ReducedFunctional
from pdeopt.inversion.history import Row
from pdeopt.run.store.directory import write_json
from pdeopt.run.store.fields import fields_of, write_fields
from pdeopt.run.store.history import write_history
from pdeopt.run.store.mesh_output import mesh_files, write_mesh

TICKS = np.linspace(0, 1, 5)


def wedges(base, heights):
    """Triangles at several heights, joined."""
    p = np.hstack([np.vstack([base.p, np.full(base.nvertices, z)]) for z in heights])
    layer = np.vstack([base.t, base.t + base.nvertices])
    return skfem.MeshWedge1(p, np.hstack([layer + k * base.nvertices for k in range(len(heights) - 1)]))


MESHES = {
    "triangles": skfem.MeshTri.init_tensor(TICKS, TICKS),
    "quadrilaterals": skfem.MeshQuad.init_tensor(TICKS, TICKS),
    "tetrahedra": skfem.MeshTet.init_tensor(TICKS, TICKS, TICKS),
    "hexahedra": skfem.MeshHex.init_tensor(TICKS, TICKS, TICKS),
    "wedges": wedges(skfem.MeshTri.init_tensor(TICKS, TICKS), TICKS),
}
SPACES = {
    "P1": ("triangles", skfem.ElementTriP1(), "vertices"),
    "P2": ("triangles", skfem.ElementTriP2(), "vertices"),
    "P0": ("triangles", skfem.ElementTriP0(), "cells"),
    "DG1": ("triangles", skfem.ElementDG(skfem.ElementTriP1()), "cells"),
    "Q1": ("quadrilaterals", skfem.ElementQuad1(), "vertices"),
    "Q0": ("quadrilaterals", skfem.ElementQuad0(), "cells"),
    "tetrahedra P1": ("tetrahedra", skfem.ElementTetP1(), "vertices"),
    "tetrahedra P0": ("tetrahedra", skfem.ElementTetP0(), "cells"),
    "hexahedra Q1": ("hexahedra", skfem.ElementHex1(), "vertices"),
    "wedges": ("wedges", skfem.ElementWedge1(), "vertices"),
}


def linear(x):
    """1 + x + 2 y."""
    return 1 + x[0] + 2 * x[1:2].sum(0)


def space_of(name):
    mesh, element, _ = SPACES[name]
    return FunctionSpace(MESHES[mesh], element)


def problem_on(space, truth=True, dofs=None):
    """The 'state' is the coefficient, put on the whole space; enough to draw."""
    where = np.arange(space.n) if dofs is None else dofs
    misfit = L2Misfit.of(AtDofs(where[::2]), linear(space.locations[:, where[::2]]), 0.1)
    functional = ReducedFunctional(lambda m: jnp.zeros(space.n).at[where].set(m), misfit)
    return Problem(
        functional,
        initial=np.ones(len(where)),
        parameter=Parameter(space, "coefficient (–)", dofs),
        truth=linear(space.locations[:, where]) if truth else None,
        points=space.locations[:, where[::2]],
        state_space=space,
    )


def fields_on(name, truth=True):
    """At the initial guess, 1 everywhere."""
    problem = problem_on(space_of(name), truth)
    return fields_of(problem, problem.initial)


def write_meshes(folder, fields):
    """The names of the files."""
    files = mesh_files(fields)
    for name, file in files.items():
        write_mesh(folder / name, file)
    return list(files)


def rows(objectives):
    return [
        Row(k, j, 0.9 * j, 0.1 * j, abs(j), 0.1, k + 1, 0, k + 1, 2 * k + 2, 0.1 * k, 1.0, k + 1, k + 1, 0, 0, 0)
        for k, j in enumerate(objectives)
    ]


SUMMARY = {"status": "stopped", "message": "", "iterations": 2, "relative_error": 0.5, "expected_misfit": 1.0}
CONFIG = {"options": {"n": 4, "noise": 0.01}, "optimizer": "l-bfgs-b", "versions": {"pdeopt": "0.1.0"}}


def write_run(folder, fields=None, summary=None, config=None, history=None):
    """A run directory; ``summary`` and ``config`` replace and add values, and no fields are those of no result."""
    folder.mkdir()
    argv = ["run", folder.name, "--n", "4", "--out", str(folder), "--quiet"]
    write_json(folder / "config.json", {"problem": folder.name, **CONFIG, "argv": argv, **(config or {})})
    write_history(folder / "history.csv", history or rows((3, 2, 1)))
    if fields is not None:
        write_fields(folder / "result.npz", fields)
        write_json(folder / "summary.json", {"problem": folder.name, **SUMMARY, **(summary or {})})
    return folder
