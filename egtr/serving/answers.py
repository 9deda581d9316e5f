"""Answers of the API about an image, computed in the worker's thread."""

import inspect
import io
import json
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np

from egtr.data.given_boxes import read_boxes
from egtr.structures import ConfigurationError, DataError, EGTRError, Predictor, SceneGraph
from egtr.visualization import draw_scene_graph
from egtr.visualization.report.image import MAX_POINTS, encode_image

from .errors import RefusedError
from .remembered import Remembered, RememberedImages
from .schema import Correction, GraphSelection, Part, Selection

# Arguments of a predictor about given boxes.
Arguments = dict[str, Any]
# Resolution of a drawn graph in pixels per inch, as for the files of egtr.visualization.
DPI = 160


def read_given(fields: dict[str, Any], selection: Part, max_boxes: int) -> dict[str, Any]:
    """Read given boxes: the arguments that a predictor gets for them; none if there are no boxes.

    Args:
        fields: the fields of the form, see :class:`egtr.serving.upload.Upload`.
        selection: the parameters.
        max_boxes: most boxes.

    Raises:
        RefusedError: 422, the boxes are wrong or too many, or there are none although other fields are about them.
    """
    others = [name for name in fields if name != "boxes"]
    others += [name for name in ("refine_boxes", "with_found") if getattr(selection, name)]
    if fields.get("boxes") is None:
        if others:
            raise RefusedError(422, f"{others[0]} says something of given boxes, but there are none; send boxes, too")
        return {}
    try:
        # Here a list is always of one image.
        boxes = read_boxes(fields["boxes"], fields.get("classes"), fields.get("scores"))
    except EGTRError as error:
        raise RefusedError(422, str(error)) from error
    if len(boxes.boxes) > max_boxes:
        raise RefusedError(422, f"boxes: there are {len(boxes.boxes)}; at most {max_boxes} are allowed")
    return {"boxes": boxes, "refine_boxes": selection.refine_boxes, "with_found": selection.with_found}


def predict(
    predictor: Predictor,
    image: np.ndarray,
    name: str | None,
    selection: Selection,
    given: Arguments | None = None,
) -> SceneGraph:
    """Predict the chosen part of the graph of an image, (H, W, 3) uint8, RGB, for given boxes if there are any.

    Raises:
        RefusedError: 422, the given boxes do not fit the image or the model.
    """
    if given and "boxes" not in inspect.signature(predictor.predict).parameters:
        raise RefusedError(422, "boxes: this model takes none; take another one, or send no boxes")
    (result,) = predictor.predict(image, "RGB", **(given or {}))
    if result.error is not None:
        # The image has been decoded already.
        raise RefusedError(422, str(result.error)) if given else result.error
    return replace(selection.apply(result.graph), file_name=name)


def scene_graph(
    predictor: Predictor,
    image: np.ndarray,
    name: str | None,
    selection: GraphSelection,
    given: Arguments | None = None,
) -> bytes:
    """Write the graph in the requested format."""
    graph = predict(predictor, image, name, selection, given)
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
    predictor: Predictor,
    image: np.ndarray,
    name: str | None,
    selection: Selection,
    given: Arguments | None = None,
    images: RememberedImages | None = None,
) -> dict[str, Any]:
    """Answer the image, its graph and the explanations, as :class:`egtr.serving.schema.ExplainedGraph` says.

    Args:
        predictor, image, name, selection, given: see :func:`predict`.
        images: where the image is to be remembered; None: it is not.

    Raises:
        RefusedError: 422, the given boxes do not fit the image or the model, or the model cannot remember images.
    """
    key = None
    if images is not None:
        remembered = Remembered(_remember(predictor, image), name)
        graph = _relate(remembered, given, selection) if given else selection.apply(remembered.memory.graph)
        graph = replace(graph, file_name=name)
        key = images.keep(remembered)
    else:
        graph = predict(predictor, image, name, selection, given)
    return {
        "name": name,
        "remembered": key,
        "image": f"data:image/webp;base64,{encode_image(image)}",
        "graph": graph.to_dict(),
        "explanations": _explain(predictor, image, graph),
    }


def corrected_graph(
    images: RememberedImages, correction: Correction, selection: Part, given: Arguments
) -> dict[str, Any]:
    """Answer the graph of the boxes of a remembered image.

    Raises:
        RefusedError: 410, the image has been forgotten; 422, the boxes do not fit the image or the model.
    """
    return _relate(images.find(correction.image), given, selection).to_dict()


def _remember(predictor: Predictor, image: np.ndarray) -> Any:
    if not hasattr(predictor, "remember"):
        raise RefusedError(422, "remember: this model cannot remember images; take another one, or do not ask for it")
    try:
        return predictor.remember(image, "RGB")
    except ConfigurationError as error:
        raise RefusedError(422, f"remember: {error}") from error


def _relate(image: Remembered, given: Arguments, selection: Part) -> SceneGraph:
    try:
        graph = image.memory.relate(**given)
    except DataError as error:
        raise RefusedError(422, str(error)) from error
    return replace(selection.apply(graph), file_name=image.name)


def _explain(predictor: Predictor, image: np.ndarray, graph: SceneGraph) -> list[dict[str, Any]] | None:
    # Models that are not EGTR's own may have no explanations, and those of given boxes are not known.
    explain = getattr(predictor, "explain", None)
    if explain is None or graph.given is not None:
        return None
    explanations = explain(image, graph, channel_order="RGB") if len(graph) else []
    return [explanation.to_dict(MAX_POINTS) for explanation in explanations]
