"""Images that nobody could read: what counts for them in an evaluation."""

import numpy as np

from egtr.structures import Prediction

from .detection import Detections


def nothing_found(columns: tuple[int, int] | None) -> tuple[Detections, Prediction | None]:
    """What a model says that sees nothing.

    Args:
        columns: C and R of the model's other predictions; None: it is a detector alone.

    Its objects and triplets count as not found. Protocols that leave out images without predicted pairs
    (``skip_images_without_pairs``) do so with these as well.
    """
    detections = Detections(
        np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32)
    )
    if columns is None:
        return detections, None
    num_classes, num_predicates = columns
    prediction = Prediction(
        logits=np.zeros((0, num_classes)),
        boxes=np.zeros((0, 4)),
        pairs=np.zeros((0, 2)),
        connectivity=np.zeros(0),
        relation=np.zeros((0, num_predicates)),
        # Of the least image there is, its own size being unknown; no box is measured by it.
        image_size=(1, 1),
    )
    return detections, prediction
