"""Problems of annotations, as readers and checks report it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from egtr.structures import DataError

logger = logging.getLogger(__name__)

# Stands for an id that the file does not define. The reader adds a Problem that quotes the id.
UNKNOWN = -1

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """Something wrong in the annotations.

    Attributes:
        kind: a few words with hyphens, such as "unknown-category"; reports count by it.
        message: one line that names file, image id, field and remedy.
        image_id: the image; None if the problem concerns the whole file.
        severity: "error" if training would be wrong or impossible, "warning" if training goes on and leaves out
            the thing that the message names.
    """

    kind: str
    message: str
    image_id: int | str | None = None
    severity: str = ERROR


def log_or_raise(problems: Sequence[Problem]) -> None:
    """Log the warnings.

    Raises:
        DataError: the first problem of severity "error".
    """
    for problem in problems:
        if problem.severity == ERROR:
            raise DataError(problem.message)
        logger.warning(problem.message)
