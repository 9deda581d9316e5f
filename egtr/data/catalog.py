"""Metadata of a dataset by its name."""

import difflib

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog

import egtr
from egtr.structures import ConfigurationError, DataError

from .statistics import load_triplet_counts


def get_metadata(dataset_name: str, skip_broken: bool = False) -> Metadata:
    """Return the metadata of a registered dataset, class names included.

    If registration left the names to the files, they come from the cached statistics. Without a cache the dataset is
    read.

    Args:
        dataset_name: a registered dataset.
        skip_broken: see :func:`egtr.data.datasets.read_dataset`.

    Raises:
        ConfigurationError: the name is not registered.
        DataError: the dataset has no class names, or cannot be read.
    """
    check_registered(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    if _is_scene_graph(dataset_name):
        if not (metadata.get("thing_classes") and metadata.get("predicate_classes")):
            load_triplet_counts(dataset_name, skip_broken)
    elif not metadata.get("thing_classes"):
        DatasetCatalog.get(dataset_name)
    if not metadata.get("thing_classes"):
        raise DataError(f"Dataset {dataset_name!r} names no classes: set thing_classes in its metadata.")
    return metadata


def check_registered(dataset_name: str) -> None:
    """Check that a name is registered.

    Raises:
        ConfigurationError: the name is not registered.
    """
    egtr.register()
    if dataset_name not in DatasetCatalog:
        known = sorted(name for name in DatasetCatalog.list() if _is_scene_graph(name))
        near = difflib.get_close_matches(dataset_name, DatasetCatalog.list(), n=2, cutoff=0.75)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigurationError(
            f"Dataset {dataset_name!r} (DATASETS.TRAIN, DATASETS.TEST) is not registered.{hint} Known scene graph "
            f"datasets: {', '.join(known)}. Register your own by DATASETS.REGISTER or egtr.data.register_dataset."
        )


def _is_scene_graph(dataset_name: str) -> bool:
    return MetadataCatalog.get(dataset_name).get("evaluator_type") == "scene_graph"
