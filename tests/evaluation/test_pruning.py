"""Pruned records score exactly as whole ones, whatever the protocol."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from egtr.evaluation import prune_prediction
from egtr.structures import EGTRError, Prediction, TripletCounts
from tests.evaluation.predictions import assert_scored_alike, random_record
from tests.properties import check, few_or_many

TRAINING = TripletCounts([[0, 1, 0], [1, 1, 2], [2, 0, 3]], [9, 4, 1], num_classes=3, num_predicates=4)


@few_or_many(10, 25)
def test_every_metric_is_the_same(examples):
    check(
        examples,
        assert_every_metric_is_the_same,
        seed=st.integers(0, 10**6),
        num_queries=st.integers(0, 16),
        digits=st.sampled_from([None, 1, 2]),
        silent=st.sampled_from([0.0, 0.6, 0.97]),
        max_rank=st.sampled_from([1, 3, 10, 100]),
        order=st.sampled_from(["sorted", "shuffled", "some"]),
    )


def assert_every_metric_is_the_same(seed, num_queries, digits, silent, max_rank, order):
    """Compare all metrics of whole and pruned predictions.

    They have up to 16 x 16 pairs, with equal scores (``digits``), with many of exactly zero (``silent``: the share of
    pairs that nothing connects), listed in any order or in part.
    """
    rng = np.random.RandomState(seed)
    whole, truths = [], []
    for k in range(2):
        prediction, truth = random_record(seed + k, num_queries, digits=digits, image_id=k)
        prediction.connectivity[rng.rand(len(prediction.pairs)) < silent] = 0
        rows = np.arange(len(prediction.pairs)) if order == "sorted" else rng.permutation(len(prediction.pairs))
        rows = rows[: len(rows) * 2 // 3] if order == "some" else rows
        whole.append(
            replace(
                prediction,
                pairs=prediction.pairs[rows],
                connectivity=prediction.connectivity[rows],
                relation=prediction.relation[rows],
            )
        )
        truths.append(truth)
    pruned = [prune_prediction(prediction, max_rank) for prediction in whole]
    assert_scored_alike(whole, pruned, truths, sorted({1, max_rank}), TRAINING)


def test_realistic_records_shrink_and_score_alike():
    records = [random_record(seed, num_queries=40, image_id=seed) for seed in range(3)]
    whole, truths = zip(*records, strict=True)
    pruned = [prune_prediction(prediction) for prediction in whole]
    assert_scored_alike(whole, pruned, truths, (20, 50, 100), TRAINING)
    # 100 by softmax, up to as many others by sigmoid, and pairs (i, i) among both.
    assert all(100 <= len(prediction.pairs) <= 300 < 1600 for prediction in pruned)


def one_predicate(scores):
    """Queries 0, 1, ... with the given score for each pair (row by row, diagonal included)."""
    scores = np.asarray(scores, dtype=np.float32)
    subjects, objects = np.divmod(np.arange(scores.size), len(scores))
    return Prediction(
        logits=np.zeros((len(scores), 1)),
        boxes=np.tile([0.0, 0, 9, 9], (len(scores), 1)),
        pairs=np.stack([subjects, objects], axis=1),
        connectivity=np.ones(scores.size),
        relation=scores.reshape(-1, 1),
        image_size=(10, 10),
    )


def test_which_pairs_stay():
    # 12 queries, 132 pairs of two; those of query 0 score 0.9, everything else 0.5 or nothing. With one class all
    # object scores are equal, so that only these numbers decide.
    scores = np.zeros((12, 12))
    scores[0] = 0.9
    scores[11, :10] = 0.5
    pruned = prune_prediction(one_predicate(scores), max_rank=100)
    # Of (i, j), i != j, 11 score 0.9 and 10 score 0.5; the first 100 zeros of the other 111 stay with them. Among all
    # pairs the first 100 zeros are rows 1 to 8 and (9, 0) to (9, 3), which adds (1, 1) ... (8, 8).
    pairs = {tuple(pair) for pair in pruned.pairs.tolist()}
    zeros = [(i, j) for i in range(1, 12) for j in range(12) if i != j and scores[i, j] == 0][:100]
    scored = {(0, j) for j in range(12)} | {(11, j) for j in range(10)}
    assert pairs == scored | set(zeros) | {(i, i) for i in range(1, 9)}


def test_all_that_tie_stay():
    # 15 x 15 equal scores: an evaluator may rank any of them first.
    prediction = one_predicate(np.full((15, 15), 0.5))
    assert len(prune_prediction(prediction).pairs) == 225
    # The same holds for products that differ only by rounding.
    prediction.relation[:120] = np.nextafter(np.float32(0.5), np.float32(1))
    assert len(prune_prediction(prediction).pairs) == 225


def test_a_record_that_repeats_pairs_is_kept_whole():
    prediction = one_predicate(np.random.RandomState(0).rand(15, 15))
    assert len(prune_prediction(prediction).pairs) < 225
    prediction.pairs[224] = prediction.pairs[0]
    assert prune_prediction(prediction) is prediction


def test_what_cannot_be_ranked_is_named():
    prediction = one_predicate(np.full((15, 15), 0.5))
    prediction.relation[7] = np.nan
    with pytest.raises(EGTRError, match="Prediction.relation holds NaN or infinity"):
        prune_prediction(prediction)
    with pytest.raises(EGTRError, match="max_rank is 0; it must be at least 1"):
        prune_prediction(prediction, 0)
