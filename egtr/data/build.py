"""Loaders and checks from a configuration."""

import logging
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    MapDataset,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    print_instances_class_histogram,
)
from detectron2.data.build import trivial_batch_collator, worker_init_reset_seed
from detectron2.data.common import ToIterableDataset
from detectron2.data.samplers import InferenceSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader

from egtr.structures import ConfigurationError, DataError, TripletCounts, not_crowd

from .broken import SkipBroken
from .catalog import check_registered, get_metadata
from .datasets.formats import register_rows
from .datasets.registration import read_dataset
from .mapper import SceneGraphMapper
from .resampling import PredicateResampling, check_resampling
from .sampler import ResumableSampler
from .statistics import add_triplet_counts, load_triplet_counts
from .worker import end_lost_workers

logger = logging.getLogger(__name__)


class TrainLoader(DataLoader):
    """Endless batches of mapped images, in an order that a resumed run can go on with.

    Args:
        images: mapped images by index.
        order: the indices, batch by batch.
        num_workers: processes that load images; 0: this process.

    Attributes:
        order: as above.
        skipped: ``images`` if it knows which of them are broken (DATALOADER.SKIP_BROKEN), else None.
    """

    def __init__(self, images: MapDataset | SkipBroken, order: ResumableSampler, num_workers: int):
        super().__init__(
            ToIterableDataset(images, order, shard_sampler=False),
            batch_size=order.batch_size,
            num_workers=num_workers,
            collate_fn=trivial_batch_collator,
            worker_init_fn=worker_init_reset_seed,
            drop_last=True,
        )
        end_lost_workers(self)
        self.order = order
        self.skipped = images if isinstance(images, SkipBroken) else None


def build_train_loader(cfg: CfgNode) -> TrainLoader:
    """Build the endless training loader over ``cfg.DATASETS.TRAIN``, with :class:`SceneGraphMapper`.

    DATALOADER.FILTER_EMPTY_ANNOTATIONS drops whole images without objects. In the other images no annotation is
    touched before the mapper, so that relation indices stay right.

    The order of images depends only on SEED (random if SEED is negative), whatever the number of workers;
    :func:`skip_batches` lets a loader start further on. DATALOADER.PREDICATE_RESAMPLING repeats images in it.
    Another DATALOADER.SAMPLER_TRAIN than "TrainingSampler" is Detectron2's, with Detectron2's seed.
    With DATALOADER.SKIP_BROKEN other images take the places of broken ones (:func:`skipped_by` counts them).
    DATASETS.TEST is read too, so that what an evaluation would refuse ends a run before its first step.

    Returns:
        An iterable over batches, each a list of SOLVER.IMS_PER_BATCH / processes mapped dicts.

    Raises:
        ConfigurationError: DATASETS.TRAIN is empty or does not match the model; SOLVER.IMS_PER_BATCH cannot be
            shared out among the processes; or a key of INPUT or DATALOADER holds a meaningless value.
        DataError: a dataset cannot be read, no image is left to train on, or a dataset of DATASETS.TEST has none.
    """
    if not cfg.DATASETS.TRAIN:
        raise ConfigurationError(
            "DATASETS.TRAIN is empty: name at least one dataset to train on, such as ('scenes_train',)"
        )
    check_resampling(cfg)
    check_dataset_matches_config(cfg)
    images, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if images < 1 or images % processes:
        raise ConfigurationError(
            f"SOLVER.IMS_PER_BATCH is {images}; choose a positive multiple of the {processes} process(es)"
        )
    mapper = SceneGraphMapper(cfg, is_train=True)
    records, num_unsound = _read_training_set(cfg)
    _check_test_sets(cfg, {record.get("file_name") for record in records})
    sampler = _detectron2_sampler(cfg, mapper, records)
    mapper.resampling = PredicateResampling.from_config(cfg, records)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    if mapper.resampling is not None:
        make = partial(RepeatFactorTrainingSampler, mapper.resampling.repeat_factors(records))
    elif cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        make = partial(TrainingSampler, len(records))
    else:
        make, seed = partial(_as_it_is, sampler), None
    groups = None
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        groups = [int(record["width"] > record["height"]) for record in records]
    order = ResumableSampler(make, seed, images // processes, groups)
    records = DatasetFromList(records, copy=False)
    if cfg.DATALOADER.SKIP_BROKEN:
        mapped = SkipBroken(records, mapper, unsound=num_unsound)
    else:
        mapped = MapDataset(records, mapper)
    return TrainLoader(mapped, order, cfg.DATALOADER.NUM_WORKERS)


def _read_training_set(cfg: CfgNode) -> tuple[list[dict[str, Any]], int]:
    """Read all of DATASETS.TRAIN; return the records, and how many images have unsound annotations."""
    names = cfg.DATASETS.TRAIN
    parts, left_out = zip(*(read_dataset(name, cfg.DATALOADER.SKIP_BROKEN) for name in names), strict=True)
    records = list(chain.from_iterable(parts))
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        records = [record for record in records if not_crowd(record.get("annotations", ())).any()]
    if not records:
        raise DataError(f"DATASETS.TRAIN {names}: no image is left to train on; name a dataset with objects")
    print_instances_class_histogram(records, MetadataCatalog.get(names[0]).thing_classes)
    return records, sum(map(len, left_out))


def _detectron2_sampler(cfg: CfgNode, mapper: SceneGraphMapper, records: list[dict[str, Any]]) -> Any:
    # It draws a seed. It is called even if SEED decides, because augmentations in this process draw from the same
    # generator, and runs of earlier versions drew this number too.
    return build_detection_train_loader.from_config(cfg, mapper=mapper, dataset=records)["sampler"]


def _check_test_sets(cfg: CfgNode, train_files: set[Any]) -> None:
    """Read DATASETS.TEST once: an evaluation must be possible, and should not be on images of training."""
    for name in dict.fromkeys(cfg.DATASETS.TEST):
        if name in cfg.DATASETS.TRAIN:
            continue
        records, _ = read_dataset(name, cfg.DATALOADER.SKIP_BROKEN)
        _check_not_empty(name, records)
        seen = [record["file_name"] for record in records if record.get("file_name") in train_files]
        if seen:
            text = "%d of %d images of %r (DATASETS.TEST) are in DATASETS.TRAIN too, such as %s"
            logger.warning(text, len(seen), len(records), name, seen[0])


def _check_not_empty(dataset_name: str, records: list[dict[str, Any]]) -> None:
    if not records:
        raise DataError(f"Dataset {dataset_name!r} has no image (DATASETS.TEST), so there is nothing to evaluate.")


def _as_it_is(value: Any, seed: int | None = None) -> Any:
    return value


def get_order_seed(loader: Iterable[Any]) -> int | None:
    """Return the seed that decides the order of images; None if another function built the loader."""
    return loader.order.seed if isinstance(loader, TrainLoader) else None


def skip_batches(loader: Iterable[Any], number: int, seed: int | None = None) -> bool:
    """Let a loader of :func:`build_train_loader` start after its first ``number`` batches, without reading them.

    Call it before the first iteration.

    Args:
        loader: the loader.
        number: number of batches to skip.
        seed: seed of the order to use, see :func:`get_order_seed`; None: the loader's own.

    Returns:
        False if another function built the loader, which then starts with its first batch.
    """
    if not isinstance(loader, TrainLoader):
        return False
    loader.order.skip = number
    if seed is not None:
        loader.order.seed = seed
    return True


def skipped_by(loader: Iterable[Any]) -> SkipBroken | None:
    """Return the images of a training loader that know which of them are broken; None without SKIP_BROKEN."""
    return loader.skipped if isinstance(loader, TrainLoader) else None


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Build Detectron2's test loader over all images of ``dataset_name``, in order, one at a time.

    With DATALOADER.SKIP_BROKEN broken images are missing from it. If the first of TEST.SCENE_GRAPH.TASKS is another
    than "sgdet", records hold what the model is given, see :class:`SceneGraphMapper`.

    Raises:
        DataError: the dataset cannot be read or has no image.
    """
    check_registered(dataset_name)
    mapper = SceneGraphMapper(cfg, is_train=False)
    records, _ = read_dataset(dataset_name, cfg.DATALOADER.SKIP_BROKEN)
    _check_not_empty(dataset_name, records)
    if cfg.DATALOADER.SKIP_BROKEN:
        mapped = SkipBroken(DatasetFromList(records, copy=False), mapper, replace=False)
        # From an iterable dataset Detectron2 drops each image that its mapper turns into None.
        records, mapper = ToIterableDataset(mapped, InferenceSampler(len(records))), _as_it_is
    return end_lost_workers(
        build_detection_test_loader(records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS)
    )


def build_triplet_counts(cfg: CfgNode) -> TripletCounts:
    """Count the triplets of all of ``cfg.DATASETS.TRAIN``, for the frequency bias and for zero-shot recall.

    Raises:
        ConfigurationError: DATASETS.TRAIN is empty or does not match the model.
        DataError: a dataset cannot be read.
    """
    if not cfg.DATASETS.TRAIN:
        raise ConfigurationError("DATASETS.TRAIN is empty: there are no triplets to count")
    check_dataset_matches_config(cfg)
    skip_broken = cfg.DATALOADER.SKIP_BROKEN
    return add_triplet_counts([load_triplet_counts(name, skip_broken) for name in cfg.DATASETS.TRAIN])


def check_dataset_matches_config(cfg: CfgNode, *, train: bool = True) -> None:
    """Compare the classes of every configured dataset with the model's numbers and with each other.

    Predicates are compared only with MODEL.EGTR.RELATION.ENABLED, so that a detector can be trained on any
    detection dataset.

    Args:
        train: include DATASETS.TRAIN, which an evaluation does not need on the disk.

    Raises:
        ConfigurationError: numbers disagree (the message holds both numbers and the key); or two datasets name
            their classes differently, so that an id would change its meaning between them.
        DataError: a dataset is unknown or cannot be read.
    """
    register_rows(cfg.DATASETS.REGISTER)
    egtr = cfg.MODEL.EGTR
    expected = {"thing_classes": ("NUM_CLASSES", egtr.NUM_CLASSES)}
    if egtr.RELATION.ENABLED:
        expected["predicate_classes"] = ("NUM_PREDICATES", egtr.NUM_PREDICATES)
    names = list(dict.fromkeys((*(cfg.DATASETS.TRAIN if train else ()), *cfg.DATASETS.TEST)))
    known = {name: get_metadata(name, cfg.DATALOADER.SKIP_BROKEN) for name in names}
    for name, metadata in known.items():
        for field, (key, number) in expected.items():
            found = metadata.get(field)
            if not found:
                raise ConfigurationError(
                    f"Dataset {name!r} has no relations: its metadata lacks {field}. Train only the "
                    "detector, with MODEL.EGTR.RELATION.ENABLED False, or register a scene graph dataset."
                )
            if len(found) != number:
                raise ConfigurationError(
                    f"Dataset {name!r} has {len(found)} {field}, but MODEL.EGTR.{key} is {number}. "
                    f"Set MODEL.EGTR.{key} {len(found)}, or choose the dataset that the model is meant for."
                )
            first = known[names[0]].get(field)
            differing = next((k for k in range(number) if found[k] != first[k]), None)
            if differing is not None:
                raise ConfigurationError(
                    f"Datasets {names[0]!r} and {name!r} (DATASETS.TRAIN, DATASETS.TEST) differ in {field}: "
                    f"number {differing} is {first[differing]!r} in one, {found[differing]!r} in the other."
                )
