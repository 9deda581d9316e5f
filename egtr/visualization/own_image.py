"""A graph drawn on its own image: SceneGraph's ``draw()``, ``save()`` and its look in a notebook."""

import io
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from egtr.data.image import ImageSource, load_image
from egtr.data.sources import ImageStream
from egtr.structures import EGTRError, PredictionError, SceneGraph

from .draw import draw_scene_graph, save_scene_graph

# Pixels per inch in a notebook, where a sheet of 13.3 inches fills the column.
NOTEBOOK_DPI = 80


def draw_on_own_image(
    graph: SceneGraph, image: ImageSource | None, channel_order: str | None, **options: Any
) -> Figure:
    """Draw a graph, see :meth:`egtr.structures.SceneGraph.draw`."""
    return draw_scene_graph(load_own_image(graph, image, channel_order), _selected(graph), **options)


def save_on_own_image(
    path: str | PathLike[str], graph: SceneGraph, image: ImageSource | None, channel_order: str | None, **options: Any
) -> None:
    """Write the drawing of a graph, see :meth:`egtr.structures.SceneGraph.save`."""
    save_scene_graph(path, load_own_image(graph, image, channel_order), _selected(graph), **options)


def render_for_notebook(graph: SceneGraph) -> bytes:
    """Draw a graph as the bytes of a PNG, on white where its image cannot be read."""
    try:
        image = load_own_image(graph)
    except EGTRError:
        # A notebook shows any value at the end of a cell; that must not fail.
        image = np.full((*graph.image_size, 3), 255, dtype=np.uint8)
    file = io.BytesIO()
    draw_scene_graph(image, _selected(graph)).savefig(file, format="png", dpi=NOTEBOOK_DPI)
    return file.getvalue()


def load_own_image(
    graph: SceneGraph, image: ImageSource | None = None, channel_order: str | None = None
) -> np.ndarray:
    """Load the image of a graph, (H, W, 3) uint8, RGB.

    Args:
        graph: names its file, and the number of its frame if it is of a video.
        image, channel_order: the image in place of this file, see :func:`egtr.data.image.load_image`.

    Raises:
        PredictionError: the graph does not know a file, or the image is of other proportions than the graph's.
        DataError: the image cannot be read.
    """
    if image is not None:
        pixels, name = load_image(image, channel_order), "the image"
    elif graph.file_name is None:
        raise PredictionError("scene graph: it does not know the file of its image; give the image: draw(image)")
    elif graph.frame is None:
        pixels, name = load_image(graph.file_name), graph.file_name
    else:
        pixels, name = _load_frame(graph), f"{graph.file_name}, frame {graph.frame}"
    (height, width), (drawn_height, drawn_width) = graph.image_size, pixels.shape[:2]
    # A scaled copy has sides that are rounded to whole pixels.
    if abs(height * drawn_width - width * drawn_height) > max(height, width, drawn_height, drawn_width):
        raise PredictionError(
            f"{name}: is {drawn_width} x {drawn_height} pixels, but the graph is of an image of {width} x {height}; "
            "give the image that it was made of"
        )
    return pixels


def _load_frame(graph: SceneGraph) -> np.ndarray:
    frame = next(islice(ImageStream(graph.file_name), graph.frame, None), None)
    if frame is None:
        raise PredictionError(f"{graph.file_name}: has no frame {graph.frame}; give the image: draw(image)")
    return frame.read()


def _selected(graph: SceneGraph) -> SceneGraph:
    return graph.for_display() if graph.holds_all_queries() else graph
