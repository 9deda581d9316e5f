import json

import pytest

from egtr.data.datasets import read_open_images, to_dataset_dicts
from egtr.structures import ConfigurationError, EGTRError
from tests.data.raw_files import write_json

CATEGORIES = {"obj": ["Man", "Guitar", "Table"], "rel": ["holds", "at"]}


def _content():
    return [
        {
            "img_fn": "000a1249af2bc5f0",
            "img_size": [100, 50],
            "bbox": [[10, 10, 30, 30], [5, 5, 5, 40], [90, 40, 120, 70]],
            "det_labels": [0, 2, 1],
            "rel": [[0, 2, 0], [0, 1, 1], [0, 2, 1], [0, 2, 0]],
        },
        {"img_fn": "b.PNG", "img_size": [40, 60], "bbox": [], "det_labels": [], "rel": []},
    ]


def _read(tmp_path, content, categories=CATEGORIES):
    write_json(tmp_path / "annotations/categories_dict.json", categories)
    return read_open_images(write_json(tmp_path / "annotations/vrd-val-anno.json", content), "images")


def test_reads_objects_and_relations(tmp_path):
    annotations = _read(tmp_path, _content())
    assert annotations.thing_classes == CATEGORIES["obj"] and annotations.predicate_classes == CATEGORIES["rel"]
    first, second = to_dataset_dicts(annotations)
    # img_size is width, height.
    assert (first["image_id"], first["height"], first["width"]) == ("000a1249af2bc5f0", 50, 100)
    assert first["file_name"] == "images/000a1249af2bc5f0.jpg" and second["file_name"] == "images/b.PNG"
    assert [(a["category_id"], a["bbox"]) for a in first["annotations"]] == [
        (0, [10, 10, 30, 30]),
        (1, [90, 40, 100, 50]),
    ]
    # Object 1 has no width: it and [0, 1, 1] go, object 2 becomes 1. Repeated triplets are the mapper's business.
    assert first["relations"] == [[0, 1, 0], [0, 1, 1], [0, 1, 0]]
    assert second["annotations"] == [] and second["relations"] == []


def test_reading_as_the_released_code_does(tmp_path):
    content = _content()
    # 201 boxes are too many, 200 are not.
    for name, number in (("many", 201), ("enough", 200)):
        labels, boxes = [0] * number, [[0, 0, 5, 5]] * number
        content.append(
            {"img_fn": name, "img_size": [40, 60], "bbox": boxes, "det_labels": labels, "rel": [[0, 1, 1]]}
        )
    _read(tmp_path, content)
    path = str(tmp_path / "annotations/vrd-val-anno.json")
    plain, boxes, training = (read_open_images(path, "", as_released=way) for way in (None, "boxes", "training"))
    assert plain.images[0].boxes.tolist() == [[10, 10, 30, 30], [5, 5, 5, 40], [90, 40, 120, 70]]
    for annotations in (boxes, training):
        assert annotations.images[0].boxes.tolist() == [[10, 10, 31, 31], [5, 5, 6, 41], [90, 40, 121, 71]]
    for annotations in (plain, boxes):
        assert [image.image_id for image in annotations.images][2:] == ["many", "enough"]
        assert annotations.images[0].relations.tolist() == [[0, 2, 0], [0, 1, 1], [0, 2, 1], [0, 2, 0]]
        assert annotations.problems == []
    assert [image.image_id for image in training.images][2:] == ["enough"]
    assert training.images[0].relations.tolist() == [[0, 2, 0], [0, 1, 1], [0, 2, 1]]
    (problem,) = training.problems
    assert (problem.kind, problem.severity) == ("as-released", "warning")
    assert "1 images of more than 200 boxes and 1 repeated triplets are left out" in problem.message
    # The box without width has one pixel now, and its relation stays; the mapper draws one predicate of a pair.
    record = to_dataset_dicts(training)[0]
    assert record["annotations"][1]["bbox"] == [5, 5, 6, 41] and record["relations"] == [
        [0, 2, 0],
        [0, 1, 1],
        [0, 2, 1],
    ]


def test_no_such_reading(tmp_path):
    with pytest.raises(ConfigurationError, match='as_released is True; take "boxes", "training" or None'):
        read_open_images("any.json", "", as_released=True)


def test_categories_from_another_place(tmp_path):
    _read(tmp_path, _content())
    moved = (tmp_path / "annotations/categories_dict.json").rename(tmp_path / "names.json")
    path = str(tmp_path / "annotations/vrd-val-anno.json")
    with pytest.raises(EGTRError, match=r"categories_dict\.json: cannot be read"):
        read_open_images(path, "images")
    assert len(read_open_images(path, "images", categories_file=str(moved)).thing_classes) == 3


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda r: r.update(img_size=[100]), 'field "img_size": expected [width, height] in pixels, got [100]'),
        (lambda r: r.update(img_size=[100, 0]), 'field "img_size"'),
        (lambda r: r["bbox"].pop(), 'fields "bbox" and "det_labels" hold 2 boxes and 3 labels'),
        (lambda r: r.pop("det_labels"), "hold 3 boxes and no labels"),
        (lambda r: r["bbox"].__setitem__(1, [1, 2, 3]), 'annotation 1, field "bbox": expected four finite numbers'),
        (lambda r: r["det_labels"].__setitem__(2, "Man"), 'annotation 2, field "det_labels": expected the number'),
        (lambda r: r["det_labels"].__setitem__(2, 3), "annotation 2: there is no class 3; classes are numbered 0..2"),
        (lambda r: r["rel"].append([0, 3, 0]), "relation 4 = [0, 3, 0]: object 3 is not among the image's 3"),
        (lambda r: r["rel"].append([0, 2, 2]), "relation 4 = [0, 2, 2]: predicates are numbered 0..1"),
        (lambda r: r["rel"].append([0, 2, -1]), "relation 4 = [0, 2, -1]"),
        (lambda r: r["rel"].append([0, 2]), 'field "rel": expected a list of [subject, object, predicate]'),
        (lambda r: r.pop("rel"), 'field "rel"'),
        (lambda r: r.update(rel=5), 'field "rel": expected a list of [subject, object, predicate]'),
    ],
)
def test_malformed_entries(tmp_path, damage, words):
    content = _content()
    damage(content[0])
    annotations = _read(tmp_path, content)
    with pytest.raises(EGTRError) as error:
        to_dataset_dicts(annotations)
    assert f"{tmp_path}/annotations/vrd-val-anno.json: image id 000a1249af2bc5f0, " in str(error.value)
    assert words in str(error.value)
    assert len(annotations.images) == 2


def test_an_entry_that_names_no_image(tmp_path):
    annotations = _read(tmp_path, [*_content(), {"img_fn": 5}, "x"])
    assert [p.kind for p in annotations.problems] == ["bad-image", "bad-image"]
    assert 'vrd-val-anno.json: entry 2: field "img_fn"' in annotations.problems[0].message
    assert len(annotations.images) == 2


@pytest.mark.parametrize(
    "content, categories, words",
    [
        ({}, CATEGORIES, r"vrd-val-anno\.json: expected a list of images, got \{\}"),
        ([], {"obj": ["Man"]}, r'categories_dict\.json: field "rel" is missing'),
        ([], {"obj": [1], "rel": []}, r'categories_dict\.json: field "obj" must be a list of names'),
        ([], [], r'categories_dict\.json: field "obj" is missing'),
    ],
)
def test_a_file_without_its_frame_is_refused(tmp_path, content, categories, words):
    with pytest.raises(EGTRError, match=words):
        _read(tmp_path, json.loads(json.dumps(content)), categories)
