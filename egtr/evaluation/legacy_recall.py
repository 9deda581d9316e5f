"""Recall of scene graphs: R@K and mR@K, with and without graph constraint, and per predicate."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import EGTRError, GroundTruth, Prediction, rank_triplets

from .matching import first_hits, match_objects, match_triplets
from .protocols import Protocol

# Prefix of the metrics of each ranking; "ng": no graph constraint.
PREFIXES = {True: "", False: "ng-"}


class ImageHits(NamedTuple):
    """What is kept of one picture: a few integers for each of its T ground-truth triplets.

    Attributes:
        predicates: (T,) int32.
        ranks: for each scored ranking (True: with graph constraint) the (T,) int32 rank, from 0, of the first
            prediction that hits the triplet; :data:`~egtr.evaluation.matching.NEVER` where none does.
    """

    predicates: np.ndarray
    ranks: dict[bool, np.ndarray]


def score_image(prediction: Prediction, ground_truth: GroundTruth, protocol: Protocol, max_rank: int) -> ImageHits:
    """Hold one prediction against its ground truth.

    Args:
        prediction: N queries, C classes, R predicates.
        ground_truth: T triplets; with T = 0 the picture has no influence on any recall.
        protocol: scoring conventions.
        max_rank: largest K of interest; triplets ranked behind it are not looked at.

    Raises:
        EGTRError: the ground truth holds a class or a predicate that the prediction does not know.
    """
    check_vocabulary(prediction, ground_truth)
    triplets = ground_truth.triplets
    if protocol.skip_images_without_pairs and not (prediction.pairs[:, 0] != prediction.pairs[:, 1]).any():
        triplets = triplets[:0]
    if protocol.deduplicate_ground_truth:
        triplets = np.unique(triplets, axis=0)
    predicates = triplets[:, 2].astype(np.int32)
    if len(triplets) == 0:
        empty = np.zeros(0, dtype=np.int32)
        return ImageHits(predicates, {constraint: empty for constraint in (True, False)})

    _, classes = prediction.object_scores(protocol.object_score)
    object_matches = match_objects(
        prediction.boxes,
        classes,
        ground_truth.boxes,
        ground_truth.classes,
        protocol.iou_threshold,
        protocol.iou_plus_one,
    )
    ranks = {}
    for constraint in (True, False):
        ranked = rank_triplets(prediction, max_rank, constraint, protocol.object_score)
        ranks[constraint] = first_hits(match_triplets(ranked, object_matches, triplets))
    return ImageHits(predicates, ranks)


def check_vocabulary(prediction: Prediction, ground_truth: GroundTruth) -> None:
    """Raise EGTRError where the ground truth holds a class or predicate that the prediction does not know."""
    for field, ids, count in (
        ("classes", ground_truth.classes, prediction.logits.shape[1]),
        ("triplets", ground_truth.triplets[:, 2], prediction.relation.shape[1]),
    ):
        if len(ids) and ids.max() >= count:
            noun = "class" if field == "classes" else "predicate"
            raise EGTRError(
                f"ground truth of image {ground_truth.image_id!r}: {field} holds {noun} {ids.max()}, but the "
                f"prediction has only 0..{count - 1}; was the model made for another data set?"
            )


class PredicateRecall(NamedTuple):
    """Recall of each of R predicates.

    Attributes:
        num_triplets: (R,) int64, ground-truth triplets with that predicate.
        num_images: (R,) int64, pictures that have at least one.
        recall: metric name ("R@20", "ng-R@20", ...) to (R,) float64 in 0..1; NaN for a predicate that no
            picture has.
    """

    num_triplets: np.ndarray
    num_images: np.ndarray
    recall: dict[str, np.ndarray]


def predicate_recall(
    hits: Sequence[ImageHits],
    num_predicates: int,
    topk: Sequence[int],
    graph_constraint: Sequence[bool] = (True, False),
) -> PredicateRecall:
    """For every predicate: recall of the ground truth restricted to it, mean over the pictures that have it.

    Args:
        hits: one record a picture, see :func:`score_image`.
        num_predicates: R.
        topk: the K of R@K.
        graph_constraint: the rankings wanted, out of those in ``hits``.
    """
    predicates, images = _flatten(hits)
    # One group for each (picture, predicate) that occurs.
    keys, group = np.unique(images * max(num_predicates, 1) + predicates, return_inverse=True)
    group_predicate = keys % max(num_predicates, 1)
    group_size = np.bincount(group, minlength=len(keys))
    num_images = np.bincount(group_predicate, minlength=num_predicates)

    recall = {}
    for prefix, k, ranks in _rankings(hits, topk, graph_constraint):
        group_recall = np.bincount(group, weights=ranks < k, minlength=len(keys)) / group_size
        total = np.bincount(group_predicate, weights=group_recall, minlength=num_predicates)
        recall[f"{prefix}R@{k}"] = _divide(total, num_images)
    return PredicateRecall(np.bincount(predicates, minlength=num_predicates), num_images, recall)


def image_recall(
    hits: Sequence[ImageHits], topk: Sequence[int], graph_constraint: Sequence[bool] = (True, False)
) -> dict[str, np.ndarray]:
    """Recall of each picture that has triplets: metric name ("R@20", "ng-R@20", ...) to (I,) float64 in 0..1.

    I is the number of pictures with at least one ground-truth triplet; the others are left out.
    """
    _, images = _flatten(hits)
    _, group = np.unique(images, return_inverse=True)
    num_triplets = np.bincount(group)
    return {
        f"{prefix}R@{k}": np.bincount(group, weights=ranks < k, minlength=len(num_triplets)) / num_triplets
        for prefix, k, ranks in _rankings(hits, topk, graph_constraint)
    }


def recall_metrics(
    hits: Sequence[ImageHits],
    num_predicates: int,
    protocol: Protocol,
    topk: Sequence[int] = (20, 50, 100),
) -> dict[str, Any]:
    """Every recall of a data set.

    Args:
        hits: one record a picture, see :func:`score_image`.
        num_predicates: R.
        protocol: the one that the records were made with.
        topk: the K of R@K.

    Returns:
        "R@K": mean over pictures with triplets of the share of their triplets that is hit by the first K;
        "mR@K": mean over predicates of :func:`predicate_recall`; both also with the prefix "ng-" for the
        ranking without graph constraint; floats in 0..1, NaN where there is nothing to be recalled.
        "per_predicate": the :class:`PredicateRecall`.
    """
    per_predicate = predicate_recall(hits, num_predicates, topk, (True, False))
    metrics: dict[str, Any] = {}
    per_image = image_recall(hits, topk, (True, False))
    present = per_predicate.num_images > 0
    count = num_predicates if protocol.absent_predicates_count else present.sum()
    for constraint in (True, False):
        names = [f"{PREFIXES[constraint]}R@{k}" for k in topk]
        for name in names:
            metrics[name] = float(per_image[name].mean()) if present.any() else float("nan")
        for name in names:
            mean = per_predicate.recall[name][present].sum() / count if present.any() else float("nan")
            metrics[name.replace("R@", "mR@")] = float(mean)
    metrics["per_predicate"] = per_predicate
    return metrics


def _flatten(hits: Sequence[ImageHits]) -> tuple[np.ndarray, np.ndarray]:
    """Predicate and picture of every triplet of the data set, one behind the other."""
    counts = [len(h.predicates) for h in hits]
    predicates = np.concatenate([np.zeros(0, dtype=np.int64), *(h.predicates for h in hits)])
    return predicates.astype(np.int64), np.repeat(np.arange(len(hits)), counts)


def _rankings(hits: Sequence[ImageHits], topk: Sequence[int], graph_constraint: Sequence[bool]):
    """(prefix, K, rank of every triplet of the data set) for each ranking and K."""
    for constraint in graph_constraint:
        ranks = np.concatenate([np.zeros(0, dtype=np.int32), *(h.ranks[constraint] for h in hits)])
        for k in topk:
            yield PREFIXES[constraint], k, ranks


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
