"""pdeopt: inverse problems and PDE-constrained optimization with differentiable finite elements.

A problem by its name is built and solved in two calls::

    import pdeopt

    solution = pdeopt.solve(pdeopt.build("conductivity"))

The rooms: `pdeopt.sparse` (differentiable sparse solves), `pdeopt.fem` (forms and assembly), `pdeopt.pde` (state
equations), `pdeopt.inverse` (misfit, regularization, reduced functional), `pdeopt.optimize`, `pdeopt.inversion`,
`pdeopt.verify`. They are imported where they are used, so that the command line starts fast.
"""

from typing import TYPE_CHECKING, Any

from pdeopt.errors import PdeoptError

if TYPE_CHECKING:
    from pdeopt.api import Solution, build, check, load, solve

__version__ = "0.1.0"
__all__ = ["PdeoptError", "Solution", "build", "check", "load", "solve"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from pdeopt import api

        return getattr(api, name)
    raise AttributeError(f"module 'pdeopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
