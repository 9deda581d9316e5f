"""The part that EGTR's JSON and COCO-SG share: a COCO detection file."""

import reprlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..coco_fields import read_crowds, to_corners
from ..problems import ERROR, UNKNOWN, WARNING, Problem
from ._parsing import IdTable, look_up, numbered_names, parse_boxes, parse_id, parse_image, require_fields, to_id
from ._survey import read_backslashes
from .annotations import ImageAnnotations


@dataclass
class CocoContent:
    """The images, still without relations, and the classes of a COCO detection file.

    ``class_names`` maps the file's category ids to names, in the order of the 0-based classes.
    """

    images: list[ImageAnnotations]
    class_names: dict[int, str]
    problems: list[Problem]


def parse_coco(coco: Any, path: str, layout: str) -> CocoContent:
    """Read "images", "annotations" and "categories".

    Annotations keep their order within an image.

    Raises:
        DataError: a list is missing, or "categories" are malformed.
    """
    require_fields(coco, path, layout, images=list, annotations=list, categories=list)
    problems: list[Problem] = []
    class_names = numbered_names(coco["categories"], path, "categories", layout)
    class_numbers = {category_id: k for k, category_id in enumerate(class_names)}
    images = [_parse_image(record, path, problems) for record in coco["images"]]
    images = [image for image in images if image is not None]
    image_ids = IdTable(image.image_id for image in images)
    annotations_of = _group_by_image(coco["annotations"], image_ids, path, problems)
    _add_objects(images, annotations_of, class_numbers, path, problems)
    read_backslashes(images, path, problems)
    return CocoContent(images, class_names, problems)


def find_image(
    record: Any, image_ids: IdTable, where: str, kind: str, unlisted: dict[int | str, None], problems: list[Problem]
) -> int | str | None:
    """Return the id of the listed image that "image_id" of a record means, or None, with the reason.

    Args:
        record: an entry of ``where``.
        image_ids: the images that the file lists.
        where: the list, for the message.
        kind: of the problem where "image_id" is no id.
        unlisted: gets an id that is not listed; see :func:`report_unlisted`.
        problems: gets a malformed id.
    """
    image_id = parse_id(record, "image_id", where, kind, problems)
    if image_id is None:
        return None
    found = image_ids.find(image_id)
    if found is None:
        unlisted[image_id] = None
    return found


def report_unlisted(
    what: str, image_ids: Sequence[int | str], is_all: bool, path: str, problems: list[Problem]
) -> None:
    """Add a problem if the file has ``what``, such as "annotations", of images that it does not list.

    It is a warning, but an error if that concerns all of them.
    """
    if image_ids:
        text = f'{what} of {len(image_ids)} images that "images" does not list (such as id {image_ids[0]!r})'
        rest = (
            f"are ignored, so that no {what} are left. Do they belong to other images?" if is_all else "are ignored."
        )
        severity = ERROR if is_all else WARNING
        problems.append(Problem("unlisted-image", f"{path}: {text} {rest}", severity=severity))


def _group_by_image(
    records: list[Any], image_ids: IdTable, path: str, problems: list[Problem]
) -> dict[int | str, list[dict[str, Any]]]:
    annotations_of = defaultdict(list)
    unlisted: dict[int | str, None] = {}
    where = f'{path}: entry of "annotations"'
    for record in records:
        image_id = find_image(record, image_ids, where, "bad-annotation", unlisted, problems)
        if image_id is not None:
            # Messages and DATALOADER.SKIP_BROKEN name the image as "images" does.
            annotations_of[image_id].append({**record, "image_id": image_id})
    image_ids.report("image_id", path, problems)
    report_unlisted("annotations", list(unlisted), not annotations_of, path, problems)
    return annotations_of


def _parse_image(record: Any, path: str, problems: list[Problem]) -> ImageAnnotations | None:
    where = f'{path}: entry of "images"'
    image_id = parse_id(record, "id", where, "bad-image", problems)
    if image_id is None:
        return None
    file_name, height, width = parse_image(record, f"{where}, image id {image_id}", image_id, problems)
    return ImageAnnotations(image_id, file_name, height, width, [], [], [], [])


def _add_objects(
    images: list[ImageAnnotations],
    annotations_of: dict[int | str, list[dict[str, Any]]],
    class_numbers: dict[int, int],
    path: str,
    problems: list[Problem],
) -> None:
    # All images at once: for one image a call of numpy costs more than its work.
    groups = [annotations_of.get(image.image_id, []) for image in images]
    records = [record for group in groups for record in group]
    boxes = parse_boxes([record.get("bbox") for record in records])
    category_ids = IdTable(class_numbers)
    classes = look_up(class_numbers, [category_ids.find(record.get("category_id")) for record in records])
    category_ids.report("category_id", path, problems)
    crowd = read_crowds(records, path, problems)

    def problem(kind: str, k: int, text: str) -> None:
        image_id = records[k]["image_id"]
        where = f"{path}: image id {image_id}, annotation id {records[k].get('id')}"
        problems.append(Problem(kind, f"{where}, {text}", image_id))

    for k in np.flatnonzero(np.isnan(boxes[:, 0])):
        box = reprlib.repr(records[k].get("bbox"))
        problem("bad-box", k, f'field "bbox": expected four finite numbers [x, y, width, height], got {box}.')
    for k in np.flatnonzero(classes == UNKNOWN):
        category = reprlib.repr(records[k].get("category_id"))
        problem("unknown-category", k, f'field "category_id": {category} is not in "categories". Add it there.')
    to_corners(boxes, records, path, problems)
    end = 0
    for image, group in zip(images, groups, strict=True):
        start, end = end, end + len(group)
        image.boxes, image.classes, image.crowd = boxes[start:end], classes[start:end], crowd[start:end]
        image.annotation_ids = [to_id(record.get("id")) for record in group]
