"""Which predicted triplets hit which ground-truth triplets."""

import numpy as np

from egtr.structures import RankedTriplets, pairwise_iou

# Rank of a ground-truth triplet that no prediction hits: beyond every K.
NEVER = np.iinfo(np.int32).max


def match_objects(
    boxes: np.ndarray,
    classes: np.ndarray,
    gt_boxes: np.ndarray,
    gt_classes: np.ndarray,
    iou_threshold: float = 0.5,
    plus_one: bool = False,
) -> np.ndarray:
    """Which predicted objects stand for which annotated ones: same class, and enough overlap.

    Args:
        boxes, classes: (N, 4) and (N,) of the prediction.
        gt_boxes, gt_classes: (G, 4) and (G,) of the ground truth.
        iou_threshold: least IoU, in 0..1; reaching it suffices.
        plus_one: see :func:`egtr.structures.pairwise_iou`.

    Returns:
        (N, G) bool. An object may stand for several annotated ones and the other way round.
    """
    overlaps = pairwise_iou(boxes, gt_boxes, plus_one) >= iou_threshold
    return overlaps & (classes[:, None] == gt_classes[None, :])


def match_triplets(ranked: RankedTriplets, object_matches: np.ndarray, gt_triplets: np.ndarray) -> np.ndarray:
    """Which ranked triplets hit which ground-truth triplets.

    A hit needs the same predicate, a subject that stands for the annotated subject and an object that stands
    for the annotated object.

    Args:
        ranked: K triplets over N queries.
        object_matches: (N, G) bool, see :func:`match_objects`.
        gt_triplets: (T, 3) int, (subject, object, predicate), the first two indexing the G annotated objects.

    Returns:
        (K, T) bool.
    """
    subject_hits = object_matches[ranked.subjects][:, gt_triplets[:, 0]]
    object_hits = object_matches[ranked.objects][:, gt_triplets[:, 1]]
    return subject_hits & object_hits & (ranked.predicates[:, None] == gt_triplets[None, :, 2])


def first_hits(matches: np.ndarray) -> np.ndarray:
    """Rank (from 0) at which each ground-truth triplet is first hit; ``NEVER`` where it is not.

    A triplet counts for R@K exactly if its first hit is below K, so this one number a triplet serves every K.

    Args:
        matches: (K, T) bool in order of rank, see :func:`match_triplets`.

    Returns:
        (T,) int32.
    """
    if len(matches) == 0:
        return np.full(matches.shape[1], NEVER, dtype=np.int32)
    return np.where(matches.any(axis=0), matches.argmax(axis=0), NEVER).astype(np.int32)
