"""COCO-SG: a COCO detection file with relations, the format for your own data.

One JSON file per split: "images", "annotations" and "categories" as COCO has them (bbox: x, y, width, height in
pixels), and two more lists::

    "rel_categories":  [{"id": 7, "name": "left of"}, ...]
    "rel_annotations": [{"id": 1, "image_id": 3, "subject_id": 12, "object_id": 15, "predicate_id": 7}, ...]

``subject_id`` and ``object_id`` are ids of annotations of that image. Ids need neither be contiguous nor in order;
classes and predicates are numbered by ascending id.
"""

import reprlib
from typing import Any

import numpy as np

from egtr.structures import DataError

from ..problems import UNKNOWN, Problem
from ._coco import find_image, parse_coco, report_unlisted
from ._parsing import IdTable, numbered_names, read_json, require_fields
from .annotations import ImageAnnotations, SceneGraphAnnotations
from .registration import register_reader

LAYOUT = "coco_sg"


def read_coco_sg(json_file: str, image_root: str) -> SceneGraphAnnotations:
    """Read one file.

    Args:
        json_file: the file.
        image_root: folder of the images.

    Raises:
        DataError: the file cannot be read or lacks a list.
    """
    content = read_json(json_file)
    coco = parse_coco(content, json_file, LAYOUT)
    if "rel_categories" not in content and "rel_annotations" not in content:
        raise DataError(
            f'{json_file}: has neither "rel_categories" nor "rel_annotations": it is plain COCO, without relations. '
            "Add both lists (docs/datasets.md), or register it by Detectron2's register_coco_instances and train "
            "only the detector, with MODEL.EGTR.RELATION.ENABLED False."
        )
    require_fields(content, json_file, LAYOUT, rel_categories=list, rel_annotations=list)
    predicates = numbered_names(content["rel_categories"], json_file, "rel_categories", LAYOUT)
    relations = _parse_relations(content["rel_annotations"], coco.images, list(predicates), json_file, coco.problems)
    for image in coco.images:
        image.relations = np.array(relations.get(image.image_id, []), dtype=np.int64).reshape(-1, 3)
    return SceneGraphAnnotations(
        images=coco.images,
        thing_classes=list(coco.class_names.values()),
        predicate_classes=list(predicates.values()),
        image_root=image_root,
        source=json_file,
        problems=coco.problems,
        category_ids=list(coco.class_names),
    )


def register_coco_sg(name: str, json_file: str, image_root: str, **metadata: Any) -> None:
    """Register one file; for further arguments see :func:`~.registration.register_reader`."""
    register_reader(name, read_coco_sg, [json_file], image_root, **metadata)


def _parse_relations(
    records: list[Any],
    images: list[ImageAnnotations],
    predicate_ids: list[int],
    path: str,
    problems: list[Problem],
) -> dict[int | str, list[tuple[int, int, int]]]:
    """Map image ids to rows (subject, object, predicate)."""
    positions = _index_annotations(images, path, problems)
    image_ids = IdTable(image.image_id for image in images)
    annotation_ids, known_predicates = IdTable(positions), IdTable(predicate_ids)
    predicate_numbers = {predicate_id: k for k, predicate_id in enumerate(predicate_ids)}
    rows_of: dict[int | str, list[tuple[int, int, int]]] = {image.image_id: [] for image in images}
    unlisted: dict[int | str, None] = {}
    for record in records:
        entry = f'{path}: entry of "rel_annotations"'
        image_id = find_image(record, image_ids, entry, "bad-relation", unlisted, problems)
        if image_id is None:
            continue
        where = f"{path}: image id {image_id}, relation id {record.get('id')}"
        ends = []
        for field in ("subject_id", "object_id"):
            value = record.get(field)
            owner, position = positions.get(annotation_ids.find(value), (None, UNKNOWN))
            if position == UNKNOWN or owner != image_id:
                what = f"belongs to image id {owner}" if position != UNKNOWN else 'is no id in "annotations"'
                text = f'field "{field}": {reprlib.repr(value)} {what}; name an annotation of this image.'
                problems.append(Problem("missing-object", f"{where}, {text}", image_id))
                position = UNKNOWN
            ends.append(position)
        predicate_id = record.get("predicate_id")
        predicate = predicate_numbers.get(known_predicates.find(predicate_id), UNKNOWN)
        if predicate == UNKNOWN:
            text = f'field "predicate_id": {reprlib.repr(predicate_id)} is not in "rel_categories". Add it there.'
            problems.append(Problem("unknown-predicate", f"{where}, {text}", image_id))
        rows_of[image_id].append((ends[0], ends[1], predicate))
    for field, table in (
        ("image_id", image_ids),
        ("subject_id, object_id", annotation_ids),
        ("predicate_id", known_predicates),
    ):
        table.report(f"{field} of rel_annotations", path, problems)
    report_unlisted("relations", list(unlisted), not any(rows_of.values()), path, problems)
    return rows_of


def _index_annotations(
    images: list[ImageAnnotations], path: str, problems: list[Problem]
) -> dict[int | str, tuple[int | str, int]]:
    """Map annotation ids to the image id and the position among the annotations of that image."""
    positions: dict[int | str, tuple[int | str, int]] = {}
    for image in images:
        for k, annotation_id in enumerate(image.annotation_ids or ()):
            if annotation_id is None:
                text = f"annotation {k} has no id, so that no relation can name it. Give each annotation an id."
            elif annotation_id in positions:
                text = f"annotation id {annotation_id} is there twice. Give each annotation an id of its own."
            else:
                positions[annotation_id] = image.image_id, k
                continue
            problems.append(
                Problem("bad-annotation-id", f"{path}: image id {image.image_id}, {text}", image.image_id)
            )
    return positions
