"""The annotations of one image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DataError
from .relations import not_crowd, remap_relations

# Values of detectron2.structures.BoxMode, an IntEnum; this room does not import Detectron2.
XYXY_ABS = 0
XYWH_ABS = 1


@dataclass
class GroundTruth:
    """Annotated objects and triplets of one image. Evaluators compare a ``Prediction`` with them.

    G is the number of annotated objects, T of annotated triplets and H of annotated crowds (all may be 0).

    Attributes:
        boxes: (G, 4) float32 boxes, x1 y1 x2 y2 in pixels of the image file.
        classes: (G,) int64 object classes, 0-based.
        triplets: (T, 3) int64, (subject, object, predicate); subject and object index ``boxes``, predicate is
            0-based. Repeated rows are kept: the scoring protocol decides what they count.
        image_id: names the image in messages.
        crowd_boxes: (H, 4) float32 regions that hold several objects (COCO's ``iscrowd``), as ``boxes``. Object AP
            neither asks for them nor counts a detection inside them as wrong; nothing else looks at them.
        crowd_classes: (H,) int64, their classes.

    Raises:
        DataError: a field has a wrong shape, a box is NaN or infinite or ends before it begins, a class or predicate
            is negative, or a triplet names an object that does not exist.
    """

    boxes: np.ndarray
    classes: np.ndarray
    triplets: np.ndarray
    image_id: int | str | None = None
    crowd_boxes: np.ndarray = ()
    crowd_classes: np.ndarray = ()

    def __post_init__(self):
        # An empty list has shape (0,) and means "none" here.
        with np.errstate(over="ignore"):  # Numbers too large for float32 become infinite and are refused below.
            self.boxes = _reshape_empty(np.asarray(self.boxes, dtype=np.float32), 4)
            self.crowd_boxes = _reshape_empty(np.asarray(self.crowd_boxes, dtype=np.float32), 4)
        self.classes = np.asarray(self.classes, dtype=np.int64)
        self.crowd_classes = np.asarray(self.crowd_classes, dtype=np.int64)
        self.triplets = _reshape_empty(np.asarray(self.triplets, dtype=np.int64), 3)
        num_objects, num_triplets, num_crowds = (
            len(array) if array.ndim else 0 for array in (self.boxes, self.triplets, self.crowd_boxes)
        )
        for field, shape, expected in (
            ("boxes", self.boxes.shape, (num_objects, 4)),
            ("classes", self.classes.shape, (num_objects,)),
            ("triplets", self.triplets.shape, (num_triplets, 3)),
            ("crowd_boxes", self.crowd_boxes.shape, (num_crowds, 4)),
            ("crowd_classes", self.crowd_classes.shape, (num_crowds,)),
        ):
            if shape != expected:
                raise DataError(f"{self._where}: {field} has shape {shape}, expected {expected}")
        for field, boxes, what in (("boxes", self.boxes, "object"), ("crowd_boxes", self.crowd_boxes, "crowd")):
            sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
            if not sound.all():
                index = int(np.flatnonzero(~sound)[0])
                raise DataError(
                    f"{self._where}: {field} holds {boxes[index].tolist()} for {what} {index}; "
                    "a box is x1, y1, x2, y2 in pixels, x1 <= x2 and y1 <= y2"
                )
        for field, classes in (("classes", self.classes), ("crowd_classes", self.crowd_classes)):
            if len(classes) and classes.min() < 0:
                raise DataError(f"{self._where}: {field} holds a negative number; classes are 0-based")
        if len(self.triplets) == 0:
            return
        if self.triplets.min() < 0:
            raise DataError(f"{self._where}: triplets holds a negative number; objects and predicates are 0-based")
        if self.triplets[:, :2].max() >= num_objects:
            raise DataError(
                f"{self._where}: triplets names object {self.triplets[:, :2].max()}, but there are only "
                f"{num_objects} objects; subject and object are positions in the list of objects, from 0"
            )

    @property
    def _where(self) -> str:
        return "ground truth" if self.image_id is None else f"ground truth of image {self.image_id!r}"

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "GroundTruth":
        """Make ground truth from a Detectron2 dataset dict with ``relations``.

        Args:
            record: a dict with ``annotations`` (each with ``bbox``, ``bbox_mode`` XYXY_ABS or XYWH_ABS, and
                ``category_id``, 0-based), ``relations`` (a list of [subject, object, predicate]; the first
                two index ``annotations``; may be absent) and ``image_id``. Crowd annotations do not name a single
                object, so they become ``crowd_boxes`` and their relations are left out; the other relations keep
                their objects.

        Raises:
            DataError: the dict has no annotations, a box has another format, or a relation names an annotation that
                does not exist.
        """
        image_id = record.get("image_id")
        if "annotations" not in record:
            raise DataError(f"dataset dict of image {image_id!r}: field annotations is missing; scoring needs it")
        annotations = record["annotations"]
        kept = not_crowd(annotations)
        boxes = np.array([_to_xyxy(a, image_id) for a in annotations], dtype=np.float32).reshape(-1, 4)
        classes = np.array([a["category_id"] for a in annotations], dtype=np.int64)
        return cls(
            boxes=boxes[kept],
            classes=classes[kept],
            triplets=remap_relations(record.get("relations", []), kept, f"dataset dict of image {image_id!r}"),
            image_id=image_id,
            crowd_boxes=boxes[~kept],
            crowd_classes=classes[~kept],
        )


def _reshape_empty(array: np.ndarray, width: int) -> np.ndarray:
    return array.reshape(0, width) if array.size == 0 else array


def _to_xyxy(annotation: Mapping[str, Any], image_id: Any) -> list[float]:
    mode = annotation.get("bbox_mode", XYXY_ABS)
    x1, y1, a, b = (float(v) for v in annotation["bbox"])
    if mode == XYXY_ABS:
        return [x1, y1, a, b]
    if mode == XYWH_ABS:
        return [x1, y1, x1 + a, y1 + b]
    raise DataError(f"dataset dict of image {image_id!r}: bbox_mode is {mode}, expected XYXY_ABS or XYWH_ABS")
