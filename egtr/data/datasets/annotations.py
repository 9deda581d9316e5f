"""The contents of an annotation file before anything is dropped, in one form for all formats.

Readers make :class:`SceneGraphAnnotations`, writers take them, checks look through them, and
:func:`to_dataset_dicts` converts them into the records for training and evaluation. A reader neither loses nor
repairs anything: a box outside its image, or a relation to an object that does not exist, stays as it is, so that a
check can show it and a conversion keeps it.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from egtr.structures import DataError, remap_relations

from ..problems import ERROR, UNKNOWN, WARNING, Problem

logger = logging.getLogger(__name__)


@dataclass
class ImageAnnotations:
    """One image as its file describes it, with A objects and T relations.

    Attributes:
        image_id: as in the file.
        file_name: the image file, relative to ``image_root``.
        height, width: as the file states them, in pixels.
        boxes: (A, 4) float64, x1 y1 x2 y2 in pixels, not clipped; NaN if the file has no usable box.
        classes: (A,) int64, 0-based, or ``UNKNOWN``.
        crowd: (A,) bool, whether the annotation is a crowd (COCO's ``iscrowd``).
        relations: (T, 3) int64, (subject, object, predicate), 0-based; subject and object index the A
            annotations. ``UNKNOWN``, or a number out of range, stands for something that the file names but does
            not define.
        annotation_ids: A ids of the file, None for a missing one; None if the format has no such ids.
    """

    image_id: int | str
    file_name: str
    height: int
    width: int
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    relations: np.ndarray
    annotation_ids: Sequence[int | str | None] | None = None

    def __post_init__(self):
        self.boxes = np.asarray(self.boxes, dtype=np.float64).reshape(-1, 4)
        self.classes = np.asarray(self.classes, dtype=np.int64).reshape(-1)
        self.crowd = np.asarray(self.crowd, dtype=bool).reshape(-1)
        self.relations = np.asarray(self.relations, dtype=np.int64).reshape(-1, 3)

    def clipped_boxes(self) -> np.ndarray:
        """Clip the boxes to the image: (A, 4). Boxes outside of it come out without area."""
        return np.clip(self.boxes, 0, (self.width, self.height, self.width, self.height))

    def usable(self) -> np.ndarray:
        """Select the annotations of a single object with some area inside the image: (A,) bool."""
        x1, y1, x2, y2 = self.clipped_boxes().T
        return (x2 > x1) & (y2 > y1) & ~self.crowd


@dataclass
class SceneGraphAnnotations:
    """A split of a dataset as its files describe it.

    Attributes:
        images: the images, in the order of the file.
        thing_classes: C object class names.
        predicate_classes: R predicate names, without background.
        image_root: folder of the images.
        source: the file, for messages.
        problems: the entries that the reader could not interpret.
        relation_source: the file (and field) of the relations, for messages; None: ``source``.
        first_id: the number of the first class and predicate in the file, for messages: 1 if 0 stands for a
            background.
        category_ids: the C ids of the classes in the file, if it has any.
    """

    images: list[ImageAnnotations]
    thing_classes: list[str]
    predicate_classes: list[str]
    image_root: str
    source: str
    problems: list[Problem] = field(default_factory=list)
    relation_source: str | None = None
    first_id: int = 0
    category_ids: Sequence[int] | None = None

    def find_problems(self) -> Iterator[Problem]:
        """Yield the reader's problems, then the problems of each image. No image is opened."""
        yield from self.problems
        # The reader, which knows the file, has explained UNKNOWN and malformed values.
        explained = {problem.image_id for problem in self.problems if problem.severity == ERROR}
        for image_id, count in Counter(image.image_id for image in self.images).items():
            if count > 1:
                message = f"{self.source}: image id {image_id} stands for {count} images; number them again"
                yield Problem("repeated-image-id", message, image_id)
        for image in self.images:
            yield from self._object_problems(image, image.image_id in explained)
            yield from self._relation_problems(image, image.image_id in explained)

    def _object_problems(self, image: ImageAnnotations, explained: bool) -> Iterator[Problem]:
        where = f"{self.source}: image id {image.image_id}"

        def problem(kind: str, text: str, severity: str = ERROR) -> Problem:
            return Problem(kind, f"{where}, {text}", image.image_id, severity)

        if _leads_out(self.image_root, image.file_name):
            text = f"{image.file_name!r} is outside of the folder of images, {self.image_root!r}"
            yield problem("outside-folder", f"the file name {text}; move the image, or name a folder above both")
        if min(image.height, image.width) <= 0 and not explained:
            size = f"{image.height}, {image.width}"
            yield problem("bad-size", f"fields height and width are {size}; they must be positive")
        first, last = self.first_id, self.first_id + len(self.thing_classes) - 1
        unknown = (image.classes < 0) | (image.classes >= len(self.thing_classes))
        if explained:
            unknown &= image.classes != UNKNOWN
        for k in np.flatnonzero(unknown):
            text = f"there is no class {image.classes[k] + first}; classes are numbered {first}..{last}"
            yield problem("unknown-category", f"annotation {k}: {text}")
        finite = np.isfinite(image.boxes).all(axis=1)
        for k in np.flatnonzero(~finite) if not explained else ():
            yield problem("bad-box", f"annotation {k}: the box is not four finite numbers")
        flat = finite & ~(image.boxes[:, 2:] > image.boxes[:, :2]).all(axis=1)
        for k in np.flatnonzero(flat):
            box = image.boxes[k].tolist()
            yield problem("empty-box", f"annotation {k}: box {box} has no area; it is left out", WARNING)
        if image.height > 0 and image.width > 0:
            clipped = image.clipped_boxes()
            inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
            for k in np.flatnonzero(finite & ~flat & (image.boxes != clipped).any(axis=1)):
                rest = "it is clipped" if inside[k] else "nothing of it is inside, so it is left out"
                text = f"annotation {k}: box {image.boxes[k].tolist()} leaves the image of "
                yield problem("box-outside", f"{text}{image.width} x {image.height} pixels; {rest}", WARNING)
        if len(image.boxes) == 0 and not explained:
            yield problem("no-objects", "there are no objects", WARNING)

    def _relation_problems(self, image: ImageAnnotations, explained: bool) -> Iterator[Problem]:
        where = f"{self.relation_source or self.source}: image id {image.image_id}"

        def problem(kind: str, text: str, severity: str = ERROR) -> Problem:
            return Problem(kind, f"{where}, {text}", image.image_id, severity)

        first, last = self.first_id, self.first_id + len(self.predicate_classes) - 1
        rows = list(map(tuple, image.relations.tolist()))
        for k, (subject, object_, predicate) in enumerate(rows):
            row = f"relation {k} = {[subject, object_, predicate + first]}"
            for end, value in (("subject", subject), ("object", object_)):
                if not 0 <= value < len(image.boxes) and not (explained and value == UNKNOWN):
                    text = f"{end} {value} is not among the image's {len(image.boxes)} annotations"
                    hint = "counted from 0. Do the relations belong to these annotations?"
                    yield problem("missing-object", f"{row}: {text}, {hint}")
            if not 0 <= predicate <= last - first and not (explained and predicate == UNKNOWN):
                yield problem("unknown-predicate", f"{row}: predicates are numbered {first}..{last}")
            if subject == object_ != UNKNOWN:
                yield problem("self-relation", f"{row}: joins annotation {subject} to itself", WARNING)
        for (subject, object_, predicate), count in Counter(rows).items():
            if count > 1:
                row = f"relation {[subject, object_, predicate + first]}"
                yield problem("duplicate-relation", f"{row}: is there {count} times; training takes it once", WARNING)
        if not rows and len(image.boxes) and not explained:
            yield problem("no-relations", "there are no relations", WARNING)

    def is_sound(self, *images: ImageAnnotations) -> bool:
        """Check that images have no problem of severity "error": quicker than naming the problems."""
        if not images:
            return True
        boxes, classes, relations = (
            np.concatenate([getattr(image, field) for image in images]) for field in ("boxes", "classes", "relations")
        )
        ends, predicates = relations[:, :2], relations[:, 2]
        numbers = [len(image.boxes) for image in images], [len(image.relations) for image in images]
        return bool(
            min(min(image.height, image.width) for image in images) > 0
            and not any(_leads_out(self.image_root, image.file_name) for image in images)
            and np.isfinite(boxes).all()
            and ((classes >= 0) & (classes < len(self.thing_classes))).all()
            and ((ends >= 0) & (ends < np.repeat(*numbers)[:, None])).all()
            and ((predicates >= 0) & (predicates < len(self.predicate_classes))).all()
        )

    def first_error(self) -> Problem | None:
        """Find the first problem of severity "error", or None: quicker than :meth:`find_problems`."""
        if (
            all(problem.severity != ERROR for problem in self.problems)
            and len({image.image_id for image in self.images}) == len(self.images)
            and self.is_sound(*self.images)
        ):
            return None
        return next(problem for problem in self.find_problems() if problem.severity == ERROR)


def _leads_out(folder: str, file_name: str) -> bool:
    """Check whether a file name, which may come from anywhere, leads out of the folder of images."""
    if "\0" in file_name:
        return True
    if not os.path.isabs(file_name) and ".." not in file_name:
        return False
    path = os.path.relpath(os.path.join(folder, file_name), folder or ".")
    return path.split(os.sep)[0] == ".."


def to_dataset_dicts(annotations: SceneGraphAnnotations) -> list[dict[str, Any]]:
    """Convert annotations into Detectron2's dataset dicts, with relations.

    Boxes are clipped to the image. Boxes that lie outside the image are dropped, together with the relations that
    touch them; the other relations are renumbered. Crowd annotations follow after all others, without relations:
    training leaves them out, and object AP ignores what is found in them. The reader's warnings are logged.

    Returns:
        One dict per image: ``file_name``, ``image_id``, ``height``, ``width``, ``annotations`` (each with
        ``bbox`` in pixels, ``bbox_mode`` XYXY_ABS, ``category_id`` 0-based, and ``iscrowd``) and ``relations``, a
        list of [subject, object, predicate], 0-based, subject and object indexing ``annotations``.

    Raises:
        DataError: the first problem of severity "error".
    """
    images = annotations.images
    error = annotations.first_error()
    if error is not None:
        raise DataError(error.message)
    for problem in annotations.problems:
        if problem.severity == WARNING:
            logger.warning(problem.message)
    if not images:
        return []
    # All boxes at once: for one image a call of numpy costs more than its work.
    sizes = np.repeat([(i.width, i.height) * 2 for i in images], [len(i.boxes) for i in images], axis=0)
    clipped = np.clip(np.concatenate([image.boxes for image in images]), 0, sizes)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    crowd = np.concatenate([image.crowd for image in images])
    usable, crowds = inside & ~crowd, inside & crowd
    boxes, kept, end = clipped.tolist(), usable.tolist(), 0
    dataset_dicts = []
    for image in images:
        start, end = end, end + len(image.boxes)
        relations = image.relations
        if not all(kept[start:end]):
            where = f"{annotations.source}: image id {image.image_id}"
            relations = remap_relations(relations, usable[start:end], where)
        objects = zip(boxes[start:end], image.classes.tolist(), kept[start:end], strict=True)
        dataset_dicts.append(
            {
                "file_name": os.path.join(annotations.image_root, image.file_name),
                "image_id": image.image_id,
                "height": image.height,
                "width": image.width,
                "annotations": [
                    {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": category, "iscrowd": 0}
                    for box, category, stays in objects
                    if stays
                ]
                + [
                    {
                        "bbox": boxes[start + k],
                        "bbox_mode": BoxMode.XYXY_ABS,
                        "category_id": int(image.classes[k]),
                        "iscrowd": 1,
                    }
                    for k in np.flatnonzero(crowds[start:end]).tolist()
                ],
                "relations": relations.tolist(),
            }
        )
    return dataset_dicts


def leave_out_unsound(annotations: SceneGraphAnnotations) -> tuple[SceneGraphAnnotations, list[Problem]]:
    """Leave out the images whose annotations have errors (DATALOADER.SKIP_BROKEN), and log how many they are.

    Returns:
        The annotations without these images, and one problem of each image left out.

    Raises:
        DataError: the first error that concerns the whole file.
    """
    if annotations.first_error() is None:
        return annotations, []
    errors: dict[int | str, Problem] = {}
    for problem in annotations.find_problems():
        if problem.severity == ERROR:
            if problem.image_id is None:
                raise DataError(problem.message)
            errors.setdefault(problem.image_id, problem)
    logger.warning(
        "%s: %d of %d images have errors in their annotations and are left out. The first ones:\n%s",
        annotations.source,
        len(errors),
        len(annotations.images),
        "\n".join(f"  {problem.message}" for problem in list(errors.values())[:10]),
    )
    sound = [image for image in annotations.images if image.image_id not in errors]
    warnings = [problem for problem in annotations.problems if problem.severity == WARNING]
    return replace(annotations, images=sound, problems=warnings), list(errors.values())
