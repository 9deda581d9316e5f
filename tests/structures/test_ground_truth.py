import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.structures import DataError, GroundTruth
from egtr.structures.ground_truth import XYWH_ABS, XYXY_ABS


def test_box_modes_are_those_of_detectron2():
    from detectron2.structures import BoxMode

    assert (XYXY_ABS, XYWH_ABS) == (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def test_empty_lists_mean_none():
    truth = GroundTruth([], [], [])
    assert truth.boxes.shape == (0, 4) and truth.classes.shape == (0,) and truth.triplets.shape == (0, 3)
    assert truth.boxes.dtype == np.float32 and truth.classes.dtype == truth.triplets.dtype == np.int64


def test_from_dict_reads_both_box_modes():
    record = {
        "image_id": 3,
        "annotations": [
            {"bbox": [1, 2, 5, 9], "bbox_mode": XYXY_ABS, "category_id": 4},
            {"bbox": [1, 2, 4, 7], "bbox_mode": XYWH_ABS, "category_id": 0},
        ],
        "relations": [[0, 1, 2]],
    }
    truth = GroundTruth.from_dict(record)
    assert truth.boxes.tolist() == [[1, 2, 5, 9], [1, 2, 5, 9]]
    assert truth.classes.tolist() == [4, 0] and truth.triplets.tolist() == [[0, 1, 2]] and truth.image_id == 3
    assert GroundTruth.from_dict({"image_id": 3, "annotations": []}).triplets.shape == (0, 3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
def test_leaving_out_crowds_keeps_every_other_relation(crowd, data):
    index = st.integers(0, len(crowd) - 1)
    relations = data.draw(st.lists(st.tuples(index, index, st.integers(0, 2)), max_size=6))
    # The box of annotation i starts at x = i, which tells it apart afterwards.
    annotations = [
        {"bbox": [i, 0, i + 1, 1], "bbox_mode": XYXY_ABS, "category_id": 0, "iscrowd": int(c)}
        for i, c in enumerate(crowd)
    ]
    truth = GroundTruth.from_dict({"image_id": 0, "annotations": annotations, "relations": relations})
    starts = truth.boxes[:, 0].astype(int)
    assert starts.tolist() == [i for i, c in enumerate(crowd) if not c]
    assert truth.crowd_boxes[:, 0].tolist() == [i for i, c in enumerate(crowd) if c]
    assert len(truth.crowd_classes) == sum(crowd)
    joined = [(starts[s], starts[o], p) for s, o, p in truth.triplets]
    assert joined == [r for r in relations if not crowd[r[0]] and not crowd[r[1]]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (([[0, 0, 1]], [0], []), r"image 'a.png': boxes has shape \(1, 3\), expected \(1, 4\)"),
        (([[0, 0, 1, 1]], [0, 1], []), r"image 'a.png': classes has shape \(2,\), expected \(1,\)"),
        (([[0, 0, 1, 1]], [0], [[0, 0]]), r"image 'a.png': triplets has shape \(1, 2\)"),
        (([[0, 0, float("nan"), 1]], [0], []), r"image 'a.png': boxes holds \[0.0, 0.0, nan, 1.0\] for object 0; "),
        (([[0, 0, 1, 1], [9, 9, 4, 4]], [0, 0], []), "image 'a.png': boxes holds .* for object 1; a box is x1, y1"),
        (([[0, 0, 1, 1]], [-1], []), "image 'a.png': classes holds a negative number"),
        (([[0, 0, 1, 1]], [0], [[0, 0, -1]]), "image 'a.png': triplets holds a negative number"),
        (([[0, 0, 1, 1]], [0], [[0, 1, 0]]), "image 'a.png': triplets names object 1, but there are only 1"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(DataError, match=message):
        GroundTruth(*fields, image_id="a.png")


def test_bad_dicts_are_named():
    box = {"bbox": [0, 0, 1, 1], "bbox_mode": XYXY_ABS, "category_id": 0}
    with pytest.raises(DataError, match="image 5: field annotations is missing"):
        GroundTruth.from_dict({"image_id": 5})
    for subject in (1, -1):
        relations = [[subject, 0, 0]]
        with pytest.raises(DataError, match=rf"image 5: field relations names object {subject}, .* 1 annotations"):
            GroundTruth.from_dict({"image_id": 5, "annotations": [box], "relations": relations})
    with pytest.raises(DataError, match="image 5: bbox_mode is 4"):
        GroundTruth.from_dict({"image_id": 5, "annotations": [{**box, "bbox_mode": 4}]})
