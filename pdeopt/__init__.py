"""pdeopt: inverse problems and PDE-constrained optimization with differentiable finite elements.

The rooms: `pdeopt.sparse` (differentiable sparse solves), `pdeopt.fem` (forms and assembly), `pdeopt.pde` (state
equations), `pdeopt.inverse` (misfit, regularization, reduced functional), `pdeopt.optimize`, `pdeopt.verify`. This file
imports none of them, so that the command line starts fast; `PdeoptError` is the root of all errors.
"""

from pdeopt.errors import PdeoptError

__all__ = ["PdeoptError", "__version__"]

__version__ = "0.1.0"
