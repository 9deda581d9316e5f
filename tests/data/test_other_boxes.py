"""Boxes as other programs write them: turned, in corners, as fractions or percentages of the image."""

import numpy as np
import pytest

from egtr.data.datasets import read_coco_sg, read_psg
from tests.data.raw_files import write_json
from tests.data.two_tables import BOXES, coco_sg, psg, report


@pytest.fixture
def read(tmp_path):
    def read(content):
        return read_coco_sg(write_json(tmp_path / "own.json", content), str(tmp_path))

    return read


@pytest.mark.parametrize(
    ("degrees", "box"),
    [
        # 120 x 20 about (160, 100): a quarter turn swaps the sides, a half turn changes nothing.
        (90.0, [150, 40, 170, 160]),
        (-90, [150, 40, 170, 160]),
        ("270", [150, 40, 170, 160]),
        (180, [100, 90, 220, 110]),
        (0, [100, 90, 220, 110]),
        # Turned by 45 degrees, width and height are (120 + 20) / sqrt 2.
        (45, [160 - 49.4975, 100 - 49.4975, 160 + 49.4975, 100 + 49.4975]),
    ],
)
def test_cvat_turns_boxes(read, degrees, box):
    content = coco_sg()
    content["annotations"][1].update(bbox=[100, 90, 120, 20], attributes={"occluded": False, "rotation": degrees})
    annotations = read(content)
    np.testing.assert_allclose(annotations.images[0].boxes[1], box, atol=1e-3)
    turned = degrees not in (0, 180)
    assert [problem.kind for problem in annotations.problems] == ["turned-box"] * turned


@pytest.mark.parametrize("fields", [
    {"rotation": 90},
    {"attributes": {"Rotation": "90"}},
    {"attributes": [{"name": "occluded", "value": False}, {"name": "rotation", "value": 90.0}]},
    {"attributes": {"rotation": 90}, "rotation": 45},
    {"attributes": [{"name": ["of"], "value": 1}, "red"], "rotation": 90},
])  # fmt: skip
def test_where_a_rotation_stands(read, fields):
    content = coco_sg()
    content["annotations"][1] |= {"bbox": [100, 90, 120, 20], **fields}
    annotations = read(content)
    assert annotations.images[0].boxes[1].tolist() == [150, 40, 170, 160]
    assert [problem.kind for problem in annotations.problems] == ["turned-box"]


def test_an_angle_that_is_not_read_is_said(read):
    content = coco_sg()
    content["annotations"][1]["angle"] = 1.57
    content["annotations"][2]["angle"] = 0
    _, _, kinds = report(read(content))
    assert list(kinds) == [("warning", "unread-angle")]
    assert '1 annotations have an "angle"' in kinds["warning", "unread-angle"]


@pytest.mark.parametrize("degrees", ["left", float("inf"), [90]])
@pytest.mark.parametrize("place", ["attributes", None])
def test_what_is_no_angle(read, degrees, place):
    content = coco_sg()
    content["annotations"][1] |= {place: {"rotation": degrees}} if place else {"rotation": degrees}
    assert [(problem.kind, problem.severity) for problem in read(content).problems] == [("bad-rotation", "error")]


def test_box_modes_of_coco(read):
    """Records that Detectron2 wrote: 0 is x1 y1 x2 y2, as the other boxes are x, y, width, height."""
    content = coco_sg()
    content["annotations"][0] |= {"bbox": [10, 20, 60, 120], "bbox_mode": 0}
    content["annotations"][1] |= {"bbox_mode": 1}
    annotations = read(content)
    assert annotations.problems == []
    assert annotations.images[0].boxes[:2].tolist() == [[10, 20, 60, 120], [100, 50, 220, 200]]
    content["annotations"][2]["bbox_mode"] = 4
    assert [(problem.kind, problem.severity) for problem in read(content).problems] == [("bad-box-mode", "error")]


@pytest.mark.parametrize(
    ("mode", "boxes"),
    [
        (1, BOXES[:2]),
        (0, [[10, 20, 60, 120], [100, 50, 220, 200]]),
        (None, [[10, 20, 60, 120], [100, 50, 220, 200]]),
    ],
)
def test_box_modes_of_psg(tmp_path, mode, boxes):
    annotations = read_psg(write_json(tmp_path / "psg.json", psg(mode, boxes)), "")
    assert annotations.problems == []
    assert annotations.images[0].boxes.tolist() == [[10, 20, 60, 120], [100, 50, 220, 200]]


@pytest.mark.parametrize("mode", [2, 3, 4, "1", [1]])
def test_other_box_modes_of_psg(tmp_path, mode):
    annotations = read_psg(write_json(tmp_path / "psg.json", psg(mode, BOXES[:2])), "")
    assert [problem.kind for problem in annotations.problems] == ["bad-box-mode"] * 2
    assert 'annotation 0, field "bbox_mode": expected 0' in annotations.problems[0].message


def test_boxes_between_0_and_1(read):
    content = coco_sg()
    for annotation in content["annotations"][:3]:
        annotation["bbox"] = [v / s for v, s in zip(annotation["bbox"], (320, 240, 320, 240), strict=True)]
    _, _, kinds = report(read(content))
    assert list(kinds) == [("warning", "normalised-boxes")]
    assert "all boxes of 1 of 2 images" in kinds["warning", "normalised-boxes"]


def test_boxes_between_0_and_1_that_end_a_little_outside(read):
    content = coco_sg()
    for annotation in content["annotations"]:
        annotation["bbox"] = [-0.001, 0.5, 0.8, 0.51]
    assert ("warning", "normalised-boxes") in report(read(content))[2]


def test_boxes_in_percent(read):
    content = coco_sg()
    for annotation in content["annotations"]:
        annotation["bbox"] = [100 * v / s for v, s in zip(annotation["bbox"], (320, 240, 320, 240), strict=True)]
    _, _, kinds = report(read(content))
    assert list(kinds) == [("warning", "percent-boxes")]
    assert "all boxes of 2 images of more than 200 x 200 pixels end before 100" in kinds["warning", "percent-boxes"]
    # One box beyond 100, and they are pixels; so they are if none comes near 100, or the images are small.
    content["annotations"][0]["bbox"] = [10, 20, 110, 80]
    assert not report(read(content))[2]
    for annotation in content["annotations"]:
        annotation["bbox"] = [10, 20, 40, 30]
    assert not report(read(content))[2]
