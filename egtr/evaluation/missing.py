"""The score of images that could not be read."""

import numpy as np

from egtr.structures import Prediction

from .detection import Detections


def nothing_found(columns: tuple[int, int] | None) -> tuple[Detections, Prediction | None]:
    """Make the prediction of a model that sees nothing.

    All objects and triplets of the image count as not found. Protocols that leave out images without predicted
    pairs (``skip_images_without_pairs``) leave out this one too.

    Args:
        columns: C and R of the model's other predictions; None: the model is only a detector.
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
        # The size of the image is unknown. No box is measured by it.
        image_size=(1, 1),
    )
    return detections, prediction
