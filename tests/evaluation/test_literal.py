"""The scorer equals the literal evaluation on random images of realistic shape, metric by metric."""

import re

import numpy as np
import pytest

from benchmarks.evaluation_literal import LiteralScorer
from benchmarks.random_scenes import random_scene, random_training_counts
from egtr.evaluation import Scorer
from egtr.structures import GroundTruth

# (queries, predicates, classes, objects, triplets, images): crowded small ones, where hits, ties of class and
# wrong classes abound, and one of full size.
SHAPES = [(24, 6, 5, 6, 8, 20), (60, 10, 8, 10, 20, 6), (200, 50, 150, 20, 30, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"N{shape[0]}")
def test_every_metric_equals_the_literal_one(shape):
    queries, predicates, classes, objects, triplets, images = shape
    rng = np.random.RandomState(0)
    scenes = [random_scene(rng, queries, predicates, classes, objects, triplets, i) for i in range(images)]
    # An image without relations counts in object AP and nowhere else.
    prediction, truth = scenes[-1]
    scenes.append((prediction, GroundTruth(truth.boxes, truth.classes, [], "no relations")))
    training = random_training_counts(rng, predicates, classes, num_triplets=10 * predicates)
    top_k = (5, 20, 50, 100)

    literal = LiteralScorer(predicates, top_k, training)
    expected = literal.summarize([literal.score(*scene) for scene in scenes])
    scorer = Scorer("reference", top_k, training=training)
    metrics = scorer.summarize([scorer.score(*scene) for scene in scenes])["reference"]

    for name, values in expected.pop("per_predicate").items():
        np.testing.assert_allclose(metrics["per_predicate"].recall[name], values, rtol=0, atol=1e-12)
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
    # Nothing is reported that is not compared here, besides counts and what only the oracle of tiny scenes knows.
    further = r"num_.*|per_predicate|(ng-)?(phr-mR|microR|wR|PairR)@.*|(ng-)?(m?R@rel|F1@mean)|InstR|oi/mAP_(rel|phr)"
    assert {name for name in metrics if not re.fullmatch(further, name)} == set(expected)
