"""Problems that no single image shows: names, files and ids that are there twice, and what is left out in all."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..problems import WARNING, Problem

if TYPE_CHECKING:
    from .annotations import ImageAnnotations, SceneGraphAnnotations

# Saved predictions keep ids as 64-bit integers.
_MAX_ID = 2**63 - 1


def survey(annotations: SceneGraphAnnotations) -> Iterator[Problem]:
    """Yield one problem of each kind that concerns the whole file, with counts."""
    for what, names in (("classes", annotations.thing_classes), ("predicates", annotations.predicate_classes)):
        yield from _repeated_names(what, names, annotations)
    yield from _wide_ids(annotations)
    yield from _repeated_files(annotations)
    yield from _other_units(annotations)
    yield from _left_out(annotations)


def _repeated_names(what: str, names: Sequence[str], annotations: SceneGraphAnnotations) -> Iterator[Problem]:
    numbers = defaultdict(list)
    for k, name in enumerate(names):
        numbers[name.strip().casefold()].append(k)
    alike = [group for group in numbers.values() if len(group) > 1]
    if alike:
        ids = annotations.category_ids if what == "classes" and annotations.category_ids else None
        shown = ", ".join(
            f"{names[k]!r} ({'id' if ids else 'number'} {ids[k] if ids else k + annotations.first_id})"
            for k in alike[0]
        )
        text = f"{len(alike)} names of {what} are there more than once, such as {shown}"
        text += "; each counts as one of its own. If they mean the same, give one of them up."
        yield Problem("repeated-name", f"{annotations.source}: {text}", severity=WARNING)


def _wide_ids(annotations: SceneGraphAnnotations) -> Iterator[Problem]:
    ids = (image.image_id for image in annotations.images)
    wide = [image_id for image_id in ids if not isinstance(image_id, str) and abs(image_id) > _MAX_ID]
    if wide:
        text = f"{len(wide)} image ids, such as {wide[0]}, are beyond 64 bits, so that no prediction can be saved"
        yield Problem(
            "wide-image-id", f"{annotations.source}: {text}. Number the images again, or write ids as text."
        )


def _repeated_files(annotations: SceneGraphAnnotations) -> Iterator[Problem]:
    if any(problem.kind == "repeated-image" for problem in annotations.problems):
        return
    # ./a.jpg is a.jpg.
    names = [os.path.normpath(image.file_name) if image.file_name else "" for image in annotations.images]
    repeated = [name for name, count in Counter(names).items() if count > 1 and name]
    if repeated:
        ids = [image.image_id for image, name in zip(annotations.images, names, strict=True) if name == repeated[0]]
        text = f"{len(repeated)} image files are there under several ids, such as {repeated[0]!r} under {ids}"
        text += ". Each entry is an image of its own; unite them if their annotations belong together."
        yield Problem("repeated-file", f"{annotations.source}: {text}", severity=WARNING)


def _other_units(annotations: SceneGraphAnnotations) -> Iterator[Problem]:
    """Find boxes that are fractions of their image, and a file whose boxes are all percentages."""
    drawn = [image for image in annotations.images if len(image.boxes)]
    # In an image of a few pixels such a box is nothing strange. Tools round: a box may end a little outside.
    number = sum(min(image.height, image.width) > 4 and _lie_within(image.boxes, 1) for image in drawn)
    if number:
        text = (
            f"all boxes of {number} of {len(annotations.images)} images lie between 0 and 1. Boxes are expected in "
        )
        text += "pixels; if these are fractions of width and height, multiply them."
        yield Problem("normalised-boxes", f"{annotations.source}: {text}", severity=WARNING)
        return
    # Objects of a file fill its images from side to side, unless 100 is the end of another scale.
    large = [image.boxes for image in drawn if min(image.height, image.width) > 200]
    if (
        large
        and all(_lie_within(boxes, 100) for boxes in large)
        and (np.concatenate(large)[:, 2:].max(axis=0) > 60).all()
    ):
        text = (
            f"all boxes of {len(large)} images of more than 200 x 200 pixels end before 100. Boxes are expected in "
        )
        text += "pixels; if these are percentages of width and height, convert them."
        yield Problem("percent-boxes", f"{annotations.source}: {text}", severity=WARNING)


def _lie_within(boxes: np.ndarray, end: float) -> bool:
    """Check that boxes (A, 4) lie between 0 and ``end``, a twentieth more or less."""
    return bool((boxes >= -end / 20).all() and (boxes <= end * 1.05).all() and (boxes[:, 2:] > 0).all())


def _left_out(annotations: SceneGraphAnnotations) -> Iterator[Problem]:
    """Count crowds, and the relations that go with the objects that training leaves out."""
    by_crowd, by_box = _lost_relations(annotations)
    crowds = sum(int(image.crowd.sum()) for image in annotations.images)
    if crowds:
        text = f"{crowds} annotations are crowds (iscrowd 1), and training leaves them out with {by_crowd.sum()} "
        text += "of the relations. If each is a single object, as masks are that CVAT exports, set its iscrowd to 0."
        yield Problem("crowd", f"{annotations.source}: {text}", severity=WARNING)
    if by_box.any():
        text = f"{by_box.sum()} of {len(by_box)} relations join boxes without area inside the image, and are left out"
        yield Problem("lost-relations", f"{annotations.source}: {text} with them.", severity=WARNING)
    if len(by_crowd) and (by_crowd | by_box).all():
        text = (
            f"none of the {len(by_crowd)} relations is left: {by_crowd.sum()} join crowds and {by_box.sum()} boxes "
        )
        text += "without area inside their image. Correct iscrowd or these boxes."
        yield Problem("no-relations-left", f"{annotations.source}: {text}")


def _lost_relations(annotations: SceneGraphAnnotations) -> tuple[np.ndarray, np.ndarray]:
    """Select the relations that join a crowd, and others that join a box without area: (T,) bool each.

    Relations to objects that do not exist are not among the T.
    """
    images = annotations.images
    if not images:
        return np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
    sizes = np.array([len(image.boxes) for image in images])
    rows = np.concatenate([image.relations[:, :2] for image in images])
    owner = np.repeat(np.arange(len(images)), [len(image.relations) for image in images])
    known = ((rows >= 0) & (rows < sizes[owner, None])).all(axis=1)
    ends = rows[known] + (np.cumsum(sizes) - sizes)[owner[known], None]
    crowd = np.concatenate([image.crowd for image in images])
    boxes = np.concatenate([image.boxes for image in images])
    clipped = np.clip(boxes, 0, np.repeat([(image.width, image.height) * 2 for image in images], sizes, axis=0))
    # NaN is another problem, and no comparison holds for it.
    flat = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
    by_crowd = crowd[ends].any(axis=1)
    return by_crowd, flat[ends].any(axis=1) & ~by_crowd


def read_backslashes(images: Sequence[ImageAnnotations], path: str, problems: list[Problem]) -> None:
    """Read names of files from Windows, such as ``images\\b.jpg``, as ``images/b.jpg``, and say how many they are."""
    named = [image for image in images if "\\" in image.file_name]
    if named:
        text = f'{len(named)} file names have backslashes, such as {named[0].file_name!r}; each is read as "/". '
        text += "A name is a path below the folder of images."
        problems.append(Problem("backslash", f"{path}: {text}", severity=WARNING))
    for image in named:
        image.file_name = image.file_name.replace("\\", "/")
