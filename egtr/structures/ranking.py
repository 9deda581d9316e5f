"""The order of triplets, defined once for evaluators and for scene graphs.

The module also has one rule for leaving pairs out. In every ranking a pair's best triplet comes before its other
triplets. The K best triplets therefore belong to the K pairs with the highest best triplets. A pair is needed only if
its best triplet, or an upper bound of its score, reaches the :func:`rank_threshold` of the pairs known so far. Three
places follow this rule:

- :func:`best_pairs` reads fewer relations when triplets are ranked,
- :mod:`egtr.modeling.relation.pruning` computes fewer relations, with the same threshold in torch,
- :func:`egtr.evaluation.prune_prediction` writes fewer relations to files.
"""

from typing import NamedTuple

import numpy as np

from .errors import PredictionError
from .prediction import Prediction

# Evaluators multiply the float32 factors of a score in different orders. A score this close (relative) below the last
# one of a ranking therefore counts as equal to it.
TOLERANCE = 1e-5
# Below it a float32 product loses its digits, and the order of scores is arbitrary.
TINY = 1e-37


class RankedTriplets(NamedTuple):
    """K triplets of one image, best first.

    Attributes:
        subjects, objects: (K,) int64 query indices.
        predicates: (K,) int64, 0-based.
        scores: (K,) float32, descending: predicate x connectivity x subject score x object score.
    """

    subjects: np.ndarray
    objects: np.ndarray
    predicates: np.ndarray
    scores: np.ndarray


class CandidatePairs(NamedTuple):
    """The Q pairs of an image that can hold one of its best triplets, ordered by (subject, object).

    Attributes:
        subjects, objects: (Q,) int64 query indices; they are equal in the pair of a query with itself.
        relation: (Q, R) float32, probability of each predicate.
        pair_scores: (Q,) float32, the other factors of a score: connectivity x subject score x object score.
    """

    subjects: np.ndarray
    objects: np.ndarray
    relation: np.ndarray
    pair_scores: np.ndarray


def top_indices(scores: np.ndarray, top_k: int) -> np.ndarray:
    """Find the ``top_k`` highest scores (all, if there are fewer), descending, ties by position.

    Args:
        scores: (S,) float.
        top_k: 0 or more.

    Returns:
        Indices, (min(top_k, S),) int64. For a small ``top_k`` this is much faster than sorting all scores.
    """
    top_k = min(top_k, len(scores))
    if top_k == 0:
        return np.zeros(0, dtype=np.int64)
    if top_k < len(scores):
        # All scores that tie with the last one stay in, since their positions decide below.
        threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
        candidates = np.flatnonzero(scores >= threshold)
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates], kind="stable")][:top_k]


def rank_threshold(scores: np.ndarray, top_k: int) -> float:
    """Compute the score that a pair needs for a place among the ``top_k`` best, by the rule of this module.

    Args:
        scores: (S,) float, not negative, best scores of the pairs known so far. Others may follow.
        top_k: number of triplets K of the ranking, at least 1.

    Returns:
        A little less than the K-th highest score; 0 if there are fewer scores or the K-th is too small to be ordered.
    """
    if len(scores) < top_k:
        return 0.0
    last = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
    return float(last) * (1 - TOLERANCE) if last > TINY else 0.0


def best_pairs(relation: np.ndarray, pair_scores: np.ndarray, top_k: int, rows: np.ndarray) -> np.ndarray:
    """Find the pairs that can hold one of the ``top_k`` best triplets.

    The score of triplet (pair, p) is relation[pair, p] * pair_scores[pair]. Reading all of ``relation`` row by row
    would take most of the time, so ``pair_scores`` and the largest relation rule out most pairs first.

    Args:
        relation: (M, R) float, not negative.
        pair_scores: (M,) float, not negative.
        top_k: number of triplets of the ranking.
        rows: (P,) int, the pairs to choose from.

    Returns:
        (Q,) int positions in ``rows``, ascending; pairs that tie with the last one are included.

    Raises:
        PredictionError: a score is NaN or infinite.
    """
    if len(rows) == 0 or relation.shape[1] == 0:
        return np.arange(len(rows))
    bound = pair_scores[rows] * relation.max()
    _check_finite(bound)
    if len(rows) <= top_k:
        return np.arange(len(rows))
    if top_k == 0:
        return np.zeros(0, dtype=np.int64)

    def best_score(positions: np.ndarray) -> np.ndarray:
        return relation[rows[positions]].max(axis=1) * pair_scores[rows[positions]]

    # Pairs of the highest bound need not be the best ones, so looking at more than top_k raises the threshold.
    probe = min(4 * top_k, len(rows))
    scores = best_score(np.argpartition(bound, len(bound) - probe)[len(bound) - probe :])
    inside = np.flatnonzero(bound >= rank_threshold(scores, top_k))
    scores = best_score(inside)
    return inside[scores >= rank_threshold(scores, top_k)]


def candidate_pairs(prediction: Prediction, object_scores: np.ndarray, top_k: int) -> CandidatePairs:
    """Choose the pairs that :func:`rank_candidates` needs for any ranking of up to ``top_k`` triplets.

    Args:
        prediction: one image's record, N queries, R predicates.
        object_scores: (N,) float32 in 0..1, see :meth:`Prediction.object_scores`.
        top_k: length of the longest ranking.

    Returns:
        The pairs of two queries that can hold one of the best ``top_k`` triplets, and all pairs of a query with
        itself.

    Raises:
        PredictionError: a score is NaN or infinite.
    """
    subjects, objects = np.ascontiguousarray(prediction.pairs.T)
    pair_scores = prediction.connectivity * object_scores[subjects] * object_scores[objects]
    _check_finite(pair_scores)
    related = subjects != objects
    rows = np.flatnonzero(related)
    rows = np.concatenate([rows[best_pairs(prediction.relation, pair_scores, top_k, rows)], np.flatnonzero(~related)])
    rows = rows[np.lexsort((objects[rows], subjects[rows]))]
    relation = prediction.relation[rows]
    # best_pairs does not check the pairs (i, i).
    _check_finite(relation)
    return CandidatePairs(subjects[rows], objects[rows], relation, pair_scores[rows])


def rank_candidates(
    candidates: CandidatePairs, top_k: int, predicates_per_pair: int | None = None, self_pairs: bool = False
) -> RankedTriplets:
    """Rank the ``top_k`` highest-scoring triplets of candidate pairs.

    Args:
        candidates: pairs of one image, made for this ``top_k`` or a larger one.
        top_k: number of triplets of the ranking; the result is shorter if there are fewer.
        predicates_per_pair: number of predicates, the best ones, with which each pair enters; None: all.
        self_pairs: let a query be related to itself.

    Returns:
        Triplets by descending score; exact ties by (subject, object, predicate).
    """
    rows = np.arange(len(candidates.subjects))
    if not self_pairs:
        rows = np.flatnonzero(candidates.subjects != candidates.objects)
    relation = candidates.relation[rows]
    num_predicates = relation.shape[1]
    width = num_predicates if predicates_per_pair is None else min(predicates_per_pair, num_predicates)
    predicates = _best_columns(relation, width)
    scores = np.take_along_axis(relation, predicates, axis=1) * candidates.pair_scores[rows, None]
    best = _top_triplets(scores, predicates, candidates.subjects[rows], candidates.objects[rows], top_k)
    rows = rows[best // max(width, 1)]
    return RankedTriplets(
        candidates.subjects[rows],
        candidates.objects[rows],
        predicates.reshape(-1)[best].astype(np.int64),
        scores.reshape(-1)[best].astype(np.float32),
    )


def _top_triplets(
    scores: np.ndarray, predicates: np.ndarray, subjects: np.ndarray, objects: np.ndarray, top_k: int
) -> np.ndarray:
    """Find the positions of the best scores in the flattened (Q, width) ``scores``, of Q pairs in order."""
    flat = scores.reshape(-1)
    if not ((subjects[1:] == subjects[:-1]) & (objects[1:] == objects[:-1])).any():
        return top_indices(flat, top_k)
    # Some dumps have several rows of one pair: equal scores are in the order of predicates, not of rows.
    width = scores.shape[1]
    order = np.lexsort((predicates.reshape(-1), np.repeat(objects, width), np.repeat(subjects, width)))
    return order[top_indices(flat[order], top_k)]


def _best_columns(values: np.ndarray, count: int) -> np.ndarray:
    """Find the (Q, count) columns of the highest values of each row, ascending; of equal values the first."""
    if count == values.shape[1]:
        return np.broadcast_to(np.arange(count), values.shape)
    # To find one or two of many columns, sorting would take many times as long.
    values, rows = values.copy(), np.arange(len(values))
    columns = np.empty((len(values), count), dtype=np.int64)
    for position in range(count):
        columns[:, position] = values.argmax(axis=1)
        values[rows, columns[:, position]] = -np.inf
    return np.sort(columns, axis=1)


def check_max_rank(prediction: Prediction, top_k: int) -> None:
    """Raise PredictionError if a record keeps too few pairs for rankings of ``top_k`` triplets."""
    if prediction.max_rank is not None and top_k > prediction.max_rank:
        raise PredictionError(
            f"Prediction: its pairs suffice for rankings of {prediction.max_rank} triplets, not of {top_k}; "
            f"add {top_k} to TEST.SCENE_GRAPH.TOPK before the model is built"
        )


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise PredictionError(
            "Prediction: logits, connectivity or relation hold NaN or infinity, which cannot be ranked; "
            "has the model's training diverged?"
        )


def rank_triplets(
    prediction: Prediction, top_k: int = 100, graph_constraint: bool = True, object_score: str = "auto"
) -> RankedTriplets:
    """Rank the ``top_k`` highest-scoring triplets of an image (paper, section 3.4: "inference").

    score(i, j, p) = relation[i, j, p] * connectivity[i, j] * score_i * score_j. A query is never related to
    itself.

    Args:
        prediction: one image's record.
        top_k: number of triplets of the ranking; the result is shorter if there are fewer.
        graph_constraint: True: each pair enters only with its best predicate. False: with every predicate.
        object_score: "auto", "softmax" or "sigmoid", see :meth:`Prediction.object_scores`.

    Returns:
        Triplets by descending score; exact ties by (subject, object, predicate).

    Raises:
        PredictionError: a score is NaN or infinite, or the record keeps too few pairs for this ``top_k``.
    """
    check_max_rank(prediction, top_k)
    object_scores, _ = prediction.object_scores(object_score)
    candidates = candidate_pairs(prediction, object_scores, top_k)
    return rank_candidates(candidates, top_k, predicates_per_pair=1 if graph_constraint else None)
