"""An image with its objects boxed, and its scene graph beside it, on one sheet.

Detectron2's Visualizer draws boxes, too, but its labels cover one another, and it has no place for a graph.
"""

from os import PathLike
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from egtr.structures import EGTRError, SceneGraph

from .boxes import draw_boxes, draw_image
from .marks import INK, shorten, write
from .nodes import draw_graph
from .palette import object_colors
from .sheet import MARGIN, Sheet, check_image, plan_sheet


def draw_scene_graph(
    image: np.ndarray, graph: SceneGraph, *, title: str | None = None, show_scores: bool = False
) -> Figure:
    """Draw an image and its graph side by side (one above the other where the image is wide).

    An object has one colour in both halves, from a palette for colour-blind readers; where a class occurs
    more than once, its objects are numbered from left to right. Edges have their subject's colour, and are the
    wider, the higher their score is compared with the best one of the graph. Everything in ``graph`` is drawn:
    choose with :meth:`egtr.structures.SceneGraph.for_display` first.

    Args:
        image: (H, W, 3) uint8, RGB, of any size.
        graph: boxes are in pixels of ``graph.image_size``; ``image`` may be a scaled copy of that image.
        title: a line above both.
        show_scores: add scores, two digits, to the labels of boxes and edges.

    Returns:
        A matplotlib figure that pyplot does not know of: nothing to close.

    Raises:
        EGTRError: ``image`` is not (H, W, 3) uint8.
    """
    image = check_image(image, "draw_scene_graph")
    names, colors = object_names(graph), object_colors(len(graph.boxes))
    sheet = plan_sheet(image.shape[0], image.shape[1], names, titled=title is not None)
    return draw_sheet(sheet, image, graph, names, colors, show_scores, title)[0]


def draw_sheet(
    sheet: Sheet,
    image: np.ndarray,
    graph: SceneGraph,
    names: list[str],
    colors: np.ndarray,
    show_scores: bool = False,
    title: str | None = None,
    start: np.ndarray | None = None,
) -> tuple[Figure, np.ndarray]:
    """:func:`draw_scene_graph` with everything decided: used for frames of videos, which have much in common.

    Args:
        sheet: see :func:`egtr.visualization.sheet.plan_sheet`.
        names: N labels of the objects.
        colors: (N, 3) of the objects, RGB in 0..1.
        start: (N, 2) where nodes were in the frame before, in points; NaN where they are new.

    Returns:
        The figure, and (N, 2) where the nodes are.
    """
    figure = Figure(figsize=(sheet.width / 72, sheet.height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    if title is not None:
        write(axes, MARGIN, MARGIN + 8, title, 14.0, INK, weight="bold", ha="left")
    draw_image(axes, sheet, image)
    draw_boxes(axes, sheet, graph, names, colors, show_scores)
    centers = draw_graph(axes, sheet, graph, names, colors, show_scores, start)
    # last: imshow sets limits of its own
    axes.set_xlim(0, sheet.width)
    axes.set_ylim(sheet.height, 0)
    axes.axis("off")
    return figure, centers


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
        dpi: pixels per inch; the sheet is 13.3 inches wide, wider where there are many objects or long names.

    Raises:
        EGTRError: ``image`` is not (H, W, 3) uint8, or the suffix is none that matplotlib writes.
    """
    path = Path(path)
    figure = draw_scene_graph(image, graph, title=title, show_scores=show_scores)
    known = sorted(figure.canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in known:
        raise EGTRError(f"{path}: suffix {path.suffix!r} is no format of images; take {', '.join(known)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def figure_to_array(figure: Figure, dpi: int = 160) -> np.ndarray:
    """The figure as pixels: (H, W, 3) uint8, RGB."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def object_names(graph: SceneGraph) -> list[str]:
    """Labels: "dog", or "dog 1", "dog 2" from left to right where there are more."""
    names = [shorten(graph.class_name(i)) for i in range(len(graph.boxes))]
    numbered = list(names)
    for name in set(names):
        same = [i for i, other in enumerate(names) if other == name]
        if len(same) > 1:
            same.sort(key=lambda i: (graph.boxes[i, 0] + graph.boxes[i, 2], i))
            for number, i in enumerate(same, start=1):
                numbered[i] = f"{name} {number}"
    return numbered
