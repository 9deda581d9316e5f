"""Recall of a dataset, computed from the ranks at which its ground-truth triplets are hit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import TripletCounts

from .protocols import Protocol

# Prefixes of a ranking's metrics; "ng": no graph constraint.
PREFIXES = ("", "ng-")


class Grouping(NamedTuple):
    """T rows in G groups.

    Attributes:
        keys: (G,) int64, ascending, the value that the rows of a group share.
        index: (T,) int64, the group of each row.
        sizes: (G,) int64, the number of rows of each group, at least 1.
    """

    keys: np.ndarray
    index: np.ndarray
    sizes: np.ndarray

    @classmethod
    def by(cls, values: np.ndarray) -> "Grouping":
        """Group rows by equal value."""
        keys, index, sizes = np.unique(values, return_inverse=True, return_counts=True)
        return cls(keys, index, sizes)

    def shares(self, hits: np.ndarray) -> np.ndarray:
        """Compute the (G,) shares of hits among the rows of each group from (T,) bool."""
        return np.bincount(self.index, weights=hits, minlength=len(self.keys)) / self.sizes


@dataclass(frozen=True)
class TripletTable:
    """The T ground-truth triplets of a dataset that a protocol counts, with the ranks at which they are hit.

    Attributes:
        images: (T,) int64, number of the image, from 0.
        classes: (T, 3) int64, (subject class, object class, predicate).
        ranks: (T,) int32 from 0 for each kind of hit, :data:`~egtr.evaluation.matching.NEVER` if there is none.
            "R" and "ng-R": of both objects, with and without graph constraint; "phr-R" and "ng-phr-R": of the box
            around both; "A": of both objects, only among annotated pairs (tasks "predcls" and "sgcls").
        num_predicates: R.
    """

    images: np.ndarray
    classes: np.ndarray
    ranks: dict[str, np.ndarray]
    num_predicates: int

    def by_image(self) -> Grouping:
        return Grouping.by(self.images)

    def by_image_and_predicate(self) -> Grouping:
        """Group by image and predicate; keys are image * R + predicate."""
        return Grouping.by(self.images * max(self.num_predicates, 1) + self.classes[:, 2])


class PredicateRecall(NamedTuple):
    """Recall of each of R predicates.

    Attributes:
        num_triplets: (R,) int64, the number of ground-truth triplets with each predicate.
        num_images: (R,) int64, the number of images that have at least one of them.
        recall: metric name ("R@20", "ng-R@20", ...) to (R,) float64 in 0..1; NaN for a predicate that no
            image has.
    """

    num_triplets: np.ndarray
    num_images: np.ndarray
    recall: dict[str, np.ndarray]


def predicate_recall(table: TripletTable, top_k: Sequence[int]) -> PredicateRecall:
    """Compute recall of the ground truth restricted to each predicate, mean over the images that have it."""
    num_predicates = table.num_predicates
    groups = table.by_image_and_predicate()
    predicates = groups.keys % max(num_predicates, 1)
    num_images = np.bincount(predicates, minlength=num_predicates)
    recall = {}
    for prefix in PREFIXES:
        for k in top_k:
            shares = groups.shares(table.ranks[f"{prefix}R"] < k)
            total = np.bincount(predicates, weights=shares, minlength=num_predicates)
            recall[f"{prefix}R@{k}"] = _divide(total, num_images)
    return PredicateRecall(np.bincount(table.classes[:, 2], minlength=num_predicates), num_images, recall)


def mean_over_predicates(recall: np.ndarray, absent_predicates_count: bool) -> float:
    """Average (R,) recalls, where NaN stands for predicates that no image has.

    Args:
        recall: of all or some predicates.
        absent_predicates_count: NaN counts as 0; otherwise it is left out.

    Returns:
        In 0..1; NaN if all are NaN.
    """
    present = ~np.isnan(recall)
    if not present.any():
        return float("nan")
    return float(recall[present].sum() / (len(recall) if absent_predicates_count else present.sum()))


def recall_metrics(
    table: TripletTable,
    protocol: Protocol,
    top_k: Sequence[int],
    training: TripletCounts | None = None,
    zero_shot: TripletCounts | None = None,
) -> dict[str, Any]:
    """Compute every recall of a dataset.

    Args:
        table: made under ``protocol``.
        protocol: only its ``absent_predicates_count`` matters here.
        top_k: the K of R@K.
        training: triplets of the training set: those that are not new, and the groups of predicates.
        zero_shot: the new triplets, in place of all triplets that ``training`` does not hold.

    Returns:
        See :func:`~egtr.evaluation.scoring.evaluate`, with "per_predicate" and the denominators.
    """
    per_predicate = predicate_recall(table, top_k)
    groups = {} if training is None else training.predicate_groups()
    images = table.by_image()
    unseen = None
    if zero_shot is not None:
        unseen = zero_shot.contains(table.classes)
    elif training is not None:
        unseen = ~training.contains(table.classes)
    unseen_images = None if unseen is None else Grouping.by(table.images[unseen])
    metrics: dict[str, Any] = {}
    for prefix in PREFIXES:
        ranks = table.ranks[f"{prefix}R"]
        named = {f"{prefix}{name}@": {} for name in ("R", "mR", "zR", "F1", "phr-R", "head-mR", "body-mR", "tail-mR")}
        for k in top_k:
            each = per_predicate.recall[f"{prefix}R@{k}"]
            recall = _mean(images.shares(ranks < k))
            mean_recall = mean_over_predicates(each, protocol.absent_predicates_count)
            named[f"{prefix}R@"][k] = recall
            named[f"{prefix}mR@"][k] = mean_recall
            named[f"{prefix}F1@"][k] = _harmonic_mean(recall, mean_recall)
            named[f"{prefix}phr-R@"][k] = _mean(images.shares(table.ranks[f"{prefix}phr-R"] < k))
            if unseen_images is not None:
                named[f"{prefix}zR@"][k] = _mean(unseen_images.shares(ranks[unseen] < k))
            for group, members in groups.items():
                mean_of_group = mean_over_predicates(each[members], protocol.absent_predicates_count)
                named[f"{prefix}{group}-mR@"][k] = mean_of_group
        metrics |= {f"{name}{k}": value for name, values in named.items() for k, value in values.items()}
    if "A" in table.ranks:
        metrics |= {f"A@{k}": _mean(table.ranks["A"] < k) for k in top_k}
    metrics |= {
        "per_predicate": per_predicate,
        "num_images_with_triplets": len(images.keys),
        "num_triplets": len(table.images),
        "num_predicates_present": int((per_predicate.num_images > 0).sum()),
    }
    if unseen is not None:
        metrics["num_zero_shot_triplets"] = int(unseen.sum())
    return metrics


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _harmonic_mean(a: float, b: float) -> float:
    # NaN stays NaN. The mean of 0 and 0 is 0.
    return 0.0 if a + b == 0 else 2 * a * b / (a + b)


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
