"""Overlap of boxes."""

import numpy as np


def pairwise_iou(
    boxes1: np.ndarray, boxes2: np.ndarray, plus_one: bool = False, area_plus_one: bool | None = None
) -> np.ndarray:
    """Intersection over union of every box of one set with every box of another.

    Args:
        boxes1: (N, 4) x1 y1 x2 y2 in pixels, x1 <= x2 and y1 <= y2.
        boxes2: (G, 4) likewise.
        plus_one: sides of the intersection are x2 - x1 + 1 instead of x2 - x1.
        area_plus_one: the same for the areas of the boxes; None: as ``plus_one``.

    Returns:
        (N, G) float64 in 0..1 (beyond 1 where only the intersection has the +1); 0 where boxes do not overlap
        or have no area.
    """
    boxes1, boxes2 = boxes1.astype(np.float64), boxes2.astype(np.float64)
    area_plus_one = plus_one if area_plus_one is None else area_plus_one
    top_left = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    bottom_right = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    sides = np.clip(bottom_right - top_left + float(plus_one), 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    area1 = np.clip(boxes1[:, 2:] - boxes1[:, :2] + float(area_plus_one), 0, None).prod(axis=1)
    area2 = np.clip(boxes2[:, 2:] - boxes2[:, :2] + float(area_plus_one), 0, None).prod(axis=1)
    union = area1[:, None] + area2[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
