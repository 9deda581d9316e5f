"""Overlap of boxes."""

import numpy as np


def paired_iou(
    boxes1: np.ndarray, boxes2: np.ndarray, plus_one: bool = False, area_plus_one: bool | None = None
) -> np.ndarray:
    """Compute the intersection over union of each box with the box at the same place of another array.

    Args:
        boxes1, boxes2: (..., 4) x1 y1 x2 y2 in pixels, x1 <= x2 and y1 <= y2; shapes broadcast.
        plus_one: compute the sides of the intersection as x2 - x1 + 1 instead of x2 - x1.
        area_plus_one: the same for the areas of the boxes; None means ``plus_one``.

    Returns:
        (...) float64 in 0..1 (above 1 is possible if only the intersection has the +1); 0 for boxes that do not
        overlap or have no area.
    """
    pixel = float(plus_one)
    area_pixel = pixel if area_plus_one is None else float(area_plus_one)
    # One array per coordinate is much faster than a last axis of 4.
    a, b = ([wide[..., side] for side in range(4)] for wide in (boxes1.astype(np.float64), boxes2.astype(np.float64)))
    width = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]) + pixel, 0)
    height = np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]) + pixel, 0)
    intersection = width * height
    area1, area2 = (np.maximum(c[2] - c[0] + area_pixel, 0) * np.maximum(c[3] - c[1] + area_pixel, 0) for c in (a, b))
    union = area1 + area2 - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def pairwise_iou(
    boxes1: np.ndarray, boxes2: np.ndarray, plus_one: bool = False, area_plus_one: bool | None = None
) -> np.ndarray:
    """Compute the intersection over union of every box of one set with every box of another.

    Args:
        boxes1: (N, 4), see :func:`paired_iou`, as for the other arguments.
        boxes2: (G, 4).
        plus_one, area_plus_one: see :func:`paired_iou`.

    Returns:
        (N, G) float64.
    """
    return paired_iou(boxes1[:, None], boxes2[None, :], plus_one, area_plus_one)
