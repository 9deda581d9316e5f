"""Labels never overlap, whatever they are called and wherever their boxes are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.visualization.placement import overlap_area, place_labels

BOUNDS = np.array([10.0, 20.0, 310.0, 220.0])
# Coarse coordinates make labels touch, coincide and hide one another far more often than arbitrary floats.
steps = st.integers(-4, 44).map(lambda k: k * 8.0)
sides = st.integers(1, 9).map(lambda k: k * 8.0)
rectangles = st.tuples(steps, steps, sides, sides).map(lambda r: (r[0], r[1], r[0] + r[2], r[1] + r[3]))
labels = st.tuples(st.tuples(sides, sides), st.lists(st.tuples(steps, steps), min_size=1, max_size=4))


def as_rectangles(corners, sizes):
    return np.concatenate([corners, corners + sizes], axis=1)


@settings(deadline=None, max_examples=60)
@given(st.lists(labels, max_size=12), st.lists(rectangles, max_size=5), st.booleans())
def test_no_label_overlaps_another_or_an_obstacle_or_leaves_the_sheet(labels, obstacles, with_avoid):
    sizes = np.array([size for size, _ in labels]).reshape(-1, 2)
    candidates = [np.array(corners) for _, corners in labels]
    obstacles = np.array(obstacles).reshape(-1, 4)
    avoid = as_rectangles(np.full_like(sizes, 50.0), sizes) if with_avoid else None
    placed = place_labels(sizes, candidates, BOUNDS, obstacles, avoid)
    if placed is None:
        return
    placed = as_rectangles(placed, sizes)
    overlaps = overlap_area(placed, placed)
    assert (overlaps[~np.eye(len(labels), dtype=bool)] == 0).all()
    assert (overlap_area(placed, obstacles) == 0).all()
    assert (placed[:, :2] >= BOUNDS[:2]).all() and (placed[:, 2:] <= BOUNDS[2:]).all()


@settings(deadline=None, max_examples=60)
@given(st.tuples(sides, sides), st.tuples(steps, steps), st.lists(rectangles, min_size=1, max_size=12))
def test_a_place_is_found_exactly_where_there_is_one_and_it_is_the_nearest(size, wanted, obstacles):
    """Obstacles and sizes lie on a grid of 8, so trying every corner of that grid in the sheet is exhaustive."""
    bounds = np.array([0.0, 0.0, 304.0, 200.0])
    size, obstacles = np.array(size), np.array(obstacles)
    grid = np.stack(np.meshgrid(np.arange(0, 305, 8.0), np.arange(0, 201, 8.0)), axis=-1).reshape(-1, 2)
    grid = grid[(grid + size <= bounds[2:]).all(axis=1)]
    free = grid[(overlap_area(np.concatenate([grid, grid + size], axis=1), obstacles) == 0).all(axis=1)]
    placed = place_labels(size[None], [np.array([wanted])], bounds, obstacles)
    assert (placed is None) == (len(free) == 0)
    if placed is not None:
        inside = np.clip(wanted, 0, bounds[2:] - size)
        nearest = np.linalg.norm(free - inside, axis=1).min()
        assert np.linalg.norm(placed[0] - inside) == nearest


def test_the_first_free_candidate_is_taken():
    sizes = np.array([[20.0, 10.0]] * 3)
    both_want = np.array([[100.0, 100.0], [100.0, 130.0]])
    placed = place_labels(sizes, [both_want, both_want, both_want[:1]], BOUNDS)
    # the third label's only candidate is taken: 10 up or 10 down are the nearest free places, and up comes first
    assert placed.tolist() == [[100.0, 100.0], [100.0, 130.0], [100.0, 90.0]]


def test_what_is_to_be_avoided_is_covered_only_by_its_own_label():
    sizes = np.array([[20.0, 10.0]] * 2)
    avoid = np.array([[100.0, 100.0, 120.0, 110.0], [200.0, 100.0, 220.0, 110.0]])
    over_first, elsewhere = [100.0, 100.0], [40.0, 40.0]
    placed = place_labels(sizes, [np.array([over_first]), np.array([over_first, elsewhere])], BOUNDS, avoid=avoid)
    assert placed.tolist() == [over_first, elsewhere]
    placed = place_labels(sizes[:1], [np.array([avoid[1, :2], elsewhere])], BOUNDS, avoid=avoid)
    assert placed.tolist() == [elsewhere]


def test_labels_that_do_not_fit():
    # 300 x 200 holds six labels of 100 x 100, not seven
    sizes = np.full((7, 2), 100.0)
    corner = [np.array([[150.0, 90.0]])] * 7
    left_to_right = [np.array([[10.0 + 100 * (k % 3), 20.0 + 100 * (k // 3)]]) for k in range(6)]
    assert place_labels(sizes[:6], left_to_right, BOUNDS) is not None
    assert place_labels(sizes, [*left_to_right, corner[0]], BOUNDS) is None
    assert place_labels(np.array([[301.0, 10.0]]), corner[:1], BOUNDS) is None
    assert place_labels(np.zeros((0, 2)), [], BOUNDS).shape == (0, 2)
