"""Boxes of many images: each image gets its own, or an error."""

import json
from pathlib import Path

import numpy as np
import pytest

from egtr.data.boxes_of_images import BoxesOfImages, read_boxes_file, read_boxes_of_images
from egtr.structures import DataError, SceneGraph

A, B = [[1.0, 2, 11, 22]], [[5.0, 5, 30, 20]]
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}]
RESULTS = [
    {"image_id": 12, "bbox": [1, 2, 10, 20], "category_id": 9, "score": 0.5},
    {"image_id": 7, "bbox": [5, 5, 25, 15], "category_id": 3, "score": 0.25},
    {"image_id": 12, "bbox": [0, 0, 4, 4], "category_id": 3, "score": 0.75},
]
COCO = {
    "images": [
        {"id": 12, "file_name": "a.jpg", "height": 40, "width": 50},
        {"id": 7, "file_name": "sub/b.jpg"},
        {"id": 8, "file_name": "c.jpg"},
    ],
    "annotations": RESULTS,
    "categories": CATEGORIES,
}


def boxes_of(found, *args):
    return found.find(*args).boxes.tolist()


def test_file_names():
    found = read_boxes_of_images({"a.jpg": A, "x/b.jpg": B, "/far/b.jpg": A})
    assert boxes_of(found, "photos/a.jpg") == A
    assert boxes_of(found, "photos/x/b.jpg") == B
    assert boxes_of(found, "/far/b.jpg") == A
    # the same image again
    assert boxes_of(found, "photos/a.jpg") == A
    for name in ("photos/b.jpg", "photos/aa.jpg", "a.png", "photos/a.jpg/c.jpg"):
        with pytest.raises(DataError, match=f"^boxes: has no boxes of {name}; there are boxes of 'a.jpg', "):
            found.find(name)
    with pytest.raises(DataError, match="an image without a file name cannot be looked up"):
        found.find(None)


def test_the_longest_name_decides(tmp_path):
    found = read_boxes_of_images({"b.jpg": A, tmp_path / "x/b.jpg": B})
    assert boxes_of(found, str(tmp_path / "x/b.jpg")) == B
    assert boxes_of(found, str(tmp_path / "y/b.jpg")) == A


def test_one_name_for_two_images():
    found = read_boxes_of_images({"b.jpg": A})
    found.find("x/b.jpg")
    with pytest.raises(DataError, match="'b.jpg' stands for both x/b.jpg and y/b.jpg; name each image by more"):
        found.find("y/b.jpg")
    found = read_boxes_of_images({"clip.mp4": A})
    found.find("clip.mp4", 0)
    with pytest.raises(DataError, match="for both frame 0 of clip.mp4 and frame 1 of clip.mp4; save the frames as"):
        found.find("clip.mp4", 1)


def test_boxes_of_one_image():
    found = read_boxes_of_images(A, ["cat"], [0.5])
    assert found.is_for_one_image and boxes_of(found, None) == A
    with pytest.raises(DataError, match="are the boxes of one image, but there is a second one, b.jpg"):
        found.find("b.jpg")


def test_classes_and_scores_by_file_name():
    found = read_boxes_of_images(
        {"a.jpg": A, "b.jpg": B}, {"a.jpg": ["cat"], "b.jpg": [None]}, {"a.jpg": [0.5], "b.jpg": [1]}
    )
    assert found.find("a.jpg").classes == ["cat"] and found.find("a.jpg").scores.tolist() == [0.5]
    for classes in (["cat"], {"a.jpg": ["cat"]}):
        with pytest.raises(DataError, match="classes must be a mapping with the same keys as the boxes; it lacks"):
            read_boxes_of_images({"a.jpg": A, "b.jpg": B}, classes)
    with pytest.raises(DataError, match="^boxes of b.jpg: the shape is"):
        read_boxes_of_images({"a.jpg": A, "b.jpg": [1]})
    with pytest.raises(DataError, match="the key 1.5 is neither a file name nor an image id"):
        read_boxes_of_images({1.5: A})


def test_results_by_image_id():
    found = read_boxes_of_images(RESULTS)
    given = found.find("val/000000000012.jpg")
    assert given.boxes.tolist() == [[1, 2, 11, 22], [0, 0, 4, 4]]
    assert given.classes == [9, 3] and given.scores.tolist() == [0.5, 0.75]
    assert boxes_of(found, "7.png") == [[5, 5, 30, 20]]
    # an image without results is missing
    with pytest.raises(DataError, match="has no boxes of 8.png; there are boxes of 12, 7"):
        found.find("8.png")
    translated = read_boxes_of_images(RESULTS, {9: "dog", 3: None})
    assert translated.find("12.jpg").classes == ["dog", None]
    named = read_boxes_of_images([{**RESULTS[0], "image_id": "street"}])
    assert len(named.find("street.jpg").boxes) == 1
    with pytest.raises(DataError, match='record 1 has no "image_id"'):
        read_boxes_of_images([RESULTS[0], {"bbox": [1, 2, 3, 4]}])
    with pytest.raises(DataError, match="^boxes of image id 7: the score of box 0 is 2.0"):
        read_boxes_of_images([{**RESULTS[1], "score": 2}])


def test_one_image_id_for_one_image_of_any_name():
    found = read_boxes_of_images(RESULTS[1:2]).for_one_image()
    assert boxes_of(found, "street.jpg") == [[5, 5, 30, 20]]
    # A file name is a name.
    with pytest.raises(DataError, match="no boxes of street.jpg"):
        read_boxes_of_images({"a.jpg": A}).for_one_image().find("street.jpg")
    with pytest.raises(DataError, match="no boxes of street.jpg"):
        read_boxes_of_images(RESULTS).for_one_image().find("street.jpg")


@pytest.mark.parametrize("flag", [1, True, "1", "true"])
def test_crowds_are_no_objects(flag):
    crowd = {"image_id": 8, "bbox": [0, 0, 9, 9], "category_id": 3, "iscrowd": flag}
    assert read_boxes_of_images({**COCO, "annotations": [*RESULTS, crowd]}).find("a.jpg").classes == ["dog", "cat"]
    with pytest.raises(DataError, match='field "iscrowd": expected 0 or 1'):
        read_boxes_of_images({**COCO, "annotations": [{**crowd, "iscrowd": "maybe"}]})


def test_modes_and_rotations_of_annotations(caplog):
    """Corners as Detectron2 writes them, and 20 x 4 about (15, 12), turned by 90 degrees: 4 x 20."""
    corners = {"image_id": 12, "bbox": [1, 2, 9, 8], "bbox_mode": 0, "category_id": 3}
    turned = {"image_id": 12, "bbox": [5, 10, 20, 4], "attributes": {"rotation": 90}, "category_id": 3}
    found = read_boxes_of_images({**COCO, "annotations": [corners, turned]})
    assert boxes_of(found, "a.jpg") == [[1, 2, 9, 8], [13, 2, 17, 22]]
    assert '1 boxes are turned ("rotation")' in caplog.text
    with pytest.raises(DataError, match='field "bbox_mode": expected 0'):
        read_boxes_of_images({**COCO, "annotations": [{**corners, "bbox_mode": 4}]})


def test_annotations_name_images_and_classes():
    crowd = {"image_id": 8, "bbox": [0, 0, 9, 9], "category_id": 3, "iscrowd": 1}
    found = read_boxes_of_images({**COCO, "annotations": [*RESULTS, crowd]})
    given = found.find("val/a.jpg")
    assert given.classes == ["dog", "cat"] and given.scores.tolist() == [0.5, 0.75] and given.image_size == (40, 50)
    assert found.find("val/sub/b.jpg").classes == ["cat"]
    # listed, without boxes: not missing
    assert len(found.find("c.jpg").boxes) == 0
    with pytest.raises(DataError, match="no boxes of d.jpg"):
        found.find("d.jpg")
    renamed = read_boxes_of_images(COCO, {"dog": "wolf", "cat": None})
    assert renamed.find("a.jpg").classes == ["wolf", None]


@pytest.mark.parametrize(("change", "message"), [
    ({"categories": None}, 'field "categories" is missing or no list'),
    ({"images": [{"id": 12}]}, 'entry 0 of "images" lacks "id" or "file_name"'),
    ({"images": [*COCO["images"], {"id": 7, "file_name": "d.jpg"}]}, 'two entries of "images" have the id 7'),
    ({"images": [*COCO["images"], {"id": 6, "file_name": "a.jpg"}]}, "two entries .* the \"file_name\" 'a.jpg'"),
    ({"images": [*COCO["images"], {"id": 6, "file_name": "./a.jpg"}]}, r"'a.jpg' and '\./a.jpg' are the same file"),
    ({"annotations": [{**RESULTS[0], "image_id": 99}]}, 'entry 0 of "annotations" has an "image_id" that "images"'),
    ({"annotations": [{**RESULTS[0], "category_id": 99}]}, 'the "category_id" 99, which is not in "categories"'),
    ({"annotations": [{**RESULTS[0], "bbox": [1, 2, -3, 4]}]}, "of a.jpg: box 0 is"),
    ({"annotations": [5]}, 'entry 0 of "annotations" has an "image_id"'),
])  # fmt: skip
def test_wrong_annotations(change, message):
    with pytest.raises(DataError, match=message):
        read_boxes_of_images({**COCO, **change})


def graph(file_name):
    return SceneGraph(A, [1], [0.5], [], [], (40, 50), ("cat", "dog"), ("on",), file_name=file_name).to_dict()


def test_graphs(tmp_path):
    found = read_boxes_of_images([graph("photos/a.jpg"), graph("b.jpg")])
    assert found.find("photos/a.jpg").classes == ["dog"] and boxes_of(found, "x/b.jpg") == A
    # one graph belongs to whatever the one image is
    assert read_boxes_of_images(graph(None)).is_for_one_image
    assert read_boxes_of_images([graph("a.jpg")]).is_for_one_image
    for second in ("a.jpg", None):
        with pytest.raises(DataError, match="graph 1 has no file name of its own"):
            read_boxes_of_images([graph("a.jpg"), graph(second)])


def test_files(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    annotations = write("annotations.json", COCO)
    results = write("results.json", RESULTS)
    assert read_boxes_file(annotations).find("a.jpg").classes == ["dog", "cat"]
    assert read_boxes_file(results).find("12.jpg").classes == [9, 3]
    assert read_boxes_file(results, annotations).find("a.jpg").classes == ["dog", "cat"]
    assert read_boxes_of_images(tmp_path / "results.json", {9: "dog", 3: "cat"}).find("7.jpg").classes == ["cat"]
    assert read_boxes_file(write("graph.json", graph("a.jpg"))).is_for_one_image
    with pytest.raises(DataError, match="empty.json: has no boxes of a.jpg; there are boxes of no image"):
        read_boxes_file(write("empty.json", [])).find("a.jpg")
    for name, content, message in (
        ("words.json", "hello", "is not a JSON file"),
        ("number.json", 3, "holds neither COCO annotations"),
        ("rows.json", A, "holds neither COCO annotations"),
        ("object.json", {"a": 1}, "holds neither COCO annotations"),
        ("bad.json", [{**RESULTS[0], "bbox": [1]}], r"record 0 has the bbox \[1\]"),
        ("graph2.json", {**graph("a.jpg"), "version": 2}, "version 2 is not 1"),
    ):
        with pytest.raises(ValueError, match=f"{name}.*{message}|{message}"):
            read_boxes_file(write(name, content))
    with pytest.raises(DataError, match="no list of COCO results"):
        read_boxes_file(annotations, annotations)
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes_file(str(tmp_path / "none.json"))


def test_boxes_that_were_read_already_are_taken_as_they_are():
    found = BoxesOfImages({})
    assert read_boxes_of_images(found) is found


@pytest.mark.parametrize("name", ["a.txt", "A.CSV"])
def test_text_files_are_sent_to_the_page_that_reads_them(tmp_path, name):
    (tmp_path / name).write_text("0 0.5 0.5 0.25 0.25\n")
    with pytest.raises(DataError, match=rf"{name}: boxes are read from JSON, not from text; docs/given_boxes\.md"):
        read_boxes_file(str(tmp_path / name))


def test_keys_of_other_types():
    a, b = Path("a.jpg"), np.int64(12)
    found = read_boxes_of_images({a: A, b: B}, {"a.jpg": ["cat"], 12: ["dog"]}, {a: [0.5], b: [0.25]})
    assert boxes_of(found, "photos/a.jpg") == A and boxes_of(found, "photos/000012.jpg") == B
    assert found.find("photos/a.jpg").classes == ["cat"] and found.find("photos/000012.jpg").scores.tolist() == [0.25]
    for key in (1.5, True, None):
        with pytest.raises(DataError, match=f"^boxes: the key {key} is neither a file name nor an image id"):
            read_boxes_of_images({key: A})


def test_names_of_other_systems():
    found = read_boxes_of_images({"sub\\a.jpg": A, "caf\u00e9.jpg": B})
    assert boxes_of(found, "photos/sub/a.jpg") == A and boxes_of(found, "photos/cafe\u0301.jpg") == B
    with pytest.raises(DataError, match="has no boxes of photos/a.jpg"):
        found.find("photos/a.jpg")


@pytest.mark.parametrize("second", [Path("x/a.jpg"), "./x/a.jpg", "x\\a.jpg", "y/../x/a.jpg"])
def test_a_file_name_in_two_ways_is_an_error(second):
    with pytest.raises(DataError, match="^boxes: 'x/a.jpg' (is there twice|and .* are the same file)"):
        read_boxes_of_images({"x/a.jpg": A, second: B})


@pytest.mark.parametrize("boxes", [
    RESULTS, COCO, [graph("a.jpg"), graph("b.jpg")], BoxesOfImages({}), "file",
])  # fmt: skip
@pytest.mark.parametrize("values", [{"classes": ["cat"]}, {"scores": [0.5]}])
def test_lists_of_one_image_are_not_for_many(tmp_path, boxes, values):
    # Scores were ignored, and each image got the same classes.
    if boxes == "file":
        boxes = tmp_path / "results.json"
        boxes.write_text(json.dumps(RESULTS))
    (name,) = values
    with pytest.raises(DataError, match=f": {name} has one value for each box of one image, but"):
        read_boxes_of_images(boxes, **values)


def test_lists_are_for_records_of_one_image():
    one = {**COCO, "images": COCO["images"][1:2], "annotations": RESULTS[1:2]}
    for boxes, name in ((RESULTS[1:2], "7.jpg"), (one, "sub/b.jpg"), ([graph("a.jpg")], "a.jpg")):
        given = read_boxes_of_images(boxes, ["dog"], [0.125]).find(name)
        assert given.classes == ["dog"] and given.scores.tolist() == [0.125]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_graphs_line_by_line(tmp_path, encoding):
    path = tmp_path / "graphs.jsonl"
    lines = [json.dumps(graph("a.jpg")), json.dumps(graph("b.jpg"), ensure_ascii=False), ""]
    path.write_text("\n".join(lines), encoding=encoding)
    found = read_boxes_file(str(path))
    assert boxes_of(found, "x/a.jpg") == A and boxes_of(found, "x/b.jpg") == A
    path.write_text(lines[0], encoding=encoding)
    assert read_boxes_of_images(path).is_for_one_image
    path.write_text(f"{lines[0]}\n{lines[1][:-9]}", encoding=encoding)
    with pytest.raises(DataError, match=r"graphs\.jsonl: line 2 is no JSON \(Expecting"):
        read_boxes_file(str(path))
    path.write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="is not JSON in UTF-8 or UTF-16"):
        read_boxes_file(str(path))
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes_file(str(path))
