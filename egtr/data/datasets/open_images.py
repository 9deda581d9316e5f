"""Open Images V6 with visual relationships, in the JSON form that is common in scene graph code.

The folder::

    images/                        <image id>.jpg
    annotations/
      vrd-train-anno.json          [{"img_fn": "<image id>", "img_size": [width, height],
      vrd-val-anno.json              "bbox": [[x1, y1, x2, y2], ...] in pixels, "det_labels": [class, ...],
      vrd-test-anno.json             "rel": [[subject, object, predicate], ...]}, ...]
      categories_dict.json         {"obj": [601 names], "rel": [30 names]}

Classes, predicates, subjects and objects count from 0; subject and object index "bbox".

EGTR's released code reads this file in its own way. The argument ``as_released`` does the same. The built-in
``oiv6_*`` datasets, on which the recipes train, have it set; every other reading keeps to the file:

- "boxes": x2 and y2 are the last pixels inside, so that each box is one pixel wider and higher.
- "training": also, a triplet that is there twice counts once, and images of more than 200 boxes, the number of
  queries, are left out.

The released code reads val and test, and all images of the detector's training, as "boxes"; its training of
relations, and the counts for the frequency bias, as "training".
"""

import os
import reprlib
from typing import Any

import numpy as np

from egtr.structures import ConfigurationError

from ..problems import WARNING, Problem
from ._parsing import is_size, parse_objects, parse_relations, read_json, require_list, require_names
from .annotations import ImageAnnotations, SceneGraphAnnotations
from .registration import register_reader

LAYOUT = "open_images"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# The released code compares the boxes of an image with its number of queries.
MAX_RELEASED_BOXES = 200


def read_open_images(
    json_file: str, image_root: str, *, categories_file: str | None = None, as_released: str | None = None
) -> SceneGraphAnnotations:
    """Read one split.

    Args:
        json_file: ``vrd-<split>-anno.json``.
        image_root: folder of the images. A name in the file without the suffix of an image gets ".jpg".
        categories_file: None: ``categories_dict.json`` beside ``json_file``.
        as_released: "boxes" or "training", see the beginning of this module; None: what the file says.

    Raises:
        DataError: a file cannot be read or has another form.
        ConfigurationError: there is no such ``as_released``.
    """
    _check_reading(as_released)
    categories_file = categories_file or _categories_file(json_file)
    records = require_list(read_json(json_file), json_file, LAYOUT)
    categories = read_json(categories_file)
    classes = require_names(categories, categories_file, LAYOUT, "obj")
    predicates = require_names(categories, categories_file, LAYOUT, "rel")
    problems: list[Problem] = []
    images = [_parse_image(record, k, json_file, problems) for k, record in enumerate(records)]
    images = [image for image in images if image is not None]
    if as_released:
        for image in images:
            image.boxes[:, 2:] += 1
    if as_released == "training":
        images = _keep_for_training(images, json_file, problems)
    return SceneGraphAnnotations(images, classes, predicates, image_root, json_file, problems)


def register_open_images(
    name: str,
    json_file: str,
    image_root: str,
    *,
    categories_file: str | None = None,
    as_released: str | None = None,
    **metadata: Any,
) -> None:
    """Register one split; for the arguments see :func:`read_open_images` and :func:`~.registration.register_reader`.

    The metadata get ``one_predicate_per_pair``, as is usual for this dataset: training draws one of several
    predicates of a pair at random each time.
    """
    categories_file = categories_file or _categories_file(json_file)
    metadata.setdefault("one_predicate_per_pair", True)
    _check_reading(as_released)
    options = {"categories_file": categories_file, "as_released": as_released}
    register_reader(name, read_open_images, [json_file, categories_file], image_root, options, **metadata)


def _categories_file(json_file: str) -> str:
    return os.path.join(os.path.dirname(json_file), "categories_dict.json")


def _check_reading(as_released: str | None) -> None:
    if as_released not in (None, "boxes", "training"):
        raise ConfigurationError(f'as_released is {as_released!r}; take "boxes", "training" or None.')


def _keep_for_training(images: list[ImageAnnotations], path: str, problems: list[Problem]) -> list[ImageAnnotations]:
    """Leave out images of too many boxes and repeated triplets, and count both."""
    kept = [image for image in images if len(image.boxes) <= MAX_RELEASED_BOXES]
    repeated = 0
    for image in kept:
        rows = list(dict.fromkeys(map(tuple, image.relations.tolist())))
        repeated += len(image.relations) - len(rows)
        image.relations = np.array(rows, dtype=np.int64).reshape(-1, 3)
    if repeated or len(kept) < len(images):
        text = (
            f"as in the released code, {len(images) - len(kept)} images of more than {MAX_RELEASED_BOXES} boxes and "
        )
        text += f"{repeated} repeated triplets are left out."
        problems.append(Problem("as-released", f"{path}: {text}", severity=WARNING))
    return kept


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
