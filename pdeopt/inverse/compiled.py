"""Compile a function of arrays once, with everything it closes over passed as arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdeopt.inverse.errors import InputError
from pdeopt.sparse import check_process, compiled_program, solve_errors


class Compiled:
    """A ``jax.jit`` for functions that close over large tables (spaces, matrices, data).

    They are arguments of its program, as `compiled_program` makes it. Failed solves raise SolveError.

    Args:
        function: The function of arrays.
        read: The function that makes an array of each argument; `floating` where None.
    """

    def __init__(self, function: Callable[..., Any], read: Callable[[Any], Any] | None = None) -> None:
        self._function = function
        self._read = floating if read is None else read
        self._programs: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self._function, self._read)  # the copy in another process compiles for itself

    def __call__(self, *args: Any) -> Any:
        """Return the value of the function for these arrays.

        Raises:
            SolveError: A system cannot be solved.
        """
        check_process()
        arrays = tuple(self._read(arg) for arg in args)
        key = tuple((array.shape, str(array.dtype)) for array in arrays)
        if key not in self._programs:
            program = compiled_program(self._function, *arrays)
            assert program is not None, "a functional reads nothing that JAX traces"
            self._programs[key] = program
        with solve_errors():
            return jax.block_until_ready(self._programs[key](*arrays))


def real(arg: Any) -> Any:
    """Return an array as 64-bit floating point.

    Raises:
        InputError: The values are complex, and would lose their imaginary part; or JAX traces them.
    """
    array = floating(arg)
    refuse_complex(array)
    return array


def refuse_complex(array: Any) -> None:
    """Refuse complex values where real ones are expected.

    Raises:
        InputError: The values are complex.
    """
    if jnp.iscomplexobj(array):
        raise InputError("a complex array was given where a real one is expected")


def floating(arg: Any) -> Any:
    """Return an array as 64-bit floating point, complex where it is complex.

    Raises:
        InputError: JAX traces the values, or they are no numbers.
    """
    if isinstance(arg, jax.core.Tracer):
        raise InputError(
            "this method of a reduced functional takes numbers, and JAX traces these; use J.objective(m), on which "
            "jax.grad, jax.jit and jax.vmap work, or its own derivatives, J.derivative(m) and J.hessian(m)"
        )
    kind = np.complex128 if np.iscomplexobj(arg) else np.float64
    try:
        return arg if isinstance(arg, jax.Array) and arg.dtype == kind else np.asarray(arg, kind)
    except (TypeError, ValueError):
        raise InputError(f"a {type(arg).__name__} was given where an array of numbers is expected") from None
