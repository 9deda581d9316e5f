"""From one annotation format to another: what lies between reading and writing."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from egtr.data.datasets.annotations import UNKNOWN, SceneGraphAnnotations
from egtr.data.datasets.vg_h5_writer import write_vg_h5
from egtr.data.datasets.writers import write_coco_sg, write_egtr_json
from egtr.structures import EGTRError

WRITERS = {"egtr": write_egtr_json, "vg_h5": write_vg_h5, "coco_sg": write_coco_sg}
SPLIT_NAMES = ("train", "val", "test")


def divide(
    annotations: SceneGraphAnnotations, shares: Sequence[float], seed: int = 0
) -> dict[str, SceneGraphAnnotations]:
    """Deal the pictures out to train and val, or to train, val and test, at random.

    Args:
        annotations: of all pictures.
        shares: two or three positive numbers with sum 1.
        seed: another seed, another division.

    Returns:
        Split name to annotations, the pictures in the order that they had.

    Raises:
        EGTRError: ``shares`` are not such numbers, or a split gets no picture.
    """
    if len(shares) not in (2, 3) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise EGTRError(f"Shares of train, val (and test) must be positive, with sum 1, not {list(shares)}.")
    number = len(annotations.images)
    ends = np.round(np.cumsum(shares) * number).astype(int)
    parts = np.split(np.random.default_rng(seed).permutation(number), ends[:-1])
    if not all(map(len, parts)):
        sizes = ", ".join(str(len(part)) for part in parts)
        raise EGTRError(f"{annotations.source}: {number} pictures in shares {list(shares)} make splits of {sizes}.")
    return {
        split: replace(annotations, images=[annotations.images[k] for k in sorted(part)])
        for split, part in zip(SPLIT_NAMES, parts, strict=False)
    }


def unite_names(splits: Mapping[str, SceneGraphAnnotations]) -> dict[str, SceneGraphAnnotations]:
    """The same annotations, all with the classes and predicates of any of them, in alphabetical order.

    Exports of Label Studio need it, because each lists only the labels that were used in it.
    """
    classes = sorted({name for annotations in splits.values() for name in annotations.thing_classes})
    predicates = sorted({name for annotations in splits.values() for name in annotations.predicate_classes})
    return {split: _renamed(annotations, classes, predicates) for split, annotations in splits.items()}


def _renamed(annotations: SceneGraphAnnotations, classes: list[str], predicates: list[str]) -> SceneGraphAnnotations:
    # The entry at the end is what UNKNOWN, which is -1, leads to.
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
    """Write all files of a data set, or none.

    Args:
        splits: split name to annotations.
        target: a key of ``WRITERS``.
        folder: is made where it does not exist.
        overwrite: replace files that are there already.
        drop_unsupported: see :func:`egtr.data.datasets.vg_h5_writer.write_vg_h5`; the other formats hold everything.

    Returns:
        Paths of the files.

    Raises:
        EGTRError: a file is there already, the annotations have errors, or the format cannot hold them.
    """
    options = {"drop_unsupported": drop_unsupported} if target == "vg_h5" else {}
    os.makedirs(folder, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as scratch:
            finished = WRITERS[target](splits, scratch, **options)
            paths = [os.path.join(folder, os.path.basename(path)) for path in finished]
            existing = [path for path in paths if os.path.exists(path)]
            if existing and not overwrite:
                raise EGTRError(f"{', '.join(existing)}: there already; --overwrite replaces such files")
            for source, path in zip(finished, paths, strict=True):
                os.replace(source, path)
    finally:
        if not os.listdir(folder):
            os.rmdir(folder)
    return paths
