"""Scene graphs as pictures.

- ``draw``          one sheet: the picture with its objects boxed, the graph beside it
- ``layout``        where nodes, edges and edge labels go
- ``placement``     labels that do not overlap
- ``palette``       colours for readers with and without a colour vision deficiency
- ``explanation``   one edge, and where it comes from
- ``ground_truth``  annotations as a graph
- ``export``        pictures and JSON files of many graphs
- ``charts``        what the pictures of numbers have in common
- ``dataset``       random annotated samples of a data set, and how often each class and predicate occurs
"""

from .. import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from .dataset import draw_histograms, draw_samples
from .draw import draw_scene_graph, figure_to_array, save_scene_graph
from .explanation import draw_explanation
from .export import export_scene_graphs
from .ground_truth import graph_from_annotations

__all__ = [
    "draw_explanation",
    "draw_histograms",
    "draw_samples",
    "draw_scene_graph",
    "export_scene_graphs",
    "figure_to_array",
    "graph_from_annotations",
    "save_scene_graph",
]
