"""The score of images that could not be read."""

import numpy as np

from egtr.structures import Prediction

from .detection import NO_DETECTIONS, Detections

# A sigmoid of it is no score at all.
_NEVER = -100.0


def nothing_found(columns: tuple[int, int] | None, num_given: int = 0) -> tuple[Detections, Prediction | None]:
    """Make the prediction of a model that sees nothing.

    All objects and triplets of the image count as not found. Protocols that leave out images without predicted
    pairs (``skip_images_without_pairs``) leave out this one too.

    Args:
        columns: C and R of the model's other predictions; None: the model is only a detector.
        num_given: number of annotated objects that the model is given, in tasks other than "sgdet". They become
            queries without extent, which match no object.
    """
    if columns is None:
        return NO_DETECTIONS, None
    num_classes, num_predicates = columns
    prediction = Prediction(
        logits=np.full((num_given, num_classes), _NEVER),
        boxes=np.zeros((num_given, 4)),
        pairs=np.zeros((0, 2)),
        connectivity=np.zeros(0),
        relation=np.zeros((0, num_predicates)),
        # The size of the image is unknown. No box is measured by it.
        image_size=(1, 1),
    )
    return NO_DETECTIONS, prediction
