"""Ground truth and training triplets of registered datasets."""

import logging
from typing import Any

from detectron2.config import CfgNode

from egtr.data import build_triplet_counts
from egtr.data.datasets import read_dataset
from egtr.structures import EGTRError, GroundTruth, TripletCounts

logger = logging.getLogger(__name__)


def read_ground_truth(dataset_name: str, skip_broken: bool = False) -> dict[Any, GroundTruth]:
    """Read the annotations of a dataset, by image id; with ``skip_broken`` without images whose annotations fail."""
    truths = map(GroundTruth.from_dict, read_dataset(dataset_name, skip_broken)[0])
    return {truth.image_id: truth for truth in truths}


def training_triplets(cfg: CfgNode) -> TripletCounts | None:
    """Count the triplets of DATASETS.TRAIN; None, with a line in the log, if that is not possible."""
    try:
        return build_triplet_counts(cfg)
    except EGTRError as error:
        logger.info("No zero-shot recall and no head, body and tail, which need the training set: %s", error)
        return None
