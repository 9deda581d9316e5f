import pytest

from egtr.data.datasets import read_psg, register_psg, to_dataset_dicts
from egtr.structures import EGTRError
from tests.data.raw_files import write_json


def _image(image_id, **changes):
    return {
        "image_id": image_id,
        "file_name": f"val2017/{image_id}.jpg",
        "pan_seg_file_name": f"panoptic_val2017/{image_id}.png",
        "height": 50,
        "width": 100,
        "segments_info": [{"id": 1, "category_id": 0, "iscrowd": 1, "isthing": 1}],
        # Classes: 0 person, 1 bench, 2 sky, 3 grass. The second box lies outside.
        "annotations": [
            {"bbox": [10, 10, 30, 30], "bbox_mode": 0, "category_id": 0},
            {"bbox": [-20, 0, -10, 9], "bbox_mode": 0, "category_id": 1},
            {"bbox": [0, 40, 100, 50], "bbox_mode": 0, "category_id": 3},
        ],
        "relations": [[0, 2, 1], [0, 1, 0], [2, 0, 0]],
        **changes,
    }


def _content(*images, **changes):
    return {
        "data": list(images),
        "thing_classes": ["person", "bench"],
        "stuff_classes": ["sky", "grass"],
        "predicate_classes": ["on", "over"],
        # Texts in one copy of the file, numbers in another.
        "test_image_ids": ["2", 3],
        **changes,
    }


def _read(tmp_path, content, fragment="", **options):
    return read_psg(write_json(tmp_path / "psg.json", content) + fragment, "coco", **options)


def test_reads_objects_and_relations(tmp_path):
    annotations = _read(tmp_path, _content(_image("1")))
    assert annotations.thing_classes == ["person", "bench", "sky", "grass"]
    assert annotations.predicate_classes == ["on", "over"]
    (record,) = to_dataset_dicts(annotations)
    assert record["file_name"] == "coco/val2017/1.jpg"
    assert (record["image_id"], record["height"], record["width"]) == ("1", 50, 100)
    assert [(a["category_id"], a["bbox"]) for a in record["annotations"]] == [
        (0, [10, 10, 30, 30]),
        (3, [0, 40, 100, 50]),
    ]
    # [0, 1, 0] goes with the bench, and the grass becomes object 1.
    assert record["relations"] == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("split, expected", [("train", ["1", 4]), ("test", ["2", "3"]), (None, ["1", "2", "3", 4])])
def test_splits(tmp_path, split, expected):
    content = _content(*map(_image, ["1", "2", "3", 4]))
    assert [image.image_id for image in _read(tmp_path, content, split=split).images] == expected
    if split:
        assert [image.image_id for image in _read(tmp_path, content, f"#{split}").images] == expected


def test_ids_of_the_test_split_as_pandas_writes_them(tmp_path):
    content = _content(*map(_image, ["1", "2", "3"]), test_image_ids=[2.0, 3.0])
    assert [image.image_id for image in _read(tmp_path, content, "#test").images] == ["2", "3"]


def test_ids_of_the_test_split_that_no_image_has(tmp_path):
    content = _content(_image("1"), test_image_ids=["000000000001.jpg"])
    for split, severity in (("test", "error"), ("train", "warning")):
        (problem,) = _read(tmp_path, content, split=split).problems
        assert (problem.kind, problem.severity) == ("unlisted-image", severity)
        assert "no image has one of its 1 ids, such as '000000000001.jpg'" in problem.message
    assert _read(tmp_path, content).problems == []


@pytest.mark.parametrize("split", ["val", "tset"])
def test_no_such_split(tmp_path, split):
    with pytest.raises(EGTRError, match=f"psg.json: there is no split '{split}'; take one of train, test"):
        _read(tmp_path, _content(), f"#{split}")
    with pytest.raises(EGTRError, match=f"there is no split '{split}'"):
        register_psg("never_registered", "psg.json", "coco", split=split)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"height": None}, 'field "height" is missing or no size: None'),
        ({"file_name": 3}, 'field "file_name" is missing or no name: 3'),
        ({"annotations": {}}, 'field "annotations": expected a list of'),
        ({"annotations": [3]}, 'field "annotations"'),
        ({"annotations": [{"category_id": 0}]}, 'annotation 0, field "bbox": expected four finite numbers'),
        (
            {"annotations": [{"bbox": [0, 0, 9, 9]}]},
            'annotation 0, field "category_id": expected the number of a class',
        ),
        (
            {"annotations": [{"bbox": [0, 0, 9, 9], "category_id": 4}], "relations": []},
            "annotation 0: there is no class 4; classes are numbered 0..3",
        ),
        ({"relations": [[0, 3, 0]]}, "relation 0 = [0, 3, 0]: object 3 is not among the image's 3 annotations"),
        ({"relations": [[0, 2, 2]]}, "relation 0 = [0, 2, 2]: predicates are numbered 0..1"),
        ({"relations": [[0, 2, 1.5]]}, 'field "relations": expected a list of [subject, object, predicate]'),
        ({"relations": None}, 'field "relations"'),
    ],
)
def test_malformed_entries(tmp_path, changes, words):
    annotations = _read(tmp_path, _content(_image("1"), _image("5", **changes)))
    with pytest.raises(EGTRError) as error:
        to_dataset_dicts(annotations)
    assert f"{tmp_path}/psg.json: image id 5, " in str(error.value) and words in str(error.value)
    # A check sees the image all the same, and the sound one untouched.
    assert [annotations.is_sound(image) for image in annotations.images][0]
    assert len(annotations.images) == 2


def test_an_entry_that_names_no_image(tmp_path):
    annotations = _read(tmp_path, _content(_image(None), _image("1"), test_image_ids=[]), split="train")
    assert [problem.kind for problem in annotations.problems] == ["bad-image"]
    assert 'psg.json: entry 0 of "data": field "image_id"' in annotations.problems[0].message
    assert [image.image_id for image in annotations.images] == ["1"]


@pytest.mark.parametrize("field", ["data", "thing_classes", "stuff_classes", "predicate_classes", "test_image_ids"])
def test_a_file_without_its_frame_is_refused(tmp_path, field):
    content = _content()
    del content[field]
    with pytest.raises(EGTRError, match=rf'psg\.json: field "{field}" is missing.*psg\.py describes the layout'):
        _read(tmp_path, content)
