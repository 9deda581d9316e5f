"""Duplicates in a graph: nodes that show the same object."""

import numpy as np

from .boxes import pairwise_iou
from .errors import ConfigurationError


def find_representatives(
    boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, iou: float, kept: np.ndarray | None = None
) -> np.ndarray:
    """Find the duplicate that is kept in place of each object, as ``SceneGraph.merge_duplicates`` does.

    Args:
        boxes: (N, 4), x1 y1 x2 y2 in pixels.
        classes: (N,) integers.
        scores: (N,) float.
        iou: threshold in 0..1 of intersection over union, compared with ``>``.
        kept: (N,) bool, objects that represent themselves, and come before all others; None: none.

    Returns:
        (N,) int64 indices; a representative has its own index.

    Raises:
        ConfigurationError: ``iou`` lies outside 0..1.
    """
    if not 0 <= iou <= 1:
        raise ConfigurationError(f"merging of duplicates: iou is {iou}; it must lie in 0..1")
    alike = (pairwise_iou(boxes, boxes) > iou) & (classes[:, None] == classes)
    representative = np.arange(len(boxes))
    by_score = np.argsort(-scores, kind="stable")
    kept = np.zeros(len(boxes), dtype=bool) if kept is None else kept
    chosen = by_score[kept[by_score]]
    for i in by_score[~kept[by_score]]:
        matches = chosen[alike[chosen, i]]
        if len(matches):
            representative[i] = matches[0]
        else:
            chosen = np.append(chosen, i)
    return representative


def merge_triplets(
    representative: np.ndarray, triplets: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move triplets to the representatives of their ends, and find the ones that stay.

    Args:
        representative: (N,) int, see :func:`find_representatives`.
        triplets: (K, 3) int, (subject, object, predicate).
        scores: (K,) float.

    Returns:
        The (K, 3) moved triplets, and the rows that stay, by descending score: of equal triplets the best,
        and none that joins an object with itself.
    """
    moved = np.column_stack([representative[triplets[:, :2]], triplets[:, 2]])
    by_score = np.argsort(-scores, kind="stable")
    by_score = by_score[moved[by_score, 0] != moved[by_score, 1]]
    # np.unique points at the first of equal rows, which is the best one here.
    _, first = np.unique(moved[by_score], axis=0, return_index=True)
    return moved, by_score[np.sort(first)]
