"""Precision on tiny scenes, worked out by hand, and its refusal where annotations are not exhaustive."""

import math

import pytest

from egtr.evaluation import PredictionMeta, PredictionWriter, evaluate, read_meta, score_predictions
from egtr.structures import EGTRError, GroundTruth
from tests.evaluation.scenes import A, B, nothing, predict, two_images


def test_precision():
    # With graph constraint, image 1: A0B (.72, right), C0A (.6), B2C (.3, right); image 2: A1B (.7, wrong).
    metrics = evaluate(*two_images(), top_k=(1, 2, 3), exhaustive=True, precision_at=0.6)
    assert [metrics[f"P@{k}"] for k in (1, 2, 3)] == pytest.approx([1 / 2, 1 / 4, 1 / 3])
    # .72, .6 and .7 reach 0.6: 1 of 3 is right.
    assert metrics["P(score>=0.6)"] == pytest.approx(1 / 3)
    # The limit belongs to it, and a score that nothing reaches has no precision.
    scene = [predict([A, B], [0, 1], {(0, 1): (1.0, [0.5, 0, 0])})], [GroundTruth([A, B], [0, 1], [[0, 1, 0]])]
    found = [evaluate(*scene, exhaustive=True, precision_at=least)[f"P(score>={least})"] for least in (0.5, 0.51)]
    assert found[0] == 1.0 and math.isnan(found[1])


def test_repetitions_are_wrong():
    # Queries 0 and 2 both find A; the second A0B hits nothing that is left.
    prediction = predict([A, B, A], [0, 1, 0], {(0, 1): (1.0, [0.9, 0, 0]), (2, 1): (1.0, [0.8, 0, 0])})
    truth = GroundTruth([A, B], [0, 1], [[0, 1, 0]])
    metrics = evaluate([prediction, nothing()], [truth, truth], top_k=(1, 2), exhaustive=True)
    # The second image, where nothing is predicted, has no precision.
    assert [metrics["P@1"], metrics["P@2"]] == [1.0, 0.5]


def test_precision_is_refused_where_relations_are_left_out():
    assert not [name for name in evaluate(*two_images(), top_k=(1,)) if name.startswith("P@")]
    with pytest.raises(EGTRError, match="does not say that it is exhaustive: where annotators leave relations out"):
        evaluate(*two_images(), precision_at=0.5)


def test_a_prediction_file_says_that_it_is_exhaustive(tmp_path):
    for exhaustive in (False, True):
        path = tmp_path / f"{exhaustive}.npz"
        with PredictionWriter(path, PredictionMeta(exhaustive=exhaustive)) as writer:
            for image_id, (prediction, truth) in enumerate(zip(*two_images(), strict=True)):
                writer.write(image_id, prediction, truth)
        assert read_meta(path).exhaustive is exhaustive
    found = score_predictions(path, top_k=(1,), precision_at=0.6)["reference"]
    # The best one of each image: .72 (right) and .7.
    assert [found["P@1"], found["P(score>=0.6)"]] == [1 / 2, 1 / 2]
    with pytest.raises(EGTRError, match="exhaustive: true, in the fifth entry"):
        score_predictions(tmp_path / "False.npz", top_k=(1,), precision_at=0.6)
