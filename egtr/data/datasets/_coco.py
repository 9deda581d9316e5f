"""The COCO detection part that EGTR's JSON and COCO-SG share."""

import reprlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from egtr.data.datasets._parsing import is_id, look_up, numbered_names, parse_boxes, parse_picture, require_fields
from egtr.data.datasets.annotations import UNKNOWN, WARNING, ImageAnnotations, Problem


@dataclass
class CocoContent:
    """Pictures, as yet without relations, and classes of a COCO detection file.

    ``class_names`` maps the file's category ids to names, in the order of the 0-based classes.
    """

    images: list[ImageAnnotations]
    class_names: dict[int, str]
    problems: list[Problem]


def parse_coco(coco: Any, path: str, layout: str) -> CocoContent:
    """Read "images", "annotations" and "categories".

    Annotations keep their order within a picture.

    Raises:
        EGTRError: a list is missing, or "categories" are malformed.
    """
    require_fields(coco, path, layout, images=list, annotations=list, categories=list)
    problems: list[Problem] = []
    class_names = numbered_names(coco["categories"], path, "categories", layout)
    class_numbers = {category_id: k for k, category_id in enumerate(class_names)}
    annotations_of = _group_by_image(coco["annotations"], path, problems)
    images = []
    for record in coco["images"]:
        image = _parse_image(record, path, problems)
        if image is not None:
            images.append(image)
            _add_objects(image, annotations_of.get(image.image_id, []), class_numbers, path, problems)
    strangers = annotations_of.keys() - {image.image_id for image in images}
    if strangers:
        text = f'annotations of {len(strangers)} images that "images" does not list are ignored.'
        problems.append(Problem("unlisted-image", f"{path}: {text}", severity=WARNING))
    return CocoContent(images, class_names, problems)


def _group_by_image(records: list[Any], path: str, problems: list[Problem]) -> dict[int | str, list[dict[str, Any]]]:
    annotations_of = defaultdict(list)
    for record in records:
        if isinstance(record, dict) and is_id(record.get("image_id")):
            annotations_of[record["image_id"]].append(record)
        else:
            text = f'field "image_id" is missing or not an id in {reprlib.repr(record)}. Say which image it is of.'
            problems.append(Problem("bad-annotation", f'{path}: entry of "annotations": {text}'))
    return annotations_of


def _parse_image(record: Any, path: str, problems: list[Problem]) -> ImageAnnotations | None:
    where = f'{path}: entry of "images"'
    if not isinstance(record, dict) or not is_id(record.get("id")):
        text = f'field "id" is missing or not an id in {reprlib.repr(record)}. Give the image a number or a name.'
        problems.append(Problem("bad-image", f"{where}: {text}"))
        return None
    image_id = record["id"]
    file_name, height, width = parse_picture(record, f"{where}, image id {image_id}", image_id, problems)
    return ImageAnnotations(image_id, file_name, height, width, [], [], [], [])


def _add_objects(
    image: ImageAnnotations,
    records: list[dict[str, Any]],
    class_numbers: dict[int, int],
    path: str,
    problems: list[Problem],
) -> None:
    image.boxes = parse_boxes([record.get("bbox") for record in records])
    image.classes = np.array([look_up(class_numbers, r.get("category_id")) for r in records], dtype=np.int64)
    image.crowd = np.array([bool(record.get("iscrowd", 0)) for record in records], dtype=bool)
    image.annotation_ids = [record["id"] if is_id(record.get("id")) else None for record in records]

    def problem(kind: str, k: int, text: str) -> None:
        where = f"{path}: image id {image.image_id}, annotation id {records[k].get('id')}"
        problems.append(Problem(kind, f"{where}, {text}", image.image_id))

    for k in np.flatnonzero(np.isnan(image.boxes[:, 0])):
        box = reprlib.repr(records[k].get("bbox"))
        problem("bad-box", k, f'field "bbox": expected four finite numbers [x, y, width, height], got {box}.')
    for k in np.flatnonzero(image.classes == UNKNOWN):
        category = reprlib.repr(records[k].get("category_id"))
        problem("unknown-category", k, f'field "category_id": {category} is not in "categories". Add it there.')
    image.boxes[:, 2:] += image.boxes[:, :2]
