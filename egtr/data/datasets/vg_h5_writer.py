"""Writing of Visual Genome's HDF5 layout, which Scene-Graph-Benchmark and its descendants read."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from egtr.structures import DataError, remap_relations

from ..problems import WARNING, Problem
from .annotations import ImageAnnotations, SceneGraphAnnotations
from .writers import Splits, check_splits, write_json

BOX_SCALE = 1024
# The file marks test images; the first of the others are val.
SPLIT_NUMBERS = {"val": 0, "train": 0, "test": 2}
FOLDERS = ("", "VG_100K", "VG_100K_2")


def write_vg_h5(splits: Splits, folder: str | os.PathLike[str], drop_unsupported: bool = False) -> list[str]:
    """Write ``VG-SGG.h5``, ``VG-SGG-dicts.json`` and ``image_data.json``.

    Boxes are rounded to whole pixels of the image scaled to a long side of 1024, so that each side moves by at most
    one such pixel. Val images come first, then train, then test. The format has no ids of annotations.

    Args:
        splits: "train", "val" and "test", or some of them, to annotations; all with the same class and predicate
            names.
        folder: must exist. Files there are replaced.
        drop_unsupported: see :func:`leave_out_unsupported`.

    Returns:
        Paths of the files written.

    Raises:
        DataError: see :func:`egtr.data.datasets.writers.check_splits`; or the format cannot hold the
            annotations: another split, equal names of classes or predicates, image ids that are no integers or
            occur in two splits, images not named ``<image id>.jpg``, val images without relations, crowds or boxes
            without area, boxes beyond 32 bits.
    """
    check_splits(splits)
    strangers = sorted(set(splits) - set(SPLIT_NUMBERS))
    if strangers:
        raise DataError(f"An h5 file holds the splits train, val and test, not {', '.join(strangers)}.")
    splits = {split: splits[split] for split in SPLIT_NUMBERS if split in splits}
    if drop_unsupported:
        splits = {split: leave_out_unsupported(annotations) for split, annotations in splits.items()}
    first = next(iter(splits.values()))
    _check_names(first)
    images = [image for annotations in splits.values() for image in annotations.images]
    _check_images(images)
    _refuse(
        (image for image in images if _unsupported(image).any()),
        "images have crowds or boxes without area",
        lambda image: f"annotation {_unsupported(image).argmax()} of image id {image.image_id}",
        "--drop-unsupported leaves them out, with their relations, as training does",
    )
    _refuse(
        (image for image in images if _too_far_outside(image).any()),
        "images have boxes so far outside that 32 bits do not hold their coordinates",
        lambda image: f"annotation {_too_far_outside(image).argmax()} of image id {image.image_id}",
        "Correct these boxes",
    )
    _refuse(
        (image for image in splits["val"].images if not len(image.relations)) if "val" in splits else (),
        "val images have no relations, but val is said to be the first images with relations",
        lambda image: f"image id {image.image_id}",
        "Take them out, or convert them as train or test",
    )
    numbers = [SPLIT_NUMBERS[split] for split, annotations in splits.items() for _ in annotations.images]
    paths = [os.path.join(folder, name) for name in ("VG-SGG.h5", "VG-SGG-dicts.json", "image_data.json")]
    # In memory first: HDF5 cannot close a file that it could not write, as on a full disk.
    with h5py.File(paths[0], "w", driver="core", backing_store=False) as file:
        for name, array in _arrays(images).items():
            file.create_dataset(name, data=array)
        file.create_dataset("split", data=np.array(numbers, dtype=np.int32))
        # Not part of the format, but without it the reader would have to be told.
        file.attrs["num_val"] = len(splits["val"].images) if "val" in splits else 0
        file.flush()
        Path(paths[0]).write_bytes(file.id.get_file_image())
    write_json(paths[1], _dicts(images, first.thing_classes, first.predicate_classes))
    sizes = [{"image_id": image.image_id, "width": image.width, "height": image.height} for image in images]
    write_json(paths[2], sizes)
    return paths


def leave_out_unsupported(annotations: SceneGraphAnnotations) -> SceneGraphAnnotations:
    """Leave out crowds and boxes without area, with the relations that touch them; a warning counts both.

    Raises:
        DataError: there are relations, and none is left.
    """
    images = [_without(image, _unsupported(image)) for image in annotations.images]
    (boxes, relations), (kept_boxes, kept_relations) = (
        [sum(len(getattr(image, field)) for image in group) for field in ("boxes", "relations")]
        for group in (annotations.images, images)
    )
    if boxes == kept_boxes:
        return annotations
    text = f"{annotations.source}: {boxes - kept_boxes} crowds and boxes without area are left out with "
    text += f"{relations - kept_relations} of the {relations} relations."
    if relations and not kept_relations:
        raise DataError(f"{text} No relation is left. If each crowd is a single object, set its iscrowd to 0.")
    problem = Problem("left-out", text, severity=WARNING)
    return replace(annotations, images=images, problems=[*annotations.problems, problem])


def _check_names(annotations: SceneGraphAnnotations) -> None:
    for what, names in (("classes", annotations.thing_classes), ("predicates", annotations.predicate_classes)):
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise DataError(
                f"An h5 file cannot hold this: {len(repeated)} names of {what} are there more than once (such as "
                f"{repeated[0]!r}), but the file knows them by name. Rename or unite them in {annotations.source}."
            )


def _check_images(images: list[ImageAnnotations]) -> None:
    _refuse(
        (image for image in images if not isinstance(image.image_id, int | np.integer)),
        "image ids are not integers",
        lambda image: repr(image.image_id),
        "Number the images first",
    )
    counts = Counter(image.image_id for image in images)
    _refuse(
        (image for image in images if counts[image.image_id] > 1),
        "images share their image id with an image of another split",
        lambda image: f"image id {image.image_id}",
        "Give each image an id of its own",
    )
    _refuse(
        (image for image in images if os.path.split(image.file_name) not in _names(image)),
        "images are not named <image id>.jpg",
        lambda image: f"{image.file_name!r}, image id {image.image_id}",
        "Save them under such names first, and change the names in the annotations",
    )


def _names(image: ImageAnnotations) -> list[tuple[str, str]]:
    return [(folder, f"{image.image_id}.jpg") for folder in FOLDERS]


def _refuse(
    images: Iterable[ImageAnnotations], what: str, example: Callable[[ImageAnnotations], str], remedy: str
) -> None:
    images = list(images)
    if images:
        raise DataError(
            f"An h5 file cannot hold this: {len(images)} {what} (such as {example(images[0])}). {remedy}."
        )


def _unsupported(image: ImageAnnotations) -> np.ndarray:
    """Find crowds and boxes without area: (A,) bool."""
    return image.crowd | (image.boxes[:, 2:] <= image.boxes[:, :2]).any(axis=1)


def _scaled_corners(image: ImageAnnotations) -> np.ndarray:
    """Scale the (A, 4) boxes as if the image had a long side of 1024."""
    return image.boxes * (BOX_SCALE / max(image.height, image.width))


def _too_far_outside(image: ImageAnnotations) -> np.ndarray:
    """Find boxes whose coordinates 32 bits do not hold: (A,) bool."""
    return (np.abs(_scaled_corners(image)) >= 2**30).any(axis=1)


def _without(image: ImageAnnotations, dropped: np.ndarray) -> ImageAnnotations:
    relations = remap_relations(image.relations, ~dropped, f"image id {image.image_id}")
    kept = {name: getattr(image, name)[~dropped] for name in ("boxes", "classes", "crowd")}
    return replace(image, **kept, relations=relations, annotation_ids=None)


def _arrays(images: list[ImageAnnotations]) -> dict[str, np.ndarray]:
    """Make the datasets of the file but ``split``: boxes and relations of all images, one after the other."""
    num_boxes = np.array([len(image.boxes) for image in images], dtype=np.int64)
    num_relations = np.array([len(image.relations) for image in images], dtype=np.int64)
    corners = np.concatenate([_scaled_corners(image) for image in images] or [np.zeros((0, 4))])
    relations = np.concatenate([image.relations for image in images] or [np.zeros((0, 3), dtype=np.int64)])
    classes = np.concatenate([image.classes for image in images] or [np.zeros(0, dtype=np.int64)])
    centres = np.round((corners[:, :2] + corners[:, 2:]) / 2)
    # Other readers refuse boxes without width or height.
    sides = np.maximum(np.round(corners[:, 2:] - corners[:, :2]), 1)
    first_box, last_box = _spans(num_boxes)
    first_rel, last_rel = _spans(num_relations)
    starts = np.repeat(np.cumsum(num_boxes) - num_boxes, num_relations)
    return {
        "boxes_1024": np.hstack([centres, sides]).astype(np.int32),
        "labels": (classes + 1)[:, None],
        "relationships": (relations[:, :2] + starts[:, None]).astype(np.int32),
        "predicates": relations[:, 2:] + 1,
        "img_to_first_box": first_box,
        "img_to_last_box": last_box,
        "img_to_first_rel": first_rel,
        "img_to_last_rel": last_rel,
    }


def _spans(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the first and last row of each image, -1 if it has none."""
    ends = np.cumsum(counts)
    empty = counts == 0
    return np.where(empty, -1, ends - counts).astype(np.int32), np.where(empty, -1, ends - 1).astype(np.int32)


def _dicts(images: list[ImageAnnotations], classes: list[str], predicates: list[str]) -> dict[str, dict]:
    """Make names by number, numbers (from 1) by name, and how often each name occurs."""
    content = {}
    objects = Counter(k for image in images for k in image.classes.tolist())
    relations = Counter(k for image in images for k in image.relations[:, 2].tolist())
    for kind, names, count, counts in (
        ("label", classes, "object_count", objects),
        ("predicate", predicates, "predicate_count", relations),
    ):
        content[f"idx_to_{kind}"] = {str(k): name for k, name in enumerate(names, start=1)}
        content[f"{kind}_to_idx"] = {name: k for k, name in enumerate(names, start=1)}
        content[count] = {name: counts[k] for k, name in enumerate(names)}
    return content
