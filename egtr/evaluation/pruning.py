"""Which pairs of a prediction no protocol can do without."""

from dataclasses import replace

import numpy as np

from egtr.structures import EGTRError, Prediction
from egtr.structures.prediction import OBJECT_SCORES

# Scores are compared in float64 here and in float32 by evaluators, who may multiply in another order: pairs that come
# this close (relative) to the last one kept are kept as well.
TOLERANCE = 1e-6
# Below it a float32 product loses its digits, and with them any order that could be relied on.
TINY = 1e-37


def prune_prediction(prediction: Prediction, max_rank: int = 100) -> Prediction:
    """The same prediction with the pairs that some ranking of ``max_rank`` triplets can need.

    Every metric at K <= ``max_rank`` comes out the same as on the whole record, whatever the protocol. A pair's best
    triplet stands before its other triplets in every ranking. A triplet among the K best therefore belongs to one of
    the K pairs whose best triplet is best, with graph constraint, without it, and where a pair enters with its two
    best predicates. These pairs are kept for each way to score an object (softmax, sigmoid), once among pairs of
    two different queries and once among all pairs, (i, i) included, as the Open Images block ranks them. Pairs that
    tie with the last one stay; of those that score zero the first ``max_rank`` by (subject, object) do, since that is
    the order in which ties are ranked. Where several rows name one pair they stay or go together.

    Args:
        prediction: N queries, M pairs. Objects are never dropped: object AP reads all of them.
        max_rank: largest K, at least 1.

    Returns:
        A record of the same objects with the kept rows of ``pairs``, ``connectivity`` and ``relation`` in their
        order, usually one to two times ``max_rank`` of them.

    Raises:
        EGTRError: ``max_rank`` is not positive, or a score is NaN or infinite.
    """
    if max_rank < 1:
        raise EGTRError(f"max_rank is {max_rank}; it must be at least 1")
    pairs = prediction.pairs
    if len(pairs) <= max_rank:
        return prediction
    # One number for each distinct pair, ascending by (subject, object).
    keys, pair_of_row = np.unique(pairs[:, 0] * prediction.num_queries + pairs[:, 1], return_inverse=True)
    different = keys // prediction.num_queries != keys % prediction.num_queries
    # In float64 the product of four float32 numbers neither overflows nor underflows.
    row_scores = prediction.relation.max(axis=1, initial=0).astype(np.float64) * prediction.connectivity
    kept = np.zeros(len(keys), dtype=bool)
    for kind in OBJECT_SCORES:
        object_scores = prediction.object_scores(kind)[0].astype(np.float64)
        scores = np.zeros(len(keys))
        np.maximum.at(scores, pair_of_row, row_scores * object_scores[pairs[:, 0]] * object_scores[pairs[:, 1]])
        if not np.isfinite(scores).all():
            raise EGTRError(
                "Prediction: logits, connectivity or relation hold NaN or infinity, which cannot be ranked; "
                "has the model's training diverged?"
            )
        kept |= _best(scores, max_rank)
        kept[different] |= _best(scores[different], max_rank)
    rows = np.flatnonzero(kept[pair_of_row])
    return replace(
        prediction,
        pairs=pairs[rows],
        connectivity=prediction.connectivity[rows],
        relation=prediction.relation[rows],
    )


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """(P,) bool: the ``count`` highest of (P,) scores and what ties with the last of them."""
    if len(scores) <= count:
        return np.ones(len(scores), dtype=bool)
    last = np.partition(scores, len(scores) - count)[len(scores) - count]
    if last > TINY:
        return scores >= last * (1 - TOLERANCE)
    kept = scores > 0
    kept[np.flatnonzero(~kept)[:count]] = True
    return kept
