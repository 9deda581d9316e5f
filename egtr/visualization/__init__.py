"""Scene graphs as pictures.

- ``draw``          one sheet: the picture with its objects boxed (``boxes``), the graph beside it (``nodes``)
- ``sheet``, ``marks``  where both go; letters
- ``layout``        where nodes, edges and edge labels go; ``layout_cost`` says what is a bad place
- ``placement``     labels that do not overlap
- ``palette``       colours for readers with and without a colour vision deficiency
- ``explanation``   one edge, and where it comes from
- ``ground_truth``  annotations as a graph
- ``export``        pictures and JSON files of many graphs
- ``video``         videos, in which ``tracking`` keeps the colours of objects
- ``window``        the same on a screen
- ``charts``        what the pictures of numbers have in common
- ``dataset``       random annotated samples of a data set, and how often each class and predicate occurs
"""

from .. import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from .dataset import draw_histograms, draw_samples
from .draw import draw_scene_graph, figure_to_array, save_scene_graph
from .explanation import draw_explanation
from .export import export_scene_graphs, save_graph
from .ground_truth import graph_from_annotations
from .video import VideoDrawer, export_video
from .window import show_scene_graphs

__all__ = [
    "VideoDrawer",
    "draw_explanation",
    "draw_histograms",
    "draw_samples",
    "draw_scene_graph",
    "export_scene_graphs",
    "export_video",
    "figure_to_array",
    "graph_from_annotations",
    "save_graph",
    "save_scene_graph",
    "show_scene_graphs",
]
