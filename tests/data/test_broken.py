"""Damaged images: what the error says, and how training goes on past them."""

import itertools
import logging

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from egtr.config.defaults import get_egtr_cfg
from egtr.data import SceneGraphMapper, build_test_loader, build_train_loader, skip_batches
from egtr.data.annotated_image import BrokenImageError
from egtr.data.broken import NUM_NAMED, SkipBroken
from egtr.data.build import skipped_by
from egtr.structures import EGTRError
from tests.data.damage import HEIGHT, WIDTH, write_damaged, write_odd_but_whole


def record(folder, name, image_id=7):
    size = {"height": HEIGHT, "width": WIDTH}
    return {"file_name": str(folder / name), "image_id": image_id, "annotations": [], "relations": [], **size}


@pytest.mark.parametrize("is_train", [True, False])
def test_every_damage_is_one_error_that_names_the_file(tmp_path, is_train):
    mapper = SceneGraphMapper(is_train, augmentations=[])
    for name, kind in write_damaged(tmp_path).items():
        with pytest.raises(BrokenImageError) as caught:
            mapper(record(tmp_path, name))
        assert str(caught.value).startswith(f"{tmp_path / name}: "), caught.value
        assert caught.value.kind == kind, name


def test_messages_say_what_is_the_matter(tmp_path):
    mapper = SceneGraphMapper(True, augmentations=[])
    write_damaged(tmp_path)
    for name, words in {
        "zero.jpg": "the file is empty",
        "text.jpg": "not in any format that Pillow reads",
        "nowhere.jpg": "there is no such file",
        "small.png": "height, width are 48, 64, but the image is 24 high and 32 wide",
    }.items():
        with pytest.raises(BrokenImageError, match=words):
            mapper(record(tmp_path, name))


def test_odd_images_are_no_broken_ones(tmp_path):
    mapper = SceneGraphMapper(True, augmentations=[])
    for name in write_odd_but_whole(tmp_path):
        image = mapper(record(tmp_path, name))["image"]
        assert image.shape == (3, HEIGHT, WIDTH) and image.dtype == torch.uint8, name
        assert image.float().std() > 20, name  # not blank


def load(records, broken):
    """A mapper that cannot be fooled by timing: it fails for the indices in ``broken``, always."""
    return FailingMapper(set(broken)), [{"file_name": f"{k}.jpg", "index": k} for k in range(records)]


class FailingMapper:
    def __init__(self, broken):
        self.broken = broken

    def __call__(self, record):
        if record["index"] in self.broken:
            raise EGTRError(f"{record['file_name']}: is broken")
        return record["index"]


def skipping(number, broken, **options):
    mapper, records = load(number, broken)
    return SkipBroken(records, mapper, **options)


def test_another_image_takes_the_place_and_always_the_same():
    broken = {1, 2, 5}
    dataset = skipping(8, broken)
    seen = [dataset[k] for k in range(8)]
    # Whole images are themselves.
    assert [k for k in range(8) if seen[k] == k] == [0, 3, 4, 6, 7]
    assert not set(seen) & broken
    assert dataset.broken() == [1, 2, 5]
    # Neither what was met before nor the order of access changes a choice.
    fresh = skipping(8, broken)
    assert [fresh[k] for k in reversed(range(8))] == seen[::-1]
    assert [dataset[k] for k in range(8)] == seen


def test_replacements_are_spread_over_the_whole_images():
    # A copy that stopped half way: the last 300 of 600 are missing. Were the next whole image taken each time,
    # number 0 would come 301 times. At random each of the 300 whole ones replaces one on average (Poisson), and the
    # chance that one of them replaces more than seven is 300 * 1e-5.
    dataset = skipping(600, range(300, 600))
    counts = np.bincount([dataset[k] for k in range(600)], minlength=600)
    assert counts[300:].sum() == 0 and counts.max() <= 1 + 7


def test_without_replacement_there_is_nothing():
    dataset = skipping(3, {1}, replace=False)
    assert [dataset[k] for k in range(3)] == [0, None, 2]
    assert dataset.broken() == [1]


def test_a_hopeless_set_ends_with_an_error():
    with pytest.raises(EGTRError, match=r"all 4 images are broken.*2\.jpg: is broken"):
        skipping(4, range(4))[2]


def test_only_the_first_few_are_named_and_each_once(caplog):
    dataset = skipping(40, range(30))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for k in range(40):
                dataset[k]
    lines = [r.getMessage() for r in caplog.records]
    assert len(lines) == len(set(lines)) == NUM_NAMED
    assert "leaves out" in lines[0] and lines[-1].endswith("further ones are only counted")
    names = ", ".join(f"{k}.jpg" for k in range(NUM_NAMED))
    assert dataset.describe(dataset.broken()) == f"30 of 40 images were broken and left out: {names}, ..."
    dataset.unsound = 2
    assert dataset.describe([3]) == (
        "1 of 40 images were broken and left out: 3.jpg; before that, 2 with errors in their annotations"
    )


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)])
def test_workers_share_what_they_find(context, workers):
    broken = {0, 3, 4, 11}
    dataset = skipping(12, broken)
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, multiprocessing_context=context)
    batches = [batch.tolist() for batch in loader]
    expected = skipping(12, broken)
    assert batches == [[expected[k] for k in range(first, first + 3)] for first in (0, 3, 6, 9)]
    # The process that only waits for batches knows as well.
    assert dataset.broken() == sorted(broken)


def image_ids(loader, number):
    return [[mapped["image_id"] for mapped in batch] for batch in itertools.islice(loader, number)]


@pytest.fixture
def cfg(make_tiny_dataset):
    """Nine images, two of them in another orientation, three of them missing."""
    lying, upright = make_tiny_dataset(num_images=7, seed=6), make_tiny_dataset(num_images=2, size=(96, 72), seed=7)
    for number in (2, 3, 6):
        (lying.root / "images" / f"{number:06d}.png").unlink()
    cfg = get_egtr_cfg()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (lying.train, upright.train), (lying.train,)
    cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES = 5, 4
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (48,), 48
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS, cfg.SEED = 2, 0, 7
    cfg.DATALOADER.SKIP_BROKEN = True
    return cfg


def test_batches_stay_full_and_in_the_order_of_the_seed(cfg):
    loader = build_train_loader(cfg)
    expected = image_ids(loader, 10)
    assert {len(batch) for batch in expected} == {2}
    # Image ids of the second set begin at 1 as well.
    assert not {3, 6} & set(itertools.chain.from_iterable(expected))
    assert len(skipped_by(loader).broken()) == 3
    # The same with workers, and in a run that goes on after the fourth batch, which has met nothing broken before.
    for workers in (0, 2):
        cfg.DATALOADER.NUM_WORKERS = workers
        loader = build_train_loader(cfg)
        assert skip_batches(loader, 4)
        assert image_ids(loader, 6) == expected[4:]


@pytest.mark.parametrize("workers", [0, 2])
def test_test_loader_leaves_broken_images_out(cfg, workers):
    cfg.DATALOADER.NUM_WORKERS = workers
    loaded = list(itertools.chain.from_iterable(build_test_loader(cfg, cfg.DATASETS.TEST[0])))
    assert sorted(mapped["image_id"] for mapped in loaded) == [1, 4, 5, 7]


def test_without_skipping_the_first_broken_image_is_an_error(cfg):
    cfg.DATALOADER.SKIP_BROKEN = False
    with pytest.raises(EGTRError, match=r"000002\.png: cannot be read"):
        list(build_test_loader(cfg, cfg.DATASETS.TEST[0]))
