"""The score of images that could not be read."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from egtr.structures import DataError, GroundTruth, Prediction

from .detection import NO_DETECTIONS, Detections
from .packing import ScoredImage

logger = logging.getLogger(__name__)

# The ids of the images that a process has scored, and C and R of its predictions if they have any.
Seen = tuple[set[Any], tuple[int, int] | None]

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


def list_seen(images: Mapping[Any, ScoredImage]) -> Seen:
    """List the scored images of one process for :func:`find_missing`."""
    scores = [image.scores for image in images.values() if image.scores is not None]
    return set(images), next(((s.num_classes, s.num_predicates) for s in scores), None)


def find_missing(
    everywhere: Iterable[Seen], ground_truth: Mapping[Any, GroundTruth], name: str
) -> tuple[list[Any], tuple[int, int] | None]:
    """Find the images of a dataset that no process has scored, and warn of them.

    Args:
        everywhere: for each process what :func:`list_seen` returns.
        ground_truth: all images of the dataset.
        name: of the dataset, for messages.

    Returns:
        The ids of the missing images, in the order of the dataset, and C and R of the model's predictions; None in
        place of these if the model is only a detector.

    Raises:
        DataError: no image was scored.
    """
    processes = list(everywhere)
    seen = set().union(*(ids for ids, _ in processes))
    missing = [image_id for image_id in ground_truth if image_id not in seen]
    broken = f"DATALOADER.SKIP_BROKEN: {len(missing)} of {len(ground_truth)} images of {name} are broken"
    if not seen:
        raise DataError(f"{broken}, so there is nothing to evaluate")
    if missing:
        logger.warning("%s. They count as images in which nothing was found.", broken)
    return missing, next((columns for _, columns in processes if columns is not None), None)
