"""Loaders and checks from a configuration."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import (
    DatasetCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from torch.utils.data import DataLoader

from egtr.data.catalog import get_metadata
from egtr.data.mapper import SceneGraphMapper
from egtr.data.statistics import RelationStatistics
from egtr.structures import EGTRError


def build_train_loader(cfg: CfgNode) -> Any:
    """Detectron2's endless training loader over ``cfg.DATASETS.TRAIN`` with :class:`SceneGraphMapper`.

    DATALOADER.FILTER_EMPTY_ANNOTATIONS drops whole pictures without objects; no annotation of a picture that
    stays is touched before the mapper, so relation indices hold.

    Returns:
        An iterable over batches, each a list of SOLVER.IMS_PER_BATCH / workers mapped dicts.
    """
    check_dataset_matches_config(cfg)
    return build_detection_train_loader(cfg, mapper=SceneGraphMapper(cfg, is_train=True))


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Detectron2's test loader over all pictures of ``dataset_name``, in order, one at a time."""
    return build_detection_test_loader(cfg, dataset_name, mapper=SceneGraphMapper(cfg, is_train=False))


def build_relation_statistics(cfg: CfgNode) -> RelationStatistics:
    """Triplet counts over ``cfg.DATASETS.TRAIN``, for the frequency bias."""
    check_dataset_matches_config(cfg)
    dataset_dicts: Iterator[dict[str, Any]] = chain.from_iterable(
        DatasetCatalog.get(name) for name in cfg.DATASETS.TRAIN
    )
    egtr = cfg.MODEL.EGTR
    return RelationStatistics.from_dataset_dicts(dataset_dicts, egtr.NUM_CLASSES, egtr.NUM_PREDICATES)


def check_dataset_matches_config(cfg: CfgNode) -> None:
    """Compare the classes of every configured data set with the model's numbers and with each other.

    Predicates are compared only where the relation head is there (MODEL.EGTR.RELATION.ENABLED), so that a
    detector can be trained on any detection data set.

    Raises:
        EGTRError: numbers disagree, where the message holds both numbers and the key; or two data sets name
            their classes differently, so that an id would change its meaning between them.
    """
    egtr = cfg.MODEL.EGTR
    expected = {"thing_classes": ("NUM_CLASSES", egtr.NUM_CLASSES)}
    if egtr.RELATION.ENABLED:
        expected["predicate_classes"] = ("NUM_PREDICATES", egtr.NUM_PREDICATES)
    names = list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    for name in names:
        metadata = get_metadata(name)
        for field, (key, number) in expected.items():
            found = metadata.get(field)
            if not found:
                raise EGTRError(
                    f"Data set {name!r} has no relations: its metadata lacks {field}. Train the detector "
                    "alone with MODEL.EGTR.RELATION.ENABLED False, or register a scene graph data set."
                )
            if len(found) != number:
                raise EGTRError(
                    f"Data set {name!r} has {len(found)} {field}, but MODEL.EGTR.{key} is {number}. "
                    f"Set MODEL.EGTR.{key} {len(found)}, or choose the data set that the model is meant for."
                )
            first = get_metadata(names[0]).get(field)
            differing = next((k for k in range(number) if found[k] != first[k]), None)
            if differing is not None:
                raise EGTRError(
                    f"Data sets {names[0]!r} and {name!r} (DATASETS.TRAIN, DATASETS.TEST) differ in {field}: "
                    f"number {differing} is {first[differing]!r} in one, {found[differing]!r} in the other."
                )
