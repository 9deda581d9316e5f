"""What the readers of all formats share: files, fields, boxes and ids that may be anything."""

import json
import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from egtr.structures import EGTRError

from .annotations import UNKNOWN, Problem

# Of a whole file: the names of its fields. Of an entry: all of it.
_outline = reprlib.Repr()
_outline.maxlevel = 1


def read_json(path: str) -> Any:
    """
    Raises:
        EGTRError: the file cannot be read or is not JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise EGTRError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # JSON and text decoding errors both
        raise EGTRError(f"{path}: is not a JSON file ({error}). Was the download or copy cut short?") from error


def require_fields(record: Any, where: str, layout: str, **types: type) -> None:
    """Check the frame of a file: without it there is nothing to read.

    Args:
        record: the JSON object.
        where: begins the message: the file, and the place in it.
        layout: module of this package whose documentation describes the format.
        types: field name to type.

    Raises:
        EGTRError: a field is missing or of another type.
    """
    for field, kind in types.items():
        if not isinstance(record, dict) or not isinstance(record.get(field), kind):
            raise EGTRError(
                f'{where}: field "{field}" is missing or not of type {kind.__name__} in {_outline.repr(record)}. '
                f"egtr/data/datasets/{layout}.py describes the layout."
            )


def require_names(record: Mapping[str, Any], path: str, layout: str, *fields: str) -> list[str]:
    """The class names that stand in one or several fields, lists of texts, one after the other.

    Raises:
        EGTRError: a field is missing or holds something else.
    """
    names: list[str] = []
    for field in fields:
        require_fields(record, path, layout, **{field: list})
        names += record[field]
    where = " and ".join(f'"{field}"' for field in fields)
    if not all(isinstance(name, str) for name in names):
        raise EGTRError(f"{path}: field {where} must be a list of names, got {reprlib.repr(names)}.")
    return names


def numbered_names(categories: Sequence[Any], path: str, field: str, layout: str) -> dict[int, str]:
    """Id to name, by ascending id, of a list of {"id", "name"}: COCO's "categories" and its like.

    Raises:
        EGTRError: an entry lacks id or name, or two have the same id.
    """
    for category in categories:
        require_fields(category, f'{path}: entry of "{field}"', layout, id=int, name=str)
    names = {category["id"]: category["name"] for category in sorted(categories, key=lambda entry: entry["id"])}
    if len(names) < len(categories):
        raise EGTRError(f'{path}: two entries of "{field}" have the same id. Give each an id of its own.')
    return names


def is_id(value: Any) -> bool:
    """Whether a value of a file can name something: what else JSON holds cannot be looked up."""
    return isinstance(value, int | str)


def parse_image(
    record: Mapping[str, Any], where: str, image_id: int | str, problems: list[Problem]
) -> tuple[str, int, int]:
    """Fields "file_name", "height" and "width"; "" and 0, with a problem, where one is malformed."""
    sizes = []
    for field in ("height", "width"):
        sizes.append(record.get(field))
        if not is_size(sizes[-1]):
            text = f'field "{field}" is missing or no size: {sizes[-1]!r}. Write the number of pixels, 1 or more.'
            problems.append(Problem("bad-size", f"{where}, {text}", image_id))
            sizes[-1] = 0
    file_name = record.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        text = f'field "file_name" is missing or no name: {file_name!r}. Write the path within the image folder.'
        problems.append(Problem("bad-file-name", f"{where}, {text}", image_id))
        file_name = ""
    return file_name, sizes[0], sizes[1]


def is_size(value: Any) -> bool:
    """Whether a value of a file can be a number of pixels."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def look_up(ids: Mapping[Any, int], values: Sequence[Any]) -> np.ndarray:
    """(A,) int64, the 0-based numbers of A ids, or ``UNKNOWN``."""
    try:
        numbers = [ids.get(value, UNKNOWN) for value in values]
    except TypeError:  # lists and mappings have no hash
        numbers = [ids.get(value, UNKNOWN) if is_id(value) else UNKNOWN for value in values]
    return np.array(numbers, dtype=np.int64)


def parse_boxes(values: Sequence[Any]) -> np.ndarray:
    """(A, 4) float64 of A values that should be four finite numbers each; NaN where one is not."""
    try:
        boxes = np.array(values)
    except ValueError:  # of different lengths
        boxes = np.empty(0)
    if boxes.dtype.kind not in "if" or boxes.shape != (len(values), 4):
        boxes = np.array([value if _is_box(value) else [np.nan] * 4 for value in values])
    boxes = boxes.astype(np.float64).reshape(-1, 4)
    boxes[~np.isfinite(boxes).all(axis=1)] = np.nan
    return boxes


def _is_box(value: Any) -> bool:
    # The bound keeps integers that no float holds away from numpy.
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e300 for x in value)
        and all(map(math.isfinite, value))
    )


def parse_integers(value: Any, columns: int) -> np.ndarray | None:
    """(T, ``columns``) int64 of a list of lists of integers; None where it is anything else."""
    if value == []:
        return np.zeros((0, columns), dtype=np.int64)
    try:
        array = np.array(value)
    except ValueError:  # rows of different lengths
        return None
    return array if array.dtype.kind == "i" and array.ndim == 2 and array.shape[1] == columns else None


def parse_relations(value: Any, where: str, image_id: int | str, problems: list[Problem]) -> np.ndarray:
    """(T, 3) int64 of a list of [subject, object, predicate]; nothing but a problem where it is anything else."""
    rows = parse_integers(value, 3)
    if rows is None:
        text = f"expected a list of [subject, object, predicate], all integers, got {reprlib.repr(value)}."
        problems.append(Problem("bad-relations", f"{where}: {text}", image_id))
        return np.zeros((0, 3), dtype=np.int64)
    return rows


def parse_objects(
    boxes: Sequence[Any],
    classes: Sequence[Any],
    fields: tuple[str, str],
    where: str,
    image_id: int | str,
    problems: list[Problem],
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [x1, y1, x2, y2] and class numbers, A of each as the file has them, to (A, 4) float64 and (A,) int64.

    What cannot be parsed is NaN or ``UNKNOWN``, with a problem that calls the values by the names ``fields``.
    """
    parsed = parse_boxes(boxes)
    numbers = np.array([k if _is_class_number(k) else UNKNOWN for k in classes], dtype=np.int64)
    for k in np.flatnonzero(np.isnan(parsed[:, 0])):
        text = f"expected four finite numbers [x1, y1, x2, y2], got {reprlib.repr(boxes[k])}."
        problems.append(Problem("bad-box", f'{where}, annotation {k}, field "{fields[0]}": {text}', image_id))
    for k in np.flatnonzero(numbers == UNKNOWN):
        text = f"expected the number of a class, from 0, got {reprlib.repr(classes[k])}."
        problems.append(
            Problem("unknown-category", f'{where}, annotation {k}, field "{fields[1]}": {text}', image_id)
        )
    return parsed, numbers


def _is_class_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def parse_fragment(path: str, split: str | None, known_splits: Sequence[str] | None = None) -> tuple[str, str | None]:
    """``FILE#split`` to file and split, for files that hold several; ``split`` counts where it is given.

    Raises:
        EGTRError: the split is not among ``known_splits``.
    """
    if "#" in path and not os.path.exists(path):
        path, _, fragment = path.rpartition("#")
        split = split or fragment
    if known_splits is not None and split not in (None, *known_splits):
        raise EGTRError(f"{path}: there is no split {split!r}; take one of {', '.join(known_splits)}.")
    return path, split
