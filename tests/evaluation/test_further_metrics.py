"""Zero-shot, grouped, harmonic, phrase and pair metrics and intervals on tiny scenes, worked out by hand."""

import math

import numpy as np
import pytest

from egtr.evaluation import evaluate
from egtr.structures import GroundTruth, TripletCounts
from tests.evaluation.scenes import A, B, C, nothing, predict, two_images


def counts(triplets, num_predicates=3):
    return TripletCounts.from_class_triplets(triplets, num_classes=2, num_predicates=num_predicates)


def test_f1_is_the_harmonic_mean():
    metrics = evaluate(*two_images(), top_k=(1, 3))
    # R@3 = (2/3 + 0) / 2 = 1/3, mR@3 = (1/2 + 0 + 1) / 3 = 1/2: 2 * 1/3 * 1/2 / (5/6) = 2/5.
    assert metrics["F1@3"] == pytest.approx(2 / 5)
    # Without graph constraint R@3 = (2/3 + 1) / 2 = 5/6, mR@3 = 2/3: 2 * 5/6 * 2/3 / (9/6) = 20/27.
    assert metrics["ng-F1@3"] == pytest.approx(20 / 27)
    nothing_found = evaluate([nothing()], [GroundTruth([A, B], [0, 1], [[0, 1, 0]])])
    assert nothing_found["F1@20"] == 0.0


def test_zero_shot_recall():
    # Triplets by class: image 1 (0, 1, 0), (0, 1, 1), (1, 0, 2), image 2 (0, 1, 0). Training knows (0, 1, 0).
    # Image 2 has nothing new and is left out. With graph constraint A1B is never found, B2C is third: 1 of 2.
    # Without it A1B is third and B2C fourth.
    metrics = evaluate(*two_images(), top_k=(2, 3, 4), training=counts([[0, 1, 0]]))
    assert [metrics[f"zR@{k}"] for k in (2, 3, 4)] == [0.0, 0.5, 0.5]
    assert [metrics[f"ng-zR@{k}"] for k in (2, 3, 4)] == [0.0, 0.5, 1.0]
    assert metrics["num_zero_shot_triplets"] == 2
    # The same with another subject class or predicate is another triplet.
    metrics = evaluate(*two_images(), top_k=(3,), training=counts([[1, 1, 0], [0, 1, 2]]))
    assert metrics["zR@3"] == metrics["R@3"]


def test_zero_shot_recall_is_a_mean_over_images():
    # New are: of image 1 A1B and B2C (one found), of image 2 its A0B (not found): (1/2 + 0) / 2. Training knows
    # (0, 1, 0) no more, so A0B of image 1 (found) is new as well: (2/3 + 0) / 2.
    metrics = evaluate(*two_images(), top_k=(3,), training=counts([[1, 0, 0]]))
    assert metrics["zR@3"] == pytest.approx(1 / 3)


def test_zero_shot_recall_of_a_fixed_list():
    # Only (1, 0, 2), image 1's B2C, is on the list: third with graph constraint, whatever training knows. Groups of
    # predicates need training.
    fixed = counts([[1, 0, 2], [1, 1, 1]])
    for training in (None, counts([[1, 0, 2]])):
        metrics = evaluate(*two_images(), top_k=(2, 3), training=training, zero_shot=fixed)
        assert [metrics["zR@2"], metrics["zR@3"]] == [0.0, 1.0]
        assert ("head-mR@2" in metrics) == (training is not None)


def test_zero_shot_recall_without_anything_new():
    training = counts([[0, 1, 0], [0, 1, 1], [1, 0, 2]])
    metrics = evaluate(*two_images(), top_k=(3,), training=training)
    assert math.isnan(metrics["zR@3"]) and metrics["num_zero_shot_triplets"] == 0
    assert not {"zR@3", "num_zero_shot_triplets"} & set(evaluate(*two_images(), top_k=(3,)))


def test_zero_shot_triplets_are_counted_as_the_protocol_counts():
    # Image 1 lists its new triplet A1B twice.
    predictions, truths = two_images()
    truths[0].triplets = truths[0].triplets[[0, 1, 1, 2]]
    training = counts([[0, 1, 0]])
    found = {name: evaluate(predictions, truths, name, training=training) for name in ("reference", "motifs")}
    assert {name: metrics["num_zero_shot_triplets"] for name, metrics in found.items()} == {
        "reference": 2,
        "motifs": 3,
    }


def test_head_body_and_tail():
    # Training has predicate 2 three times, 0 twice, 1 once: head {2}, body {0}, tail {1}. Recalls with graph
    # constraint at 3: 0: 1/2, 1: 0, 2: 1; without: 1, 1, 0.
    training = counts([[0, 0, 2]] * 3 + [[0, 0, 0]] * 2 + [[0, 0, 1]])
    metrics = evaluate(*two_images(), top_k=(3,), training=training)
    assert [metrics[f"{group}-mR@3"] for group in ("head", "body", "tail")] == [1.0, 0.5, 0.0]
    assert [metrics[f"ng-{group}-mR@3"] for group in ("head", "body", "tail")] == [0.0, 1.0, 1.0]


def test_a_group_whose_predicates_are_absent():
    # Six predicates make head {0, 1}, body {2, 3}, tail {4, 5}; only 0 occurs, and is found.
    training = counts([[0, 0, p] for p in range(6) for _ in range(10 - p)], num_predicates=6)
    scene = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0, 0, 0, 0])}, num_predicates=6)]
    truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    metrics = evaluate(scene, truth, training=training)
    assert metrics["head-mR@20"] == 0.5 and math.isnan(metrics["tail-mR@20"])
    assert evaluate(scene, truth, "strict", training=training)["head-mR@20"] == 1.0


def test_phrase_recall():
    # The subject is predicted one box to the right of A, no overlap with it. The box around it and B is 10..29
    # against 0..29: with +1 20 of 30 columns.
    prediction = predict([[10, 0, 19, 9], B], [0, 1], {(0, 1): (1.0, [0.9, 0.8, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0], [0, 1, 1]])
    metrics = evaluate([prediction], [truth], top_k=(1, 2))
    assert metrics["R@2"] == 0.0
    # The second predicate of the pair is found only without graph constraint.
    assert [metrics["phr-R@1"], metrics["phr-R@2"]] == [0.5, 0.5]
    assert [metrics["ng-phr-R@1"], metrics["ng-phr-R@2"]] == [0.5, 1.0]
    # Classes have to agree too.
    other = GroundTruth([A, B], [1, 1], [[0, 1, 0]])
    assert evaluate([prediction], [other], top_k=(1,))["phr-R@1"] == 0.0


def test_phrase_recall_does_not_ask_for_both_boxes():
    # Each pair's overlap is found where boxes are; a box around B and C with a wrong A is none around A and B.
    prediction = predict([B, C], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    # 20..49 against 0..29: 10 of 50 columns.
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    assert evaluate([prediction], [truth])["phr-R@20"] == 0.0


@pytest.fixture
def annotated_objects():
    # Queries are the annotated objects. By score: B0C (.9, not annotated), A1B (.8, predicate wrong), C0A (.7,
    # right). Image 1 has A0B and C0A; image 2, with the same prediction, only C0A.
    prediction = predict(
        [A, B, C],
        [0, 1, 0],
        {(1, 2): (1.0, [0.9, 0, 0]), (0, 1): (1.0, [0.5, 0.8, 0]), (2, 0): (1.0, [0.7, 0, 0])},
    )
    boxes, classes = [A, B, C], [0, 1, 0]
    truths = [GroundTruth(boxes, classes, [[0, 1, 0], [2, 0, 0]]), GroundTruth(boxes, classes, [[2, 0, 0]])]
    return [prediction, prediction], truths


@pytest.mark.parametrize("task", ["sgcls", "predcls"])
def test_accuracy_of_annotated_pairs(annotated_objects, task):
    metrics = evaluate(*annotated_objects, task=task, top_k=(1, 2, 3))
    # All pairs are ranked for recall: C0A comes third.
    assert [metrics[f"R@{k}"] for k in (1, 2, 3)] == [0.0, 0.0, (1 / 2 + 1) / 2]
    # Only annotated pairs: image 1 A1B, C0A; image 2 C0A. Hits over triplets, of both images:
    # K = 1: (0 + 1) / 3, from K = 2: (1 + 1) / 3.
    assert [metrics[f"A@{k}"] for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 2 / 3])


def test_accuracy_is_none_of_sgdet(annotated_objects):
    assert not any(name.startswith("A@") for name in evaluate(*annotated_objects))


def test_accuracy_of_a_image_without_predicted_pairs(annotated_objects):
    predictions, truths = annotated_objects
    predictions = [predictions[0], predict([A, B, C], [0, 1, 0], {})]
    # Image 1 hits 1 of 2, image 2 none of 1; a protocol that skips image 2 has 1 of 2.
    assert evaluate(predictions, truths, task="predcls")["A@20"] == pytest.approx(1 / 3)
    assert evaluate(predictions, truths, "motifs", task="predcls")["A@20"] == pytest.approx(1 / 2)


def test_nothing_to_find():
    training = counts([[0, 1, 0]])
    for predictions, truths in (([], []), ([nothing()], [GroundTruth([], [], [])])):
        metrics = evaluate(predictions, truths, training=training, task="predcls", bootstrap=10)
        assert metrics.pop("num_images") == len(predictions)
        assert all(math.isnan(low) and math.isnan(high) for low, high in metrics.pop("intervals").values())
        assert metrics.pop("per_predicate").num_images.tolist() == [0, 0, 0]
        denominators = (
            "num_images_with_triplets",
            "num_triplets",
            "num_predicates_present",
            "num_zero_shot_triplets",
        )
        for name in denominators:
            assert metrics.pop(name) == 0
        assert len(metrics) > 50 and all(math.isnan(value) for value in metrics.values())


def test_intervals_of_images_that_are_alike_are_points():
    # Every draw is the same dataset.
    predictions, truths = two_images()
    metrics = evaluate(predictions[:1] * 5, truths[:1] * 5, top_k=(1, 3), bootstrap=50)
    names = {f"{prefix}{name}@{k}" for prefix in ("", "ng-") for name in ("R", "mR") for k in (1, 3)}
    assert set(metrics["intervals"]) == names
    for name in names:
        assert metrics["intervals"][name] == pytest.approx((metrics[name], metrics[name]), abs=1e-12)


def test_intervals_are_those_of_the_binomial_distribution():
    # 100 images with one triplet each, of which 30 are found: the number found in a draw is binomial(100, .3),
    # whose 2.5th and 97.5th percentiles are 21 and 39.
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    predictions = [found] * 30 + [nothing()] * 70
    metrics = evaluate(predictions, [truth] * 100, "strict", top_k=(1,), bootstrap=4000)
    low, high = metrics["intervals"]["R@1"]
    assert low == pytest.approx(0.21, abs=0.011) and high == pytest.approx(0.39, abs=0.011)
    # One predicate: its mean recall is the recall.
    assert metrics["intervals"]["mR@1"] == metrics["intervals"]["R@1"]
    # Two of three predicates are absent and count 0.
    assert evaluate(predictions, [truth] * 100, top_k=(1,), bootstrap=4000)["intervals"]["mR@1"] == pytest.approx(
        (low / 3, high / 3)
    )


def test_intervals_score_each_draw_as_a_data_set():
    # Two images: the first with predicate 0, found, the second with predicate 1, not found. A draw has either both
    # (R = 1/2; mR over present predicates 1/2), or one of them twice (1, 0): both bounds are reached.
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truths = [GroundTruth([A, B], [0, 1], [[0, 1, 0]]), GroundTruth([A, B], [0, 1], [[0, 1, 1]])]
    # An image without triplets takes no part.
    scene = [found, found, nothing()], [*truths, GroundTruth([A], [0], [])]
    intervals = evaluate(*scene, "strict", top_k=(1,), bootstrap=200)["intervals"]
    assert intervals["R@1"] == intervals["mR@1"] == (0.0, 1.0)
    # Where absent predicates count, a draw of only the first image has (1 + 0 + 0) / 3.
    assert evaluate(*scene, top_k=(1,), bootstrap=200)["intervals"]["mR@1"] == pytest.approx((0.0, 1 / 3))


def test_intervals_are_the_same_in_each_run():
    rng = np.random.RandomState(0)
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    scene = [found if rng.rand() < 0.5 else nothing() for _ in range(30)], [truth] * 30
    first, second = (evaluate(*scene, bootstrap=100)["intervals"] for _ in range(2))
    assert first == second
    low, high = first["R@20"]
    assert low < evaluate(*scene)["R@20"] < high


def test_intervals_of_micro_recall():
    # Image 1: 0 of 3 triplets, image 2: 1 of 1. A draw has image 2 twice (1), once (1 of 4) or never (0); the mean
    # over images would be 1/2 in between.
    found = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0, 0])})
    truths = [GroundTruth([A, B], [0, 1], [[1, 0, p] for p in range(3)]), GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    metrics = evaluate([found, found], truths, "vrd", top_k=(1,), bootstrap=400)
    assert metrics["R@1"] == 1 / 4 and metrics["intervals"]["R@1"] == (0.0, 1.0)
