"""How often which predicate joins which classes: what the model's frequency bias is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from egtr.structures import EGTRError, not_crowd, remap_relations


@dataclass(frozen=True)
class RelationStatistics:
    """Counts over the annotated triplets of a data set. C: object classes, R: predicates.

    Attributes:
        triplet_counts: (C, C, R) int64, how often each (subject class, object class, predicate) is annotated.
            Triplets annotated twice on one pair count twice.
    """

    triplet_counts: np.ndarray

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
            EGTRError: a class or predicate id does not fit C or R, or a relation names an object that is not
                there.
        """
        flat_counts = np.zeros(num_classes * num_classes * num_predicates, dtype=np.int64)
        shape = (num_classes, num_classes, num_predicates)
        for dataset_dict in dataset_dicts:
            annotations, relations = dataset_dict.get("annotations", []), dataset_dict.get("relations", [])
            classes = np.array([annotation["category_id"] for annotation in annotations], dtype=np.int64)
            _check_range(classes, num_classes, "category_id", "NUM_CLASSES", dataset_dict)
            kept = not_crowd(annotations)
            subjects, objects, predicates = remap_relations(relations, kept, _describe(dataset_dict)).T
            _check_range(predicates, num_predicates, "predicate", "NUM_PREDICATES", dataset_dict)
            classes = classes[kept]
            cells = np.ravel_multi_index((classes[subjects], classes[objects], predicates), shape)
            # add.at because a cell may occur more than once in one image
            np.add.at(flat_counts, cells, 1)
        return cls(flat_counts.reshape(shape))


def _check_range(ids: np.ndarray, limit: int, field: str, key: str, dataset_dict: dict[str, Any]) -> None:
    if ids.size and (ids.max() >= limit or ids.min() < 0):
        worst = ids.max() if ids.max() >= limit else ids.min()
        raise EGTRError(
            f"{_describe(dataset_dict)}: {field} {worst} does not fit MODEL.EGTR.{key} = {limit}, which allows "
            f"0..{limit - 1}. Set the key to the data set's number."
        )


def _describe(dataset_dict: dict[str, Any]) -> str:
    return f"{dataset_dict.get('file_name')} (image id {dataset_dict.get('image_id')})"
