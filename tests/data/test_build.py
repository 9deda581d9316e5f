import itertools
import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.config.defaults import get_egtr_cfg
from egtr.data import (
    build_test_loader,
    build_train_loader,
    build_triplet_counts,
    check_dataset_matches_config,
    get_metadata,
    get_order_seed,
    register_egtr_json,
    skip_batches,
)
from egtr.data.datasets import register_coco_sg
from egtr.structures import ConfigurationError, DataError, EGTRError


def _cfg(dataset, num_classes=5, num_predicates=4):
    cfg = get_egtr_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (dataset.train,), (dataset.val,)
    cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES = num_classes, num_predicates
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (48, 60), 36
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 3, 0
    return cfg


def test_train_loader_yields_batches_of_mapped_images(tiny_dataset):
    batches = list(itertools.islice(build_train_loader(_cfg(tiny_dataset)), 4))
    assert [len(batch) for batch in batches] == [3, 3, 3, 3]
    records = {record["image_id"]: record for record in DatasetCatalog.get(tiny_dataset.train)}
    for mapped in itertools.chain.from_iterable(batches):
        record, classes = records[mapped["image_id"]], mapped["instances"].gt_classes.tolist()
        assert classes == [a["category_id"] for a in record["annotations"]]
        assert mapped["relations"].tolist() == record["relations"]
        assert min(mapped["image"].shape[1:]) in (48, 60)
    # Two epochs of six images: each comes twice.
    assert sorted(m["image_id"] for batch in batches for m in batch) == sorted([*records, *records])


def _image_ids(loader, number):
    return [[mapped["image_id"] for mapped in batch] for batch in itertools.islice(loader, number)]


def test_order_is_that_of_the_seed_whatever_the_workers_and_goes_on_anywhere(tiny_dataset, make_tiny_dataset):
    upright = make_tiny_dataset(num_images=5, size=(96, 72), seed=3)
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED = (tiny_dataset.train, upright.train), 2, 7
    expected = _image_ids(build_train_loader(cfg), 12)
    loader = build_train_loader(cfg)
    assert skip_batches(loader, 5)
    assert _image_ids(loader, 7) == expected[5:]

    cfg.DATALOADER.NUM_WORKERS = 2
    loader = build_train_loader(cfg)
    assert skip_batches(loader, 5)
    assert _image_ids(loader, 7) == expected[5:]
    assert not skip_batches(itertools.repeat([]), 5)

    cfg.DATALOADER.NUM_WORKERS, cfg.SEED = 0, 8
    assert _image_ids(build_train_loader(cfg), 12) != expected


def test_a_random_order_is_told_and_taken_again(tiny_dataset):
    cfg = _cfg(tiny_dataset)
    first, second = build_train_loader(cfg), build_train_loader(cfg)
    seed, expected = get_order_seed(first), _image_ids(first, 8)
    assert seed != get_order_seed(second)
    assert skip_batches(second, 3, seed) and get_order_seed(second) == seed
    assert _image_ids(second, 5) == expected[3:]
    assert get_order_seed(itertools.repeat([])) is None


def test_other_samplers_are_detectron2s(tiny_dataset):
    cfg = _cfg(tiny_dataset)
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.ASPECT_RATIO_GROUPING = 1, False
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.RANDOM_SUBSET_RATIO = "RandomSubsetTrainingSampler", 0.5
    loader = build_train_loader(cfg)
    assert get_order_seed(loader) is None
    assert len({image_id for (image_id,) in _image_ids(loader, 12)}) == 3  # of six


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("DATASETS.TRAIN", (), "DATASETS.TRAIN is empty"),
        ("SOLVER.IMS_PER_BATCH", 0, "IMS_PER_BATCH is 0"),
    ],
)
def test_nothing_to_train_on(tiny_dataset, key, value, message):
    cfg = _cfg(tiny_dataset)
    cfg.merge_from_list([key, value])
    with pytest.raises(ConfigurationError, match=message):
        build_train_loader(cfg)


def test_without_statistics_of_any_dataset_there_is_nothing_to_count(tiny_dataset):
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TRAIN = ()
    with pytest.raises(ConfigurationError, match="DATASETS.TRAIN is empty: there are no triplets"):
        build_triplet_counts(cfg)


def test_datasets_without_images_are_refused(tiny_dataset, renamed):
    cfg = _cfg(tiny_dataset)
    cfg.MODEL.EGTR.RELATION.ENABLED = False
    cfg.DATASETS.TRAIN = ("plain_detection",)
    with pytest.raises(DataError, match="plain_detection.*no image is left to train on"):
        build_train_loader(cfg)
    with pytest.raises(DataError, match="'plain_detection' has no image"):
        build_test_loader(cfg, "plain_detection")


def test_test_loader_yields_every_image_in_order_with_its_ground_truth(tiny_dataset):
    records = DatasetCatalog.get(tiny_dataset.val)
    loaded = list(itertools.chain.from_iterable(build_test_loader(_cfg(tiny_dataset), tiny_dataset.val)))
    assert [m["image_id"] for m in loaded] == [record["image_id"] for record in records]
    assert [m["annotations"] for m in loaded] == [record["annotations"] for record in records]
    assert [m["relations"] for m in loaded] == [record["relations"] for record in records]
    assert {tuple(m["image"].shape) for m in loaded} == {(3, 36, 48)}


@pytest.mark.parametrize("filter_empty", [True, False])
def test_images_without_objects_are_filtered_as_configured(make_tiny_dataset, filter_empty):
    dataset = make_tiny_dataset(num_images=3)
    content = json.loads((dataset.root / "train.json").read_text())
    emptied = content["images"][1]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != emptied]
    (dataset.root / "train.json").write_text(json.dumps(content))
    rel = json.loads((dataset.root / "rel.json").read_text())
    del rel["train"][str(emptied)]
    (dataset.root / "rel.json").write_text(json.dumps(rel))

    cfg = _cfg(dataset)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = filter_empty
    cfg.SOLVER.IMS_PER_BATCH = 1
    seen = {batch[0]["image_id"] for batch in itertools.islice(build_train_loader(cfg), 6)}
    assert (emptied in seen) is not filter_empty
    assert len(seen) == (2 if filter_empty else 3)


def test_statistics_count_the_training_sets_of_the_config(tiny_dataset):
    cfg = _cfg(tiny_dataset)
    counts = build_triplet_counts(cfg)
    expected = np.zeros((5, 5, 4), dtype=np.int64)
    for record in DatasetCatalog.get(tiny_dataset.train):
        for s, o, p in record["relations"]:
            expected[record["annotations"][s]["category_id"], record["annotations"][o]["category_id"], p] += 1
    np.testing.assert_array_equal(counts.dense(), expected)
    # Two sets add up.
    cfg.DATASETS.TRAIN = (tiny_dataset.train, tiny_dataset.val)
    both = build_triplet_counts(cfg).dense()
    cfg.DATASETS.TRAIN = (tiny_dataset.val,)
    np.testing.assert_array_equal(both - expected, build_triplet_counts(cfg).dense())


@pytest.mark.parametrize(
    "numbers, words",
    [
        ((80, 4), ["5 thing_classes", "MODEL.EGTR.NUM_CLASSES is 80"]),
        ((5, 50), ["4 predicate_classes", "MODEL.EGTR.NUM_PREDICATES is 50"]),
    ],
)
def test_other_numbers_than_the_models_fail_before_training(tiny_dataset, numbers, words):
    cfg = _cfg(tiny_dataset, *numbers)
    for attempt in (check_dataset_matches_config, build_train_loader, build_triplet_counts):
        with pytest.raises(EGTRError) as error:
            attempt(cfg)
        for word in [tiny_dataset.train, *words]:
            assert word in str(error.value)


def test_matching_numbers_pass(tiny_dataset):
    assert check_dataset_matches_config(_cfg(tiny_dataset)) is None


def test_test_sets_are_compared_too(tiny_dataset, make_tiny_dataset):
    other = make_tiny_dataset(num_images=1, num_predicates=6)
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TEST = (other.val,)
    with pytest.raises(EGTRError, match=f"{other.val}.*6 predicate_classes"):
        check_dataset_matches_config(cfg)


@pytest.fixture
def renamed(tiny_dataset):
    """The tiny dataset's metadata under other class names; a plain detection dataset without predicates."""
    classes = list(tiny_dataset.thing_classes)
    DatasetCatalog.register("renamed", list)
    MetadataCatalog.get("renamed").set(
        thing_classes=[*classes[:3], "other", *classes[4:]], predicate_classes=list(tiny_dataset.predicate_classes)
    )
    DatasetCatalog.register("plain_detection", list)
    MetadataCatalog.get("plain_detection").set(thing_classes=classes)
    yield
    for name in ("renamed", "plain_detection"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_an_id_must_not_change_its_meaning_between_data_sets(tiny_dataset, renamed):
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TEST = ("renamed",)
    with pytest.raises(EGTRError, match="thing_classes: number 3 is 'thing3' in one, 'other' in the other"):
        check_dataset_matches_config(cfg)


def test_a_detector_trains_on_any_detection_data_set(tiny_dataset, renamed):
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TRAIN = ("plain_detection",)
    with pytest.raises(EGTRError, match="'plain_detection' has no relations.*RELATION.ENABLED False"):
        check_dataset_matches_config(cfg)
    cfg.MODEL.EGTR.RELATION.ENABLED = False
    assert check_dataset_matches_config(cfg) is None


def test_class_names_are_read_from_the_files_where_registration_gave_none(tiny_dataset):
    register_egtr_json("nameless", f"{tiny_dataset.root}/val.json", f"{tiny_dataset.root}/images")
    try:
        metadata = get_metadata("nameless")
        assert metadata.thing_classes == list(tiny_dataset.thing_classes)
        assert metadata.predicate_classes == list(tiny_dataset.predicate_classes)
    finally:
        DatasetCatalog.remove("nameless")
        MetadataCatalog.remove("nameless")


def test_unregistered_name_lists_the_known_ones(tiny_dataset):
    with pytest.raises(EGTRError, match=f"'no_such_set'.*scenes_train.*{tiny_dataset.train}"):
        get_metadata("no_such_set")


@pytest.fixture
def test_set(tmp_path):
    """Registers one COCO-SG file of the classes of the tiny dataset, with a change, under a name."""
    name = "test_set_of_test_build"

    def register(tiny_dataset, change):
        metadata = get_metadata(tiny_dataset.train)
        content = {
            "images": [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 64}],
            "annotations": [],
            "categories": [{"id": k, "name": n} for k, n in enumerate(metadata.thing_classes)],
            "rel_categories": [{"id": k, "name": n} for k, n in enumerate(metadata.predicate_classes)],
            "rel_annotations": [],
        }
        change(content)
        (tmp_path / "test.json").write_text(json.dumps(content))
        register_coco_sg(name, str(tmp_path / "test.json"), str(tmp_path))
        return name

    yield register
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"].clear(), r"'test_set_of_test_build' has no image"),
        (lambda c: c["images"][0].update(id=20260115093000123456), "1 image ids, .* are beyond 64 bits"),
        (lambda c: c["images"][0].update(height=0), 'field "height" is missing or no size: 0'),
    ],
)
def test_what_an_evaluation_would_refuse_is_refused_before_training(tiny_dataset, test_set, change, words):
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TEST = (tiny_dataset.val, test_set(tiny_dataset, change))
    with pytest.raises(DataError, match=words):
        build_train_loader(cfg)


def test_images_of_training_in_a_test_set_are_said(tiny_dataset, test_set, caplog):
    seen = DatasetCatalog.get(tiny_dataset.train)[0]["file_name"]
    cfg = _cfg(tiny_dataset)
    cfg.DATASETS.TEST = (test_set(tiny_dataset, lambda c: None),)
    build_train_loader(cfg)
    assert "DATASETS.TRAIN too" not in caplog.text
    DatasetCatalog.remove(cfg.DATASETS.TEST[0])
    DatasetCatalog.register(cfg.DATASETS.TEST[0], lambda: [{"file_name": seen, "image_id": 1}, {"file_name": "x"}])
    build_train_loader(cfg)
    assert f"1 of 2 images of 'test_set_of_test_build' (DATASETS.TEST) are in DATASETS.TRAIN too, such as {seen}" in (
        caplog.text
    )
