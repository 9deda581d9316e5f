"""The objects and relations that drawings show, compared with the annotations."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from tqdm import tqdm

from egtr.data import get_metadata
from egtr.evaluation import match_objects, match_triplets
from egtr.inference import EGTRPredictor
from egtr.structures import GroundTruth, Prediction, RankedTriplets, SceneGraph, pairwise_iou

# An object is found if its class is right and its box overlaps as much as COCO's AP50 asks for.
IOU = 0.5

SELECTIONS: dict[str, Callable[[SceneGraph], SceneGraph]] = {
    "only with relations": lambda graph: graph.for_display(single_objects=False),
    "with single objects": SceneGraph.for_display,
}
# How a drawing chooses relations; for models without a calibration both are the same.
RULES: dict[str, Callable[[SceneGraph], SceneGraph]] = {
    "by default": SceneGraph.for_display,
    "only by rank": lambda graph: replace(graph, least_probability=None).for_display(),
}


def measure_shown_objects(cfg: CfgNode, images: int | None = None) -> dict[str, Any]:
    """Count annotated objects and relations that drawings show, and boxes and relations that are not annotated.

    The weights are MODEL.WEIGHTS, and the images come from DATASETS.TEST[0].

    Args:
        images: use only this number of images, from the first; None: all.

    Returns:
        "images" and "annotated", their numbers; "shown": for each of SELECTIONS the numbers "found" and "false";
        "relations": for each of RULES the numbers "shown" and "annotated".

    Raises:
        WeightsError: the weights cannot be read.
        DataError: the dataset or an image cannot be read.
    """
    predictor = EGTRPredictor(cfg)
    name = cfg.DATASETS.TEST[0]
    get_metadata(name)
    records = list(islice(DatasetCatalog.get(name), images))
    results = predictor.predict([record["file_name"] for record in records])
    shown = {selection: {"found": 0, "false": 0} for selection in SELECTIONS}
    relations = {rule: {"shown": 0, "annotated": 0} for rule in RULES}
    annotated = 0
    for record, result in zip(tqdm(records, unit="image", disable=None, leave=False), results, strict=True):
        if result.error is not None:
            raise result.error
        truth = GroundTruth.from_dict(record)
        annotated += len(truth.boxes)
        for selection, select in SELECTIONS.items():
            graph = select(result.graph)
            found = count_found(graph, truth)
            shown[selection]["found"] += found
            shown[selection]["false"] += len(graph.boxes) - found
        for rule, select in RULES.items():
            graph = select(result.graph)
            relations[rule]["shown"] += len(graph)
            relations[rule]["annotated"] += count_annotated(graph, result.graph.prediction, truth)
    return {"images": len(records), "annotated": annotated, "shown": shown, "relations": relations}


def count_found(graph: SceneGraph, truth: GroundTruth) -> int:
    """Count the annotated objects that a graph has; each of its objects finds one at most, the most certain first."""
    iou = pairwise_iou(graph.boxes, truth.boxes)
    iou[graph.classes[:, None] != truth.classes] = 0
    found = 0
    for row in np.argsort(-graph.presence, kind="stable"):
        best = iou[row].argmax() if len(truth.boxes) else 0
        if len(truth.boxes) and iou[row, best] >= IOU:
            iou[:, best] = 0
            found += 1
    return found


def count_annotated(graph: SceneGraph, prediction: Prediction, truth: GroundTruth) -> int:
    """Count the relations of a graph that hit an annotated one: same predicate, both objects matched."""
    _, classes = prediction.object_scores()
    matches = match_objects(prediction.boxes, classes, truth.boxes, truth.classes, IOU)
    shown = RankedTriplets(*graph.triplet_queries.T, graph.triplets[:, 2], graph.triplet_scores)
    return int(match_triplets(shown, matches, truth.triplets).any(axis=1).sum())
