"""Object AP: worked out by hand, and the same as pycocotools'."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.evaluation_literal import object_ap
from egtr.evaluation import (
    REFERENCE,
    Annotations,
    Detections,
    PredictionWriter,
    detection_ap,
    detections_per_query,
    evaluate,
    read_predictions,
    score_predictions,
)
from egtr.structures import GroundTruth, Prediction
from tests.evaluation.scenes import A, B, C, predict, two_images

DATA = Path(__file__).parent / "data"


def test_object_ap_of_perfect_boxes():
    # Every object is found with its class (logit 200, score 1). The other class of each query (logit 0, score .5)
    # is a detection too, but ranked after all true ones it costs no precision: AP is 1.
    assert evaluate(*two_images())["AP"] == pytest.approx(1.0)
    # The Open Images block takes one detection a query and numbers objects from 0, and pycocotools takes the match
    # with the first one (class 0, image 1) for none. All scores are 1 and detections go by image: class 0 sees a
    # false positive, then two true ones, with 2 of 3 recalled: interpolated precision 2/3 up to recall 2/3, that is
    # at 67 of the 101 recall points 0, .01, ..., 1. Class 1 has AP 1.
    lost = (67 * (2 / 3) / 101 + 1) / 2
    assert evaluate(*two_images())["oi/AP50"] == pytest.approx(lost)


def test_object_ap_takes_a_query_with_every_class():
    # One object of class 1, one query on it with logits (2, 1): its best class is wrong, its second one right.
    # Per class, the object is found first of its class: AP 1. One detection a query never finds it.
    prediction = Prediction([[2, 1]], [A], np.zeros((0, 2)), [], np.zeros((0, 3)), image_size=(50, 50))
    truth = GroundTruth([A], [1], [])
    assert evaluate([prediction], [truth])["AP"] == pytest.approx(1.0)
    assert detection_ap([detections_per_query(prediction)], [truth])["AP"] == 0.0


def test_object_ap_does_not_depend_on_the_protocol():
    # Halves: 10 x 5 pixels of 10 x 10 have IoU .5 only if boxes are counted in pixels; here they are not.
    predictions = [predict([[0, 0, 9, 4]], [0], {})]
    truth = [GroundTruth([A], [0], [])]
    for protocol in (REFERENCE, replace(REFERENCE, name="own", object_score="sigmoid", iou_plus_one=False)):
        assert evaluate(predictions, truth, protocol)["AP50"] == 0.0
        assert evaluate(*two_images(), protocol=protocol)["AP50"] == pytest.approx(1.0)


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


def test_first_object_is_lost_where_numbers_start_at_zero():
    # Two objects of class 0, both found. From 1: AP 1. From 0: the first match counts as none, so the first detection
    # is a false positive and the second a true one, precision 1/2 up to recall 1/2: 51 of 101 recall points.
    found = Detections(np.array([A, B], dtype=np.float32), np.array([0.9, 0.8], np.float32), np.array([0, 0]))
    truth = GroundTruth([A, B], [0, 0], [])
    assert detection_ap([found], [truth])["AP"] == pytest.approx(1.0)
    assert detection_ap([found], [truth], first_id=0)["AP"] == pytest.approx(51 / 101 / 2)


def test_only_the_best_hundred_of_a_class_count():
    # 100 detections beside the object, then one on it: out of reach, and within reach with one of the hundred less.
    boxes = np.array([B] * 100 + [A], dtype=np.float32)
    scores, classes = np.linspace(1, 0.1, 101, dtype=np.float32), np.zeros(101, dtype=np.int32)
    truth = GroundTruth([A], [0], [])
    assert detection_ap([Detections(boxes, scores, classes)], [truth])["AP"] == 0.0
    assert detection_ap([Detections(boxes[1:], scores[1:], classes[1:])], [truth])["AP"] == pytest.approx(1 / 100)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0, 1]), st.booleans())
def test_all_six_numbers_are_those_of_pycocotools(seed, plus_one, first_id, crowds):
    rng = np.random.RandomState(seed)
    num_classes = rng.randint(1, 4)
    detections, truths = [], []
    for _ in range(rng.randint(1, 5)):
        num_objects, num_detections = rng.randint(0, 6), rng.randint(0, 15)
        gt_boxes, gt_classes = random_boxes(rng, num_objects), rng.randint(0, num_classes, num_objects)
        boxes, classes = random_boxes(rng, num_detections), rng.randint(0, num_classes, num_detections)
        if num_objects:
            # Most lie about an object; few scores, so that ties within and across images occur.
            target, near = rng.randint(0, num_objects, num_detections), rng.rand(num_detections) < 0.7
            boxes[near] = (gt_boxes[target] + rng.randint(-3, 4, (num_detections, 4)))[near]
            boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
            classes[near] = gt_classes[target][near]
        scores = (rng.randint(1, 6, num_detections) / 8).astype(np.float32)
        detections.append(Detections(boxes, scores, classes))
        # Large regions, so that many detections lie inside, wholly or in part.
        num_crowds = rng.randint(0, 3) if crowds else 0
        regions = random_boxes(rng, num_crowds) + np.float32([0, 0, 60, 60])
        truths.append(GroundTruth(gt_boxes, gt_classes, [], None, regions, rng.randint(0, num_classes, num_crowds)))
    found = detection_ap(detections, truths, plus_one, first_id)
    if sum(len(truth.classes) for truth in truths) == 0:
        assert all(math.isnan(value) for value in found.values())
        return
    expected = object_ap([(d.boxes, d.scores, d.classes) for d in detections], truths, float(plus_one), first_id)
    assert found == {name: pytest.approx(value, abs=1e-12, nan_ok=True) for name, value in expected.items()}


def test_detections_in_a_crowd_are_neither_right_nor_wrong():
    # The better detection lies in the crowd by 9 x 5 of its 9 x 9 pixels, more than half, so it is left out and the
    # other one has precision 1. IoU with the crowd is far below .5. Of another class the crowd takes nothing.
    found = Detections(
        np.array([[200, 4, 209, 13], A], np.float32), np.array([0.9, 0.8], np.float32), np.array([0, 0])
    )
    crowd = [[100, 0, 300, 9]]
    assert detection_ap([found], [GroundTruth([A], [0], [], None, crowd, [0])])["AP50"] == pytest.approx(1.0)
    assert detection_ap([found], [GroundTruth([A], [0], [], None, crowd, [1])])["AP50"] == pytest.approx(0.5)
    # At IoU .75 the share of .56 no longer suffices.
    assert detection_ap([found], [GroundTruth([A], [0], [], None, crowd, [0])])["AP75"] == pytest.approx(0.5)
    # A class of which only crowds are annotated has nothing to be found, and does not enter the mean.
    assert math.isnan(detection_ap([found], [GroundTruth([], [], [], None, crowd, [0])])["AP50"])
    # An object that lies in a crowd takes its detection first, and is recalled.
    assert detection_ap([found], [GroundTruth([A], [0], [], None, [[0, 0, 400, 400]], [0])])["AP"] == pytest.approx(
        1.0
    )


def test_a_file_with_crowds_scores_as_cocos_tool_scores_it(tmp_path):
    # One of three detections is a crowd's. Counted as wrong, it made AP 75.
    truth = Annotations.of_file("coco_sg", str(DATA / "crowd_ap.json"))
    results = score_predictions(DATA / "crowd_ap.npz", ["reference", "strict"], annotations=truth)
    assert results["reference"]["AP"] == pytest.approx(1.0) and results["strict"]["oi/AP"] == pytest.approx(1.0)
    # Numbered from 0, the cup is lost: AP 0 of cups and 1 of tables, as the released code would print.
    assert results["reference"]["oi/AP"] == pytest.approx(0.5)
    # The crowd travels in a file that holds its ground truth.
    ((image_id, prediction, _),) = read_predictions(DATA / "crowd_ap.npz")
    with PredictionWriter(tmp_path / "own.npz") as writer:
        writer.write(image_id, prediction, truth.records[image_id])
    assert score_predictions(tmp_path / "own.npz")["reference"]["AP"] == pytest.approx(1.0)


def random_boxes(rng, count):
    """(count, 4) float32; sides of up to 150 pixels, so that all three sizes of COCO occur."""
    corners = rng.randint(0, 40, (count, 2))
    return np.concatenate([corners, corners + rng.randint(1, 150, (count, 2))], axis=1).astype(np.float32)
