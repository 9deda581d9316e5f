"""The half of a sheet with the graph: objects as nodes, relations as arrows between them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path as MatplotlibPath

from egtr.structures import SceneGraph

from .layout import GraphLayout, layout_graph
from .marks import FAINT, SMALLEST_FONT, label_size, pill, shorten, write
from .palette import readable_on_white, text_color
from .sheet import Sheet

NODE_SIZE = 14.0
EDGE_SIZE = 12.0


def draw_graph(
    axes: Axes,
    sheet: Sheet,
    graph: SceneGraph,
    names: list[str],
    colors: np.ndarray,
    show_scores: bool,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the graph into ``sheet.graph``.

    Args:
        axes, sheet: the place to draw.
        graph, names, colors, show_scores, start: see :func:`egtr.visualization.draw.draw_sheet`.

    Returns:
        (N, 2) places of the nodes.
    """
    texts = [shorten(graph.predicate_name(int(p))) for p in graph.triplets[:, 2]]
    if show_scores:
        numbers = graph.triplet_scores if graph.triplet_probabilities is None else graph.triplet_probabilities
        texts = [f"{text} {number:.2f}" for text, number in zip(texts, numbers, strict=True)]
    layout, node_sizes, label_sizes, shrink = _layout(sheet, graph, names, texts, start)
    if not texts:
        x, y = (sheet.graph[:2] + sheet.graph[2:]) / 2
        y = layout.centers[:, 1].min(initial=y + 44) - 44
        write(axes, x, y, "no relations" if names else "no objects, no relations", NODE_SIZE, FAINT)

    best = max(float(graph.triplet_scores.max(initial=0.0)), 1e-9)
    for e in range(len(texts)):
        color = readable_on_white(colors[graph.triplets[e, 0]])
        line_width = (0.9 + 2.3 * float(graph.triplet_scores[e]) / best) * shrink
        _draw_arrow(axes, layout.curves[e], color, line_width)
    if layout.labels is not None:
        for e, text in enumerate(texts):
            (x, y), (w, h) = layout.labels[e], label_sizes[e]
            axes.add_artist(pill(x, y, w, h, "white", rounding=h / 3, zorder=3))
            color = readable_on_white(colors[graph.triplets[e, 0]], contrast=5.5)
            write(axes, x + w / 2, y + h / 2, text, EDGE_SIZE * shrink, color, zorder=4)
    for i, name in enumerate(names):
        (x, y), (w, h) = layout.centers[i] - node_sizes[i] / 2, node_sizes[i]
        axes.add_artist(pill(x, y, w, h, colors[i], rounding=h / 2, zorder=5))
        x, y = layout.centers[i]
        write(axes, x, y, name, NODE_SIZE * shrink, text_color(colors[i]), weight="bold", zorder=6)
    return layout.centers


def _layout(
    sheet: Sheet, graph: SceneGraph, names: list[str], texts: list[str], start: np.ndarray | None
) -> tuple[GraphLayout, np.ndarray, np.ndarray, float]:
    """Find a layout, sizes of nodes (N, 2) and edge labels (E, 2), and the font scale that makes them fit."""
    shrink = 1.0
    while True:
        nodes = [label_size(name, NODE_SIZE * shrink, 8.0, 4.5, "bold") for name in names]
        labels = [label_size(text, EDGE_SIZE * shrink, 3.0, 1.0) for text in texts]
        node_sizes, label_sizes = np.array(nodes).reshape(-1, 2), np.array(labels).reshape(-1, 2)
        layout = layout_graph(node_sizes, graph.triplets[:, :2], label_sizes, sheet.graph, start=start)
        if layout.labels is not None or EDGE_SIZE * shrink < SMALLEST_FONT:
            return layout, node_sizes, label_sizes, shrink
        shrink *= 0.85


def _draw_arrow(axes: Axes, curve: np.ndarray, color: np.ndarray, line_width: float) -> None:
    head = 7.0 + 2.0 * line_width
    axes.add_artist(
        FancyArrowPatch(
            path=MatplotlibPath(curve),
            arrowstyle="-|>,head_length=0.5,head_width=0.28",
            mutation_scale=head,
            color=color,
            lw=line_width,
            fill=True,
            capstyle="butt",
            joinstyle="miter",
            zorder=2,
        )
    )
