"""The contents of a prediction file: names, types and ranges, see docs/prediction_files.md."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from egtr.structures import GroundTruth, Prediction, PredictionError, TripletCounts, check_max_rank

from .conventions import TASKS
from .record_checks import check_columns, check_ground_truth, check_values

FORMAT = "egtr-predictions"
VERSION = 1
# Name to the kinds of numbers (numpy's dtype.kind) that a member may hold. Members of record k are "k/<name>".
PREDICTION_MEMBERS = {
    "logits": "f",
    "boxes": "fiu",
    "pairs": "iu",
    "connectivity": "f",
    "relation": "f",
    "image_size": "iu",
}
# Written only for models whose label is not the best of the logits.
LABEL_MEMBERS = {"classes": "iu", "scores": "f"}
GROUND_TRUTH_MEMBERS = {"gt_boxes": "fiu", "gt_classes": "iu", "gt_triplets": "iu"}
# Written only where there are crowds, so that files without any read in every version.
CROWD_MEMBERS = {"gt_crowd_boxes": "fiu", "gt_crowd_classes": "iu"}


@dataclass(frozen=True)
class PredictionMeta:
    """The properties of all records of a prediction file. C is the number of object classes, R of predicates.

    Attributes:
        class_names: C names, or None.
        predicate_names: R names, or None.
        task: "sgdet" (the model found the objects), "sgcls" (their boxes were given) or "predcls" (boxes and classes
            were given).
        max_rank: the largest K of recall; pairs that no such ranking needs are left out. None: records are whole.
            Records of sgcls and predcls always are, because accuracy A@K needs every annotated pair.
        training: triplets of the training set, for zero-shot recall and head, body and tail; or None.
        exhaustive: the ground truth holds every relation in the images, so that precision has a meaning.

    Raises:
        PredictionError: an unknown task, a ``max_rank`` below 1, or ``training`` with other numbers of classes and
            predicates than there are names.
    """

    class_names: tuple[str, ...] | None = None
    predicate_names: tuple[str, ...] | None = None
    task: str = "sgdet"
    max_rank: int | None = 100
    training: TripletCounts | None = None
    exhaustive: bool = False

    def __post_init__(self):
        for field in ("class_names", "predicate_names"):
            names = getattr(self, field)
            object.__setattr__(self, field, None if names is None else tuple(map(str, names)))
        if self.task not in TASKS:
            raise PredictionError(f"task is {self.task!r}, choose one of {', '.join(TASKS)}")
        if self.task != "sgdet":
            object.__setattr__(self, "max_rank", None)
        if self.max_rank is not None and (type(self.max_rank) is not int or self.max_rank < 1):
            raise PredictionError(f"max_rank is {self.max_rank!r}; give an integer of at least 1, or null")
        if self.training is not None:
            for field, count in (
                ("class_names", self.training.num_classes),
                ("predicate_names", self.training.num_predicates),
            ):
                names = getattr(self, field)
                if names is not None and len(names) != count:
                    raise PredictionError(f"{field} has {len(names)} names, but training counts {count}")

    @property
    def num_classes(self) -> int | None:
        """C, if names or training state it."""
        return len(self.class_names) if self.class_names is not None else self.training and self.training.num_classes

    @property
    def num_predicates(self) -> int | None:
        """R, if names or training state it."""
        if self.predicate_names is not None:
            return len(self.predicate_names)
        return self.training and self.training.num_predicates

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, with format and version, for ``json.dumps``."""
        training = self.training and {
            "num_classes": self.training.num_classes,
            "num_predicates": self.training.num_predicates,
            "triplets": self.training.triplets.tolist(),
            "counts": self.training.counts.tolist(),
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            "task": self.task,
            "max_rank": self.max_rank,
            "class_names": self.class_names,
            "predicate_names": self.predicate_names,
            "training": training,
            "exhaustive": self.exhaustive,
        }

    @classmethod
    def from_json(cls, record: Any) -> "PredictionMeta":
        """Invert :meth:`to_json`. Everything but format and version may be absent; other keys are ignored.

        Raises:
            PredictionError: another format, a newer version, or a value that does not fit.
        """
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise PredictionError(f'format is not "{FORMAT}"; this is no prediction file')
        version = record.get("version")
        if type(version) is not int or version < 1:
            raise PredictionError(f"version is {version!r}, expected {VERSION}")
        if version > VERSION:
            raise PredictionError(f"version is {version}, this EGTR reads up to {VERSION}; update EGTR")
        task, max_rank = record.get("task", "sgdet"), record.get("max_rank")
        if task != "sgdet" and max_rank is not None:
            raise PredictionError(f"max_rank is {max_rank!r}, but records of {task} are whole: give null")
        for field in ("class_names", "predicate_names"):
            names = record.get(field)
            if names is not None and not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
                raise PredictionError(f"{field} is not a list of names")
        return cls(
            record.get("class_names"),
            record.get("predicate_names"),
            task,
            max_rank,
            _training_from_json(record.get("training")),
            record.get("exhaustive") is True,
        )


def _training_from_json(record: Any) -> TripletCounts | None:
    if record is None:
        return None
    try:
        return TripletCounts(
            np.array(record["triplets"], dtype=np.int64).reshape(-1, 3),
            np.array(record["counts"], dtype=np.int64),
            int(record["num_classes"]),
            int(record["num_predicates"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PredictionError(f"training is not as described in docs/prediction_files.md: {error}") from error


def check_record(prediction: Prediction, ground_truth: GroundTruth | None, meta: PredictionMeta) -> None:
    """Check the values of a record, also against ``meta``.

    Raises:
        PredictionError: names the field whose values are out of range or disagree with ``meta``.
    """
    size = np.asarray(prediction.image_size)
    if size.shape != (2,) or size.dtype.kind not in "iu" or size.min() < 1:
        raise PredictionError(f"image_size is {size.tolist()}, expected height and width, whole pixels")
    check_values(prediction)
    if prediction.max_rank is not None:
        if meta.max_rank is None:
            raise PredictionError("pairs are left out (max_rank), but meta says that records are whole")
        check_max_rank(prediction, meta.max_rank)
    check_columns(prediction, meta.num_classes, meta.num_predicates, "meta")
    if ground_truth is not None:
        check_ground_truth(prediction, ground_truth)
