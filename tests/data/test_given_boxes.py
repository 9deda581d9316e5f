"""Boxes of one image in every form, and one error for each kind of wrong box."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torchvision import tv_tensors

from egtr.data.given_boxes import GivenBoxes, read_boxes
from egtr.structures import DataError, SceneGraph

BOXES = [[1.0, 2, 11, 22], [5, 5, 30, 20.5]]
NAMES = ("person", "house", "horse")
# As its Boxes are: numbers as float32, and a tensor as data.
ULTRALYTICS = SimpleNamespace(
    xyxy=torch.tensor(BOXES), cls=torch.tensor([1.0, 0.0]), conf=torch.tensor([0.5, 0.25]), data=torch.zeros(2, 6)
)


def read(*args, **options):
    given = read_boxes(*args, **options)
    assert given.boxes.dtype == np.float64
    return given.boxes.tolist(), given.classes, given.scores.tolist()


def instances(**fields):
    found = Instances((40, 50))
    found.pred_boxes = Boxes(torch.tensor(BOXES))
    for name, values in fields.items():
        found.set(name, torch.tensor(values))
    return found


@pytest.mark.parametrize("boxes", [
    instances(), torch.tensor(BOXES, dtype=torch.bfloat16),
    BOXES, tuple(map(tuple, BOXES)), np.array(BOXES), np.array(BOXES, np.float32), torch.tensor(BOXES),
    torch.tensor(BOXES, requires_grad=True),
    [{"bbox": [1, 2, 10, 20]}, {"bbox": [5, 5, 25, 15.5]}],
    {"boxes": torch.tensor(BOXES)},
    SimpleNamespace(xyxy=np.array(BOXES), class_id=None, confidence=None),
    SimpleNamespace(xyxy=np.array(BOXES)),
])  # fmt: skip
def test_forms_without_classes(boxes):
    assert read(boxes) == (BOXES, [None, None], [1.0, 1.0])
    assert read(boxes, ["house", 2], [0.5, 0.25]) == (BOXES, ["house", 2], [0.5, 0.25])


@pytest.mark.parametrize("boxes", [
    {"boxes": torch.tensor(BOXES), "labels": torch.tensor([1, 0]), "scores": torch.tensor([0.5, 0.25])},
    SimpleNamespace(xyxy=np.array(BOXES), class_id=np.array([1, 0]), confidence=np.array([0.5, 0.25]), data={}),
    ULTRALYTICS,
    [
        {"bbox": [1, 2, 10, 20], "category_id": 1, "score": 0.5, "image_id": 7},
        {"bbox": [5, 5, 25, 15.5], "category_id": 0, "score": 0.25, "image_id": 7},
    ],
    SceneGraph(BOXES, [1, 0], [0.5, 0.25], [], [], (40, 50)),
    instances(pred_classes=[1, 0], scores=[0.5, 0.25]),
])  # fmt: skip
def test_forms_with_classes(boxes):
    assert read(boxes) == (BOXES, [1, 0], [0.5, 0.25])
    # arguments come before what the boxes say, and a mapping translates it
    assert read(boxes, ["person", None], [1, 0]) == (BOXES, ["person", None], [1.0, 0.0])
    assert read(boxes, {1: "horse", 0: None}) == (BOXES, ["horse", None], [0.5, 0.25])
    with pytest.raises(DataError, match="mapping of classes has no entry for 0; add it"):
        read(boxes, {1: "horse"})


def test_names_come_before_the_detectors_own_ids():
    detections = SimpleNamespace(
        xyxy=np.array(BOXES), class_id=np.array([17, 0]), confidence=np.array([0.5, 0.25]),
        data={"class_name": np.array(["horse", "person"])},
    )  # fmt: skip
    assert read(detections)[1] == ["horse", "person"]
    results = SimpleNamespace(boxes=ULTRALYTICS, names={0: "house", 1: "horse"})
    assert read(results) == (BOXES, ["horse", "house"], [0.5, 0.25])
    assert read(results, {"horse": 2, "house": None}) == (BOXES, [2, None], [0.5, 0.25])
    results.names = ["house", "horse"]
    assert read(results) == (BOXES, ["horse", "house"], [0.5, 0.25])
    for names in ({0: "house"}, ["house"]):
        results.names = names
        with pytest.raises(
            DataError, match="class 1, which its names {0: 'house'} lack; complete the names, or give"
        ):
            read(results)
    assert read(results.boxes) == (BOXES, [1, 0], [0.5, 0.25])


def test_what_a_detector_returns_for_several_images():
    several = [{"boxes": torch.tensor(BOXES), "labels": torch.tensor([1, 0])}]
    with pytest.raises(DataError, match="entry 0 of the list has boxes of its own.* or one entry for one image"):
        read_boxes(several)
    assert read(several[0]) == (BOXES, [1, 0], [1.0, 1.0])


def test_shares_of_the_image_are_no_pixels():
    for boxes in ([[0.1, 0.2, 0.5, 0.75]], [[0, 0, 1, 1]]):
        with pytest.raises(DataError, match="no number is above 1.* multiply x by 50 and y by 40"):
            read_boxes(boxes).check_image(40, 50)
    read_boxes([[0, 0, 1, 1]]).check_image(1, 1)
    read_boxes([[0, 0, 1.5, 1]]).check_image(40, 50)
    read_boxes([]).check_image(40, 50)


def test_a_graph_and_its_json():
    graph = SceneGraph(BOXES, [1, 0], [0.5, 0.25], [[0, 1, 0]], [0.1], (40, 50), NAMES, ("on",))
    for form in (graph, graph.to_dict()):
        assert read(form) == (BOXES, ["house", "person"], [0.5, 0.25])
        read_boxes(form).check_image(40, 50)
        with pytest.raises(DataError, match="of an image of 50 x 40 pixels, but this .* upright, has 40 x 50"):
            read_boxes(form).check_image(50, 40)


@pytest.mark.parametrize("boxes", [[], (), np.zeros((0, 4)), torch.zeros(0, 4), {"boxes": []}])
def test_no_boxes(boxes):
    assert read(boxes) == ([], [], [])


@pytest.mark.parametrize(("boxes", "message"), [
    ([[1, 2, float("nan"), 4]], r"box 0 is \[1.0, 2.0, nan, 4.0\]; its numbers must be finite"),
    ([[1, 2, 3, 4], [1, 2, 3, float("inf")]], "box 1 is .* must be finite"),
    ([[-1e308, 2, 1e308, 4]], "box 0 is .*; a number beyond a million is no pixel"),
    ([{"bbox": [-1e25, -1e25, 2e25, 2e25]}], "box 0 is .*; a number beyond a million is no pixel"),
    ([[3, 2, 1, 4]], r"box 0 is \[3.0, 2.0, 1.0, 4.0\]; a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2"),
    ([[1, 4, 3, 4]], "box 0 is .* y1 < y2"),
    ([[1, 2, 3]], r"the shape is \(1, 3\); it must be \(n, 4\)"),
    ([1, 2, 3, 4], r"the shape is \(4,\)"),
    (np.zeros((1, 2, 4)), r"the shape is \(1, 2, 4\)"),
    (3, r"the shape is \(\)"),
    ([[1, 2, 3], [1, 2, 3, 4]], "are no numbers, as many in each row"),
    ([["1", "2", "3", "4"]], "are no numbers"),
    ([[True, True, False, False]], "are no numbers"),
    ("boxes", "are no numbers"),
    (None, "are no numbers"),
    ({"labels": [1]}, "the field boxes is missing; there is labels"),
    ([{"bbox": [1, 2, 3]}], r"record 0 has the bbox \[1, 2, 3\]; it must be x, y, width, height"),
    ([{"bbox": [1, 2, 3, 4]}, {"box": 1}], "record 1 has the bbox None"),
    ([{"bbox": [1, 2, 3, 4]}, [1, 2, 3, 4]], "record 1 has the bbox None"),
    ([{"bbox": [1, 2, 3, 4]}, {"bbox": [1, 2, 3, 4], "bbox_mode": 4}], 'record 1, field "bbox_mode": .* got 4'),
    ([{"bbox": [1, 2, 0, 4]}], "box 0 is .* x1 < x2"),
    ([{"bbox": "1234"}], "bbox of record 0: '1234' are no numbers"),
])  # fmt: skip
def test_wrong_boxes(boxes, message):
    with pytest.raises(DataError, match=f"^here: .*{message}"):
        read_boxes(boxes, where="here")


@pytest.mark.parametrize(("options", "message"), [
    ({"classes": ["person"]}, "there are 2 boxes but 1 classes; give one for each box"),
    ({"scores": [1, 1, 1]}, "there are 2 boxes but 3 scores"),
    ({"scores": [0.5, 1.01]}, "the score of box 1 is 1.01; it must lie in 0..1"),
    ({"scores": [-0.1, 1]}, "the score of box 0 is -0.1"),
    ({"scores": [float("nan"), 1]}, "the score of box 0 is nan"),
    ({"scores": ["a", "b"]}, "scores: .* are no numbers"),
    ({"classes": "ab"}, "classes is 'ab'; give a list with one for each box"),
    ({"classes": 3}, "classes is 3; give a list"),
    ({"classes": [0.5, 1]}, "the class of box 0 is 0.5; give a name, an id, or None"),
    ({"classes": [1, True]}, "the class of box 1 is True"),
    ({"classes": [[1], 1]}, r"the class of box 0 is \[1\]"),
])  # fmt: skip
def test_wrong_classes_and_scores(options, message):
    with pytest.raises(DataError, match=f"boxes: {message}"):
        read_boxes(BOXES, **options)


def make(boxes=BOXES, classes=(None, None)):
    return GivenBoxes(boxes, classes, np.ones(len(boxes)))


def test_classes_of_a_model():
    assert make(classes=["horse", None]).class_ids(NAMES, 3).tolist() == [2, -1]
    assert make(classes=[np.int64(1), 2.0]).class_ids(None, 3).tolist() == [1, 2]
    for label, names, message in (
        ("hose", NAMES, r"no class 'hose' \(box 0\); did you mean house or horse\? None lets"),
        ("zebra", NAMES, r"no class 'zebra' \(box 0\); it knows person, house, horse. None lets"),
        ("horse", None, "it has no names, only ids"),
        (3, NAMES, r"no class 3 \(box 0\); its ids are 0..2"),
        (-1, NAMES, "no class -1"),
    ):
        with pytest.raises(DataError, match=message):
            make(classes=[label, None]).class_ids(names, 3)


def test_boxes_may_reach_beyond_the_image_but_not_lie_outside():
    make([[-10, -4, 30, 15], [0, 0, 100, 40]]).check_image(20, 50)
    for box in ([-10, 0, 9, 10], [0, -10, 10, 9], [45, 0, 56, 10], [0, 15, 10, 26], [500, 500, 600, 600]):
        with pytest.raises(DataError, match="the centre of box 1, .*, lies outside the image of 50 x 20 pixels"):
            make([[0, 0, 10, 10], box]).check_image(20, 50)


def test_sizes_that_results_state_are_checked():
    result = SimpleNamespace(boxes=ULTRALYTICS, names={0: "person", 1: "house"}, orig_shape=(40, 50))
    bounding = tv_tensors.BoundingBoxes(torch.tensor(BOXES), format="XYXY", canvas_size=(40, 50))
    for boxes in (result, bounding, {"boxes": bounding}):
        given = read_boxes(boxes)
        given.check_image(40, 50)
        with pytest.raises(DataError, match="the boxes are of an image of 50 x 40 pixels, but this one"):
            given.check_image(80, 100)


def test_bounding_boxes_of_another_format_are_refused():
    bounding = tv_tensors.BoundingBoxes(torch.tensor([[1.0, 2, 10, 20]]), format="XYWH", canvas_size=(40, 50))
    for boxes in (bounding, {"boxes": bounding}):
        with pytest.raises(DataError, match="^boxes: are in the format XYWH; convert them to XYXY"):
            read_boxes(boxes)


@pytest.mark.parametrize("boxes", [[ULTRALYTICS], [SimpleNamespace(boxes=ULTRALYTICS, names={})], [instances()] * 2])
def test_lists_of_results_are_told_from_one_result(boxes):
    if not hasattr(boxes[0], "pred_boxes"):
        with pytest.raises(DataError, match="^boxes: is a list of 1 SimpleNamespace, one for each image; give"):
            read_boxes(boxes)
    else:
        with pytest.raises(DataError, match="^boxes: is a list of 2 Instances, one for each image; give"):
            read_boxes(boxes)


def test_objects_that_are_no_boxes():
    truth = Instances((40, 50))
    truth.gt_boxes = Boxes(torch.tensor(BOXES))

    class Classified(list):
        boxes = None

    for boxes in (
        truth,
        SimpleNamespace(boxes=None, obb=ULTRALYTICS),
        Classified([1]),
        (box for box in BOXES),
        {1.0, 2.0},
    ):
        with pytest.raises(DataError, match=f"^boxes: {type(boxes).__name__} is none of the forms of boxes; give an"):
            read_boxes(boxes)
    with pytest.raises(DataError, match="^boxes: .* are no numbers"):
        read_boxes(torch.zeros(2, 4, device="meta"))


def test_numbers_of_a_table_of_objects():
    assert read_boxes(np.array(BOXES, dtype=object)).boxes.tolist() == BOXES
    for value in (None, "3", True):
        with pytest.raises(DataError, match="are no numbers"):
            read_boxes(np.array([[1.0, 2.0, 3.0, value]], dtype=object))


def test_a_set_has_no_order():
    with pytest.raises(DataError, match="classes is {.*}; give a list with one for each box"):
        read_boxes(BOXES, {"house", "person"})


def test_a_translation_needs_classes():
    for boxes in (BOXES, {"boxes": BOXES}, SimpleNamespace(xyxy=np.array(BOXES), class_id=None)):
        with pytest.raises(DataError, match="^boxes: the mapping of classes has nothing to translate"):
            read_boxes(boxes, {0: "house"})
    assert read_boxes([], {0: "house"}).classes == []


def test_a_translation_from_json_has_texts_as_keys():
    boxes = {"boxes": BOXES, "labels": [0, 3]}
    assert read_boxes(boxes, {"0": "house", "3": None}).classes == ["house", None]
    # the number itself comes first
    assert read_boxes(boxes, {"0": "house", 0: "horse", "3": 2}).classes == ["horse", 2]


def test_numbers_that_no_float_holds():
    with pytest.raises(DataError, match="^boxes: .* are no numbers"):
        read_boxes([[1, 2, 3, 10**400]])
    assert read_boxes([BOXES[0]], [10**400]).classes == [10**400]
