"""An image with its objects boxed, and its scene graph beside it, on one sheet.

Detectron2's Visualizer also draws boxes, but its labels cover one another, and it has no place for a graph.
"""

from collections import Counter
from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egtr.structures import ConfigurationError, SceneGraph
from egtr.structures.files import writing

from .boxes import draw_boxes, draw_image
from .marks import INK, shorten, write
from .nodes import draw_graph
from .palette import object_colors
from .sheet import MARGIN, Sheet, check_image, plan_sheet

# More than these on one sheet cannot be told apart, and take long to place: objects that are joined by relations,
# objects at all, relations, and relations between the same two objects.
MAX_LINKED, MAX_OBJECTS, MAX_RELATIONS, MAX_PARALLEL = 40, 60, 60, 5
NOTE_SIZE = 10.0


def draw_scene_graph(
    image: np.ndarray, graph: SceneGraph, *, title: str | None = None, show_scores: bool = False
) -> Figure:
    """Draw an image and its graph side by side (one above the other if the image is wide).

    An object has one colour in both halves, from a palette for colour-blind readers. If a class occurs more than
    once, its objects are numbered from left to right. Edges have the colour of their subject, and are wider the
    closer their score is to the best one of the graph. Select with :meth:`egtr.structures.SceneGraph.for_display`
    first. Of a graph too large for one sheet only the best part is drawn, and a line below says how much that is: at
    most 60 objects, 40 of them joined by relations, and 60 relations, five between the same two objects.

    Args:
        image: (H, W, 3) uint8, RGB, of any size.
        graph: boxes are in pixels of ``graph.image_size``; ``image`` may be a scaled copy of that image.
        title: a line above both.
        show_scores: add probabilities, two digits, to the labels of boxes and edges; scores, if the graph has no
            probabilities.

    Returns:
        A matplotlib figure that is unknown to pyplot: there is nothing to close.

    Raises:
        DataError: ``image`` is not (H, W, 3) uint8.
    """
    image = check_image(image, "draw_scene_graph")
    graph, note = fit_graph(graph)
    names, colors = object_names(graph), object_colors(len(graph.boxes))
    sheet = plan_sheet(image.shape[0], image.shape[1], names, titled=title is not None)
    return draw_sheet(sheet, image, graph, names, colors, show_scores, title, note)[0]


def draw_sheet(
    sheet: Sheet,
    image: np.ndarray,
    graph: SceneGraph,
    names: list[str],
    colors: np.ndarray,
    show_scores: bool = False,
    title: str | None = None,
    note: str | None = None,
    start: np.ndarray | None = None,
) -> tuple[Figure, np.ndarray]:
    """Draw a sheet with given layout, names and colours, which the frames of a video share.

    Args:
        sheet: see :func:`egtr.visualization.sheet.plan_sheet`.
        image, graph, title, show_scores: see :func:`draw_scene_graph`.
        names: N labels of the objects.
        colors: (N, 3) colours of the objects, RGB in 0..1.
        note: a line below both.
        start: (N, 2) places of the nodes in the previous frame, in points; NaN for new nodes.

    Returns:
        The figure, and (N, 2) places of the nodes.
    """
    figure = Figure(figsize=(sheet.width / 72, sheet.height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    if title is not None:
        write(axes, MARGIN, MARGIN + 8, title, 14.0, INK, weight="bold", ha="left")
    if note is not None:
        write(axes, sheet.width - MARGIN, sheet.height - MARGIN / 2, note, NOTE_SIZE, INK, ha="right")
    draw_image(axes, sheet, image)
    draw_boxes(axes, sheet, graph, names, colors, show_scores)
    centers = draw_graph(axes, sheet, graph, names, colors, show_scores, start)
    # Last, because imshow sets limits of its own.
    axes.set_xlim(0, sheet.width)
    axes.set_ylim(sheet.height, 0)
    axes.axis("off")
    return figure, centers


def fit_graph(graph: SceneGraph) -> tuple[SceneGraph, str | None]:
    """Leave out what has no room on a sheet.

    Relations are taken by descending score, as long as there is room for their objects; then the other objects, by
    descending score.

    Returns:
        The graph to draw, and a line that says how much of the graph that is, or None where it is all of it.
    """
    linked: set[int] = set()
    parallel: Counter[tuple[int, ...]] = Counter()
    rows = []
    for row, pair in enumerate(graph.triplets[:, :2].tolist()):
        if len(rows) == MAX_RELATIONS or len(linked.union(pair)) > MAX_LINKED:
            break
        parallel[tuple(sorted(pair))] += 1
        if parallel[tuple(sorted(pair))] <= MAX_PARALLEL:
            linked.update(pair)
            rows.append(row)
    certainty = graph.scores if graph.presence is None else graph.presence
    others = [i for i in np.argsort(-certainty, kind="stable").tolist() if i not in linked]
    objects = [*linked, *others[: MAX_OBJECTS - len(linked)]]
    if len(objects) == len(graph.boxes) and len(rows) == len(graph):
        return graph, None
    drawn = graph.select(np.isin(np.arange(len(graph.boxes)), objects), np.array(rows, dtype=np.int64))
    note = f"{len(objects):,} of {len(graph.boxes):,} objects and {len(rows):,} of {len(graph):,} relations are drawn"
    # Annotations have no scores to choose by.
    is_ranked = np.ptp([*graph.scores, *graph.triplet_scores]) > 0
    return drawn, f"{note}: those of the highest scores" if is_ranked else note


def save_scene_graph(
    path: str | PathLike[str],
    image: np.ndarray,
    graph: SceneGraph,
    *,
    title: str | None = None,
    show_scores: bool = False,
    dpi: int = 160,
) -> None:
    """Write the sheet of :func:`draw_scene_graph` to a file, in the format of its suffix (.png, .svg, .pdf, ...).

    Args:
        path: parent folders are made.
        image, graph, title, show_scores: see :func:`draw_scene_graph`.
        dpi: pixels per inch; the sheet is 13.3 inches wide, wider with many objects or long names.

    Raises:
        DataError: ``image`` is not (H, W, 3) uint8.
        ConfigurationError: matplotlib does not write files of this suffix.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    figure = draw_scene_graph(image, graph, title=title, show_scores=show_scores)
    known = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in known:
        raise ConfigurationError(f"{path}: suffix {path.suffix!r} is no format of images; take {', '.join(known)}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=dpi)


def figure_to_array(figure: Figure, dpi: int = 160) -> np.ndarray:
    """Render a figure to pixels: (H, W, 3) uint8, RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def object_names(graph: SceneGraph) -> list[str]:
    """Name the objects: "dog", or "dog 1", "dog 2" from left to right if there are several."""
    names = [shorten(graph.class_name(i)) for i in range(len(graph.boxes))]
    numbered = list(names)
    for name in set(names):
        same = [i for i, other in enumerate(names) if other == name]
        if len(same) > 1:
            same.sort(key=lambda i: (graph.boxes[i, 0] + graph.boxes[i, 2], i))
            for number, i in enumerate(same, start=1):
                numbered[i] = f"{name} {number}"
    return numbered
