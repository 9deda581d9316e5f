"""Why an edge of a graph is there, in one call."""

import os
from collections.abc import Sequence
from functools import partial

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
import torch
from detectron2.config import CfgNode

from egtr.data.image import ImageSource, load_image
from egtr.data.sources import SourceImage
from egtr.modeling.explain import explain_triplets
from egtr.structures import EdgeExplanation, EGTRError, SceneGraph

from .predictor import EGTRPredictor

# A graph may have been made in less precision, or on another device.
SCORE_TOLERANCE = 0.05


def explain(
    model: str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module,
    image: ImageSource,
    graph: SceneGraph,
    edge: int,
    channel_order: str | None = None,
) -> EdgeExplanation:
    """Where one edge of a graph comes from: gates, attention, shares of its logit, sampling points.

    ::

        model = EGTRPredictor.create("scenes")
        graph = model("photo.jpg").for_display()
        print(explain(model, "photo.jpg", graph, 0))

    Args:
        model: that made the graph, as :meth:`EGTRPredictor.create` takes it.
        image, channel_order: the image of the graph, see :func:`egtr.data.image.load_image`.
        graph: filtered, merged or read from a file as well: its ``triplet_queries`` say which queries are meant.
        edge: row of ``graph.triplets``.

    Raises:
        EGTRError: there is no such edge, or the graph is another model's or another image's.
    """
    return explain_graph(model, image, graph, [edge], channel_order)[0]


def explain_graph(
    model: str | os.PathLike[str] | CfgNode | EGTRPredictor | torch.nn.Module,
    image: ImageSource,
    graph: SceneGraph,
    edges: Sequence[int] | None = None,
    channel_order: str | None = None,
) -> list[EdgeExplanation]:
    """:func:`explain` for several edges at the cost of one forward pass.

    Args:
        edges: rows of ``graph.triplets``; None: all of them.
    """
    predictor = EGTRPredictor.create(model)
    edges = list(range(len(graph))) if edges is None else list(edges)
    for edge in edges:
        if not 0 <= edge < len(graph):
            raise EGTRError(f"There is no edge {edge}: the graph has {len(graph)}, counted from 0")
    record, _ = predictor.prepare(SourceImage(partial(load_image, image, channel_order)))
    if (record["height"], record["width"]) != tuple(graph.image_size):
        raise EGTRError(
            f"The graph is of an image of {graph.image_size[1]} x {graph.image_size[0]} pixels, this one has "
            f"{record['width']} x {record['height']}: give the image that the graph was made of"
        )
    triplets = np.concatenate([graph.triplet_queries[edges], graph.triplets[edges, 2:]], axis=1)
    explanations = explain_triplets(
        predictor.model,
        record,
        triplets,
        graph.class_names or predictor.class_names,
        graph.predicate_names or predictor.predicate_names,
    )
    for edge, explanation in zip(edges, explanations, strict=True):
        classes = tuple(graph.classes[graph.triplets[edge, :2]])
        if (explanation.subject.class_id, explanation.object.class_id) != classes or (
            abs(explanation.score - graph.triplet_scores[edge]) > SCORE_TOLERANCE
        ):
            raise EGTRError(
                f"Edge {edge} has the score {graph.triplet_scores[edge]:.3f} in the graph, but for this model "
                f"{explanation.subject.name} - {explanation.predicate} - {explanation.object.name} has "
                f"{explanation.score:.3f}: give the model and the image that the graph was made of"
            )
    return explanations
