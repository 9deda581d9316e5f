"""Answers of the API about an image, computed in the worker's thread."""

import io
import json
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np

from egtr.structures import Predictor, SceneGraph
from egtr.visualization import draw_scene_graph
from egtr.visualization.report.image import MAX_POINTS, encode_image

from .schema import GraphSelection, Selection

# Resolution of a drawn graph in pixels per inch, as for the files of egtr.visualization.
DPI = 160


def predict(predictor: Predictor, image: np.ndarray, name: str | None, selection: Selection) -> SceneGraph:
    """Predict the chosen part of the graph of an image, (H, W, 3) uint8, RGB."""
    (result,) = predictor.predict(image, "RGB")
    if result.error is not None:
        raise result.error
    return replace(selection.apply(result.graph), file_name=name)


def scene_graph(predictor: Predictor, image: np.ndarray, name: str | None, selection: GraphSelection) -> bytes:
    """Write the graph in the requested format."""
    graph = predict(predictor, image, name, selection)
    if selection.format == "png":
        file = io.BytesIO()
        draw_scene_graph(image, graph).savefig(file, format="png", dpi=DPI)
        return file.getvalue()
    if selection.format == "graphml":
        file = io.BytesIO()
        nx.write_graphml(graph.to_networkx(), file)
        return file.getvalue()
    return json.dumps(graph.to_dict(), ensure_ascii=False).encode()


def explained_graph(
    predictor: Predictor, image: np.ndarray, name: str | None, selection: Selection
) -> dict[str, Any]:
    """Answer the image, its graph and the explanations, as :class:`egtr.serving.schema.ExplainedGraph` says."""
    graph = predict(predictor, image, name, selection)
    return {
        "name": name,
        "image": f"data:image/webp;base64,{encode_image(image)}",
        "graph": graph.to_dict(),
        "explanations": _explain(predictor, image, graph),
    }


def _explain(predictor: Predictor, image: np.ndarray, graph: SceneGraph) -> list[dict[str, Any]] | None:
    # Models that are not EGTR's own may have no explanations.
    explain = getattr(predictor, "explain", None)
    if explain is None:
        return None
    explanations = explain(image, graph, channel_order="RGB") if len(graph) else []
    return [explanation.to_dict(MAX_POINTS) for explanation in explanations]
