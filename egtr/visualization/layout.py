"""The places of nodes, edges and edge labels of a drawn graph. Units are points, y downwards."""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from .layout_cost import HEAD, MAX_EDGE, NODE_GAP, Cost
from .placement import overlap_area, place_labels

# Space between an edge and the nodes at its ends, points.
EDGE_GAP = 3.0

_NUM_STARTS = 4
_NUM_ROTATIONS = 12
# Steps of the springs; they rest when no node moves by more than this part of an edge.
_SPRING_STEPS, _AT_REST = 300, 1e-4
# Moves that improve a layout: of each node, and at most.
_MOVES_PER_NODE, _MOST_MOVES = 60, 1200
_SAMPLES = 80
# Places of the edges between two nodes, across the straight line and as multiples of their distance, best first.
_SHIFTS = (0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5)


@dataclass
class GraphLayout:
    """N nodes and E edges on a sheet.

    Attributes:
        centers: (N, 2) centres of the nodes.
        curves: E arrays of shape (S, 2), from the rim of the subject to the rim of the object.
        labels: (E, 2) top left corners of the edge labels, or None if there is no room for all of them.
    """

    centers: np.ndarray
    curves: list[np.ndarray]
    labels: np.ndarray | None


def layout_graph(
    node_sizes: np.ndarray,
    edges: np.ndarray,
    label_sizes: np.ndarray,
    area: Sequence[float],
    seed: int = 0,
    start: np.ndarray | None = None,
) -> GraphLayout:
    """Lay out a directed graph.

    Layouts by the springs of Kamada and Kawai, from several starts and in several rotations, are rated by what spoils
    a drawing: crossings, edges that run under nodes, edges too short for their labels, nodes too close together.
    Small random moves then improve the best one. The same input always gives the same drawing. Nodes without edges
    are placed in rows below the others.

    Args:
        node_sizes: (N, 2) widths and heights.
        edges: (E, 2) int, from and to; parallel, reciprocal and looping edges are allowed.
        label_sizes: (E, 2) widths and heights.
        area: x1 y1 x2 y2 of the sheet.
        seed: seed of the random starts and moves.
        start: (N, 2) centres to begin with in place of the layouts by Kamada and Kawai, NaN for new nodes. The other
            nodes then stay where they are, unless a move improves the drawing by at least one crossing.
    """
    node_sizes = np.asarray(node_sizes, dtype=np.float64).reshape(-1, 2)
    edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    label_sizes = np.asarray(label_sizes, dtype=np.float64).reshape(-1, 2)
    area = np.asarray(area, dtype=np.float64)
    linked = np.isin(np.arange(len(node_sizes)), edges)

    centers = np.zeros((len(node_sizes), 2))
    rows = _row_centers(node_sizes[~linked], area, fill=not linked.any())
    centers[~linked] = rows
    if linked.any():
        upper = area.copy()
        if len(rows):
            top_of_rows = rows[:, 1].min() - node_sizes[~linked, 1].max() - NODE_GAP
            upper[3] = max(top_of_rows, (area[1] + area[3]) / 2)
        new_index = np.cumsum(linked) - 1
        known = None if start is None else np.asarray(start, dtype=np.float64)[linked]
        centers[linked] = _linked_centers(node_sizes[linked], new_index[edges], label_sizes, upper, seed, known)

    curves = _curves(centers, node_sizes, edges, label_sizes)
    nodes = np.concatenate([centers - node_sizes / 2, centers + node_sizes / 2], axis=1)
    return GraphLayout(centers, curves, _place_edge_labels(curves, label_sizes, nodes, area))


def _row_centers(sizes: np.ndarray, area: np.ndarray, fill: bool) -> np.ndarray:
    """Place nodes like words in centred lines, in the middle of the area (``fill``) or at its bottom."""
    lines: list[list[int]] = [[]]
    width = 0.0
    for i, (w, _) in enumerate(sizes):
        if lines[-1] and width + w > area[2] - area[0]:
            lines.append([])
            width = 0.0
        lines[-1].append(i)
        width += w + NODE_GAP
    if not lines[0]:
        return np.zeros((0, 2))
    pitch = sizes[:, 1].max() + NODE_GAP
    # More lines than fit move closer together.
    pitch = min(pitch, (area[3] - area[1]) / len(lines))
    height = pitch * len(lines)
    top = (area[1] + area[3] - height) / 2 if fill else area[3] - height
    centers = np.zeros((len(sizes), 2))
    for row, line in enumerate(lines):
        x = (area[0] + area[2] - sizes[line, 0].sum() - NODE_GAP * (len(line) - 1)) / 2
        for i in line:
            centers[i] = x + sizes[i, 0] / 2, top + pitch * (row + 0.5)
            x += sizes[i, 0] + NODE_GAP
    return centers


def _linked_centers(
    sizes: np.ndarray,
    edges: np.ndarray,
    label_sizes: np.ndarray,
    area: np.ndarray,
    seed: int,
    known: np.ndarray | None,
) -> np.ndarray:
    random = np.random.RandomState(seed)
    cost = Cost(sizes, edges, label_sizes, area)
    half = sizes / 2
    # The least improvement that justifies a move of each node.
    reluctance = np.zeros(len(sizes))
    if known is None or np.isnan(known).all():
        centers = min(_starts(sizes, edges, area, random), key=cost)
    else:
        is_known = ~np.isnan(known).any(axis=1)
        reluctance[is_known] = 1.0
        centers = _add_to(known, is_known, edges, random)
        centers = np.clip(centers, area[:2] + half, area[2:] - half)
    best = cost(centers)

    num_moves = min(_MOVES_PER_NODE * len(sizes), _MOST_MOVES)
    for step in range(num_moves):
        if best == 0:
            break
        i = step % len(sizes)
        # Long moves first, fine ones last.
        reach = 120.0 * (1 - step / num_moves) + 6.0
        moved = centers.copy()
        moved[i] = np.clip(moved[i] + random.normal(0, reach, 2), area[:2] + half[i], area[2:] - half[i])
        value = cost(moved)
        if value < best - reluctance[i]:
            centers, best = moved, value
    return centers if reluctance.any() else _centered(centers, half, area)


def _centered(centers: np.ndarray, half: np.ndarray, area: np.ndarray) -> np.ndarray:
    middle = ((centers - half).min(axis=0) + (centers + half).max(axis=0)) / 2
    return centers + (area[:2] + area[2:]) / 2 - middle


def _starts(
    sizes: np.ndarray, edges: np.ndarray, area: np.ndarray, random: np.random.RandomState
) -> list[np.ndarray]:
    starts = []
    for shape in _kamada_kawai(len(sizes), edges, random):
        for angle in np.linspace(0, np.pi, _NUM_ROTATIONS, endpoint=False):
            rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            starts.append(_fit(shape @ rotation, sizes, edges, area))
    return starts


def _add_to(known: np.ndarray, is_known: np.ndarray, edges: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Place new nodes beside the nodes that they are linked with."""
    centers = known.copy()
    for i in np.flatnonzero(~is_known):
        linked = np.unique(edges[(edges == i).any(axis=1)])
        linked = linked[is_known[linked]]
        beside = known[linked] if len(linked) else known[is_known]
        centers[i] = beside.mean(axis=0) + random.normal(0, 60.0, 2)
    return centers


def _kamada_kawai(num_nodes: int, edges: np.ndarray, random: np.random.RandomState) -> list[np.ndarray]:
    """Compute layouts (N, 2), in arbitrary units, from circles in different orders."""
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from((int(s), int(o)) for s, o in edges if s != o)
    lengths = {i: dict(found) for i, found in nx.all_pairs_shortest_path_length(graph)}
    # The springs need a distance between any two nodes, even if no path joins them.
    apart = max(max(found.values()) for found in lengths.values()) / 2 + 1.5
    distances = np.array(
        [[lengths[i].get(j, apart) for j in range(num_nodes)] for i in range(num_nodes)], dtype=float
    )
    angles = 2 * np.pi * np.arange(num_nodes) / num_nodes
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [_relax(circle[random.permutation(num_nodes)], distances) for _ in range(_NUM_STARTS)]


def _relax(positions: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Move nodes until springs of the given lengths between all of them rest.

    The energy is that of Kamada and Kawai (1989), the sum of (length / distance - 1)^2. Each step minimizes an upper
    bound of it (stress majorization; Gansner, Koren and North, 2004), which needs no optimizer of another library.

    Args:
        positions: (N, 2) where the nodes begin.
        distances: (N, N) symmetric, positive off the diagonal.
    """
    others = ~np.eye(len(distances), dtype=bool)
    stiffness = np.divide(1, distances**2, out=np.zeros_like(distances), where=others)
    solve = np.linalg.pinv(np.diag(stiffness.sum(axis=1)) - stiffness)
    for _ in range(_SPRING_STEPS):
        apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
        pull = np.divide(stiffness * distances, apart, out=np.zeros_like(apart), where=others & (apart > 1e-9))
        moved = solve @ ((pull.sum(axis=1)[:, None] * positions) - pull @ positions)
        change = np.abs(moved - positions).max()
        positions = moved
        if change < _AT_REST:
            break
    return positions


def _fit(shape: np.ndarray, sizes: np.ndarray, edges: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Stretch a layout over the area, at most until its edges have their longest useful length."""
    low, high = shape.min(axis=0), shape.max(axis=0)
    room = np.maximum(area[2:] - area[:2] - sizes.max(axis=0), 1.0)
    lengths = np.linalg.norm(shape[edges[:, 0]] - shape[edges[:, 1]], axis=1)
    longest = MAX_EDGE / max(lengths.mean(), 1e-9)
    # The upper bound for a side without extent does not matter.
    scale = np.minimum(room / np.maximum(high - low, 1e-9), longest)
    return (shape - (low + high) / 2) * scale + (area[:2] + area[2:]) / 2


def _curves(centers: np.ndarray, sizes: np.ndarray, edges: np.ndarray, label_sizes: np.ndarray) -> list[np.ndarray]:
    """Draw edges as polylines; edges between the same two nodes bend apart, far enough for their labels."""
    groups: dict[tuple[int, int], list[int]] = {}
    for e, (s, o) in enumerate(edges):
        groups.setdefault((min(s, o), max(s, o)), []).append(e)
    curves: list[np.ndarray] = [np.zeros((0, 2))] * len(edges)
    t = np.linspace(0, 1, _SAMPLES)[:, None]
    for (low, high), members in groups.items():
        if low == high:
            for rank, e in enumerate(members):
                curves[e] = _loop(centers[low], sizes[low], rank)
            continue
        a, b = centers[low], centers[high]
        length = max(float(np.linalg.norm(b - a)), 1e-9)
        across = np.array([a[1] - b[1], b[0] - a[0]]) / length
        gap = min(np.abs(across) @ label_sizes[members].mean(axis=0) + 6.0, 0.45 * length)
        others = np.setdiff1d(np.arange(len(centers)), (low, high))
        fewest = None
        # The bends lie on both sides of the straight line, unless another node is in the way there.
        for shift in _SHIFTS:
            bent = []
            for rank in range(len(members)):
                # A quadratic curve reaches half as far as its control point.
                control = (a + b) / 2 + across * 2 * gap * (rank - (len(members) - 1) / 2 + shift)
                curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b
                bent.append(_clip(curve, (low, high), centers, sizes))
            under = np.abs(np.concatenate(bent)[:, None] - centers[others]) < sizes[others] / 2 + EDGE_GAP
            hidden = int(under.all(axis=2).sum())
            if fewest is None or hidden < fewest:
                fewest = hidden
                for e, curve in zip(members, bent, strict=True):
                    curves[e] = curve if edges[e, 0] == low else curve[::-1]
            if not hidden:
                break
    return curves


def _loop(center: np.ndarray, size: np.ndarray, rank: int) -> np.ndarray:
    """Draw a loop above a node; further loops are wider."""
    radius = 13.0 + 9.0 * rank
    # From the right of the upper rim of the node, over the top, back to its left.
    angles = np.linspace(0.15 * np.pi, 0.85 * np.pi, _SAMPLES)
    angles = np.pi / 2 + (angles - np.pi / 2) * 2.2
    circle = np.stack([np.cos(angles), -np.sin(angles)], axis=1) * radius
    top = np.array([center[0], center[1] - size[1] / 2])
    curve = circle - circle[0] * (0, 1) + top
    return curve - (0, EDGE_GAP)


def _clip(curve: np.ndarray, edge: Sequence[int], centers: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Cut a curve to the part between the rims of its nodes."""
    outside = np.ones(len(curve), dtype=bool)
    for node in edge:
        outside &= (np.abs(curve - centers[node]) > sizes[node] / 2 + EDGE_GAP).any(axis=1)
    visible = np.flatnonzero(outside)
    # Where nodes touch, a stub between them still shows the direction.
    if len(visible) < 2:
        visible = np.array([len(curve) // 2 - 1, len(curve) // 2])
    return curve[visible[0] : visible[-1] + 1]


def _place_edge_labels(
    curves: list[np.ndarray], label_sizes: np.ndarray, nodes: np.ndarray, area: np.ndarray
) -> np.ndarray | None:
    """Place labels on their edges, off nodes and arrow heads; if possible off other edges and in the middle."""
    lengths = [float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum()) for curve in curves]
    # Edges with the least choice first.
    order = sorted(range(len(curves)), key=lambda e: lengths[e])
    shares = np.linspace(0.12, 0.88, 33)
    shares = shares[np.argsort(np.abs(shares - 0.47), kind="stable")]
    heads = np.array([_head(curve) for curve in curves]).reshape(-1, 4)
    obstacles = np.concatenate([nodes, heads])
    candidates = []
    for e in order:
        corners = curves[e][np.round(shares * (len(curves[e]) - 1)).astype(int)] - label_sizes[e] / 2
        others = np.concatenate([curve for o, curve in enumerate(curves) if o != e] or [np.zeros((0, 2))])
        inside = (others >= corners[:, None]) & (others <= corners[:, None] + label_sizes[e])
        covered = inside.all(axis=2).sum(axis=1)
        rectangles = np.concatenate([corners, corners + label_sizes[e]], axis=1)
        hides = overlap_area(rectangles, obstacles).sum(axis=1) > 0
        # Among places that cover no line the middle one is best: covering a line is worse than lying off centre.
        candidates.append(corners[np.lexsort((np.arange(len(shares)), covered > 0, hides))])
    placed = place_labels(label_sizes[order], candidates, area, obstacles)
    if placed is None:
        return None
    labels = np.zeros((len(curves), 2))
    labels[order] = placed
    return labels


def _head(curve: np.ndarray) -> np.ndarray:
    """Find the square, (4,), of the arrow head at the end of a curve."""
    tail = curve[-2] if len(curve) > 1 else curve[-1]
    direction = (curve[-1] - tail) / max(float(np.linalg.norm(curve[-1] - tail)), 1e-9)
    middle = curve[-1] - direction * HEAD / 2
    return np.concatenate([middle - HEAD / 2.5, middle + HEAD / 2.5])
