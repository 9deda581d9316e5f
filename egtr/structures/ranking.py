"""The order of triplets: one definition for evaluators and for people."""

from typing import NamedTuple

import numpy as np

from .prediction import Prediction


class RankedTriplets(NamedTuple):
    """K triplets of one picture, best first.

    Attributes:
        subjects, objects: (K,) int64 query indices.
        predicates: (K,) int64, 0-based.
        scores: (K,) float32, descending; predicate x connectivity x subject score x object score.
    """

    subjects: np.ndarray
    objects: np.ndarray
    predicates: np.ndarray
    scores: np.ndarray


def _best(scores: np.ndarray, topk: int) -> np.ndarray:
    """Indices of the ``topk`` highest scores, descending, ties by position."""
    topk = min(topk, len(scores))
    if topk == 0:
        return np.zeros(0, dtype=np.int64)
    if topk < len(scores):
        # All that tie with the last kept score stay in: which of them are kept is decided by position below.
        threshold = np.partition(scores, len(scores) - topk)[len(scores) - topk]
        candidates = np.flatnonzero(scores >= threshold)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:topk]


def rank_triplets(
    prediction: Prediction, topk: int = 100, graph_constraint: bool = True, object_score: str = "softmax"
) -> RankedTriplets:
    """The ``topk`` highest-scoring triplets of a picture (paper, section 3.4: "inference").

    score(i, j, p) = relation[i, j, p] * connectivity[i, j] * score_i * score_j. A query is never related to itself.

    Args:
        prediction: one picture's record.
        topk: number of triplets wanted; fewer come back where there are fewer.
        graph_constraint: True: each pair enters with its best predicate alone. False: every predicate of every pair.
        object_score: "softmax" or "sigmoid", see :meth:`Prediction.object_scores`.

    Returns:
        Triplets by descending score; exact ties by (subject, object, predicate).
    """
    object_scores, _ = prediction.object_scores(object_score)
    pairs, relation, connectivity = prediction.pairs, prediction.relation, prediction.connectivity
    kept = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    order = np.lexsort((pairs[kept, 1], pairs[kept, 0]))
    if not np.array_equal(order, np.arange(len(order))):
        kept = kept[order]
    pair_scores = connectivity[kept] * object_scores[pairs[kept, 0]] * object_scores[pairs[kept, 1]]
    num_predicates = relation.shape[1]
    if graph_constraint and num_predicates:
        predicates = relation.argmax(axis=1)[kept]
        scores = relation[kept, predicates] * pair_scores
        best = _best(scores, topk)
        rows, predicates, scores = kept[best], predicates[best], scores[best]
    else:
        # A pair's score bounds each of its triplets from above: only the pairs whose best triplet reaches the
        # topk-th best of those can hold one of the topk triplets, which keeps the (M, R) product small.
        if num_predicates and len(kept) > topk:
            bound = relation.max(axis=1)[kept] * pair_scores
            threshold = np.partition(bound, len(bound) - topk)[len(bound) - topk] if topk else np.inf
            inside = np.flatnonzero(bound >= threshold)
            kept, pair_scores = kept[inside], pair_scores[inside]
        scores = (relation[kept] * pair_scores[:, None]).reshape(-1)
        best = _best(scores, topk)
        rows, predicates = kept[best // max(num_predicates, 1)], best % max(num_predicates, 1)
        scores = scores[best]
    return RankedTriplets(pairs[rows, 0], pairs[rows, 1], predicates.astype(np.int64), scores.astype(np.float32))
