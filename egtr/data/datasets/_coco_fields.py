"""Fields of a COCO annotation that other programs write in other ways: iscrowd, and CVAT's rotation."""

import math
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .problems import WARNING, Problem

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
            problems.append(_problem("bad-crowd", record, text, path))
        else:
            crowd[k] = _CROWD[key]
    return crowd


def turn_boxes(boxes: np.ndarray, records: Sequence[dict[str, Any]], path: str, problems: list[Problem]) -> None:
    """Replace boxes x1 y1 x2 y2, (A, 4), that CVAT turned about their centre by the boxes around them.

    CVAT writes the box before it was turned, and the angle in degrees, clockwise, as "rotation" in "attributes".
    """
    number = 0
    for k, record in enumerate(records):
        attributes = record.get("attributes")
        value = attributes.get("rotation") if isinstance(attributes, dict) else None
        if not value:
            continue
        degrees = _to_number(value)
        if degrees is None:
            text = f'field "rotation" of "attributes": expected a number of degrees, got {reprlib.repr(value)}.'
            problems.append(_problem("bad-rotation", record, text, path))
        elif degrees % 180:
            centre, half = (boxes[k, :2] + boxes[k, 2:]) / 2, (boxes[k, 2:] - boxes[k, :2]) / 2
            if degrees % 90:
                cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
            else:
                cos, sin = 0.0, 1.0
            half = np.array([half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos])
            boxes[k] = [*(centre - half), *(centre + half)]
            number += 1
    if number:
        text = f'{number} boxes are turned ("rotation" in "attributes"); each becomes the box around it.'
        problems.append(Problem("turned-box", f"{path}: {text}", severity=WARNING))


def _to_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _problem(kind: str, record: dict[str, Any], text: str, path: str) -> Problem:
    image_id = record["image_id"]
    return Problem(kind, f"{path}: image id {image_id}, annotation id {record.get('id')}, {text}", image_id)
