"""An explanation made by hand, as dict and as text."""

import json

import numpy as np
import pytest

from egtr.structures import EdgeExplanation, ExplainedObject


def make_explanation(**changes):
    """Explain "dog - near - tree" of two sources, one layer with two heads, one level with two points."""
    points = np.array([[[[[1.04, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [-7.0, 8.0]]]]])
    subject = ExplainedObject(
        7, 0, "dog", 0.5, np.array([0, 0, 5, 5.0]), points, np.array([[[[0.4, 0.6]], [[0.1, 0.9]]]])
    )
    fields = {
        "subject": subject,
        "object": ExplainedObject(2, 1, "tree", 0.8, np.array([1, 2, 3, 4.0]), None, None),
        "predicate_id": 3,
        "predicate": "near",
        "score": 0.5 * 0.8 * 0.5 * 0.25,
        "predicate_score": 0.5,
        "connectivity": 0.25,
        "connectivity_logit": -1.0986123,
        "logit": 0.0,
        "head_logit": -2.0,
        "frequency_bias": 2.0,
        "logit_adjustment": 0.0,
        "sources": ("layer 0", "last state"),
        "gates": np.array([0.25, 1.0]),
        "contributions": np.array([-1.5, -1.0]),
        "constant": 0.5,
        "attention": np.array([[0.125, 0.75]]),
        "attention_back": np.array([[0.0, 0.1]]),
    }
    return EdgeExplanation(**fields | changes)


def test_strongest_points():
    subject = make_explanation().subject
    assert subject.strongest_points(2) == [
        {"x": -7.0, "y": 8.0, "weight": 0.9, "layer": 0},
        {"x": 3.0, "y": 4.0, "weight": 0.6, "layer": 0},
    ]
    assert len(subject.strongest_points(99)) == 4
    assert subject.strongest_points(4)[2] == {"x": 1.0, "y": 2.0, "weight": 0.4, "layer": 0}
    assert make_explanation().object.strongest_points(3) == []


def test_to_dict():
    record = json.loads(json.dumps(make_explanation().to_dict(max_points=1), allow_nan=False))
    assert record["subject"] == {
        "query": 7,
        "class": "dog",
        "class_id": 0,
        "score": 0.5,
        "box": [0, 0, 5, 5],
        "points": [{"x": -7.0, "y": 8.0, "weight": 0.9, "layer": 0}],
    }
    assert record["object"]["points"] == []
    assert record["predicate"] == "near" and record["predicate_id"] == 3
    assert record["sources"] == ["layer 0", "last state"]
    assert record["gates"] == [0.25, 1] and record["attention"] == [[0.125, 0.75]]
    assert record["score"] == 0.05 and record["connectivity_logit"] == -1.0986
    bare = make_explanation(gates=None, contributions=None, connectivity=None, connectivity_logit=None).to_dict()
    assert [bare[name] for name in ("gates", "contributions", "connectivity", "connectivity_logit")] == [None] * 4


def test_text():
    assert str(make_explanation()) == (
        "dog - near - tree\n"
        "  score 0.050 = dog 0.500 x near 0.500 x tree 0.800 x connected 0.250\n"
        "  logit 0.00 = head -2.00 + frequency bias 2.00\n"
        "  gates: layer 0 0.25, last state 1.00\n"
        "  attention of subject to object: at most 0.75 in layer 0, head 1"
    )


@pytest.mark.parametrize("name", ["gates", "connectivity", "frequency_bias"])
def test_text_without(name):
    text = str(make_explanation(**{name: 0.0 if name == "frequency_bias" else None}))
    assert {"gates": "gates", "connectivity": "connected", "frequency_bias": "bias"}[name] not in text
