"""Label Studio's export: every entry below is written as Label Studio writes it."""

import json
import math

import cv2
import numpy as np
import pytest

from egtr.data.datasets.annotations import ERROR, WARNING
from egtr.data.datasets.label_studio import read_label_studio
from egtr.structures import EGTRError

# Images of 200 x 100 pixels: one percent is 2 pixels across and 1 pixel down.
SIZE = {"original_width": 200, "original_height": 100, "image_rotation": 0}


def box(number, label, x=0, y=0, width=10, height=10, rotation=0, **more):
    labels = [label] if isinstance(label, str) else label
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": labels}
    names = {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "origin": "manual"}
    return {**SIZE, "value": value, "id": number, **names, **more}


def relation(start, end, *labels, direction="right"):
    return {"from_id": start, "to_id": end, "type": "relation", "direction": direction, "labels": list(labels)}


def task(number, *result, image="/data/upload/1/0f6142fb-photo.jpg", **annotation):
    annotation = {"id": 10 * number, "was_cancelled": False, "ground_truth": False, **annotation}
    return {"id": number, "data": {"image": image}, "annotations": [{**annotation, "result": list(result)}]}


def kinds(annotations, severity):
    return [problem.kind for problem in annotations.problems if problem.severity == severity]


def test_boxes_and_relations(read_tasks):
    annotations = read_tasks(
        task(
            7,
            box("cupid", "cup", 10, 20, 30, 40),
            relation("cupid", "table", "on", "near"),
            box("table", "table", 0, 50, 100, 50),
            relation("table", "cupid", "under", direction="left"),
            relation("table", "cupid", "near", direction="bi"),
        )
    )
    (image,) = annotations.images
    assert (image.image_id, image.file_name, image.height, image.width) == (7, "photo.jpg", 100, 200)
    # 10 % of 200 is 20, 20 % of 100 is 20; 30 % more of 200 ends at 80, 40 % more of 100 at 60.
    np.testing.assert_allclose(image.boxes, [[20, 20, 80, 60], [0, 50, 200, 100]])
    assert annotations.thing_classes == ["cup", "table"] and image.classes.tolist() == [0, 1]
    assert annotations.predicate_classes == ["near", "on", "under"]
    # Two labels are two rows; "left" turns round: the cup is the subject; "bi" is a row each way.
    assert image.relations.tolist() == [[0, 1, 1], [0, 1, 0], [0, 1, 2], [1, 0, 0], [0, 1, 0]]
    assert not image.crowd.any() and annotations.problems == []


def test_a_relation_without_direction_goes_to_the_right(read_tasks):
    row = relation("a", "b", "on")
    del row["direction"]
    assert read_tasks(task(1, box("a", "x"), box("b", "y"), row)).images[0].relations.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        # 40 x 20 pixels at (100, 50). A quarter turn clockwise about the corner: what went right goes down, what went
        # down goes left.
        (90, [80, 50, 100, 90]),
        (180, [60, 30, 100, 50]),
        # cos 45 = sin 45 = 0.7071: corners at (100, 50), (128.28, 78.28), (114.14, 92.43), (85.86, 64.14)
        (45, [100 - 20 * math.sqrt(0.5), 50, 100 + 40 * math.sqrt(0.5), 50 + 60 * math.sqrt(0.5)]),
        (-90, [100, 10, 120, 50]),
    ],
)
def test_a_turned_rectangle_becomes_the_box_around_it(read_tasks, rotation, expected):
    (image,) = read_tasks(task(1, box("a", "cup", 50, 50, 20, 20, rotation))).images
    np.testing.assert_allclose(image.boxes, [expected])


def test_a_rectangle_drawn_from_its_lower_right_corner(read_tasks):
    # Label Studio keeps negative sides.
    (image,) = read_tasks(task(1, box("a", "cup", 50, 50, -20, -30))).images
    np.testing.assert_allclose(image.boxes, [[60, 20, 100, 50]])


def test_rectangle_and_labels_tags(read_tasks):
    entries = [box("a", "cup", 10, 20, 30, 40, type="rectangle"), box("a", "cup", 10, 20, 30, 40, type="labels")]
    del entries[0]["value"]["rectanglelabels"]
    entries[1]["value"]["labels"] = entries[1]["value"].pop("rectanglelabels")
    annotations = read_tasks(task(1, *entries, box("b", "table"), relation("a", "b", "on")))
    assert annotations.images[0].boxes.tolist() == [[20, 20, 80, 60], [0, 0, 20, 10]]
    assert annotations.thing_classes == ["cup", "table"] and annotations.images[0].relations.tolist() == [[0, 1, 0]]
    assert annotations.problems == []


def test_which_annotation_counts(read_tasks):
    def annotated(label, **more):
        return {"result": [box("a", label)], "was_cancelled": False, "ground_truth": False, **more}

    def chosen(*annotations):
        found = read_tasks({"id": 1, "data": {"image": "a.jpg"}, "annotations": list(annotations)})
        return found.thing_classes, kinds(found, WARNING)

    early = annotated("early", updated_at="2024-03-09T22:16:08.728353Z")
    late = annotated("late", updated_at="2024-03-10T08:00:00.000000Z")
    sure = annotated("sure", updated_at="2024-03-01T08:00:00.000000Z", ground_truth=True)
    cancelled = annotated("cancelled", updated_at="2024-04-01T08:00:00.000000Z", was_cancelled=True)
    assert chosen(early) == (["early"], [])
    assert chosen(cancelled, early) == (["early"], [])
    assert chosen(late, early) == (["late"], ["several-annotations"])
    assert chosen(early, sure, late, cancelled) == (["sure"], ["several-annotations"])
    assert chosen(cancelled) == chosen() == ([], ["not-annotated"])


def test_boxes_and_relations_without_label(read_tasks):
    tasks = [
        task(1, box("a", "x"), box("b", []), box("c", "y"), relation("b", "a", "on"), relation("a", "c")),
        task(2, box("a", "y"), box("b", "x"), relation("a", "b", "on"), image="other.jpg"),
    ]
    # An error each, which names task and region; what is there is counted right.
    strict = read_tasks(*tasks)
    assert kinds(strict, ERROR) == ["unlabelled-box", "unlabelled-relation"]
    assert "task 1, region b has no label" in strict.problems[0].message
    assert "relation from a to c has no label" in strict.problems[1].message
    assert strict.images[0].classes.tolist() == [0, -1, 1]
    assert strict.first_error() is strict.problems[0]
    # Left out: box b, the relation that it has, and the relation without a label. y is object 1 then, not 2.
    lenient = read_tasks(*tasks, drop_unlabelled=True)
    assert kinds(lenient, ERROR) == [] and len(kinds(lenient, WARNING)) == 3
    assert lenient.images[0].classes.tolist() == [0, 1] and lenient.images[0].relations.tolist() == []
    assert lenient.images[1].relations.tolist() == [[0, 1, 0]]


def test_several_labels_on_a_box(read_tasks):
    annotations = read_tasks(task(1, box("a", ["dog", "animal"])))
    assert annotations.thing_classes == ["dog"] and kinds(annotations, WARNING) == ["several-labels"]


@pytest.mark.parametrize(
    ("result", "kind", "words"),
    [
        ([box("a", "x"), relation("a", "gone", "on")], "missing-object", "there is no box gone"),
        ([box("a", "x"), relation("a", "a", "on", direction="up")], "bad-direction", "'up'"),
        ([box("a", "x", image_rotation=90)], "turned-image", "turned"),
        ([box("a", "x"), box("b", "x", original_width=201)], "bad-size", "201"),
        ([box("a", "x", width="wide")], "bad-box", "'wide'"),
        ([box("a", "x", width=None)], "bad-box", "None"),
        ([], "unknown-size", "--image-root"),
        ("nonsense", "unknown-size", "--image-root"),
        ([{"type": "rectanglelabels", "value": 3}, 5, None], "unknown-size", "--image-root"),
    ],
)
def test_one_clear_error(read_tasks, tmp_path, result, kind, words):
    odd = task(3)
    odd["annotations"][0]["result"] = result
    annotations = read_tasks(odd)
    (problem,) = annotations.problems
    assert (problem.kind, problem.severity, problem.image_id) == (kind, ERROR, 3)
    assert problem.message.startswith(f"{tmp_path / 'export.json'}: task 3, ") and words in problem.message


def test_other_shapes_are_left_out_and_said(read_tasks):
    polygon = {**SIZE, "id": "p", "type": "polygonlabels", "value": {"points": [[1, 2]], "polygonlabels": ["sea"]}}
    choice = {**SIZE, "id": "c", "type": "choices", "value": {"choices": ["indoors"]}}
    annotations = read_tasks(task(1, box("a", "x"), polygon, choice))
    assert annotations.thing_classes == ["x"] and kinds(annotations, WARNING) == ["not-a-rectangle"]


@pytest.mark.parametrize(
    "content",
    [
        [{"id": 5297, "image": "a.jpg", "label": [{"x": 1, "rectanglelabels": ["cup"]}]}],  # JSON-MIN
        {"images": [], "categories": [], "annotations": []},  # COCO
        ["text"],
        [{"data": {"image": "a.jpg"}, "annotations": []}],
    ],
)
def test_exports_without_relations_are_refused(tmp_path, content):
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(EGTRError, match='export.json.*Export the project as "JSON"'):
        read_label_studio(tmp_path / "export.json")


def test_images_on_which_nothing_is_drawn(read_tasks, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), dtype=np.uint8))
    (tmp_path / "b.png").write_text("no image")
    annotations = read_tasks(task(1, image="a.png"), task(2, image="b.png"), image_root=tmp_path)
    (image,) = annotations.images
    assert (image.height, image.width, image.boxes.shape, image.relations.shape) == (30, 40, (0, 4), (0, 3))
    (problem,) = annotations.problems
    assert problem.kind == "broken-image" and "b.png" in problem.message


@pytest.mark.parametrize(
    ("reference", "without_folder", "in_folder"),
    [
        ("/data/upload/1/0f6142fb-photo.jpg", "photo.jpg", "photo.jpg"),
        ("http://localhost:8080/data/upload/12/0f6142fb-photo.jpg", "photo.jpg", "photo.jpg"),
        # A copy of Label Studio's own folder has the prefix still.
        ("/data/upload/1/11111111-kept.jpg", "kept.jpg", "11111111-kept.jpg"),
        # A name that begins like a prefix itself.
        ("/data/upload/1/22222222-0f6142fb-twice.jpg", "0f6142fb-twice.jpg", "0f6142fb-twice.jpg"),
        ("/data/upload/1/0f6142fb-my_photo_1.jpg", "my_photo_1.jpg", "my photo (1).jpg"),
        ("/data/upload/1/0f6142fb-k%C3%BCche.jpg", "küche.jpg", "küche.jpg"),
        ("/data/local-files/?d=photos/shelf/cup.jpg", "photos/shelf/cup.jpg", "shelf/cup.jpg"),
        ("/data/local-files/?d=photos%5Cshelf%5Ccup.jpg", "photos/shelf/cup.jpg", "shelf/cup.jpg"),
        # By the rules of addresses a plus is a blank, but some tools leave the plus of a name as it is.
        ("/data/local-files/?d=photos/shelf/a+b.jpg", "photos/shelf/a b.jpg", "shelf/a+b.jpg"),
        ("s3://bucket/photos/shelf/cup.jpg", "cup.jpg", "shelf/cup.jpg"),
        ("https://example.com/a/photo.jpg?token=1", "photo.jpg", "photo.jpg"),
        # Nothing but an upload has a prefix.
        ("https://example.com/a/0f6142fb-photo.jpg", "0f6142fb-photo.jpg", None),
        ("absent.jpg", "absent.jpg", None),
    ],
)
def test_names_of_images(read_tasks, tmp_path, reference, without_folder, in_folder):
    root = tmp_path / "photos"
    (root / "shelf").mkdir(parents=True)
    names = (
        "photo.jpg",
        "11111111-kept.jpg",
        "0f6142fb-twice.jpg",
        "my photo (1).jpg",
        "küche.jpg",
        "shelf/cup.jpg",
        "shelf/a+b.jpg",
    )
    for name in names:
        (root / name).touch()
    assert read_tasks(task(1, box("a", "x"), image=reference)).images[0].file_name == without_folder
    annotations = read_tasks(task(1, box("a", "x"), image=reference), image_root=root)
    assert [image.file_name for image in annotations.images] == ([] if in_folder is None else [in_folder])
    assert kinds(annotations, ERROR) == ([] if in_folder else ["missing-image"])


@pytest.mark.parametrize(
    "reference",
    [
        "../../secret.jpg",
        "/data/local-files/?d=../secret.jpg",
        "/data/local-files/?d=photos/..%2F..%2Fsecret.jpg",
        "/data/upload/1/..%2F..%2Fsecret.jpg",
        "a\0.jpg",
        "",
        "http://[",
        None,
        5,
    ],
)
def test_names_that_lead_elsewhere_are_refused(read_tasks, tmp_path, reference):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.jpg").touch()
    annotations = read_tasks(task(1, box("a", "x"), image=reference), image_root=tmp_path / "photos")
    assert annotations.images == [] and kinds(annotations, ERROR) == ["missing-image"]


def test_an_absolute_name_stays_in_the_folder(read_tasks, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    (tmp_path / "outside.jpg").touch()
    reference = f"/data/local-files/?d={tmp_path}/outside.jpg"
    assert read_tasks(task(1, box("a", "x"), image=reference), image_root=root).images == []


def test_the_field_that_names_the_image(read_tasks):
    renamed = task(1, box("a", "x"))
    renamed["data"] = {"photo": "/data/upload/1/0f6142fb-photo.JPG?size=1", "note": "no image"}
    assert read_tasks(renamed).images[0].file_name == "photo.JPG"
    renamed["data"]["second"] = "b.png"
    assert kinds(read_tasks(renamed), ERROR) == ["missing-image"]


def test_two_tasks_with_one_image(read_tasks):
    annotations = read_tasks(
        task(1, box("a", "x")), task(2, box("a", "x"), image="/data/upload/1/11111111-photo.jpg")
    )
    assert kinds(annotations, ERROR) == ["repeated-image"]
    assert (
        "2 tasks, [1, 2], mean the image photo.jpg; delete all but one of them in Label Studio"
        in annotations.problems[0].message
    )


def test_rectangles_without_ids_are_two(read_tasks):
    """As they come out of a project that was made of other annotations."""
    nameless = [box("a", "cup"), box("b", "table", x=50)]
    for entry in nameless:
        del entry["id"]
    (image,) = read_tasks(task(1, *nameless)).images
    assert image.boxes[:, 0].tolist() == [0, 100] and image.classes.tolist() == [0, 1]


@pytest.mark.parametrize("number", [None, [], 1.5])
def test_a_task_without_an_id(read_tasks, number):
    with pytest.raises(EGTRError, match=r'export.json: .* has no "id"'):
        read_tasks(task(1, box("a", "x")) | {"id": number})


def test_no_such_folder(read_tasks, tmp_path):
    with pytest.raises(EGTRError, match="nowhere: there is no such folder"):
        read_tasks(task(1), image_root=tmp_path / "nowhere")
