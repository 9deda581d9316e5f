"""Loaders and checks from a configuration."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import (
    DatasetCatalog,
    Metadata,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from torch.utils.data import DataLoader

from egtr.data.mapper import SceneGraphMapper
from egtr.data.statistics import RelationStatistics
from egtr.structures import EGTRError


def build_train_loader(cfg: CfgNode) -> Any:
    """Detectron2's endless training loader over ``cfg.DATASETS.TRAIN`` with :class:`SceneGraphMapper`.

    DATALOADER.FILTER_EMPTY_ANNOTATIONS drops whole pictures without objects; no annotation of a picture that stays
    is touched before the mapper, so relation indices hold.

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


def get_metadata(dataset_name: str) -> Metadata:
    """Metadata of a registered data set with its class names, which may need the data set to be read.

    Raises:
        EGTRError: the name is not registered, or the data set has no class names.
    """
    if dataset_name not in DatasetCatalog:
        known = [name for name in DatasetCatalog.list() if _is_scene_graph(name)]
        raise EGTRError(
            f"Data set {dataset_name!r} (DATASETS.TRAIN or DATASETS.TEST) is not registered. Scene graph data sets: "
            f"{', '.join(sorted(known))}. Own ones: egtr.data.register_visual_genome."
        )
    metadata = MetadataCatalog.get(dataset_name)
    if not (metadata.get("thing_classes") and metadata.get("predicate_classes")):
        DatasetCatalog.get(dataset_name)
    if not metadata.get("thing_classes"):
        raise EGTRError(f"Data set {dataset_name!r} names no classes: set thing_classes in its metadata.")
    return metadata


def check_dataset_matches_config(cfg: CfgNode) -> None:
    """Compare the numbers of classes and predicates of every configured data set with the model's.

    Predicates are compared only where the relation head is there (MODEL.EGTR.RELATION.ENABLED), so that a detector
    can be trained on any detection data set.

    Raises:
        EGTRError: they disagree; the message holds both numbers and the keys.
    """
    egtr = cfg.MODEL.EGTR
    expected = {"thing_classes": ("NUM_CLASSES", egtr.NUM_CLASSES)}
    if egtr.RELATION.ENABLED:
        expected["predicate_classes"] = ("NUM_PREDICATES", egtr.NUM_PREDICATES)
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        metadata = get_metadata(name)
        for field, (key, number) in expected.items():
            found = metadata.get(field)
            if not found:
                raise EGTRError(
                    f"Data set {name!r} has no relations: its metadata lacks {field}. Train the detector alone with "
                    "MODEL.EGTR.RELATION.ENABLED False, or register a scene graph data set."
                )
            if len(found) != number:
                raise EGTRError(
                    f"Data set {name!r} has {len(found)} {field}, but MODEL.EGTR.{key} is {number}. "
                    f"Set MODEL.EGTR.{key} {len(found)}, or choose the data set that the model is meant for."
                )


def _is_scene_graph(name: str) -> bool:
    return MetadataCatalog.get(name).get("evaluator_type") == "scene_graph"
