"""A remembered image: the graphs of predict, and its errors."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from egtr.data.scenes import draw_scene
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError, DataError

BOXES = [[10, 20, 100, 120], [50, 60, 150, 170]]


@pytest.fixture(scope="module")
def scenes():
    return EGTRPredictor.create("scenes")


@pytest.fixture(scope="module")
def image():
    return draw_scene(0, "test", 0)[0]


def assert_same(graph, expected):
    # float32 has no more digits of pixels, so boxes are compared as shares of the image.
    size = np.tile(expected.image_size[::-1], 2)
    np.testing.assert_allclose(graph.boxes / size, expected.boxes / size, atol=1e-5)
    for name in ("scores", "triplet_scores", "presence"):
        np.testing.assert_allclose(getattr(graph, name), getattr(expected, name), atol=1e-5)
    assert graph.classes.tolist() == expected.classes.tolist()
    assert graph.triplets.tolist() == expected.triplets.tolist()
    for name in ("class_names", "predicate_names", "given_by", "warnings", "object_threshold", "file_name"):
        assert getattr(graph, name) == getattr(expected, name)
    assert len(graph.class_names) > 0 and len(graph.warnings) > 0


def test_graphs_are_those_of_predict(scenes, image):
    remembered = scenes.remember(image, "RGB")
    (expected,) = scenes.predict(image, "RGB")
    assert_same(remembered.graph.for_display(), expected.graph.for_display())
    for options in (
        {"boxes": BOXES},
        {"boxes": BOXES[::-1], "classes": ["house", None], "scores": [0.75, 1]},
        {"boxes": BOXES, "refine_boxes": True, "with_found": True},
    ):
        (expected,) = scenes.predict(image, "RGB", **options)
        assert_same(remembered.relate(**options), expected.graph)
    assert len(remembered.relate([]).boxes) == 0


def test_a_file_and_a_model_in_training_mode(make_cfg, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    model = build_model(make_cfg()).train()
    predictor = EGTRPredictor(make_cfg(), model)
    remembered = predictor.remember(path)
    graph = remembered.relate([[4, 5, 30, 35]], ["thing2"])
    assert model.training and graph.file_name == str(path)
    assert graph.classes.tolist() == [2]
    (expected,) = predictor.predict(path, boxes=[[4, 5, 30, 35]], classes=["thing2"])
    np.testing.assert_allclose(graph.scores, expected.graph.scores, atol=1e-5)
    # as predict, it finds the boxes of this image among others
    several = {"b.png": [[1, 2, 3, 4]], "a.png": {"boxes": [[4, 5, 30, 35]], "labels": [2]}}
    assert remembered.relate(several).to_dict() == graph.to_dict()
    with pytest.raises(DataError, match=r"has no boxes of .*a\.png"):
        remembered.relate({"b.png": [[1, 2, 3, 4]]})


@pytest.mark.parametrize(("boxes", "classes", "message"), [
    (None, None, "boxes: there are none; give them, or take the attribute graph"),
    ([[500, 500, 600, 600]], None, "lies outside the image of 243 x 220 pixels"),
    (BOXES, ["hose", None], "did you mean house or horse"),
    (BOXES, ["house"], "there are 2 boxes but 1 classes"),
])  # fmt: skip
def test_wrong_boxes(scenes, image, boxes, classes, message):
    remembered = scenes.remember(image, "RGB")
    with pytest.raises(DataError, match=message):
        remembered.relate(boxes, classes)
    assert len(remembered.relate(BOXES).boxes) == 2


def test_models_that_cannot_remember(make_cfg, image):
    predictor = EGTRPredictor(make_cfg(), torch.nn.Identity())
    with pytest.raises(ConfigurationError, match="Identity cannot remember an image"):
        predictor.remember(image, "RGB")
    cfg = make_cfg({"MODEL.EGTR.RELATION.ENABLED": False})
    with pytest.raises(ConfigurationError, match=r"MODEL\.EGTR\.RELATION"):
        EGTRPredictor(cfg, build_model(cfg)).remember(image, "RGB")
