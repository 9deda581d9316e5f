"""Counts of (subject class, object class, predicate) in a training set, without the zeros."""

from dataclasses import dataclass

import numpy as np

from .errors import DataError

GROUPS = ("head", "body", "tail")


@dataclass(frozen=True)
class TripletCounts:
    """Numbers of annotated triplets of a dataset, by class. There are C object classes and R predicates.

    Attributes:
        triplets: (S, 3) int64, distinct rows (subject class, object class, predicate) in ascending order.
        counts: (S,) int64, number of annotations of each row, at least 1.
        num_classes: C.
        num_predicates: R.

    Raises:
        DataError: shapes disagree, an id does not fit C or R, a row is repeated, or a count is below 1.
    """

    triplets: np.ndarray
    counts: np.ndarray
    num_classes: int
    num_predicates: int

    def __post_init__(self):
        triplets = np.asarray(self.triplets, dtype=np.int64).reshape(-1, 3)
        counts = np.asarray(self.counts, dtype=np.int64)
        if counts.shape != (len(triplets),):
            raise DataError(f"TripletCounts.counts has shape {counts.shape}, expected ({len(triplets)},)")
        limits = np.array([self.num_classes, self.num_classes, self.num_predicates])
        if ((triplets < 0) | (triplets >= limits)).any():
            raise DataError(
                f"TripletCounts.triplets holds an id that does not fit {self.num_classes} classes and "
                f"{self.num_predicates} predicates"
            )
        if len(counts) and counts.min() < 1:
            raise DataError(f"TripletCounts.counts holds {counts.min()}; leave out triplets that do not occur")
        if len(np.unique(triplets, axis=0)) < len(triplets):
            raise DataError("TripletCounts.triplets holds a row twice; add their counts up")
        order = np.lexsort(triplets.T[::-1])
        object.__setattr__(self, "triplets", triplets[order])
        object.__setattr__(self, "counts", counts[order])

    @classmethod
    def from_class_triplets(cls, triplets: np.ndarray, num_classes: int, num_predicates: int) -> "TripletCounts":
        """Count (T, 3) integer rows (subject class, object class, predicate), repetitions included."""
        rows = np.asarray(triplets, dtype=np.int64).reshape(-1, 3)
        unique, counts = np.unique(rows, axis=0, return_counts=True)
        return cls(unique, counts, num_classes, num_predicates)

    @property
    def predicate_counts(self) -> np.ndarray:
        """(R,) int64, number of annotated triplets of each predicate."""
        counts = np.zeros(self.num_predicates, dtype=np.int64)
        np.add.at(counts, self.triplets[:, 2], self.counts)
        return counts

    def dense(self) -> np.ndarray:
        """Make the (C, C, R) int64 array of all counts, zeros included."""
        counts = np.zeros((self.num_classes, self.num_classes, self.num_predicates), dtype=np.int64)
        counts[tuple(self.triplets.T)] = self.counts
        return counts

    def contains(self, triplets: np.ndarray) -> np.ndarray:
        """Tell which of (T, 3) rows (subject class, object class, predicate) occur here: (T,) bool.

        Zero-shot recall is measured on the rows that do not occur.
        """
        rows = np.asarray(triplets, dtype=np.int64).reshape(-1, 3)
        return np.isin(self._keys(rows), self._keys(self.triplets))

    def predicate_groups(self) -> dict[str, np.ndarray]:
        """Split the predicate ids into the frequent, the middle and the rare third ("head", "body", "tail").

        Predicates are ordered by count, equal counts by id. If R is not a multiple of 3, the rarer groups get one
        predicate more: 50 predicates make 16, 17 and 17.
        """
        order = np.argsort(-self.predicate_counts, kind="stable")
        parts = np.array_split(order[::-1], 3)[::-1]
        return {name: np.sort(part) for name, part in zip(GROUPS, parts, strict=True)}

    def _keys(self, rows: np.ndarray) -> np.ndarray:
        subjects, objects, predicates = rows.T
        # Ids beyond the known ones must not get the key of a known triplet.
        known = (rows[:, :2] < self.num_classes).all(axis=1) & (predicates < self.num_predicates)
        return np.where(known, (subjects * self.num_classes + objects) * self.num_predicates + predicates, -1)
