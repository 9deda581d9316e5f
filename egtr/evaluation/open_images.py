"""The metrics of Open Images' relation challenge, as the released implementation of EGTR computes them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from egtr.structures import GroundTruth, Prediction, RankedTriplets, best_pairs, pairwise_iou, top_indices

from .detection import detection_ap, detections_per_query
from .matching import match_objects, match_triplets
from .protocols import REFERENCE
from .recall import check_vocabulary
from .scoring import zip_in_step

# Candidates of a picture: at most so many, each with a score above the least.
MAX_CANDIDATES = 100
MIN_SCORE = 1e-5
# A pair enters with so many of its predicates.
PREDICATES_PER_PAIR = 2
RECALL_AT = 50
AP_IOU_THRESHOLD = 0.5
# Object AP of this block: one detection a query, its best class by softmax, boxes taken as w = x2 - x1 + 1 with area
# (w + 1)(h + 1), and objects numbered from 0, by which pycocotools loses the first one. Published numbers have it.
OBJECT_SCORE = "softmax"
OBJECT_AP = {"plus_one": True, "first_id": 0}
# Shares of wmAP_rel, wmAP_phr and micro R@50 in the score.
SCORE_WEIGHTS = (0.4, 0.4, 0.2)


class ImageRecord(NamedTuple):
    """What is kept of one picture with K candidates and T ground-truth triplets.

    Attributes:
        num_hits: distinct ground-truth triplets among the first 50 candidates.
        gt_predicates: (T,) int64.
        predicates, scores: (K,) of the candidates.
        targets: "rel" and "phr" to the (K,) ground-truth triplet that a candidate claims, -1 where it
            overlaps with none.
    """

    num_hits: int
    gt_predicates: np.ndarray
    predicates: np.ndarray
    scores: np.ndarray
    targets: dict[str, np.ndarray]


def rank_candidates(prediction: Prediction) -> RankedTriplets:
    """The 100 best triplets: every pair, (i, i) included, with its two best predicates.

    Exact ties go by (position of the pair, predicate).
    """
    object_scores, _ = prediction.object_scores(OBJECT_SCORE)
    pairs = prediction.pairs
    pair_scores = prediction.connectivity * object_scores[pairs].prod(axis=1)
    rows = best_pairs(prediction.relation, pair_scores, MAX_CANDIDATES, np.arange(len(pairs)))
    width = min(PREDICATES_PER_PAIR, prediction.relation.shape[1])
    relation = prediction.relation[rows]
    predicates = np.sort(np.argsort(-relation, axis=1, kind="stable")[:, :width], axis=1)
    scores = (np.take_along_axis(relation, predicates, axis=1) * pair_scores[rows, None]).reshape(-1)
    order = top_indices(scores, MAX_CANDIDATES)
    kept = order[scores[order] > MIN_SCORE]
    rows = rows[kept // max(width, 1)]
    return RankedTriplets(pairs[rows, 0], pairs[rows, 1], predicates.reshape(-1)[kept], scores[kept])


def score_open_image(prediction: Prediction, ground_truth: GroundTruth) -> ImageRecord:
    """Hold one prediction against its ground truth."""
    check_vocabulary(prediction, ground_truth)
    _, classes = prediction.object_scores(OBJECT_SCORE)
    candidates, triplets = rank_candidates(prediction), ground_truth.triplets
    object_matches = match_objects(
        prediction.boxes,
        classes,
        ground_truth.boxes,
        ground_truth.classes,
        REFERENCE.iou_threshold,
        REFERENCE.iou_plus_one,
    )
    hits = match_triplets(candidates, object_matches, triplets)[:RECALL_AT]

    # What a candidate may claim: same predicate, same class of subject and of object.
    allowed = (
        (candidates.predicates[:, None] == triplets[None, :, 2])
        & (classes[candidates.subjects][:, None] == ground_truth.classes[triplets[:, 0]][None, :])
        & (classes[candidates.objects][:, None] == ground_truth.classes[triplets[:, 1]][None, :])
    )
    subject_boxes, object_boxes = prediction.boxes[candidates.subjects], prediction.boxes[candidates.objects]
    gt_subject_boxes = ground_truth.boxes[triplets[:, 0]]
    gt_object_boxes = ground_truth.boxes[triplets[:, 1]]
    overlaps = {
        "rel": np.minimum(_iou(subject_boxes, gt_subject_boxes), _iou(object_boxes, gt_object_boxes)),
        "phr": _iou(_union_boxes(subject_boxes, object_boxes), _union_boxes(gt_subject_boxes, gt_object_boxes)),
    }
    return ImageRecord(
        num_hits=int(hits.any(axis=0).sum()),
        gt_predicates=triplets[:, 2],
        predicates=candidates.predicates,
        scores=candidates.scores,
        targets={kind: _claim(np.where(allowed, overlap, 0.0)) for kind, overlap in overlaps.items()},
    )


def _iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    # The released code adds the pixel to intersections and not to areas; its numbers need that.
    return pairwise_iou(boxes1, boxes2, plus_one=True, area_plus_one=False)


def _union_boxes(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [np.minimum(boxes1[:, :2], boxes2[:, :2]), np.maximum(boxes1[:, 2:], boxes2[:, 2:])], axis=1
    )


def _claim(overlap: np.ndarray) -> np.ndarray:
    """(K, T) overlaps to the (K,) ground truth of the highest, -1 where that is too low."""
    if overlap.shape[1] == 0:
        return np.full(len(overlap), -1)
    return np.where(overlap.max(axis=1) > AP_IOU_THRESHOLD, overlap.argmax(axis=1), -1)


def average_precision(true_positives: np.ndarray, num_ground_truth: int) -> float:
    """Area under the interpolated precision-recall curve.

    Args:
        true_positives: (D,) bool of the detections by descending score.
        num_ground_truth: positives there are to find, at least 1.
    """
    found = np.cumsum(true_positives)
    recall = np.concatenate([[0.0], found / num_ground_truth, [1.0]])
    precision = np.concatenate([[0.0], found / np.arange(1, len(found) + 1), [0.0]])
    # Interpolated: the best precision at this recall or beyond.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * precision[1:]).sum())


def weighted_map(records: Sequence[ImageRecord], kind: str) -> float:
    """AP of each predicate, weighted by its share of the ground-truth triplets.

    Args:
        records: one a picture.
        kind: "rel" or "phr".

    Returns:
        wmAP in 0..1, NaN without ground truth.
    """
    gt_predicates = np.concatenate([np.zeros(0, dtype=np.int64), *(r.gt_predicates for r in records)])
    if len(gt_predicates) == 0:
        return float("nan")
    predicates = np.concatenate([r.predicates for r in records])
    scores = np.concatenate([r.scores for r in records])
    # Ground truth is numbered through the data set, so that a claim names a triplet by itself.
    offsets = np.cumsum([0, *(len(r.gt_predicates) for r in records)])
    targets = np.concatenate(
        [
            np.where(r.targets[kind] >= 0, r.targets[kind] + offset, -1)
            for r, offset in zip(records, offsets[:-1], strict=True)
        ]
    )
    order = np.argsort(-scores, kind="stable")
    predicates, targets = predicates[order], targets[order]
    # The first claim takes a triplet, later ones are false positives.
    claimed, first = np.unique(targets, return_index=True)
    true_positives = np.zeros(len(targets), dtype=bool)
    true_positives[first[claimed >= 0]] = True

    total = 0.0
    for predicate, count in zip(*np.unique(gt_predicates, return_counts=True), strict=True):
        total += count * average_precision(true_positives[predicates == predicate], int(count))
    return total / len(gt_predicates)


def evaluate_open_images(predictions: Iterable[Prediction], ground_truth: Iterable[GroundTruth]) -> dict[str, float]:
    """The Open Images block of the ``reference`` protocol.

    Args:
        predictions: one record a picture.
        ground_truth: the same pictures in the same order.

    Returns:
        Fractions in 0..1 (NaN without ground truth). "microR@50": ground-truth triplets of all pictures that
        are hit over all there are; "wmAP_rel", "wmAP_phr"; "score" = 0.4 wmAP_rel + 0.4 wmAP_phr + 0.2
        microR@50; "AP", "AP50", "AP75", "APs", "APm", "APl" of objects, not COCO's but as :data:`OBJECT_AP` says.

    Raises:
        EGTRError: see :func:`~egtr.evaluation.scoring.evaluate`.
    """
    records, detections, truths = [], [], []
    for prediction, truth in zip_in_step(predictions, ground_truth):
        records.append(score_open_image(prediction, truth))
        detections.append(detections_per_query(prediction, OBJECT_SCORE))
        truths.append(truth)
    num_triplets = sum(len(r.gt_predicates) for r in records)
    metrics = {
        "microR@50": sum(r.num_hits for r in records) / num_triplets if num_triplets else float("nan"),
        "wmAP_rel": weighted_map(records, "rel"),
        "wmAP_phr": weighted_map(records, "phr"),
    }
    parts = (metrics["wmAP_rel"], metrics["wmAP_phr"], metrics["microR@50"])
    metrics["score"] = sum(weight * part for weight, part in zip(SCORE_WEIGHTS, parts, strict=True))
    return metrics | detection_ap(detections, truths, **OBJECT_AP)
