"""Prediction files that a reader refuses, and the messages."""

import json
import re
import shutil
import zipfile

import numpy as np
import pytest

from egtr.evaluation import PredictionMeta, list_images, read_meta, read_predictions
from egtr.structures import EGTRError
from tests.evaluation.predictions import FIELDS, NAMES, random_record, write


@pytest.fixture
def members():
    """All members of a sound file with the two images 11 and 12."""
    arrays = {"meta": json.dumps(PredictionMeta(**NAMES, max_rank=None).to_json())}
    for k, image_id in enumerate((11, 12)):
        prediction, truth = random_record(k)
        arrays |= {f"{k}/image_id": image_id}
        arrays |= {f"{k}/{name}": np.asarray(getattr(prediction, name)) for name in FIELDS}
        arrays |= {f"{k}/gt_{name}": getattr(truth, name) for name in ("boxes", "classes", "triplets")}
    return arrays


def read_all(path, **members):
    np.savez_compressed(path, **members)
    return list(read_predictions(path))


def test_the_sound_file_is_read(members, tmp_path):
    assert [image_id for image_id, _, _ in read_all(tmp_path / "p.npz", **members)] == [11, 12]


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("1/logits", None, "image 12: logits is missing"),
        ("1/image_size", None, "image 12: image_size is missing"),
        ("1/gt_classes", None, "image 12: gt_classes is missing"),
        ("1/image_id", None, "record 1: image_id is missing"),
        ("1/image_id", np.int64(11), "image 11: a second record"),
        ("1/image_id", np.array([1, 2]), "record 1: image_id is an array"),
        ("1/image_id", np.float64(2), "record 1: image_id is float64, expected int or unsigned int or text"),
        ("1/logits", np.zeros((6, 3), int), "image 12: logits is int64, expected float"),
        ("1/logits", np.zeros((6, 2)), "image 12: logits has 2 columns, but meta has 3"),
        ("1/relation", np.zeros((36, 5)), "image 12: relation has 5 columns, but meta has 4"),
        ("1/relation", np.zeros((35, 4)), r"image 12: Prediction.relation has shape \(35, 4\)"),
        ("1/relation", np.full((36, 4), -3.0), "image 12: relation lies in -3..-3; these are probabilities in 0..1"),
        ("1/connectivity", np.full(36, np.inf), "image 12: connectivity holds NaN or infinity"),
        ("1/boxes", np.tile([5.0, 5, 3, 3], (6, 1)), "image 12: boxes holds one that ends before it begins"),
        ("1/boxes", np.zeros((6, 5)), r"image 12: Prediction.boxes has shape \(6, 5\)"),
        ("1/pairs", np.full((36, 2), 6), r"image 12: Prediction.pairs indexes queries outside 0..5"),
        ("1/pairs", np.zeros((36, 2)), "image 12: pairs is float64, expected int or unsigned int"),
        ("1/image_size", np.array([0, 10]), r"image 12: image_size is \[0, 10\], expected height and width"),
        ("1/image_size", np.int64(3), "image 12: image_size is 3, expected height and width"),
        ("1/gt_classes", np.array([0, 0, 3, 0]), "image 12: ground truth: classes holds class 3, but .* only 0..2"),
        (
            "1/gt_triplets",
            np.array([[0, 1, 4]]),
            "image 12: ground truth: triplets holds predicate 4, but .* only 0..3",
        ),
        ("1/gt_triplets", np.array([[0, 9, 1]]), "image 12: .*triplets names object 9, but there are only 4"),
        ("1/gt_crowd_boxes", np.zeros((2, 4)), "image 12: gt_crowd_classes is missing"),
        ("1/gt_label", np.zeros(4, int), "member 1/gt_label is unknown"),
        ("3/image_id", np.int64(13), "there is no record 2, but a later one"),
        ("meta", None, "meta is missing"),
        ("meta", np.array(["{}", "{}"]), "meta is an array of texts"),
        ("meta", np.array("{not JSON"), "meta: Expecting property name"),
        ("meta", np.array('{"format": "coco"}'), 'meta: format is not "egtr-predictions"'),
        ("meta", np.array('{"format": "egtr-predictions"}'), "meta: version is None, expected 1"),
        ("meta", np.array('{"format": "egtr-predictions", "version": 2}'), "meta: version is 2, .*; update EGTR"),
        (
            "meta",
            np.array('{"format": "egtr-predictions", "version": 1, "class_names": "a"}'),
            "meta: class_names is not a list of names",
        ),
        (
            "meta",
            np.array('{"format": "egtr-predictions", "version": 1, "training": {"counts": []}}'),
            "meta: training is not as described",
        ),
        (
            "meta",
            np.array('{"format": "egtr-predictions", "version": 1, "task": "predcls", "max_rank": 20}'),
            "meta: max_rank is 20, but records of predcls are whole",
        ),
        ("part", np.array('{"process": 0}'), "part: .*missing 3 required .*leave it out"),
        ("part", np.array("[]"), "part: .*leave it out"),
        (
            "part",
            np.array('{"process": "0", "num_processes": 1, "number": 0, "last": true}'),
            "part: .* is not process, num_processes, number, last; leave it out",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_file_image_and_field(member, value, message, members, tmp_path):
    members[member] = value
    if value is None:
        del members[member]
    with pytest.raises(EGTRError, match=f"^{re.escape(str(tmp_path))}/p.npz: {message}"):
        read_all(tmp_path / "p.npz", **members)


def test_damaged_and_foreign_files_are_named(members, tmp_path):
    path = tmp_path / "p.npz"
    with pytest.raises(EGTRError, match="p.npz: there is no such file"):
        read_meta(path)
    np.savez(path, **members)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"some text"):
        path.write_bytes(content)
        with pytest.raises(EGTRError, match="p.npz: is no .npz file, or a damaged one") as error:
            read_meta(path)
        assert "unsafe" not in str(error.value)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(EGTRError, match="one.npy: holds a single array"):
        read_meta(tmp_path / "one.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EGTRError, match="empty: the folder holds no .npz file"):
        read_meta(tmp_path / "empty")


def test_flipped_bits_are_noticed(members, tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, **members)
    content = bytearray(path.read_bytes())
    content[content.index(members["1/logits"].tobytes()) + 3] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(EGTRError, match="p.npz: image 12: logits cannot be read .*CRC"):
        list(read_predictions(path))


def test_pickles_are_never_loaded(members, tmp_path):
    members["1/boxes"] = np.array([{"a": 1}], dtype=object)
    with pytest.raises(EGTRError, match="image 12: boxes cannot be read .*allow_pickle"):
        read_all(tmp_path / "p.npz", **members)
    with zipfile.ZipFile(tmp_path / "p.npz", "a") as file:
        file.writestr("2/image_id", "7")
    with pytest.raises(EGTRError, match="record 2: image_id is no array"):
        list_images(tmp_path / "p.npz")


def test_parts_of_several_runs_are_not_mixed(tmp_path):
    path = tmp_path / "p"
    write(path, [0, 1], records_per_part=1)
    write(tmp_path / "q", [2], PredictionMeta(max_rank=20))
    shutil.copy(tmp_path / "q/part-0000-00000.npz", path / "part-0000-00002.npz")
    with pytest.raises(EGTRError, match="part-0000-00002.npz: meta differs from .* in max_rank; parts of"):
        read_predictions(path)
    write(tmp_path / "r", [2])
    shutil.copy(tmp_path / "r/part-0000-00000.npz", path / "part-0000-00002.npz")
    with pytest.raises(EGTRError, match="p: parts of several runs are mixed"):
        read_predictions(path)


def test_a_lost_part_is_noticed(tmp_path):
    write(tmp_path / "p", [0, 1, 2], records_per_part=1)
    (tmp_path / "p/part-0000-00001.npz").unlink()
    with pytest.raises(EGTRError, match="did not write all"):
        read_predictions(tmp_path / "p")
    assert list(list_images(tmp_path / "p", partial=True)) == [0, 2]


def test_several_files_of_another_system_in_one_folder(members, tmp_path):
    np.savez(tmp_path / "b.npz", **{name: value for name, value in members.items() if not name.startswith("1/")})
    members["0/image_id"], members["1/image_id"] = np.array("x"), np.array("y")
    np.savez(tmp_path / "a.npz", **members)
    assert list(list_images(tmp_path)) == ["x", "y", 11]
