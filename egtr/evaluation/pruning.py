"""Reduction of a prediction to the pairs that some protocol can need."""

import numpy as np

from egtr.structures import ConfigurationError, Prediction, PredictionError
from egtr.structures.prediction import OBJECT_SCORES
from egtr.structures.ranking import rank_threshold

from .entries import repeats_pairs, select_rows
from .open_images import MAX_CANDIDATES


def prune_prediction(prediction: Prediction, max_rank: int = 100) -> Prediction:
    """Keep only the pairs that some ranking of ``max_rank`` triplets can need.

    Every metric at K <= ``max_rank`` is the same as for the whole record, whatever the protocol. In every ranking a
    pair's best triplet comes before its other triplets. A triplet among the K best therefore belongs to one of the K
    pairs with the best first triplets: with graph constraint, without it, and if a pair enters with its two best
    predicates. These pairs are kept for each way to score an object (softmax, sigmoid), once among pairs of two
    different queries and once among all pairs, (i, i) included, from which the Open Images block takes its 100
    candidates. Pairs that tie with the last one stay. If pairs score zero, the first ``max_rank`` of them by
    (subject, object) stay, because ties are ranked in that order. A record that lists a pair in several rows, as
    triplet queries may, is kept whole, because the protocol decides how such rows count.

    Args:
        prediction: N queries, M pairs. Objects are never dropped: object AP reads all of them.
        max_rank: largest K, at least 1.

    Returns:
        A record of the same objects with the kept rows of ``pairs``, ``connectivity`` and ``relation`` in their
        order, usually one to two times ``max_rank`` of them.

    Raises:
        ConfigurationError: ``max_rank`` is not positive.
        PredictionError: a score is NaN or infinite.
    """
    if max_rank < 1:
        raise ConfigurationError(f"max_rank is {max_rank}; it must be at least 1")
    if len(prediction.pairs) <= max_rank or repeats_pairs(prediction):
        return prediction
    best = prediction.relation.max(axis=1, initial=0)
    for field, values in (
        ("relation", best),
        ("connectivity", prediction.connectivity),
        ("logits", prediction.logits),
    ):
        if not np.isfinite(values).all():
            raise PredictionError(f"Prediction.{field} holds NaN or infinity; has the model's training diverged?")
    subjects, objects = prediction.pairs.T
    order = np.lexsort((objects, subjects))
    kept = np.zeros(len(order), dtype=bool)
    for kind in OBJECT_SCORES:
        # In float64 the product of four float32 numbers neither overflows nor underflows.
        object_scores = prediction.object_scores(kind)[0].astype(np.float64)
        scores = best.astype(np.float64) * prediction.connectivity * object_scores[subjects] * object_scores[objects]
        for rows, count in ((order[(subjects != objects)[order]], max_rank), (order, max(max_rank, MAX_CANDIDATES))):
            kept[rows[_best(scores[rows], count)]] = True
    return select_rows(prediction, np.flatnonzero(kept))


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Select the ``count`` highest of (P,) scores and ties with the last; of zeros the first ones: (P,) bool."""
    threshold = rank_threshold(scores, count)
    if threshold > 0:
        return scores >= threshold
    kept = scores > 0
    kept[np.flatnonzero(~kept)[:count]] = True
    return kept
