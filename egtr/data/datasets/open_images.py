"""Open Images V6 with visual relationships, in the JSON form that is common in scene graph code.

The folder::

    images/                        <image id>.jpg
    annotations/
      vrd-train-anno.json          [{"img_fn": "<image id>", "img_size": [width, height],
      vrd-val-anno.json              "bbox": [[x1, y1, x2, y2], ...] in pixels, "det_labels": [class, ...],
      vrd-test-anno.json             "rel": [[subject, object, predicate], ...]}, ...]
      categories_dict.json         {"obj": [601 names], "rel": [30 names]}

Classes, predicates, subjects and objects count from 0; subject and object index "bbox".
"""

import os
import reprlib
from typing import Any

import numpy as np

from ._parsing import is_size, parse_objects, parse_relations, read_json, require_list, require_names
from .annotations import ImageAnnotations, Problem, SceneGraphAnnotations
from .registration import register_reader

LAYOUT = "open_images"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_open_images(json_file: str, image_root: str, *, categories_file: str | None = None) -> SceneGraphAnnotations:
    """Read one split.

    Args:
        json_file: ``vrd-<split>-anno.json``.
        image_root: folder of the images. A name in the file without the suffix of an image gets ".jpg".
        categories_file: None: ``categories_dict.json`` beside ``json_file``.

    Raises:
        DataError: a file cannot be read or has another form.
    """
    categories_file = categories_file or _categories_file(json_file)
    records = require_list(read_json(json_file), json_file, LAYOUT)
    categories = read_json(categories_file)
    classes = require_names(categories, categories_file, LAYOUT, "obj")
    predicates = require_names(categories, categories_file, LAYOUT, "rel")
    problems: list[Problem] = []
    images = [_parse_image(record, k, json_file, problems) for k, record in enumerate(records)]
    images = [image for image in images if image is not None]
    return SceneGraphAnnotations(images, classes, predicates, image_root, json_file, problems)


def register_open_images(
    name: str, json_file: str, image_root: str, *, categories_file: str | None = None, **metadata: Any
) -> None:
    """Register one split; for the arguments see :func:`read_open_images` and :func:`~.registration.register_reader`.

    The metadata get ``one_predicate_per_pair``, as is usual for this dataset: training draws one of several
    predicates of a pair at random each time.
    """
    categories_file = categories_file or _categories_file(json_file)
    metadata.setdefault("one_predicate_per_pair", True)
    options = {"categories_file": categories_file}
    register_reader(name, read_open_images, [json_file, categories_file], image_root, options, **metadata)


def _categories_file(json_file: str) -> str:
    return os.path.join(os.path.dirname(json_file), "categories_dict.json")


def _parse_image(record: Any, number: int, path: str, problems: list[Problem]) -> ImageAnnotations | None:
    image_id = record.get("img_fn") if isinstance(record, dict) else None
    if not isinstance(image_id, str) or not image_id:
        text = f'field "img_fn" is missing or not a name in {reprlib.repr(record)}. Name the image.'
        problems.append(Problem("bad-image", f"{path}: entry {number}: {text}"))
        return None
    where = f"{path}: image id {image_id}"

    def problem(kind: str, text: str) -> None:
        problems.append(Problem(kind, f"{where}, {text}", image_id))

    size = record.get("img_size")
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_size, size)):
        problem("bad-size", f'field "img_size": expected [width, height] in pixels, got {reprlib.repr(size)}.')
        size = [0, 0]
    values, labels = record.get("bbox"), record.get("det_labels")
    if not isinstance(values, list) or not isinstance(labels, list) or len(values) != len(labels):
        numbers = [len(field) if isinstance(field, list) else "no" for field in (values, labels)]
        text = f"{numbers[0]} boxes and {numbers[1]} labels; they must be two lists of the same length."
        problem("bad-annotations", f'fields "bbox" and "det_labels" hold {text}')
        values, labels = [], []
    boxes, classes = parse_objects(values, labels, ("bbox", "det_labels"), where, image_id, problems)
    relations = parse_relations(record.get("rel"), f'{where}, field "rel"', image_id, problems)
    file_name = image_id if image_id.lower().endswith(IMAGE_SUFFIXES) else f"{image_id}.jpg"
    width, height = size
    return ImageAnnotations(image_id, file_name, height, width, boxes, classes, np.zeros(len(boxes)), relations)
