"""Moved boxes overlap as they should, and right pairs are counted right."""

import numpy as np
import pytest

from benchmarks.given_boxes import correct, count_right_pairs, count_wrong_predicates, jaccard, move_boxes
from egtr.structures import GroundTruth, Prediction, all_pairs, paired_iou


class Least:
    """A generator whose numbers are the least ones."""

    def uniform(self, low, high):
        return low

    def permutation(self, rows):
        return np.array(rows)


def test_moves_by_hand():
    # Moved by 3/17 of its height, a box shares 14/17 of its area with its place: 14 / (17 + 17 - 14) = 0.7.
    boxes = np.array([[0, 0, 34, 17], [50, 40, 84, 57], [0, 0, 100, 100]], dtype=np.float32)
    moved = move_boxes(boxes, 0.7, (100, 100), Least())
    assert moved[0] == pytest.approx([0, 3, 34, 20])  # up would leave the image
    assert moved[1] == pytest.approx([50, 37, 84, 54])
    # As large as the image: it shrinks to the root of 0.7, 83.67 pixels.
    assert moved[2] == pytest.approx([8.167, 8.167, 91.833, 91.833], abs=1e-3)


def test_every_box_overlaps_its_former_place_by_the_same_share_and_stays_inside():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1, (300, 2, 2))
    boxes = np.concatenate([corners.min(axis=1) * (200, 80), corners.max(axis=1) * (200, 80)], axis=1)
    for iou in (0.5, 0.7, 1.0):
        moved = move_boxes(boxes, iou, (80, 200), np.random.default_rng(3))
        assert paired_iou(boxes, moved) == pytest.approx(iou, abs=1e-9)
        assert (moved[:, :2] >= -1e-9).all() and (moved[:, 2:] <= np.array([200, 80]) + 1e-9).all()
        assert (moved == move_boxes(boxes, iou, (80, 200), np.random.default_rng(3))).all()
    # Not all in one direction.
    shifts = np.sign(moved - boxes)
    moved = move_boxes(boxes, 0.7, (80, 200), np.random.default_rng(3))
    shifts = np.sign((moved - boxes)[:, :2])
    assert len(np.unique(shifts, axis=0)) == 4


def test_right_pairs_by_hand():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], dtype=float)
    # Query 3 repeats object 0 with a better score; object 2 gets the wrong class.
    queries, classes = boxes[[0, 1, 2, 0]], [0, 1, 1, 0]
    logits = np.full((4, 3), -9.0)
    logits[np.arange(4), classes] = [1, 9, 9, 9]
    relation = np.full((16, 2), 0.1)
    relation[0 * 4 + 1] = (0.9, 0.2)
    relation[3 * 4 + 1] = (0.2, 0.9)
    relation[1 * 4 + 3] = (0.9, 0.2)
    prediction = Prediction(logits, queries, all_pairs(4), np.ones(16), relation, (50, 50))
    # (0, 1): query 3 counts, which says 1, one of two annotated. (1, 0): query 3 says 0, not 1. Object 2 is not
    # found.
    truth = GroundTruth(boxes, [0, 1, 2], [[0, 1, 1], [0, 1, 0], [1, 0, 1], [0, 2, 0]])
    assert count_right_pairs(prediction, truth) == (2, 1)
    assert count_right_pairs(prediction, GroundTruth(boxes, [0, 1, 2], [])) == (0, 0)
    nothing = Prediction(np.zeros((0, 3)), np.zeros((0, 4)), np.zeros((0, 2)), [], np.zeros((0, 2)), (50, 50))
    assert count_right_pairs(nothing, truth) == (0, 0)


def test_right_predicates_by_hand():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], dtype=float)
    relation = np.full((9, 3), 0.1)
    relation[0 * 3 + 1] = (0.2, 0.9, 0.3)  # 0 and 2 are annotated
    relation[1 * 3 + 2] = (0.4, 0.5, 0.6)  # 2 is annotated
    relation[2 * 3 + 0] = (0.8, 0.7, 0.1)  # nothing is
    connectivity = np.full(9, 0.25)
    prediction = Prediction(np.eye(3), boxes, all_pairs(3), connectivity, relation, (50, 50))
    truth = GroundTruth(boxes, [0, 1, 2], [[0, 1, 2], [0, 1, 0], [1, 2, 2], [1, 2, 2]])
    assert count_wrong_predicates(prediction, truth) == {(0, 1): 1, (2, 1): 1}
    corrected = correct(prediction, truth)
    assert corrected.relation[1].tolist() == pytest.approx([0.9, 0.2, 0.3])
    others = np.arange(9) != 1
    np.testing.assert_array_equal(corrected.relation[others], prediction.relation[others])
    np.testing.assert_array_equal(corrected.connectivity, prediction.connectivity)
    first = correct(prediction, truth, annotated_first=True)
    np.testing.assert_array_equal(first.relation, corrected.relation)
    assert np.flatnonzero(first.connectivity == 1).tolist() == [1, 5] and first.connectivity.sum() == 2
    assert (
        prediction.relation[1].tolist() == pytest.approx([0.2, 0.9, 0.3]) and (prediction.connectivity == 0.25).all()
    )
    # Two objects of one query have no relation: their pair is not there.
    some = Prediction(np.eye(3), boxes, all_pairs(3)[2:], connectivity[2:], relation[2:], (50, 50))
    assert count_wrong_predicates(some, truth) == {}
    np.testing.assert_array_equal(correct(some, truth).relation, some.relation)


def test_jaccard_by_hand():
    assert jaccard({1, 2, 3}, {2, 3, 4}) == 0.5
    assert jaccard(set(), set()) == 1 and jaccard({1}, set()) == 0
