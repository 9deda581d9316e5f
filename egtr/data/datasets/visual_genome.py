"""Visual Genome 150 in EGTR's JSON layout, and every data set that is stored the same way.

A data set is one folder::

    images/                            the pictures
    train.json, val.json, test.json    COCO detection (bbox: x, y, width, height in pixels)
    rel.json                           {"train": {"<image id>": [[subject, object, predicate], ...]},
                                        "val": ..., "test": ...,
                                        "rel_categories": ["__background__", name, name, ...]}

Subject and object index the image's annotations in file order; predicates are 1-based because entry 0 of
``rel_categories`` is a background. What comes out is 0-based throughout.
"""

import json
import logging
import math
import os
import reprlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from egtr.structures import EGTRError, remap_relations

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def register_visual_genome(
    name: str,
    root: str,
    split: str,
    *,
    thing_classes: Sequence[str] | None = None,
    predicate_classes: Sequence[str] | None = None,
    remedy: str = "",
    **metadata: Any,
) -> None:
    """Register one split of a folder in the layout above with ``DatasetCatalog`` and ``MetadataCatalog``.

    Nothing is read before the data set is first loaded. Class names that are not given here come from the
    files then; names that are given must agree with the files.

    Args:
        name: name of the data set, for ``cfg.DATASETS.TRAIN`` and ``TEST``.
        root: the folder.
        split: "train", "val" or "test".
        thing_classes: the C object class names.
        predicate_classes: the R predicate names, without background.
        remedy: one sentence for the error about a missing file: how one gets the data.
        metadata: further metadata, such as ``flip_predicate_pairs=[("left of", "right of")]``, the predicates
            that trade places when a picture is mirrored.

    Raises:
        EGTRError: ``split`` is not one of the three; at loading, whatever :func:`load_visual_genome_json`
            raises.
    """
    if split not in SPLITS:
        raise EGTRError(f"Data set {name!r}: split is {split!r}; take one of {', '.join(SPLITS)}.")
    json_file = os.path.join(root, f"{split}.json")
    rel_file = os.path.join(root, "rel.json")
    image_root = os.path.join(root, "images")

    def load() -> list[dict[str, Any]]:
        _require_files(name, (json_file, rel_file, image_root), remedy)
        return load_visual_genome_json(json_file, rel_file, image_root, split, dataset_name=name)

    DatasetCatalog.register(name, load)
    metadata.update(json_file=json_file, rel_file=rel_file, image_root=image_root, split=split)
    metadata["annotation_files"] = [json_file, rel_file]
    if thing_classes is not None:
        metadata["thing_classes"] = list(thing_classes)
    if predicate_classes is not None:
        metadata["predicate_classes"] = list(predicate_classes)
    MetadataCatalog.get(name).set(evaluator_type="scene_graph", **metadata)


def load_visual_genome_json(
    json_file: str, rel_file: str, image_root: str, split: str, dataset_name: str | None = None
) -> list[dict[str, Any]]:
    """Read one split into Detectron2's dataset dicts, with relations.

    Boxes are clipped to the picture. Crowd annotations and boxes of which nothing is left are dropped,
    together with the relations that touch them; the indices of all other relations are renumbered
    accordingly.

    Args:
        json_file: COCO detection file of the split.
        rel_file: relations of all splits.
        image_root: folder of the pictures.
        split: key of ``rel_file``.
        dataset_name: where given, the class names are stored in ``MetadataCatalog`` under this name.

    Returns:
        One dict per image: ``file_name``, ``image_id``, ``height``, ``width``, ``annotations`` (each with
        ``bbox`` in pixels, ``bbox_mode`` XYXY_ABS, ``category_id`` 0-based) and ``relations``, a list of
        [subject, object, predicate], 0-based, subject and object indexing ``annotations``.

    Raises:
        EGTRError: a file is missing or malformed; the message names file, image id and field.
    """
    coco = _read_json(json_file)
    rel = _read_json(rel_file)
    _require_fields(coco, json_file, images=list, annotations=list, categories=list)
    _require_fields(rel, rel_file, **{split: dict, "rel_categories": list})
    for category in coco["categories"]:
        _require_fields(category, f'{json_file}: entry of "categories"', id=int, name=str)
    categories = sorted(coco["categories"], key=lambda category: category["id"])
    contiguous_ids = {category["id"]: k for k, category in enumerate(categories)}
    predicates = list(rel["rel_categories"][1:])
    if dataset_name is not None:
        names = [category["name"] for category in categories]
        _set_class_names(dataset_name, "thing_classes", names, json_file)
        _set_class_names(dataset_name, "predicate_classes", predicates, rel_file)
        MetadataCatalog.get(dataset_name).thing_dataset_id_to_contiguous_id = contiguous_ids

    annotations_of = defaultdict(list)
    for annotation in coco["annotations"]:
        _require_fields(annotation, f'{json_file}: entry of "annotations"', image_id=object)
        annotations_of[annotation["image_id"]].append(annotation)
    relations_of = rel[split]
    for image in coco["images"]:
        _require_fields(image, f'{json_file}: entry of "images"', id=object, height=int, width=int, file_name=str)
    _check_image_ids(coco["images"], annotations_of, relations_of, json_file, rel_file)

    dataset_dicts = []
    for image in coco["images"]:
        image_id, height, width = image["id"], image["height"], image["width"]
        annotations, kept = [], []
        for annotation in annotations_of.get(image_id, ()):
            where = f"{json_file}: image id {image_id}, annotation id {annotation.get('id')}"
            box = _clipped_box(annotation.get("bbox"), height, width, where)
            if annotation.get("category_id") not in contiguous_ids:
                raise EGTRError(
                    f'{where}, field "category_id": {annotation.get("category_id")!r} is not in "categories".'
                )
            kept.append(box is not None and not annotation.get("iscrowd", 0))
            if kept[-1]:
                annotations.append(
                    {
                        "bbox": box,
                        "bbox_mode": BoxMode.XYXY_ABS,
                        "category_id": contiguous_ids[annotation["category_id"]],
                        "iscrowd": 0,
                    }
                )
        where = f'{rel_file}: image id {image_id}, field "{split}"'
        dataset_dicts.append(
            {
                "file_name": os.path.join(image_root, image["file_name"]),
                "image_id": image_id,
                "height": height,
                "width": width,
                "annotations": annotations,
                "relations": _parse_relations(relations_of.get(str(image_id), []), kept, len(predicates), where),
            }
        )
    return dataset_dicts


def _parse_relations(triplets: Any, kept: list[bool], num_predicates: int, where: str) -> list[list[int]]:
    """Check one image's relations, renumber them to the annotations kept, make predicates 0-based."""
    if not triplets:
        return []
    try:
        array = np.array(triplets)
    except ValueError:  # rows of different lengths
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind != "i":
        raise EGTRError(
            f"{where}: expected a list of [subject, object, predicate], all integers, got {reprlib.repr(triplets)}."
        )
    ends, predicates = array[:, :2], array[:, 2]
    bad_ends = ((ends < 0) | (ends >= len(kept))).any(axis=1)
    if bad_ends.any():
        k = int(bad_ends.argmax())
        raise EGTRError(
            f"{where}, relation {k} = {triplets[k]}: subject and object must index the image's {len(kept)} "
            "annotations, counted from 0. Does rel.json belong to this annotation file?"
        )
    bad_predicates = (predicates < 1) | (predicates > num_predicates)
    if bad_predicates.any():
        k = int(bad_predicates.argmax())
        raise EGTRError(
            f"{where}, relation {k} = {triplets[k]}: the predicate must be in 1..{num_predicates}, the "
            'entries of "rel_categories" after the background.'
        )
    array[:, 2] -= 1
    return remap_relations(array, kept, where).tolist()


def _clipped_box(bbox: Any, height: int, width: int, where: str) -> list[float] | None:
    """xywh to xyxy within the picture; None where no area is left."""
    if (
        not isinstance(bbox, list)
        or len(bbox) != 4
        or not all(isinstance(value, int | float) and math.isfinite(value) for value in bbox)
    ):
        raise EGTRError(f'{where}, field "bbox": expected four finite numbers [x, y, width, height], got {bbox!r}.')
    x, y, w, h = bbox
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + w, width), min(y + h, height)
    if x1 <= x0 or y1 <= y0:
        return None
    return [float(x0), float(y0), float(x1), float(y1)]


def _check_image_ids(images: list, annotations_of: dict, relations_of: dict, json_file: str, rel_file: str) -> None:
    ids = {image["id"] for image in images}
    ids_as_text = {str(image_id) for image_id in ids}
    strangers = [image_id for image_id in annotations_of if image_id not in ids]
    if strangers:
        logger.warning(
            f'{json_file}: annotations of {len(strangers)} images that "images" does not list are ignored.'
        )
    strangers = [image_id for image_id in relations_of if image_id not in ids_as_text]
    if strangers and len(strangers) == len(relations_of):
        raise EGTRError(
            f"{rel_file}: none of its image ids (such as {strangers[0]}) is in {json_file}. The two files do "
            "not belong together."
        )
    if strangers:
        logger.warning(
            f"{rel_file}: relations of {len(strangers)} images that {json_file} does not list are ignored."
        )


def _set_class_names(dataset_name: str, key: str, names: list[str], file: str) -> None:
    metadata = MetadataCatalog.get(dataset_name)
    known = metadata.get(key)
    if known is not None and list(known) != names:
        differing = next((pair for pair in zip(known, names, strict=False) if pair[0] != pair[1]), None)
        detail = f"{differing[1]!r} where {differing[0]!r} is expected" if differing else "the others agree"
        raise EGTRError(
            f"{file}: {len(names)} {key}, but data set {dataset_name!r} was registered with {len(known)} "
            f"({detail}). Was the folder written by another version, or for another data set?"
        )
    metadata.set(**{key: names})


def _require_files(name: str, paths: Sequence[str], remedy: str) -> None:
    for path in paths:
        if not os.path.exists(path):
            root = os.environ.get("DETECTRON2_DATASETS")
            setting = f"is {root!r}" if root else "is not set, so ./datasets is taken"
            message = (
                f"{os.path.abspath(path)} is missing, which data set {name!r} needs. Data sets of the "
                "library are looked for under the environment variable DETECTRON2_DATASETS, which "
                f"{setting}. {remedy}"
            )
            raise EGTRError(message.rstrip())


def _require_fields(record: Any, where: str, **types: type) -> None:
    for field, kind in types.items():
        if not isinstance(record, dict) or field not in record or not isinstance(record[field], kind):
            raise EGTRError(
                f'{where}: field "{field}" is missing or not of type {kind.__name__} in '
                f"{reprlib.repr(record)}. egtr/data/datasets/visual_genome.py describes the layout."
            )


def _read_json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise EGTRError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:  # JSON and text decoding errors both
        raise EGTRError(f"{path}: is not a JSON file ({error}). Was the download or copy cut short?") from error
