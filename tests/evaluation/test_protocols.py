"""Every convention moves a number, and every named protocol has the conventions that it stands for."""

from dataclasses import fields, replace

import numpy as np
import pytest

from egtr.evaluation import Protocol, evaluate
from egtr.structures import GroundTruth, Prediction
from tests.evaluation.scenes import A, B, C, nothing, predict, two_images

PLAIN = Protocol("plain")
HALF = [0, 0, 9, 4]


def score(name, scene, **switches):
    """One metric of ``scene``, (predictions, ground truth), under a plain protocol with some switches set."""
    return evaluate(*scene, replace(PLAIN, **switches), top_k=(1, 3))[name]


def one(prediction, truth):
    return [prediction], [truth]


def test_object_score():
    # Query 0: logits (3, 3), softmax .5, sigmoid .953. Query 1: (0, -9), softmax .9999, sigmoid .5. Query 2 has
    # score 1 in both. Relations 0-2 and 1-2 of equal value: softmax ranks 1-2 first, sigmoid 0-2.
    prediction = Prediction(
        logits=[[3, 3], [0, -9], [200, 0]],
        boxes=[A, B, C],
        pairs=[[0, 2], [1, 2]],
        connectivity=[1, 1],
        relation=[[0.5], [0.5]],
        image_size=(50, 50),
    )
    scene = one(prediction, GroundTruth([A, B, C], [0, 0, 0], [[0, 2, 0]]))
    assert [score("R@1", scene, object_score=kind) for kind in ("softmax", "sigmoid")] == [0.0, 1.0]
    # Open Images ranks by it too. Predicate 0, by softmax: 1-2 (claims nothing) then 0-2: AP 1/2.
    assert [score("oi/wmAP_rel", scene, object_score=kind) for kind in ("softmax", "sigmoid")] == [0.5, 1.0]


def test_iou_plus_one():
    # 10 x 5 pixels in 10 x 10: with +1 50 / 100, a match. Without 9 * 4 / (9 * 9) = .444, none.
    scene = one(
        predict([HALF, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])}), GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    )
    for name in ("R@1", "oi/microR@50"):
        assert [score(name, scene, iou_plus_one=switch) for switch in (False, True)] == [0.0, 1.0]


def test_iou_plus_one_of_phrases():
    # One row of pixels against two, of the same 30 columns: with +1 30 / 60, without a box of no height.
    flat = [[0, 0, 9, 0], [20, 0, 29, 0]]
    truth = GroundTruth([[0, 0, 9, 1], [20, 0, 29, 1]], [0, 1], [[0, 1, 0]])
    scene = one(predict(flat, [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])}), truth)
    assert [score("phr-R@1", scene, iou_plus_one=switch) for switch in (False, True)] == [0.0, 1.0]


def test_iou_threshold():
    # 9 * 4 / (9 * 9) = .444
    scene = one(
        predict([HALF, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])}), GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    )
    assert [score("R@1", scene, iou_threshold=least) for least in (0.4, 0.5)] == [1.0, 0.0]


@pytest.fixture
def repeated_pair():
    # Rows, by score: A-B predicate 0 (.9), A-B predicate 0 again (.8), A-B predicate 1 (.7), B-A predicate 0 (.6).
    # With graph constraint
    #   all:     A0B, A0B, A1B, B0A     triplet: A0B, A1B, B0A     pair: A0B, B0A
    # Without, zeros behind: all as above; triplet and pair: A0B, A1B, B0A.
    rows = [
        ((0, 1), (1.0, [0.9, 0])),
        ((0, 1), (0.8, [1.0, 0])),
        ((1, 0), (1.0, [0.6, 0])),
        ((0, 1), (1.0, [0, 0.7])),
    ]
    prediction = predict([A, B], [0, 1], rows, num_predicates=2)
    return one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 1], [1, 0, 0]]))


@pytest.mark.parametrize(
    ("entries", "name", "recalls"),
    [
        # of K = 1, 2, 3, 4, in thirds
        ("all", "R", [1, 1, 2, 3]),
        ("triplet", "R", [1, 2, 3, 3]),
        ("pair", "R", [1, 2, 2, 2]),
        ("all", "ng-R", [1, 1, 2, 3]),
        ("triplet", "ng-R", [1, 2, 3, 3]),
        ("pair", "ng-R", [1, 2, 3, 3]),
    ],
)
def test_entries(repeated_pair, entries, name, recalls):
    metrics = evaluate(*repeated_pair, replace(PLAIN, entries=entries), top_k=(1, 2, 3, 4))
    assert [metrics[f"{name}@{k}"] * 3 for k in (1, 2, 3, 4)] == pytest.approx(recalls)


def test_entries_of_open_images(repeated_pair):
    # Predicate 0 (2 of 3 triplets), where rows are as they are: A0B, A0B again (taken already), B0A: precision 1 up
    # to recall 1/2, then 2/3. Where pairs are merged: A0B, B0A.
    assert score("oi/wmAP_rel", repeated_pair, entries="pair") == pytest.approx(1.0)
    assert score("oi/wmAP_rel", repeated_pair, entries="triplet") == pytest.approx(1.0)
    assert score("oi/wmAP_rel", repeated_pair, entries="all") == pytest.approx((2 * (1 / 2 + 1 / 2 * 2 / 3) + 1) / 3)


def test_entries_are_the_same_where_pairs_are_listed_once():
    for entries in ("pair", "triplet", "all"):
        metrics = evaluate(*two_images(), replace(PLAIN, entries=entries), top_k=(1, 3))
        assert [metrics["R@1"], metrics["R@3"], metrics["ng-R@3"]] == pytest.approx([1 / 6, 1 / 3, 5 / 6])


def test_skip_images_without_pairs():
    # R@3: 2/3 and 0; a third image has triplets and no prediction.
    predictions, ground_truth = two_images()
    scene = [*predictions, nothing()], [*ground_truth, ground_truth[0]]
    assert score("R@3", scene) == pytest.approx((2 / 3 + 0 + 0) / 3)
    assert score("R@3", scene, skip_images_without_pairs=True) == pytest.approx((2 / 3 + 0) / 2)
    # Open Images counts image 3 in any case. 50 candidates with two predicates a pair: A0B, C0A, A1B, B2C, B1C: all 3
    # triplets of image 1; image 2: A1B, A0B: its one. 4 of 7.
    for switch in (False, True):
        assert score("oi/microR@50", scene, skip_images_without_pairs=switch) == pytest.approx(4 / 7)
    # A query paired with itself is no pair.
    alone = predict([A], [0], {(0, 0): (1.0, [0.9, 0, 0])})
    scene = [*predictions, alone], [*ground_truth, ground_truth[0]]
    assert score("R@3", scene, skip_images_without_pairs=True) == pytest.approx((2 / 3 + 0) / 2)


def test_deduplicate_ground_truth():
    # Annotated: A0B twice (hit), B1A once (not predicted).
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 0], [1, 0, 1]]))
    assert score("R@1", scene) == pytest.approx(1 / 2)
    assert score("R@1", scene, deduplicate_ground_truth=False) == pytest.approx(2 / 3)


def test_absent_predicates_count():
    # Predicate 0 is found; 1 and 2 do not occur.
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0]]))
    assert score("mR@1", scene) == pytest.approx(1 / 3)
    assert score("mR@1", scene, absent_predicates_count=False) == 1.0


def test_oi_recall():
    # Image 1: 1 of 2 triplets, image 2: 1 of 1. Micro 2/3, mean 3/4; both wmAP: predicate 0 (2 of 3 triplets)
    # AP 1, predicate 2 AP 0.
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    ground_truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 2]]), GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    scene = [found, found], ground_truth
    assert score("oi/score", scene) == pytest.approx(0.8 * 2 / 3 + 0.2 * 2 / 3)
    assert score("oi/score", scene, oi_recall="image") == pytest.approx(0.8 * 2 / 3 + 0.2 * 3 / 4)


def test_oi_plus_one():
    # 10 x 5 pixels in 10 x 10: 9 * 4 / 81 = .444. Intersection with +1 and areas without: 50 / (36 + 81 - 50) = .746.
    prediction = predict([HALF, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0]]))
    assert [score("oi/wmAP_rel", scene, oi_plus_one=switch) for switch in (False, True)] == [0.0, 1.0]
    # Objects: with +1 on all sides 50 / 100. Class 0 is found or not, class 1 always is.
    assert [score("oi/AP50", scene, oi_plus_one=switch) for switch in (False, True)] == pytest.approx([0.5, 1.0])
    # COCO's AP of objects is the same.
    assert [score("AP50", scene, oi_plus_one=switch) for switch in (False, True)] == pytest.approx([0.5, 0.5])


def test_oi_first_id():
    # The match with object 0, the only one of class 0, counts as none.
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0]]))
    assert [score("oi/AP", scene, oi_first_id=first) for first in (0, 1)] == pytest.approx([0.5, 1.0])


def test_iou_area_plus_one():
    # Intersection 10 x 5, areas 9 x 4 and 9 x 9: 50 / (36 + 81 - 50) = .746. With +1 in areas, too: 50 / 100.
    scene = one(
        predict([HALF, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])}), GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    )
    for name in ("R@1", "phr-R@1"):
        found = [
            score(name, scene, iou_plus_one=True, iou_area_plus_one=switch, iou_threshold=0.7)
            for switch in (False, True)
        ]
        # The box around both is 30 x 10 in both cases: 1.
        assert found == ([1.0, 0.0] if name == "R@1" else [1.0, 1.0])
    # Without the pixel in intersections there is none in areas.
    assert score("R@1", scene, iou_area_plus_one=True, iou_threshold=0.44) == 1.0


def test_matching():
    # Two annotated objects of one class, 10 and 8 pixels wide, and one prediction that equals the first (IoU 1) and
    # overlaps the second by 8 / 10.
    truth = GroundTruth([[0, 0, 10, 10], [0, 0, 8, 10], B], [0, 0, 1], [[0, 2, 0], [1, 2, 0]])
    scene = one(predict([[0, 0, 10, 10], B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])}), truth)
    assert [score("R@1", scene, matching=how) for how in ("all", "best")] == [1.0, 0.5]
    # Equal overlaps: the first annotated object, here named by no triplet.
    twins = GroundTruth([A, A, B], [0, 0, 1], [[1, 2, 0]])
    scene = one(predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])}), twins)
    assert [score("R@1", scene, matching=how) for how in ("all", "best")] == [1.0, 0.0]
    # An object of another class is no rival, however well it lies.
    other = GroundTruth([A, [0, 0, 9, 8], B], [1, 0, 1], [[1, 2, 0]])
    assert score("R@1", one(scene[0][0], other), matching="best") == 1.0


def test_single_instance():
    # Queries 0 and 1 both find A: one of them takes part, the first of equal ones.
    prediction = predict([A, A, B], [0, 0, 1], {(0, 2): (1.0, [0.9, 0, 0]), (1, 2): (1.0, [0, 0.8, 0])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 1]]))
    assert [score("R@3", scene, single_instance=switch) for switch in (False, True)] == [1.0, 0.5]


def test_recall():
    # Image 1: A0B of A0B and B1A is found, image 2: all of one. Mean of 1/2 and 1, or 2 of 3.
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truths = [GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 1]]), GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    for name in ("R@1", "ng-R@1", "phr-R@1", "ng-phr-R@1"):
        values = [score(name, ([found, found], truths), recall=how) for how in ("image", "micro")]
        assert values == pytest.approx([3 / 4, 2 / 3])


def test_ng_predicates():
    # A,B by score: predicate 0 (.9), 1 (.8), 2 (.7); B,A: predicate 0 (.6). All are annotated.
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.8, 0.7]), (1, 0): (1.0, [0.6, 0.1, 0.1])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 1], [0, 1, 2], [1, 0, 0]]))
    # The first three: A0B, B0A, B1A is impossible with one a pair: A0B, B0A. Two: A0B, A1B, B0A. All: A0B, A1B, A2B.
    assert [score("ng-R@3", scene, ng_predicates=k) for k in (1, 2, 70, None)] == [0.5, 0.75, 0.75, 0.75]
    assert [score("ng-mR@3", scene, ng_predicates=k) for k in (1, 2, None)] == pytest.approx([1 / 3, 2 / 3, 2.5 / 3])


@pytest.fixture
def half_found():
    # Query 0, 10 x 5 pixels in 10 x 10; without any +1 9 * 4 / 81 = .444, with it in both 50 / 100. If only the
    # predicted box has it, 9 * 5 wide and high: 10 x 5 against 9 x 9: min(9, 10) * min(9, 5) = 45 of 50 + 81 - 45.
    prediction = predict([HALF, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    return one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0]]))


def test_object_ap(half_found):
    # Query 0 is sure of class 0, query 1 of class 1; by class, each query also is a detection of the other one, with
    # a score of 1/2, that finds nothing: the hit comes first, and AP stays.
    assert [score("AP50", half_found, object_ap=how) for how in ("class", "query")] == [0.5, 0.5]
    # One query of two likely classes, of which the second is right.
    prediction = Prediction([[3.0, 2.0]], [A], np.zeros((0, 2)), [], np.zeros((0, 3)), image_size=(50, 50))
    scene = one(prediction, GroundTruth([A], [1], []))
    assert [score("AP", scene, object_ap=how) for how in ("class", "query")] == [1.0, 0.0]


def test_ap_plus_one(half_found):
    # 45 / 86 = .52 is enough, as is 1/2; only class 1 is found without.
    found = [score("AP50", half_found, object_ap="query", ap_plus_one=how) for how in ("none", "found", "both")]
    assert found == pytest.approx([0.5, 1.0, 1.0])
    # AP75 tells "both" (1/2 and 1) from "found", where class 1 has 81 / 100 = .81.
    found = [score("AP", half_found, object_ap="query", ap_plus_one=how) for how in ("found", "both")]
    assert found == pytest.approx([(0.1 + 0.7) / 2, (0.1 + 1.0) / 2])


def test_ap_first_id(half_found):
    # The match with object 0 counts as none.
    values = [score("AP50", half_found, object_ap="query", ap_plus_one="both", ap_first_id=first) for first in (0, 1)]
    assert values == pytest.approx([0.5, 1.0])


def test_oi_area_plus_one():
    # Intersection 50, areas 36 and 81: .746; areas 50 and 100: 1/2, which is not more than a half.
    prediction = predict([HALF, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 1, 0]]))
    values = [score("oi/wmAP_rel", scene, oi_plus_one=True, oi_area_plus_one=switch) for switch in (False, True)]
    assert values == [1.0, 0.0]


def test_oi_self_pairs():
    # A0A (.9) is annotated as well as A0B (.8).
    prediction = predict([A, B], [0, 1], {(0, 0): (1.0, [0.9, 0, 0]), (0, 1): (1.0, [0.8, 0, 0])})
    scene = one(prediction, GroundTruth([A, B], [0, 1], [[0, 0, 0], [0, 1, 0]]))
    for name in ("oi/microR@50", "oi/wmAP_rel"):
        assert [score(name, scene, oi_self_pairs=switch) for switch in (False, True)] == [0.5, 1.0]


def test_oi_empty_images_count():
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    scene = [found, found], [GroundTruth([A, B], [0, 1], [[0, 1, 0]]), GroundTruth([A, B], [0, 1], [])]
    assert [score("oi/R@50", scene, oi_empty_images_count=switch) for switch in (False, True)] == [1.0, 0.5]
    assert score("oi/microR@50", scene, oi_empty_images_count=True) == 1.0


def test_every_switch_has_its_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {field.name for field in fields(Protocol)} - {"name"} <= tested


def test_rows_of_repeated_pairs_may_come_in_any_order(repeated_pair):
    (prediction,), truths = repeated_pair
    order = np.array([3, 1, 0, 2])
    shuffled = replace(
        prediction,
        pairs=prediction.pairs[order],
        connectivity=prediction.connectivity[order],
        relation=prediction.relation[order],
    )
    for entries in ("pair", "triplet", "all"):
        protocol = replace(PLAIN, entries=entries)
        first, second = (evaluate([p], truths, protocol, top_k=(1, 2, 3)) for p in (prediction, shuffled))
        assert [first[f"R@{k}"] for k in (1, 2, 3)] == [second[f"R@{k}"] for k in (1, 2, 3)]
