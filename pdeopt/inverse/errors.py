"""Bad input to an inverse problem."""

from pdeopt.errors import PdeoptError


class InputError(PdeoptError, ValueError):
    """Data, options or initial values that do not fit; the message says what was got and what was expected."""
