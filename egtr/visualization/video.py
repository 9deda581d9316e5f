"""Frames of videos with their graphs, where nothing moves or changes colour without need."""

import numpy as np

from egtr.structures import SceneGraph

from .draw import draw_sheet, figure_to_array, fit_graph
from .marks import shorten
from .palette import object_colors
from .sheet import Sheet, plan_sheet
from .tracking import ObjectTracker


class VideoDrawer:
    """Draws the frames of one video, one after the other.

    As long as :class:`egtr.visualization.tracking.ObjectTracker` recognises an object, it keeps its colour and its
    number, and its node keeps its place. An object is called "dog" until there is a second one; from then on they are
    "dog 1", "dog 2" and so on, even in frames that show only one of them.

    Args:
        show_scores: see :func:`egtr.visualization.draw_scene_graph`.
        dpi: pixels per inch; a sheet is 13.3 inches wide.
    """

    def __init__(self, *, show_scores: bool = False, dpi: int = 96):
        self.show_scores = show_scores
        self.dpi = dpi
        self._sheet: Sheet | None = None
        self._tracker = ObjectTracker()
        self._places: dict[int, np.ndarray] = {}
        # Classes of which the video has shown more than one object at a time.
        self._several: set[int] = set()

    def draw(self, image: np.ndarray, graph: SceneGraph) -> np.ndarray:
        """Draw the next frame.

        Args:
            image: (H, W, 3) uint8, RGB, of the same size in all frames.
            graph: the graph to draw, as for :func:`egtr.visualization.draw_scene_graph`.

        Returns:
            (A, B, 3) uint8, RGB. A and B are even, as codecs need them, and the same for all frames.
        """
        if self._sheet is None:
            # Always of the usual width: letters become smaller where there is much to draw.
            self._sheet = plan_sheet(image.shape[0], image.shape[1], names=())
        graph, note = fit_graph(graph)
        tracked = self._tracker.update(graph)
        self._several.update(graph.classes[tracked.ranks > 1].tolist())
        names = [shorten(graph.class_name(i)) for i in range(len(graph.boxes))]
        names = [
            f"{name} {rank}" if int(label) in self._several else name
            for name, label, rank in zip(names, graph.classes, tracked.ranks, strict=True)
        ]
        numbers = tracked.numbers.tolist()
        colors = object_colors(max(numbers, default=0) + 1)[numbers]
        start = np.full((len(numbers), 2), np.nan)
        for i in np.flatnonzero(~tracked.is_new):
            start[i] = self._places[numbers[i]]
        look = {"show_scores": self.show_scores, "note": note, "start": start}
        figure, centers = draw_sheet(self._sheet, image, graph, names, colors, **look)
        self._places.update(zip(numbers, centers, strict=True))
        pixels = figure_to_array(figure, self.dpi)
        return pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
