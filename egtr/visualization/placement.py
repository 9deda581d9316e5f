"""Places of labels: rectangles that neither overlap one another nor leave the sheet.

Rectangles are x1 y1 x2 y2 with y downwards, in any unit.
"""

from collections.abc import Sequence

import numpy as np

# Rectangles that only touch do not overlap; this is the tolerance for rounding.
_TOUCH = 1e-6


def overlap_area(rectangle: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute the areas (..., M) that rectangles of shape (..., 4) share with each of ``others``, (M, 4)."""
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

    A label takes the first free position among its candidates (or, with ``avoid``, the free one that covers least of
    it). If all candidates are taken, it goes to the free position nearest to its first candidate. This search is
    exact: a label finds no place only if the labels before it have left none.

    Args:
        sizes: (K, 2) widths and heights.
        candidates: K arrays of shape (c, 2), c >= 1: top left corners, the best first. Candidates outside of
            ``bounds`` are moved inside.
        bounds: (4,) the sheet.
        obstacles: (M, 4) rectangles that no label may overlap.
        avoid: (K, 4) rectangles that labels should not cover if possible; row k belongs to label k, which may cover
            it.

    Returns:
        (K, 2) top left corners, or None if the labels do not all fit.
    """
    sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    bounds = np.asarray(bounds, dtype=np.float64)
    taken = np.zeros((0, 4)) if obstacles is None else np.asarray(obstacles, dtype=np.float64).reshape(-1, 4)
    avoid = np.zeros((len(sizes), 4)) if avoid is None else np.asarray(avoid, dtype=np.float64).reshape(-1, 4)
    positions = np.zeros_like(sizes)
    for k, size in enumerate(sizes):
        if (size > bounds[2:] - bounds[:2] + _TOUCH).any():
            return None
        wanted = _inside(np.asarray(candidates[k], dtype=np.float64).reshape(-1, 2), size, bounds)
        free = wanted[_is_free(wanted, size, taken)]
        if len(free) == 0:
            nearest = _nearest_free(size, wanted[0], bounds, taken)
            if nearest is None:
                return None
            free = nearest[None]
        covered = overlap_area(np.concatenate([free, free + size], axis=1), np.delete(avoid, k, axis=0))
        positions[k] = free[np.argmin(covered.sum(axis=1))]
        taken = np.concatenate([taken, np.concatenate([positions[k], positions[k] + size])[None]])
    return positions


def _inside(corners: np.ndarray, size: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    return np.clip(corners, bounds[:2], np.maximum(bounds[2:] - size, bounds[:2]))


def _is_free(corners: np.ndarray, size: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Test for each of c corners that a label of ``size`` there overlaps nothing that is taken; (c,) bool."""
    return (overlap_area(np.concatenate([corners, corners + size], axis=1), taken) == 0).all(axis=1)


def _nearest_free(size: np.ndarray, wanted: np.ndarray, bounds: np.ndarray, taken: np.ndarray) -> np.ndarray | None:
    """Find the free corner (2,) nearest to ``wanted``, or None.

    The nearest free place cannot be moved towards the wanted one along either axis. On each axis the label is thus at
    the wanted coordinate, or touches a wall or a taken rectangle. No other coordinates need to be tried. Rows are
    tried from the nearest to the farthest, which takes O(M) memory and at most O(M^2 log M) steps.
    """
    low, high = bounds[:2], np.maximum(bounds[:2], bounds[2:] - size)
    rows = np.concatenate([[wanted[1], low[1], high[1]], taken[:, 3], taken[:, 1] - size[1]])
    rows = np.unique(np.clip(rows, low[1], high[1]))
    best, least = None, np.inf
    for y in rows[np.argsort(np.abs(rows - wanted[1]), kind="stable")]:
        if (y - wanted[1]) ** 2 >= least:
            break
        in_row = (taken[:, 1] < y + size[1] - _TOUCH) & (taken[:, 3] > y + _TOUCH)
        x = _nearest_in_row(wanted[0], low[0], high[0], taken[in_row, 0] - size[0], taken[in_row, 2])
        if x is not None and (distance := (x - wanted[0]) ** 2 + (y - wanted[1]) ** 2) < least:
            best, least = np.array([x, y]), distance
    return best


def _nearest_in_row(wanted: float, low: float, high: float, starts: np.ndarray, ends: np.ndarray) -> float | None:
    """Find the number in ``low..high`` nearest to ``wanted`` that lies in none of the open intervals, or None."""
    stops = np.clip(np.concatenate([[wanted, low, high], starts, ends]), low, high)
    order = np.argsort(starts)
    # A stop is covered if an interval that begins before it ends after it.
    reach = np.concatenate([[-np.inf], np.maximum.accumulate(ends[order])])
    free = stops[reach[np.searchsorted(starts[order], stops - _TOUCH)] <= stops + _TOUCH]
    return None if len(free) == 0 else float(free[np.argmin(np.abs(free - wanted))])
