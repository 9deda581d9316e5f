"""Rankings of triplets, compared with sorting all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.structures import (
    Prediction,
    PredictionError,
    all_pairs,
    best_pairs,
    candidate_pairs,
    rank_candidates,
    rank_triplets,
)
from egtr.structures.ranking import rank_threshold


def random_prediction(num_queries, num_predicates, seed):
    rng = np.random.RandomState(seed)
    pairs = all_pairs(num_queries)
    pairs = pairs[rng.permutation(len(pairs))[: len(pairs) * rng.randint(1, 3) // 2]]
    # Few values make ties frequent; connectivity of a power of two keeps products exact.
    relation = rng.randint(0, 9, (len(pairs), num_predicates)) / 8
    connectivity = 0.5 ** rng.randint(0, 6, len(pairs))
    logits = np.full((num_queries, 2), 0.0)
    logits[:, 0] = 200.0  # a score of exactly 1
    return Prediction(logits, np.zeros((num_queries, 4)), pairs, connectivity, relation, image_size=(1, 1))


def literal(prediction, top_k, graph_constraint):
    triplets = []
    for (i, j), connectivity, relation in zip(
        prediction.pairs.tolist(), prediction.connectivity.tolist(), prediction.relation.tolist(), strict=True
    ):
        if i != j:
            chosen = [relation.index(max(relation))] if graph_constraint else range(len(relation))
            triplets += [(-relation[p] * connectivity, i, j, p) for p in chosen]
    return sorted(triplets)[:top_k]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(0, 60), st.booleans())
def test_order_is_that_of_sorting_everything(num_queries, num_predicates, seed, top_k, graph_constraint):
    prediction = random_prediction(num_queries, num_predicates, seed)
    expected = literal(prediction, top_k, graph_constraint)
    ranked = rank_triplets(prediction, top_k, graph_constraint)
    got = zip(-ranked.scores, ranked.subjects, ranked.objects, ranked.predicates, strict=True)
    assert [tuple(row) for row in got] == expected


def test_best_pairs_keeps_ties_and_little_else():
    # Best triplets of the pairs: .5, .25, .5, .125; the second best score is shared by two of the first three.
    relation = np.array([[0.5, 0.1], [0.25, 0.2], [1.0, 0.0], [0.125, 0.1]])
    pair_scores = np.array([1.0, 1.0, 0.5, 1.0])
    assert best_pairs(relation, pair_scores, 1, np.arange(4)).tolist() == [0, 2]
    assert best_pairs(relation, pair_scores, 1, np.array([3, 1])).tolist() == [1]
    assert best_pairs(relation, pair_scores, 4, np.arange(4)).tolist() == [0, 1, 2, 3]
    assert best_pairs(relation, pair_scores, 0, np.arange(4)).tolist() == []


def test_threshold_by_hand():
    scores = np.array([0.25, 1.0, 0.5], dtype=np.float32)
    # A hundred thousandth below the first, second and third highest.
    for top_k, last in ((1, 1.0), (2, 0.5), (3, 0.25)):
        assert rank_threshold(scores, top_k) == pytest.approx(last * 0.99999, rel=1e-12)
    # A fourth one may still come, with any score.
    assert rank_threshold(scores, 4) == 0
    # Products of float32 below 1e-37 have lost their digits: none of them may be left out.
    assert rank_threshold(np.array([1.0, 9e-38]), 2) == 0 and rank_threshold(np.array([1.0, 2e-37]), 2) > 0


def test_pairs_that_differ_only_by_rounding_are_candidates():
    relation, pair_scores = np.array([[0.5], [0.5]], np.float32), np.array([1, 1 - 1e-6], np.float32)
    assert best_pairs(relation, pair_scores, 1, np.arange(2)).tolist() == [0, 1]
    pair_scores[1] = 1 - 1e-4
    assert best_pairs(relation, pair_scores, 1, np.arange(2)).tolist() == [0]


def test_nan_of_a_query_with_itself_cannot_be_ranked():
    prediction = Prediction([[1.0]], np.zeros((1, 4)), [[0, 0]], [1.0], [[np.nan, 0.5]], image_size=(1, 1))
    with pytest.raises(PredictionError, match="NaN"):
        candidate_pairs(prediction, np.ones(1, dtype=np.float32), 5)


@pytest.mark.parametrize("top_k", [1, 3, 100])
def test_one_list_of_pairs_serves_every_ranking(top_k):
    prediction = random_prediction(8, 3, seed=top_k)
    candidates = candidate_pairs(prediction, prediction.object_scores()[0], 100)
    for per_pair, graph_constraint in ((1, True), (None, False)):
        expected = rank_triplets(prediction, top_k, graph_constraint)
        for got, wanted in zip(rank_candidates(candidates, top_k, per_pair), expected, strict=True):
            assert got.tolist() == wanted.tolist()


def test_two_predicates_a_pair_and_queries_with_themselves():
    # Pair (0, 1) may give .9 and .7, not .5; (1, 1), where allowed, .8 and of its two .6 the first.
    prediction = Prediction(
        [[200.0, 0], [200.0, 0]],
        np.zeros((2, 4)),
        [[1, 1], [0, 1]],
        [1.0, 1.0],
        [[0.6, 0.8, 0.6], [0.9, 0.5, 0.7]],
        image_size=(1, 1),
    )
    candidates = candidate_pairs(prediction, prediction.object_scores()[0], 100)
    ranked = rank_candidates(candidates, 100, predicates_per_pair=2, self_pairs=True)
    rows = zip(ranked.subjects, ranked.objects, ranked.predicates, strict=True)
    assert list(rows) == [(0, 1, 0), (1, 1, 1), (0, 1, 2), (1, 1, 0)]
    assert rank_candidates(candidates, 100, predicates_per_pair=2).predicates.tolist() == [0, 2]
    assert rank_candidates(candidates, 3, predicates_per_pair=2, self_pairs=True).predicates.tolist() == [0, 1, 2]


@pytest.mark.parametrize("field", ["logits", "connectivity", "relation"])
def test_nan_cannot_be_ranked(field):
    prediction = random_prediction(4, 2, 0)
    getattr(prediction, field)[...] = np.nan
    for graph_constraint in (True, False):
        with pytest.raises(PredictionError, match="NaN"):
            rank_triplets(prediction, 5, graph_constraint)
