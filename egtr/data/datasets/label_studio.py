"""Label Studio's JSON export: boxes and relations that people drew in a browser.

The export named "JSON" is a list of tasks, one for each image ("JSON-MIN" and "COCO" have no relations). These parts
of a task are read::

    {"id": 7,
     "data": {"image": "/data/upload/1/0f6142fb-photo.jpg"},
     "annotations": [{"was_cancelled": false, "ground_truth": false, "updated_at": "...", "result": [
        {"id": "a", "type": "rectanglelabels", "original_width": 640, "original_height": 480, "image_rotation": 0,
         "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0, "rectanglelabels": ["cup"]}},
        {"id": "b", ...},
        {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right", "labels": ["on"]}]}]}

x, y, width and height are percentages of the image; a rectangle is turned about its corner x, y by ``rotation``
degrees, clockwise. A relation goes from ``from_id`` to ``to_id`` ("right"), back ("left") or both ways ("bi").
"""

import math
import os
import reprlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from egtr.structures import DataError

from ..annotated_image import BrokenImageError, read_annotated_image
from ..problems import ERROR, UNKNOWN, WARNING, Problem
from ._parsing import is_id, read_json, to_id
from .annotations import ImageAnnotations, SceneGraphAnnotations
from .label_studio_files import ImageFinder, image_field, image_fields

# A rectangle is one entry (tag RectangleLabels), or two with the same id (tags Rectangle and Labels).
RECTANGLES = ("rectanglelabels", "rectangle", "labels")
OTHER_SHAPES = ("bitmask", "brush", "ellipse", "keypoint", "polygon", "vector")

Entry = dict[str, Any]


def read_label_studio(
    path: str | os.PathLike[str], image_root: str | os.PathLike[str] = "", *, drop_unlabelled: bool = False
) -> SceneGraphAnnotations:
    """Read an export.

    Classes and predicates are the labels that occur, in alphabetical order. If an image has several annotations, the
    one marked as ground truth is taken, or else the latest; a cancelled one never is. Images without annotations are
    left out. A turned rectangle becomes the box around it. Image ids are the ids of the tasks.

    Args:
        path: the export.
        image_root: folder of the images, in which their names are looked up; "": the names come only from the
            export. See :class:`egtr.data.datasets.label_studio_files.ImageFinder`.
        drop_unlabelled: leave out boxes and relations without a label, and the relations of such boxes. Otherwise
            they are errors.

    Raises:
        DataError: the file is missing or no such export. Everything else is a problem in the result.
    """
    path, image_root = os.fspath(path), os.fspath(image_root)
    reader = _Reader(path, ImageFinder(image_root), drop_unlabelled)
    tasks = tqdm(_read_tasks(path), desc=f"reading {os.path.basename(path)}", unit="task", disable=None)
    records = [record for record in map(reader.read, tasks) if record is not None]
    classes = sorted({name for record in records for name in record["classes"]} - {None})
    predicates = sorted({name for record in records for *_, name in record["relations"]} - {None})
    class_ids = {name: k for k, name in enumerate(classes)} | {None: UNKNOWN}
    predicate_ids = {name: k for k, name in enumerate(predicates)} | {None: UNKNOWN}
    for record in records:
        record["classes"] = [class_ids[name] for name in record["classes"]]
        record["relations"] = [(*ends, predicate_ids[name]) for *ends, name in record["relations"]]
    images = [ImageAnnotations(**record, crowd=[False] * len(record["classes"])) for record in records]
    if drop_unlabelled and reader.num_relations and not any(len(image.relations) for image in images):
        text = f"{path}: none of the {reader.num_relations} relations is left; the other problems say why"
        reader.problems.append(Problem("no-relations-left", text))
    for name, count in Counter(image.file_name for image in images).items():
        if count > 1:
            tasks = [image.image_id for image in images if image.file_name == name]
            text = (
                f"{path}: {count} tasks, {tasks}, mean the image {name}; delete all but one of them in Label Studio"
            )
            hint = "" if image_root else ", or give --image-root if they are different images of one name"
            reader.problems.append(Problem("repeated-image", f"{text}{hint}"))
    return SceneGraphAnnotations(images, classes, predicates, image_root, path, reader.problems)


def _read_tasks(path: str) -> list[dict[str, Any]]:
    tasks = read_json(path)
    remedy = 'Export the project as "JSON": "JSON-MIN", "COCO" and the others have no relations.'
    if not isinstance(tasks, list):
        raise DataError(f"{path}: is no list of tasks. {remedy}")
    for task in tasks:
        if not isinstance(task, dict) or not isinstance(task.get("annotations"), list) or not is_id(task.get("id")):
            raise DataError(f'{path}: {reprlib.repr(task)} has no "id" and list of "annotations". {remedy}')
    return tasks


class _Skip(Exception):
    """A task that cannot be read at all; its arguments are the kind and the text of a Problem."""


class _Reader:
    """Reads one task after the other and collects the problems."""

    def __init__(self, path: str, finder: ImageFinder, drop_unlabelled: bool):
        self.path = path
        self.finder = finder
        self.drop_unlabelled = drop_unlabelled
        self.problems: list[Problem] = []
        self.num_relations = 0
        self._task: Any = None

    def _problem(self, kind: str, text: str, severity: str = ERROR) -> None:
        self.problems.append(Problem(kind, f"{self.path}: task {self._task}, {text}", self._task, severity))

    def _lost(self, kind: str, text: str) -> None:
        if self.drop_unlabelled:
            self._problem(kind, f"{text}; it is left out", WARNING)
        else:
            self._problem(kind, f"{text}; correct it in Label Studio, or leave it out by --drop-unsupported")

    def read(self, task: dict[str, Any]) -> dict[str, Any] | None:
        """Return fields of ImageAnnotations, with names (None: no label) in ``classes`` and ``relations``."""
        self._task = to_id(task["id"])
        try:
            return self._read(task)
        except _Skip as error:
            self._problem(*error.args)
            return None

    def _read(self, task: dict[str, Any]) -> dict[str, Any] | None:
        annotation = self._choose(task["annotations"])
        if annotation is None:
            return None
        try:
            file_name = self.finder.find(task.get("data"))
        except DataError as error:
            raise _Skip("missing-image", str(error)) from error
        if self.finder.is_guess(task["data"], file_name):
            text = f"{task['data'][image_field(task['data'])]!r}: its folder is not in {self.finder.image_root}"
            self._problem("guessed-image", f"{text}, so {file_name} is taken; is it this image?", WARNING)
        regions, relations = self._sort(annotation.get("result"))
        regions = self._on_image(regions, task["data"])
        height, width = self._size(regions, file_name)
        indices, boxes, classes = {}, [], []
        for number, entries in regions.items():
            label = self._label(number, entries)
            if label is not None or not self.drop_unlabelled:
                indices[number] = len(boxes)
                boxes.append(self._box(number, entries[0], height, width))
                classes.append(label)
        return {
            "image_id": self._task,
            "file_name": file_name,
            "height": height,
            "width": width,
            "boxes": boxes,
            "classes": classes,
            "relations": [row for entry in relations for row in self._rows(entry, indices)],
        }

    def _choose(self, annotations: list[Any]) -> Entry | None:
        valid = [entry for entry in annotations if isinstance(entry, dict) and not entry.get("was_cancelled")]
        if not valid:
            self._problem("not-annotated", "nothing is annotated; it is left out", WARNING)
            return None
        if len(valid) > 1:
            text = f"{len(valid)} annotations: the one marked as ground truth is taken, else the latest"
            self._problem("several-annotations", text, WARNING)
        return max(valid, key=lambda entry: (bool(entry.get("ground_truth")), str(entry.get("updated_at", ""))))

    def _sort(self, result: Any) -> tuple[dict[Any, list[Entry]], list[Entry]]:
        """Sort entries into rectangles (id to entries) and relations."""
        regions: dict[Any, list[Entry]] = {}
        relations = []
        for k, entry in enumerate(result if isinstance(result, list) else ()):
            kind = entry.get("type") if isinstance(entry, dict) else None
            if kind == "relation":
                relations.append(entry)
                self.num_relations += 1
            elif kind in RECTANGLES and _has_box(entry.get("value")):
                # Imported rectangles may have no id. Each is one of its own, and no relation names it.
                number = entry.get("id")
                regions.setdefault(str(number) if is_id(number) else f"without id at {k}", []).append(entry)
            elif str(kind).startswith(OTHER_SHAPES):
                text = f"region {entry.get('id')} is of type {kind!r}, and only rectangles are read; it is left out"
                self._problem("not-a-rectangle", text, WARNING)
        return regions, relations

    def _on_image(self, regions: dict[Any, list[Entry]], data: Any) -> dict[Any, list[Entry]]:
        """Keep the regions on the image that is read: a task may show several, in tags or as pages of one tag."""
        field, fields = image_field(data), image_fields(data)
        tags = {entries[0].get("to_name") for entries in regions.values()} - {None}
        # A tag has the name of its field in "data" or another one; the export does not say which tag shows which.
        if field in tags or tags & set(fields):
            tag = field
        elif len(tags) > 1:
            raise _Skip("several-images", f"its regions are on {sorted(map(str, tags))}; give each image a task")
        else:
            tag = None
        kept = {}
        for number, entries in regions.items():
            page, to_name = entries[0].get("item_index"), entries[0].get("to_name")
            if page or (tag is not None and to_name not in (None, tag)):
                where = f"page {page}" if page else f"the image {to_name!r}"
                self._lost("other-image", f"region {number} is on {where}, and only {field!r} is read")
            else:
                kept[number] = entries
        return kept

    def _size(self, regions: dict[Any, list[Entry]], file_name: str) -> tuple[int, int]:
        """Read height and width from the export, or from the image if nothing is drawn on it."""
        entries = [entry for entries in regions.values() for entry in entries]
        if any(entry.get("image_rotation") for entry in entries):
            raise _Skip(
                "turned-image", "the image was turned while it was annotated; turn it back and check its boxes"
            )
        stated = [(entry.get("original_height"), entry.get("original_width")) for entry in entries]
        sizes = {size for size in stated if isinstance(size[0], int) and isinstance(size[1], int)}
        if len(sizes) > 1:
            raise _Skip("bad-size", f"its regions state several sizes (original_height, original_width): {sizes}")
        if sizes:
            return sizes.pop()
        if not self.finder.image_root:
            raise _Skip(
                "unknown-size", "the export does not say its size; give --image-root, so that the image tells"
            )
        try:
            return read_annotated_image({"file_name": os.path.join(self.finder.image_root, file_name)}).shape[:2]
        except BrokenImageError as error:
            raise _Skip("broken-image", str(error)) from error

    def _label(self, number: str, entries: list[Entry]) -> str | None:
        # With a tag RectangleLabels, entries of a tag Labels are attributes.
        labels = [name for entry in entries for name in _labels(entry["value"], "rectanglelabels")]
        labels += [name for entry in entries for name in _labels(entry["value"], "labels")]
        if not labels:
            self._lost("unlabelled-box", f"region {number} has no label")
            return None
        if len(set(labels)) > 1:
            self._problem("several-labels", f"region {number} has the labels {labels}; the first is taken", WARNING)
        return labels[0]

    def _box(self, number: str, entry: Entry, height: int, width: int) -> list[float]:
        value = entry["value"]
        numbers = [value["x"], value["y"], value["width"], value["height"], value.get("rotation") or 0]
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            self._problem("bad-box", f"region {number}: x, y, width, height and rotation must be numbers: {numbers}")
            return [math.nan] * 4
        x, y, w, h = np.array(numbers[:4]) / 100 * (width, height, width, height)
        angle = math.radians(numbers[4])
        along, down = (
            np.array([math.cos(angle), math.sin(angle)]) * w,
            np.array([-math.sin(angle), math.cos(angle)]) * h,
        )
        corners = np.array([x, y]) + [np.zeros(2), along, down, along + down]
        return [*corners.min(axis=0), *corners.max(axis=0)]

    def _rows(self, entry: Entry, indices: dict[str, int]) -> Iterator[tuple[int, int, str | None]]:
        """Yield a row (subject, object, predicate name) for each label and direction of a relation."""
        ends = str(entry.get("from_id")), str(entry.get("to_id"))
        name = f"relation from {ends[0]} to {ends[1]}"
        labels = _labels(entry, "labels")
        strangers = [end for end in ends if end not in indices]
        if strangers:
            self._lost("missing-object", f"{name}: there is no box {strangers[0]}")
            return
        if not labels:
            self._lost("unlabelled-relation", f"{name} has no label")
            labels = [] if self.drop_unlabelled else [None]
        pair = indices[ends[0]], indices[ends[1]]
        pairs = {"right": [pair], "left": [pair[::-1]], "bi": [pair, pair[::-1]]}.get(
            entry.get("direction") or "right"
        )
        if pairs is None:
            self._problem(
                "bad-direction", f'{name}: direction is {entry["direction"]!r}, not "right", "left" or "bi"'
            )
            return
        for label in labels:
            for subject, object_ in pairs:
                yield subject, object_, label


def _has_box(value: Any) -> bool:
    return isinstance(value, dict) and {"x", "y", "width", "height"} <= set(value)


def _labels(record: Entry, *fields: str) -> list[str]:
    lists = [record.get(field) for field in fields]
    return [name for names in lists if isinstance(names, list) for name in names if isinstance(name, str) and name]
