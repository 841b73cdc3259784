"""The optimizers by name: pdeopt's own are in `BUILT_IN`, any other one is given to `register`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from pdeopt.errors import did_you_mean
from pdeopt.optimize.active_set.primal_dual import ActiveSet
from pdeopt.optimize.constrained.augmented_lagrangian import AugmentedLagrangian
from pdeopt.optimize.gauss_newton import GaussNewton, LevenbergMarquardt
from pdeopt.optimize.libraries.ipopt_method import Ipopt
from pdeopt.optimize.libraries.nlopt_methods import NLOPT_METHODS
from pdeopt.optimize.libraries.scipy_methods import METHODS
from pdeopt.optimize.newton import NewtonCG
from pdeopt.optimize.objective import OptimizerError
from pdeopt.optimize.optimizer import CONSTRAINTS, HESSIANS, KINKS, Optimizer

#: The optimizers that are registered from the start, the default first.
BUILT_IN: tuple[Optimizer, ...] = (
    METHODS[0],
    NewtonCG(),
    GaussNewton(),
    LevenbergMarquardt(),
    *METHODS[1:],
    ActiveSet(),
    AugmentedLagrangian(),
    AugmentedLagrangian(NewtonCG()),
    *NLOPT_METHODS,
    Ipopt(),
)

_optimizers: dict[str, Optimizer] = {}


def optimizers() -> Mapping[str, Optimizer]:
    """Return all optimizers by name, the default first, as a view that follows `register`."""
    return MappingProxyType(_optimizers)


def register(optimizer: Optimizer) -> None:
    """Make an optimizer known by its name, to `minimize` and to the command line.

    Args:
        optimizer: The optimizer, of a class of its own. Another object of the same class replaces it, as where a
            notebook cell runs twice.

    Raises:
        OptimizerError: The object is no optimizer, needs, keeps or treats what there is not, or has the name of another
            one.
    """
    check_optimizer(optimizer)
    former = _optimizers.get(optimizer.name, optimizer)
    if _class_name(former) != _class_name(optimizer):
        raise OptimizerError(
            f"the name {optimizer.name!r} belongs to {_class_name(former)}, so that {_class_name(optimizer)} cannot "
            "have it; choose another name"
        )
    if any(one.name == optimizer.name and one != optimizer for one in BUILT_IN):
        raise OptimizerError(f"{optimizer.name!r} is an optimizer of pdeopt; give one with other options another name")
    _optimizers[optimizer.name] = optimizer


def optimizer_named(name: str) -> Optimizer:
    """Return the optimizer of a name.

    Raises:
        OptimizerError: There is none; the message says which name is the nearest.
    """
    if not isinstance(name, str):
        raise OptimizerError(
            f"the optimizer is {name!r}; expected its name: an object is given to minimize, or to register first"
        )
    if name in _optimizers:
        return _optimizers[name]
    hint = did_you_mean(name, list(_optimizers))
    raise OptimizerError(f"unknown optimizer {name!r}; expected one of {', '.join(_optimizers)}{hint}")


def check_optimizer(optimizer: Optimizer) -> None:
    """Check that an object is an optimizer.

    Raises:
        OptimizerError: It is none, or needs, keeps or treats what there is not.
    """
    if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer) or not hasattr(optimizer, "name"):
        raise OptimizerError(
            f"the optimizer is {optimizer!r}; expected a name, or an object of a subclass of pdeopt.optimize.Optimizer "
            "that has a name and a method run(trace)"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.+-]*", str(optimizer.name)):
        raise OptimizerError(f"the optimizer's name is {optimizer.name!r}; expected small letters, digits and hyphens")
    for attribute, given, known in (
        ("needs", optimizer.needs, HESSIANS),
        ("keeps", optimizer.keeps, CONSTRAINTS),
        ("treats", optimizer.treats, KINKS),
    ):
        if not isinstance(given, (set, frozenset)) or not given <= set(known):
            raise OptimizerError(
                f"{optimizer.name} {attribute} {given!r}; expected a frozenset of {', '.join(map(repr, known))}"
            )


def _class_name(optimizer: Optimizer) -> str:
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"


for _optimizer in BUILT_IN:
    register(_optimizer)
