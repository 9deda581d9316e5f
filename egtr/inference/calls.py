"""One call from any model and any image to graphs and explanations: ``predict``, ``explain``, ``explain_graph``."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from egtr.data.image import ImageSource
from egtr.data.sources import Source
from egtr.structures import EdgeExplanation, EGTRError, SceneGraph
from egtr.structures.predicted_image import graphs_of

from .predictor import EGTRPredictor

if TYPE_CHECKING:
    import torch
    from detectron2.config import CfgNode


def predict(
    model: "str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module",
    source: Source | Iterable[Source],
    channel_order: str | None = None,
    *,
    batch_size: int = 1,
    threads: int = 1,
    on_error: Callable[[EGTRError], Any] | None = None,
    boxes: Any = None,
    classes: Any = None,
    scores: Any = None,
    refine_boxes: bool = False,
    with_found: bool = False,
) -> Iterator[SceneGraph]:
    """Predict the scene graphs of any images: ``for graph in egtr.predict("scenes", "photos/"): ...``

    The result is always an iterator, which computes each graph when it is requested. For a single image,
    ``next(egtr.predict(...))`` is the graph. Each call loads the model; to call it more than once, load the model
    first with ``model = EGTRPredictor.create("scenes")``.

    With ``boxes`` the first objects of a graph are boxes that you have, of your own detector or of a person::

        boxes = [[40, 60, 200, 310], [10, 20, 90, 80]]
        (graph,) = egtr.predict("scenes", "photo.jpg", boxes=boxes, classes=["dog", None])

    Args:
        model: the name of a model (:func:`egtr.hub.models.list_names`), a YAML file or configuration with
            MODEL.WEIGHTS, an :class:`EGTRPredictor`, or a built :class:`~egtr.modeling.EGTR`.
        source: a path, folder, pattern, video, camera index, PIL image, array, tensor, bytes or binary file, or an
            iterable of these: see :class:`egtr.data.sources.ImageStream`.
        channel_order: "RGB" or "BGR"; needed for arrays and tensors with three channels.
        batch_size, threads: see :meth:`EGTRPredictor.predict`.
        on_error: called with the error of each image that cannot be read; the image is then skipped. ``print`` or the
            ``append`` of a list will do. None: the error is raised.
        boxes, classes, scores, refine_boxes, with_found: see :meth:`EGTRPredictor.predict`.

    Yields:
        Graphs in the order of the images, with all queries as objects, and with ``file_name``, ``frame`` and ``time``
        of the image. They do not keep the raw record (``prediction`` is None), so a list of many graphs stays small.

    Raises:
        ConfigurationError, WeightsError: immediately, for a model that cannot be loaded.
        DataError: immediately, for a source that can hold no image and for boxes that are wrong in themselves; while
            iterating, for an image that cannot be read, has no boxes, or has boxes that lie outside.
    """
    results = EGTRPredictor.create(model).predict(
        source,
        channel_order,
        batch_size=batch_size,
        threads=threads,
        boxes=boxes,
        classes=classes,
        scores=scores,
        refine_boxes=refine_boxes,
        with_found=with_found,
    )
    return graphs_of(results, on_error)


def explain(
    model: "str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module",
    image: ImageSource,
    graph: SceneGraph,
    edge: int,
    channel_order: str | None = None,
) -> EdgeExplanation:
    """Explain one edge of a graph: gates, attention, shares of its logit, sampling points.

    ::

        model = EGTRPredictor.create("scenes")
        graph = model("photo.jpg").for_display()
        print(explain(model, "photo.jpg", graph, 0))

    Args:
        model: the model that made the graph, as :meth:`EGTRPredictor.create` takes it.
        image, graph, channel_order: see :meth:`EGTRPredictor.explain`.
        edge: a row of ``graph.triplets``.

    Raises:
        PredictionError: there is no such edge, or the graph is of another model or another image.
    """
    return explain_graph(model, image, graph, [edge], channel_order)[0]


def explain_graph(
    model: "str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module",
    image: ImageSource,
    graph: SceneGraph,
    edges: Sequence[int] | None = None,
    channel_order: str | None = None,
) -> list[EdgeExplanation]:
    """Explain several edges, or all of them, at the cost of one forward pass.

    Args:
        model: the model that made the graph, as :meth:`EGTRPredictor.create` takes it.
        image, graph, edges, channel_order: see :meth:`EGTRPredictor.explain`.

    Raises:
        PredictionError: there is no such edge, or the graph is of another model or another image.
    """
    return EGTRPredictor.create(model).explain(image, graph, edges, channel_order)
