"""Prediction files: what is written is read again, and damage is named."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from egtr.evaluation import PredictionMeta, PredictionWriter, list_images, read_meta, read_predictions
from egtr.structures import EGTRError, GroundTruth, Prediction, TripletCounts
from tests.evaluation.predictions import random_record

FIELDS = ("logits", "boxes", "pairs", "connectivity", "relation", "image_size")
TRUTH_FIELDS = ("boxes", "classes", "triplets", "image_id")
NAMES = {"class_names": ("person", "dog", "tree"), "predicate_names": ("on", "near", "holds", "under")}


def assert_same_record(found, wanted, fields):
    for field in fields:
        a, b = getattr(found, field), getattr(wanted, field)
        np.testing.assert_array_equal(a, b, strict=isinstance(b, np.ndarray), err_msg=field)


def write(path, image_ids, meta=None, **options):
    with PredictionWriter(path, meta, **options) as writer:
        for k, image_id in enumerate(image_ids):
            writer.write(image_id, *random_record(k, image_id=image_id))


@pytest.mark.parametrize("name", ["all.npz", "folder"])
def test_records_come_back_bit_by_bit_and_in_order(name, tmp_path):
    path, image_ids = tmp_path / "deep" / name, [7, 3, "000123.jpg", np.int64(12)]
    write(path, image_ids, records_per_part=3)
    records = list(read_predictions(path))
    assert [image_id for image_id, _, _ in records] == [7, 3, "000123.jpg", 12]
    for k, (_, prediction, truth) in enumerate(records):
        # 36 pairs, fewer than the 100 that are kept in any case.
        wanted, wanted_truth = random_record(k, image_id=image_ids[k])
        assert_same_record(prediction, wanted, FIELDS)
        assert_same_record(truth, wanted_truth, TRUTH_FIELDS)
    assert list_images(path) == dict.fromkeys([7, 3, "000123.jpg", 12], True)
    if name == "folder":
        assert sorted(os.listdir(path)) == ["part-0000-00000.npz", "part-0000-00001.npz"]


def test_empty_records_and_records_without_ground_truth(tmp_path):
    nothing = Prediction(*(np.zeros(shape) for shape in ((0, 3), (0, 4), (0, 2), 0, (0, 4))), image_size=(10, 20))
    with PredictionWriter(tmp_path / "p.npz") as writer:
        writer.write("nothing found", nothing, GroundTruth([], [], []))
        writer.write("not annotated", random_record(0)[0])
    (_, empty, truth), (_, _, no_truth) = read_predictions(tmp_path / "p.npz")
    assert_same_record(empty, nothing, FIELDS)
    assert len(truth.boxes) == len(truth.triplets) == 0 and no_truth is None
    assert list_images(tmp_path / "p.npz") == {"nothing found": True, "not annotated": False}


def test_a_writer_without_records_leaves_an_empty_file(tmp_path):
    write(tmp_path / "p", [])
    assert list(read_predictions(tmp_path / "p")) == []


def test_meta_comes_back(tmp_path):
    training = TripletCounts([[0, 1, 3], [2, 1, 0]], [5, 1], num_classes=3, num_predicates=4)
    write(tmp_path / "p.npz", [1], PredictionMeta(**NAMES, max_rank=50, training=training))
    meta = read_meta(tmp_path / "p.npz")
    assert (meta.class_names, meta.predicate_names) == (NAMES["class_names"], NAMES["predicate_names"])
    assert (meta.task, meta.max_rank, meta.num_classes, meta.num_predicates) == ("sgdet", 50, 3, 4)
    np.testing.assert_array_equal(meta.training.dense(), training.dense())


def test_predcls_and_sgcls_records_are_whole(tmp_path):
    prediction, truth = random_record(0, num_queries=15)
    for task in ("predcls", "sgcls", "sgdet"):
        with PredictionWriter(tmp_path / task, PredictionMeta(task=task)) as writer:
            writer.write(1, prediction, truth)
        (_, found, _) = next(read_predictions(tmp_path / task))
        assert read_meta(tmp_path / task).max_rank == (100 if task == "sgdet" else None)
        # Pruning keeps 100 of 210 pairs (i, j) and more, but never all of these 225 different scores.
        assert (len(found.pairs) == 225) == (task != "sgdet")


def test_numpy_alone_writes_a_file_that_is_read(tmp_path):
    """Only format and version must be stated; float16 and small integers will do."""
    np.savez_compressed(
        tmp_path / "p.npz",
        **{
            "meta": json.dumps({"format": "egtr-predictions", "version": 1, "system": "anything"}),
            "0/image_id": 5,
            "0/logits": np.array([[1, 2], [3, 0]], np.float16),
            "0/boxes": np.array([[0, 0, 4, 4], [1, 1, 9, 9]], np.uint8),
            "0/pairs": np.array([[0, 1]], np.int16),
            "0/connectivity": np.ones(1),
            "0/relation": np.full((1, 3), 0.25),
            "0/image_size": [10, 20],
        },
    )
    ((image_id, prediction, truth),) = read_predictions(tmp_path / "p.npz")
    assert (image_id, truth, prediction.image_size) == (5, None, (10, 20))
    np.testing.assert_array_equal(prediction.logits, [[1, 2], [3, 0]])
    assert read_meta(tmp_path / "p.npz") == PredictionMeta(max_rank=None)


# --- after a process died


def test_an_exception_keeps_what_was_written_and_reading_says_that_more_was_to_come(tmp_path):
    for name in ("folder", "p.npz"):
        with pytest.raises(KeyboardInterrupt), PredictionWriter(tmp_path / name, records_per_part=2) as writer:
            for k in range(3):
                writer.write(k, *random_record(k))
            raise KeyboardInterrupt
        with pytest.raises(EGTRError, match=rf"{name}: process 0 of 1 did not write all .* \(--partial\)"):
            read_predictions(tmp_path / name)
        assert [image_id for image_id, _, _ in read_predictions(tmp_path / name, partial=True)] == [0, 1, 2]
        assert not list(tmp_path.rglob("*.part"))


def test_a_killed_process_loses_the_open_part_alone(tmp_path):
    code = f"""
import os, sys
from egtr.evaluation import PredictionWriter
from tests.evaluation.predictions import random_record
writer = PredictionWriter({str(tmp_path / "p")!r}, records_per_part=2)
for k in range(5):
    writer.write(k, *random_record(k))
os._exit(9)
"""
    # torch is not needed and takes seconds to import
    block = "import sys; sys.modules['torch'] = None\n"
    assert subprocess.run([sys.executable, "-c", block + code], check=False).returncode == 9
    assert sorted(os.listdir(tmp_path / "p")) == [
        "part-0000-00000.npz",
        "part-0000-00001.npz",
        "part-0000-00002.npz.part",
    ]
    with pytest.raises(EGTRError, match="did not write all"):
        read_predictions(tmp_path / "p")
    assert list(list_images(tmp_path / "p", partial=True)) == [0, 1, 2, 3]
    # The next run starts again, leftovers included.
    with pytest.raises(EGTRError, match="holds predictions of an earlier run"):
        PredictionWriter(tmp_path / "p")
    write(tmp_path / "p", [8], overwrite=True)
    assert os.listdir(tmp_path / "p") == ["part-0000-00000.npz"] and list(list_images(tmp_path / "p")) == [8]


def test_processes_write_side_by_side_and_an_image_of_two_counts_once(tmp_path):
    path = tmp_path / "p"
    write(path, [0, 2, 4], process=0, num_processes=2, records_per_part=2)
    with pytest.raises(EGTRError, match="process 1 of 2 did not write all"):
        read_predictions(path)
    # A distributed sampler pads the last batch with image 0.
    write(path, [1, 3, 0], process=1, num_processes=2, records_per_part=2)
    assert [image_id for image_id, _, _ in read_predictions(path)] == [0, 2, 4, 1, 3]
    # A later run with one process leaves nothing of the second.
    write(path, [9], overwrite=True)
    assert list(list_images(path)) == [9]


def test_one_file_is_replaced_at_the_end_only(tmp_path):
    path = tmp_path / "p.npz"
    write(path, [1])
    with pytest.raises(EGTRError, match="p.npz: holds predictions of an earlier run"):
        PredictionWriter(path)
    with PredictionWriter(path, overwrite=True) as writer:
        writer.write(2, *random_record(2))
        assert list(list_images(path)) == [1]
    assert list(list_images(path)) == [2]


def test_a_refused_record_leaves_the_writer_working(tmp_path):
    prediction, truth = random_record(0)
    broken, _ = random_record(1)
    broken.relation[3, 1] = np.nan
    with PredictionWriter(tmp_path / "p.npz", PredictionMeta(**NAMES)) as writer:
        writer.write(1, prediction, truth)
        with pytest.raises(EGTRError, match="p.npz: image 2: relation holds NaN or infinity"):
            writer.write(2, broken, truth)
        with pytest.raises(
            EGTRError, match=r"image 5: image_size is \[100.0, 120.0\], expected height and width, whole"
        ):
            writer.write(5, replace(prediction, image_size=(100.0, 120.0)), truth)
        with pytest.raises(EGTRError, match="image 1: it was written before"):
            writer.write(1, prediction, truth)
        with pytest.raises(EGTRError, match="image 4: logits has 2 columns, but meta has 3"):
            writer.write(4, *random_record(0, num_classes=2))
        writer.write(3, prediction, truth)
    assert list(list_images(tmp_path / "p.npz")) == [1, 3]


def test_what_a_writer_refuses_at_once(tmp_path):
    with pytest.raises(EGTRError, match="2 processes cannot write one file; name a folder"):
        PredictionWriter(tmp_path / "p.npz", num_processes=2)
    (tmp_path / "file").touch()
    with pytest.raises(EGTRError, match="file: is a file; name a folder, or"):
        PredictionWriter(tmp_path / "file")
    with pytest.raises(EGTRError, match="task is 'sgd', choose one of sgdet, sgcls, predcls"):
        PredictionMeta(task="sgd")
    with pytest.raises(EGTRError, match="max_rank is 0"):
        PredictionMeta(max_rank=0)
    counts = TripletCounts([[0, 0, 0]], [1], num_classes=2, num_predicates=4)
    with pytest.raises(EGTRError, match="class_names has 3 names, but training counts 2"):
        PredictionMeta(**NAMES, training=counts)


def test_a_full_disk_costs_the_open_part_alone(tmp_path, monkeypatch):
    writer = PredictionWriter(tmp_path / "p", records_per_part=2)
    for k in range(3):
        writer.write(k, *random_record(k))
    write_array = np.lib.format.write_array

    def fail(file, array, **options):
        if array.shape == (36, 4):
            raise OSError("no space left on device")
        write_array(file, array, **options)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(np.lib.format, "write_array", fail)
        writer.write(3, *random_record(3))
    with pytest.raises(EGTRError, match="p: image 4: the file was closed, or could not be written"):
        writer.write(4, *random_record(4))
    writer.close()
    assert os.listdir(tmp_path / "p") == ["part-0000-00000.npz"]
    assert list(list_images(tmp_path / "p", partial=True)) == [0, 1]


def test_records_are_read_one_at_a_time(tmp_path):
    write(tmp_path / "p", range(3), records_per_part=1)
    records = read_predictions(tmp_path / "p")
    assert next(records)[0] == 0
    # Had they been read at once, the third would be there now.
    (tmp_path / "p/part-0000-00002.npz").unlink()
    assert next(records)[0] == 1
    with pytest.raises(EGTRError, match="part-0000-00002.npz: there is no such file"):
        next(records)


# --- files that a reader refuses


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
