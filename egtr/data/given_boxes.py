"""Boxes that a caller has, from any detector or labelling tool, checked and in one form.

Boxes of one image can be

- an array, tensor or list (n, 4) of x1, y1, x2, y2 in pixels of the upright image; torchvision's BoundingBoxes must
  have this format;
- ``{"boxes": ..., "labels": ..., "scores": ...}``, as torchvision's detectors return; only "boxes" must be there;
- Instances of Detectron2, with ``pred_boxes``, and ``pred_classes`` and ``scores`` if they are known;
- an object with ``xyxy``, ``class_id`` and ``confidence``, such as supervision's Detections. If its ``data`` has
  "class_name", the names count and not the ids;
- an object with ``xyxy``, ``cls`` and ``conf``, such as Boxes of ultralytics, or with such ``boxes`` and ``names``,
  such as its Results, whose names count;
- a list of COCO records: dicts with "bbox" (x, y, width, height) and, if wanted, "category_id" and "score", and
  "bbox_mode" and "rotation" as annotations have them;
- a :class:`~egtr.structures.SceneGraph`, or what its ``to_dict`` returned.

Boxes may reach beyond the image, as those of some detectors do, but their centres lie inside.
:mod:`egtr.data.boxes_of_images` has the boxes of many images.
"""

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from egtr.structures import DataError, SceneGraph

from .coco_fields import to_corners
from .image import is_tensor
from .problems import Problem, log_or_raise

Label = str | int | None
# No image is nearly as large. The model computes areas in float32, where those of much larger boxes are infinite.
MAX_PIXEL = 1e6


@dataclass
class GivenBoxes:
    """The boxes of one image, n of them.

    Attributes:
        boxes: (n, 4) float64, x1 y1 x2 y2 in pixels of the upright image.
        classes: n names or ids; None where a class is unknown.
        scores: (n,) float64 in 0..1.
        image_size: (height, width) of the image that they are of, or None.
        where: the beginning of error messages.

    Raises:
        DataError: a number is NaN, infinite or beyond a million, a box ends before it begins, a score lies outside
            0..1, a class is neither a name nor an id, or there are more classes or scores than boxes, or fewer.
    """

    boxes: np.ndarray
    classes: Sequence[Label]
    scores: np.ndarray
    image_size: tuple[int, int] | None = None
    where: str = "boxes"

    def __post_init__(self):
        self.boxes = _to_boxes(self.boxes, self.where)
        self.classes = [_to_label(label, self.where, index) for index, label in enumerate(self.classes)]
        self.scores = _to_numbers(self.scores, f"{self.where}: scores").reshape(-1)
        for name, values in (("classes", self.classes), ("scores", self.scores)):
            if len(values) != len(self.boxes):
                raise DataError(
                    f"{self.where}: there are {len(self.boxes)} boxes but {len(values)} {name}; give one for each box"
                )
        for index, box in enumerate(self.boxes.tolist()):
            if not np.isfinite(box).all():
                raise DataError(f"{self.where}: box {index} is {box}; its numbers must be finite")
            if max(map(abs, box)) > MAX_PIXEL:
                raise DataError(
                    f"{self.where}: box {index} is {box}; a number beyond a million is no pixel of an image"
                )
            if not (box[0] < box[2] and box[1] < box[3]):
                raise DataError(
                    f"{self.where}: box {index} is {box}; a box is x1, y1, x2, y2 with x1 < x2 and y1 < y2"
                )
        for index in np.flatnonzero(~((self.scores >= 0) & (self.scores <= 1))):
            raise DataError(f"{self.where}: the score of box {index} is {self.scores[index]}; it must lie in 0..1")

    def check_image(self, height: int, width: int) -> None:
        """Raise DataError if boxes are of another size of image, or no pixels, or the centre of one lies outside."""
        size = f"{width} x {height} pixels"
        if self.image_size not in (None, (height, width)):
            raise DataError(
                f"{self.where}: the boxes are of an image of {self.image_size[1]} x {self.image_size[0]} pixels, but "
                f"this one, turned upright, has {size}; scale or turn them"
            )
        if len(self.boxes) and self.boxes.max() <= 1 < max(height, width):
            raise DataError(
                f"{self.where}: no number is above 1, so these are shares of the image; boxes are in pixels: "
                f"multiply x by {width} and y by {height}"
            )
        centres = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        for index in np.flatnonzero(((centres < 0) | (centres > (width, height))).any(axis=1)):
            raise DataError(
                f"{self.where}: the centre of box {index}, {self.boxes[index].tolist()}, lies outside the image of "
                f"{size}; boxes are x1, y1, x2, y2 in pixels of the image turned upright"
            )

    def class_ids(self, names: Sequence[str] | None, num_classes: int) -> np.ndarray:
        """Look up the classes of a model: (n,) int64, -1 where a class is unknown.

        Args:
            names: the model's C names, or None.
            num_classes: C.

        Raises:
            DataError: the model has no such class.
        """
        return np.array(
            [self._class_id(index, label, names, num_classes) for index, label in enumerate(self.classes)],
            dtype=np.int64,
        )

    def _class_id(self, index: int, label: Label, names: Sequence[str] | None, num_classes: int) -> int:
        if label is None:
            return -1
        if isinstance(label, int):
            if 0 <= label < num_classes:
                return label
            hint = f"its ids are 0..{num_classes - 1}."
        elif names is None:
            hint = "it has no names, only ids."
        elif label in names:
            return list(names).index(label)
        else:
            near = difflib.get_close_matches(label, names, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {', '.join(names)}."
        raise DataError(
            f"{self.where}: the model has no class {label!r} (box {index}); {hint} None lets the model find the class"
        )


def read_boxes(boxes: Any, classes: Any = None, scores: Any = None, where: str = "boxes") -> GivenBoxes:
    """Read the boxes of one image in any of the forms of this module.

    Args:
        boxes: see the module.
        classes: n names or ids, None for some. None: those of ``boxes``, or all unknown. A mapping translates the
            classes of ``boxes``, such as the category ids of another dataset.
        scores: n numbers in 0..1, how sure each class is; None: those of ``boxes``, or 1.
        where: the beginning of error messages.

    Raises:
        DataError: see :class:`GivenBoxes`; or ``boxes`` has none of these forms.
    """
    size = None
    own_classes = own_scores = None
    if isinstance(boxes, GivenBoxes):
        boxes, own_classes, own_scores, size = boxes.boxes, boxes.classes, boxes.scores, boxes.image_size
    elif isinstance(boxes, SceneGraph):
        graph = boxes
        names = graph.class_names
        own_classes = [names[label] if names else int(label) for label in graph.classes]
        boxes, own_scores, size = graph.boxes, graph.scores, graph.image_size
    elif isinstance(boxes, Mapping) and "objects" in boxes:
        return read_boxes(SceneGraph.from_dict(boxes), classes, scores, where)
    elif isinstance(boxes, Mapping):
        if "boxes" not in boxes:
            raise DataError(
                f"{where}: the field boxes is missing; there is {', '.join(map(str, boxes)) or 'no field'}"
            )
        own_classes, own_scores, boxes = boxes.get("labels"), boxes.get("scores"), boxes["boxes"]
    elif hasattr(boxes, "pred_boxes"):
        own_classes, own_scores = getattr(boxes, "pred_classes", None), getattr(boxes, "scores", None)
        boxes, size = boxes.pred_boxes.tensor, tuple(boxes.image_size)
    elif hasattr(boxes, "xyxy") or hasattr(getattr(boxes, "boxes", None), "xyxy"):
        # ultralytics states the size; supervision does not.
        size = _to_size(getattr(boxes, "orig_shape", None))
        boxes, own_classes, own_scores = _read_detections(boxes, where)
    elif _is_records(boxes):
        records, boxes = boxes, _read_coco_boxes(boxes, where)
        own_classes = [record.get("category_id") for record in records]
        own_scores = [record.get("score", 1.0) for record in records]
    else:
        _check_array(boxes, where)
    size = size or _read_bounding_boxes(boxes, where)
    count = len(boxes) if hasattr(boxes, "__len__") else 0
    if isinstance(classes, Mapping) and own_classes is None and count:
        raise DataError(
            f"{where}: the mapping of classes has nothing to translate, because these boxes have no classes; give a "
            "list with one for each box"
        )
    if classes is None or isinstance(classes, Mapping):
        labels = [None] * count if own_classes is None else _to_list(own_classes, where, "classes")
        classes = labels if classes is None else [_translate(label, classes, where) for label in labels]
    if scores is None:
        scores = np.ones(count) if own_scores is None else own_scores
    return GivenBoxes(boxes, _to_list(classes, where, "classes"), scores, size, where)


def _check_array(boxes: Any, where: str) -> None:
    """Raise DataError for what is no array at all: a list of results, or an object of another kind."""
    if isinstance(boxes, list | tuple) and any(
        hasattr(entry, name) for entry in boxes for name in ("xyxy", "boxes", "pred_boxes")
    ):
        raise DataError(
            f"{where}: is a list of {len(boxes)} {type(boxes[0]).__name__}, one for each image; give a mapping from "
            "file names to its entries, or one entry for one image"
        )
    is_sized = hasattr(boxes, "__len__") or boxes is None or isinstance(boxes, Real)
    # Results of ultralytics without boxes, as of classification, have a length, too.
    others = isinstance(boxes, set | frozenset) or hasattr(boxes, "gt_boxes") or hasattr(boxes, "boxes")
    if not is_sized or others:
        raise DataError(
            f"{where}: {type(boxes).__name__} is none of the forms of boxes; give an array (n, 4) of x1, y1, x2, y2, "
            "or a form that docs/given_boxes.md names"
        )


def _read_bounding_boxes(boxes: Any, where: str) -> tuple[int, int] | None:
    """Read the size that torchvision's BoundingBoxes state; None for others. Raises DataError for another format."""
    if not hasattr(boxes, "canvas_size"):
        return None
    name = getattr(boxes.format, "name", boxes.format)
    if name != "XYXY":
        raise DataError(
            f"{where}: are in the format {name}; convert them to XYXY "
            "(torchvision.transforms.v2.ConvertBoundingBoxFormat)"
        )
    return _to_size(boxes.canvas_size)


def _to_size(size: Any) -> tuple[int, int] | None:
    return None if size is None else (int(size[0]), int(size[1]))


def _read_detections(found: Any, where: str) -> tuple[Any, Any, Any]:
    """Read boxes, classes and scores, or None, of an object of supervision or ultralytics."""
    boxes = found if hasattr(found, "xyxy") else found.boxes
    if not hasattr(boxes, "cls"):
        # ultralytics' Boxes has a tensor as data.
        names = (getattr(boxes, "data", None) or {}).get("class_name")
        classes = getattr(boxes, "class_id", None) if names is None else names
        return boxes.xyxy, classes, getattr(boxes, "confidence", None)
    names = None if boxes is found else getattr(found, "names", None)
    classes = _to_array(boxes.cls)
    if names is not None:
        names = dict(names if isinstance(names, Mapping) else enumerate(names))
        try:
            classes = [names[int(label)] for label in classes]
        except KeyError as error:
            raise DataError(
                f"{where}: a box has class {error}, which its names {reprlib.repr(names)} lack; complete the names, "
                "or give the `boxes` of the result, whose classes are numbers"
            ) from error
    return boxes.xyxy, classes, boxes.conf


def _is_records(boxes: Any) -> bool:
    return isinstance(boxes, list | tuple) and len(boxes) > 0 and isinstance(boxes[0], Mapping)


def _read_coco_boxes(records: Sequence[Any], where: str) -> np.ndarray:
    rows = np.zeros((len(records), 4))
    for index, record in enumerate(records):
        box = record.get("bbox") if isinstance(record, Mapping) else None
        if box is None and isinstance(record, Mapping) and "boxes" in record:
            raise DataError(
                f"{where}: entry {index} of the list has boxes of its own, so the list is of several images; give a "
                "mapping from file names to its entries, or one entry for one image"
            )
        numbers = None if box is None else _to_numbers(box, f"{where}: bbox of record {index}")
        if numbers is None or numbers.shape != (4,):
            raise DataError(
                f"{where}: record {index} has the bbox {reprlib.repr(box)}; it must be x, y, width, height in pixels"
            )
        rows[index] = numbers
    problems: list[Problem] = []
    to_corners(rows, records, where, problems)
    log_or_raise(problems)
    return rows


def _translate(label: Any, classes: Mapping[Any, Label], where: str) -> Label:
    if label is None:
        return None
    label = _to_label(label, where, 0)
    # JSON has only texts as keys, also for numbers.
    if label not in classes and str(label) in classes:
        label = str(label)
    if label not in classes:
        raise DataError(
            f"{where}: the mapping of classes has no entry for {label!r}; add it, with None if the model has no such "
            "class"
        )
    return classes[label]


def _to_list(values: Any, where: str, name: str) -> list[Any]:
    values = _to_array(values) if is_tensor(values) else values
    # A set has no order that could be that of the boxes.
    if isinstance(values, str | set | frozenset) or not hasattr(values, "__len__"):
        raise DataError(f"{where}: {name} is {reprlib.repr(values)}; give a list with one for each box")
    return list(values)


def _to_label(label: Any, where: str, index: int) -> Label:
    """Convert a class to a name, an int or None."""
    if label is None or isinstance(label, str):
        return None if label is None else str(label)
    is_number = isinstance(label, Real) and not isinstance(label, bool | np.bool_)
    if is_number and (isinstance(label, Integral) or float(label).is_integer()):
        return int(label)
    raise DataError(f"{where}: the class of box {index} is {reprlib.repr(label)}; give a name, an id, or None")


def _to_boxes(values: Any, where: str) -> np.ndarray:
    array = _to_numbers(values, where)
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(f"{where}: the shape is {array.shape}; it must be (n, 4), x1, y1, x2, y2 of each box")
    return array


def _to_numbers(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(_to_array(values))
        # A table with other columns makes objects of its numbers.
        is_table = array.dtype.kind == "O" and all(type(number) in (int, float) for number in array.flat)
        # Text and booleans would become numbers, too.
        if not is_table and array.dtype.kind not in "iuf" and array.size:
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:  # the last: a tensor without data
        raise DataError(f"{what}: {reprlib.repr(values)} are no numbers, as many in each row") from error


def _to_array(values: Any) -> Any:
    if not is_tensor(values):
        return values
    # numpy knows no bfloat16.
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()
