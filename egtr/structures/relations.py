"""Relations of annotated objects after some objects are dropped."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import DataError


def not_crowd(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Tell which of A annotations name a single object, not a crowd (COCO's ``iscrowd``): (A,) bool."""
    return np.array([not annotation.get("iscrowd", 0) for annotation in annotations], dtype=bool)


def remap_relations(relations: Any, kept: Any, where: str = "scene graph") -> np.ndarray:
    """Drop the relations of dropped objects and renumber the others.

    Args:
        relations: (T, 3) integers, (subject, object, predicate); subject and object index A objects. May be an
            empty list.
        kept: (A,) bool, the objects that stay. They keep their order.
        where: file or image of the relations, with which error messages begin.

    Returns:
        (U, 3) int64 in the same order, U <= T; subject and object index the objects that stay. Never a view of
        ``relations``.

    Raises:
        DataError: a row has another length, or a subject or object is not among 0..A-1.
    """
    relations, kept = np.asarray(relations, dtype=np.int64), np.asarray(kept, dtype=bool)
    if relations.size == 0:
        return np.zeros((0, 3), dtype=np.int64)
    if relations.ndim != 2 or relations.shape[1] != 3:
        raise DataError(
            f"{where}: field relations has shape {relations.shape}, expected rows of (subject, object, predicate)"
        )
    ends = relations[:, :2]
    outside = ends[(ends < 0) | (ends >= len(kept))]
    if len(outside):
        raise DataError(
            f"{where}: field relations names object {outside[0]}, which is not among its {len(kept)} annotations, "
            "counted from 0. A reader that drops annotations has to renumber relations"
        )
    rows = relations[kept[ends].all(axis=1)]
    new_index = np.cumsum(kept) - 1
    return np.column_stack([new_index[rows[:, :2]], rows[:, 2]])
