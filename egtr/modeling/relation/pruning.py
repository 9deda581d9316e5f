"""Relations of promising pairs alone, with the rankings that all pairs would give (paper, section 3.4).

The score of a triplet is relation x connectivity x subject score x object score, and no probability exceeds 1. So
what a pair has without its relations bounds its best triplet, and pairs are looked at by descending bound until it
falls below the best triplets found: most pairs of an image are never looked at.
"""

from collections.abc import Callable, Sequence

import numpy as np

# Bounds this close (relative) below the last triplet kept count as equal to it: evaluators multiply in float32.
_TOLERANCE = 1e-5
# Below it a float32 product loses its digits, and with them any order that could be relied on.
_TINY = 1e-37
# The first step of a search looks at so many pairs for each triplet wanted.
_FIRST_PAIRS = 2
# Where a larger share of the pairs is promising, all of them are looked at: side by side they cost less each.
_WORTH_WHILE = 1 / 4


def search_best_pairs(
    pair_scores: Sequence[np.ndarray],
    related: np.ndarray,
    top_k: int,
    evaluate: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Relations of all pairs that can hold one of the ``top_k`` best triplets, and of few others.

    A pair's best triplet stands before its others in every ranking, with graph constraint or without. A triplet among
    the K best therefore belongs to one of the K pairs whose best triplet is best. Those are found for each of several
    ways to score a pair, both among pairs of two queries and among all pairs; what ties with the last one is found
    too.

    Args:
        pair_scores: for each way to score objects (M,), connectivity x subject score x object score, not negative.
        related: (M,) bool, the pairs of two different queries.
        top_k: K, at least 1.
        evaluate: (P,) int64 rows of M to the (P, R) probabilities of their predicates, in 0..1.

    Returns:
        rows (Q,) int64, ascending, and relation (Q, R); None where looking at every pair is the better way: there are
        few, many are promising, or a score is NaN.
    """
    num_pairs = len(related)
    most = int(num_pairs * _WORTH_WHILE)
    # A search that begins with a good part of the pairs soon ends with most of them.
    if most < 5 * _FIRST_PAIRS * top_k or not all(np.isfinite(bounds).all() for bounds in pair_scores):
        return None
    rows, best = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    known = np.zeros(num_pairs, dtype=bool)
    relations = []
    for bounds in pair_scores:
        block = _highest(bounds, _FIRST_PAIRS * top_k)
        block = block[~known[block]]
        while True:
            if len(rows) + len(block) > most:
                return None
            relation = evaluate(block)
            known[block] = True
            relations.append(relation)
            rows, best = np.concatenate([rows, block]), np.concatenate([best, relation.max(axis=1, initial=0)])
            threshold = _last_of_best((best * bounds[rows])[related[rows]], top_k)
            remaining = np.flatnonzero((bounds >= threshold) & ~known)
            if len(remaining) == 0:
                break
            # The threshold still rises, but a search that finds it so low after two steps is hopeless.
            if len(rows) >= 2 * _FIRST_PAIRS * top_k and len(remaining) > most:
                return None
            # As many as before: few steps where many pairs are to be looked at.
            block = remaining[_highest(bounds[remaining], max(_FIRST_PAIRS * top_k, len(rows)))]
    order = np.argsort(rows)
    return rows[order], np.concatenate(relations)[order]


def _last_of_best(scores: np.ndarray, top_k: int) -> float:
    """What a bound has to reach for a place among the ``top_k`` highest of some scores and others to come."""
    if len(scores) < top_k:
        return 0.0
    last = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
    return float(last) * (1 - _TOLERANCE) if last > _TINY else 0.0


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the ``count`` highest values, in no order."""
    if len(values) <= count:
        return np.arange(len(values))
    return np.argpartition(values, len(values) - count)[len(values) - count :]
