"""Given boxes through egtr.predict and the predictor: sources, sizes, errors, options."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import egtr
from egtr.data.scenes import draw_scene
from egtr.inference import EGTRPredictor
from egtr.structures import ConfigurationError, DataError, PredictionError

ROOT = Path(__file__).resolve().parents[2]
BOXES = [[4.0, 5, 30, 35], [20, 2, 50, 38]]


@pytest.fixture
def predictor(make_cfg):
    return EGTRPredictor(make_cfg(), build_model(make_cfg()).eval())


@pytest.fixture
def folder(tmp_path):
    random = np.random.RandomState(0)
    for name, size in (("a.png", (40, 60)), ("b.png", (40, 60)), ("c.png", (60, 50))):
        Image.fromarray(random.randint(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def content(graph):
    return {**graph.to_dict(), "source": None}


def test_one_image(predictor, folder):
    path = folder / "a.png"
    (graph,) = egtr.predict(predictor, path, boxes=BOXES, classes=["thing2", None], scores=[0.25, 1])
    assert graph.boxes.tolist() == BOXES and graph.given.all() and graph.given_by == "assignment"
    assert graph.classes[0] == 2 and graph.scores[0] == 0.25 and graph.scores[1] < 1
    assert sorted(map(tuple, graph.triplets[:, :2])) == [(0, 1), (1, 0)]
    assert content(predictor(path, boxes=BOXES, classes=["thing2", None], scores=[0.25, 1])) == content(graph)
    # nothing is left out for display, although the objects overlap and scores are low
    assert len(graph.for_display(min_score=1).boxes) == 2


@pytest.mark.parametrize("boxes", [
    {"boxes": torch.tensor(BOXES), "labels": torch.tensor([2, 3]), "scores": torch.tensor([0.25, 0.5])},
    SimpleNamespace(xyxy=np.array(BOXES), class_id=np.array([2, 3]), confidence=np.array([0.25, 0.5])),
    [
        {"image_id": 5, "bbox": [4, 5, 26, 30], "category_id": 2, "score": 0.25},
        {"image_id": 5, "bbox": [20, 2, 30, 36], "category_id": 3, "score": 0.5},
    ],
])  # fmt: skip
def test_forms_of_detectors(predictor, folder, boxes):
    (expected,) = egtr.predict(predictor, folder / "a.png", boxes=BOXES, classes=[2, 3], scores=[0.25, 0.5])
    (graph,) = egtr.predict(predictor, folder / "a.png", boxes=boxes)
    assert content(graph) == content(expected)
    assert content(predictor(folder / "a.png", boxes=boxes)) == content(expected)


def test_many_images(predictor, folder):
    boxes = {"a.png": BOXES, "b.png": [], "c.png": BOXES[:1]}
    classes = {"a.png": [0, 1], "b.png": [], "c.png": None}
    for batch_size, threads in ((1, 1), (3, 2)):
        graphs = list(
            egtr.predict(predictor, folder, boxes=boxes, classes=classes, batch_size=batch_size, threads=threads)
        )
        assert [len(graph.boxes) for graph in graphs] == [2, 0, 1]
        expected = predictor(folder / "a.png", boxes=BOXES, classes=[0, 1])
        np.testing.assert_allclose(graphs[0].triplet_scores, expected.triplet_scores, rtol=1e-4)


def test_a_missing_image_is_an_error_and_the_others_are_not_lost(predictor, folder):
    failed = []
    graphs = list(egtr.predict(predictor, folder, boxes={"a.png": BOXES, "c.png": BOXES}, on_error=failed.append))
    assert [graph.file_name[-5:] for graph in graphs] == ["a.png", "c.png"]
    assert [str(error) for error in failed] == [
        f"boxes: has no boxes of {folder / 'b.png'}; there are boxes of 'a.png', 'c.png'"
    ]
    graphs = egtr.predict(predictor, folder, boxes={"a.png": BOXES, "c.png": BOXES})
    next(graphs)
    with pytest.raises(DataError, match="has no boxes of .*b.png"):
        next(graphs)


def test_boxes_of_one_image_for_several(predictor, folder):
    with pytest.raises(DataError, match="boxes: are the boxes of one image, but there are 3 images; give a mapping"):
        egtr.predict(predictor, folder, boxes=BOXES)
    # How many an iterator has is not known.
    graphs = egtr.predict(predictor, iter([folder / "a.png", folder / "b.png"]), boxes=BOXES)
    assert len(next(graphs).boxes) == 2
    with pytest.raises(DataError, match="but there is a second one, .*b.png"):
        next(graphs)


@pytest.mark.parametrize(("options", "message"), [
    ({"boxes": [[1, 2, float("nan"), 4]]}, "must be finite"),
    ({"boxes": [[1, 2, 3]]}, "the shape is"),
    ({"boxes": BOXES, "classes": ["thing0"]}, "there are 2 boxes but 1 classes"),
    ({"boxes": BOXES, "scores": [0.5, 2]}, "the score of box 1 is 2.0"),
])  # fmt: skip
def test_boxes_that_are_wrong_in_themselves_are_refused_immediately(predictor, options, message):
    for call in (egtr.predict, lambda *args, **kwargs: args[0](*args[1:], **kwargs)):
        with pytest.raises(DataError, match=message):
            call(predictor, "no-such-image.png", **options)


@pytest.mark.parametrize(("options", "message"), [
    ({"boxes": [[100, 100, 120, 130]]}, "the centre of box 0, .* lies outside the image of 60 x 40 pixels"),
    ({"boxes": BOXES, "classes": ["thing0", "thing9"]}, r"no class 'thing9' \(box 1\); did you mean"),
    ({"boxes": BOXES, "classes": [0, 5]}, r"no class 5 \(box 1\); its ids are 0..4"),
])  # fmt: skip
def test_boxes_that_do_not_fit_image_or_model(predictor, folder, options, message):
    for call in (lambda *args, **kwargs: list(egtr.predict(*args, **kwargs)), EGTRPredictor.__call__):
        with pytest.raises(DataError, match=message):
            call(predictor, folder / "a.png", **options)


def test_options_without_boxes(predictor, folder):
    for options in ({"classes": []}, {"scores": [1]}, {"refine_boxes": True}, {"with_found": True}):
        with pytest.raises(ConfigurationError, match=f"{next(iter(options))} says something of given boxes"):
            egtr.predict(predictor, folder, **options)
        with pytest.raises(ConfigurationError, match="give boxes, too"):
            predictor(folder / "a.png", **options)


def test_more_on_request(predictor, folder):
    plain, path = predictor(folder / "a.png"), folder / "a.png"
    (graph,) = egtr.predict(predictor, path, boxes=BOXES, with_found=True)
    assert graph.boxes[:2].tolist() == BOXES and graph.given.tolist() == [True] * 2 + [False] * len(plain.boxes)
    np.testing.assert_allclose(graph.boxes[2:], plain.boxes, atol=1e-3)
    (graph,) = egtr.predict(predictor, path, boxes=BOXES, refine_boxes=True)
    assert np.abs(graph.boxes - BOXES).max() > 0.5


def test_models_that_take_no_boxes(make_cfg, folder):
    detector = build_model(make_cfg({"MODEL.EGTR.RELATION.ENABLED": False})).eval()
    for model in (EGTRPredictor(make_cfg(), detector), EGTRPredictor(make_cfg(), torch.nn.Identity())):
        with pytest.raises(ConfigurationError, match="boxes: only an EGTR with a relation part"):
            egtr.predict(model, folder / "a.png", boxes=BOXES)


def test_graphs_of_given_boxes_are_not_explained(predictor, folder):
    graph = predictor(folder / "a.png", boxes=BOXES)
    with pytest.raises(PredictionError, match="objects whose boxes were given"):
        predictor.explain(folder / "a.png", graph)


def test_boxes_are_of_the_upright_image(predictor):
    """The same photograph, stored upright and stored turned by 90 degrees."""
    pixels = np.random.RandomState(1).randint(0, 255, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for image, options in ((pixels, {}), (np.rot90(pixels), {"exif": exif})):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG", **options)
        files.append(file.getvalue())
    upright, turned = (predictor(file, boxes=BOXES, classes=[0, None]) for file in files)
    assert turned.image_size == (40, 60)
    assert content(turned) == content(upright)
    with pytest.raises(DataError, match="lies outside the image of 60 x 40 pixels"):
        predictor(files[1], boxes=[[5, 42, 30, 58]])


def test_boxes_are_scaled_with_the_image(make_cfg):
    """The model sees 40 x 60 pixels as 43 x 64; boxes in its own size give the same graph."""
    predictor = EGTRPredictor(make_cfg(), build_model(make_cfg()).eval())
    image = np.random.RandomState(1).randint(0, 255, (40, 60, 3), dtype=np.uint8)
    seen = {}
    predictor.model.register_forward_pre_hook(lambda module, args: seen.update(args[0][0]))
    predictor(image, "RGB", boxes=BOXES)
    assert seen["image"].shape[1:] == (43, 64) and (seen["height"], seen["width"]) == (40, 60)
    assert seen["given"].image_size == (40, 60) and seen["given"].pred_boxes.tensor.tolist() == BOXES


@pytest.fixture(scope="module")
def scene():
    return draw_scene(0, "test", 0)[0]


WAYS = {"egtr": "assignment", "rtdetr": "box_queries"}


@pytest.fixture(scope="module", params=WAYS)
def shipped(request):
    """Both ways: the first model was trained without denoising, the second one with it."""
    options = ["MODEL.WEIGHTS", str(ROOT / f"projects/EGTR/weights/scenes_{request.param}.pth")]
    predictor = EGTRPredictor.from_config_file(str(ROOT / f"configs/scenes/{request.param}.yaml"), options)
    return predictor, WAYS[request.param]


def test_own_detections_give_nearly_the_same_graph(shipped):
    """At least 70 % of the best relations of eight drawn scenes come back, between the same two objects."""
    predictor, given_by = shipped
    kept, known = [], []
    for index in range(8):
        image = draw_scene(0, "test", index)[0]
        own = predictor(image, "RGB").for_display(top_k=10)
        graph = predictor(image, "RGB", boxes=own)
        assert graph.given_by == given_by and graph.classes.tolist() == own.classes.tolist()
        again = set(map(tuple, graph.triplets[: len(own)].tolist()))
        kept += [tuple(triplet) in again for triplet in own.triplets.tolist()]
        # Without classes most of them are found again.
        known += (predictor(image, "RGB", boxes=own.boxes).classes == own.classes).tolist()
    assert len(kept) > 15 and np.mean(kept) >= 0.7
    assert np.mean(known) > 0.85


def test_the_order_of_boxes_changes_nothing(shipped, scene):
    predictor, _ = shipped
    own = predictor(scene, "RGB").for_display()
    labels = [None if index % 2 else int(label) for index, label in enumerate(own.classes)]
    order = np.random.RandomState(0).permutation(len(labels))
    first = predictor(scene, "RGB", boxes=own.boxes, classes=labels)
    second = predictor(scene, "RGB", boxes=own.boxes[order], classes=[labels[index] for index in order])
    np.testing.assert_allclose(second.scores, first.scores[order], atol=1e-5)
    assert second.classes.tolist() == first.classes[order].tolist()
    moved = second.triplets.copy()
    moved[:, :2] = order[moved[:, :2]]
    wanted = dict(zip(map(tuple, first.triplets.tolist()), first.triplet_scores, strict=True))
    for triplet, score in zip(map(tuple, moved.tolist()), second.triplet_scores, strict=True):
        assert wanted.get(triplet, 0) == pytest.approx(score, abs=1e-5)
