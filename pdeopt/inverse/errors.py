"""The error of bad input to an inverse problem."""

from pdeopt.errors import PdeoptError


class InputError(PdeoptError, ValueError):
    """An error of data, options or initial values that do not fit."""
