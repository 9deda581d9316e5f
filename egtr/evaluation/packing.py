"""What travels between the processes of an evaluation: a few kB for each image."""

import pickle
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from egtr.structures import GroundTruth

from .detection import Detections
from .image_scores import ImageScores


class ScoredImage(NamedTuple):
    """What is kept of one image.

    Attributes:
        detections: what the model found.
        scores: the image's part in all metrics of its scene graph; None where the model returns none.
    """

    detections: Detections
    scores: ImageScores | None


def pack(images: Mapping[Any, ScoredImage]) -> bytes:
    """Images by image id, without their ground truth, which every process has."""
    records = [
        (image_id, detections, scores and replace(scores, ground_truth=None))
        for image_id, (detections, scores) in images.items()
    ]
    # Boxes of detections repeat those of the queries, so that this halves them.
    return zlib.compress(pickle.dumps(records), level=1)


def unpack(packed: bytes, ground_truth: Mapping[Any, GroundTruth]) -> dict[Any, ScoredImage]:
    """Inverse of :func:`pack`, given the ground truth by image id. It unpickles, so never feed it foreign data."""
    return {
        image_id: ScoredImage(detections, scores and replace(scores, ground_truth=ground_truth[image_id]))
        for image_id, detections, scores in pickle.loads(zlib.decompress(packed))
    }
