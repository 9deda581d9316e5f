"""Matching of predicted triplets and ground-truth triplets."""

import numpy as np

from egtr.structures import GroundTruth, RankedTriplets, paired_iou, pairwise_iou

# Rank of a ground-truth triplet that no prediction hits: larger than every K.
NEVER = np.iinfo(np.int32).max


def match_objects(
    boxes: np.ndarray,
    classes: np.ndarray,
    gt_boxes: np.ndarray,
    gt_classes: np.ndarray,
    iou_threshold: float = 0.5,
    plus_one: bool = False,
    area_plus_one: bool = True,
    matching: str = "all",
) -> np.ndarray:
    """Match predicted and annotated objects: a match needs the same class and enough overlap.

    Args:
        boxes, classes: (N, 4) and (N,) of the prediction.
        gt_boxes, gt_classes: (G, 4) and (G,) of the ground truth.
        iou_threshold: the least IoU that suffices, in 0..1.
        plus_one: see :func:`egtr.structures.pairwise_iou`.
        area_plus_one: with ``plus_one``, areas have the pixel, too.
        matching: "all", or "best": of the annotated objects that an object matches, only the one that it overlaps
            most, of equal ones the first.

    Returns:
        (N, G) bool. An annotated object may be matched by several objects; with "all" also the other way round.
    """
    overlaps = pairwise_iou(boxes, gt_boxes, plus_one, plus_one and area_plus_one)
    found = (overlaps >= iou_threshold) & (classes[:, None] == gt_classes[None, :])
    if matching == "best" and found.size:
        best = np.where(found, overlaps, -1.0).argmax(axis=1)
        found &= best[:, None] == np.arange(len(gt_boxes))
    return found


def match_pairs(ranked: RankedTriplets, object_matches: np.ndarray, gt_triplets: np.ndarray) -> np.ndarray:
    """Find the ground-truth triplets whose two objects each ranked triplet joins, whatever the predicates are.

    Args:
        ranked: K triplets over N queries.
        object_matches: (N, G) bool, see :func:`match_objects`.
        gt_triplets: (T, 3) int, (subject, object, predicate), the first two indexing the G annotated objects.

    Returns:
        (K, T) bool.
    """
    subject_hits = object_matches[ranked.subjects][:, gt_triplets[:, 0]]
    return subject_hits & object_matches[ranked.objects][:, gt_triplets[:, 1]]


def match_triplets(ranked: RankedTriplets, object_matches: np.ndarray, gt_triplets: np.ndarray) -> np.ndarray:
    """Find the ground-truth triplets that each ranked triplet hits.

    A hit needs the same predicate, a subject that matches the annotated subject and an object that matches the
    annotated object.

    Args:
        ranked, object_matches, gt_triplets: see :func:`match_pairs`.

    Returns:
        (K, T) bool.
    """
    return match_pairs(ranked, object_matches, gt_triplets) & (ranked.predicates[:, None] == gt_triplets[None, :, 2])


def union_boxes(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Find the smallest boxes around two boxes each: (K, 4) and (K, 4) to (K, 4), all x1 y1 x2 y2."""
    return np.concatenate(
        [np.minimum(boxes1[:, :2], boxes2[:, :2]), np.maximum(boxes1[:, 2:], boxes2[:, 2:])], axis=1
    )


def match_phrases(
    ranked: RankedTriplets,
    boxes: np.ndarray,
    classes: np.ndarray,
    ground_truth: GroundTruth,
    iou_threshold: float = 0.5,
    plus_one: bool = False,
    area_plus_one: bool = True,
) -> np.ndarray:
    """Find the ground-truth triplets that each ranked triplet hits as a phrase: as one box around both objects.

    A hit needs the same predicate, the same two classes and enough overlap of the boxes around subject and
    object.

    Args:
        ranked: K triplets over N queries.
        boxes, classes: (N, 4) and (N,) of the prediction.
        ground_truth: T triplets.
        iou_threshold, plus_one, area_plus_one: as for :func:`match_objects`.

    Returns:
        (K, T) bool.
    """
    hits = same_names(ranked, classes, ground_truth)
    # Few triplets agree in their names: only their boxes are compared.
    rows, columns = np.nonzero(hits)
    subjects, objects, _ = ground_truth.triplets[columns].T
    overlaps = paired_iou(
        union_boxes(boxes[ranked.subjects[rows]], boxes[ranked.objects[rows]]),
        union_boxes(ground_truth.boxes[subjects], ground_truth.boxes[objects]),
        plus_one,
        plus_one and area_plus_one,
    )
    hits[rows, columns] = overlaps >= iou_threshold
    return hits


def same_names(ranked: RankedTriplets, classes: np.ndarray, ground_truth: GroundTruth) -> np.ndarray:
    """Find the K ranked and T annotated triplets that agree in both classes and the predicate: (K, T) bool.

    Args:
        ranked: K triplets over N queries.
        classes: (N,) of the prediction.
        ground_truth: T triplets.
    """
    gt_classes, triplets = ground_truth.classes, ground_truth.triplets
    return (
        (ranked.predicates[:, None] == triplets[None, :, 2])
        & (classes[ranked.subjects][:, None] == gt_classes[triplets[:, 0]][None, :])
        & (classes[ranked.objects][:, None] == gt_classes[triplets[:, 1]][None, :])
    )


def first_hits(matches: np.ndarray) -> np.ndarray:
    """Find the rank (from 0) at which each ground-truth triplet is first hit; ``NEVER`` if it is not hit.

    A triplet counts for R@K exactly if its first hit is below K, so that this one number serves every K.

    Args:
        matches: (K, T) bool in order of rank, see :func:`match_triplets`.

    Returns:
        (T,) int32.
    """
    if len(matches) == 0:
        return np.full(matches.shape[1], NEVER, dtype=np.int32)
    return np.where(matches.any(axis=0), matches.argmax(axis=0), NEVER).astype(np.int32)


def misses_before(matches: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Count the triplets that hit nothing before the first hit of each ground-truth triplet.

    Args:
        matches: (K, T) bool in order of rank.
        ranks: (T,) int, see :func:`first_hits`.

    Returns:
        (T,) int32; for a triplet that is never hit, all that hit nothing.
    """
    wrong = np.concatenate([[0], np.cumsum(~matches.any(axis=1))])
    return wrong[np.minimum(ranks, len(matches))].astype(np.int32)
