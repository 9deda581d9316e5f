"""Reasons to doubt the graph of an image, by the record of the model that found it."""

import logging
from dataclasses import replace

from .model_info import ModelInfo
from .scene_graph import SceneGraph


def find_doubts(info: ModelInfo | None, best_score: float | None) -> dict[str, str]:
    """Say why the graph of an image may mean nothing.

    Args:
        info: the record of the model; None if there is none.
        best_score: the highest score of a triplet of the image, 0..1; 0 if there is no triplet. None: it says nothing
            of the image, as where boxes were given.

    Returns:
        Sentences, as far as they apply. "domain": the model was trained on drawings. "score": its best score is far
        below the scores that it reaches on images that it knows (``photograph_threshold``).
    """
    if info is None:
        return {}
    name = f"the model {info.name}" if info.name else "the model"
    doubts = {}
    if info.domain == "drawings":
        doubts["domain"] = f"{name} was trained on drawings; its graphs of photographs mean little"
    threshold = info.photograph_threshold
    if threshold is not None and best_score is not None and best_score < threshold:
        doubts["score"] = (
            f"{name} probably does not know images of this sort: its best relation scores {best_score:.3f} here, "
            f"but more than {threshold:.3f} on nearly all images that it knows"
        )
    return doubts


class Doubter:
    """Adds to the graphs of one model the reasons to doubt them, and logs the first reason of each kind.

    Args:
        info: see :func:`find_doubts`.
        logger: the log of the predictor.
    """

    def __init__(self, info: ModelInfo | None, logger: logging.Logger):
        self._info, self._logger = info, logger
        self._logged: set[str] = set()

    def doubt(self, graph: SceneGraph) -> SceneGraph:
        """Return the graph with its ``warnings``."""
        best_score = float(graph.triplet_scores.max(initial=0.0)) if graph.given is None else None
        doubts = find_doubts(self._info, best_score)
        for kind, text in doubts.items():
            if kind not in self._logged:
                # The domain is the same for all images.
                where = f"{graph.file_name}: " if graph.file_name and kind != "domain" else ""
                self._logger.warning("%s%s", where, text)
        self._logged |= doubts.keys()
        return replace(graph, warnings=tuple(doubts.values()))
