"""A picture with its objects boxed, and its scene graph beside it, on one sheet."""

from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as MatplotlibPath
from matplotlib.textpath import text_to_path

from egtr.structures import EGTRError, SceneGraph

from .layout import GraphLayout, layout_graph
from .palette import object_colors, readable_on_white, text_color
from .placement import place_labels

# The width of a 16:9 slide, points (1/72 inch), which are the unit of everything below.
SHEET_WIDTH = 960.0
MARGIN = 18.0
# DejaVu comes with matplotlib: the same sheet on every machine.
FONT = "DejaVu Sans"
LABEL_SIZE = 12.0
NODE_SIZE = 14.0
EDGE_SIZE = 12.0
SMALLEST_FONT = 4.0
# Longer names are cut.
LONGEST_NAME = 28
INK = "#333333"
FAINT = "#8A8A8A"


@dataclass(frozen=True)
class _Sheet:
    """Where things lie: (x1, y1, x2, y2) in points, y downwards.

    ``picture`` is the picture itself, ``cell`` the part of the sheet that belongs to it and its labels.
    """

    width: float
    height: float
    picture: np.ndarray
    cell: np.ndarray
    graph: np.ndarray


def draw_scene_graph(
    image: np.ndarray, graph: SceneGraph, *, title: str | None = None, show_scores: bool = False
) -> Figure:
    """Draw a picture and its graph side by side (one above the other where the picture is wide).

    An object has one colour in both halves, from a palette for colour-blind readers; where a class occurs
    more than once, its objects are numbered from left to right. Edges have their subject's colour, and are the
    wider, the higher their score is compared with the best one of the graph. Everything in ``graph`` is drawn:
    choose with :meth:`egtr.structures.SceneGraph.for_display` first.

    Args:
        image: (H, W, 3) uint8, RGB, of any size.
        graph: boxes are in pixels of ``graph.image_size``; ``image`` may be a scaled copy of that picture.
        title: a line above both.
        show_scores: add scores, two digits, to the labels of boxes and edges.

    Returns:
        A matplotlib figure that pyplot does not know of: nothing to close.

    Raises:
        EGTRError: ``image`` is not (H, W, 3) uint8.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise EGTRError(f"draw_scene_graph: image is {image.dtype} of shape {image.shape}; give uint8 (H, W, 3), RGB")
    sheet = _plan(image.shape[0], image.shape[1], len(graph.boxes), titled=title is not None)
    figure = Figure(figsize=(sheet.width / 72, sheet.height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    colors = object_colors(len(graph.boxes))
    names = _object_names(graph)
    if title is not None:
        _text(axes, MARGIN, MARGIN + 8, title, 14.0, INK, weight="bold", ha="left")
    _draw_picture(axes, sheet, image)
    _draw_boxes(axes, sheet, graph, names, colors, show_scores)
    _draw_graph(axes, sheet, graph, names, colors, show_scores)
    # last: imshow sets limits of its own
    axes.set_xlim(0, sheet.width)
    axes.set_ylim(sheet.height, 0)
    axes.axis("off")
    return figure


def save_scene_graph(
    path: str | PathLike[str],
    image: np.ndarray,
    graph: SceneGraph,
    *,
    title: str | None = None,
    show_scores: bool = False,
    dpi: int = 160,
) -> None:
    """Write :func:`draw_scene_graph` to a file; its suffix (.png, .svg, .pdf, ...) says what it becomes.

    Args:
        path: parent folders are made.
        dpi: pixels per inch; the sheet is 13.3 inches wide, wider where there are many objects.

    Raises:
        EGTRError: ``image`` is not (H, W, 3) uint8, or the suffix is none that matplotlib writes.
    """
    path = Path(path)
    figure = draw_scene_graph(image, graph, title=title, show_scores=show_scores)
    known = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in known:
        raise EGTRError(f"{path}: suffix {path.suffix!r} is no format of pictures; take {', '.join(known)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def figure_to_array(figure: Figure, dpi: int = 160) -> np.ndarray:
    """The figure as pixels: (H, W, 3) uint8, RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _plan(height: int, width: int, num_objects: int, titled: bool) -> _Sheet:
    # Letters keep their size on the page: a sheet for many objects grows instead.
    scale = float(np.clip(np.sqrt(num_objects / 8), 1.0, 1.8))
    sheet_width = SHEET_WIDTH * scale
    top = MARGIN + (26.0 if titled else 0.0)
    inner = sheet_width - 2 * MARGIN
    aspect = width / height
    if aspect <= 2.2:
        picture_height = min(500.0 * scale, 0.52 * inner / aspect)
        picture_width = picture_height * aspect
        cell_width, cell_height = max(picture_width, 170.0), max(picture_height, 380.0 * scale)
        cell = np.array([MARGIN, top, MARGIN + cell_width, top + cell_height])
        graph = np.array([cell[2] + 1.5 * MARGIN, cell[1], sheet_width - MARGIN, cell[3]])
        bottom = cell[3]
    else:
        picture_width, picture_height = inner, inner / aspect
        cell = np.array([MARGIN, top, MARGIN + inner, top + max(picture_height, 120.0)])
        graph = np.array([MARGIN, cell[3] + MARGIN, MARGIN + inner, cell[3] + MARGIN + 360.0 * scale])
        bottom = graph[3]
    center, half = (cell[:2] + cell[2:]) / 2, np.array([picture_width, picture_height]) / 2
    picture = np.concatenate([center - half, center + half])
    return _Sheet(sheet_width, bottom + MARGIN, picture, cell, graph)


def _object_names(graph: SceneGraph) -> list[str]:
    """Labels: "dog", or "dog 1", "dog 2" from left to right where there are more."""
    names = [_shorten(graph.class_name(i)) for i in range(len(graph.boxes))]
    numbered = list(names)
    for name in set(names):
        same = [i for i, other in enumerate(names) if other == name]
        if len(same) > 1:
            same.sort(key=lambda i: (graph.boxes[i, 0] + graph.boxes[i, 2], i))
            for number, i in enumerate(same, start=1):
                numbered[i] = f"{name} {number}"
    return numbered


def _shorten(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _draw_picture(axes: Axes, sheet: _Sheet, image: np.ndarray) -> None:
    x1, y1, x2, y2 = sheet.picture
    # More pixels than a print of the sheet has (300 dpi) only cost time and memory.
    width, height = (max(1, round(side * 300 / 72)) for side in (x2 - x1, y2 - y1))
    if image.shape[0] > height or image.shape[1] > width:
        size = (min(width, image.shape[1]), min(height, image.shape[0]))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    axes.imshow(image, extent=(x1, x2, y2, y1), aspect="auto", interpolation="bicubic")


def _draw_boxes(
    axes: Axes, sheet: _Sheet, graph: SceneGraph, names: list[str], colors: np.ndarray, show_scores: bool
) -> None:
    height, width = graph.image_size
    origin, extent = sheet.picture[:2], sheet.picture[2:] - sheet.picture[:2]
    per_pixel = extent / np.array([width, height], dtype=np.float64)
    boxes = np.clip(graph.boxes.astype(np.float64), 0, (width, height, width, height))
    boxes = (boxes.reshape(-1, 2, 2) * per_pixel + origin).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # the largest first, so that what lies inside it is drawn over it
    for i in np.argsort(-areas, kind="stable"):
        x1, y1, x2, y2 = boxes[i]
        for color, line_width in (("white", 4.0), (colors[i], 2.4)):
            style = {"fill": False, "ec": color, "lw": line_width, "joinstyle": "round"}
            axes.add_artist(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))

    texts = [f"{n} {s:.2f}" if show_scores else n for n, s in zip(names, graph.scores, strict=True)]
    placed = _place_box_labels(sheet, boxes, areas, texts)
    if placed is None:
        return
    corners, sizes, font_size = placed
    for i, text in enumerate(texts):
        (x, y), (w, h) = corners[i], sizes[i]
        nearest_label = np.clip(boxes[i, :2], (x, y), (x + w, y + h))
        nearest_box = np.clip(nearest_label, boxes[i, :2], boxes[i, 2:])
        if np.abs(nearest_label - nearest_box).max() > 1.5:
            ends = np.stack([np.clip(nearest_box, (x, y), (x + w, y + h)), nearest_box], axis=1)
            axes.plot(*ends, color="white", lw=2.6, zorder=4)
            axes.plot(*ends, color=colors[i], lw=1.4, zorder=4)
        axes.add_artist(_pill(x, y, w, h, colors[i], rounding=2.0, zorder=5))
        _text(axes, x + w / 2, y + h / 2, text, font_size, text_color(colors[i]), zorder=6)


def _place_box_labels(
    sheet: _Sheet, boxes: np.ndarray, areas: np.ndarray, texts: list[str]
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Corners (N, 2), sizes (N, 2) and font size of the labels; None where they do not fit."""
    # those of small boxes first: theirs can be mistaken most easily
    order = np.argsort(areas, kind="stable")
    narrow = (sheet.picture[2:] - sheet.picture[:2]).min() < 120
    font_size = LABEL_SIZE
    while font_size >= SMALLEST_FONT:
        sizes = np.array([_label_size(text, font_size) for text in texts]).reshape(-1, 2)
        # a label over the middle of a large object hides nothing of it; small objects it would hide entirely
        small = areas < 8 * (sizes.prod(axis=1).mean() if len(sizes) else 0)
        avoid = np.where(small[:, None], boxes, 0.0)
        candidates = [_box_label_candidates(boxes[i], sizes[i]) for i in order]
        for bounds in (sheet.cell,) if narrow else (sheet.picture, sheet.cell):
            placed = place_labels(sizes[order], candidates, bounds, avoid=avoid[order])
            if placed is not None:
                corners = np.zeros_like(sizes)
                corners[order] = placed
                return corners, sizes, font_size
        font_size *= 0.85
    return None


def _box_label_candidates(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    (x1, y1, x2, y2), (w, h) = box, size
    # flush with the outer side of the frame
    x1, x2 = x1 - 1.2, x2 + 1.2
    outside = [(x1, y1 - h), (x1, y2), (x2 - w, y1 - h), (x2 - w, y2), (x2, y1), (x1 - w, y1)]
    inside = [(x1, y1), (x1, y2 - h), (x2 - w, y1), (x2 - w, y2 - h), ((x1 + x2 - w) / 2, y1)]
    roomy = x2 - x1 > 1.2 * w and y2 - y1 > 3 * h
    # on the box's own corner where that is large enough, else outside
    return np.array([outside[0], *inside, *outside[1:]] if roomy else [*outside, *inside])


def _draw_graph(
    axes: Axes, sheet: _Sheet, graph: SceneGraph, names: list[str], colors: np.ndarray, show_scores: bool
) -> None:
    texts = [_shorten(graph.predicate_name(int(p))) for p in graph.triplets[:, 2]]
    if show_scores:
        texts = [f"{t} {s:.2f}" for t, s in zip(texts, graph.triplet_scores, strict=True)]
    layout, node_sizes, label_sizes, shrink = _layout(sheet, graph, names, texts)
    if not texts:
        x, y = (sheet.graph[:2] + sheet.graph[2:]) / 2
        y = layout.centers[:, 1].min(initial=y + 44) - 44
        _text(axes, x, y, "no relations" if names else "no objects, no relations", NODE_SIZE, FAINT)

    best = max(float(graph.triplet_scores.max(initial=0.0)), 1e-9)
    for e in range(len(texts)):
        color = readable_on_white(colors[graph.triplets[e, 0]])
        line_width = (0.9 + 2.3 * float(graph.triplet_scores[e]) / best) * shrink
        _draw_arrow(axes, layout.curves[e], color, line_width)
    if layout.labels is not None:
        for e, text in enumerate(texts):
            (x, y), (w, h) = layout.labels[e], label_sizes[e]
            axes.add_artist(_pill(x, y, w, h, "white", rounding=h / 3, zorder=3))
            color = readable_on_white(colors[graph.triplets[e, 0]], contrast=5.5)
            _text(axes, x + w / 2, y + h / 2, text, EDGE_SIZE * shrink, color, zorder=4)
    for i, name in enumerate(names):
        (x, y), (w, h) = layout.centers[i] - node_sizes[i] / 2, node_sizes[i]
        axes.add_artist(_pill(x, y, w, h, colors[i], rounding=h / 2, zorder=5))
        x, y = layout.centers[i]
        _text(axes, x, y, name, NODE_SIZE * shrink, text_color(colors[i]), weight="bold", zorder=6)


def _layout(
    sheet: _Sheet, graph: SceneGraph, names: list[str], texts: list[str]
) -> tuple[GraphLayout, np.ndarray, np.ndarray, float]:
    """Layout, sizes of nodes (N, 2) and edge labels (E, 2), and the factor of letters that made them fit."""
    shrink = 1.0
    while True:
        nodes = [_label_size(name, NODE_SIZE * shrink, 8.0, 4.5, "bold") for name in names]
        labels = [_label_size(text, EDGE_SIZE * shrink, 3.0, 1.0) for text in texts]
        node_sizes, label_sizes = np.array(nodes).reshape(-1, 2), np.array(labels).reshape(-1, 2)
        layout = layout_graph(node_sizes, graph.triplets[:, :2], label_sizes, sheet.graph)
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


def _pill(x: float, y: float, w: float, h: float, color, rounding: float, zorder: float):
    style = f"round,pad=0,rounding_size={rounding}"
    return FancyBboxPatch((x, y), w, h, boxstyle=style, fc=color, ec="none", zorder=zorder)


def _text(axes: Axes, x: float, y: float, text: str, size: float, color, weight="normal", ha="center", zorder=6):
    font = FontProperties(family=FONT, size=size, weight=weight)
    style = {"color": color, "ha": ha, "va": "center_baseline", "zorder": zorder}
    # "$" in a class name is a dollar, whatever a user's matplotlibrc says
    axes.text(x, y, text, fontproperties=font, parse_math=False, usetex=False, **style)


@lru_cache(maxsize=4096)
def _text_width(text: str, weight: str) -> float:
    """Width of a line set in 10 points."""
    font = FontProperties(family=FONT, size=10, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]


def _label_size(
    text: str, font_size: float, pad_x: float = 3.5, pad_y: float = 2.0, weight: str = "normal"
) -> tuple[float, float]:
    """Width and height of a label: its line of letters and the padding around, which shrinks along."""
    zoom = font_size / 10.0
    return _text_width(text, weight) * zoom + 2 * pad_x * zoom, 1.25 * font_size + 2 * pad_y * zoom
