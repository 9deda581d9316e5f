"""A model of one class: the softmax over its single logit is 1, so that its objects need a sigmoid."""

import logging
from pathlib import Path

import pytest

from egtr.evaluation import Annotations, read_predictions, score_predictions
from egtr.structures import SceneGraph, rank_triplets

DATA = Path(__file__).parent / "data"


def test_the_graph_of_one_class_shows_the_objects_that_were_found():
    # Queries 0 and 1 lie on the persons (logit 5), query 2 on nothing (logit -8); relation .5 joins the first two, .9
    # the last two. By softmax all score 1, and the relation to nothing comes first.
    ((_, prediction, _),) = read_predictions(DATA / "one_class_eval.npz")
    graph = SceneGraph.from_prediction(prediction)
    found, nothing = 1 / (1 + 2.718281828459045**-5), 1 / (1 + 2.718281828459045**8)
    assert graph.scores.tolist() == pytest.approx([found, found, nothing])
    assert graph.triplets[0].tolist() == [0, 1, 0]
    assert graph.triplet_scores.tolist() == pytest.approx([0.5 * found**2, 0.9 * found * nothing])
    ranked = rank_triplets(prediction)
    assert (ranked.subjects[0], ranked.objects[0]) == (0, 1)
    assert rank_triplets(prediction, object_score="softmax").subjects[0] == 2


def test_protocols_say_what_a_softmax_over_one_class_means(caplog):
    truth = Annotations.of_file("coco_sg", str(DATA / "one_class_eval.json"))
    with caplog.at_level(logging.WARNING):
        results = score_predictions(DATA / "one_class_eval.npz", ["reference", "strict"], (1,), annotations=truth)
    # The released evaluation prints 0, and so does `reference`.
    assert results["reference"]["R@1"] == 0.0 and results["strict"]["R@1"] == 1.0
    (record,) = [r for r in caplog.records if "one class" in r.getMessage()]
    assert "reference takes a softmax" in record.getMessage() and "strict scores" in record.getMessage()
    caplog.clear()
    score_predictions(DATA / "one_class_eval.npz", "strict", (1,), annotations=truth)
    assert "one class" not in caplog.text
