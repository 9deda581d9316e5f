"""Tiny scenes whose recall is worked out by hand."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.random_scenes import random_scene
from egtr.evaluation import NEVER, PROTOCOLS, REFERENCE, Scorer, evaluate, first_hits
from egtr.structures import EGTRError, GroundTruth, TripletCounts, pairwise_iou
from tests.evaluation.scenes import A, B, nothing, predict, two_images


def test_recall_with_graph_constraint():
    metrics = evaluate(*two_images(), top_k=(1, 3))
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


def test_recall_without_graph_constraint():
    metrics = evaluate(*two_images(), top_k=(1, 3, 4))
    # Image 2's entries: A1B (.7), A0B (.3, hit): found from K = 2 on.
    assert metrics["ng-R@1"] == pytest.approx((1 / 3 + 0) / 2)
    assert metrics["ng-R@3"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["ng-R@4"] == pytest.approx(1.0)
    assert metrics["per_predicate"].recall["ng-R@3"].tolist() == [1.0, 1.0, 0.0]
    assert metrics["ng-mR@3"] == pytest.approx(2 / 3)
    assert metrics["ng-mR@4"] == pytest.approx(1.0)


def test_predicates_that_no_image_has():
    predictions = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})]
    ground_truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    metrics = evaluate(predictions, ground_truth, top_k=(1,))
    # Predicate 0 has recall 1; the two others do not occur and count 0 among 3.
    assert metrics["mR@1"] == pytest.approx(1 / 3)
    assert np.isnan(metrics["per_predicate"].recall["R@1"][1:]).all()
    present = replace(REFERENCE, name="present", absent_predicates_count=False)
    assert evaluate(predictions, ground_truth, present, top_k=(1,))["mR@1"] == 1.0


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
    assert evaluate(predictions, ground_truth, top_k=(1,))["R@1"] == 1.0


def test_images_without_triplets_are_skipped_and_without_predictions_score_zero():
    predictions, ground_truth = two_images()
    empty = GroundTruth([A], [0], [])
    # Only image 1 (R@3 = 2/3), image 2 (0) and the one without prediction (0) count.
    metrics = evaluate([*predictions, nothing(), nothing()], [*ground_truth, empty, ground_truth[0]], top_k=(3,))
    assert metrics["R@3"] == pytest.approx((2 / 3 + 0 + 0) / 3)
    skip = replace(REFERENCE, name="skip", skip_images_without_pairs=True)
    metrics = evaluate([*predictions, nothing()], [*ground_truth, ground_truth[0]], skip, top_k=(3,))
    assert metrics["R@3"] == pytest.approx((2 / 3 + 0) / 2)


def test_nothing_to_recall():
    for predictions, ground_truth in (([], []), ([nothing()], [GroundTruth([], [], [])])):
        metrics = evaluate(predictions, ground_truth, top_k=(20,))
        assert metrics["num_images"] == len(predictions)
        assert all(math.isnan(metrics[name]) for name in ("R@20", "mR@20", "ng-R@20", "ng-mR@20", "AP"))


def test_ties_go_by_subject_object_and_predicate():
    # Four entries of score .5. With graph constraint the pair (0, 1) comes before (1, 0), each with predicate
    # 0.
    predictions = [predict([A, B], [0, 1], {(1, 0): (1.0, [0.5, 0.5]), (0, 1): (1.0, [0.5, 0.5])}, 2)]

    def recall(triplet, name, k):
        return evaluate(predictions, [GroundTruth([A, B], [0, 1], [triplet])], top_k=(k,))[f"{name}@{k}"]

    assert [recall([0, 1, 0], "R", 1), recall([1, 0, 0], "R", 1), recall([1, 0, 0], "R", 2)] == [1, 0, 1]
    # Without, the order is (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1).
    order = [[0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]]
    for rank, triplet in enumerate(order):
        assert recall(triplet, "ng-R", rank + 1) == 1
        assert rank == 0 or recall(triplet, "ng-R", rank) == 0


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


def test_bad_input_is_named():
    predictions, ground_truth = two_images()
    with pytest.raises(EGTRError, match="predictions ends after 1 images"):
        evaluate(predictions[:1], ground_truth)
    with pytest.raises(EGTRError, match="ground_truth ends after 1 images"):
        evaluate(predictions, ground_truth[:1])
    with pytest.raises(EGTRError, match="'stirct' is unknown, choose one of reference"):
        evaluate(predictions, ground_truth, protocol="stirct")
    with pytest.raises(EGTRError, match="top_k"):
        evaluate(predictions, ground_truth, top_k=(0, 20))
    with pytest.raises(EGTRError, match=r"prediction 1 \(image None\): relation has 2 predicates"):
        evaluate([predictions[0], nothing(2)], ground_truth)
    with pytest.raises(
        EGTRError, match="image 7: ground truth: classes holds class 5, but the prediction has only 0..1"
    ):
        evaluate(predictions[:1], [GroundTruth([A], [5], [], image_id=7)])
    with pytest.raises(EGTRError, match="image 7: ground truth: triplets holds predicate 3"):
        evaluate(predictions[:1], [GroundTruth([A, B], [0, 1], [[0, 1, 3]], image_id=7)])
    with pytest.raises(EGTRError, match="task 'phrdet' is unknown, choose one of sgdet, sgcls, predcls"):
        evaluate(predictions, ground_truth, task="phrdet")
    with pytest.raises(EGTRError, match="image 7: task 'sgcls' needs one query for each of the 1 annotated objects"):
        evaluate(predictions[:1], [GroundTruth([A], [0], [], image_id=7)], task="sgcls")
    for bootstrap in (-1, 0.5, None):
        with pytest.raises(EGTRError, match=f"bootstrap is {bootstrap}; give the number of draws"):
            evaluate(predictions, ground_truth, bootstrap=bootstrap)


@pytest.mark.parametrize("name", ["training", "zero_shot"])
@pytest.mark.parametrize(("num_classes", "num_predicates"), [(2, 4), (3, 3)])
def test_triplets_of_another_data_set_are_refused(name, num_classes, num_predicates):
    counts = TripletCounts.from_class_triplets([[0, 1, 0]], num_classes, num_predicates)
    message = f"relation has 3 columns, but {name} has 4"
    if num_classes == 3:
        message = f"logits has 2 columns, but {name} has 3"
    with pytest.raises(EGTRError, match=message):
        evaluate(*two_images(), **{name: counts})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("relation", 4.0, r"relation lies in 0\.1\.\.4; these are probabilities in 0\.\.1, not logits"),
        ("connectivity", -0.5, r"connectivity lies in -0\.5\.\.-0\.5; these are probabilities"),
        ("boxes", 30.0, "boxes holds one that ends before it begins"),
    ],
)
def test_what_means_nothing_names_the_image(field, value, message):
    # Ranked by logits triplets would come in another order, without a word.
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})
    getattr(prediction, field).reshape(-1)[0] = value
    with pytest.raises(EGTRError, match=f"image 'cat.jpg': {message}"):
        evaluate([prediction], [GroundTruth([A], [0], [], image_id="cat.jpg")])


def test_queries_need_a_class():
    with pytest.raises(EGTRError, match="logits has no column"):
        predict([A], [], {}, num_classes=0)


@pytest.mark.parametrize("field", ["logits", "boxes", "connectivity", "relation"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_cannot_be_ranked_names_the_image(field, value):
    prediction = predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})
    getattr(prediction, field).reshape(-1)[0] = value
    with pytest.raises(EGTRError, match=rf"image 'cat.jpg': .*{field}.*has the model's training diverged"):
        evaluate([prediction], [GroundTruth([A], [0], [], image_id="cat.jpg")])


def test_fewer_predictions_than_k_are_all_looked_at():
    # One entry, which hits one of two triplets; R@100 asks for no more.
    predictions = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.9, 0.1, 0.1])})]
    truth = [GroundTruth([A, B], [0, 1], [[0, 1, 0], [1, 0, 0]])]
    assert evaluate(predictions, truth, top_k=(1, 100))["R@100"] == 0.5


def test_denominators_are_stated():
    predictions, ground_truth = two_images()
    # Three images, two with triplets: three (one of them listed twice) and one. Predicates 0, 1 and 2 occur.
    ground_truth[0].triplets = ground_truth[0].triplets[[0, 1, 2, 0]]
    counts = ("num_images", "num_images_with_triplets", "num_triplets", "num_predicates_present")
    metrics = evaluate([*predictions, nothing()], [*ground_truth, GroundTruth([A], [0], [])])
    assert [metrics[name] for name in counts] == [3, 2, 4, 3]
    metrics = evaluate([*predictions, nothing()], [*ground_truth, GroundTruth([A], [0], [])], "motifs")
    assert [metrics[name] for name in counts] == [3, 2, 5, 3]


def test_protocols_together_are_protocols_alone():
    predictions, ground_truth = two_images()
    scorer = Scorer(list(PROTOCOLS), top_k=(1, 3))
    together = scorer.summarize([scorer.score(*scene) for scene in zip(predictions, ground_truth, strict=True)])
    assert list(together) == list(PROTOCOLS)
    for name, metrics in together.items():
        alone = evaluate(predictions, ground_truth, name, top_k=(1, 3))
        del metrics["per_predicate"]
        assert metrics == {name: pytest.approx(alone[name], rel=0, abs=0, nan_ok=True) for name in metrics}


def test_records_survive_pickling_and_stay_small():
    # 200 queries: boxes 3.2 kB, class and score of each 1.6 kB, 100 best (query, class) 1.2 kB, 100 candidates of
    # Open Images 1.6 kB, and about 1 kB for 20 objects and 30 triplets. Dense relations would be 320 kB.
    rng = np.random.RandomState(0)
    scorer = Scorer()
    record = scorer.score(*random_scene(rng, num_queries=200, num_predicates=2))
    data = pickle.dumps(record)
    assert len(data) < 12_000
    again = scorer.summarize([pickle.loads(data)])["reference"]
    assert again["R@20"] == scorer.summarize([record])["reference"]["R@20"]
