"""What an annotation file says, before anything is dropped: the form that all formats are read into.

Readers make :class:`SceneGraphAnnotations`, writers take them, checks look through them, and
:func:`to_dataset_dicts` makes of them what training and evaluation read. Nothing is lost or repaired on the way in:
a box outside its picture or a relation to an object that does not exist stays as it is, so that a check can show it
and a conversion keeps it.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from egtr.structures import EGTRError, remap_relations

# In place of an id that the file does not define. The reader adds a Problem with the id as it stands in the file.
UNKNOWN = -1

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """Something wrong in the annotations.

    Attributes:
        kind: what, in a few words with hyphens, such as "unknown-category"; reports count by it.
        message: one line that names file, image id, field and remedy.
        image_id: the picture; None where it concerns the whole file.
        severity: "error" where training on it would be wrong or impossible, "warning" where training goes on,
            with what the message says left out.
    """

    kind: str
    message: str
    image_id: int | str | None = None
    severity: str = ERROR


@dataclass
class ImageAnnotations:
    """One picture as its file describes it, with A objects and T relations.

    Attributes:
        image_id: as in the file.
        file_name: of the picture, relative to ``image_root``.
        height, width: as the file states them, in pixels.
        boxes: (A, 4) float64, x1 y1 x2 y2 in pixels, not clipped; NaN where the file has no usable box.
        classes: (A,) int64, 0-based, or ``UNKNOWN``.
        crowd: (A,) bool, whether the annotation is a crowd (COCO's ``iscrowd``).
        relations: (T, 3) int64, (subject, object, predicate), 0-based; subject and object index the A
            annotations. ``UNKNOWN``, or a number out of range, where the file names something that it does not
            define.
        annotation_ids: A ids of the file, where it has any.
    """

    image_id: int | str
    file_name: str
    height: int
    width: int
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    relations: np.ndarray
    annotation_ids: Sequence[int | str] | None = None

    def __post_init__(self):
        self.boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        self.classes = np.asarray(self.classes, dtype=np.int64).reshape(-1)
        self.crowd = np.asarray(self.crowd, dtype=bool).reshape(-1)
        self.relations = np.asarray(self.relations, dtype=np.int64).reshape(-1, 3)

    def clipped_boxes(self) -> np.ndarray:
        """(A, 4) boxes within the picture; those outside come out without area."""
        return np.clip(self.boxes, 0, (self.width, self.height, self.width, self.height))

    def usable(self) -> np.ndarray:
        """(A,) bool: annotations that name a single object with some area inside the picture."""
        sides = np.diff(self.clipped_boxes().reshape(-1, 2, 2), axis=1)[:, 0]
        return (sides > 0).all(axis=1) & ~self.crowd


@dataclass
class SceneGraphAnnotations:
    """A split of a data set as its files describe it.

    Attributes:
        images: the pictures, in the order of the file.
        thing_classes: C object class names.
        predicate_classes: R predicate names, without background.
        image_root: folder of the pictures.
        source: the file, for messages.
        problems: what the reader could not make sense of.
    """

    images: list[ImageAnnotations]
    thing_classes: list[str]
    predicate_classes: list[str]
    image_root: str
    source: str
    problems: list[Problem] = field(default_factory=list)

    def find_problems(self) -> Iterator[Problem]:
        """What is wrong: the reader's problems, then those of each picture. No picture is opened."""
        yield from self.problems
        repeated = [i for i, n in Counter(image.image_id for image in self.images).items() if n > 1]
        for image_id in repeated:
            message = f"{self.source}: image id {image_id} stands for several pictures; give each an id of its own"
            yield Problem("repeated-image-id", message, image_id)
        for image in self.images:
            yield from self._problems_of(image)

    def _problems_of(self, image: ImageAnnotations) -> Iterator[Problem]:
        where = f"{self.source}: image id {image.image_id}"

        def problem(kind: str, text: str, severity: str = ERROR) -> Problem:
            return Problem(kind, f"{where}, {text}", image.image_id, severity)

        if image.height <= 0 or image.width <= 0:
            yield problem("bad-size", f"height and width are {image.height}, {image.width}; they must be positive")
        num_objects, num_predicates = len(image.boxes), len(self.predicate_classes)
        for k in np.flatnonzero((image.classes >= len(self.thing_classes)) & (image.classes != UNKNOWN)):
            yield problem("unknown-category", f"annotation {k}: there is no class {image.classes[k]}")
        width_height = image.boxes[:, 2:] - image.boxes[:, :2]
        flat = ~(width_height > 0).all(axis=1) & np.isfinite(image.boxes).all(axis=1)
        outside = (image.boxes != image.clipped_boxes()).any(axis=1) & np.isfinite(image.boxes).all(axis=1)
        for k in np.flatnonzero(flat):
            box = image.boxes[k].tolist()
            yield problem("empty-box", f"annotation {k}: box {box} has no area; it is left out", WARNING)
        for k in np.flatnonzero(outside & ~flat):
            rest = "it is clipped" if (image.usable() | image.crowd)[k] else "nothing of it is inside; it is left out"
            box, size = image.boxes[k].tolist(), f"{image.width} x {image.height}"
            yield problem("box-outside", f"annotation {k}: box {box} leaves the picture of {size}; {rest}", WARNING)
        known_ends = (image.relations[:, :2] >= 0) & (image.relations[:, :2] < num_objects)
        for k, (subject, object_, predicate) in enumerate(image.relations.tolist()):
            row = f"relation {k}"
            for end, value, known in zip(("subject", "object"), (subject, object_), known_ends[k], strict=True):
                # UNKNOWN comes with a problem of the reader, who knows what the file says.
                if not known and value != UNKNOWN:
                    text = f"{row}: {end} {value} is not among the {num_objects} annotations, counted from 0"
                    yield problem("missing-object", text)
            if not 0 <= predicate < num_predicates and predicate != UNKNOWN:
                yield problem("unknown-predicate", f"{row}: there is no predicate {predicate}")
            if subject == object_:
                yield problem("self-relation", f"{row}: joins annotation {subject} to itself", WARNING)
        for row, count in Counter(map(tuple, image.relations.tolist())).items():
            if count > 1:
                text = f"relation {list(row)} stands there {count} times; training takes it once"
                yield problem("duplicate-relation", text, WARNING)
        if len(image.relations) == 0:
            yield problem("no-relations", "there are no relations", WARNING)

    def is_sound(self, image: ImageAnnotations) -> bool:
        """Whether a picture has no problem of severity "error": quicker than naming them."""
        ends, predicates = image.relations[:, :2], image.relations[:, 2]
        return bool(
            image.height > 0
            and image.width > 0
            and ((image.classes >= 0) & (image.classes < len(self.thing_classes))).all()
            and ((ends >= 0) & (ends < len(image.boxes))).all()
            and ((predicates >= 0) & (predicates < len(self.predicate_classes))).all()
        )


def to_dataset_dicts(annotations: SceneGraphAnnotations) -> list[dict[str, Any]]:
    """Detectron2's dataset dicts, with relations.

    Boxes are clipped to the picture. Crowd annotations and boxes of which nothing is left are dropped, together
    with the relations that touch them; the indices of all other relations are renumbered accordingly.

    Returns:
        One dict per image: ``file_name``, ``image_id``, ``height``, ``width``, ``annotations`` (each with
        ``bbox`` in pixels, ``bbox_mode`` XYXY_ABS, ``category_id`` 0-based) and ``relations``, a list of
        [subject, object, predicate], 0-based, subject and object indexing ``annotations``.

    Raises:
        EGTRError: the first problem of severity "error".
    """
    error = next((p for p in annotations.problems if p.severity == ERROR), None)
    if error is None and not all(map(annotations.is_sound, annotations.images)):
        error = next(p for p in annotations.find_problems() if p.severity == ERROR)
    if error is not None:
        raise EGTRError(error.message)
    dataset_dicts = []
    for image in annotations.images:
        usable, boxes, classes = image.usable(), image.clipped_boxes().tolist(), image.classes.tolist()
        relations = remap_relations(image.relations, usable, f"{annotations.source}: image id {image.image_id}")
        dataset_dicts.append(
            {
                "file_name": os.path.join(annotations.image_root, image.file_name),
                "image_id": image.image_id,
                "height": image.height,
                "width": image.width,
                "annotations": [
                    {"bbox": boxes[k], "bbox_mode": BoxMode.XYXY_ABS, "category_id": classes[k], "iscrowd": 0}
                    for k in np.flatnonzero(usable)
                ],
                "relations": relations.tolist(),
            }
        )
    return dataset_dicts
