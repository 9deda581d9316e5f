"""Scoring of scene graphs: plain numpy, and :class:`SceneGraphEvaluator`, which plugs it into Detectron2.

- ``evaluator``          called by Detectron2's test loop; ``packing`` has the records that its processes exchange
- ``scoring``            metrics of many images; ``image_scores`` the scores of one image
- ``conventions``        scoring conventions and named protocols, which ``protocols`` finds; ``protocol_words``
                         changes them from words and YAML; ``comparison`` shows several side by side
- ``zero_shot``          fixed lists of new triplets, and ``predicate_groups`` of frequent and rare predicates
- ``matching``           compares predicted triplets with annotated ones; ``recall`` computes recall from that
- ``detection``          average precision of objects
- ``open_images``        the metrics of Open Images' relation challenge
- ``bootstrap``          confidence intervals
- ``calibration``        fits probabilities to what is ``displayed``; ``reliability`` measures them, and
                         ``calibration_report`` and ``reliability_plot`` show what was measured
- ``entries``            predictions that list a pair more than once; ``instances`` those that find an object
                         repeatedly
- ``triplet_table``      the triplets of a dataset with their ranks; ``predicate_rank`` the places of right predicates
- ``record_checks``      checks of predictions; ``foreign_pickles`` and ``foreign_dumps`` read other projects' results
- ``pruning``            leaves out pairs that no metric needs
- ``missing``            images that could not be read
- ``prediction_format``  the contents of a prediction file, which ``prediction_writer`` and ``prediction_file`` handle
- ``offline``            scores of prediction files
- ``report``             tables, JSON and CSV; ``recall_plot`` recall of each predicate over its training frequency
"""

from typing import Any

from egtr import _deprecated

from .detection import OBJECT_AP, Detections, detection_ap, detections_per_class, detections_per_query
from .image_scores import ImageScores
from .matching import NEVER, first_hits, match_objects, match_triplets
from .offline import Annotations, score_predictions
from .predicate_groups import read_groups
from .prediction_file import list_images, read_meta, read_predictions
from .prediction_format import PredictionMeta
from .prediction_writer import PredictionWriter
from .protocols import PROTOCOLS, REFERENCE, Protocol, get_protocol, get_protocols
from .pruning import prune_prediction
from .recall import PredicateRecall
from .scoring import Scorer, check_top_k, evaluate
from .zero_shot import read_zero_shot

__all__ = [
    "NEVER",
    "PROTOCOLS",
    "REFERENCE",
    "OBJECT_AP",
    "Annotations",
    "Detections",
    "ImageScores",
    "PredicateRecall",
    "PredictionMeta",
    "PredictionWriter",
    "Protocol",
    "SceneGraphEvaluator",
    "Scorer",
    "check_top_k",
    "detection_ap",
    "detections_per_class",
    "detections_per_query",
    "evaluate",
    "first_hits",
    "get_protocol",
    "get_protocols",
    "list_images",
    "match_objects",
    "match_triplets",
    "prune_prediction",
    "read_groups",
    "read_meta",
    "read_predictions",
    "read_zero_shot",
    "score_predictions",
]


def _load(name: str) -> Any:
    # Loaded when it is used: the other names need neither torch nor Detectron2.
    if name == "SceneGraphEvaluator":
        from egtr import _detectron2  # noqa: F401  isort: skip - says how to install Detectron2 where it is missing
        from .evaluator import SceneGraphEvaluator

        return SceneGraphEvaluator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__getattr__ = _deprecated.moved(__name__, {"check_topk": "egtr.evaluation.check_top_k"}, _load)
