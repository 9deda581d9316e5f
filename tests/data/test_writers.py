"""Annotations that are written in one format and read again are the same."""

import json
import tempfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import strategies as st

from egtr.data.datasets import read_coco_sg, read_egtr_json, read_open_images, read_psg, read_vg_h5
from egtr.data.datasets.annotations import ImageAnnotations, Problem, SceneGraphAnnotations
from egtr.data.datasets.vg_h5_writer import leave_out_unsupported, write_vg_h5
from egtr.data.datasets.writers import write_coco_sg, write_egtr_json
from egtr.structures import DataError, EGTRError
from tests.data.random_annotations import assert_same, names, scene_graph_annotations
from tests.properties import check, few_or_many


def image(number=3, **changes):
    """A cup (class 1) on a table (class 0) in an image of 200 x 100 pixels."""
    fields = {
        "image_id": number,
        "file_name": f"{number}.jpg",
        "height": 100,
        "width": 200,
        "boxes": [[0, 50, 200, 100], [20.5, 20, 80, 60.25]],
        "classes": [0, 1],
        "crowd": [False, False],
        "relations": [[1, 0, 2]],
        "annotation_ids": None,
    }
    return ImageAnnotations(**{**fields, **changes})


def annotations(*images, **changes):
    content = SceneGraphAnnotations(list(images), ["table", "cup"], ["near", "in", "on"], "images", "source.json")
    return replace(content, **changes)


@few_or_many(10, 40)
def test_egtr_json_to_coco_sg_to_egtr_json(examples):
    check(examples, assert_json_and_coco_sg_keep_everything, train=scene_graph_annotations(), data=st.data())


def assert_json_and_coco_sg_keep_everything(train, data):
    val = data.draw(scene_graph_annotations(None, train.thing_classes, train.predicate_classes))
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        splits = {"train": train, "val": val}
        for _ in range(2):
            write_egtr_json(splits, first)
            splits = {split: read_egtr_json(f"{first}/{split}.json", "images") for split in splits}
            for split, expected in (("train", train), ("val", val)):
                assert_same(splits[split], expected)
                assert not splits[split].problems
            write_coco_sg(splits, second)
            splits = {split: read_coco_sg(f"{second}/{split}.json", "images") for split in splits}
            for split, expected in (("train", train), ("val", val)):
                assert_same(splits[split], expected)
                assert not splits[split].problems
                ids = [image.annotation_ids for image in expected.images]
                if expected.images and None not in ids:
                    assert [image.annotation_ids for image in splits[split].images] == ids


def within_a_pixel_at_1024(image):
    return max(image.height, image.width) / 1024 * (1 + 1e-9)


@few_or_many(15, 40)
def test_h5_and_back(examples):
    check(examples, assert_h5_keeps_everything, data=st.data())


def assert_h5_keeps_everything(data):
    ids = data.draw(st.lists(st.integers(0, 10**6) | st.sampled_from([1592, 4617]), max_size=6, unique=True))
    classes = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    options = {"class_names": classes, "predicate_names": ["on", "在"], "crowds": False, "flat_boxes": False}
    splits = {
        split: data.draw(scene_graph_annotations(part, **options))
        for split, part in (("train", ids[:2]), ("val", ids[2:4]), ("test", ids[4:]))
    }
    for annotations in splits.values():
        for image in annotations.images:
            image.file_name = f"{image.image_id}.jpg"
    splits["val"].images = [image for image in splits["val"].images if len(image.relations)]
    with tempfile.TemporaryDirectory() as folder:
        write_vg_h5(splits, folder)
        for split, expected in splits.items():
            actual = read_vg_h5(f"{folder}/VG-SGG.h5#{split}", "images", filter_empty_rels=False)
            assert_same(actual, expected, within_a_pixel_at_1024)
            assert not actual.problems


def test_h5_by_hand(tmp_path):
    tall = image(7, height=512, width=256, boxes=[[10, 20, 11, 20.2]], classes=[1], crowd=[False], relations=[])
    empty = image(9, boxes=[], classes=[], crowd=[], relations=[])
    splits = {"train": annotations(tall, empty), "val": annotations(image(3)), "test": annotations(image(4))}
    write_vg_h5(splits, tmp_path)
    with h5py.File(tmp_path / "VG-SGG.h5") as file:
        content = {name: file[name][()].tolist() for name in file}
        kinds = {name: file[name].dtype.kind for name in file}
    # 200 pixels are 1024: factor 5.12. The table is centred at (100, 75) -> (512, 384), 200 x 50 -> 1024 x 256. The
    # cup spans 20.5..80 and 20..60.25: centre (257.28, 205.44), sides (304.64, 206.08).
    # In the tall image the factor is 2: centre (21, 40.2), sides (2, 0.4), of which no side is let vanish.
    table, cup = [512, 384, 1024, 256], [257, 205, 305, 206]
    assert content == {
        # val first, then train, of which one has no objects, then test
        "split": [0, 0, 0, 2],
        "boxes_1024": [table, cup, [21, 40, 2, 1], table, cup],
        "labels": [[1], [2], [2], [1], [2]],
        "relationships": [[1, 0], [4, 3]],
        "predicates": [[3], [3]],
        "img_to_first_box": [0, 2, -1, 3],
        "img_to_last_box": [1, 2, -1, 4],
        "img_to_first_rel": [0, -1, -1, 1],
        "img_to_last_rel": [0, -1, -1, 1],
    }
    assert set(kinds.values()) == {"i"}
    assert json.loads((tmp_path / "image_data.json").read_text()) == [
        {"image_id": 3, "width": 200, "height": 100},
        {"image_id": 7, "width": 256, "height": 512},
        {"image_id": 9, "width": 200, "height": 100},
        {"image_id": 4, "width": 200, "height": 100},
    ]
    assert json.loads((tmp_path / "VG-SGG-dicts.json").read_text()) == {
        "idx_to_label": {"1": "table", "2": "cup"},
        "label_to_idx": {"table": 1, "cup": 2},
        "object_count": {"table": 2, "cup": 3},
        "idx_to_predicate": {"1": "near", "2": "in", "3": "on"},
        "predicate_to_idx": {"near": 1, "in": 2, "on": 3},
        "predicate_count": {"near": 0, "in": 0, "on": 2},
    }


def test_json_by_hand(tmp_path):
    second = image("b", crowd=[True, False], boxes=[[0.1, 0, 0.3, 2], [5, 5, 2, 9]], annotation_ids=[20, 10])
    content = annotations(image(3, annotation_ids=[7, 5]), second)
    assert write_egtr_json({"val": content}, tmp_path) == [f"{tmp_path}/val.json", f"{tmp_path}/rel.json"]
    coco = json.loads((tmp_path / "val.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "table"}, {"id": 2, "name": "cup"}]
    assert coco["images"][1] == {"id": "b", "file_name": "b.jpg", "height": 100, "width": 200}
    boxes = [[0, 50, 200, 50], [20.5, 20, 59.5, 40.25], [0.1, 0, 0.2, 2], [5, 5, -3, 4]]
    assert [row["bbox"] for row in coco["annotations"]] == boxes
    assert [row["area"] for row in coco["annotations"]] == [10000, 2394.875, 0.4, 0]
    assert [row["id"] for row in coco["annotations"]] == [7, 5, 20, 10]
    assert [row["iscrowd"] for row in coco["annotations"]] == [0, 0, 1, 0]
    assert json.loads((tmp_path / "rel.json").read_text()) == {
        "val": {"3": [[1, 0, 3]], "b": [[1, 0, 3]]},
        "rel_categories": ["__background__", "near", "in", "on"],
    }
    (tmp_path / "coco").mkdir()
    write_coco_sg({"val": content}, tmp_path / "coco")
    coco_sg = json.loads((tmp_path / "coco/val.json").read_text())
    assert coco_sg.pop("rel_categories") == [{"id": k, "name": n} for k, n in ((1, "near"), (2, "in"), (3, "on"))]
    assert coco_sg.pop("rel_annotations") == [
        {"id": 1, "image_id": 3, "subject_id": 5, "object_id": 7, "predicate_id": 3},
        {"id": 2, "image_id": "b", "subject_id": 10, "object_id": 20, "predicate_id": 3},
    ]
    assert coco_sg == coco


@pytest.mark.parametrize("ids", [([1, 2], None), ([1, 2], [2, 3]), ([1, 2], [3, None])])
def test_annotations_are_numbered_where_ids_do_not_serve(tmp_path, ids):
    content = annotations(image(1, annotation_ids=ids[0]), image(2, annotation_ids=ids[1]))
    write_coco_sg({"train": content}, tmp_path)
    rows = json.loads((tmp_path / "train.json").read_text())["annotations"]
    assert [row["id"] for row in rows] == [1, 2, 3, 4]


def test_psg_to_coco_sg(tmp_path):
    objects = [{"bbox": [0.5, 50, 200, 100], "category_id": 2}, {"bbox": [1, 2, 3, 4], "category_id": 0}]
    psg = {
        "data": [
            {
                "file_name": "val2017/000000000139.jpg", "height": 100, "width": 200, "image_id": "139",
                "segments_info": [], "annotations": objects, "relations": [[1, 0, 1], [0, 1, 0]],
            },
            {
                "file_name": "train2017/1.jpg", "height": 10, "width": 10, "image_id": "1",
                "segments_info": [], "annotations": [], "relations": [],
            },
        ],
        "thing_classes": ["cup", "dog"], "stuff_classes": ["table"], "predicate_classes": ["under", "on"],
        "test_image_ids": ["139"],
    }  # fmt: skip
    (tmp_path / "psg.json").write_text(json.dumps(psg))
    splits = {split: read_psg(f"{tmp_path}/psg.json#{split}", "coco") for split in ("train", "test")}
    write_coco_sg(splits, tmp_path)
    for split in splits:
        actual = read_coco_sg(f"{tmp_path}/{split}.json", "coco")
        assert_same(actual, splits[split])
    assert actual.images[0].relations.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert actual.thing_classes == ["cup", "dog", "table"]


def test_open_images_to_coco_sg_and_egtr_json(tmp_path):
    record = {
        "img_fn": "00a1", "img_size": [200, 100], "bbox": [[0, 50, 199.5, 100], [1, 2, 3, 4]], "det_labels": [1, 0],
        "rel": [[1, 0, 1], [1, 0, 0]],
    }  # fmt: skip
    (tmp_path / "vrd-val-anno.json").write_text(json.dumps([record]))
    (tmp_path / "categories_dict.json").write_text(json.dumps({"obj": ["cup", "table"], "rel": ["under", "on"]}))
    content = read_open_images(f"{tmp_path}/vrd-val-anno.json", "images")
    write_coco_sg({"val": content}, tmp_path)
    assert_same(read_coco_sg(f"{tmp_path}/val.json", "images"), content)
    write_egtr_json({"val": content}, tmp_path)
    assert_same(read_egtr_json(f"{tmp_path}/val.json", "images"), content)


WRITERS = (write_egtr_json, write_coco_sg, write_vg_h5)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({}, "no split"),
        ({"../../x": annotations(image())}, "Split name '../../x'"),
        ({"": annotations(image())}, "Split name ''"),
        (
            {"train": annotations(image()), "val": annotations(image(4), thing_classes=["table", "mug"])},
            r"thing_classes.*differing: \['cup', 'mug'\]",
        ),
        (
            {"train": annotations(image()), "val": annotations(image(4), predicate_classes=["in", "near", "on"])},
            "predicate_classes.*order",
        ),
        ({"train": annotations(image(relations=[[0, 2, 0]]))}, "image id 3.*2 is not among"),
        ({"train": annotations(image(), image())}, "image id 3 stands for 2 images"),
        ({"train": annotations(image(boxes=[[0, 0, 1, np.nan]] * 2))}, "image id 3, annotation 0"),
        ({"train": annotations(image(), problems=[Problem("x", "the reader's words")])}, "the reader's words"),
    ],
)
def test_what_no_file_can_say(tmp_path, write, splits, message):
    with pytest.raises(EGTRError, match=message):
        write(splits, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["rel", "rel_categories"])
def test_splits_that_would_collide_with_rel_json(tmp_path, name):
    with pytest.raises(EGTRError, match=f"Split name '{name}'"):
        write_egtr_json({name: annotations(image())}, tmp_path)
    assert write_coco_sg({name: annotations(image())}, tmp_path) == [f"{tmp_path}/{name}.json"]


def test_ids_that_are_the_same_as_text(tmp_path):
    content = annotations(image(1), image("1"))
    with pytest.raises(EGTRError, match="source.json: two image ids are the same text"):
        write_egtr_json({"train": content}, tmp_path)
    write_coco_sg({"train": content}, tmp_path)
    assert_same(read_coco_sg(f"{tmp_path}/train.json", "images"), content)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": annotations(image()), "extra": annotations(image(4))}, "not extra"),
        ({"train": annotations(image("a"), image("b"), image(3))}, "2 image ids are not integers.*'a'"),
        ({"train": annotations(image()), "val": annotations(image())}, "2 images share their image id.*3"),
        (
            {"train": annotations(image(file_name="x/3.jpg"), image(4))},
            "1 images are not named.*'x/3.jpg', image id 3",
        ),
        ({"train": annotations(image(file_name="../../3.jpg"))}, "outside of the folder of images, 'images'"),
        ({"val": annotations(image(), image(4, relations=[]))}, "1 val images have no relations.*image id 4"),
        (
            {"train": annotations(image(crowd=[0, 1]))},
            "1 images have crowds.*annotation 1 of image id 3.*--drop-uns",
        ),
        (
            {"train": annotations(image(boxes=[[1, 2, 1, 9]] * 2))},
            "1 images have crowds.*annotation 0 of image id 3",
        ),
        # At a long side of 1024 that is 10^10 pixels, which int32 does not hold.
        (
            {"train": annotations(image(boxes=[[1, 2, 3, 9], [0, 0, 2e9, 9]]))},
            "1 images have boxes so far outside.*annotation 1 of image id 3",
        ),
    ],
)
def test_what_an_h5_file_cannot_hold(tmp_path, splits, message):
    with pytest.raises(EGTRError, match=message):
        write_vg_h5(splits, tmp_path)
    assert not list(tmp_path.iterdir())


def test_dropping_what_an_h5_file_cannot_hold(tmp_path):
    # Of four annotations the crowd (0) and the flat one (2) go; 1 and 3 become 0 and 1.
    mixed = image(
        boxes=[[0, 0, 9, 9], [0, 0, 100, 100], [5, 5, 5, 9], [100, 0, 200, 100]],
        classes=[0, 1, 0, 0],
        crowd=[1, 0, 0, 0],
        relations=[[0, 1, 0], [1, 3, 1], [3, 1, 2], [2, 3, 0]],
    )
    write_vg_h5({"train": annotations(mixed)}, tmp_path, drop_unsupported=True)
    (actual,) = read_vg_h5(f"{tmp_path}/VG-SGG.h5#train", "images", num_val=0).images
    np.testing.assert_allclose(actual.boxes, [[0, 0, 100, 100], [100, 0, 200, 100]])
    assert actual.classes.tolist() == [1, 0] and actual.relations.tolist() == [[0, 1, 1], [1, 0, 2]]
    # The input is as before.
    assert len(mixed.boxes) == 4 and len(mixed.relations) == 4
    (problem,) = leave_out_unsupported(annotations(mixed)).problems
    assert (problem.kind, problem.severity) == ("left-out", "warning")
    assert "2 crowds and boxes without area are left out with 2 of the 4 relations" in problem.message
    sound = annotations(image())
    assert leave_out_unsupported(sound) is sound


def test_dropping_the_last_relation_is_an_error(tmp_path):
    """The same goes for val, whose images are the first ones with relations in the file."""
    crowd = image(boxes=[[0, 0, 9, 9], [0, 0, 100, 100]], classes=[0, 1], crowd=[1, 0], relations=[[0, 1, 0]])
    with pytest.raises(DataError, match=r"1 crowds and boxes .* with 1 of the 1 relations\. No relation is left"):
        write_vg_h5({"train": annotations(crowd)}, tmp_path, drop_unsupported=True)
    whole = annotations(crowd, image(2))
    with pytest.raises(DataError, match="1 val images have no relations"):
        write_vg_h5({"val": whole}, tmp_path, drop_unsupported=True)
    assert not list(tmp_path.iterdir())
