"""The ground-truth triplets of a dataset in one table, with the ranks at which they are hit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .conventions import Protocol
from .image_scores import ImageScores

# Prefixes of a ranking's metrics; "ng": no graph constraint.
PREFIXES = ("", "ng-")
# Kinds of ranks that every task has.
_KINDS = ("PairR", "R", "phr-R")


class Grouping(NamedTuple):
    """T rows in G groups.

    Attributes:
        keys: (G,) int64, ascending, the value that the rows of a group share.
        index: (T,) int64, the group of each row.
        sizes: (G,) int64, the number of rows of each group, at least 1.
    """

    keys: np.ndarray
    index: np.ndarray
    sizes: np.ndarray

    @classmethod
    def by(cls, values: np.ndarray) -> "Grouping":
        """Group rows by equal value."""
        keys, index, sizes = np.unique(values, return_inverse=True, return_counts=True)
        return cls(keys, index, sizes)

    def shares(self, hits: np.ndarray) -> np.ndarray:
        """Compute the (G,) shares of hits among the rows of each group from (T,) bool."""
        return np.bincount(self.index, weights=hits, minlength=len(self.keys)) / self.sizes


@dataclass(frozen=True)
class TripletTable:
    """The T ground-truth triplets of a dataset that a protocol counts, with the ranks at which they are hit.

    Attributes:
        images: (T,) int64, number of the image, from 0.
        classes: (T, 3) int64, (subject class, object class, predicate).
        ranks: (T,) int32 from 0 for each kind of hit, :data:`~egtr.evaluation.matching.NEVER` if there is none.
            "R" and "ng-R": of both objects, with and without graph constraint; "phr-R" and "ng-phr-R": of the box
            around both; "PairR" and "ng-PairR": of both objects, whatever the predicate; "A" and "ng-A": of both
            objects, only among annotated pairs (tasks "predcls" and "sgcls").
        misses: "R" and "ng-R" to (T,) int32, the number of better triplets that hit nothing.
        first_of_pair: (T,) bool, False for further triplets of the same two objects of an image.
        predicate_ranks: (T,) float64, see :func:`~egtr.evaluation.predicate_rank.predicate_ranks`, or None.
        found_objects: (I,) float64, the share of the annotated objects that some query matches, of each image that
            has triplets.
        num_predicates: R.
    """

    images: np.ndarray
    classes: np.ndarray
    ranks: dict[str, np.ndarray]
    misses: dict[str, np.ndarray]
    first_of_pair: np.ndarray
    predicate_ranks: np.ndarray | None
    found_objects: np.ndarray
    num_predicates: int

    def by_image(self) -> Grouping:
        return Grouping.by(self.images)

    def by_image_and_predicate(self) -> Grouping:
        """Group by image and predicate; keys are image * R + predicate."""
        return Grouping.by(self.images * max(self.num_predicates, 1) + self.classes[:, 2])


def triplet_table(
    protocol: Protocol,
    scores: Sequence[ImageScores],
    counted: Sequence[np.ndarray],
    num_predicates: int,
    task: str = "sgdet",
) -> TripletTable:
    """Put the triplets of some images into one table.

    Args:
        protocol: one of those that the images were scored under.
        scores: one record for each image.
        counted: (T,) bool for each image, the triplets that count.
        num_predicates: R.
        task: the task that the images were scored for.
    """
    name = protocol.name
    triplets = [record.ground_truth.triplets[count] for record, count in zip(scores, counted, strict=True)]
    classes = [
        np.column_stack([record.ground_truth.classes[rows[:, :2]], rows[:, 2]])
        for record, rows in zip(scores, triplets, strict=True)
    ]

    def join(what: str, kind: str) -> np.ndarray:
        parts = (getattr(record, what)[name][kind][count] for record, count in zip(scores, counted, strict=True))
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts])

    kinds = [f"{prefix}{kind}" for prefix in PREFIXES for kind in (*_KINDS, *(["A"] if task != "sgdet" else []))]
    places = None
    if protocol.matching == "best" and all(name in record.predicate_ranks for record in scores):
        found = (record.predicate_ranks[name][count] for record, count in zip(scores, counted, strict=True))
        places = np.concatenate([np.zeros(0), *found])
    sizes = np.array([len(rows) for rows in triplets], dtype=np.int64)
    images = np.repeat(np.arange(len(scores)), sizes)
    pairs = np.column_stack([images, np.concatenate([np.zeros((0, 3), dtype=np.int64), *triplets])[:, :2]])
    first = np.zeros(len(pairs), dtype=bool)
    first[np.unique(pairs, axis=0, return_index=True)[1]] = True
    return TripletTable(
        images=images,
        classes=np.concatenate([np.zeros((0, 3), dtype=np.int64), *classes]),
        ranks={kind: join("ranks", kind) for kind in kinds},
        misses={kind: join("misses", kind) for kind in ("R", "ng-R")},
        first_of_pair=first,
        predicate_ranks=places,
        found_objects=np.array(
            [
                record.found_objects[name] / len(record.ground_truth.boxes)
                for record, size in zip(scores, sizes, strict=True)
                if size
            ]
        ),
        num_predicates=num_predicates,
    )
