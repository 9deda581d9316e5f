"""The one error type that bad input raises, and the one for a missing Detectron2."""


class EGTRError(ValueError):
    """Bad input from outside: a file, a configuration or a record.

    The message names the file, the field and the remedy, in this order, so that a person can act on it without
    reading a traceback. Programming errors stay ``TypeError``, ``AssertionError`` and friends.
    """


class MissingDetectron2Error(ImportError):
    """Detectron2, or torch below it, is missing. Models and data sets need it; structures and scoring do not."""
