"""Drawn graphs: nodes apart, edges between the right nodes, labels readable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egtr.visualization.layout import EDGE_GAP, _curves, _relax, layout_graph
from egtr.visualization.placement import overlap_area

AREA = np.array([500.0, 20.0, 940.0, 480.0])


@st.composite
def graphs(draw):
    """Node sizes, edges and label sizes of graphs of up to nine nodes; parallel edges and loops are included."""
    num_nodes = draw(st.integers(0, 9))
    pair = st.tuples(st.integers(0, max(num_nodes - 1, 0)), st.integers(0, max(num_nodes - 1, 0)))
    edges = draw(st.lists(pair, max_size=10)) if num_nodes else []
    node_sizes = [(draw(st.sampled_from([36.0, 60.0, 90.0])), 26.0) for _ in range(num_nodes)]
    label_sizes = [(draw(st.sampled_from([18.0, 40.0, 70.0])), 17.0) for _ in edges]
    shaped = [np.array(v, dtype=float).reshape(-1, 2) for v in (node_sizes, edges, label_sizes)]
    return shaped[0], shaped[1].astype(np.int64), shaped[2]


def rectangles(corners, sizes):
    return np.concatenate([corners, corners + sizes], axis=1)


@settings(deadline=None, max_examples=25)
@given(graphs())
def test_nothing_overlaps_and_edges_lead_from_subject_to_object(graph):
    node_sizes, edges, label_sizes = graph
    layout = layout_graph(node_sizes, edges, label_sizes, AREA)
    nodes = rectangles(layout.centers - node_sizes / 2, node_sizes)
    assert (overlap_area(nodes, nodes)[~np.eye(len(nodes), dtype=bool)] == 0).all()
    assert (nodes[:, :2] >= AREA[:2] - 1e-6).all() and (nodes[:, 2:] <= AREA[2:] + 1e-6).all()

    for (subject, target), curve in zip(edges, layout.curves, strict=True):
        if subject != target:
            toward_object = np.linalg.norm(layout.centers[[subject, target]] - curve[[0, -1]], axis=1)
            away = np.linalg.norm(layout.centers[[target, subject]] - curve[[0, -1]], axis=1)
            assert (toward_object < away).all()

    assert layout.labels is not None
    labels = rectangles(layout.labels, label_sizes)
    assert (overlap_area(labels, labels)[~np.eye(len(labels), dtype=bool)] == 0).all()
    assert (overlap_area(labels, nodes) == 0).all()


def test_edges_start_and_end_at_the_rims():
    sizes = np.array([[60.0, 26.0], [60.0, 26.0]])
    layout = layout_graph(sizes, np.array([[0, 1]]), np.array([[40.0, 17.0]]), AREA)
    for end, center in zip(layout.curves[0][[0, -1]], layout.centers, strict=True):
        beyond = (np.abs(end - center) - sizes[0] / 2).max()
        # outside the node, by the gap and at most one sample of the curve
        assert EDGE_GAP < beyond < EDGE_GAP + 5


def test_parallel_and_reciprocal_edges_bend_apart():
    sizes = np.array([[60.0, 26.0], [60.0, 26.0]])
    edges = np.array([[0, 1], [1, 0], [0, 1]])
    layout = layout_graph(sizes, edges, np.full((3, 2), (50.0, 17.0)), AREA)
    middles = np.array([curve[len(curve) // 2] for curve in layout.curves])
    apart = np.linalg.norm(middles[:, None] - middles[None], axis=2)[~np.eye(3, dtype=bool)]
    # a label is 17 high: edges must be at least that far apart for labels side by side
    assert apart.min() > 17


def test_same_graph_same_drawing():
    sizes, edges = np.full((5, 2), (50.0, 26.0)), np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0], [0, 2]])
    first, second = (layout_graph(sizes, edges, np.full((6, 2), (40.0, 17.0)), AREA) for _ in range(2))
    assert np.array_equal(first.centers, second.centers) and np.array_equal(first.labels, second.labels)


def test_planar_graph_is_drawn_without_crossings():
    # a wheel: a hub and a rim of five, which has a drawing without crossings that everyone would draw
    edges = np.array([[0, k] for k in range(1, 6)] + [[k, k % 5 + 1] for k in range(1, 6)])
    layout = layout_graph(np.full((6, 2), (50.0, 26.0)), edges, np.full((10, 2), (30.0, 17.0)), AREA)
    crossings = 0
    for a in range(len(edges)):
        for b in range(a):
            if len({*edges[a], *edges[b]}) == 4:
                p, q, r, s = (layout.centers[n] for n in (*edges[a], *edges[b]))
                sides = [
                    np.cross([*(v - u), 0], [*(w - u), 0])[2]
                    for u, v, w in ((p, q, r), (p, q, s), (r, s, p), (r, s, q))
                ]
                crossings += sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0
    assert crossings == 0


def test_nodes_without_edges_line_up_below_the_others():
    sizes = np.full((6, 2), (60.0, 26.0))
    layout = layout_graph(sizes, np.array([[1, 4]]), np.array([[40.0, 17.0]]), AREA)
    alone = [0, 2, 3, 5]
    assert len(np.unique(layout.centers[alone, 1])) == 1
    assert layout.centers[alone, 1].min() > layout.centers[[1, 4], 1].max() + 26


@pytest.mark.parametrize("num_nodes", [1, 25, 80])
def test_only_nodes(num_nodes):
    sizes = np.full((num_nodes, 2), (60.0, 26.0))
    layout = layout_graph(sizes, np.zeros((0, 2), int), np.zeros((0, 2)), AREA)
    assert (layout.centers >= AREA[:2]).all() and (layout.centers <= AREA[2:]).all()
    assert len(np.unique(layout.centers, axis=0)) == num_nodes
    assert layout.labels.shape == (0, 2)


@pytest.mark.parametrize("height", [-18.0, 18.0, 0.0])
def test_bent_edges_avoid_the_node_beside_them(height):
    """Without it the edges bend 11 points to both sides of y = 0; a node is 26 high and keeps a space of 3."""
    centers = np.array([[0.0, 0.0], [300.0, 0.0], [150.0, height]])
    sizes = np.full((3, 2), (60.0, 26.0))
    curves = _curves(centers, sizes, np.array([[0, 1], [1, 0]]), np.full((2, 2), (40.0, 16.0)))
    for curve in curves:
        assert (np.abs(curve - centers[2]) >= sizes[2] / 2 + 3.0).any(axis=1).all()
    assert curves[0][0, 0] < curves[0][-1, 0] and curves[1][0, 0] > curves[1][-1, 0]
    # The two stay as far apart as without the node.
    middles = [curve[np.abs(curve[:, 0] - 150.0).argmin(), 1] for curve in curves]
    assert abs(middles[0] - middles[1]) == pytest.approx(22.0, abs=0.5)


@pytest.mark.parametrize(
    "distances",
    [
        [[0, 2], [2, 0]],
        # A path lies straight; a triangle has equal sides.
        [[0, 1, 2], [1, 0, 1], [2, 1, 0]],
        [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
    ],
)
def test_springs_that_can_all_rest_do_rest(distances):
    start = np.random.RandomState(0).normal(size=(len(distances), 2))
    found = _relax(start, np.array(distances, dtype=float))
    lengths = np.linalg.norm(found[:, None] - found, axis=-1)
    np.testing.assert_allclose(lengths, distances, atol=0.02)


def test_springs_in_conflict_share_it():
    """Four nodes that should all be 1 apart become a square of sides a; its diagonals are too long, its sides short.

    The energy 4 (a - 1)^2 + 2 (sqrt(2) a - 1)^2 is least for a = (4 + 2 sqrt(2)) / 8.
    """
    distances = 1 - np.eye(4)
    found = _relax(np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]), distances)
    sides = np.linalg.norm(found - np.roll(found, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, (4 + 2 * np.sqrt(2)) / 8, atol=1e-2)
