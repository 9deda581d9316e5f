"""Loaders and checks from a configuration."""

from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    MapDataset,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.common import ToIterableDataset
from detectron2.data.samplers import InferenceSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader

from egtr.structures import EGTRError, TripletCounts

from .broken import SkipBroken
from .catalog import get_metadata
from .datasets.annotations import leaving_out_unsound
from .mapper import SceneGraphMapper
from .resampling import PredicateResampling, check_resampling
from .sampler import ResumableSampler
from .statistics import add_triplet_counts, load_triplet_counts


def build_train_loader(cfg: CfgNode) -> Any:
    """Detectron2's endless training loader over ``cfg.DATASETS.TRAIN`` with :class:`SceneGraphMapper`.

    DATALOADER.FILTER_EMPTY_ANNOTATIONS drops whole images without objects; no annotation of an image that
    stays is touched before the mapper, so relation indices hold.

    The order of images is a function of SEED (random where that is negative), whatever the number of workers;
    :func:`skip_batches` lets a loader start further on. DATALOADER.PREDICATE_RESAMPLING repeats images in it.
    With DATALOADER.SKIP_BROKEN other images take the places of broken ones (:func:`skipped_by` counts them).

    Returns:
        An iterable over batches, each a list of SOLVER.IMS_PER_BATCH / processes mapped dicts.

    Raises:
        EGTRError: DATASETS.TRAIN is empty, does not match the model or leaves no image; SOLVER.IMS_PER_BATCH
            cannot be shared out among the processes; or a key of INPUT or DATALOADER holds a value that means
            nothing.
    """
    if not cfg.DATASETS.TRAIN:
        raise EGTRError("DATASETS.TRAIN is empty: name at least one dataset to train on, such as ('scenes_train',)")
    check_resampling(cfg)
    check_dataset_matches_config(cfg)
    images, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if images < 1 or images % processes:
        raise EGTRError(
            f"SOLVER.IMS_PER_BATCH is {images}; choose a positive multiple of the {processes} process(es)"
        )
    try:
        with leaving_out_unsound(cfg.DATALOADER.SKIP_BROKEN) as unsound:
            arguments = build_detection_train_loader.from_config(cfg, mapper=SceneGraphMapper(cfg, is_train=True))
    except AssertionError as error:
        raise EGTRError(f"DATASETS.TRAIN {cfg.DATASETS.TRAIN}: {error}") from error
    records, sampler = arguments["dataset"], arguments["sampler"]
    if sampler is None:  # an IterableDataset brings its own order
        return build_detection_train_loader(**arguments)
    # A sampler's own seed is drawn from the generators, whose state a resumed run does not share.
    seed = cfg.SEED if cfg.SEED >= 0 else None
    resampling = PredicateResampling.from_config(cfg, records)
    if resampling is not None:
        arguments["mapper"].resampling = resampling
        sampler = resampling.build_sampler(records, seed)
    elif type(sampler) is TrainingSampler and seed is not None:
        sampler = TrainingSampler(len(records), seed=seed)
    groups = None
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        groups = [int(record["width"] > record["height"]) for record in records]
    sampler = ResumableSampler(sampler, images // processes, groups)
    records = DatasetFromList(records, copy=False)
    if cfg.DATALOADER.SKIP_BROKEN:
        mapped = SkipBroken(records, arguments["mapper"], unsound=len(unsound))
    else:
        mapped = MapDataset(records, arguments["mapper"])
    arguments |= {"mapper": None, "sampler": None, "aspect_ratio_grouping": False}
    arguments["dataset"] = ToIterableDataset(mapped, sampler, shard_sampler=False)
    return build_detection_train_loader(**arguments)


def get_order_seed(loader: Any) -> int | None:
    """What the order of images of a loader of :func:`build_train_loader` depends on; None for another loader."""
    sampler = getattr(getattr(loader, "dataset", None), "sampler", None)
    return sampler.seed if isinstance(sampler, ResumableSampler) else None


def skip_batches(loader: Any, number: int, seed: int | None = None) -> bool:
    """Let a loader of :func:`build_train_loader` start behind its first ``number`` batches, without reading them.

    To be called before the first iteration. Returns False, and does nothing, where the loader is another one.

    Args:
        seed: of :func:`get_order_seed`, whose order to take; None: the loader's own.
    """
    sampler = getattr(getattr(loader, "dataset", None), "sampler", None)
    if not isinstance(sampler, ResumableSampler):
        return False
    sampler.skip = number
    if seed is not None:
        sampler.seed = seed
    return True


def skipped_by(loader: Any) -> SkipBroken | None:
    """What knows the broken images of a loader of :func:`build_train_loader`; None without SKIP_BROKEN."""
    images = getattr(getattr(loader, "dataset", None), "dataset", None)
    return images if isinstance(images, SkipBroken) else None


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Detectron2's test loader over all images of ``dataset_name``, in order, one at a time.

    With DATALOADER.SKIP_BROKEN broken images are missing from it.
    """
    with leaving_out_unsound(cfg.DATALOADER.SKIP_BROKEN):
        arguments = build_detection_test_loader.from_config(
            cfg, dataset_name, mapper=SceneGraphMapper(cfg, is_train=False)
        )
    if cfg.DATALOADER.SKIP_BROKEN and isinstance(arguments["sampler"], InferenceSampler):
        records = DatasetFromList(arguments["dataset"], copy=False)
        mapped = SkipBroken(records, arguments["mapper"], replace=False)
        # Behind an iterable dataset Detectron2 drops what its mapper makes None of.
        arguments["dataset"] = ToIterableDataset(mapped, arguments["sampler"])
        arguments |= {"sampler": None, "mapper": _identity}
    return build_detection_test_loader(**arguments)


def _identity(value: Any) -> Any:
    return value


def build_triplet_counts(cfg: CfgNode) -> TripletCounts:
    """Triplet counts over all of ``cfg.DATASETS.TRAIN``, for the frequency bias and for zero-shot recall.

    Raises:
        EGTRError: DATASETS.TRAIN is empty or does not match the model, or what reading a dataset raises.
    """
    if not cfg.DATASETS.TRAIN:
        raise EGTRError("DATASETS.TRAIN is empty: there are no triplets to count")
    check_dataset_matches_config(cfg)
    with leaving_out_unsound(cfg.DATALOADER.SKIP_BROKEN):
        return add_triplet_counts([load_triplet_counts(name) for name in cfg.DATASETS.TRAIN])


def check_dataset_matches_config(cfg: CfgNode, *, train: bool = True) -> None:
    """Compare the classes of every configured dataset with the model's numbers and with each other.

    Predicates are compared only where the relation head is there (MODEL.EGTR.RELATION.ENABLED), so that a
    detector can be trained on any detection dataset.

    Args:
        train: look at DATASETS.TRAIN too, which need not be on the disk for an evaluation.

    Raises:
        EGTRError: numbers disagree, where the message holds both numbers and the key; or two datasets name
            their classes differently, so that an id would change its meaning between them.
    """
    egtr = cfg.MODEL.EGTR
    expected = {"thing_classes": ("NUM_CLASSES", egtr.NUM_CLASSES)}
    if egtr.RELATION.ENABLED:
        expected["predicate_classes"] = ("NUM_PREDICATES", egtr.NUM_PREDICATES)
    names = list(dict.fromkeys((*(cfg.DATASETS.TRAIN if train else ()), *cfg.DATASETS.TEST)))
    with leaving_out_unsound(cfg.DATALOADER.SKIP_BROKEN):
        known = {name: get_metadata(name) for name in names}
    for name, metadata in known.items():
        for field, (key, number) in expected.items():
            found = metadata.get(field)
            if not found:
                raise EGTRError(
                    f"Dataset {name!r} has no relations: its metadata lacks {field}. Train the detector "
                    "alone with MODEL.EGTR.RELATION.ENABLED False, or register a scene graph dataset."
                )
            if len(found) != number:
                raise EGTRError(
                    f"Dataset {name!r} has {len(found)} {field}, but MODEL.EGTR.{key} is {number}. "
                    f"Set MODEL.EGTR.{key} {len(found)}, or choose the dataset that the model is meant for."
                )
            first = known[names[0]].get(field)
            differing = next((k for k in range(number) if found[k] != first[k]), None)
            if differing is not None:
                raise EGTRError(
                    f"Datasets {names[0]!r} and {name!r} (DATASETS.TRAIN, DATASETS.TEST) differ in {field}: "
                    f"number {differing} is {first[differing]!r} in one, {found[differing]!r} in the other."
                )
