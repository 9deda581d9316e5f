"""Metrics of other projects on tiny scenes, worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from egtr.evaluation import PROTOCOLS, evaluate
from egtr.structures import GroundTruth
from tests.evaluation.scenes import A, B, C, nothing, predict, two_images

# Scene ``two_images``, with graph constraint: image 1 A0B (hit), C0A, B2C (hit), never A1B; image 2 A1B, where A0B is
# annotated. Without: image 1 A0B (hit), C0A, A1B (hit), B2C (hit); image 2 A1B, A0B (hit).


def test_micro_recall():
    metrics = evaluate(*two_images(), top_k=(1, 3, 4))
    # Hits of 4 triplets in both images.
    assert [metrics[f"microR@{k}"] for k in (1, 3, 4)] == [1 / 4, 2 / 4, 2 / 4]
    assert [metrics[f"ng-microR@{k}"] for k in (1, 3, 4)] == [1 / 4, 3 / 4, 1.0]


def test_mean_recall_of_phrases():
    # B is a hair too short as an object and good enough in the box around both: only phrases are hit.
    short = [20, 0, 23, 9]
    prediction = predict([A, short], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    metrics = evaluate([prediction], [truth], top_k=(1,))
    assert [metrics[name] for name in ("R@1", "phr-R@1")] == [0.0, 1.0]
    # One predicate of three.
    assert [metrics[name] for name in ("mR@1", "phr-mR@1", "ng-phr-mR@1")] == pytest.approx([0, 1 / 3, 1 / 3])


def test_pair_recall_does_not_ask_for_the_predicate():
    # Image 1 has the pairs A,B (two triplets) and B,C; image 2 A,B, found with another predicate.
    metrics = evaluate(*two_images(), top_k=(1, 2, 3))
    assert [metrics[f"PairR@{k}"] for k in (1, 2, 3)] == [(1 / 2 + 1) / 2, (1 / 2 + 1) / 2, 1.0]


def test_instance_recall_is_of_objects():
    # Of A, B and C only A and B are found; the third query has a wrong class. The second image has no triplet.
    prediction = predict([A, B, C], [0, 1, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truths = [GroundTruth([A, B, C], [0, 1, 0], [[0, 1, 0]]), GroundTruth([A], [0], [])]
    assert evaluate([prediction, nothing()], truths)["InstR"] == pytest.approx(2 / 3)


def test_relative_recall_takes_as_many_predictions_as_triplets():
    # Image 1: three, so two of three with graph constraint, and two of three without; image 2: one, nothing.
    metrics = evaluate(*two_images(), top_k=(1, 3))
    assert [metrics["R@rel"], metrics["ng-R@rel"]] == pytest.approx([1 / 3, 1 / 3])
    # Predicate 0: image 1 yes, image 2 no; predicate 1: no; with graph constraint 2: yes.
    assert metrics["mR@rel"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert metrics["ng-mR@rel"] == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_weighted_recall_charges_wrong_predictions_before_a_hit():
    # K = 4, image 1: A0B after no miss 4/4, B2C after one (C0A) 3/4, A1B nothing: (1 + 3/4) / 3. Image 2: nothing.
    metrics = evaluate(*two_images(), top_k=(4,))
    assert metrics["wR@4"] == pytest.approx((1 + 3 / 4) / 3 / 2)
    # Without graph constraint: A0B 4/4, A1B 3/4, B2C 3/4 (hits cost nothing); image 2: A0B after one miss, 3/4.
    assert metrics["ng-wR@4"] == pytest.approx(((1 + 3 / 4 + 3 / 4) / 3 + 3 / 4) / 2)
    # It never exceeds recall.
    assert metrics["wR@4"] <= metrics["R@4"]


def test_predicate_rank():
    # Image 1: A,B has the order 0, 1, 2, so that A0B has place 0 and A1B 1; B,C the order 2, 1, 0: B2C has 0. Image
    # 2: 1, 0, 2: A0B has 1. Mean over (image, predicate): (0 + 1 + 0 + 1) / 4.
    assert evaluate(*two_images(), "sgbench")["PRank"] == pytest.approx(1 / 2)
    # A prediction that overlaps two annotated objects has no single place, so other protocols have none.
    assert "PRank" not in evaluate(*two_images(), "reference")
    # A record that leaves pairs out does not know it.
    predictions, truths = two_images()
    assert "PRank" not in evaluate([replace(p, max_rank=100) for p in predictions], truths, "sgbench")
    assert math.isnan(evaluate([nothing()], truths[:1], "sgbench")["PRank"])


def test_predicate_rank_of_two_queries_that_find_the_same_pair():
    # Queries 0 and 2 both are A. Best scores of A,B over both rows: predicate 0 .5, 1 .9, 2 .7.
    rows = {(0, 1): (1.0, [0.5, 0.9, 0.1]), (2, 1): (1.0, [0.4, 0.2, 0.7])}
    prediction = predict([A, B, A], [0, 1, 0], rows)
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    assert evaluate([prediction], [truth], "sgbench")["PRank"] == 2.0


def test_unweighted_map_of_open_images():
    # Predicate 0 is found (AP 1), predicate 2 is not; predicate 1 does not occur.
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    scene = [found], [GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 2]])]
    for absent_count, expected in ((True, 1 / 3), (False, 1 / 2)):
        metrics = evaluate(*scene, replace(PROTOCOLS["reference"], absent_predicates_count=absent_count))
        assert [metrics["oi/mAP_rel"], metrics["oi/mAP_phr"]] == pytest.approx([expected] * 2)


def test_accuracy_without_graph_constraint():
    # PredCls. A,B: predicate 0 (.9), 1 (.8); B,A: predicate 0 (.7). Annotated: A0B, A1B, B2A.
    relations = {(0, 1): (1.0, [0.9, 0.8, 0.1]), (1, 0): (1.0, [0.7, 0.1, 0.6])}
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 1], [1, 0, 2]])
    metrics = evaluate([predict([A, B], [0, 1], relations)], [truth], top_k=(1, 2, 4), task="predcls")
    # With graph constraint A0B, B0A. Without: A0B, A1B, B0A, B2A.
    assert [metrics[f"A@{k}"] for k in (1, 2, 4)] == pytest.approx([1 / 3] * 3)
    assert [metrics[f"ng-A@{k}"] for k in (1, 2, 4)] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_vrd():
    # Micro recall with one predicate a pair and with 70: image 1 has 3 triplets, image 2 one, an image without any
    # prediction one. +1 pixel as in Fast R-CNN, and repeated annotations count.
    predictions, truths = two_images()
    truths[1].triplets = np.repeat(truths[1].triplets, 2, axis=0)
    scene = [*predictions, nothing()], [*truths, GroundTruth([A, B], [0, 1], [[0, 1, 2]])]
    metrics = evaluate(*scene, "vrd", top_k=(3, 4))
    assert [metrics["R@3"], metrics["phr-R@3"]] == pytest.approx([2 / 6, 2 / 6])
    assert [metrics["ng-R@3"], metrics["ng-R@4"]] == pytest.approx([4 / 6, 5 / 6])
    # Of each pair the 70 best predicates only: predicate 70 of 71 is the worst.
    values = np.linspace(1.0, 0.5, 71)
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, values)}, num_predicates=71)
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 69], [0, 1, 70]])
    assert evaluate([prediction], [truth], "vrd", top_k=(100,))["ng-R@100"] == 0.5
    assert evaluate([prediction], [truth], "motifs", top_k=(100,))["ng-R@100"] == 1.0
