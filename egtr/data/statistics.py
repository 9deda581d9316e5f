"""How often which predicate joins which classes: what the model's frequency bias is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from egtr.structures import EGTRError


@dataclass(frozen=True)
class RelationStatistics:
    """Counts over the annotated triplets of a data set. C: object classes, R: predicates.

    Attributes:
        triplet_counts: (C, C, R) int64, how often each (subject class, object class, predicate) is annotated.
            Triplets annotated twice on one pair count twice.
        predicate_frequency: (R,) float64, share of each predicate in all triplets; sums to 1, or is all zero
            where the data set has no triplet.
    """

    triplet_counts: np.ndarray
    predicate_frequency: np.ndarray

    @classmethod
    def from_dataset_dicts(
        cls, dataset_dicts: Iterable[dict[str, Any]], num_classes: int, num_predicates: int
    ) -> "RelationStatistics":
        """Count over dataset dicts, one pass, which may come from a generator.

        Args:
            dataset_dicts: dicts with ``annotations`` and ``relations``. Relations that touch a crowd
                annotation are left out, as in training.
            num_classes: C.
            num_predicates: R.

        Raises:
            EGTRError: a class or predicate id does not fit C or R.
        """
        flat_counts = np.zeros(num_classes * num_classes * num_predicates, dtype=np.int64)
        shape = (num_classes, num_classes, num_predicates)
        for dataset_dict in dataset_dicts:
            annotations, relations = dataset_dict.get("annotations", []), dataset_dict.get("relations", [])
            classes = np.array([annotation["category_id"] for annotation in annotations], dtype=np.int64)
            _check_range(classes, num_classes, "category_id", "NUM_CLASSES", dataset_dict)
            if len(relations) == 0:
                continue
            subjects, objects, predicates = np.asarray(relations, dtype=np.int64).T
            _check_range(predicates, num_predicates, "predicate", "NUM_PREDICATES", dataset_dict)
            crowd = np.array([bool(annotation.get("iscrowd", 0)) for annotation in annotations])
            keep = ~(crowd[subjects] | crowd[objects])
            cells = np.ravel_multi_index((classes[subjects[keep]], classes[objects[keep]], predicates[keep]), shape)
            # add.at because a cell may occur more than once in one image
            np.add.at(flat_counts, cells, 1)
        counts = flat_counts.reshape(shape)
        per_predicate = counts.sum(axis=(0, 1))
        return cls(counts, per_predicate / max(int(per_predicate.sum()), 1))


def _check_range(ids: np.ndarray, limit: int, field: str, key: str, dataset_dict: dict[str, Any]) -> None:
    if ids.size and (ids.max() >= limit or ids.min() < 0):
        worst = ids.max() if ids.max() >= limit else ids.min()
        where = f"{dataset_dict.get('file_name')} (image id {dataset_dict.get('image_id')})"
        raise EGTRError(
            f"{where}: {field} {worst} does not fit MODEL.EGTR.{key} = {limit}, which allows 0..{limit - 1}. "
            "Set the key to the data set's number."
        )
