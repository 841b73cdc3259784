"""Bad input to an inverse problem."""


class InputError(ValueError):
    """Data, options or initial values that do not fit; the message says what was got and what was expected."""
