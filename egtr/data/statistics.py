"""Counts of a dataset's annotated triplets: computed once, and kept beside the annotations.

These counts are the source of the frequency bias, of zero-shot recall and of the groups of frequent and rare
predicates.
"""

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
from detectron2.data import Metadata, MetadataCatalog

from egtr.structures import DataError, EGTRError, TripletCounts, not_crowd, remap_relations
from egtr.structures.files import replacing

from .datasets.registration import read_dataset

logger = logging.getLogger(__name__)

# Part of the key. Raise it whenever counting, or a reader, gives another result for the same files.
VERSION = 2

# The errors of numpy and TripletCounts for a file that was cut short, overwritten or written by another program.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, EGTRError)


def load_triplet_counts(dataset_name: str, skip_broken: bool = False) -> TripletCounts:
    """Return the counts of a registered dataset, from its cache if the annotations have not changed since.

    The cache lies beside the first of the ``annotation_files`` that the metadata list: ``train.statistics.npz``
    beside ``train.json``. It holds a hash of the content of all these files, so that it is never used after the
    annotations have changed. A stale or damaged cache is replaced. If the folder cannot be written to, only this
    process keeps the counts. A dataset without ``annotation_files`` is counted each time.

    With a cache no annotation is parsed, and class names that the metadata lack come from it.

    Args:
        dataset_name: a registered dataset with relations.
        skip_broken: see :func:`egtr.data.datasets.read_dataset`.

    Raises:
        DataError: the dataset has no relations, or cannot be read.
    """
    metadata = MetadataCatalog.get(dataset_name)
    key = _content_key(metadata)
    if key is None:
        return _count(dataset_name, skip_broken).counts
    path = _cache_path(metadata)
    statistics = _counted_before.get(key) or _read(path, key)
    if statistics is None or not statistics.fits(metadata):
        statistics = _count(dataset_name, skip_broken)
        if _content_key(metadata) != key:  # the files changed while they were read
            return statistics.counts
        _write(path, key, statistics)
    _counted_before[key] = statistics
    statistics.complete(metadata)
    return statistics.counts


def count_triplets(dataset_dicts: Iterable[dict[str, Any]], num_classes: int, num_predicates: int) -> TripletCounts:
    """Count the triplets of dataset dicts in one pass, so that they may come from a generator.

    A triplet that is annotated twice on one pair counts twice. Relations that touch a crowd annotation are left
    out, as in training.

    Args:
        dataset_dicts: dicts with ``annotations`` and ``relations``.
        num_classes: C.
        num_predicates: R.

    Raises:
        DataError: a class or predicate id does not fit C or R, or a relation names an object that is not there.
    """
    counter: Counter[tuple[int, int, int]] = Counter()
    for dataset_dict in dataset_dicts:
        annotations, relations = dataset_dict.get("annotations", []), dataset_dict.get("relations", [])
        classes = np.array([annotation["category_id"] for annotation in annotations], dtype=np.int64)
        _check_range(classes, num_classes, "category_id", "thing_classes", dataset_dict)
        kept = not_crowd(annotations)
        rows = remap_relations(relations, kept, _describe(dataset_dict))
        _check_range(rows[:, 2], num_predicates, "predicate of relations", "predicate_classes", dataset_dict)
        rows[:, :2] = classes[kept][rows[:, :2]]
        counter.update(map(tuple, rows.tolist()))
    return TripletCounts(
        np.array(list(counter), dtype=np.int64).reshape(-1, 3),
        np.array(list(counter.values()), dtype=np.int64),
        num_classes,
        num_predicates,
    )


def add_triplet_counts(parts: Sequence[TripletCounts]) -> TripletCounts:
    """Add up the counts of one or several datasets with the same classes and predicates."""
    rows = np.concatenate([part.triplets for part in parts])
    triplets, inverse = np.unique(rows, axis=0, return_inverse=True)
    counts = np.zeros(len(triplets), dtype=np.int64)
    np.add.at(counts, inverse.reshape(-1), np.concatenate([part.counts for part in parts]))
    return TripletCounts(triplets, counts, parts[0].num_classes, parts[0].num_predicates)


@dataclass(frozen=True)
class _Statistics:
    """The contents of a cache: counts, and the names of their ids."""

    counts: TripletCounts
    thing_classes: list[str]
    predicate_classes: list[str]

    def fits(self, metadata: Metadata) -> bool:
        """Check that the names agree with the registered ones. If not, reading the dataset says what differs."""
        return all(list(metadata.get(field, names)) == names for field, names in self._names().items())

    def complete(self, metadata: Metadata) -> None:
        metadata.set(**{field: names for field, names in self._names().items() if metadata.get(field) is None})

    def _names(self) -> dict[str, list[str]]:
        return {"thing_classes": self.thing_classes, "predicate_classes": self.predicate_classes}


# Content key to statistics, for folders that cannot be written to.
_counted_before: dict[str, _Statistics] = {}


def _count(dataset_name: str, skip_broken: bool) -> _Statistics:
    dataset_dicts, _ = read_dataset(dataset_name, skip_broken)
    # Reading has set the names that registration left to the files.
    metadata = MetadataCatalog.get(dataset_name)
    names = [metadata.get("thing_classes"), metadata.get("predicate_classes")]
    if not all(names):
        raise DataError(
            f"Dataset {dataset_name!r} has no relations to count: its metadata lack thing_classes or "
            "predicate_classes. Name a scene graph dataset."
        )
    classes, predicates = map(list, names)
    return _Statistics(count_triplets(dataset_dicts, len(classes), len(predicates)), classes, predicates)


def _content_key(metadata: Metadata) -> str | None:
    """Hash the annotation files and the options of their reader; None if a file is unknown or missing."""
    files = metadata.get("annotation_files")
    if not files:
        return None
    # Only the contents of files count, so that a folder that moves keeps its cache.
    options = {key: value for key, value in metadata.get("reader_options", {}).items() if value not in files}
    key = hashlib.sha256(json.dumps([VERSION, options], sort_keys=True, default=str).encode())
    try:
        for path in files:
            with open(path, "rb") as file:
                key.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return None  # reading the dataset will name the missing file and the remedy
    return key.hexdigest()


def _cache_path(metadata: Metadata) -> str:
    stem, split = os.path.splitext(metadata.annotation_files[0])[0], metadata.get("reader_options", {}).get("split")
    # One file may hold several splits.
    split = "" if split in (None, os.path.basename(stem)) else f".{split}"
    # Open Images is read in two ways, for relations and for detectors, whose caches would replace each other.
    way = ".released" if metadata.get("reader_options", {}).get("as_released") == "training" else ""
    return f"{stem}{split}{way}.statistics.npz"


def _read(path: str, key: str) -> _Statistics | None:
    """Read the cache; return None if it is missing, damaged or made from other annotations."""
    try:
        # Opened here, because np.load does not close a damaged file.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            classes, predicates = arrays["thing_classes"].tolist(), arrays["predicate_classes"].tolist()
            counts = TripletCounts(arrays["triplets"], arrays["counts"], len(classes), len(predicates))
            return _Statistics(counts, classes, predicates)
    except FileNotFoundError:
        return None
    except _DAMAGE as error:
        logger.warning("%s cannot be used (%s): statistics are counted again", path, error)
        return None


def _write(path: str, key: str, statistics: _Statistics) -> None:
    try:
        # Several processes, or runs, may count the same dataset.
        with replacing(path, shared=True) as file:
            np.savez_compressed(
                file,
                key=key,
                triplets=statistics.counts.triplets,
                counts=statistics.counts.counts,
                thing_classes=np.array(statistics.thing_classes, dtype=str),
                predicate_classes=np.array(statistics.predicate_classes, dtype=str),
            )
    except OSError as error:
        logger.info("Statistics are not kept in %s (%s): later runs count again", path, error.strerror)


def _check_range(ids: np.ndarray, number: int, field: str, names: str, dataset_dict: dict[str, Any]) -> None:
    outside = ids[(ids < 0) | (ids >= number)]
    if len(outside):
        raise DataError(
            f"{_describe(dataset_dict)}: {field} {outside[0]} is not among the dataset's {number} {names}, counted "
            "from 0. A reader has to make ids contiguous"
        )


def _describe(dataset_dict: dict[str, Any]) -> str:
    return f"{dataset_dict.get('file_name')} (image id {dataset_dict.get('image_id')})"
