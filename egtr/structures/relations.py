"""Which pair a relation belongs to, when objects leave."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import EGTRError


def not_crowd(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(A,) bool: which of A annotations name a single object, not a crowd (COCO's ``iscrowd``)."""
    return np.array([not annotation.get("iscrowd", 0) for annotation in annotations], dtype=bool)


def remap_relations(relations: Any, kept: Any, where: str = "scene graph") -> np.ndarray:
    """Relations after objects were dropped: those of dropped objects go, the others follow their objects.

    Args:
        relations: (T, 3) integers, (subject, object, predicate); subject and object index A objects. May be an
            empty list.
        kept: (A,) bool, which objects stay. They keep their order.
        where: begins the message of the error: file or image that the relations come from.

    Returns:
        (U, 3) int64 in the same order, U <= T, subject and object indexing the objects that stay. Never a view of
        ``relations``.

    Raises:
        EGTRError: rows of another length; a subject or object is not among 0..A-1.
    """
    relations, kept = np.asarray(relations, dtype=np.int64), np.asarray(kept, dtype=bool)
    if relations.size == 0:
        return np.zeros((0, 3), dtype=np.int64)
    if relations.ndim != 2 or relations.shape[1] != 3:
        raise EGTRError(
            f"{where}: field relations has shape {relations.shape}, expected rows of (subject, object, predicate)"
        )
    ends = relations[:, :2]
    outside = ends[(ends < 0) | (ends >= len(kept))]
    if len(outside):
        raise EGTRError(
            f"{where}: field relations names object {outside[0]}, which is not among its {len(kept)} annotations, "
            "counted from 0. A reader that drops annotations has to renumber relations"
        )
    rows = relations[kept[ends].all(axis=1)]
    new_index = np.cumsum(kept) - 1
    return np.column_stack([new_index[rows[:, :2]], rows[:, 2]])
