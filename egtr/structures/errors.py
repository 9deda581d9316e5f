"""The one error type that bad input raises."""


class EGTRError(ValueError):
    """Bad input from outside: a file, a configuration or a record.

    The message names the file, the field and the remedy, in this order, so that a person can act on it without
    reading a traceback. Programming errors stay ``TypeError``, ``AssertionError`` and friends.
    """
