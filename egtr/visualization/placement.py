"""Where labels go: rectangles that neither overlap one another nor leave the sheet.

Rectangles are x1 y1 x2 y2 with y downwards; units are the caller's.
"""

from collections.abc import Sequence

import numpy as np

# Rectangles that only touch do not overlap; this much is forgiven for rounding.
_TOUCH = 1e-6


def overlap_area(rectangle: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(..., M) areas that rectangles of shape (..., 4) share with each of ``others`` (M, 4)."""
    rectangle = np.asarray(rectangle, dtype=np.float64)[..., None, :]
    others = np.asarray(others, dtype=np.float64).reshape(-1, 4)
    width = np.minimum(rectangle[..., 2], others[:, 2]) - np.maximum(rectangle[..., 0], others[:, 0])
    height = np.minimum(rectangle[..., 3], others[:, 3]) - np.maximum(rectangle[..., 1], others[:, 1])
    return np.where((width > _TOUCH) & (height > _TOUCH), width * height, 0.0)


def place_labels(
    sizes: np.ndarray,
    candidates: Sequence[np.ndarray],
    bounds: np.ndarray,
    obstacles: np.ndarray | None = None,
    avoid: np.ndarray | None = None,
) -> np.ndarray | None:
    """Place K labels one after the other, none over another.

    A label takes the first of its own candidate positions that is free (or, with ``avoid``, the free one that covers
    least of it). Where all are taken it goes to the free position nearest to its first candidate. That search is
    exact: a label finds no place only where the labels before it have left none.

    Args:
        sizes: (K, 2) widths and heights.
        candidates: K arrays of shape (c, 2), c >= 1: top left corners, the best first. Those that leave ``bounds``
            are moved inside.
        bounds: (4,) the sheet.
        obstacles: (M, 4) rectangles that no label may overlap.
        avoid: (V, 4) rectangles that labels should rather not cover; row k, where there is one, is label k's own
            and may be covered by it.

    Returns:
        (K, 2) top left corners, or None where the labels do not all fit.
    """
    sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    bounds = np.asarray(bounds, dtype=np.float64)
    taken = np.zeros((0, 4)) if obstacles is None else np.asarray(obstacles, dtype=np.float64).reshape(-1, 4)
    avoid = np.zeros((0, 4)) if avoid is None else np.asarray(avoid, dtype=np.float64).reshape(-1, 4)
    positions = np.zeros_like(sizes)
    for k, size in enumerate(sizes):
        if (size > bounds[2:] - bounds[:2] + _TOUCH).any():
            return None
        wanted = _inside(np.asarray(candidates[k], dtype=np.float64).reshape(-1, 2), size, bounds)
        free = wanted[_is_free(wanted, size, taken)]
        if len(free) == 0:
            free = _free_positions(size, wanted[0], bounds, taken)
            if len(free) == 0:
                return None
            # the list is sorted by distance: what is much farther than the nearest is no alternative
            free = free[:1]
        cost = overlap_area(np.concatenate([free, free + size], axis=1), np.delete(avoid, [k] if k < len(avoid) else [], 0))
        positions[k] = free[np.argmin(cost.sum(axis=1))]
        taken = np.concatenate([taken, np.concatenate([positions[k], positions[k] + size])[None]])
    return positions


def _inside(corners: np.ndarray, size: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    return np.clip(corners, bounds[:2], np.maximum(bounds[2:] - size, bounds[:2]))


def _is_free(corners: np.ndarray, size: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """(c,) whether a label of ``size`` at each corner overlaps nothing that is taken."""
    return (overlap_area(np.concatenate([corners, corners + size], axis=1), taken) == 0).all(axis=1)


def _free_positions(size: np.ndarray, wanted: np.ndarray, bounds: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Free corners, nearest to ``wanted`` first.

    If any place is free, sliding the label along each axis as far as it goes, or to the wanted coordinate, ends at a
    wall, at a taken rectangle's side or at the wanted coordinate: these are all the coordinates worth trying.
    """
    xs, ys = (
        np.unique(
            np.clip(
                np.concatenate(
                    [[wanted[a], bounds[a], bounds[a + 2] - size[a]], taken[:, a + 2], taken[:, a] - size[a]]
                ),
                bounds[a],
                max(bounds[a], bounds[a + 2] - size[a]),
            )
        )
        for a in (0, 1)
    )
    corners = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    corners = corners[_is_free(corners, size, taken)]
    return corners[np.argsort(((corners - wanted) ** 2).sum(axis=1), kind="stable")]
