"""Problems of annotations, as readers and checks report it."""

from dataclasses import dataclass

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
