"""The steps between reading and writing: naming, reading, dividing and uniting splits, and writing all or nothing."""

import json

import numpy as np
import pytest

from egtr.data.convert import divide, name_splits, read_splits, unite_names, write_dataset
from egtr.data.datasets import read_coco_sg, read_egtr_json
from egtr.data.datasets.annotations import ImageAnnotations, SceneGraphAnnotations
from egtr.structures import EGTRError, WriteError
from tests.data.random_annotations import assert_same
from tests.running import largest_file


def annotations(number=10, classes=("cup", "table"), predicates=("in", "on"), first=0):
    """``number`` images with a cup on a table each, and ids from ``first`` on."""
    images = [
        ImageAnnotations(k, f"{k}.jpg", 10, 20, [[1, 1, 2, 2], [0, 2, 9, 9]], [0, 1], [0, 0], [[0, 1, 1]])
        for k in range(first, first + number)
    ]
    return SceneGraphAnnotations(images, list(classes), list(predicates), "photos", "source.json")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a/train.json", "b/val.json"], {"train": "a/train.json", "val": "b/val.json"}),
        (["psg.json#test", "psg.json#train"], {"test": "psg.json#test", "train": "psg.json#train"}),
        (["mine=psg.json#test"], {"mine": "psg.json#test"}),
        (["anno/vrd-val-anno.json"], {"val": "anno/vrd-val-anno.json"}),
    ],
)
def test_names_of_splits(inputs, expected):
    assert name_splits(inputs) == expected


def test_names_of_files_with_odd_characters(tmp_path):
    paths = [str(tmp_path / name) for name in ("lr=1.json", "a#b.json")]
    for path in paths:
        open(path, "w").close()
    assert name_splits(paths) == {"lr=1": paths[0], "a#b": paths[1]}


def test_one_name_for_two_files():
    with pytest.raises(EGTRError, match="a/x.json and b/x.json would both be the split 'x'"):
        name_splits(["a/x.json", "b/x.json"])


def test_division():
    whole = annotations(10)
    splits = divide(whole, (0.6, 0.2, 0.2), seed=3)
    assert {split: len(part.images) for split, part in splits.items()} == {"train": 6, "val": 2, "test": 2}
    ids = {split: [image.image_id for image in part.images] for split, part in splits.items()}
    assert sorted(sum(ids.values(), [])) == list(range(10))
    assert all(part == sorted(part) for part in ids.values())
    # The same seed, the same division; another one, another.
    again, other = divide(whole, (0.6, 0.2, 0.2), seed=3), divide(whole, (0.6, 0.2, 0.2), seed=4)
    assert [image.image_id for image in again["val"].images] == ids["val"]
    assert any([i.image_id for i in other[split].images] != ids[split] for split in ids)
    assert list(divide(whole, (0.5, 0.5))) == ["train", "val"]


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.4), (1.2, -0.2), (0.25,) * 4, (0.5, 0.5, 0.0)])
def test_shares_that_do_not_add_up(shares):
    with pytest.raises(EGTRError, match="sum 1"):
        divide(annotations(), shares)


def test_too_few_images():
    with pytest.raises(EGTRError, match=r"2 images in shares \[0.8, 0.1, 0.1\] make splits of 2, 0, 0"):
        divide(annotations(2), (0.8, 0.1, 0.1))


def test_uniting_names():
    train = annotations(1, ["cup", "table"], ["in", "on"])
    val = annotations(1, ["bird", "cup"], ["above", "on"])
    val.images[0].classes = np.array([1, -1])
    val.images[0].relations = np.array([[0, 1, 1], [1, 0, -1]])
    united = unite_names({"train": train, "val": val})
    for part in united.values():
        assert part.thing_classes == ["bird", "cup", "table"] and part.predicate_classes == ["above", "in", "on"]
    # cup 0 -> 1, table 1 -> 2; "on" 1 -> 2. An unknown class or predicate stays unknown.
    assert united["train"].images[0].classes.tolist() == [1, 2]
    assert united["train"].images[0].relations.tolist() == [[0, 1, 2]]
    assert united["val"].images[0].classes.tolist() == [1, -1]
    assert united["val"].images[0].relations.tolist() == [[0, 1, 2], [1, 0, -1]]
    assert train.images[0].classes.tolist() == [0, 1]


def test_writes_all_or_nothing(tmp_path):
    splits, folder = {"train": annotations(2), "val": annotations(1)}, tmp_path / "new" / "folder"
    names = [str(folder / name) for name in ("train.json", "val.json", "rel.json")]
    assert write_dataset(splits, "egtr", folder) == names
    assert sorted(path.name for path in folder.iterdir()) == ["rel.json", "train.json", "val.json"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(EGTRError, match="val.json: there already; --overwrite"):
        write_dataset({"val": annotations(3)}, "coco_sg", folder)
    with pytest.raises(EGTRError, match="2 images are not named|differ"):
        write_dataset({"train": splits["train"], "val": annotations(1, ["mug"])}, "egtr", folder, overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    write_dataset({"val": annotations(3)}, "coco_sg", folder, overwrite=True)
    assert len(read_coco_sg(str(folder / "val.json"), "photos").images) == 3


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(EGTRError):
        write_dataset({"x/y": annotations(1)}, "coco_sg", tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["coco_sg", "egtr", "vg_h5"])
def test_a_full_disk(tmp_path, target):
    """One error that names the folder, and nothing in it."""
    with largest_file(1000), pytest.raises(WriteError, match=r"new: cannot be written .*has room and is open"):
        write_dataset({"train": annotations(100, first=1)}, target, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file: cannot be written"):
        write_dataset({"train": annotations(1)}, target, tmp_path / "file")


def test_what_was_read_is_not_replaced(tmp_path):
    write_dataset({"train": annotations(2)}, "egtr", tmp_path)
    splits = read_splits("egtr", {"train": str(tmp_path / "train.json")}, "photos")
    with pytest.raises(EGTRError, match="train.json: was read and would be replaced"):
        write_dataset(splits, "coco_sg", tmp_path, overwrite=True)
    assert_same(read_egtr_json(str(tmp_path / "train.json"), "photos"), annotations(2))


def test_reading_lists_errors(tmp_path):
    write_dataset({"train": annotations(12)}, "coco_sg", tmp_path)
    content = json.loads((tmp_path / "train.json").read_text())
    for row in content["rel_annotations"]:
        row["predicate_id"] = 99
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(EGTRError, match="99") as caught:
        read_splits("coco_sg", {"train": str(tmp_path / "train.json")})
    lines = str(caught.value).splitlines()
    assert len(lines) == 12 and lines[0].endswith("has errors:") and lines[-1] == "... and 2 more"


def test_an_h5_file_keeps_images_without_relations(tmp_path):
    whole = annotations(3)
    whole.images[1].relations = np.zeros((0, 3), dtype=np.int64)
    write_dataset({"train": whole, "val": annotations(2, first=5)}, "vg_h5", tmp_path)
    inputs = {split: f"{tmp_path}/VG-SGG.h5#{split}" for split in ("train", "val")}
    splits = read_splits("vg_h5", inputs)
    assert [image.image_id for image in splits["train"].images] == [0, 1, 2]
    assert [image.image_id for image in splits["val"].images] == [5, 6]
    filtered = read_splits("vg_h5", inputs, options={"filter_empty_rels": True})
    assert [image.image_id for image in filtered["train"].images] == [0, 2]
    with pytest.raises(EGTRError, match="Options of vg_h5.*filter_empty"):
        read_splits("vg_h5", inputs, options={"filter_empty": True})
