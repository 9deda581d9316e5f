import json

import numpy as np
import pytest

from egtr.data.datasets import read_coco_sg, to_dataset_dicts
from egtr.structures import EGTRError
from tests.data.raw_files import write_json


def _content():
    """Two images whose annotations alternate; ids of everything have gaps and are out of order."""
    return {
        "images": [
            {"id": 30, "file_name": "a.jpg", "height": 50, "width": 100},
            {"id": "b", "file_name": "sub/b.jpg", "height": 40, "width": 40},
        ],
        "annotations": [
            {"id": 9, "image_id": 30, "category_id": 20, "bbox": [10, 10, 20, 20]},  # a's 0
            {"id": 4, "image_id": "b", "category_id": 10, "bbox": [0, 0, 5, 5.5]},  # b's 0
            {"id": 2, "image_id": 30, "category_id": 10, "bbox": [0, 0, 50, 50], "iscrowd": 1},  # a's 1, a crowd
            {"id": 7, "image_id": 30, "category_id": 10, "bbox": [90, 40, 30, 30]},  # a's 2, reaches outside
            {"id": 3, "image_id": "b", "category_id": 20, "bbox": [5, 5, 5, 5]},  # b's 1
        ],
        "categories": [{"id": 20, "name": "dog"}, {"id": 10, "name": "cat"}],
        "rel_categories": [{"id": 6, "name": "near"}, {"id": 0, "name": "on"}],
        "rel_annotations": [
            {"id": 1, "image_id": "b", "subject_id": 3, "object_id": 4, "predicate_id": 6},
            {"id": 2, "image_id": 30, "subject_id": 7, "object_id": 9, "predicate_id": 0},
            {"id": 3, "image_id": 30, "subject_id": 2, "object_id": 9, "predicate_id": 6},
        ],
    }


def _read(tmp_path, content):
    return read_coco_sg(write_json(tmp_path / "own.json", content), "images")


def test_reads_objects_and_relations(tmp_path):
    annotations = _read(tmp_path, _content())
    # By ascending id: 10 cat, 20 dog; 0 on, 6 near.
    assert annotations.thing_classes == ["cat", "dog"] and annotations.predicate_classes == ["on", "near"]
    assert annotations.category_ids == [10, 20]
    first, second = annotations.images
    assert (first.image_id, first.file_name, first.height, first.width) == (30, "a.jpg", 50, 100)
    assert first.boxes.tolist() == [[10, 10, 30, 30], [0, 0, 50, 50], [90, 40, 120, 70]]
    assert first.classes.tolist() == [1, 0, 0] and first.crowd.tolist() == [False, True, False]
    assert first.relations.tolist() == [[2, 0, 0], [1, 0, 1]]
    assert first.annotation_ids == [9, 2, 7]
    assert second.boxes.tolist() == [[0, 0, 5, 5.5], [5, 5, 10, 10]]
    assert second.relations.tolist() == [[1, 0, 1]]
    # Without the crowd, its relation goes and a's 2 becomes 1; the box that reaches outside is clipped.
    record = to_dataset_dicts(annotations)[0]
    assert record["relations"] == [[1, 0, 0]]
    assert record["annotations"][1]["bbox"] == [90, 40, 100, 50]
    assert to_dataset_dicts(annotations)[1]["file_name"] == "images/sub/b.jpg"


@pytest.mark.parametrize(
    "damage, kind, image_id, words",
    [
        (
            lambda c: c["rel_annotations"][1].update(subject_id=99),
            "missing-object",
            30,
            'image id 30, relation id 2, field "subject_id": 99 is no id in "annotations"',
        ),
        (
            lambda c: c["rel_annotations"][1].update(object_id=4),
            "missing-object",
            30,
            'relation id 2, field "object_id": 4 belongs to image id b; name an annotation of this image',
        ),
        (
            lambda c: c["rel_annotations"][1].pop("subject_id"),
            "missing-object",
            30,
            'field "subject_id": None is no id',
        ),
        (
            lambda c: c["rel_annotations"][0].update(predicate_id=1),
            "unknown-predicate",
            "b",
            'image id b, relation id 1, field "predicate_id": 1 is not in "rel_categories"',
        ),
        (lambda c: c["rel_annotations"][0].update(predicate_id=[6]), "unknown-predicate", "b", '"predicate_id": [6]'),
        (
            lambda c: c["rel_annotations"][0].pop("image_id"),
            "bad-relation",
            None,
            '"rel_annotations": field "image_id"',
        ),
        (
            lambda c: c["rel_annotations"].append(3),
            "bad-relation",
            None,
            '"image_id" is missing or not an id in 3',
        ),
        (
            lambda c: c["annotations"][4].update(id=9),
            "bad-annotation-id",
            "b",
            "image id b, annotation id 9 is there twice",
        ),
        (lambda c: c["annotations"][4].pop("id"), "bad-annotation-id", "b", "annotation 1 has no id"),
        (lambda c: c["annotations"][4].update(id=[3]), "bad-annotation-id", "b", "annotation 1 has no id"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, "3", 4]), "bad-box", 30, 'annotation id 9, field "bbox"'),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 10**400]), "bad-box", 30, "four finite numbers"),
        (lambda c: c["annotations"][0].update(bbox=None), "bad-box", 30, "got None"),
        (lambda c: c["annotations"][0].update(category_id={}), "unknown-category", 30, '"category_id": {} is not in'),
        (lambda c: c["annotations"][0].update(image_id=[30]), "bad-annotation", None, 'field "image_id"'),
        (lambda c: c["annotations"].append("x"), "bad-annotation", None, "'x'"),
        (lambda c: c["images"][1].update(width=40.5), "bad-size", "b", 'image id b, field "width"'),
        (lambda c: c["images"][1].update(height=True), "bad-size", "b", 'field "height"'),
        (lambda c: c["images"][1].pop("file_name"), "bad-file-name", "b", 'field "file_name" is missing'),
        (lambda c: c["images"][1].update(id={"b": 1}), "bad-image", None, 'entry of "images": field "id"'),
    ],
)
def test_malformed_entries_are_problems(tmp_path, damage, kind, image_id, words):
    """Named with file, image and field; the other images are read as before, and training is refused."""
    content = _content()
    damage(content)
    annotations = _read(tmp_path, content)
    problem = next(problem for problem in annotations.problems if problem.kind == kind)
    assert problem.image_id == image_id
    assert words in problem.message and problem.message.startswith(f"{tmp_path}/own.json: ")
    if image_id is not None:
        (other,) = (image for image in annotations.images if image.image_id != image_id)
        (same,) = (image for image in _read(tmp_path, _content()).images if image.image_id != image_id)
        np.testing.assert_array_equal(other.boxes, same.boxes)
        np.testing.assert_array_equal(other.relations, same.relations)
    with pytest.raises(EGTRError, match="own.json"):
        to_dataset_dicts(annotations)


def test_a_image_that_is_taken_out_leaves_its_objects_and_relations_behind(tmp_path):
    """A warning: people shorten only "images"."""
    content = _content()
    (gone,) = (entry for entry in content["images"] if entry["id"] == "b")
    content["images"].remove(gone)
    annotations = _read(tmp_path, content)
    assert [(p.kind, p.severity) for p in annotations.problems] == [("unlisted-image", "warning")] * 2
    assert "annotations of 1 images that" in annotations.problems[0].message
    assert "relations of 1 images that" in annotations.problems[1].message
    assert all("(such as id 'b') are ignored" in problem.message for problem in annotations.problems)
    (record,) = to_dataset_dicts(annotations)
    assert record["image_id"] == 30


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda c: c.pop("rel_annotations"), 'field "rel_annotations" is missing.*coco_sg.py describes the layout'),
        (lambda c: c.pop("rel_categories"), 'field "rel_categories" is missing'),
        (
            lambda c: [c.pop("rel_annotations"), c.pop("rel_categories")],
            'neither "rel_categories" nor "rel_annotations": it is plain COCO, .*MODEL.EGTR.RELATION.ENABLED False',
        ),
        (lambda c: c.update(images={}), 'field "images" is missing or not of type list'),
        (
            lambda c: c["rel_categories"].append({"id": 6, "name": "at"}),
            'two entries of "rel_categories" have the same id',
        ),
        (lambda c: c["rel_categories"].append({"id": 8}), '"rel_categories": field "name"'),
        (lambda c: c["categories"].append({"id": "1", "name": "at"}), '"categories": field "id"'),
    ],
)
def test_a_file_without_its_frame_is_refused(tmp_path, damage, words):
    content = _content()
    damage(content)
    with pytest.raises(EGTRError, match=f"own.json.*{words}"):
        _read(tmp_path, content)


def test_a_large_file_without_its_frame_is_not_printed(tmp_path):
    content = _content()
    content["images"] *= 1000
    del content["rel_annotations"]
    with pytest.raises(EGTRError) as error:
        _read(tmp_path, content)
    assert len(str(error.value).replace(str(tmp_path), "")) < 300


def test_a_file_that_is_something_else(tmp_path):
    path = tmp_path / "own.json"
    for content, words in (
        (json.dumps([1]), '"images" is missing'),
        ("[" * 10**5, "not a JSON"),
        ("", "an empty file"),
    ):
        path.write_text(content)
        with pytest.raises(EGTRError, match=f"own.json.*{words}"):
            read_coco_sg(str(path), "images")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EGTRError, match="own.json: is not a JSON file"):
        read_coco_sg(str(path), "images")
