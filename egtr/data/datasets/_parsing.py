"""The tools of all readers: files, fields, boxes and ids, none of which can be trusted."""

import json
import math
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from egtr.structures import DataError
from egtr.structures.file_kinds import find_beginning, is_lfs_pointer, is_page, read_text

from ..problems import UNKNOWN, WARNING, Problem

# Shows the names of the fields of a file, and the whole of a small entry.
_outline = reprlib.Repr()
_outline.maxlevel = 1


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file cannot be read or is not JSON.
    """
    try:
        # From bytes, the parser finds out UTF-8 with or without a byte order mark, UTF-16 and UTF-32.
        with open(path, "rb") as file:
            return json.load(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {_why_no_json(path, error)}") from error


def _why_no_json(path: str, error: Exception) -> str:
    with open(path, "rb") as file:
        head = file.read(512)
    what, text = find_beginning(head), read_text(head)
    if not head:
        return "is an empty file. Was the download or copy cut short?"
    if what is not None:
        return f"is {what}, not a JSON file. " + ("Unpack it." if "archive" in what else "Name the annotations.")
    if is_lfs_pointer(text):
        return (
            "is a Git LFS pointer: text that stands for the file, which was not fetched. Run `git lfs pull` in its "
            "folder, or download the file itself."
        )
    if is_page(text):
        return "is a web page (HTML), not a JSON file. Servers send one in place of a file. Download the file itself."
    if isinstance(error, UnicodeDecodeError):
        return f"is not a JSON file in UTF-8 or UTF-16 ({error}). Save it as UTF-8."
    return f"is not a JSON file ({error}). Was the download or copy cut short?"


def require_fields(record: Any, where: str, layout: str, **types: type) -> None:
    """Check the fields without which there is nothing to read.

    Args:
        record: the JSON object.
        where: the file, and the place in it, with which the message begins.
        layout: the module of this package that describes the format.
        types: field name to type.

    Raises:
        DataError: a field is missing or of another type.
    """
    for field, kind in types.items():
        if not isinstance(record, dict) or not isinstance(record.get(field), kind):
            raise DataError(
                f'{where}: field "{field}" is missing or not of type {kind.__name__} in {_outline.repr(record)}. '
                f"egtr/data/datasets/{layout}.py describes the layout."
            )


def require_list(content: Any, path: str, layout: str) -> list[Any]:
    """Check that a file holds a list of images.

    Raises:
        DataError: it holds anything else.
    """
    if not isinstance(content, list):
        raise DataError(
            f"{path}: expected a list of images, got {reprlib.repr(content)}. "
            f"egtr/data/datasets/{layout}.py describes the layout."
        )
    return content


def require_names(record: Mapping[str, Any], path: str, layout: str, *fields: str) -> list[str]:
    """Read the class names in one or several fields, lists of texts, one after the other.

    Raises:
        DataError: a field is missing or holds something else.
    """
    names: list[str] = []
    for field in fields:
        require_fields(record, path, layout, **{field: list})
        names += record[field]
    where = " and ".join(f'"{field}"' for field in fields)
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: field {where} must be a list of names, got {reprlib.repr(names)}.")
    return names


def numbered_names(categories: Sequence[Any], path: str, field: str, layout: str) -> dict[int, str]:
    """Map ids to names, by ascending id, from a list of {"id", "name"} such as COCO's "categories".

    Raises:
        DataError: an entry lacks id or name, or two have the same id.
    """
    numbered = {}
    for category in categories:
        if isinstance(category, dict) and isinstance(category.get("id"), float):
            category = category | {"id": to_id(category["id"])}
        require_fields(category, f'{path}: entry of "{field}"', layout, id=int, name=str)
        numbered[category["id"]] = category["name"]
    names = dict(sorted(numbered.items()))
    if len(names) < len(categories):
        raise DataError(f'{path}: two entries of "{field}" have the same id. Give each an id of its own.')
    return names


def is_id(value: Any) -> bool:
    """Check that a value can be an id: other values of JSON cannot be looked up."""
    return to_id(value) is not None


def to_id(value: Any) -> int | str | None:
    """Return a value as an id: an integer or a text, also of a whole number such as 1.0; None for another value.

    Tables write integers as floating point numbers where a column has gaps. Beyond 2**53 those are not exact.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int | str) else None


class IdTable:
    """The ids that a file defines, found also where a number is written as text, or a text as number.

    Args:
        ids: as the file defines them.

    Attributes:
        differing: how many ids were found only in the other type; :meth:`report` says so.
    """

    def __init__(self, ids: Iterable[int | str]):
        self._ids = {value: value for value in ids}
        self._by_text: dict[str, int | str] = {}
        for value in self._ids:
            self._by_text.setdefault(str(value), value)
        self.differing = 0

    def find(self, value: Any) -> int | str | None:
        """Return the id of the table that a value means, or None."""
        value = to_id(value)
        if value in self._ids:
            return self._ids[value]
        found = None if value is None else self._by_text.get(str(value))
        self.differing += found is not None
        return found

    def report(self, field: str, path: str, problems: list[Problem]) -> None:
        """Add a warning if ids in ``field`` are texts where the file defines numbers, or the other way round."""
        if self.differing:
            text = (
                f'{self.differing} ids in field "{field}" are texts where the file has numbers, or numbers where it'
            )
            problems.append(
                Problem("id-type", f"{path}: {text} has texts. They are read as the same ids.", severity=WARNING)
            )


def parse_id(record: Any, field: str, where: str, kind: str, problems: list[Problem]) -> int | str | None:
    """Read the id in a field of an entry; None, with a problem of that kind, if it holds none."""
    value = record.get(field) if isinstance(record, dict) else None
    number = to_id(value)
    if number is not None:
        return number
    text = f'field "{field}" is missing or not an id in {reprlib.repr(record)}. Write a number or a name.'
    problems.append(Problem(kind, f"{where}: {text}"))
    return None


def parse_size(
    record: Mapping[str, Any], where: str, image_id: int | str, problems: list[Problem]
) -> tuple[int, int]:
    """Read "height" and "width"; a malformed one becomes 0, with a problem."""
    sizes = []
    for field in ("height", "width"):
        sizes.append(to_id(record.get(field)))
        if not is_size(sizes[-1]):
            text = f'field "{field}" is missing or no size: {sizes[-1]!r}. Write the number of pixels, 1 or more.'
            problems.append(Problem("bad-size", f"{where}, {text}", image_id))
            sizes[-1] = 0
    return sizes[0], sizes[1]


def parse_image(
    record: Mapping[str, Any], where: str, image_id: int | str, problems: list[Problem]
) -> tuple[str, int, int]:
    """Read "file_name", "height" and "width"; a malformed one becomes "" or 0, with a problem."""
    height, width = parse_size(record, where, image_id, problems)
    file_name = record.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        text = f'field "file_name" is missing or no name: {file_name!r}. Write the path within the image folder.'
        problems.append(Problem("bad-file-name", f"{where}, {text}", image_id))
        file_name = ""
    return file_name, height, width


def is_size(value: Any) -> bool:
    """Check that a value can be a number of pixels."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def look_up(ids: Mapping[Any, int], values: Sequence[Any]) -> np.ndarray:
    """Look up the 0-based numbers of A ids: (A,) int64, ``UNKNOWN`` for an id that is not there."""
    try:
        numbers = [ids.get(value, UNKNOWN) for value in values]
    except TypeError:  # lists and mappings have no hash
        numbers = [ids.get(value, UNKNOWN) if is_id(value) else UNKNOWN for value in values]
    return np.array(numbers, dtype=np.int64)


def parse_boxes(values: Sequence[Any]) -> np.ndarray:
    """Convert A values, each four finite numbers, to (A, 4) float64; another value becomes NaN."""
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
    # The bound keeps integers from numpy that are too large for a float.
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e300 for x in value)
        and all(map(math.isfinite, value))
    )


def parse_integers(value: Any, columns: int) -> np.ndarray | None:
    """Convert a list of lists of integers to (T, ``columns``) int64; None if it is anything else."""
    if value == []:
        return np.zeros((0, columns), dtype=np.int64)
    try:
        array = np.array(value)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind not in "if" or array.ndim != 2 or array.shape[1] != columns:
        return None
    if array.dtype.kind == "f" and not (np.abs(array) < 2**53).all():
        return None
    integers = array.astype(np.int64)
    return integers if (integers == array).all() else None


def parse_relations(value: Any, where: str, image_id: int | str, problems: list[Problem]) -> np.ndarray:
    """Convert a list of [subject, object, predicate] to (T, 3) int64; anything else is a problem, and no rows."""
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
    """Convert A boxes [x1, y1, x2, y2] and A class numbers of a file to (A, 4) float64 and (A,) int64.

    A malformed value becomes NaN or ``UNKNOWN``, with a problem that names its field, see ``fields``.
    """
    parsed = parse_boxes(boxes)
    classes = [k if to_id(k) is None else to_id(k) for k in classes]
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
    """Divide ``FILE#split`` into file and split, for files that hold several; a given ``split`` takes precedence.

    Raises:
        DataError: the split is not among ``known_splits``.
    """
    if "#" in path and not os.path.exists(path):
        path, _, fragment = path.rpartition("#")
        split = split or fragment
    if known_splits is not None and split not in (None, *known_splits):
        raise DataError(f"{path}: there is no split {split!r}; take one of {', '.join(known_splits)}.")
    return path, split
