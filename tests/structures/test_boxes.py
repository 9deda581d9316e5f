"""Special overlaps: boxes without area, boxes that do not overlap."""

import numpy as np

from egtr.structures import pairwise_iou


def test_iou_of_boxes_without_area_or_overlap():
    point, other = np.array([[5, 5, 5, 5]]), np.array([[7, 5, 9, 9]])
    # A point has no area; with +1 it is one pixel.
    assert pairwise_iou(point, point).tolist() == [[0.0]]
    assert pairwise_iou(point, point, plus_one=True).tolist() == [[1.0]]
    # Pixel 5 and pixels 7..9 do not touch; pixel 5 and pixels 6..9 do not share one either.
    assert pairwise_iou(point, other, plus_one=True).tolist() == [[0.0]]
    assert pairwise_iou(point, other - [1, 0, 0, 0], plus_one=True).tolist() == [[0.0]]


def test_areas_without_the_pixel():
    # 10 columns of pixels against 5 of them: the intersection is 5 x 10 pixels, the areas 9 x 9 and 4 x 9.
    boxes, half = np.array([[0, 0, 9, 9]]), np.array([[0, 0, 4, 9]])
    assert pairwise_iou(boxes, half, plus_one=True, area_plus_one=False).tolist() == [[50 / (81 + 36 - 50)]]


def test_a_box_inside_out_overlaps_with_nothing():
    # Both sides are negative, so that their product would be a positive area.
    inside_out, box = np.array([[9, 9, 0, 0]]), np.array([[0, 0, 9, 9]])
    assert pairwise_iou(inside_out, box).tolist() == [[0.0]]
    assert pairwise_iou(inside_out, inside_out).tolist() == [[0.0]]
