"""Average precision of objects, computed by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from egtr.structures import GroundTruth, Prediction, top_indices

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
# How object AP is taken everywhere but in the Open Images block: arguments of detection_ap.
OBJECT_AP = {"plus_one": False, "first_id": 1}


class Detections(NamedTuple):
    """D scored boxes of one picture.

    Attributes:
        boxes: (D, 4) float32, x1 y1 x2 y2 in pixels of the picture as it lies on disk.
        scores: (D,) float32.
        classes: (D,) integers, 0-based.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def detections_per_query(prediction: Prediction, object_score: str = "softmax") -> Detections:
    """One detection a query: its best class (D = N)."""
    scores, classes = prediction.object_scores(object_score)
    return Detections(prediction.boxes, scores, classes.astype(np.int32))


def detections_per_class(prediction: Prediction, max_detections: int = 100) -> Detections:
    """The best (query, class) by sigmoid score, as detectors with sigmoid scores are usually scored.

    A query may appear several times, with different classes. Equal scores go by (query, class).
    """
    logits = prediction.logits.reshape(-1)
    # Ranked by logit: sigmoid keeps the order but saturates.
    best = top_indices(logits, max_detections)
    queries, classes = np.divmod(best, max(prediction.logits.shape[1], 1))
    # Through tanh, since exp overflows on logits far below zero.
    scores = 0.5 * (1.0 + np.tanh(0.5 * logits[best]))
    return Detections(prediction.boxes[queries], scores.astype(np.float32), classes.astype(np.int32))


def detection_ap(
    detections: Sequence[Detections],
    ground_truth: Sequence[GroundTruth],
    plus_one: bool = False,
    first_id: int = 1,
) -> dict[str, float]:
    """COCO's average precision of boxes.

    Args:
        detections: one record a picture; pycocotools reads the 100 best of each class.
        ground_truth: its annotated objects, in the same order. Classes without any do not enter the mean.
        plus_one: boxes are taken as w = x2 - x1 + 1, h = y2 - y1 + 1. The area of an annotation, which only
            decides whether it is small, medium or large, is w * h.
        first_id: number of the first annotation. pycocotools takes a match with number 0 for no match, so 0
            loses one object of the data set.

    Returns:
        "AP" (mean over IoU 0.50:0.95), "AP50", "AP75", "APs", "APm", "APl"; in 0..1, NaN where there is no
        annotation to be found.
    """
    images = [{"id": index} for index in range(len(ground_truth))]
    categories = [{"id": int(c)} for c in np.unique([c for record in ground_truth for c in record.classes])]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for index, (found, truth) in enumerate(zip(detections, ground_truth, strict=True)):
        for box, label in zip(_xywh(truth.boxes, plus_one), truth.classes.tolist(), strict=True):
            annotations.append(_annotation(len(annotations) + first_id, index, label, box))
        boxes = _xywh(found.boxes, plus_one)
        for box, label, score in zip(boxes, found.classes.tolist(), found.scores.tolist(), strict=True):
            results.append(_annotation(len(results) + 1, index, label, box) | {"score": score})

    # pycocotools reports its progress by print
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _coco(images, categories, annotations), _coco(images, categories, results), iouType="bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # pycocotools says -1 where there is nothing to average
    return {
        name: float(value) if value >= 0 else float("nan")
        for name, value in zip(METRICS, evaluation.stats, strict=False)
    }


def _xywh(boxes: np.ndarray, plus_one: bool) -> list[list[float]]:
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + float(plus_one)], axis=1).tolist()


def _annotation(number: int, image: int, label: int, box: list[float]) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": label,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
    }


def _coco(images: list, categories: list, annotations: list) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    coco.createIndex()
    return coco
