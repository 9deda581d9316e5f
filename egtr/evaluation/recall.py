"""Recall of a dataset, computed from the ranks at which its ground-truth triplets are hit."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egtr.structures import TripletCounts

from .conventions import Protocol
from .triplet_table import PREFIXES, Grouping, TripletTable


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


class _OverPredicates:
    """Means over the images that have a predicate, for each predicate."""

    def __init__(self, table: TripletTable):
        self._num_predicates = table.num_predicates
        self._groups = table.by_image_and_predicate()
        self._predicates = self._groups.keys % max(table.num_predicates, 1)
        self.num_images = np.bincount(self._predicates, minlength=table.num_predicates)

    def means(self, hits: np.ndarray) -> np.ndarray:
        """Compute the (R,) recall of each predicate from (T,) bool; NaN for a predicate that no image has."""
        shares = self._groups.shares(hits)
        total = np.bincount(self._predicates, weights=shares, minlength=self._num_predicates)
        return _divide(total, self.num_images)


def predicate_recall(table: TripletTable, top_k: Sequence[int]) -> PredicateRecall:
    """Compute recall of the ground truth restricted to each predicate, mean over the images that have it."""
    over_predicates = _OverPredicates(table)
    recall = {
        f"{prefix}R@{k}": over_predicates.means(table.ranks[f"{prefix}R"] < k) for prefix in PREFIXES for k in top_k
    }
    num_triplets = np.bincount(table.classes[:, 2], minlength=table.num_predicates)
    return PredicateRecall(num_triplets, over_predicates.num_images, recall)


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
    groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Compute every recall of a dataset.

    Args:
        table: made under ``protocol``.
        protocol: its ``absent_predicates_count`` and ``recall`` matter here.
        top_k: the K of R@K.
        training: triplets of the training set: those that are not new, and the groups of predicates.
        zero_shot: the new triplets, in place of all triplets that ``training`` does not hold.
        groups: name to predicate ids, in place of the thirds of predicates by their frequency in ``training``.

    Returns:
        See :func:`~egtr.evaluation.scoring.evaluate`, with "per_predicate" and the denominators.
    """
    per_predicate = predicate_recall(table, top_k)
    if groups is None:
        groups = {} if training is None else training.predicate_groups()
    images, over_predicates = table.by_image(), _OverPredicates(table)
    pair_images = Grouping.by(table.images[table.first_of_pair])

    def mean(hits: np.ndarray) -> float:
        return _mean(hits if protocol.recall == "micro" else images.shares(hits))

    def mean_of_predicates(recall: np.ndarray) -> float:
        return mean_over_predicates(recall, protocol.absent_predicates_count)

    unseen = None
    if zero_shot is not None:
        unseen = zero_shot.contains(table.classes)
    elif training is not None:
        unseen = ~training.contains(table.classes)
    unseen_images = None if unseen is None else Grouping.by(table.images[unseen])
    metrics: dict[str, Any] = {}
    for prefix in PREFIXES:
        ranks, phrases, pairs = (table.ranks[f"{prefix}{kind}"] for kind in ("R", "phr-R", "PairR"))
        misses = table.misses[f"{prefix}R"]
        named: dict[str, dict[int, float]] = {}
        for k in top_k:
            each, hits = per_predicate.recall[f"{prefix}R@{k}"], ranks < k
            recall, mean_recall = mean(hits), mean_of_predicates(each)
            values = {"R": recall, "mR": mean_recall}
            if unseen_images is not None:
                values["zR"] = _mean(unseen_images.shares(hits[unseen]))
            values |= {
                "F1": _harmonic_mean(recall, mean_recall),
                "microR": _mean(hits),
                "wR": _mean(images.shares(np.where(hits, (k - misses) / k, 0.0))),
                "phr-R": mean(phrases < k),
                "phr-mR": mean_of_predicates(over_predicates.means(phrases < k)),
                "PairR": _mean(pair_images.shares(pairs[table.first_of_pair] < k)),
            }
            values |= {f"{group}-mR": mean_of_predicates(each[members]) for group, members in groups.items()}
            for name, value in values.items():
                named.setdefault(name, {})[k] = value
        metrics |= {f"{prefix}{name}@{k}": value for name, found in named.items() for k, value in found.items()}
        metrics[f"{prefix}F1@mean"] = float(np.mean(list(named["F1"].values())))
        # As many predictions as the image has triplets.
        own = ranks < images.sizes[images.index]
        metrics[f"{prefix}R@rel"] = mean(own)
        metrics[f"{prefix}mR@rel"] = mean_of_predicates(over_predicates.means(own))
    for kind in ("A", "ng-A"):
        if kind in table.ranks:
            metrics |= {f"{kind}@{k}": _mean(table.ranks[kind] < k) for k in top_k}
    metrics["InstR"] = _mean(table.found_objects)
    if table.predicate_ranks is not None:
        metrics["PRank"] = _mean_predicate_rank(table)
    metrics |= {
        "per_predicate": per_predicate,
        "num_images_with_triplets": len(images.keys),
        "num_triplets": len(table.images),
        "num_predicates_present": int((per_predicate.num_images > 0).sum()),
    }
    if unseen is not None:
        metrics["num_zero_shot_triplets"] = int(unseen.sum())
    return metrics


def _mean_predicate_rank(table: TripletTable) -> float:
    """Average the places of found triplets: of an image's triplets with one predicate, then of all these means."""
    groups, found = table.by_image_and_predicate(), ~np.isnan(table.predicate_ranks)
    total = np.bincount(groups.index[found], weights=table.predicate_ranks[found], minlength=len(groups.keys))
    count = np.bincount(groups.index[found], minlength=len(groups.keys))
    return _mean(total[count > 0] / count[count > 0])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _harmonic_mean(a: float, b: float) -> float:
    # NaN stays NaN. The mean of 0 and 0 is 0.
    return 0.0 if a + b == 0 else 2 * a * b / (a + b)


def _divide(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
