"""The metrics of Open Images' relation challenge, as Large-Scale-VRD and the codes that followed it compute them."""

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
    area_plus_one: bool = False,
) -> OpenImagesHits:
    """Compare the candidates of one image with its ground truth.

    Args:
        ranked: the best triplets, each pair with :data:`PREDICATES_PER_PAIR` predicates.
        boxes, classes: (N, 4) and (N,) of the prediction.
        ground_truth: G objects, T triplets.
        object_matches: (N, G) bool, for the hits of R@50, see
            :func:`~egtr.evaluation.matching.match_objects`.
        plus_one: in the overlaps of wmAP, intersections have the +1.
        area_plus_one: with ``plus_one``, areas have it, too.
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
        return paired_iou(boxes, gt_boxes, plus_one, plus_one and area_plus_one)

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


def predicate_ap(
    hits: Sequence[OpenImagesHits], gt_predicates: Sequence[np.ndarray], kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the AP of each predicate that the ground truth has.

    Args:
        hits: one record for each image.
        gt_predicates: (T,) predicates of each image's triplets; -1: the triplet does not count and is never
            claimed.
        kind: "rel" or "phr".

    Returns:
        AP in 0..1 and number of ground-truth triplets, (P,) each, of the P predicates that have a triplet.
    """
    all_gt = np.concatenate([np.zeros(0, dtype=np.int64), *gt_predicates])
    present, counts = np.unique(all_gt[all_gt >= 0], return_counts=True)
    if len(present) == 0:
        return np.zeros(0), counts
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
    each = [
        average_precision(true_positives[predicates == predicate], int(count))
        for predicate, count in zip(present, counts, strict=True)
    ]
    return np.array(each), counts


def open_images_metrics(
    hits: Sequence[OpenImagesHits],
    gt_predicates: Sequence[np.ndarray],
    recall: str = "micro",
    empty_images_count: bool = False,
    num_predicates: int | None = None,
) -> dict[str, float]:
    """Compute the metrics of relations in the Open Images block.

    Args:
        hits: one record for each image.
        gt_predicates: (T,) predicates of each image's triplets, -1 if one does not count.
        recall: the R@50 that enters the score, "micro" or "image".
        empty_images_count: an image without triplets counts 0 in "R@50"; otherwise it is left out.
        num_predicates: the divisor of unweighted means over predicates; None: the number of those with a triplet.

    Returns:
        Fractions in 0..1, NaN without ground truth. "microR@50": triplets hit over triplets, of all images;
        "R@50": mean over images with triplets of the share hit; "wmAP_rel", "wmAP_phr": AP of predicates, weighted by
        their shares of the ground-truth triplets; "mAP_rel", "mAP_phr": the same, not weighted; "score" = 0.4
        wmAP_rel + 0.4 wmAP_phr + 0.2 R@50.
    """
    found = np.array([int(h.hit[p >= 0].sum()) for h, p in zip(hits, gt_predicates, strict=True)])
    present = np.array([int((p >= 0).sum()) for p in gt_predicates])
    counted = np.ones(len(present), dtype=bool) if empty_images_count else present > 0
    shares = found[counted] / np.maximum(present[counted], 1)
    metrics = dict.fromkeys(("microR@50", "R@50", "wmAP_rel", "wmAP_phr", "mAP_rel", "mAP_phr"), float("nan"))
    if present.sum():
        metrics |= {"microR@50": float(found.sum() / present.sum()), "R@50": float(shares.mean())}
        for kind in ("rel", "phr"):
            each, counts = predicate_ap(hits, gt_predicates, kind)
            metrics[f"wmAP_{kind}"] = float((each * counts).sum() / counts.sum())
            metrics[f"mAP_{kind}"] = float(each.sum() / (num_predicates or len(each)))
    chosen = metrics["microR@50"] if recall == "micro" else metrics["R@50"]
    parts = (metrics["wmAP_rel"], metrics["wmAP_phr"], chosen)
    metrics["score"] = sum(weight * part for weight, part in zip(SCORE_WEIGHTS, parts, strict=True))
    return metrics
