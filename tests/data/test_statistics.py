import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.data import count_triplets, get_metadata, load_triplet_counts, register_egtr_json, statistics
from egtr.structures import EGTRError, TripletCounts


def _record(classes, relations, crowd=()):
    annotations = [{"category_id": label, "iscrowd": int(k in crowd)} for k, label in enumerate(classes)]
    return {"file_name": "image.png", "image_id": 7, "annotations": annotations, "relations": relations}


def test_hand_counted():
    records = [
        # Objects of classes 2, 0, 2. (0 -> 1) and (2 -> 1) are both class 2 -> class 0, predicate 1: two in one cell.
        _record([2, 0, 2], [[0, 1, 1], [2, 1, 1], [0, 2, 0]]),
        _record([0, 1], [[0, 1, 1]]),
        _record([1], []),
        _record([], []),
    ]
    # A generator: the dicts may be streamed.
    counts = count_triplets((record for record in records), 3, 3)
    assert counts.triplets.tolist() == [[0, 1, 1], [2, 0, 1], [2, 2, 0]]
    assert counts.counts.tolist() == [1, 2, 1]
    assert (counts.num_classes, counts.num_predicates) == (3, 3)


def test_relations_of_crowd_annotations_do_not_count():
    counts = count_triplets([_record([0, 1, 1], [[0, 1, 0], [0, 2, 0]], crowd={2})], 2, 1)
    assert counts.triplets.tolist() == [[0, 1, 0]] and counts.counts.tolist() == [1]


def test_no_triplets_at_all():
    counts = count_triplets([_record([0, 1], [])], 2, 4)
    assert counts.triplets.shape == (0, 3) and counts.predicate_counts.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "record, words",
    [
        (_record([0, 5], [[0, 1, 0]]), ["image.png", "image id 7", "category_id 5", "3 thing_classes"]),
        (_record([0, 1], [[0, 1, 4]]), ["image.png", "image id 7", "relations 4", "2 predicate_classes"]),
        (_record([0, 1], [[0, 1, -1]]), ["relations -1", "2 predicate_classes"]),
        (_record([0, 1], [[0, 2, 0]]), ["image.png", "image id 7", "object 2", "2 annotations"]),
    ],
)
def test_ids_that_are_not_there_are_refused(record, words):
    with pytest.raises(EGTRError) as error:
        count_triplets([record], 3, 2)
    for word in words:
        assert word in str(error.value)


# --- the cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(make_tiny_dataset, new_process):
    return make_tiny_dataset(num_images=3)


@pytest.fixture
def new_process(monkeypatch):
    """A function after which nothing is remembered but files, as in another process."""

    def forget():
        monkeypatch.setattr(statistics, "_counted_before", {})

    forget()
    return forget


@pytest.fixture
def no_parsing(monkeypatch):
    """A function after which reading annotations fails."""

    def forbid():
        def fail(*args, **kwargs):
            raise AssertionError("an annotation file was parsed")

        monkeypatch.setattr(json, "load", fail)

    return forbid


def _cache_of(dataset):
    return dataset.root / "train.statistics.npz"


def _rows(counts):
    return [(*row, count) for row, count in zip(counts.triplets.tolist(), counts.counts.tolist(), strict=True)]


def test_a_second_run_only_hashes(dataset, new_process, no_parsing):
    first = load_triplet_counts(dataset.train)
    assert first.counts.sum() > 0
    new_process()
    no_parsing()
    assert _rows(load_triplet_counts(dataset.train)) == _rows(first)
    with pytest.raises(AssertionError):  # another split has a cache of its own
        load_triplet_counts(dataset.val)


def test_one_changed_relation_is_counted(dataset, new_process):
    before = load_triplet_counts(dataset.train)
    rel_file = dataset.root / "rel.json"
    rel = json.loads(rel_file.read_text())
    image_id, rows = next(iter(rel["train"].items()))
    old = rows[0][2]
    rows[0][2] = old % 4 + 1
    rel_file.write_text(json.dumps(rel))
    new_process()
    after = load_triplet_counts(dataset.train)
    # The triplet's classes are as before; one predicate has one less, the next one more.
    change = np.zeros(4, dtype=np.int64)
    change[old - 1], change[old % 4] = -1, 1
    np.testing.assert_array_equal(after.predicate_counts - before.predicate_counts, change)
    np.testing.assert_array_equal(after.dense().sum(axis=2), before.dense().sum(axis=2))


def test_files_that_change_while_they_are_read_are_not_kept(dataset, monkeypatch):
    count = statistics._count

    def count_and_change(name, skip_broken):
        counted = count(name, skip_broken)
        (dataset.root / "rel.json").write_text((dataset.root / "rel.json").read_text() + " ")
        return counted

    monkeypatch.setattr(statistics, "_count", count_and_change)
    load_triplet_counts(dataset.train)
    assert not _cache_of(dataset).exists() and not statistics._counted_before


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "wrong ids", "field missing"])
def test_a_damaged_cache_is_made_anew(dataset, new_process, no_parsing, caplog, damage):
    expected, cache = load_triplet_counts(dataset.train), _cache_of(dataset)
    whole = cache.read_bytes()
    arrays = dict(np.load(cache))
    if damage in ("wrong ids", "field missing"):
        if damage == "wrong ids":
            arrays["triplets"] = arrays["triplets"] + 100
        else:
            del arrays["counts"]
        np.savez_compressed(cache, **arrays)
    else:
        cache.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"no statistics"}[damage])
    new_process()
    assert _rows(load_triplet_counts(dataset.train)) == _rows(expected)
    assert f"{cache} cannot be used" in caplog.text
    new_process()
    no_parsing()
    assert _rows(load_triplet_counts(dataset.train)) == _rows(expected)


def test_a_folder_that_cannot_be_written_to(dataset, no_parsing, monkeypatch, caplog):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with caplog.at_level(logging.INFO, logger="egtr"):
        counts = load_triplet_counts(dataset.train)
        no_parsing()
        assert _rows(load_triplet_counts(dataset.train)) == _rows(counts)  # remembered in this process
    lines = [record.message for record in caplog.records if record.name == "egtr.data.statistics"]
    assert lines == [f"Statistics are not kept in {_cache_of(dataset)} (Permission denied): later runs count again"]
    assert {path.name for path in dataset.root.iterdir()} == {
        "images",
        *("rel.json", "test.json", "train.json", "val.json"),
    }


def test_writers_at_once_leave_a_whole_file(tmp_path):
    path, keys = str(tmp_path / "train.statistics.npz"), ["a", "b"]
    made = {}
    for number, key in enumerate(keys):
        counts = TripletCounts.from_class_triplets([[number, 0, 0]], 2, 1)
        made[key] = statistics._Statistics(counts, ["cup", "saucer"], ["on"])

    def work(step):
        key = keys[step % 2]
        statistics._write(path, key, made[key])
        # Another writer's file may be there by now, but never a part of one or a mixture.
        found = statistics._read(path, key)
        return found is None or _rows(found.counts) == _rows(made[key].counts)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert [file.name for file in tmp_path.iterdir()] == ["train.statistics.npz"]


@pytest.fixture
def nameless(dataset):
    """The same files, registered again without class names, and with others."""
    files = f"{dataset.root}/train.json", f"{dataset.root}/images"
    register_egtr_json("nameless", *files)
    register_egtr_json("misnamed", *files, thing_classes=["one", "two"])
    yield
    for name in ("nameless", "misnamed"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_class_names_come_from_the_cache_too(dataset, nameless, new_process, no_parsing):
    load_triplet_counts(dataset.train)
    new_process()
    with pytest.raises(EGTRError, match="5 thing_classes, but dataset 'misnamed' was registered with 2"):
        load_triplet_counts("misnamed")
    no_parsing()
    metadata = get_metadata("nameless")
    assert metadata.thing_classes == list(dataset.thing_classes)
    assert metadata.predicate_classes == list(dataset.predicate_classes)


def test_a_missing_file_is_named_though_there_is_a_cache(dataset, new_process):
    load_triplet_counts(dataset.train)
    (dataset.root / "rel.json").unlink()
    new_process()
    with pytest.raises(EGTRError, match="rel.json is missing"):
        load_triplet_counts(dataset.train)


def test_records_of_unknown_origin_are_counted_each_time(monkeypatch):
    records = [_record([0, 1], [[0, 1, 0]])]
    DatasetCatalog.register("in_memory", lambda: records)
    MetadataCatalog.get("in_memory").set(thing_classes=["cup", "saucer"], predicate_classes=["on"])
    try:
        assert _rows(load_triplet_counts("in_memory")) == [(0, 1, 0, 1)]
        records.append(_record([0, 1], [[0, 1, 0], [1, 0, 0]]))
        assert _rows(load_triplet_counts("in_memory")) == [(0, 1, 0, 2), (1, 0, 0, 1)]
    finally:
        DatasetCatalog.remove("in_memory")
        MetadataCatalog.remove("in_memory")


def test_a_detection_data_set_has_nothing_to_count():
    DatasetCatalog.register("plain", lambda: [_record([0, 1], [])])
    MetadataCatalog.get("plain").set(thing_classes=["cup", "saucer"])
    try:
        with pytest.raises(EGTRError, match="'plain' has no relations to count"):
            load_triplet_counts("plain")
    finally:
        DatasetCatalog.remove("plain")
        MetadataCatalog.remove("plain")
