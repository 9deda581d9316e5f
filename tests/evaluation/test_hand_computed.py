"""Tiny scenes whose every metric is worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from egtr.evaluation import (
    REFERENCE,
    Detections,
    detection_ap,
    detections_per_query,
    evaluate,
    evaluate_open_images,
    first_hits,
)
from egtr.evaluation.matching import NEVER
from egtr.evaluation.open_images import average_precision
from egtr.structures import EGTRError, GroundTruth, Prediction, pairwise_iou

# Three boxes far apart from each other.
A, B, C = [0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]


def predict(boxes, classes, relations, num_predicates=3, num_classes=2):
    """Objects of score 1; ``relations`` maps (subject, object) to (connectivity, one value a predicate)."""
    logits = np.zeros((len(boxes), num_classes))
    logits[np.arange(len(boxes)), classes] = 200.0
    return Prediction(
        logits=logits,
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        pairs=np.array(list(relations)).reshape(-1, 2),
        connectivity=[connectivity for connectivity, _ in relations.values()],
        relation=np.array([values for _, values in relations.values()]).reshape(-1, num_predicates),
        image_size=(50, 50),
    )


def nothing(num_predicates=3):
    return predict([], [], {}, num_predicates)


@pytest.fixture
def two_images():
    # Image 1. Ground truth: A -0-> B, A -1-> B, B -2-> C. Predicted entries, score = relation * connectivity:
    #   A,B: 0.8 * (.9, .5, .1) = .72, .40, .08     B,C: 1 * (.1, .2, .3) = .1, .2, .3
    #   C,A: 1 * (.6, 0, 0) = .6, 0, 0
    # With graph constraint, each pair by its best: A0B (.72, hit), C0A (.6), B2C (.3, hit). A1B is never
    # reached. Without: A0B (.72, hit), C0A (.6), A1B (.40, hit), B2C (.3, hit), ...
    first = predict(
        [A, B, C],
        [0, 1, 0],
        {(0, 1): (0.8, [0.9, 0.5, 0.1]), (1, 2): (1.0, [0.1, 0.2, 0.3]), (2, 0): (1.0, [0.6, 0, 0])},
    )
    # Image 2. Ground truth: A -0-> B. The pair is found, but with predicate 1 first.
    second = predict([A, B], [0, 1], {(0, 1): (1.0, [0.3, 0.7, 0.0])})
    ground_truth = [
        GroundTruth([A, B, C], [0, 1, 0], [[0, 1, 0], [0, 1, 1], [1, 2, 2]]),
        GroundTruth([A, B], [0, 1], [[0, 1, 0]]),
    ]
    return [first, second], ground_truth


def test_recall_with_graph_constraint(two_images):
    metrics = evaluate(*two_images, topk=(1, 3))
    # R@1: image 1 finds 1 of 3, image 2 none of 1. R@3: 2 of 3, none of 1.
    assert metrics["R@1"] == pytest.approx((1 / 3 + 0) / 2)
    assert metrics["R@3"] == pytest.approx((2 / 3 + 0) / 2)
    # Predicate 0: image 1 finds its one, image 2 not: 1/2. Predicate 1: never. Predicate 2: only image 1 has
    # it.
    assert metrics["per_predicate"].recall["R@1"].tolist() == [0.5, 0.0, 0.0]
    assert metrics["per_predicate"].recall["R@3"].tolist() == [0.5, 0.0, 1.0]
    assert metrics["mR@1"] == pytest.approx(0.5 / 3)
    assert metrics["mR@3"] == pytest.approx(1.5 / 3)
    assert metrics["per_predicate"].num_images.tolist() == [2, 1, 1]
    assert metrics["per_predicate"].num_triplets.tolist() == [2, 1, 1]
    assert metrics["num_images"] == 2


def test_recall_without_graph_constraint(two_images):
    metrics = evaluate(*two_images, topk=(1, 3, 4))
    # Image 2's entries: A1B (.7), A0B (.3, hit): found from K = 2 on.
    assert metrics["ng-R@1"] == pytest.approx((1 / 3 + 0) / 2)
    assert metrics["ng-R@3"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["ng-R@4"] == pytest.approx(1.0)
    assert metrics["per_predicate"].recall["ng-R@3"].tolist() == [1.0, 1.0, 0.0]
    assert metrics["ng-mR@3"] == pytest.approx(2 / 3)
    assert metrics["ng-mR@4"] == pytest.approx(1.0)


def test_object_ap_of_perfect_boxes(two_images):
    # Every object is found with its class (logit 200, score 1). The other class of each query (logit 0, score .5)
    # is a detection too, but ranked behind all true ones it costs no precision: AP is 1.
    assert evaluate(*two_images)["AP"] == pytest.approx(1.0)
    # The Open Images block takes one detection a query and numbers objects from 0, and pycocotools takes the match
    # with the first one (class 0, image 1) for none. All scores are 1 and detections go by image: class 0 sees a
    # false positive, then two true ones, with 2 of 3 recalled: interpolated precision 2/3 up to recall 2/3, that is
    # at 67 of the 101 recall points 0, .01, ..., 1. Class 1 has AP 1.
    lost = (67 * (2 / 3) / 101 + 1) / 2
    assert evaluate_open_images(*two_images)["AP50"] == pytest.approx(lost)


def test_object_ap_takes_a_query_with_every_class():
    # One object of class 1, one query on it with logits (2, 1): its best class is wrong, its second one right.
    # Per class, the object is found first of its class: AP 1. One detection a query never finds it.
    prediction = Prediction([[2, 1]], [A], np.zeros((0, 2)), [], np.zeros((0, 3)), image_size=(50, 50))
    truth = GroundTruth([A], [1], [])
    assert evaluate([prediction], [truth])["AP"] == pytest.approx(1.0)
    assert detection_ap([detections_per_query(prediction)], [truth])["AP"] == 0.0


def test_object_ap_does_not_depend_on_the_protocol(two_images):
    # Halves: 10 x 5 pixels of 10 x 10 have IoU .5 only if boxes are counted in pixels; here they are not.
    predictions = [predict([[0, 0, 9, 4]], [0], {})]
    truth = [GroundTruth([A], [0], [])]
    for protocol in (REFERENCE, replace(REFERENCE, name="own", object_score="sigmoid", iou_plus_one=False)):
        assert evaluate(predictions, truth, protocol)["AP50"] == 0.0
        assert evaluate(*two_images, protocol=protocol)["AP50"] == pytest.approx(1.0)


def test_predicates_that_no_image_has():
    predictions = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})]
    ground_truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    metrics = evaluate(predictions, ground_truth, topk=(1,))
    # Predicate 0 has recall 1; the two others do not occur and count 0 among 3.
    assert metrics["mR@1"] == pytest.approx(1 / 3)
    assert np.isnan(metrics["per_predicate"].recall["R@1"][1:]).all()
    present = replace(REFERENCE, name="present", absent_predicates_count=False)
    assert evaluate(predictions, ground_truth, present, topk=(1,))["mR@1"] == 1.0


def test_duplicate_ground_truth_counts_once():
    predictions = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})]
    # Annotated: A0B twice (hit), B1A once (not predicted).
    ground_truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 0], [1, 0, 1]])]
    assert evaluate(predictions, ground_truth)["R@20"] == pytest.approx(1 / 2)
    kept = replace(REFERENCE, name="kept", deduplicate_ground_truth=False)
    assert evaluate(predictions, ground_truth, kept)["R@20"] == pytest.approx(2 / 3)


def test_one_prediction_may_hit_several_triplets():
    # Two annotated objects in the same place with the same class: one predicted triplet stands for both.
    predictions = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})]
    ground_truth = [GroundTruth([A, A, B], [0, 0, 1], [[0, 2, 0], [1, 2, 0]])]
    assert evaluate(predictions, ground_truth, topk=(1,))["R@1"] == 1.0


def test_images_without_triplets_are_skipped_and_without_predictions_score_zero(two_images):
    predictions, ground_truth = two_images
    empty = GroundTruth([A], [0], [])
    # Only image 1 (R@3 = 2/3), image 2 (0) and the one without prediction (0) count.
    metrics = evaluate([*predictions, nothing(), nothing()], [*ground_truth, empty, ground_truth[0]], topk=(3,))
    assert metrics["R@3"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    skip = replace(REFERENCE, name="skip", skip_images_without_pairs=True)
    metrics = evaluate([*predictions, nothing()], [*ground_truth, ground_truth[0]], skip, topk=(3,))
    assert metrics["R@3"] == pytest.approx((2 / 3 + 0) / 2)


def test_nothing_to_recall():
    for predictions, ground_truth in (([], []), ([nothing()], [GroundTruth([], [], [])])):
        metrics = evaluate(predictions, ground_truth, topk=(20,))
        assert metrics["num_images"] == len(predictions)
        assert all(math.isnan(metrics[name]) for name in ("R@20", "mR@20", "ng-R@20", "ng-mR@20", "AP"))


def test_ties_go_by_subject_object_and_predicate():
    # Four entries of score .5. With graph constraint the pair (0, 1) comes before (1, 0), each with predicate
    # 0.
    predictions = [predict([A, B], [0, 1], {(1, 0): (1.0, [0.5, 0.5]), (0, 1): (1.0, [0.5, 0.5])}, 2)]

    def recall(triplet, name, k):
        return evaluate(predictions, [GroundTruth([A, B], [0, 1], [triplet])], topk=(k,))[f"{name}@{k}"]

    assert [recall([0, 1, 0], "R", 1), recall([1, 0, 0], "R", 1), recall([1, 0, 0], "R", 2)] == [1, 0, 1]
    # Without, the order is (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1).
    order = [[0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]]
    for rank, triplet in enumerate(order):
        assert recall(triplet, "ng-R", rank + 1) == 1
        assert rank == 0 or recall(triplet, "ng-R", rank) == 0


def test_object_score_moves_the_ranking():
    # Query 0: logits (3, 3), softmax .5, sigmoid .953. Query 1: (0, -9), softmax .9999, sigmoid .5. Query 2
    # has score 1 in both. Relations 0-2 and 1-2 of equal value: softmax ranks 1-2 first, sigmoid 0-2.
    prediction = Prediction(
        logits=[[3, 3], [0, -9], [200, 0]],
        boxes=[A, B, C],
        pairs=[[0, 2], [1, 2]],
        connectivity=[1, 1],
        relation=[[0.5], [0.5]],
        image_size=(50, 50),
    )
    ground_truth = GroundTruth([A, B, C], [0, 0, 0], [[0, 2, 0]])
    sigmoid = replace(REFERENCE, name="sigmoid", object_score="sigmoid")
    assert evaluate([prediction], [ground_truth], topk=(1,))["R@1"] == 0.0
    assert evaluate([prediction], [ground_truth], sigmoid, topk=(1,))["R@1"] == 1.0


def test_plus_one_decides_at_the_threshold():
    # 10 x 10 pixels against 10 x 5: with +1 50 / 100 = .5, a match. Without, 9 * 4 / (9 * 9) = .444, none.
    half = [0, 0, 9, 4]
    assert pairwise_iou(np.array([A]), np.array([half]), plus_one=True).tolist() == [[0.5]]
    assert pairwise_iou(np.array([A]), np.array([half])).tolist() == [[pytest.approx(36 / 81)]]
    predictions = [predict([half, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})]
    ground_truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    assert evaluate(predictions, ground_truth)["R@20"] == 1.0
    without = replace(REFERENCE, name="without", iou_plus_one=False)
    assert evaluate(predictions, ground_truth, without)["R@20"] == 0.0


def test_first_hits():
    matches = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    assert first_hits(matches).tolist() == [2, 1, NEVER]
    assert first_hits(np.zeros((0, 2), dtype=bool)).tolist() == [NEVER, NEVER]


def test_average_precision_of_detections():
    # One object, two detections: the first misses (IoU 0), the second lies on it. Precision at full recall is
    # 1/2. A third one of a class without objects changes nothing.
    found = Detections(
        np.array([B, A, C], dtype=np.float32),
        np.array([0.9, 0.8, 0.95], dtype=np.float32),
        np.array([0, 0, 1]),
    )
    ap = detection_ap([found], [GroundTruth([A], [0], [])])
    assert ap["AP50"] == pytest.approx(0.5) and ap["AP"] == pytest.approx(0.5)
    # 9 x 9 is small (below 32 x 32); there is no large object.
    assert ap["APs"] == pytest.approx(0.5) and math.isnan(ap["APl"])


def test_average_precision_is_interpolated():
    # Found, missed, found, of 4: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2. Interpolated: 1 up to 1/4,
    # then 2/3 up to 1/2, then 0.
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx(1 / 4 + (2 / 3) / 4)
    assert average_precision(np.array([], dtype=bool), 4) == 0.0


def test_open_images_by_hand():
    # Ground truth: A -0-> B and B -1-> A. Candidates (two best predicates a pair): A0B (.9), A1B (.5) and, at
    # some offset, B1A twice: (.8) by a query 3 columns off B, and (.3) by one on B. 3 columns off: pixels 7 x
    # 10 of 10 x 10 shared: 70 / 130 = .538 with +1, a hit. With +1 on the intersection alone: 7 * 10 / (81 +
    # 81 - 70) = .76 > .5.
    near = [23, 0, 32, 9]
    prediction = predict(
        [A, B, near],
        [0, 1, 1],
        {(0, 1): (1.0, [0.9, 0.5, 0.1]), (2, 0): (1.0, [0, 0.8, 0]), (1, 0): (1.0, [0, 0.3, 0])},
    )
    ground_truth = GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 1]])
    metrics = evaluate_open_images([prediction], [ground_truth])
    assert metrics["microR@50"] == 1.0
    # Predicate 0: one candidate, right: AP 1. Predicate 1, by score: B1A near (.8) takes the ground truth;
    # A1B (.5) has other classes; B1A (.3) finds it taken. AP = 1. Both weigh 1/2.
    assert metrics["wmAP_rel"] == pytest.approx(1.0)
    assert metrics["wmAP_phr"] == pytest.approx(1.0)
    assert metrics["score"] == pytest.approx(1.0)

    # B1A near with less score than the wrong A1B: precision of predicate 1 at full recall is 1/2.
    prediction.relation[1, 1] = 0.4
    metrics = evaluate_open_images([prediction], [ground_truth])
    assert metrics["wmAP_rel"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["score"] == pytest.approx(0.4 * 0.75 + 0.4 * 0.75 + 0.2)


def test_open_images_phrase_is_looser_than_relation():
    # The subject is predicted one box to the right of A: no overlap with A, so neither hit nor rel. The union
    # with B is 10..29 against 0..29: 20 columns of 30, (20 * 10) / (29 * 9 + 19 * 9 - 200) = .86: phr finds
    # it.
    prediction = predict([[10, 0, 19, 9], B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    ground_truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    metrics = evaluate_open_images([prediction], [ground_truth])
    assert [metrics[name] for name in ("microR@50", "wmAP_rel", "wmAP_phr")] == [0.0, 0.0, 1.0]
    assert metrics["score"] == pytest.approx(0.4)


def test_open_images_candidates():
    # A pair has room for its two best predicates, (i, i) may enter, and a score must exceed 1e-5.
    def recall(connectivity, values, triplet):
        prediction = predict([A, B], [0, 1], {(0, 1): (connectivity, values), (1, 1): (0.9, [0, 0, 1])})
        truth = GroundTruth([A, B], [0, 1], [triplet])
        return evaluate_open_images([prediction], [truth])["microR@50"]

    assert [recall(1.0, [0.9, 0.5, 0.7], [0, 1, p]) for p in range(3)] == [1.0, 0.0, 1.0]
    assert recall(1.0, [0.9, 0.5, 0.7], [1, 1, 2]) == 1.0
    assert recall(4e-5, [0.5, 0.1, 0.0], [0, 1, 0]) == 1.0  # 2e-5
    assert recall(4e-5, [0.1, 0.5, 0.0], [0, 1, 0]) == 0.0  # 4e-6


def test_open_images_without_anything():
    metrics = evaluate_open_images([nothing()], [GroundTruth([], [], [])])
    assert all(math.isnan(value) for value in metrics.values())
    metrics = evaluate_open_images([nothing()], [GroundTruth([A, B], [0, 1], [[0, 1, 0]])])
    assert [metrics[name] for name in ("microR@50", "wmAP_rel", "wmAP_phr", "score")] == [0, 0, 0, 0]


def test_bad_input_is_named(two_images):
    predictions, ground_truth = two_images
    with pytest.raises(EGTRError, match="predictions ends after 1 pictures"):
        evaluate(predictions[:1], ground_truth)
    with pytest.raises(EGTRError, match="ground_truth ends after 1 pictures"):
        evaluate(predictions, ground_truth[:1])
    with pytest.raises(EGTRError, match="'stirct' is unknown, choose one of reference"):
        evaluate(predictions, ground_truth, protocol="stirct")
    with pytest.raises(EGTRError, match="topk"):
        evaluate(predictions, ground_truth, topk=(0, 20))
    with pytest.raises(EGTRError, match="prediction 1: relation has 2 predicates"):
        evaluate([predictions[0], nothing(2)], ground_truth)
    with pytest.raises(EGTRError, match="image 7: classes holds class 5, but the prediction has only 0..1"):
        evaluate(predictions[:1], [GroundTruth([A], [5], [], image_id=7)])
    with pytest.raises(EGTRError, match="image 7: triplets holds predicate 3"):
        evaluate(predictions[:1], [GroundTruth([A, B], [0, 1], [[0, 1, 3]], image_id=7)])
    with pytest.raises(EGTRError, match="object_score is 'max'"):
        replace(REFERENCE, object_score="max")
    with pytest.raises(EGTRError, match="iou_threshold is 50"):
        replace(REFERENCE, iou_threshold=50)
