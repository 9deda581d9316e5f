"""Every convention moves a number, and every named protocol has the conventions that it stands for."""

from dataclasses import fields, replace

import numpy as np
import pytest

from egtr.evaluation import PROTOCOLS, Protocol, evaluate, get_protocol, get_protocols
from egtr.structures import EGTRError, GroundTruth, Prediction
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
    # Open Images, 50 candidates with two predicates a pair: A0B, C0A, A1B, B2C, B1C: all 3 triplets of image 1;
    # image 2: A1B, A0B: its one. Of 4 triplets, or of 7 with image 3.
    assert score("oi/microR@50", scene) == pytest.approx(4 / 7)
    assert score("oi/microR@50", scene, skip_images_without_pairs=True) == 1.0
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


def test_every_switch_has_its_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {field.name for field in fields(Protocol)} - {"name"} <= tested


@pytest.mark.parametrize(
    ("name", "differs_from_plain"),
    [
        ("reference", {"iou_plus_one": True, "oi_plus_one": True, "oi_first_id": 0}),
        (
            "motifs",
            {
                "iou_plus_one": True,
                "oi_plus_one": True,
                "deduplicate_ground_truth": False,
                "skip_images_without_pairs": True,
            },
        ),
        ("iou0", {}),
        (
            "no_pair_dedup",
            {"iou_plus_one": True, "oi_plus_one": True, "deduplicate_ground_truth": False, "entries": "all"},
        ),
        ("strict", {"object_score": "sigmoid", "absent_predicates_count": False}),
    ],
)
def test_named_protocols(name, differs_from_plain):
    # PLAIN: softmax, no +1, one entry a pair, images without predictions 0, duplicates once, absent predicates 0,
    # micro recall, annotations from 1.
    assert get_protocol(name) == replace(PLAIN, name=name, **differs_from_plain)


def test_named_protocols_on_one_scene(repeated_pair):
    # All five over one scene: A0B, A0B, A1B, B0A predicted as above with A half as high, so that it is found with +1
    # alone, and A0B annotated twice. R@2, the triplets being A0B, A0B, A1B, B0A:
    #   reference: A0B, B0A of three.  motifs: A0B twice, B0A of four.  no_pair_dedup: A0B twice of four.
    #   iou0, strict: nothing overlaps enough.
    predictions, (truth,) = repeated_pair
    predictions[0].boxes[0] = HALF
    truth.triplets = truth.triplets[[0, 0, 1, 2]]
    recalls = {name: evaluate(predictions, [truth], name, top_k=(2,))["R@2"] for name in PROTOCOLS}
    expected = {"reference": 2 / 3, "motifs": 3 / 4, "iou0": 0, "no_pair_dedup": 2 / 4, "strict": 0}
    assert recalls == pytest.approx(expected)


def test_bad_protocols_are_refused():
    for field, value in (("object_score", "max"), ("entries", "rows"), ("oi_recall", "macro"), ("oi_first_id", 2)):
        with pytest.raises(EGTRError, match=f"protocol 'plain': {field} is {value!r}, choose one of"):
            replace(PLAIN, **{field: value})
    with pytest.raises(EGTRError, match="iou_threshold is 50"):
        replace(PLAIN, iou_threshold=50)
    with pytest.raises(EGTRError, match="each name once"):
        get_protocols(["strict", "strict"])
    with pytest.raises(EGTRError, match="at least one"):
        get_protocols([])
    assert [p.name for p in get_protocols(["strict", PLAIN])] == ["strict", "plain"]
    assert get_protocols("strict") == (PROTOCOLS["strict"],)


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
