"""Scene graph datasets by name: their entries in Detectron2's catalogs, and how they are read."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from egtr.structures import ConfigurationError, DataError

from ..problems import Problem, log_or_raise
from ._survey import survey
from .annotations import SceneGraphAnnotations, leave_out_unsound, to_dataset_dicts


def register_reader(
    name: str,
    read: Callable[..., SceneGraphAnnotations],
    annotation_files: Sequence[str],
    image_root: str,
    options: Mapping[str, Any] | None = None,
    *,
    thing_classes: Sequence[str] | None = None,
    predicate_classes: Sequence[str] | None = None,
    remedy: str = "",
    **metadata: Any,
) -> None:
    """Register a dataset with ``DatasetCatalog`` and ``MetadataCatalog``; the base of all ``register_<format>``.

    Nothing is read until the dataset is first loaded. Class names that are not given here then come from the files;
    names that are given must agree with the files.

    Args:
        name: name of the dataset, for ``cfg.DATASETS.TRAIN`` and ``TEST``.
        read: called as ``read(annotation_files[0], image_root, **options)``.
        annotation_files: all files that the annotations come from.
        image_root: folder of the images.
        options: further arguments of ``read``, such as the split.
        thing_classes: the C object class names.
        predicate_classes: the R predicate names, without background.
        remedy: how to get the data: one sentence for the error about a missing file.
        metadata: further metadata. The library reads ``flip_predicate_pairs=[("left of", "right of")]``, predicates
            that are exchanged when an image is mirrored, and ``one_predicate_per_pair=True``: training draws one of
            several predicates of a pair at random each time.

    Raises:
        ConfigurationError: ``thing_classes`` or ``predicate_classes`` is no list of names.
    """
    options = dict(options or {})
    for key, names in (("thing_classes", thing_classes), ("predicate_classes", predicate_classes)):
        if names is not None and not (isinstance(names, list | tuple) and all(isinstance(n, str) for n in names)):
            raise ConfigurationError(f"Dataset {name!r}: {key} is {names!r}; give a list of names.")
    DatasetCatalog.register(name, partial(_load, name))
    metadata.update(
        evaluator_type="scene_graph",
        json_file=annotation_files[0],
        annotation_files=list(annotation_files),
        image_root=image_root,
        reader=partial(read, annotation_files[0], image_root, **options),
        reader_options=options,
        remedy=remedy,
    )
    if thing_classes is not None:
        metadata["thing_classes"] = list(thing_classes)
    if predicate_classes is not None:
        metadata["predicate_classes"] = list(predicate_classes)
    MetadataCatalog.get(name).set(**metadata)


def read_dataset(name: str, skip_broken: bool = False) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Read a registered dataset for training or evaluation.

    Args:
        name: any registered dataset.
        skip_broken: leave out images whose annotations have errors, which raise otherwise. It concerns datasets that
            this library registered; others are read as they are.

    Returns:
        Dataset dicts, as from ``DatasetCatalog.get(name)``, and one problem of each image left out.

    Raises:
        DataError: the annotations have errors (with ``skip_broken`` only errors of the whole file), all
            relations are left out with crowds or boxes without area, or see :func:`read_annotations`.
    """
    if skip_broken and MetadataCatalog.get(name).get("reader") is not None:
        annotations, left_out = leave_out_unsound(read_annotations(name))
        return _to_records(annotations), left_out
    return DatasetCatalog.get(name), []


def read_annotations(name: str) -> SceneGraphAnnotations:
    """Read the files of a registered dataset as they are, and put the class names into its metadata.

    Raises:
        DataError: the dataset was not registered by this library, a file is missing or has another format, or its
            class names differ from the registered ones.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("reader") is None:
        raise DataError(f"Dataset {name!r} was not registered by egtr.data, so its files cannot be read by name.")
    for path in (*metadata.annotation_files, metadata.image_root):
        if not os.path.exists(path):
            message = f"{os.path.abspath(path)} is missing, but dataset {name!r} needs it. {metadata.remedy}"
            raise DataError(message.rstrip())
    annotations = metadata.reader()
    _set_names(name, "thing_classes", annotations.thing_classes, annotations.source)
    relation_source = annotations.relation_source or annotations.source
    _set_names(name, "predicate_classes", annotations.predicate_classes, relation_source)
    if annotations.category_ids is not None:
        # Detectron2's COCOEvaluator numbers classes as the file does.
        contiguous_ids = {category_id: k for k, category_id in enumerate(annotations.category_ids)}
        metadata.set(thing_dataset_id_to_contiguous_id=contiguous_ids)
    return annotations


def _load(name: str) -> list[dict[str, Any]]:
    return _to_records(read_annotations(name))


def _to_records(annotations: SceneGraphAnnotations) -> list[dict[str, Any]]:
    """Convert annotations into dataset dicts; log or raise what concerns the whole file."""
    records = to_dataset_dicts(annotations)
    log_or_raise(list(survey(annotations)))
    return records


def _set_names(dataset_name: str, key: str, names: list[str], source: str) -> None:
    metadata = MetadataCatalog.get(dataset_name)
    known = metadata.get(key)
    if known is not None and list(known) != names:
        differing = next((pair for pair in zip(known, names, strict=False) if pair[0] != pair[1]), None)
        detail = f"{differing[1]!r} where {differing[0]!r} is expected" if differing else "the others agree"
        raise DataError(
            f"{source}: {len(names)} {key}, but dataset {dataset_name!r} was registered with {len(known)} "
            f"({detail}). Was the folder written by another version, or for another dataset?"
        )
    metadata.set(**{key: names})
