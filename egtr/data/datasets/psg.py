"""Panoptic Scene Graph (PSG): the boxes and relations of ``psg.json``. Segmentations are not read.

The file::

    {"data": [{"file_name": "train2017/....jpg", "height": ..., "width": ..., "image_id": "107902",
               "segments_info": [...],
               "annotations": [{"bbox": [x1, y1, x2, y2] in pixels, "bbox_mode": 0, "category_id": class}, ...],
               "relations": [[subject, object, predicate], ...]}, ...],
     "thing_classes": [80 names], "stuff_classes": [53 names], "predicate_classes": [56 names],
     "test_image_ids": ["107902", ...]}

The classes are thing_classes followed by stuff_classes. All numbers count from 0; subject and object index
"annotations". Detectron2's bbox_mode 1 means [x, y, width, height]; without it boxes are as above. Images lie in
COCO's folders, ``train2017/`` and ``val2017/``. Crowd segments are objects like others, since relations name them.

There are two splits: test (the images of "test_image_ids") and train (all others). PSG has no val split; its authors'
configurations evaluate on test during training.
"""

import reprlib
from typing import Any

import numpy as np

from ..coco_fields import XYWH, XYXY
from ..problems import ERROR, WARNING, Problem
from ._parsing import (
    parse_boxes,
    parse_fragment,
    parse_id,
    parse_image,
    parse_objects,
    parse_relations,
    read_json,
    require_fields,
    require_names,
    to_id,
)
from ._survey import read_backslashes
from .annotations import ImageAnnotations, SceneGraphAnnotations
from .registration import register_reader

LAYOUT = "psg"
SPLITS = ("train", "test")


def read_psg(json_file: str, image_root: str, *, split: str | None = None) -> SceneGraphAnnotations:
    """Read one split, or all images.

    Args:
        json_file: the file, also as ``FILE#split``.
        image_root: folder with ``train2017/`` and ``val2017/``.
        split: "train" or "test"; None: all.

    Raises:
        DataError: the file cannot be read or lacks a list; or there is no such split.
    """
    json_file, split = parse_fragment(json_file, split, SPLITS)
    content = read_json(json_file)
    require_fields(content, json_file, LAYOUT, data=list, test_image_ids=list)
    classes = require_names(content, json_file, LAYOUT, "thing_classes", "stuff_classes")
    predicates = require_names(content, json_file, LAYOUT, "predicate_classes")
    # Some copies of the file hold numbers, others texts.
    test_ids = {str(to_id(image_id)) for image_id in content["test_image_ids"]}
    problems: list[Problem] = []
    images = []
    known_ids = set()
    for number, record in enumerate(content["data"]):
        image_id = parse_id(record, "image_id", f'{json_file}: entry {number} of "data"', "bad-image", problems)
        if image_id is None:
            continue
        if split is None or (str(image_id) in test_ids) == (split == "test"):
            images.append(_parse_image(record, json_file, problems))
        known_ids.add(str(image_id))
    if split is not None and test_ids and known_ids and not known_ids & test_ids:
        text = (
            f'field "test_image_ids": no image has one of its {len(test_ids)} ids, such as {min(test_ids)!r}, so that'
        )
        text += ' all images are in the split train. Write the ids as "data" has them.'
        severity = ERROR if split == "test" else WARNING
        problems.append(Problem("unlisted-image", f"{json_file}: {text}", severity=severity))
    read_backslashes(images, json_file, problems)
    return SceneGraphAnnotations(images, classes, predicates, image_root, json_file, problems)


def register_psg(name: str, json_file: str, image_root: str, *, split: str | None = None, **metadata: Any) -> None:
    """Register a split; for the arguments see :func:`read_psg` and :func:`~.registration.register_reader`."""
    json_file, split = parse_fragment(json_file, split, SPLITS)
    register_reader(name, read_psg, [json_file], image_root, {"split": split}, split=split, **metadata)


def _parse_image(record: dict[str, Any], path: str, problems: list[Problem]) -> ImageAnnotations:
    image_id = record["image_id"]
    where = f"{path}: image id {image_id}"
    file_name, height, width = parse_image(record, where, image_id, problems)
    objects = record.get("annotations")
    if not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
        text = f'field "annotations": expected a list of {{"bbox", "category_id"}}, got {reprlib.repr(objects)}.'
        problems.append(Problem("bad-annotations", f"{where}, {text}", image_id))
        objects = []
    boxes, classes = parse_objects(
        [_corners(entry, k, where, image_id, problems) for k, entry in enumerate(objects)],
        [entry.get("category_id") for entry in objects],
        ("bbox", "category_id"),
        where,
        image_id,
        problems,
    )
    relations = parse_relations(record.get("relations"), f'{where}, field "relations"', image_id, problems)
    return ImageAnnotations(image_id, file_name, height, width, boxes, classes, np.zeros(len(boxes)), relations)


def _corners(entry: dict[str, Any], number: int, where: str, image_id: int | str, problems: list[Problem]) -> Any:
    """Return "bbox" as x1 y1 x2 y2 by its "bbox_mode"; a malformed one stays as it is."""
    box, mode = entry.get("bbox"), entry.get("bbox_mode")
    if mode == XYWH:
        corners = parse_boxes([box])[0]
        corners[2:] += corners[:2]
        return corners.tolist() if np.isfinite(corners).all() else box
    if mode is not None and mode != XYXY:
        text = f"expected 0 ([x1, y1, x2, y2]) or 1 ([x, y, width, height]), got {reprlib.repr(mode)}."
        problems.append(Problem("bad-box-mode", f'{where}, annotation {number}, field "bbox_mode": {text}', image_id))
    return box
