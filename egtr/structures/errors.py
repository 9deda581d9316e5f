"""Errors that bad input raises, one kind for each sort of input. Catch the kind that you can handle::

EGTRError
├── ConfigurationError    a key, a value, an argument or an extension
├── DataError             a dataset, an annotation file or an image
│   ├── BrokenImageError  an image of a dataset that cannot be used (egtr.data.annotated_image)
│   └── TooLargeError     an image with more pixels than are allowed (egtr.data.image)
├── WeightsError          a weight file, or weights that do not fit the model
├── PredictionError       a prediction, a graph or a prediction file
├── TrainingError         a step that cannot be made: a loss that is not finite, a loader whose worker died
├── DownloadError         a file that cannot be fetched, or is not the one that was expected
├── WriteError            a file that cannot be written: no folder, no permission, no space
└── RefusedError          a request that the server refuses (egtr.serving.errors)
MissingDetectron2Error    an ImportError: Detectron2, or torch below it, is not installed
"""


class EGTRError(ValueError):
    """Bad input from outside: a file, a configuration or a record.

    The message names the file, the field and the remedy, in this order, so that a person can act on it without
    reading a traceback. Programming errors stay ``TypeError``, ``AssertionError`` and friends.
    """


class ConfigurationError(EGTRError):
    """A configuration cannot be used: a key, a value, a command-line argument or an extension."""


class DataError(EGTRError):
    """A dataset cannot be used: its annotations, its images or its name."""


class WeightsError(EGTRError):
    """Weights cannot be used: the file is missing, damaged or foreign, or does not fit the model."""


class PredictionError(EGTRError):
    """A prediction cannot be used: a record, a graph, or a file of saved predictions."""


class TrainingError(EGTRError):
    """Training cannot go on: a loss or gradient is not finite, or a process that reads images died."""


class DownloadError(EGTRError):
    """A file cannot be fetched: no network, no such address, a damaged archive, or content that was not expected."""


class WriteError(EGTRError):
    """A file cannot be written: its folder is missing, closed or full."""


def library_kind(error: EGTRError) -> type[EGTRError]:
    """Return the nearest class of ``error`` that this library defines.

    Errors cross processes by class and message; a class of a user's own file is unknown on the other side.
    """
    return next(kind for kind in type(error).__mro__ if kind.__module__.startswith("egtr."))


class MissingDetectron2Error(ImportError):
    """Detectron2, or torch below it, is missing. Models and datasets need it; structures and scoring do not."""
