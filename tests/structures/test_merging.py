"""One node per object: the rule of SceneGraph.merge_duplicates, by hand and as properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egtr.structures import ConfigurationError, SceneGraph


def make_graph(boxes, classes, scores, triplets, triplet_scores):
    return SceneGraph(
        boxes=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        classes=np.array(classes, dtype=np.int64),
        scores=np.array(scores, dtype=np.float32),
        triplets=np.array(triplets, dtype=np.int64).reshape(-1, 3),
        triplet_scores=np.array(triplet_scores, dtype=np.float32),
        image_size=(100, 100),
    )


# 0 and 1 are one dog (IoU 90 / 110 = 0.818), 2 is a cat in the dog's box, 3 a dog elsewhere.
BOXES = [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
CLASSES = [0, 0, 1, 0]
SCORES = [0.6, 0.9, 0.5, 0.4]


def test_given_objects_are_never_merged():
    """Two given dogs at one place stay two; the dog that the model found there joins the first of equal ones."""
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]
    graph = make_graph(boxes, [0, 0, 0, 0], [0.3, 0.3, 0.9, 0.4], [[2, 3, 1], [1, 3, 2]], [0.8, 0.7])
    assert len(graph.merge_duplicates().boxes) == 2
    graph.given = np.array([True, True, False, False])
    merged = graph.merge_duplicates()
    assert merged.given.tolist() == [True, True, False]
    assert merged.scores.tolist() == pytest.approx([0.3, 0.3, 0.4])
    # the found dog's relation moves to the first given one
    assert merged.triplets.tolist() == [[0, 2, 1], [1, 2, 2]]


def test_by_hand():
    graph = make_graph(
        BOXES, CLASSES, SCORES,
        [[0, 2, 5], [1, 2, 5], [0, 1, 3], [3, 0, 2], [1, 2, 4], [2, 0, 5]],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    )  # fmt: skip
    merged = graph.merge_duplicates(iou=0.7)
    # 1 has the higher score and stands for both; 1, 2, 3 become 0, 1, 2
    assert merged.boxes.tolist() == [BOXES[1], BOXES[2], BOXES[3]]
    assert merged.classes.tolist() == [0, 1, 0]
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5, 0.4])
    # (0, 2, 5) and (1, 2, 5) become one with the better score; (0, 1, 3) joined the dog with itself; another
    # predicate (4) and the other direction (2, 0) stay
    assert merged.triplets.tolist() == [[0, 1, 5], [2, 0, 2], [0, 1, 4], [1, 0, 5]]
    assert merged.triplet_scores.tolist() == pytest.approx([0.9, 0.6, 0.5, 0.4])
    # whose box and score a node has, and whose score an edge has: the best (dog, cat) was the other dog's
    assert merged.query_index.tolist() == [1, 2, 3]
    assert merged.triplet_queries.tolist() == [[0, 2], [3, 0], [1, 2], [2, 0]]
    assert merged.prediction is None
    # the argument is untouched
    assert graph.triplets[0].tolist() == [0, 2, 5] and len(graph.boxes) == 4


def test_single_objects_are_those_that_are_present():
    """Dogs 0 and 1 are one; softmax likes cat 2 least, and dog 3, which is hardly there, most."""
    graph = make_graph(BOXES, CLASSES, [0.6, 0.7, 0.5, 0.9], [[0, 3, 5]], [0.9])
    graph.presence = np.array([0.8, 0.2, 0.5, 0.1], dtype=np.float32)
    graph.object_threshold = 0.5
    shown = graph.for_display()
    # Dog 1 stands for both, and is as present as dog 0; dog 3 is there because of the relation.
    assert shown.boxes.tolist() == [BOXES[1], BOXES[2], BOXES[3]]
    assert shown.presence.tolist() == pytest.approx([0.8, 0.5, 0.1])
    assert shown.triplets.tolist() == [[0, 2, 5]]
    assert graph.for_display(single_objects=False).boxes.tolist() == [BOXES[1], BOXES[3]]
    assert graph.for_display(top_k=0).boxes.tolist() == [BOXES[1], BOXES[2]]
    graph.object_threshold = 0.51
    assert graph.for_display(top_k=0).boxes.tolist() == [BOXES[1]]
    # The argument is untouched.
    assert graph.presence.tolist() == pytest.approx([0.8, 0.2, 0.5, 0.1])


def test_single_objects_need_a_known_presence():
    graph = make_graph(BOXES, CLASSES, [0.99] * 4, [[0, 2, 5]], [0.9])
    assert len(graph.for_display().boxes) == 2 and graph.for_display().presence is None


def test_iou_equal_to_the_threshold_does_not_merge():
    # intersection 50, union 100: IoU 1/2 exactly
    boxes = [[0, 0, 10, 10], [0, 0, 10, 5]]
    graph = make_graph(boxes, [0, 0], [0.9, 0.8], [], [])
    assert len(graph.merge_duplicates(iou=0.5).boxes) == 2
    assert len(graph.merge_duplicates(iou=0.49).boxes) == 1


def test_not_transitive():
    """A chain of boxes, neighbours alike and ends not: the best one takes its neighbour, the far end stays."""
    boxes = [[0, 0, 10, 10], [1.5, 0, 11.5, 10], [3, 0, 13, 10]]  # IoU 0.74 of neighbours, 0.54 of the ends
    merged = make_graph(boxes, [0] * 3, [0.9, 0.8, 0.7], [], []).merge_duplicates(0.7)
    assert merged.boxes[:, 0].tolist() == [0, 3]
    # with the middle one best, all three are one
    merged = make_graph(boxes, [0] * 3, [0.8, 0.9, 0.7], [], []).merge_duplicates(0.7)
    assert merged.boxes[:, 0].tolist() == [1.5]


@pytest.mark.parametrize("iou", [-0.1, 1.1, float("nan")])
def test_threshold_out_of_range(iou):
    with pytest.raises(ConfigurationError, match="iou"):
        make_graph([], [], [], [], []).merge_duplicates(iou)


def test_display_selection():
    graph = make_graph(BOXES, CLASSES, SCORES, [[0, 2, 5], [1, 2, 5], [3, 0, 2], [3, 2, 1]], [0.9, 0.8, 0.6, 0.05])
    shown = graph.for_display(min_score=0.1, top_k=2)
    # top_k counts after merging, so the duplicate does not push the third triplet out
    assert shown.triplets.tolist() == [[0, 1, 5], [2, 0, 2]]
    unmerged = graph.for_display(min_score=0.1, top_k=2, merge_iou=None)
    assert unmerged.triplets.tolist() == [[0, 2, 5], [1, 2, 5]]
    assert len(graph.for_display(min_score=0.95).boxes) == 0
    # of the three objects of at least 0.45 two are one dog
    assert len(graph.for_display(min_score=0.95, min_object_score=0.45).boxes) == 2


@pytest.mark.parametrize(
    ("triplet_scores", "shown"),
    [
        # a twentieth of 0.5 is 0.025
        ([0.5, 0.1, 0.026, 0.024], 3),
        # what is weak everywhere is shown all the same
        ([0.01, 0.009, 0.0011, 0.0009], 3),
        ([0.0009, 0.0008, 0.0007, 0.0006], 0),
    ],
)
def test_least_score_follows_the_best_one(triplet_scores, shown):
    graph = make_graph(BOXES, CLASSES, SCORES, [[1, 2, p] for p in range(4)], triplet_scores)
    assert len(graph.for_display()) == shown
    assert len(graph.for_display(min_score=0)) == 4


def test_the_node_does_not_depend_on_what_is_filtered():
    """Only the weaker dog has an edge that passes, but the node is still the better dog."""
    graph = make_graph(BOXES, CLASSES, SCORES, [[0, 2, 5], [1, 2, 4]], [0.9, 0.1])
    small = graph.filter(min_score=0.5, merge_iou=0.7)
    assert small.query_index.tolist() == [1, 2] and small.triplet_queries.tolist() == [[0, 2]]
    assert small.boxes[0].tolist() == BOXES[1]


@st.composite
def scene_graphs(draw):
    """Up to 8 boxes on a small grid, so that many coincide; seeded, since drawing number by number takes long."""
    count, rng = draw(st.integers(0, 8)), np.random.default_rng(draw(st.integers(0, 10**6)))
    corner, side = rng.integers(0, 7, (2, count, 2))
    num_triplets = draw(st.integers(0, 12)) if count else 0
    ends, predicates = rng.integers(0, max(count, 1), (num_triplets, 2)), rng.integers(0, 3, num_triplets)
    return make_graph(
        np.hstack([corner, corner + side]),
        rng.integers(0, 2, count),
        rng.integers(0, 5, count) / 4,
        np.column_stack([ends, predicates]),
        -np.sort(-rng.integers(0, 9, num_triplets) / 8),
    )


@given(scene_graphs(), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_surviving_edges_join_merged_representatives(graph, iou):
    merged = graph.merge_duplicates(iou)
    original = {
        (tuple(box), label, score)
        for box, label, score in zip(graph.boxes.tolist(), graph.classes.tolist(), graph.scores.tolist(), strict=True)
    }
    for box, label, score in zip(merged.boxes.tolist(), merged.classes, merged.scores, strict=True):
        assert (tuple(box), label, score) in original
    # no two representatives are duplicates of each other: merging again changes nothing
    again = merged.merge_duplicates(iou)
    assert np.array_equal(again.boxes, merged.boxes) and np.array_equal(again.triplets, merged.triplets)
    # edges index what is there, join two objects, come once and in order
    rows = [tuple(row) for row in merged.triplets.tolist()]
    assert all(0 <= s < len(merged.boxes) and 0 <= o < len(merged.boxes) and s != o for s, o, _ in rows)
    assert len(set(rows)) == len(rows)
    assert (np.diff(merged.triplet_scores) <= 0).all()
    # query_index and triplet_queries (queries are 0..N-1 here) lead back to the original objects and edges
    for box, query in zip(merged.boxes, merged.query_index, strict=True):
        assert np.array_equal(box, graph.boxes[query])
    original_edges = list(zip(map(tuple, graph.triplets.tolist()), graph.triplet_scores, strict=True))
    for (s, o, p), (a, b), score in zip(rows, merged.triplet_queries.tolist(), merged.triplet_scores, strict=True):
        assert ((a, b, p), score) in original_edges
        assert is_duplicate(graph, a, merged, s, iou) and is_duplicate(graph, b, merged, o, iou)


def is_duplicate(graph, i, merged, r, iou):
    (x1, y1, x2, y2), (u1, v1, u2, v2) = box, other = graph.boxes[i].tolist(), merged.boxes[r].tolist()
    shared = max(min(x2, u2) - max(x1, u1), 0) * max(min(y2, v2) - max(y1, v1), 0)
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    same_class = graph.classes[i] == merged.classes[r]
    return same_class and (box == other or (union > 0 and shared / union > iou))


@given(scene_graphs())
def test_nothing_exceeds_an_iou_of_one(graph):
    merged = graph.merge_duplicates(1.0)
    assert np.array_equal(merged.boxes, graph.boxes)
    kept = {tuple(row) for row in graph.triplets.tolist() if row[0] != row[1]}
    assert {tuple(row) for row in merged.triplets.tolist()} == kept
