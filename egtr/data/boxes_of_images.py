"""Boxes of many images: which boxes belong to which image.

They can be

- a mapping from file names, or image ids, to boxes in any form of :mod:`egtr.data.given_boxes`;
- COCO results: a list of {"image_id", "bbox", "category_id", "score"}. "category_id" is the model's id of a class
  unless ``classes`` translates it, and an image is found if its file is named after the id, such as 000000000139.jpg;
- COCO annotations: {"images", "annotations", "categories"}, whose names count. An image without annotations has no
  boxes. With results in place of "annotations", ``{**annotations, "annotations": results}``, results get names, too;
- a list of scene graphs as JSON, each with the file name of its image;
- a path of a JSON file that holds one of the last three, or a .jsonl file, as ``egtr demo --format json`` prints it,
  with a graph in each line;
- the boxes of one image, for a source that is one image.

A file name stands for every file whose path ends with it: "a/b.jpg" for "/data/a/b.jpg". Backslashes, which programs
of Windows write between folders, count as "/", and both forms of Unicode's accents are the same.
"""

import json
import os
import unicodedata
from collections.abc import Mapping
from numbers import Integral
from pathlib import PurePath
from typing import Any

from egtr.structures import DataError

from .coco_fields import read_crowds
from .datasets._parsing import IdTable, is_size, numbered_names, read_json, to_id
from .given_boxes import GivenBoxes, read_boxes
from .problems import Problem, log_or_raise

# Names of images that a message lists.
_SHOWN = 3


class BoxesOfImages:
    """Finds the boxes of each image of a source.

    Args:
        boxes: by file name or image id; or only None: the boxes of a source that is one image.
        where: the file or argument that they come from, with which messages begin.

    Raises:
        DataError: two file names are the same one, written in two ways.
    """

    def __init__(self, boxes: Mapping[str | int | None, GivenBoxes], where: str = "boxes"):
        self.where = where
        self._boxes = dict(boxes)
        # File names by their last part, so that a lookup does not compare them all.
        self._named: dict[str, list[tuple[str, ...]]] = {}
        self._keys: dict[tuple[str, ...], str] = {}
        for key in self._boxes:
            if isinstance(key, str):
                parts = _parts(key)
                if parts in self._keys:
                    raise DataError(f"{where}: {self._keys[parts]!r} and {key!r} are the same file; give it once")
                self._named.setdefault(parts[-1] if parts else "", []).append(parts)
                self._keys[parts] = key
        # The image that each key was used for.
        self._used: dict[Any, Any] = {}

    @property
    def is_for_one_image(self) -> bool:
        """True if the boxes belong to whatever image the source is."""
        return None in self._boxes

    def for_one_image(self) -> "BoxesOfImages":
        """Take boxes of a single image id for the one image of a source, whatever its name."""
        keys = list(self._boxes)
        return BoxesOfImages({None: self._boxes[keys[0]]}, self.where) if self._is_one_id(keys) else self

    @staticmethod
    def _is_one_id(keys: list[Any]) -> bool:
        return len(keys) == 1 and isinstance(keys[0], int)

    def find(self, file_name: str | None, frame: int | None = None) -> GivenBoxes:
        """Find the boxes of an image; each image is asked for once, in order.

        Args:
            file_name: the image; None for pixels.
            frame: number of the frame of a video, else None.

        Raises:
            DataError: there are none, or they were found for another image already.
        """
        key = None if self.is_for_one_image else self._find_key(file_name)
        # Pixels without a name are an image each.
        image = object() if file_name is None else (file_name, frame)
        if self._used.setdefault(key, image) != image:
            second = _describe(file_name, frame)
            if key is None:
                raise DataError(
                    f"{self.where}: are the boxes of one image, but there is a second one, {second}; give a mapping "
                    "from file names to boxes"
                )
            first = self._used[key]
            remedy = "name each image by more of its path" if first[0] != file_name else "save the frames as images"
            raise DataError(f"{self.where}: {key!r} stands for both {_describe(*first)} and {second}; {remedy}")
        return self._boxes[key]

    def _find_key(self, file_name: str | None) -> str | int:
        names = ", ".join(repr(key) for key in list(self._boxes)[:_SHOWN])
        more = f", ... ({len(self._boxes)} in all)" if len(self._boxes) > _SHOWN else ""
        known = f"there are boxes of {names}{more}" if names else "there are boxes of no image"
        if file_name is None:
            raise DataError(f"{self.where}: an image without a file name cannot be looked up; {known}")
        path = PurePath(os.path.abspath(file_name))
        whole = _parts(str(path))
        matches = [parts for parts in self._named.get(whole[-1], []) if whole[-len(parts) :] == parts]
        if matches:
            return self._keys[max(matches, key=len)]
        ids = [path.stem, int(path.stem)] if path.stem.isdecimal() else [path.stem]
        for key in ids:
            if key in self._boxes:
                return key
        raise DataError(f"{self.where}: has no boxes of {file_name}; {known}")


def _parts(file_name: str) -> tuple[str, ...]:
    """Split a file name into folders and the file, in one form of Unicode."""
    normal = unicodedata.normalize("NFC", file_name.replace("\\", "/"))
    return PurePath(os.path.normpath(normal)).parts


def _describe(file_name: str | None, frame: int | None) -> str:
    name = "an image without a file name" if file_name is None else file_name
    return name if frame is None else f"frame {frame} of {name}"


def read_boxes_of_images(boxes: Any, classes: Any = None, scores: Any = None, where: str = "boxes") -> BoxesOfImages:
    """Read boxes in any of the forms of this module.

    Args:
        boxes: see the module.
        classes, scores: see :func:`egtr.data.given_boxes.read_boxes`; for a mapping from file names, mappings with
            the same keys. For COCO results and annotations ``classes`` may translate category ids or names; lists are
            for boxes of one image.
        where: the beginning of error messages.

    Raises:
        DataError: the boxes have none of these forms, or are wrong in themselves; or classes or scores are lists
            although the boxes are of several images.
    """
    if isinstance(boxes, BoxesOfImages):
        _check_lists(0, classes, scores, where)
        return boxes
    if isinstance(boxes, str | os.PathLike):
        return read_boxes_file(os.fspath(boxes), classes=classes, scores=scores)
    if isinstance(boxes, Mapping) and "annotations" in boxes:
        return _read_coco(boxes, classes, scores, where)
    if isinstance(boxes, list | tuple) and boxes and isinstance(boxes[0], Mapping):
        if "image_id" in boxes[0]:
            return _read_results(boxes, classes, scores, where)
        if "objects" in boxes[0]:
            return _read_graphs(boxes, classes, scores, where)
    is_one = not isinstance(boxes, Mapping) or "boxes" in boxes or "objects" in boxes
    if is_one:
        return BoxesOfImages({None: read_boxes(boxes, classes, scores, where)}, where)
    found = {}
    classes, scores = _name_keys(classes, where), _name_keys(scores, where)
    for name, values in _name_keys(boxes, where).items():
        parts = [
            _part_of(argument, name, text, where) for argument, text in ((classes, "classes"), (scores, "scores"))
        ]
        found[name] = read_boxes(values, *parts, f"{where} of {name}")
    return BoxesOfImages(found, where)


def _name_keys(values: Any, where: str) -> Any:
    """Turn paths and numbers of numpy, which stand for images, to texts and ints; other values than mappings stay."""
    if not isinstance(values, Mapping):
        return values
    named = {}
    for key, value in values.items():
        is_number = isinstance(key, Integral) and not isinstance(key, bool)
        name = int(key) if is_number else os.fspath(key) if isinstance(key, str | os.PathLike) else None
        if name is None:
            raise DataError(f"{where}: the key {key!r} is neither a file name nor an image id")
        if name in named:
            raise DataError(f"{where}: {name!r} is there twice, as text and as path; give it once")
        named[name] = value
    return named


def _part_of(argument: Any, key: Any, name: str, where: str) -> Any:
    if argument is None:
        return None
    if not isinstance(argument, Mapping) or key not in argument:
        raise DataError(f"{where}: {name} must be a mapping with the same keys as the boxes; it lacks {key!r}")
    return argument[key]


def _check_lists(count: int, classes: Any, scores: Any, where: str) -> None:
    """Raise DataError for classes or scores, one for each box, of other than one image: no one knows of which."""
    is_list = {"classes": classes is not None and not isinstance(classes, Mapping), "scores": scores is not None}
    for name in filter(is_list.get, is_list):
        if count != 1:
            remedy = "or a mapping that translates them" if name == "classes" else 'as "score" of each record'
            raise DataError(
                f"{where}: {name} has one value for each box of one image, but these boxes name images of their own; "
                f"give {name} with the boxes, {remedy}"
            )


def _read_results(records: list[Any], classes: Any, scores: Any, where: str) -> BoxesOfImages:
    by_image: dict[str | int, list[Any]] = {}
    for index, record in enumerate(records):
        image_id = to_id(record.get("image_id")) if isinstance(record, Mapping) else None
        if image_id is None:
            raise DataError(f'{where}: record {index} has no "image_id", a number or a name')
        by_image.setdefault(image_id, []).append(record)
    _check_lists(len(by_image), classes, scores, where)
    return BoxesOfImages(
        {key: read_boxes(group, classes, scores, f"{where} of image id {key}") for key, group in by_image.items()},
        where,
    )


def _read_graphs(records: list[Any], classes: Any, scores: Any, where: str) -> BoxesOfImages:
    _check_lists(len(records), classes, scores, where)
    found: dict[str | int | None, GivenBoxes] = {}
    for index, record in enumerate(records):
        boxes = read_boxes(record, classes, scores, f"{where}, graph {index}")
        name = (record.get("source") or {}).get("file_name")
        if len(records) > 1 and (name is None or name in found):
            raise DataError(f"{where}: graph {index} has no file name of its own, so its image is not known")
        found[name if len(records) > 1 else None] = boxes
    return BoxesOfImages(found, where)


def _read_coco(content: Mapping[str, Any], classes: Any, scores: Any, where: str) -> BoxesOfImages:
    for field in ("images", "annotations", "categories"):
        if not isinstance(content.get(field), list | tuple):
            raise DataError(f'{where}: field "{field}" is missing or no list; COCO annotations have it')
    names = numbered_names(content["categories"], where, "categories", "_coco")
    categories = IdTable(names)
    groups: dict[str | int, list[Any]] = {}
    sizes: dict[str | int, tuple[str, tuple[int, int] | None]] = {}
    for index, image in enumerate(content["images"]):
        image_id = to_id(image.get("id")) if isinstance(image, Mapping) else None
        if image_id is None or not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise DataError(f'{where}: entry {index} of "images" lacks "id" or "file_name"')
        if image_id in groups:
            raise DataError(f'{where}: two entries of "images" have the id {image_id!r}; give each an id of its own')
        size = (image.get("height"), image.get("width"))
        sizes[image_id] = (image["file_name"], size if all(map(is_size, size)) else None)
        groups[image_id] = []
    image_ids = IdTable(groups)
    records = [record if isinstance(record, Mapping) else {} for record in content["annotations"]]
    problems: list[Problem] = []
    crowds = read_crowds(records, where, problems)
    log_or_raise(problems)
    for index, record in enumerate(records):
        image_id = image_ids.find(record.get("image_id"))
        if image_id is None:
            raise DataError(f'{where}: entry {index} of "annotations" has an "image_id" that "images" does not list')
        if crowds[index]:
            # A region of many objects is no object.
            continue
        category = record.get("category_id")
        name = None if category is None else names.get(categories.find(category))
        if category is not None and name is None:
            raise DataError(
                f'{where}: entry {index} of "annotations" has the "category_id" {category!r}, which is not in '
                '"categories"'
            )
        groups[image_id].append({**record, "category_id": name})
    _check_lists(len(groups), classes, scores, where)
    found = {}
    for image_id, group in groups.items():
        file_name, size = sizes[image_id]
        given = read_boxes(group, classes, scores, f"{where} of {file_name}")
        given.image_size = size
        # One entry would hide the boxes of the other.
        if file_name in found:
            raise DataError(
                f'{where}: two entries of "images" have the "file_name" {file_name!r}; name each by more of its '
                "path, or give the boxes of both to one"
            )
        found[file_name] = given
    return BoxesOfImages(found, where)


def read_boxes_file(
    path: str, annotations: str | None = None, classes: Any = None, scores: Any = None
) -> BoxesOfImages:
    """Read the boxes of a JSON file: COCO annotations or results, or scene graphs that this library wrote.

    Args:
        path: the file, with one scene graph or a list of them; or a .jsonl file with one in each line.
        annotations: for COCO results, a file of COCO annotations that names images and categories.
        classes, scores: see :func:`read_boxes_of_images`.

    Raises:
        DataError: a file cannot be read, or holds something else.
    """
    if str(path).lower().endswith((".txt", ".csv")):
        raise DataError(
            f"{path}: boxes are read from JSON, not from text; docs/given_boxes.md reads text files of YOLO in Python"
        )
    content = _read_lines(path) if str(path).lower().endswith(".jsonl") else read_json(path)
    if annotations is not None:
        tables = read_json(annotations)
        if not isinstance(content, list) or not isinstance(tables, Mapping):
            raise DataError(f"{path}: is no list of COCO results, or {annotations} holds no COCO annotations")
        content = {**tables, "annotations": content}
    is_known = isinstance(content, list) or (
        isinstance(content, Mapping) and ("annotations" in content or "objects" in content)
    )
    if not is_known or (isinstance(content, list) and content and not isinstance(content[0], Mapping)):
        raise DataError(
            f"{path}: holds neither COCO annotations (images, annotations, categories), nor COCO results (a list of "
            "image_id, bbox, category_id, score), nor a scene graph that egtr demo wrote"
        )
    # A file without results has no boxes of any image.
    return BoxesOfImages({}, path) if content == [] else read_boxes_of_images(content, classes, scores, path)


def _read_lines(path: str) -> list[Any]:
    try:
        with open(path, "rb") as file:
            data = file.read()
        # Shells of Windows redirect what a program prints to UTF-16.
        text = data.decode(json.detect_encoding(data))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON in UTF-8 or UTF-16 ({error}). Save it as UTF-8.") from error
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            values += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: line {number} is no JSON ({error})") from error
    return values
