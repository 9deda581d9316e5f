"""The order of triplets: one definition for evaluators and for people."""

from typing import NamedTuple

import numpy as np

from .errors import EGTRError
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


def top_indices(scores: np.ndarray, topk: int) -> np.ndarray:
    """Indices of the ``topk`` highest scores (all, if there are fewer), descending, ties by position.

    Args:
        scores: (S,) float.
        topk: 0 or more.

    Returns:
        (min(topk, S),) int64. For a small ``topk`` this is much faster than sorting all scores.
    """
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


def best_pairs(relation: np.ndarray, pair_scores: np.ndarray, topk: int, rows: np.ndarray) -> np.ndarray:
    """Where in ``rows`` the pairs are that can hold one of the ``topk`` best triplets, in order.

    The score of triplet (pair, p) is relation[pair, p] * pair_scores[pair]. A pair's best triplet bounds its
    others, so a pair that falls behind the ``topk`` best pairs cannot contribute. Reading all of ``relation``
    row by row is what costs time, hence most pairs are ruled out by ``pair_scores`` alone.

    Args:
        relation: (M, R) float, not negative.
        pair_scores: (M,) float, not negative.
        topk: number of triplets wanted.
        rows: (P,) int, the pairs to choose from.

    Returns:
        (Q,) int positions in ``rows``, ascending; all that tie with the last one are among them.

    Raises:
        EGTRError: a score is NaN or infinite.
    """
    if len(rows) == 0 or relation.shape[1] == 0:
        return np.arange(len(rows))
    bound = pair_scores[rows] * relation.max()
    if not np.isfinite(bound).all():
        raise EGTRError(
            "Prediction: logits, connectivity or relation hold NaN or infinity, which cannot be ranked; "
            "has the model's training diverged?"
        )
    if len(rows) <= topk:
        return np.arange(len(rows))
    if topk == 0:
        return np.zeros(0, dtype=np.int64)

    def best_score(positions: np.ndarray) -> np.ndarray:
        return relation[rows[positions]].max(axis=1) * pair_scores[rows[positions]]

    # More than topk pairs are probed, since those of the highest bound need not be the best ones: the threshold
    # gets sharper.
    probe = min(4 * topk, len(rows))
    scores = best_score(np.argpartition(bound, len(bound) - probe)[len(bound) - probe :])
    inside = np.flatnonzero(bound >= np.partition(scores, probe - topk)[probe - topk])
    scores = best_score(inside)
    return inside[scores >= np.partition(scores, len(scores) - topk)[len(scores) - topk]]


def rank_triplets(
    prediction: Prediction, topk: int = 100, graph_constraint: bool = True, object_score: str = "softmax"
) -> RankedTriplets:
    """The ``topk`` highest-scoring triplets of a picture (paper, section 3.4: "inference").

    score(i, j, p) = relation[i, j, p] * connectivity[i, j] * score_i * score_j. A query is never related to
    itself.

    Args:
        prediction: one picture's record.
        topk: number of triplets wanted; fewer come back where there are fewer.
        graph_constraint: True: each pair enters with its best predicate alone. False: every predicate of
            every pair.
        object_score: "softmax" or "sigmoid", see :meth:`Prediction.object_scores`.

    Returns:
        Triplets by descending score; exact ties by (subject, object, predicate).

    Raises:
        EGTRError: a score is NaN or infinite.
    """
    object_scores, _ = prediction.object_scores(object_score)
    pairs, relation = prediction.pairs, prediction.relation
    pair_scores = prediction.connectivity * object_scores[pairs[:, 0]] * object_scores[pairs[:, 1]]
    rows = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    rows = rows[best_pairs(relation, pair_scores, topk, rows)]
    rows = rows[np.lexsort((pairs[rows, 1], pairs[rows, 0]))]
    num_predicates = relation.shape[1]
    if graph_constraint and num_predicates:
        predicates = relation[rows].argmax(axis=1)
        scores = relation[rows, predicates] * pair_scores[rows]
        best = top_indices(scores, topk)
        rows, predicates = rows[best], predicates[best]
    else:
        scores = (relation[rows] * pair_scores[rows, None]).reshape(-1)
        best = top_indices(scores, topk)
        rows, predicates = rows[best // max(num_predicates, 1)], best % max(num_predicates, 1)
    return RankedTriplets(
        pairs[rows, 0], pairs[rows, 1], predicates.astype(np.int64), scores[best].astype(np.float32)
    )
