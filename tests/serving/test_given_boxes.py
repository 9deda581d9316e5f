"""Boxes in the fields of a form: the graph of the predictor, and a refusal for everything that is wrong."""

import json

import numpy as np
import pytest

from egtr.data.scenes import draw_scene
from egtr.serving import Limits, ModelStore
from egtr.structures import PredictedImage, SceneGraph
from tests.serving.conftest import running

GRAPH = "api/v1/scene-graph"
BOXES = [[10, 20, 100, 120], [50, 60, 150, 170]]


def send(client, scene, path=GRAPH, params=None, **fields):
    form = {name: (None, value if isinstance(value, str) else json.dumps(value)) for name, value in fields.items()}
    return client.post(path, files={"file": ("a.png", scene), **form}, params=params)


def test_the_graph_of_given_boxes(client, predictor, scene):
    answer = send(client, scene, boxes=BOXES, classes=["house", None], scores=[0.75, 1])
    assert answer.status_code == 200
    graph = SceneGraph.from_dict(answer.json())
    expected = predictor(draw_scene(0, "test", 0)[0], "RGB", boxes=BOXES, classes=["house", None], scores=[0.75, 1])
    assert graph.boxes.tolist() == BOXES and graph.given.all() and graph.given_by == "assignment"
    assert graph.classes.tolist() == expected.classes.tolist() and graph.scores[0] == 0.75
    np.testing.assert_allclose(graph.scores, expected.scores, atol=1e-4)


def test_other_forms_and_options(client, scene):
    records = [{"bbox": [10, 20, 90, 100], "category_id": 7}, {"bbox": [50, 60, 100, 110], "category_id": None}]
    plain = send(client, scene, boxes=BOXES, classes=[7, None]).json()
    assert send(client, scene, boxes=records).json() == plain
    # a graph of the server, corrected and sent back
    again = send(client, scene, boxes=plain).json()
    assert [entry["class"] for entry in again["objects"]] == [entry["class"] for entry in plain["objects"]]
    more = send(client, scene, boxes=BOXES, params={"with_found": True}).json()
    assert [entry["given"] for entry in more["objects"]][:3] == [True, True, False]
    refined = send(client, scene, boxes=BOXES, params={"refine_boxes": True}).json()
    assert [entry["box"] for entry in refined["objects"]] != BOXES
    assert send(client, scene, boxes=[]).json()["objects"] == []


def test_explanations_of_given_boxes_are_null(client, scene):
    answer = send(client, scene, "api/v1/explanations", boxes=BOXES).json()
    assert answer["explanations"] is None and len(answer["graph"]["objects"]) == 2


@pytest.mark.parametrize(("fields", "params", "message"), [
    ({"boxes": "[[1, 2"}, {}, "the field 'boxes' of the form is no JSON"),
    ({"boxes": "[[1, 2, NaN, 4]]"}, {}, "box 0 is [1.0, 2.0, nan, 4.0]; its numbers must be finite"),
    ({"boxes": [[1, 2, 3]]}, {}, "the shape is (1, 3)"),
    ({"boxes": [[9, 2, 3, 4]]}, {}, "x1 < x2"),
    ({"boxes": [[500, 500, 600, 600]]}, {}, "lies outside the image of 243 x 220 pixels"),
    ({"boxes": BOXES, "classes": ["hose", None]}, {}, "no class 'hose' (box 0); did you mean house or horse?"),
    ({"boxes": BOXES, "classes": [18, None]}, {}, "its ids are 0..17"),
    ({"boxes": BOXES, "classes": ["house"]}, {}, "there are 2 boxes but 1 classes"),
    ({"boxes": BOXES, "scores": [1, 2]}, {}, "the score of box 1 is 2.0"),
    ({"boxes": {"version": 1, "objects": []}}, {}, "scene graph: "),
    ({"boxes": "null", "classes": ["house"]}, {}, "classes says something of given boxes, but there are none"),
    ({"scores": [1]}, {}, "scores says something of given boxes"),
    ({}, {"with_found": True}, "with_found says something of given boxes"),
    ({"box": BOXES}, {}, "the field 'box' of the form is unknown; a form has boxes, classes, scores"),
    ({"boxes": [[1, 2, 3, 4]] * 301}, {}, "boxes: there are 301; at most 300 are allowed"),
])  # fmt: skip
def test_refusals(client, scene, fields, params, message):
    answer = send(client, scene, params=params, **fields)
    assert answer.status_code == 422 and message in answer.json()["detail"]


def test_a_field_that_is_there_twice(client, scene):
    twice = [("file", ("a.png", scene)), ("boxes", (None, "[]")), ("boxes", (None, "[]"))]
    answer = client.post(GRAPH, files=twice)
    assert answer.status_code == 422 and "'boxes' of the form is there twice" in answer.json()["detail"]


def test_a_predictor_of_another_kind_takes_no_boxes(scene):
    class Fake:
        def predict(self, source, channel_order=None, *, batch_size=1, threads=1):
            height, width = source.shape[:2]
            yield PredictedImage(source, SceneGraph([], [], [], [], [], (height, width)))

    with running(ModelStore({"fake": Fake()}), Limits()) as server, server.client() as client:
        assert send(client, scene).status_code == 200
        answer = send(client, scene, boxes=BOXES)
        assert answer.status_code == 422 and "boxes: this model takes none" in answer.json()["detail"]
