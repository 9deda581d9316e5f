"""Conversion of annotations: the steps between reading one format and writing another."""

import inspect
import itertools
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from egtr.structures import ConfigurationError, DataError, WriteError
from egtr.structures.files import writing

from .datasets._parsing import parse_fragment
from .datasets._survey import survey
from .datasets.annotations import ERROR, UNKNOWN, WARNING, SceneGraphAnnotations
from .datasets.formats import FORMATS, get_format
from .datasets.label_studio import read_label_studio
from .datasets.vg_h5_writer import write_vg_h5
from .datasets.writers import write_coco_sg, write_egtr_json

logger = logging.getLogger(__name__)

LABEL_STUDIO = "label_studio"
SOURCES = (*FORMATS, LABEL_STUDIO)
WRITERS = {"egtr": write_egtr_json, "vg_h5": write_vg_h5, "coco_sg": write_coco_sg}
SPLIT_NAMES = ("train", "val", "test")


def name_splits(inputs: Sequence[str]) -> dict[str, str]:
    """Map split names to files, which users write as ``NAME=FILE``, ``FILE#split``, or ``FILE``, named by its stem.

    Open Images' name ``vrd-train-anno.json`` stands for train.

    Raises:
        ConfigurationError: two splits have the same name.
    """
    splits: dict[str, str] = {}
    for given in inputs:
        name, equals, path = given.partition("=")
        if not equals or os.path.exists(given):
            path = given
            file, fragment = parse_fragment(given, None)
            stem = os.path.splitext(os.path.basename(file))[0]
            name = fragment or re.sub(r"^vrd-(\w+)-anno$", r"\1", stem)
        if name in splits:
            raise ConfigurationError(
                f"{splits[name]} and {path} would both be the split {name!r}. Write NAME={path} for one."
            )
        splits[name] = path
    return splits


def read_splits(
    source: str,
    inputs: Mapping[str, str],
    image_root: str = "",
    options: Mapping[str, Any] | None = None,
    *,
    drop_unsupported: bool = False,
) -> dict[str, SceneGraphAnnotations]:
    """Read the splits of a dataset with everything that its files hold.

    Args:
        source: one of ``SOURCES``.
        inputs: split name to file.
        image_root: folder of the images.
        options: further arguments of the format's reader. Unlike training, conversion keeps images of an h5 file
            without relations, unless ``filter_empty_rels`` is given.
        drop_unsupported: leave out boxes and relations of Label Studio without a label, which are errors otherwise.

    Raises:
        ConfigurationError: there is no such option.
        DataError: a file cannot be read, the annotations have errors (the message lists the first ten), or there
            are no images.
    """
    options = dict(options or {})
    if source == LABEL_STUDIO:
        read = read_label_studio
        options.setdefault("drop_unlabelled", drop_unsupported)
    else:
        read = get_format(source).read
        if source == "vg_h5":
            options.setdefault("filter_empty_rels", False)
    unknown = sorted(options.keys() - inspect.signature(read).parameters.keys())
    if unknown:
        raise ConfigurationError(
            f"Options of {source}: there is no {unknown[0]!r}; see {read.__module__}.{read.__name__}."
        )
    splits = {split: read(path, image_root, **options) for split, path in inputs.items()}
    _warn(splits)
    for annotations in splits.values():
        if annotations.first_error() is not None:
            errors = [problem.message for problem in annotations.find_problems() if problem.severity == ERROR]
            rest = [f"... and {len(errors) - 10} more"] if len(errors) > 10 else []
            raise DataError("\n".join([f"{annotations.source} has errors:", *errors[:10], *rest]))
    if not any(annotations.images for annotations in splits.values()):
        hint = ". Predictions of models are not read; accept them in Label Studio" if source == LABEL_STUDIO else ""
        raise DataError(
            f"{', '.join(inputs.values())}: no image is annotated, so that there is nothing to write{hint}."
        )
    return unite_names(splits) if source == LABEL_STUDIO else splits


def _warn(splits: Mapping[str, SceneGraphAnnotations]) -> None:
    """Log what concerns whole files, and images that are in two splits."""
    for annotations in splits.values():
        for problem in survey(annotations):
            if problem.severity == WARNING:
                logger.warning(problem.message)
    names = {split: {image.file_name for image in annotations.images} for split, annotations in splits.items()}
    for first, second in itertools.combinations(names, 2):
        common = sorted(names[first] & names[second])
        if common:
            text = "%d images are in %s and in %s, such as %r; what is learned from an image must not be tested on it"
            logger.warning(text, len(common), splits[first].source, splits[second].source, common[0])


def divide(
    annotations: SceneGraphAnnotations, shares: Sequence[float], seed: int = 0
) -> dict[str, SceneGraphAnnotations]:
    """Distribute the images to train and val, or to train, val and test, at random.

    Args:
        annotations: all images.
        shares: two or three positive numbers with sum 1.
        seed: decides the division.

    Returns:
        Split name to annotations, with the images in their former order.

    Raises:
        ConfigurationError: ``shares`` are not such numbers, or a split gets no image.
    """
    if len(shares) not in (2, 3) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ConfigurationError(f"Shares of train, val (and test) must be positive, with sum 1, not {list(shares)}.")
    number = len(annotations.images)
    ends = np.round(np.cumsum(shares) * number).astype(int)
    parts = np.split(np.random.default_rng(seed).permutation(number), ends[:-1])
    if not all(map(len, parts)):
        sizes = ", ".join(str(len(part)) for part in parts)
        raise ConfigurationError(
            f"{annotations.source}: {number} images in shares {list(shares)} make splits of {sizes}."
        )
    return {
        split: replace(annotations, images=[annotations.images[k] for k in sorted(part)])
        for split, part in zip(SPLIT_NAMES, parts, strict=False)
    }


def unite_names(splits: Mapping[str, SceneGraphAnnotations]) -> dict[str, SceneGraphAnnotations]:
    """Give all splits the classes and predicates of all of them, in alphabetical order.

    Exports of Label Studio need this, because each lists only the labels that were used in it.
    """
    classes = sorted({name for annotations in splits.values() for name in annotations.thing_classes})
    predicates = sorted({name for annotations in splits.values() for name in annotations.predicate_classes})
    return {split: _renamed(annotations, classes, predicates) for split, annotations in splits.items()}


def _renamed(annotations: SceneGraphAnnotations, classes: list[str], predicates: list[str]) -> SceneGraphAnnotations:
    # UNKNOWN is -1, so that it selects the entry at the end.
    new_class = np.array([*map(classes.index, annotations.thing_classes), UNKNOWN])
    new_predicate = np.array([*map(predicates.index, annotations.predicate_classes), UNKNOWN])
    images = []
    for image in annotations.images:
        relations = np.column_stack([image.relations[:, :2], new_predicate[image.relations[:, 2]]])
        images.append(replace(image, classes=new_class[image.classes], relations=relations))
    return replace(annotations, images=images, thing_classes=classes, predicate_classes=predicates)


def write_dataset(
    splits: Mapping[str, SceneGraphAnnotations],
    target: str,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    drop_unsupported: bool = False,
) -> list[str]:
    """Write all files of a dataset, or none.

    Args:
        splits: split name to annotations.
        target: a key of ``WRITERS``.
        folder: is created if it does not exist.
        overwrite: replace files that are there already.
        drop_unsupported: see :func:`egtr.data.datasets.vg_h5_writer.write_vg_h5`; the other formats hold everything.

    Returns:
        Paths of the files.

    Raises:
        WriteError: a file exists already, or cannot be written.
        DataError: the annotations have errors, or the format cannot hold them.
    """
    # All files or none: they are finished in a folder of their own before the first one is moved.
    options = {"drop_unsupported": drop_unsupported} if target == "vg_h5" else {}
    is_new = not os.path.exists(folder)
    try:
        with writing(folder):
            os.makedirs(folder, exist_ok=True)
        # The folder is named, not the unfinished file in it.
        with writing(folder), tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as scratch:
            finished = WRITERS[target](splits, scratch, **options)
            paths = [os.path.join(folder, os.path.basename(path)) for path in finished]
            existing = [path for path in paths if os.path.exists(path)]
            if existing and not overwrite:
                raise WriteError(f"{', '.join(existing)}: there already; --overwrite replaces such files")
            for path in existing:
                if any(os.path.realpath(path) == os.path.realpath(part.source) for part in splits.values()):
                    raise WriteError(f"{path}: was read and would be replaced; choose another --output")
            for source, path in zip(finished, paths, strict=True):
                os.replace(source, path)
    finally:
        if is_new and os.path.isdir(folder) and not os.listdir(folder):
            os.rmdir(folder)
    return paths
