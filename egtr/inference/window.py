"""Graphs in a window, where there is a screen."""

import os
import sys
from collections.abc import Callable, Iterable

import cv2
import numpy as np

from egtr.structures import ConfigurationError, EGTRError, PredictedImage, SceneGraph
from egtr.visualization.draw import draw_scene_graph, figure_to_array
from egtr.visualization.video import VideoDrawer

TITLE = "Scene graph"
_END = (27, ord("q"))


def show_scene_graphs(
    results: Iterable[PredictedImage],
    *,
    select: Callable[[SceneGraph], SceneGraph] = SceneGraph.for_display,
    show_scores: bool = False,
) -> list[EGTRError]:
    """Show images with their graphs, one after the other: any key shows the next one; Esc, q or Ctrl-C ends.

    Frames of videos and cameras follow one another without a key.

    Args:
        results: the predicted images, as from :meth:`egtr.inference.EGTRPredictor.predict`.
        select, show_scores: see :func:`egtr.inference.export_scene_graphs`.

    Returns:
        An error for each image that could not be read.

    Raises:
        ConfigurationError: there is no screen, or this OpenCV has no windows.
    """
    # OpenCV's windows end the process where they find no screen.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigurationError(
            "there is no screen to open a window on (DISPLAY is not set); write files with --output"
        )
    errors = []
    drawer = VideoDrawer(show_scores=show_scores)
    try:
        for result in results:
            if result.error is not None:
                errors.append(result.error)
                continue
            graph = select(result.graph)
            if graph.frame is not None:
                pixels = drawer.draw(result.image, graph)
            else:
                pixels = figure_to_array(draw_scene_graph(result.image, graph, show_scores=show_scores), dpi=96)
            cv2.imshow(TITLE, np.ascontiguousarray(pixels[:, :, ::-1]))
            if cv2.waitKey(1 if graph.frame is not None else 0) & 0xFF in _END:
                break
        cv2.destroyAllWindows()
    except KeyboardInterrupt:
        # Ctrl-C is how the images of a camera end.
        pass
    except cv2.error as error:
        message = f"no window can be opened here ({error.err or error}); write files with --output"
        raise ConfigurationError(message) from error
    return errors
