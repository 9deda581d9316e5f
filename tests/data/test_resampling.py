import itertools
import math
from functools import partial

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from detectron2.data.samplers import RepeatFactorTrainingSampler
from hypothesis import strategies as st

from egtr.config.defaults import get_egtr_cfg
from egtr.data import build_train_loader, skip_batches
from egtr.data.resampling import PredicateResampling
from egtr.data.sampler import ResumableSampler
from egtr.structures import EGTRError
from tests.properties import check, few_or_many

# Ten images. Predicate 0 is on all but the last, which has none; 1 is on one image, where it stands twice and
# counts once; 2 on none; 3 on four. Shares: 0.9, 0.1, 0, 0.4.
RECORDS = [
    {"relations": [[0, 1, 0], [1, 2, 1], [2, 1, 1]]},
    *({"relations": [[0, 1, 0], [1, 0, 3]]} for _ in range(4)),
    *({"relations": [[0, 1, 0]]} for _ in range(4)),
    {"relations": []},
]


def test_repetitions_by_hand():
    resampling = PredicateResampling.from_dataset_dicts(RECORDS, threshold=0.9)
    # sqrt(0.9 / 0.9) = 1, sqrt(0.9 / 0.1) = 3, not seen: 1, sqrt(0.9 / 0.4) = 1.5.
    np.testing.assert_allclose(resampling.predicate_repeats, [1, 3, 1, 1.5])
    repeats = [resampling.repeats(record["relations"]) for record in RECORDS]
    np.testing.assert_allclose(repeats, [3, 1.5, 1.5, 1.5, 1.5, 1, 1, 1, 1, 1])
    # At a lower threshold frequent predicates are worth one image, never less: sqrt(0.4 / 0.9) < 1.
    resampling = PredicateResampling.from_dataset_dicts(RECORDS, threshold=0.4)
    np.testing.assert_allclose(resampling.predicate_repeats, [1, 2, 1, 1])


def test_a_set_without_relations_repeats_nothing():
    records = [{"relations": []}, {}]
    resampling = PredicateResampling.from_dataset_dicts(records, threshold=0.5, drop=1.0)
    assert [resampling.repeats(record.get("relations", [])) for record in records] == [1, 1]
    assert resampling.thin_out(np.zeros((0, 3), dtype=np.int64), 1.0).shape == (0, 3)


def test_images_come_as_often_as_they_are_worth():
    resampling = PredicateResampling.from_dataset_dicts(RECORDS, threshold=0.9)
    sampler = RepeatFactorTrainingSampler(resampling.repeat_factors(RECORDS), seed=0)
    # An epoch has 3 + 4 * 1.5 + 5 * 1 = 14 images in the mean; count over about 500 of them.
    seen = np.bincount(list(itertools.islice(sampler, 7000)), minlength=10) / 500
    # Whole factors are kept in every epoch. A factor of 1.5 comes once or twice, at even odds: its mean over 500
    # epochs has a standard deviation of 0.5 / sqrt(500) = 0.022; and the last epoch is cut short.
    np.testing.assert_allclose(seen[0], 3, atol=0.05)
    np.testing.assert_allclose(seen[1:5], 1.5, atol=0.1)
    np.testing.assert_allclose(seen[5:], 1, atol=0.05)


def test_relations_of_frequent_predicates_are_left_out_as_often_as_they_should():
    resampling = PredicateResampling.from_dataset_dicts(RECORDS, threshold=0.9, drop=0.6)
    relations = np.array([[0, 1, 0], [1, 2, 1], [2, 1, 1], [2, 0, 3]])
    np.random.seed(0)
    stayed = np.zeros(4)
    for _ in range(2000):
        left = resampling.thin_out(relations, 3.0)
        assert left.tolist() == [row for row in relations.tolist() if row in left.tolist()]  # the order is kept
        stayed += [row in left.tolist() for row in relations.tolist()]
    # On an image that comes 3 times, predicate 0 goes with 0.6 * (3 - 1) / 3 = 0.4, predicate 3 with
    # 0.6 * (3 - 1.5) / 3 = 0.3 and the rarest, to which the image owes its 3, never. Standard deviation 0.011.
    np.testing.assert_allclose(stayed / 2000, [0.6, 1, 1, 0.7], atol=0.035)
    # An image that is not repeated keeps everything.
    frequent = relations[[0, 0]]
    assert resampling.thin_out(frequent, 1.0).tolist() == frequent.tolist()
    # 2 * (3 - 1) / 3 and 2 * (3 - 1.5) / 3 are at least 1: certain.
    strict = PredicateResampling.from_dataset_dicts(RECORDS, threshold=0.9, drop=2.0)
    assert strict.thin_out(relations, 3.0).tolist() == [[1, 2, 1], [2, 1, 1]]


@few_or_many(30, 100)
def test_the_order_goes_on_from_any_batch(examples):
    check(
        examples,
        assert_the_order_goes_on,
        predicates_of=st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=8),
        threshold=st.floats(0.05, 1),
        groups=st.lists(st.integers(0, 1), min_size=8, max_size=8),
        skip=st.integers(0, 12),
        seed=st.integers(0, 2**31),
    )


def assert_the_order_goes_on(predicates_of, threshold, groups, skip, seed):
    records = [{"relations": [[0, 1, p] for p in predicates]} for predicates in predicates_of]
    resampling = PredicateResampling.from_dataset_dicts(records, threshold)

    def make():
        sampler = partial(RepeatFactorTrainingSampler, resampling.repeat_factors(records))
        return ResumableSampler(sampler, seed, 2, groups)

    whole = list(itertools.islice(make(), 2 * (skip + 10)))
    resumed = make()
    resumed.skip = skip
    assert list(itertools.islice(resumed, 20)) == whole[2 * skip :]
    # Batches do not mix the groups (images upright and lying).
    assert all(groups[first] == groups[second] for first, second in zip(whole[::2], whole[1::2], strict=True))


def _cfg(dataset, **keys):
    cfg = get_egtr_cfg()
    cfg.DATASETS.TRAIN, cfg.SEED = (dataset.train,), 7
    cfg.MODEL.EGTR.NUM_CLASSES, cfg.MODEL.EGTR.NUM_PREDICATES = 5, 4
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (48,), "none"
    cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = 2, 0
    for key, value in keys.items():
        cfg.DATALOADER.PREDICATE_RESAMPLING[key] = value
    return cfg


def _seen(loader, number):
    return [
        [(mapped["image_id"], mapped["relations"].tolist()) for mapped in batch]
        for batch in itertools.islice(loader, number)
    ]


def test_repeat_factor_in_the_loader(tiny_dataset):
    cfg = _cfg(tiny_dataset, METHOD="repeat_factor", THRESHOLD=1.0)
    records = DatasetCatalog.get(tiny_dataset.train)
    # The factors once more, image by image.
    predicates_of = {record["image_id"]: {p for _, _, p in record["relations"]} for record in records}
    share = {p: sum(p in own for own in predicates_of.values()) / len(records) for p in range(4)}
    worth = {image_id: max(math.sqrt(1 / share[p]) for p in own) for image_id, own in predicates_of.items()}
    assert max(worth.values()) > 1.5 > min(worth.values())

    seen = _seen(build_train_loader(cfg), 150)
    often = {image_id: 0 for image_id in worth}
    for image_id, relations in itertools.chain.from_iterable(seen):
        often[image_id] += 1
        # No relation is left out.
        assert relations == next(record["relations"] for record in records if record["image_id"] == image_id)
    scale = 300 / sum(worth.values())  # epochs in 150 batches of 2
    for image_id, expected in worth.items():
        # Rounding at random has a variance of at most 1/4 an epoch; three standard deviations, and a cut epoch.
        assert abs(often[image_id] - scale * expected) < 3 * 0.5 * math.sqrt(scale) + 2

    # Workers and resuming do not change the order.
    order = [[image_id for image_id, _ in batch] for batch in seen]
    cfg.DATALOADER.NUM_WORKERS = 2
    loader = build_train_loader(cfg)
    assert skip_batches(loader, 5)
    assert [[image_id for image_id, _ in batch] for batch in _seen(loader, 8)] == order[5:13]


def test_bilevel_in_the_loader(tiny_dataset):
    cfg = _cfg(tiny_dataset, METHOD="bilevel", THRESHOLD=1.0, DROP=10.0)
    records = {record["image_id"]: record["relations"] for record in DatasetCatalog.get(tiny_dataset.train)}
    share = {p: sum(any(row[2] == p for row in rows) for rows in records.values()) for p in range(4)}
    rarest = {image_id: min(share[p] for _, _, p in rows) for image_id, rows in records.items()}
    seen = _seen(build_train_loader(cfg), 20)
    dropped = 0
    for image_id, relations in itertools.chain.from_iterable(seen):
        rows = records[image_id]
        # DROP is so high that of relations more frequent than the rarest of the image only those close to it may
        # stay, and the rarest always does.
        assert [row for row in relations if share[row[2]] == rarest[image_id]] == [
            row for row in rows if share[row[2]] == rarest[image_id]
        ]
        assert [row for row in rows if row in relations] == relations
        dropped += len(rows) - len(relations)
    assert dropped > 0
    # Drawn by numpy's generator, which a run seeds.
    cfg.DATALOADER.PREDICATE_RESAMPLING.DROP = 0.7

    def run(numpy_seed):
        np.random.seed(numpy_seed)
        return _seen(build_train_loader(cfg), 20)

    assert run(3) == run(3) != run(4)


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"METHOD": "bi-level"}, "METHOD is 'bi-level'; choose one of none, repeat_factor, bilevel"),
        ({"THRESHOLD": 0.0}, "THRESHOLD is 0.0"),
        ({"THRESHOLD": 1.5}, "THRESHOLD is 1.5"),
        ({"DROP": -0.1}, "DROP is -0.1"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_key(tiny_dataset, keys, message):
    with pytest.raises(EGTRError, match=f"DATALOADER.PREDICATE_RESAMPLING.{message}"):
        build_train_loader(_cfg(tiny_dataset, **keys))


def test_two_samplings_at_once_are_refused(tiny_dataset):
    cfg = _cfg(tiny_dataset, METHOD="repeat_factor")
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    with pytest.raises(EGTRError, match="SAMPLER_TRAIN RepeatFactorTrainingSampler both say how often"):
        build_train_loader(cfg)
