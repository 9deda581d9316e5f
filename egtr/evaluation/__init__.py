"""Scoring of scene graphs: plain numpy, and :class:`SceneGraphEvaluator`, which plugs it into Detectron2."""

from typing import Any

from .detection import Detections, detection_ap, detections_per_class, detections_per_query
from .matching import NEVER, first_hits, match_objects, match_triplets
from .open_images import evaluate_open_images
from .prediction_file import read_meta, read_predictions
from .prediction_format import PredictionMeta
from .prediction_writer import PredictionWriter
from .protocols import PROTOCOLS, REFERENCE, Protocol, get_protocol
from .pruning import prune_prediction
from .recall import ImageHits, PredicateRecall, predicate_recall, recall_metrics, score_image
from .scoring import evaluate

__all__ = [
    "NEVER",
    "PROTOCOLS",
    "REFERENCE",
    "Detections",
    "ImageHits",
    "PredicateRecall",
    "PredictionMeta",
    "PredictionWriter",
    "Protocol",
    "SceneGraphEvaluator",
    "detection_ap",
    "detections_per_class",
    "detections_per_query",
    "evaluate",
    "evaluate_open_images",
    "first_hits",
    "get_protocol",
    "match_objects",
    "match_triplets",
    "predicate_recall",
    "prune_prediction",
    "read_meta",
    "read_predictions",
    "recall_metrics",
    "score_image",
]


def __getattr__(name: str) -> Any:
    # Loaded on demand: the rest of this room needs neither torch nor Detectron2.
    if name == "SceneGraphEvaluator":
        from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
        from .evaluator import SceneGraphEvaluator

        return SceneGraphEvaluator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
