"""Images that the server remembers: the graphs of corrected boxes, and every refusal."""

import json

import numpy as np
import pytest

from egtr.data.scenes import draw_scene
from egtr.serving import Limits, ModelStore
from egtr.structures import PredictedImage, SceneGraph
from tests.serving.conftest import running

EXPLANATIONS, RELATIONS = "api/v1/explanations", "api/v1/relations"
BOXES = [[10, 20, 100, 120], [50, 60, 150, 170]]


def remember(client, scene, **params):
    answer = client.post(
        EXPLANATIONS, files={"file": ("a.png", scene)}, params={"remember": True, "top_k": 5, **params}
    )
    assert answer.status_code == 200
    return answer.json()


@pytest.fixture(scope="module")
def image(server, scene):
    with server.client() as client:
        return remember(client, scene)["remembered"]


def test_the_graph_is_that_of_given_boxes(client, predictor, image):
    body = {"image": image, "boxes": BOXES, "classes": ["house", None], "scores": [0.75, 1]}
    answer = client.post(RELATIONS, json=body, params={"top_k": 1, "min_score": 0})
    assert answer.status_code == 200
    graph = SceneGraph.from_dict(answer.json())
    expected = predictor(draw_scene(0, "test", 0)[0], "RGB", boxes=BOXES, classes=["house", None], scores=[0.75, 1])
    expected = expected.for_display(0, top_k=1)
    assert graph.boxes.tolist() == BOXES and graph.given.all() and graph.file_name == "a.png"
    assert graph.classes.tolist() == expected.classes.tolist() and graph.warnings == expected.warnings
    assert graph.triplets.tolist() == expected.triplets.tolist() and len(graph.triplets) == 1
    np.testing.assert_allclose(graph.triplet_scores, expected.triplet_scores, atol=1e-5)


def test_options_and_other_forms(client, image):
    plain = client.post(RELATIONS, json={"image": image, "boxes": BOXES, "classes": [7, None]}).json()
    again = client.post(RELATIONS, json={"image": image, "boxes": plain}).json()
    assert [entry["class"] for entry in again["objects"]] == [entry["class"] for entry in plain["objects"]]
    more = client.post(RELATIONS, json={"image": image, "boxes": BOXES}, params={"with_found": True}).json()
    assert [entry["given"] for entry in more["objects"]][:3] == [True, True, False]
    assert client.post(RELATIONS, json={"image": image, "boxes": []}).json()["objects"] == []


def test_remembering_changes_no_graph(client, scene):
    files = {"file": ("a.png", scene)}
    plain = client.post(EXPLANATIONS, files=files, params={"top_k": 5}).json()
    kept = remember(client, scene)
    assert plain["remembered"] is None and len(kept["remembered"]) > 40
    assert kept["graph"]["source"] == plain["graph"]["source"]
    triplets = [
        [(one["subject"], one["predicate"], one["object"]) for one in answer["graph"]["relations"]]
        for answer in (plain, kept)
    ]
    assert triplets[0] == triplets[1] and len(kept["explanations"]) == len(plain["explanations"]) > 0
    given = client.post(
        EXPLANATIONS, files={**files, "boxes": (None, json.dumps(BOXES))}, params={"remember": True}
    ).json()
    assert [entry["box"] for entry in given["graph"]["objects"]] == BOXES and given["explanations"] is None


@pytest.mark.parametrize(("fields", "params", "message"), [
    ({}, {}, "boxes: Field required"),
    ({"boxes": None}, {}, "boxes"),
    ({"boxes": BOXES, "class": []}, {}, "class: Extra inputs are not permitted"),
    ({"boxes": BOXES, "classes": "house"}, {}, "classes: Input should be a valid array"),
    ({"boxes": [[1, 2, 3]]}, {}, "the shape is (1, 3)"),
    ({"boxes": [[9, 2, 3, 4]]}, {}, "x1 < x2"),
    ({"boxes": [[1, 2, "x", 4]]}, {}, "are no numbers"),
    ({"boxes": [[500, 500, 600, 600]]}, {}, "lies outside the image of 243 x 220 pixels"),
    ({"boxes": BOXES, "classes": ["hose", None]}, {}, "no class 'hose' (box 0); did you mean house or horse?"),
    ({"boxes": BOXES, "classes": [18, None]}, {}, "its ids are 0..17"),
    ({"boxes": BOXES, "classes": ["house"]}, {}, "there are 2 boxes but 1 classes"),
    ({"boxes": BOXES, "scores": [1, 2]}, {}, "the score of box 1 is 2.0"),
    ({"boxes": [[1, 2, 3, 4]] * 301}, {}, "boxes: there are 301; at most 300 are allowed"),
    ({"boxes": BOXES}, {"model": "scenes"}, "model: Extra inputs are not permitted"),
    ({"boxes": BOXES}, {"top_k": -1}, "top_k: "),
])  # fmt: skip
def test_refusals(client, image, fields, params, message):
    answer = client.post(RELATIONS, json={"image": image, **fields}, params=params)
    assert answer.status_code == 422 and message in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_correction(client, body):
    answer = client.post(RELATIONS, content=body)
    assert answer.status_code == 422 and answer.json()["detail"].startswith("body: ")


def test_nan_is_refused(client, image):
    body = json.dumps({"image": image, "boxes": [[1, 2, float("nan"), 4]]})
    answer = client.post(RELATIONS, content=body)
    assert answer.status_code == 422 and "numbers must be finite" in answer.json()["detail"]


def test_the_body_has_a_limit_and_other_sites_are_refused(client, image):
    answer = client.post(RELATIONS, content=b" " * (20 * 10**6 + 1))
    assert answer.status_code == 413
    body = {"image": image, "boxes": BOXES}
    assert client.post(RELATIONS, json=body, headers={"Content-Encoding": "gzip"}).status_code == 415
    assert client.post(RELATIONS, json=body, headers={"Origin": "https://evil.example"}).status_code == 403


def test_the_images_used_last_are_kept(predictor, scene):
    store = ModelStore({"scenes": predictor})
    with running(store, Limits(max_remembered=2)) as server, server.client() as client:

        def status(image):
            return client.post(RELATIONS, json={"image": image, "boxes": BOXES}).status_code

        first, second = (remember(client, scene)["remembered"] for _ in range(2))
        assert status(first) == 200
        third = remember(client, scene)["remembered"]
        assert [status(image) for image in (first, second, third)] == [200, 410, 200]
        answer = client.post(RELATIONS, json={"image": "guess", "boxes": BOXES})
        assert answer.status_code == 410
        assert answer.json() == {"detail": "the server does not remember this image (any more); send it again"}


def test_other_predictors_remember_nothing(scene):
    class Fake:
        def predict(self, source, channel_order=None, *, batch_size=1, threads=1):
            yield PredictedImage(source, SceneGraph([], [], [], [], [], source.shape[:2]))

    with running(ModelStore({"fake": Fake()}), Limits()) as server, server.client() as client:
        assert client.get("api/v1/models").json()["models"][0]["remembers"] is False
        files = {"file": ("a.png", scene)}
        answer = client.post(EXPLANATIONS, files=files, params={"remember": True})
        assert answer.status_code == 422 and "this model cannot remember images" in answer.json()["detail"]
        assert client.post(EXPLANATIONS, files=files).json()["remembered"] is None


def test_what_openapi_says(client):
    document = client.get("openapi.json").json()
    route = document["paths"]["/api/v1/relations"]["post"]
    assert {"200", "403", "410", "413", "422", "503", "504"} <= set(route["responses"])
    body = route["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"image", "boxes", "classes", "scores"}
    names = {entry["name"] for entry in document["paths"]["/api/v1/explanations"]["post"]["parameters"]}
    assert "remember" in names and client.get("api/v1/models").json()["models"][0]["remembers"] is True


@pytest.mark.parametrize(("fields", "message"), [
    ({"classes": [True, None]}, "boxes: the class of box 0 is True; give a name, an id, or None"),
    ({"classes": ["House", None]}, "boxes: the model has no class 'House' (box 0); did you mean house"),
    ({"scores": ["0.5", "1"]}, "boxes: scores: ['0.5', '1'] are no numbers"),
    ({"scores": [True, False]}, "boxes: scores: [True, False] are no numbers"),
])  # fmt: skip
def test_fields_are_checked_as_those_of_a_form(client, image, scene, fields, message):
    answer = client.post(RELATIONS, json={"image": image, "boxes": BOXES, **fields})
    form = {name: json.dumps(values) for name, values in {"boxes": BOXES, **fields}.items()}
    same = client.post("api/v1/scene-graph", files={"file": ("a.png", scene)}, data=form)
    assert answer.status_code == same.status_code == 422
    assert answer.json() == same.json() and answer.json()["detail"].startswith(message)
