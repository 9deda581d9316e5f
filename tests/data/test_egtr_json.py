import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from egtr.data import register_egtr_json
from egtr.data.datasets import read_egtr_json, to_dataset_dicts
from egtr.structures import EGTRError

# Ids with a gap, as COCO's have: 3, 5, 9 become 0, 1, 2.
CATEGORIES = [{"id": 9, "name": "tree"}, {"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}]


def _annotation(number, image_id, category_id, bbox, **more):
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


def _coco():
    images = [
        {"id": 11, "file_name": "a.png", "height": 50, "width": 100},
        {"id": 12, "file_name": "b.png", "height": 40, "width": 40},
        {"id": 13, "file_name": "c.png", "height": 40, "width": 40},
    ]
    annotations = [
        _annotation(1, 11, 3, [10, 10, 20, 20]),  # 0 -> 0
        _annotation(2, 11, 5, [0, 0, 50, 50], iscrowd=1),  # 1 -> 3, after all objects: crowd
        _annotation(3, 12, 9, [5, 5, 5, 5]),  # the other image's, in between
        _annotation(4, 11, 5, [90, 40, 30, 30]),  # 2 -> 1, reaches beyond the image
        _annotation(5, 11, 5, [30, 30, 0, 10]),  # 3, dropped: no width
        _annotation(6, 11, 9, [100, 10, 5, 5]),  # 4, dropped: outside
        _annotation(7, 11, 9, [-5, -5, 10.5, 10]),  # 5 -> 2
        _annotation(8, 11, 9, [30, 30, -4, 10]),  # 6, dropped: negative width
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def _rel():
    return {
        "train": {"11": [[0, 2, 1], [1, 0, 2], [5, 2, 2], [2, 3, 1], [0, 4, 1], [5, 0, 1], [5, 0, 1]], "12": []},
        "val": {},
        "test": {},
        "rel_categories": ["__background__", "near", "on"],
    }


def _write(root: Path, coco=None, rel=None) -> tuple[str, str]:
    (root / "images").mkdir()
    (root / "train.json").write_text(json.dumps(_coco() if coco is None else coco))
    (root / "rel.json").write_text(json.dumps(_rel() if rel is None else rel))
    return str(root / "train.json"), str(root / "images")


def _load(*files, **options):
    return to_dataset_dicts(read_egtr_json(*files, **options))


def test_reads_boxes_classes_and_relations(tmp_path):
    first, second, third = _load(*_write(tmp_path))
    assert first["file_name"] == str(tmp_path / "images" / "a.png")
    assert (first["image_id"], first["height"], first["width"]) == (11, 50, 100)
    assert [(a["category_id"], a["bbox"]) for a in first["annotations"]] == [
        (0, [10.0, 10.0, 30.0, 30.0]),
        (1, [90.0, 40.0, 100.0, 50.0]),  # clipped to the 100 x 50 image
        (2, [0.0, 0.0, 5.5, 5.0]),
        (1, [0.0, 0.0, 50.0, 50.0]),
    ]
    assert [a["iscrowd"] for a in first["annotations"]] == [0, 0, 0, 1]
    assert {a["bbox_mode"] for a in first["annotations"]} == {BoxMode.XYXY_ABS}
    # Annotations 0, 2, 5 stay and become 0, 1, 2. [1, 0, 2], [2, 3, 1] and [0, 4, 1] touch dropped ones. The
    # predicate becomes 0-based, and the duplicate stays: whether it counts is up to the evaluation protocol.
    assert first["relations"] == [[0, 1, 0], [2, 1, 1], [2, 0, 0], [2, 0, 0]]
    assert [a["category_id"] for a in second["annotations"]] == [2] and second["relations"] == []
    assert third["annotations"] == [] and third["relations"] == []


def test_a_crowd_annotation_does_not_shift_the_others(tmp_path):
    coco = _coco()
    with_crowd = _load(*_write(tmp_path, coco))[0]
    # The same image written without annotation 1 and with every relation renumbered by hand.
    del coco["annotations"][1]
    rel = _rel()
    rel["train"]["11"] = [[0, 1, 1], [4, 1, 2], [4, 0, 1], [4, 0, 1]]
    other = tmp_path / "other"
    other.mkdir()
    without = _load(*_write(other, coco, rel))[0]
    assert with_crowd["annotations"][:-1] == without["annotations"]
    assert with_crowd["relations"] == without["relations"]


@pytest.fixture
def registered(tmp_path):
    """Registers the folder under a name that is taken back afterwards."""
    names = []

    def register(**options):
        names.append(f"reader_test{len(names)}")
        register_egtr_json(names[-1], str(tmp_path / "train.json"), str(tmp_path / "images"), **options)
        return names[-1]

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_metadata_before_and_after_loading(tmp_path, registered):
    _write(tmp_path)
    name = registered()
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == "scene_graph"
    assert metadata.json_file == str(tmp_path / "train.json")
    assert metadata.image_root == str(tmp_path / "images")
    assert metadata.get("thing_classes") is None
    DatasetCatalog.get(name)
    assert metadata.thing_classes == ["cat", "dog", "tree"]
    assert metadata.predicate_classes == ["near", "on"]
    DatasetCatalog.get(name)  # loading again sets the same metadata again


def test_given_class_names_must_agree_with_the_files(tmp_path, registered):
    _write(tmp_path)
    agreeing = registered(thing_classes=("cat", "dog", "tree"), predicate_classes=("near", "on"))
    assert MetadataCatalog.get(agreeing).thing_classes == ["cat", "dog", "tree"]
    assert len(DatasetCatalog.get(agreeing)) == 3
    with pytest.raises(EGTRError, match=r"train\.json: 3 thing_classes.*'dog' where 'horse' is expected"):
        DatasetCatalog.get(registered(thing_classes=("cat", "horse", "tree")))
    with pytest.raises(EGTRError, match=r"rel\.json.*: 2 predicate_classes.*registered with 1"):
        DatasetCatalog.get(registered(predicate_classes=("near",)))


def _damage(what):
    """The files of the layout with one thing wrong."""
    coco, rel = _coco(), _rel()
    what(coco, rel)
    return coco, rel


@pytest.mark.parametrize(
    "damage, words",
    [
        (
            lambda coco, rel: rel["train"]["11"].append([0, 7, 1]),  # seven annotations: 0..6
            ["rel.json", "image id 11", '"train"', "relation 7 = [0, 7, 1]", "7 annotations"],
        ),
        (lambda coco, rel: rel["train"].update({"12": [[-1, 0, 1]]}), ["rel.json", "image id 12", "[-1, 0, 1]"]),
        (lambda coco, rel: rel["train"].update({"13": [[0, 0, 1]]}), ["rel.json", "image id 13", "0 annotations"]),
        (
            lambda coco, rel: rel["train"]["11"].append([0, 2, 3]),
            ["rel.json", "image id 11", "relation 7 = [0, 2, 3]", "1..2", "rel_categories"],
        ),
        (lambda coco, rel: rel["train"]["11"].append([0, 2, 0]), ["rel.json", "image id 11", "[0, 2, 0]", "1..2"]),
        (lambda coco, rel: rel["train"]["11"].append([0, 2]), ["rel.json", "image id 11", '"train"']),
        (lambda coco, rel: rel["train"].update({"11": [[0.5, 2, 1]]}), ["rel.json", "image id 11", "integers"]),
        (lambda coco, rel: rel["train"].update({"11": [["a", 2, 1]]}), ["rel.json", "image id 11", "integers"]),
        (lambda coco, rel: rel.pop("train"), ["rel.json", '"train"']),
        (lambda coco, rel: rel.pop("rel_categories"), ["rel.json", '"rel_categories"']),
        (lambda coco, rel: rel.update(train={"99": [[0, 1, 1]]}), ["rel.json", "99", "train.json"]),
        (lambda coco, rel: coco.pop("categories"), ["train.json", '"categories"']),
        (lambda coco, rel: coco["images"][1].pop("height"), ["train.json", '"images"', '"height"']),
        (lambda coco, rel: coco["annotations"][0].pop("image_id"), ["train.json", '"annotations"', '"image_id"']),
        (
            lambda coco, rel: coco["annotations"][0].update(category_id=4),
            ["train.json", "image id 11", "annotation id 1", '"category_id"', "4"],
        ),
        (
            lambda coco, rel: coco["annotations"][3].update(bbox=[1, 2, 3]),
            ["train.json", "image id 11", "annotation id 4", '"bbox"', "[1, 2, 3]"],
        ),
        (
            lambda coco, rel: coco["annotations"][3].update(bbox=[1, 2, float("nan"), 3]),
            ["train.json", "annotation id 4", '"bbox"'],
        ),
    ],
)
def test_malformed_files_are_refused_by_file_image_and_field(tmp_path, damage, words):
    with pytest.raises(EGTRError) as error:
        _load(*_write(tmp_path, *_damage(damage)))
    for word in words:
        assert word in str(error.value)


def test_a_file_cut_short_and_a_missing_file(tmp_path):
    files = _write(tmp_path)
    Path(files[0]).write_text('{"images": [')
    with pytest.raises(EGTRError, match=r"train\.json: is not a JSON file"):
        _load(*files)
    (tmp_path / "rel.json").unlink()
    Path(files[0]).write_text(json.dumps(_coco()))
    with pytest.raises(EGTRError, match=r"rel\.json: cannot be read"):
        _load(*files)


def test_records_of_unknown_images_are_reported_and_ignored(tmp_path, caplog):
    coco, rel = _coco(), _rel()
    coco["annotations"].append(_annotation(20, 77, 3, [0, 0, 5, 5]))
    rel["train"]["78"] = [[0, 1, 1]]
    assert len(_load(*_write(tmp_path, coco, rel))) == 3
    assert "annotations of 1 images" in caplog.text
    assert "relations of 1 images" in caplog.text


def test_split_and_relation_file_by_name(tmp_path):
    """Any file of the layout serves as any split: the fragment, ``split`` and ``rel_file`` say which relations."""
    json_file, image_root = _write(tmp_path)
    expected = _load(json_file, image_root)
    (tmp_path / "train.json").rename(tmp_path / "annotations.json")
    (tmp_path / "rel.json").rename(tmp_path / "relations.json")
    json_file, options = str(tmp_path / "annotations.json"), {"rel_file": str(tmp_path / "relations.json")}
    assert _load(f"{json_file}#train", image_root, **options) == expected
    assert _load(json_file, image_root, split="train", **options) == expected
    with pytest.raises(EGTRError, match=r'relations\.json: field "annotations".* is missing. It has "train", "val"'):
        _load(json_file, image_root, **options)


def test_missing_images_folder(tmp_path, registered):
    _write(tmp_path)
    (tmp_path / "images").rmdir()
    with pytest.raises(EGTRError, match="images is missing.*Fetch it"):
        DatasetCatalog.get(registered(remedy="Fetch it."))
