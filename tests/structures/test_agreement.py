"""The share of triplets that two graphs have in common, by hand."""

import numpy as np

from egtr.structures import SceneGraph
from egtr.structures.agreement import share_of_triplets

BOXES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]], dtype=float)


def graph(boxes, classes, triplets):
    count = len(triplets)
    return SceneGraph(
        boxes=boxes,
        classes=classes,
        scores=np.ones(len(boxes)),
        triplets=np.array(triplets).reshape(-1, 3),
        triplet_scores=np.linspace(1, 0.5, count),
        image_size=(40, 40),
    )


def test_objects_in_another_order_and_moved_a_little():
    ours = graph(BOXES, [0, 1, 2], [(0, 1, 3), (1, 2, 0), (2, 0, 1)])
    # Two pixels of ten to the side: IoU 80 / 120.
    theirs = graph(BOXES[::-1] + [2, 0, 2, 0], [2, 1, 0], [(0, 2, 1), (2, 1, 3), (1, 0, 4)])
    assert share_of_triplets(ours, theirs) == 2 / 3
    # Of one triplet each, (0, 1, 3) and (2, 0, 1), none agrees.
    assert share_of_triplets(ours, theirs, top_k=1) == 0
    # Four pixels to the side: IoU 60 / 140.
    assert share_of_triplets(ours, graph(BOXES + [4, 0, 4, 0], [0, 1, 2], [(0, 1, 3)])) == 0
    assert share_of_triplets(ours, graph(BOXES, [0, 2, 2], [(0, 1, 3)])) == 0


def test_a_triplet_counts_once():
    ours = graph(BOXES[[0, 0, 1]], [0, 0, 1], [(0, 2, 0), (1, 2, 0)])
    assert share_of_triplets(ours, graph(BOXES[:2], [0, 1], [(0, 1, 0)])) == 0.5


def test_without_triplets():
    empty = graph(BOXES, [0, 1, 2], [])
    assert share_of_triplets(empty, empty) == 1
    assert share_of_triplets(graph(BOXES, [0, 1, 2], [(0, 1, 0)]), empty) == 0
