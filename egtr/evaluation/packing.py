"""The records that the processes of an evaluation exchange: a few kB for each image."""

import pickle
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from egtr.structures import GroundTruth

from .detection import Detections
from .displayed import Sample
from .image_scores import ImageScores


class ScoredImage(NamedTuple):
    """The part of one image in all metrics.

    Attributes:
        detections: the model's detections.
        scores: the image's part in the metrics of scene graphs; None if the model returns none.
        displayed: the displayed part of the graph, compared with annotations; None if it is not measured.
    """

    detections: Detections
    scores: ImageScores | None
    displayed: Sample | None = None


def pack(images: Mapping[Any, ScoredImage]) -> bytes:
    """Pack images by image id, without their ground truth, which every process has."""
    records = [
        (image_id, detections, scores and replace(scores, ground_truth=None), displayed)
        for image_id, (detections, scores, displayed) in images.items()
    ]
    # Detections repeat the boxes of queries, so that compression halves them.
    return zlib.compress(pickle.dumps(records), level=1)


def unpack(packed: bytes, ground_truth: Mapping[Any, GroundTruth]) -> dict[Any, ScoredImage]:
    """Invert :func:`pack`, given the ground truth by image id. It unpickles, so never feed it foreign data."""
    return {
        image_id: ScoredImage(detections, scores and replace(scores, ground_truth=ground_truth[image_id]), displayed)
        for image_id, detections, scores, displayed in pickle.loads(zlib.decompress(packed))
    }
