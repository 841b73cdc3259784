"""The one error of the sparse solves, and how it crosses JAX."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from pdeopt.errors import PdeoptError


class SolveError(PdeoptError, RuntimeError, ArithmeticError):
    """A linear system that cannot be posed or solved; the message says why and what to do.

    As an ArithmeticError it tells a minimizer that there is no objective at this point, and to step back.
    """


_recent: deque[SolveError] = deque(maxlen=8)


def report(error: SolveError) -> SolveError:
    """Remember ``error`` before it is raised inside a host callback, so that `solve_errors` can find it."""
    _recent.append(error)
    return error


def check_finite(name: str, values: np.ndarray) -> None:
    """Raise a SolveError that names the array where a value is not finite."""
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise report(
            SolveError(
                f"{name} is not finite: {bad} of {values.size} values are NaN or infinite; "
                "check the parameters and coefficients that went into it"
            )
        )


@contextmanager
def solve_errors() -> Iterator[None]:
    """Raise a failed solve as `SolveError`, also out of compiled code.

    JAX turns an exception inside a host callback into a ``JaxRuntimeError``, or a ``ValueError`` where the compiled
    code ran before, whose text ends with the original message; inside this block the original is raised instead. Wait
    for the results inside the block (``jax.block_until_ready``), because compiled code runs asynchronously.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        text = str(error)
        if "allback" not in text:
            raise
        _replace_failed_token()
        for failure in reversed(_recent):
            if str(failure) in text:
                raise failure from None
        raise


@jax.jit
def _callback_that_succeeds() -> jax.Array:
    zero: jax.Array = jax.pure_callback(lambda: np.zeros(()), jax.ShapeDtypeStruct((), np.float64))
    return zero


def _replace_failed_token() -> None:
    """Run a callback that succeeds.

    JAX keeps the outcome of the last run with a callback, and would print a failed one again when Python exits.
    """
    jax.block_until_ready(_callback_that_succeeds())


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], (SolveError, KeyboardInterrupt)))


# JAX logs the traceback of every exception in a callback; ours is raised with its own message, once.
logging.getLogger("jax._src.callback").addFilter(_is_news)
