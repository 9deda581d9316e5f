"""Reasons to doubt a graph, by the record of the model."""

import pytest

from egtr.structures import ModelInfo
from egtr.structures.doubts import find_doubts

DRAWINGS = "the model scenes was trained on drawings; its graphs of photographs mean little"
SCORE = (
    "the model scenes probably does not know images of this sort: its best relation scores 0.020 here, but more than "
    "0.050 on nearly all images that it knows"
)


@pytest.mark.parametrize(
    ("fields", "best_score", "doubts"),
    [
        ({"domain": "drawings", "photograph_threshold": 0.05}, 0.02, {"domain": DRAWINGS, "score": SCORE}),
        ({"domain": "drawings", "photograph_threshold": 0.05}, 0.05, {"domain": DRAWINGS}),
        ({"domain": "drawings"}, 0.0, {"domain": DRAWINGS}),
        ({"domain": "photographs", "photograph_threshold": 0.05}, 0.02, {"score": SCORE}),
        ({"domain": "photographs"}, 0.02, {}),
        ({}, 0.0, {}),
    ],
)
def test_doubts(fields, best_score, doubts):
    assert find_doubts(ModelInfo(name="scenes", **fields), best_score) == doubts


def test_models_without_a_record_or_a_name():
    assert find_doubts(None, 0.0) == {}
    assert find_doubts(ModelInfo(domain="drawings"), 0.0)["domain"].startswith("the model was trained on drawings")
