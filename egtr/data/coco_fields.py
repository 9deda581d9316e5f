"""Fields of a COCO annotation that other programs write in other ways: iscrowd, bbox_mode and rotation."""

import math
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .problems import WARNING, Problem

# The numbers of Detectron2's BoxMode.
XYXY, XYWH = 0, 1
_CROWD = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True, "": False, None: False}


def read_crowds(records: Sequence[dict[str, Any]], path: str, problems: list[Problem]) -> np.ndarray:
    """Read "iscrowd" of A annotations: (A,) bool. Anything but 0, 1 and their texts is a problem, and no crowd."""
    crowd = np.zeros(len(records), dtype=bool)
    for k, record in enumerate(records):
        value = record.get("iscrowd")
        if value is None or value == 0:
            continue
        key = value.strip().lower() if isinstance(value, str) else value
        if isinstance(key, list | dict) or key not in _CROWD:
            text = f'field "iscrowd": expected 0 or 1, got {reprlib.repr(value)}.'
            problems.append(_problem("bad-crowd", record, k, text, path))
        else:
            crowd[k] = _CROWD[key]
    return crowd


def to_corners(boxes: np.ndarray, records: Sequence[dict[str, Any]], path: str, problems: list[Problem]) -> None:
    """Convert "bbox" of A annotations, (A, 4), to x1 y1 x2 y2 in place.

    COCO's are x, y, width, height; records that Detectron2 wrote may state another "bbox_mode". A box that was turned
    about its centre becomes the box around it: CVAT writes the box before it was turned, and the angle in degrees,
    clockwise, as "rotation" in "attributes"; others write it beside "bbox".
    """
    turned = angles = 0
    for k, record in enumerate(records):
        mode = record.get("bbox_mode")
        if mode is None or mode == XYWH:
            boxes[k, 2:] += boxes[k, :2]
        elif mode != XYXY:
            text = 'field "bbox_mode": expected 0 ([x1, y1, x2, y2]) or 1 ([x, y, width, height]), '
            text += f"got {reprlib.repr(mode)}."
            problems.append(_problem("bad-box-mode", record, k, text, path))
        angles += "angle" in record and bool(_to_number(record["angle"]))
        value = _rotation(record)
        if not value:
            continue
        degrees = _to_number(value)
        if degrees is None:
            text = f'field "rotation": expected a number of degrees, got {reprlib.repr(value)}.'
            problems.append(_problem("bad-rotation", record, k, text, path))
        elif degrees % 180:
            boxes[k] = _around(boxes[k], degrees)
            turned += 1
    if turned:
        text = f'{turned} boxes are turned ("rotation"); each becomes the box around it.'
        problems.append(Problem("turned-box", f"{path}: {text}", severity=WARNING))
    if angles:
        text = f'{angles} annotations have an "angle", which is not read. Write degrees, clockwise, as "rotation".'
        problems.append(Problem("unread-angle", f"{path}: {text}", severity=WARNING))


def _rotation(record: dict[str, Any]) -> Any:
    """Find "rotation" in "attributes", a mapping or a list of names and values, or else in the annotation itself."""
    attributes = record.get("attributes")
    pairs: Iterable[tuple[Any, Any]] = attributes.items() if isinstance(attributes, dict) else ()
    if isinstance(attributes, list):
        pairs = [(entry.get("name"), entry.get("value")) for entry in attributes if isinstance(entry, dict)]
    for name, value in pairs:
        if isinstance(name, str) and name.lower() == "rotation":
            return value
    return record.get("rotation")


def _around(box: np.ndarray, degrees: float) -> np.ndarray:
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    if degrees % 90:
        cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    else:
        cos, sin = 0.0, 1.0
    half = np.array([half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos])
    return np.array([*(centre - half), *(centre + half)])


def _to_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _problem(kind: str, record: dict[str, Any], number: int, text: str, path: str) -> Problem:
    image_id, own = record.get("image_id"), record.get("id")
    # Given boxes may have neither.
    where = f"record {number}" if image_id is own is None else f"image id {image_id}, annotation id {own}"
    return Problem(kind, f"{path}: {where}, {text}", image_id)
