"""Relations of only those pairs that rankings need (paper, section 3.4).

The score of a triplet is relation x connectivity x subject score x object score, and no probability exceeds 1. The
product of the other three factors therefore bounds the score of the pair's best triplet. Pairs are evaluated by
descending bound until the bound falls below the best triplets found, by the rule of :mod:`egtr.structures.ranking`.
Most pairs of an image are never evaluated.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from egtr.structures.ranking import TINY, TOLERANCE

# Pairs per triplet of the ranking that the first step of a search evaluates.
_FIRST_PAIRS = 2
# If more than this share of the pairs must be evaluated, all are evaluated: each pair then costs less.
_WORTH_WHILE = 1 / 4


def rank_threshold(scores: Tensor, top_k: int) -> float:
    """Do what :func:`egtr.structures.ranking.rank_threshold` does, for a tensor."""
    if len(scores) < top_k:
        return 0.0
    last = scores.topk(top_k, sorted=False).values.min().item()
    return last * (1 - TOLERANCE) if last > TINY else 0.0


def search_best_pairs(
    pair_scores: Sequence[Tensor], related: Tensor, top_k: int, evaluate: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor] | None:
    """Find all pairs that can hold one of the ``top_k`` best triplets, and evaluate few others.

    The pairs are found for each of several ways to score objects, both among pairs of two different queries and among
    all pairs, with graph constraint or without. Pairs that tie with the last one are found too.

    Args:
        pair_scores: for each way to score objects (M,), connectivity x subject score x object score, not negative.
        related: (M,) bool, the pairs of two different queries.
        top_k: length K of the longest ranking, at least 1.
        evaluate: maps (P,) int64 rows of M to the (P, R) probabilities of their predicates, in 0..1.

    Returns:
        rows (Q,) int64, ascending, and relation (Q, R). None if evaluating every pair is cheaper, since there are few
        pairs or many are needed, or if a score is NaN or infinite.
    """
    num_pairs = len(related)
    most = int(num_pairs * _WORTH_WHILE)
    # A search that begins with a large part of the pairs soon ends with most of them.
    if most < 5 * _FIRST_PAIRS * top_k or not all(bounds.isfinite().all() for bounds in pair_scores):
        return None
    rows = torch.zeros(0, dtype=torch.int64, device=related.device)
    best = torch.zeros(0, device=related.device)
    known = torch.zeros_like(related)
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
            found = relation.amax(1) if relation.numel() else relation.new_zeros(len(block))
            rows, best = torch.cat([rows, block]), torch.cat([best, found])
            threshold = rank_threshold((best * bounds[rows])[related[rows]], top_k)
            remaining = ((bounds >= threshold) & ~known).nonzero()[:, 0]
            if len(remaining) == 0:
                break
            # The threshold still rises, but if it is so low after two steps, the search will not end early.
            if len(rows) >= 2 * _FIRST_PAIRS * top_k and len(remaining) > most:
                return None
            # As many pairs as are known already, so that the number of steps stays small.
            block = remaining[_highest(bounds[remaining], max(_FIRST_PAIRS * top_k, len(rows)))]
    order = rows.argsort()
    return rows[order], torch.cat(relations)[order]


def _highest(values: Tensor, count: int) -> Tensor:
    """Find the positions of the ``count`` highest values, in any order."""
    return values.topk(min(count, len(values)), sorted=False).indices
