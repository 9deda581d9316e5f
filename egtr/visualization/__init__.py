"""Scene graphs as pictures.

- ``draw``          one sheet: the picture with its objects boxed, the graph beside it
- ``layout``        where nodes, edges and edge labels go
- ``placement``     labels that do not overlap
- ``palette``       colours for readers with and without a colour vision deficiency
- ``merge``         what to show of a graph: one node per object, good triplets
- ``ground_truth``  annotations as a graph
- ``export``        pictures and JSON files of many graphs
- ``dataset``       random annotated samples of a data set, and how often each class and predicate occurs
"""

from .. import _detectron2  # noqa: F401 - says how to install Detectron2 where it is missing
from .dataset import draw_histograms, draw_samples
from .draw import draw_scene_graph, figure_to_array, save_scene_graph
from .export import export_scene_graphs
from .ground_truth import graph_from_annotations
from .merge import merge_duplicates, select_for_display

__all__ = [
    "draw_histograms",
    "draw_samples",
    "draw_scene_graph",
    "export_scene_graphs",
    "figure_to_array",
    "graph_from_annotations",
    "merge_duplicates",
    "save_scene_graph",
    "select_for_display",
]
