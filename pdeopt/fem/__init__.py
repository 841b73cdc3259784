"""scikit-fem meshes, elements and weak forms, assembled in JAX."""

from pdeopt.fem.errors import FEMError, FormError, MeshError
from pdeopt.fem.field import Field
from pdeopt.fem.forms.residual_forms import Energy, ResidualForm, energy, residual_form
from pdeopt.fem.forms.weak_forms import BilinearForm, Functional, LinearForm, bilinear_form, functional, linear_form
from pdeopt.fem.helpers import (
    cross,
    curl,
    d,
    dd,
    dddot,
    ddot,
    det,
    div,
    dot,
    eye,
    grad,
    identity,
    inner,
    inv,
    jump,
    mul,
    prod,
    sym_grad,
    trace,
    transpose,
)
from pdeopt.fem.meshes.mesh_check import check_mesh
from pdeopt.fem.spaces.constraints import Condition, MeanValue, MultiPoint, bordered
from pdeopt.fem.spaces.dirichlet import Dirichlet
from pdeopt.fem.spaces.displacements import rigid_motions
from pdeopt.fem.spaces.points import cells_at
from pdeopt.fem.spaces.space import FunctionSpace

__all__ = [
    "BilinearForm",
    "Condition",
    "Dirichlet",
    "Energy",
    "FEMError",
    "Field",
    "FormError",
    "FunctionSpace",
    "Functional",
    "LinearForm",
    "MeanValue",
    "MeshError",
    "MultiPoint",
    "ResidualForm",
    "bilinear_form",
    "bordered",
    "cells_at",
    "check_mesh",
    "cross",
    "curl",
    "d",
    "dd",
    "dddot",
    "ddot",
    "det",
    "div",
    "dot",
    "energy",
    "eye",
    "functional",
    "grad",
    "identity",
    "inner",
    "inv",
    "jump",
    "linear_form",
    "mul",
    "prod",
    "residual_form",
    "rigid_motions",
    "sym_grad",
    "trace",
    "transpose",
]
