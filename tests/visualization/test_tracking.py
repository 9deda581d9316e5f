"""Objects keep their number from frame to frame: sequences of boxes with numbers by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.structures import SceneGraph
from egtr.visualization.tracking import ObjectTracker

CLASSES = ("dog", "tree")


def frame(*objects):
    """A graph without relations of (class, x, y) squares with sides of 10."""
    boxes = np.array([[x, y, x + 10, y + 10] for _, x, y in objects], dtype=np.float32).reshape(-1, 4)
    classes = np.array([CLASSES.index(name) for name, _, _ in objects], dtype=np.int64)
    scores = np.full(len(objects), 0.9, dtype=np.float32)
    return SceneGraph(boxes, classes, scores, [], np.zeros(0), (100, 100), class_names=CLASSES)


def follow(tracker, *objects):
    tracked = tracker.update(frame(*objects))
    return tracked.numbers.tolist(), tracked.ranks.tolist(), tracked.is_new.tolist()


def test_numbers_follow_the_objects():
    tracker = ObjectTracker()
    assert follow(tracker, ("dog", 0, 0), ("tree", 50, 0), ("dog", 30, 0)) == ([0, 1, 2], [1, 1, 2], [True] * 3)
    # Other order, moved by 2: IoU 8 / 12. The dog at 48, 0 lies on the tree, but is a dog, and new.
    assert follow(tracker, ("dog", 32, 0), ("dog", 48, 0), ("tree", 50, 2), ("dog", 2, 0)) == (
        [2, 3, 1, 0],
        [2, 3, 1, 1],
        [False, True, False, False],
    )


def test_threshold():
    # Moved by 5 of 10: IoU 5 / 15. Compared with >, so a threshold of just that is not reached.
    for iou, number in ((0.33, 0), (1 / 3, 1)):
        tracker = ObjectTracker(iou)
        follow(tracker, ("dog", 0, 0))
        assert follow(tracker, ("dog", 5, 0))[0] == [number]


def test_the_best_pair_is_settled_first():
    tracker = ObjectTracker()
    follow(tracker, ("dog", 0, 0), ("dog", 4, 0))
    # The first one, at 2, overlaps both earlier ones by 8 / 12; but the second has not moved at all.
    assert follow(tracker, ("dog", 2, 0), ("dog", 4, 0))[0] == [0, 1]


def test_forgotten_after_some_frames():
    tracker = ObjectTracker(memory=2)
    follow(tracker, ("tree", 0, 0), ("dog", 50, 0))
    for _ in range(2):
        assert follow(tracker, ("dog", 50, 0))[0] == [1]
    assert follow(tracker, ("dog", 50, 0), ("tree", 0, 0)) == ([1, 0], [1, 1], [False, False])
    for _ in range(3):
        follow(tracker, ("dog", 50, 0))
    # Its number is free now, and goes to the next one that is new.
    assert follow(tracker, ("dog", 50, 0), ("dog", 0, 0)) == ([1, 0], [1, 2], [False, True])


def test_no_objects():
    tracker = ObjectTracker()
    assert follow(tracker) == ([], [], [])
    follow(tracker, ("dog", 0, 0))
    assert follow(tracker) == ([], [], [])
    assert follow(tracker, ("dog", 0, 0)) == ([0], [1], [False])


squares = st.tuples(st.sampled_from(CLASSES), st.integers(0, 30), st.integers(0, 30))


@settings(max_examples=30)
@given(st.lists(st.lists(squares, max_size=5), min_size=1, max_size=6))
def test_nobody_shares_a_number(frames):
    tracker, class_of = ObjectTracker(memory=100), {}
    for objects in frames:
        tracked = tracker.update(frame(*objects))
        assert len(set(tracked.numbers)) == len(objects)
        assert len({(name, rank) for (name, _, _), rank in zip(objects, tracked.ranks, strict=True)}) == len(objects)
        for (name, _, _), number in zip(objects, tracked.numbers, strict=True):
            # Nothing is forgotten here, so a number means one class for good.
            assert class_of.setdefault(int(number), name) == name


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_an_object_that_moves_on_keeps_its_number(shift):
    tracker = ObjectTracker()
    assert {follow(tracker, ("dog", shift * step, 0))[0][0] for step in range(20)} == {0}
