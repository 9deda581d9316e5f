"""Graphs as figures and pages. Nothing here needs a model.

- ``draw``          one sheet: the image with its objects boxed (``boxes``), the graph beside it (``nodes``)
- ``own_image``     a graph on the image that it was made of
- ``sheet``         the places of both halves; ``marks`` their letters
- ``layout``        the places of nodes, edges and edge labels; ``layout_cost`` rates them
- ``placement``     labels that do not overlap
- ``palette``       colours for readers with and without a colour vision deficiency
- ``explanation``   one edge, and why the model draws it
- ``ground_truth``  annotations as a graph
- ``video``         frames of videos, in which ``tracking`` keeps the colours of objects
- ``charts``        parts that charts have in common
- ``dataset``       random annotated samples of a dataset, and how often each class and predicate occurs
"""

import lazy_loader

from egtr import _deprecated

_load, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dataset": ["draw_histograms", "draw_samples"],
        "draw": ["draw_scene_graph", "figure_to_array", "save_scene_graph"],
        "explanation": ["draw_explanation"],
        "ground_truth": ["graph_from_annotations"],
        "own_image": ["draw_on_own_image", "render_for_notebook", "save_on_own_image"],
        "video": ["VideoDrawer"],
    },
)
__getattr__ = _deprecated.moved(
    __name__,
    {
        name: f"egtr.inference.{name}"
        for name in ("export_scene_graphs", "export_video", "save_graph", "show_scene_graphs")
    },
    _load,
)
