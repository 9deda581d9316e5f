"""Average precision of objects, computed by faster-coco-eval, which agrees with pycocotools."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import GroundTruth, Prediction, top_indices

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
# Arguments of detection_ap for object AP everywhere but in the Open Images block.
OBJECT_AP = {"plus_one": False, "first_id": 1}
# The best detections of one class in one image count.
MAX_DETECTIONS = 100


class Detections(NamedTuple):
    """D scored boxes of one image.

    Attributes:
        boxes: (D, 4) float32, x1 y1 x2 y2 in pixels of the image as it lies on disk.
        scores: (D,) float32.
        classes: (D,) integers, 0-based.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    @classmethod
    def from_instances(cls, instances: Any) -> "Detections":
        """Take the boxes, scores and classes of Detectron2's ``Instances``."""
        return cls(
            boxes=instances.pred_boxes.tensor.detach().cpu().numpy().astype(np.float32),
            scores=instances.scores.detach().cpu().numpy().astype(np.float32),
            classes=instances.pred_classes.detach().cpu().numpy().astype(np.int32),
        )


NO_DETECTIONS = Detections(
    np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32)
)


def detections_per_query(prediction: Prediction, object_score: str = "softmax") -> Detections:
    """Take one detection for each query: its best class (D = N)."""
    scores, classes = prediction.object_scores(object_score)
    return Detections(prediction.boxes, scores, classes.astype(np.int32))


def best_classes(prediction: Prediction, max_detections: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the best (query, class) by sigmoid score; equal scores go by (query, class).

    Where a record gives classes and scores, these are its only ones, one for each query.

    Returns:
        Queries, classes (int32) and scores (float32) of D = min(max_detections, N * C) detections.
    """
    if prediction.classes is not None:
        queries = top_indices(prediction.scores, max_detections)
        return queries.astype(np.int32), prediction.classes[queries].astype(np.int32), prediction.scores[queries]
    logits = prediction.logits.reshape(-1)
    # Ranked by logit: sigmoid keeps the order, but saturates.
    best = top_indices(logits, max_detections)
    queries, classes = np.divmod(best, max(prediction.logits.shape[1], 1))
    # tanh, since exp overflows for logits far below zero.
    scores = 0.5 * (1.0 + np.tanh(0.5 * logits[best]))
    return queries.astype(np.int32), classes.astype(np.int32), scores.astype(np.float32)


def detections_per_class(prediction: Prediction, max_detections: int = 100) -> Detections:
    """Take the best (query, class) by sigmoid score, the usual way to score detectors with sigmoid scores.

    A query may appear several times, with different classes. Equal scores go by (query, class).
    """
    queries, classes, scores = best_classes(prediction, max_detections)
    return Detections(prediction.boxes[queries], scores, classes)


def detection_ap(
    detections: Sequence[Detections],
    ground_truth: Sequence[GroundTruth],
    plus_one: bool = False,
    first_id: int = 1,
    truth_plus_one: bool | None = None,
) -> dict[str, float]:
    """Compute COCO's average precision of boxes.

    Args:
        detections: one record for each image; the 100 best of each class count.
        ground_truth: the annotated objects, in the same order. Classes without any do not enter the mean. Detections
            that no object takes, but a crowd of their class, count neither as right nor as wrong. A crowd takes any
            number of them: its overlap is the share of the detection that lies inside.
        plus_one: the size of a box is w = x2 - x1 + 1, h = y2 - y1 + 1. The area of an annotation is w * h; it only
            decides if the annotation is small, medium or large.
        first_id: number of the first annotation. COCO's evaluation mistakes a match with number 0 for no match, so 0
            loses one object of the dataset.
        truth_plus_one: the same as ``plus_one`` for annotations only; None: ``plus_one``.

    Returns:
        "AP" (mean over IoU 0.50:0.95), "AP50", "AP75", "APs", "APm", "APl"; in 0..1, NaN if there is no
        annotation to be found.
    """
    pixel = plus_one if truth_plus_one is None else truth_plus_one
    annotations = _Boxes.of([(truth.boxes, truth.classes, None) for truth in ground_truth], pixel)
    crowds = _Boxes.of([(truth.crowd_boxes, truth.crowd_classes, None) for truth in ground_truth], pixel)
    found = _Boxes.of([(d.boxes, d.classes, d.scores) for d in detections], plus_one)
    first_crowd = first_id + len(annotations.classes)
    # One class at a time: all records of a dataset as COCO's dicts would not fit into memory, and most
    # (image, class) are empty.
    curves = [
        _precision(
            annotations.of_class(label, first_id) + crowds.of_class(label, first_crowd, iscrowd=1),
            found.of_class(label, 1),
        )
        for label in np.unique(annotations.classes)
    ]
    if not curves:
        return dict.fromkeys(METRICS, float("nan"))
    # (IoU thresholds, recall points, classes, areas)
    precision = np.concatenate(curves, axis=2)
    every, small, medium, large = np.moveaxis(precision, 3, 0)
    chosen = (every, every[0], every[5], small, medium, large)
    return {name: _mean_of_valid(values) for name, values in zip(METRICS, chosen, strict=True)}


class _Boxes(NamedTuple):
    """Boxes of a dataset, one after the other: images (B,), xywh (B, 4), classes (B,), scores (B,) or None."""

    images: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray | None

    @classmethod
    def of(cls, records: Sequence[tuple], plus_one: bool) -> "_Boxes":
        images = np.repeat(np.arange(len(records)), [len(boxes) for boxes, _, _ in records])
        boxes = np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _, _ in records)])
        boxes[:, 2:] = boxes[:, 2:] - boxes[:, :2] + float(plus_one)
        classes = np.concatenate([np.zeros(0, dtype=np.int64), *(classes for _, classes, _ in records)])
        scored = bool(records) and records[0][2] is not None
        scores = np.concatenate([scores for _, _, scores in records]) if scored else None
        return cls(images, boxes, classes, scores)

    def of_class(self, label: int, first_id: int, iscrowd: int = 0) -> list[dict[str, Any]]:
        """Make COCO's records of one class, numbered by their position among all records."""
        rows = np.flatnonzero(self.classes == label)
        scores = [{}] * len(rows) if self.scores is None else [{"score": s} for s in self.scores[rows].tolist()]
        return [
            {
                "id": number,
                "image_id": image,
                "category_id": int(label),
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": iscrowd,
                **score,
            }
            for number, image, box, score in zip(
                (rows + first_id).tolist(), self.images[rows].tolist(), self.boxes[rows].tolist(), scores, strict=True
            )
        ]


def _precision(annotations: list[dict[str, Any]], found: list[dict[str, Any]]) -> np.ndarray:
    """Compute precision of one class: (IoU thresholds, recall points, 1, areas); -1 if no annotation has the area."""
    # Here, since reports of an exported model import this room without it.
    from faster_coco_eval import COCOeval_faster

    images = sorted({record["image_id"] for record in annotations + found})
    evaluation = COCOeval_faster(
        _Records(images, annotations), _Records(images, found), iouType="bbox", print_function=_say_nothing
    )
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][..., 0]


class _Records:
    """Records of a single class in the form that COCOeval reads, without the index of a COCO object."""

    def __init__(self, images: list[int], annotations: list[dict[str, Any]]):
        self._images, self._annotations = images, annotations

    def getImgIds(self) -> list[int]:
        return self._images

    def getCatIds(self) -> list[int]:
        return sorted({record["category_id"] for record in self._annotations})

    def getAnnIds(self, imgIds: list[int], catIds: list[int] | None) -> list[int]:
        return list(range(len(self._annotations)))

    def loadAnns(self, ids: list[int]) -> list[dict[str, Any]]:
        return [self._annotations[i] for i in ids]


def _mean_of_valid(precision: np.ndarray) -> float:
    valid = precision[precision >= 0]
    return float(valid.mean()) if len(valid) else float("nan")


def _say_nothing(*_: Any) -> None:
    pass
