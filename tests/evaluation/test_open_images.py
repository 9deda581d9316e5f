"""The Open Images block, worked out by hand."""

import math

import numpy as np
import pytest

from egtr.evaluation import evaluate
from egtr.evaluation.open_images import average_precision
from egtr.structures import GroundTruth
from tests.evaluation.scenes import A, B, nothing, predict


def block(predictions, ground_truth, protocol="reference"):
    metrics = evaluate(predictions, ground_truth, protocol)
    return {name.removeprefix("oi/"): value for name, value in metrics.items() if name.startswith("oi/")}


def test_average_precision_is_interpolated():
    # Found, missed, found, of 4: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2. Interpolated: 1 up to 1/4,
    # then 2/3 up to 1/2, then 0.
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx(1 / 4 + (2 / 3) / 4)
    assert average_precision(np.array([], dtype=bool), 4) == 0.0


def test_open_images_by_hand():
    # Ground truth: A -0-> B and B -1-> A. Candidates (two best predicates a pair): A0B (.9), A1B (.5) and, at
    # some offset, B1A twice: (.8) by a query 3 columns off B, and (.3) by one on B. 3 columns off: pixels 7 x
    # 10 of 10 x 10 shared: 70 / 130 = .538 with +1, a hit. With +1 only on the intersection: 7 * 10 / (81 +
    # 81 - 70) = .76 > .5.
    near = [23, 0, 32, 9]
    prediction = predict(
        [A, B, near],
        [0, 1, 1],
        {(0, 1): (1.0, [0.9, 0.5, 0.1]), (2, 0): (1.0, [0, 0.8, 0]), (1, 0): (1.0, [0, 0.3, 0])},
    )
    ground_truth = GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 1]])
    metrics = block([prediction], [ground_truth])
    assert metrics["microR@50"] == 1.0
    # Predicate 0: one candidate, right: AP 1. Predicate 1, by score: B1A near (.8) takes the ground truth;
    # A1B (.5) has other classes; B1A (.3) finds it taken. AP = 1. Both weigh 1/2.
    assert metrics["wmAP_rel"] == pytest.approx(1.0)
    assert metrics["wmAP_phr"] == pytest.approx(1.0)
    assert metrics["score"] == pytest.approx(1.0)

    # B1A near with less score than the wrong A1B: precision of predicate 1 at full recall is 1/2.
    prediction.relation[1, 1] = 0.4
    metrics = block([prediction], [ground_truth])
    assert metrics["wmAP_rel"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["score"] == pytest.approx(0.4 * 0.75 + 0.4 * 0.75 + 0.2)


def test_open_images_phrase_is_looser_than_relation():
    # The subject is predicted one box to the right of A: no overlap with A, so neither hit nor rel. The union
    # with B is 10..29 against 0..29: 20 columns of 30, (20 * 10) / (29 * 9 + 19 * 9 - 200) = .86: phr finds
    # it.
    prediction = predict([[10, 0, 19, 9], B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    ground_truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    metrics = block([prediction], [ground_truth])
    assert [metrics[name] for name in ("microR@50", "wmAP_rel", "wmAP_phr")] == [0.0, 0.0, 1.0]
    assert metrics["score"] == pytest.approx(0.4)


def test_open_images_candidates():
    # A pair has room for its two best predicates, (i, i) may enter, and a score must exceed 1e-5.
    def recall(connectivity, values, triplet):
        prediction = predict([A, B], [0, 1], {(0, 1): (connectivity, values), (1, 1): (0.9, [0, 0, 1])})
        truth = GroundTruth([A, B], [0, 1], [triplet])
        return block([prediction], [truth])["microR@50"]

    assert [recall(1.0, [0.9, 0.5, 0.7], [0, 1, p]) for p in range(3)] == [1.0, 0.0, 1.0]
    assert recall(1.0, [0.9, 0.5, 0.7], [1, 1, 2]) == 1.0
    assert recall(4e-5, [0.5, 0.1, 0.0], [0, 1, 0]) == 1.0  # 2e-5
    assert recall(4e-5, [0.1, 0.5, 0.0], [0, 1, 0]) == 0.0  # 4e-6


def test_open_images_without_anything():
    metrics = block([nothing()], [GroundTruth([], [], [])])
    assert all(math.isnan(value) for value in metrics.values())
    metrics = block([nothing()], [GroundTruth([A, B], [0, 1], [[0, 1, 0]])])
    assert [metrics[name] for name in ("microR@50", "wmAP_rel", "wmAP_phr", "score")] == [0, 0, 0, 0]


def test_open_images_recall_of_all_images_and_of_each():
    # Image 1: one triplet of two found. Image 2: its only one is found. Micro: 2 of 3. Mean: (1/2 + 1) / 2.
    found = {(0, 1): (1.0, [0.9, 0, 0])}
    predictions = [predict([A, B], [0, 1], found), predict([A, B], [0, 1], found), nothing()]
    ground_truth = [
        GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 2]]),
        GroundTruth([A, B], [0, 1], [[0, 1, 0]]),
        GroundTruth([A], [0], []),
    ]
    metrics = block(predictions, ground_truth)
    assert metrics["microR@50"] == pytest.approx(2 / 3)
    assert metrics["R@50"] == pytest.approx(3 / 4)


def test_open_images_recall_looks_at_fifty_candidates():
    # 51 pairs in order of score; the one that hits is the 50th, then the 51st.
    for position, recall in ((49, 1.0), (50, 0.0)):
        boxes, classes = [B] * 52, [1] * 52
        boxes[0], classes[0], classes[position + 1] = A, 0, 2
        relations = {(0, j): (1.0, [1 - j / 100]) for j in range(1, 52)}
        prediction = predict(boxes, classes, relations, num_predicates=1, num_classes=3)
        assert block([prediction], [GroundTruth([A, B], [0, 2], [[0, 1, 0]])])["microR@50"] == recall


def test_open_images_takes_a_triplet_listed_twice_once():
    # Found once, and the other predicate not: 1 of 2, and AP (1 + 0) / 2. Where the copy counts it is hit too, 2 of
    # 3, but nothing is left to claim it: AP 1/2 with weight 2/3.
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 0], [1, 0, 1]])
    metrics = block([prediction], [truth])
    assert [metrics["microR@50"], metrics["wmAP_rel"]] == [pytest.approx(1 / 2), pytest.approx(1 / 2)]
    metrics = block([prediction], [truth], "motifs")
    assert [metrics["microR@50"], metrics["wmAP_rel"]] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
