"""Prediction files: what is written is read again, and damage is named."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from egtr.evaluation import PredictionMeta, PredictionWriter, list_images, read_meta, read_predictions
from egtr.structures import EGTRError, GroundTruth, Prediction, TripletCounts
from tests.evaluation.predictions import FIELDS, NAMES, random_record, write

TRUTH_FIELDS = ("boxes", "classes", "triplets", "image_id")


def assert_same_record(found, wanted, fields):
    for field in fields:
        a, b = getattr(found, field), getattr(wanted, field)
        np.testing.assert_array_equal(a, b, strict=isinstance(b, np.ndarray), err_msg=field)


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
from tests.evaluation.predictions import FIELDS, NAMES, random_record, write
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
