"""Writing of annotations as EGTR's JSON and COCO-SG; ``vg_h5_writer`` writes the third format.

A writer takes all splits of a dataset, name to annotations, because some formats keep them in one file. It changes
nothing in the annotations: crowds, boxes outside their image and empty boxes are written too.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

from egtr.structures import DataError

from .annotations import ImageAnnotations, SceneGraphAnnotations

Splits = Mapping[str, SceneGraphAnnotations]


def write_egtr_json(splits: Splits, folder: str | os.PathLike[str]) -> list[str]:
    """Write EGTR's JSON layout: ``<split>.json`` for each split and one ``rel.json``.

    Classes and predicates are numbered from 1 in their order. So are annotations, unless each has an id of its own
    in its source.

    Args:
        splits: split name, such as "train", to annotations; all have the same class and predicate names.
        folder: must exist. Files there are replaced.

    Returns:
        Paths of the files written.

    Raises:
        DataError: see :func:`check_splits`; or a number and a text give the same image id.
    """
    check_splits(splits, reserved=("rel", "rel_categories"))
    paths, relations = [], {}
    for split, annotations in splits.items():
        relations[split] = {
            str(image.image_id): (image.relations + [0, 0, 1]).tolist()
            for image in annotations.images
            if len(image.relations)
        }
        if len({str(image.image_id) for image in annotations.images}) < len(annotations.images):
            raise DataError(
                f"{annotations.source}: two image ids are the same text, and rel.json knows images by their id as "
                "text. Give one of them another id."
            )
        path = os.path.join(folder, f"{split}.json")
        write_json(path, _coco(split, annotations, annotation_ids(annotations)))
        paths.append(path)
    names = next(iter(splits.values())).predicate_classes
    path = os.path.join(folder, "rel.json")
    write_json(path, {**relations, "rel_categories": ["__background__", *names]})
    return [*paths, path]


def write_coco_sg(splits: Splits, folder: str | os.PathLike[str]) -> list[str]:
    """Write COCO-SG: ``<split>.json`` for each split, COCO detection with relations.

    Classes and annotations are numbered as by :func:`write_egtr_json`, predicates and relations from 1.

    Args:
        splits: see :func:`write_egtr_json`.
        folder: must exist. Files there are replaced.

    Returns:
        Paths of the files written.

    Raises:
        DataError: see :func:`check_splits`.
    """
    check_splits(splits)
    paths = []
    for split, annotations in splits.items():
        ids = annotation_ids(annotations)
        content = _coco(split, annotations, ids)
        numbers = itertools.count(1)
        content["rel_categories"] = _numbered(annotations.predicate_classes)
        content["rel_annotations"] = [
            {
                "id": next(numbers),
                "image_id": image.image_id,
                "subject_id": own_ids[subject],
                "object_id": own_ids[object_],
                "predicate_id": predicate + 1,
            }
            for image, own_ids in zip(annotations.images, ids, strict=True)
            for subject, object_, predicate in image.relations.tolist()
        ]
        paths.append(os.path.join(folder, f"{split}.json"))
        write_json(paths[-1], content)
    return paths


def check_splits(splits: Splits, reserved: Iterable[str] = ()) -> None:
    """Check that splits can be written.

    Raises:
        DataError: there is no split; a name is no plain word or is reserved; class or predicate names differ between
            splits; the annotations have a problem of severity "error", which no file can express.
    """
    if not splits:
        raise DataError("There is no split to write.")
    first = next(iter(splits.values()))
    for split, annotations in splits.items():
        if not re.fullmatch(r"[\w-]+", split) or split in reserved:
            raise DataError(
                f"Split name {split!r} cannot be the name of a file here; take letters, digits, '_' and '-'"
                f"{''.join(f', but not {name!r}' for name in reserved)}."
            )
        for kind in ("thing_classes", "predicate_classes"):
            names, others = getattr(annotations, kind), getattr(first, kind)
            if list(names) != list(others):
                differing = sorted(set(names) ^ set(others)) or "only the order"
                raise DataError(
                    f"{annotations.source} and {first.source} differ in their {kind} ({len(names)} and "
                    f"{len(others)} names; differing: {differing}). Splits of one dataset need the same."
                )
        error = annotations.first_error()
        if error is not None:
            raise DataError(error.message)


def annotation_ids(annotations: SceneGraphAnnotations) -> list[list[int | str]]:
    """Choose the ids to write for each image: the source's if all are there and differ, else 1, 2, ..."""
    images = annotations.images
    if all(image.annotation_ids is not None for image in images):
        ids = [list(image.annotation_ids) for image in images]
        every = list(itertools.chain.from_iterable(ids))
        if None not in every and len(set(every)) == len(every):
            return ids
    numbers = itertools.count(1)
    return [[next(numbers) for _ in image.boxes] for image in images]


def _coco(split: str, annotations: SceneGraphAnnotations, ids: list[list[int | str]]) -> dict[str, Any]:
    """Convert a split to COCO's detection format."""
    images, objects = [], []
    for image, own_ids in zip(progress(annotations.images, split), ids, strict=True):
        size = {"height": image.height, "width": image.width}
        images.append({"id": image.image_id, "file_name": image.file_name, **size})
        objects += _objects(image, own_ids)
    return {"images": images, "annotations": objects, "categories": _numbered(annotations.thing_classes)}


def _objects(image: ImageAnnotations, ids: list[int | str]) -> Iterator[dict[str, Any]]:
    rows = zip(ids, image.boxes.tolist(), image.classes.tolist(), image.crowd.tolist(), strict=True)
    for number, (x1, y1, x2, y2), category, crowd in rows:
        width, height = x2 - x1, y2 - y1
        yield {
            "id": number,
            "image_id": image.image_id,
            "category_id": category + 1,
            "bbox": [_plain(value) for value in (x1, y1, width, height)],
            # A box turned inside out has no area.
            "area": _plain(max(width, 0.0) * max(height, 0.0)),
            "iscrowd": int(crowd),
        }


def _plain(value: float) -> float | int:
    """Round to nine decimals, so that corner + side - corner is the side again, not 0.30000000000000004."""
    value = round(value, 9)
    return int(value) if value.is_integer() else value


def _numbered(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"id": k, "name": name} for k, name in enumerate(names, start=1)]


def progress(images: Iterable[ImageAnnotations], what: str) -> Iterable[ImageAnnotations]:
    """Wrap images in a progress bar if the output is a terminal."""
    return tqdm(images, desc=f"writing {what}", unit="image", disable=None)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content``, whose numbers may be NumPy's scalars."""
    with open(path, "w", encoding="utf-8") as file:
        # In one piece: several times faster than json.dump.
        file.write(json.dumps(content, allow_nan=False, default=lambda value: value.item()))
