"""Why an edge of a graph is there: its explanation, and whether model, image and graph belong together."""

from collections.abc import Sequence
from typing import Any

from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
import numpy as np
import torch

from egtr.modeling.explain import explain_triplets
from egtr.structures import EdgeExplanation, PredictionError, SceneGraph

# A graph may have been made in lower precision, or on another device.
SCORE_TOLERANCE = 0.05


def explain_edges(
    model: torch.nn.Module,
    record: dict[str, Any],
    graph: SceneGraph,
    edges: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    predicate_names: Sequence[str] | None = None,
) -> list[EdgeExplanation]:
    """Explain edges of a graph by one forward pass of the model that made it.

    Args:
        model: the model.
        record: its input record for the image of the graph, see :meth:`EGTRPredictor.prepare`.
        graph, edges: see :meth:`EGTRPredictor.explain`.
        class_names, predicate_names: names to use where the graph has none.

    Raises:
        PredictionError: there is no such edge, or the graph is of another model or another image, or of given boxes.
    """
    if graph.given is not None:
        raise PredictionError(
            "The graph has objects whose boxes were given; explanations are of queries, so predict it without boxes"
        )
    edges = list(range(len(graph))) if edges is None else list(edges)
    for edge in edges:
        if not 0 <= edge < len(graph):
            raise PredictionError(f"There is no edge {edge}: the graph has {len(graph)}, counted from 0")
    if (record["height"], record["width"]) != tuple(graph.image_size):
        raise PredictionError(
            f"The graph is of an image of {graph.image_size[1]} x {graph.image_size[0]} pixels, this one has "
            f"{record['width']} x {record['height']}: give the image that the graph was made of"
        )
    triplets = np.concatenate([graph.triplet_queries[edges], graph.triplets[edges, 2:]], axis=1)
    explanations = explain_triplets(
        model, record, triplets, graph.class_names or class_names, graph.predicate_names or predicate_names
    )
    for edge, explanation in zip(edges, explanations, strict=True):
        _check(explanation, graph, edge)
    return explanations


def _check(explanation: EdgeExplanation, graph: SceneGraph, edge: int) -> None:
    classes = tuple(graph.classes[graph.triplets[edge, :2]])
    same_classes = (explanation.subject.class_id, explanation.object.class_id) == classes
    if not same_classes or abs(explanation.score - graph.triplet_scores[edge]) > SCORE_TOLERANCE:
        raise PredictionError(
            f"Edge {edge} has the score {graph.triplet_scores[edge]:.3f} in the graph, but for this model "
            f"{explanation.subject.name} - {explanation.predicate} - {explanation.object.name} has "
            f"{explanation.score:.3f}: give the model and the image that the graph was made of"
        )
