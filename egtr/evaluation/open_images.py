"""The metrics of Open Images' relation challenge, computed as in the released implementation of EGTR."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from egtr.structures import GroundTruth, RankedTriplets, paired_iou

from .matching import match_triplets, same_names, union_boxes

# The largest number of candidates of an image, and the score that a candidate must exceed.
MAX_CANDIDATES = 100
MIN_SCORE = 1e-5
# The number of predicates with which a pair, (i, i) included, enters.
PREDICATES_PER_PAIR = 2
RECALL_AT = 50
AP_IOU_THRESHOLD = 0.5
# Shares of wmAP_rel, wmAP_phr and R@50 in the score.
SCORE_WEIGHTS = (0.4, 0.4, 0.2)


class OpenImagesHits(NamedTuple):
    """The part of one image with K candidates and T ground-truth triplets.

    Attributes:
        hit: (T,) bool, triplets hit by the first 50 candidates.
        predicates: (K,) int32 of the candidates.
        scores: (K,) float32 of the candidates.
        targets: "rel" and "phr" to the (K,) int32 ground-truth triplet that each candidate claims, -1 if it
            overlaps with none. The first one of equal triplets is claimed.
    """

    hit: np.ndarray
    predicates: np.ndarray
    scores: np.ndarray
    targets: dict[str, np.ndarray]


def score_candidates(
    ranked: RankedTriplets,
    boxes: np.ndarray,
    classes: np.ndarray,
    ground_truth: GroundTruth,
    object_matches: np.ndarray,
    plus_one: bool,
) -> OpenImagesHits:
    """Compare the candidates of one image with its ground truth.

    Args:
        ranked: the best triplets, each pair with :data:`PREDICATES_PER_PAIR` predicates.
        boxes, classes: (N, 4) and (N,) of the prediction.
        ground_truth: G objects, T triplets.
        object_matches: (N, G) bool, for the hits of R@50, see
            :func:`~egtr.evaluation.matching.match_objects`.
        plus_one: in the overlaps of wmAP only intersections have the +1.
    """
    ranked = RankedTriplets(*(field[ranked.scores > MIN_SCORE] for field in ranked))
    triplets = ground_truth.triplets
    hits = match_triplets(ranked, object_matches, triplets)[:RECALL_AT]
    allowed = same_names(ranked, classes, ground_truth)
    # Few triplets agree in their names: only their boxes are compared.
    rows, columns = np.nonzero(allowed)
    predicted = boxes[ranked.subjects[rows]], boxes[ranked.objects[rows]]
    annotated = ground_truth.boxes[triplets[columns, 0]], ground_truth.boxes[triplets[columns, 1]]

    def iou(boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
        return paired_iou(boxes, gt_boxes, plus_one, area_plus_one=False)

    targets = {}
    for kind, overlap in (
        ("rel", np.minimum(iou(predicted[0], annotated[0]), iou(predicted[1], annotated[1]))),
        ("phr", iou(union_boxes(*predicted), union_boxes(*annotated))),
    ):
        overlaps = np.zeros(allowed.shape)
        overlaps[rows, columns] = overlap
        targets[kind] = _claim(overlaps)
    return OpenImagesHits(
        hit=hits.any(axis=0), predicates=ranked.predicates.astype(np.int32), scores=ranked.scores, targets=targets
    )


def _claim(overlap: np.ndarray) -> np.ndarray:
    """Find the (K,) ground truth of the highest of (K, T) overlaps, -1 if it is too low."""
    if overlap.shape[1] == 0:
        return np.full(len(overlap), -1, dtype=np.int32)
    return np.where(overlap.max(axis=1) > AP_IOU_THRESHOLD, overlap.argmax(axis=1), -1).astype(np.int32)


def average_precision(true_positives: np.ndarray, num_ground_truth: int) -> float:
    """Compute the area under the interpolated precision-recall curve.

    Args:
        true_positives: (D,) bool of the detections by descending score.
        num_ground_truth: number of positives to find, at least 1.
    """
    found = np.cumsum(true_positives)
    recall = np.concatenate([[0.0], found / num_ground_truth, [1.0]])
    precision = np.concatenate([[0.0], found / np.arange(1, len(found) + 1), [0.0]])
    # Interpolated: the best precision at this or a higher recall.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * precision[1:]).sum())


def weighted_map(hits: Sequence[OpenImagesHits], gt_predicates: Sequence[np.ndarray], kind: str) -> float:
    """Compute the mean AP of predicates, weighted by their shares of the ground-truth triplets.

    Args:
        hits: one record for each image.
        gt_predicates: (T,) predicates of each image's triplets; -1: the triplet does not count and is never
            claimed.
        kind: "rel" or "phr".

    Returns:
        wmAP in 0..1, NaN without ground truth.
    """
    all_gt = np.concatenate([np.zeros(0, dtype=np.int64), *gt_predicates])
    all_gt = all_gt[all_gt >= 0]
    if len(all_gt) == 0:
        return float("nan")
    predicates = np.concatenate([h.predicates for h in hits])
    scores = np.concatenate([h.scores for h in hits])
    # Numbers run through the whole dataset, so that a claim names its triplet without the image.
    offsets = np.cumsum([0, *(len(p) for p in gt_predicates)])[:-1]
    targets = np.concatenate(
        [np.where(h.targets[kind] >= 0, h.targets[kind] + o, -1) for h, o in zip(hits, offsets, strict=True)]
    )
    order = np.argsort(-scores, kind="stable")
    predicates, targets = predicates[order], targets[order]
    # The first claim takes a triplet, later ones are false positives.
    claimed, first = np.unique(targets, return_index=True)
    true_positives = np.zeros(len(targets), dtype=bool)
    true_positives[first[claimed >= 0]] = True

    total = 0.0
    for predicate, count in zip(*np.unique(all_gt, return_counts=True), strict=True):
        total += count * average_precision(true_positives[predicates == predicate], int(count))
    return total / len(all_gt)


def open_images_metrics(
    hits: Sequence[OpenImagesHits], gt_predicates: Sequence[np.ndarray], recall: str = "micro"
) -> dict[str, float]:
    """Compute the metrics of relations in the Open Images block.

    Args:
        hits: one record for each image.
        gt_predicates: (T,) predicates of each image's triplets, -1 if one does not count.
        recall: the R@50 that enters the score, "micro" or "image".

    Returns:
        Fractions in 0..1, NaN without ground truth. "microR@50": triplets hit over triplets, of all images;
        "R@50": mean over images with triplets of the share hit; "wmAP_rel", "wmAP_phr"; "score" = 0.4 wmAP_rel +
        0.4 wmAP_phr + 0.2 R@50.
    """
    found = [int(h.hit[p >= 0].sum()) for h, p in zip(hits, gt_predicates, strict=True)]
    present = [int((p >= 0).sum()) for p in gt_predicates]
    shares = [f / p for f, p in zip(found, present, strict=True) if p]
    metrics = {
        "microR@50": sum(found) / sum(present) if shares else float("nan"),
        "R@50": float(np.mean(shares)) if shares else float("nan"),
        "wmAP_rel": weighted_map(hits, gt_predicates, "rel"),
        "wmAP_phr": weighted_map(hits, gt_predicates, "phr"),
    }
    chosen = metrics["microR@50"] if recall == "micro" else metrics["R@50"]
    parts = (metrics["wmAP_rel"], metrics["wmAP_phr"], chosen)
    metrics["score"] = sum(weight * part for weight, part in zip(SCORE_WEIGHTS, parts, strict=True))
    return metrics
