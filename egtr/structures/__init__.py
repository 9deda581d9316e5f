"""Records that every other part of the library exchanges.

Plain numpy: this room needs neither torch nor Detectron2.

- ``prediction``       the raw output of a model for one image; ``ground_truth`` the annotations of one
- ``scene_graph``      named objects and ranked triplets; ``arrays`` their types; ``export`` and ``text`` other forms
- ``ranking``          the order of triplets, for evaluators and graphs; ``merging`` duplicates of one object
- ``predicted_image``  an image with its graph, and the interface of a predictor
- ``calibration``      scores that become probabilities
- ``doubts``           reasons not to trust a graph
- ``explanation``      why an edge is there, in numbers
- ``model_info``       the record that goes with a model: its names, its domain, its metrics
- ``relations``, ``boxes``, ``triplet_counts``  relations after objects are dropped, overlap, training statistics
- ``errors``           the kinds of errors; ``files`` written whole or not at all
"""

from .boxes import paired_iou, pairwise_iou
from .calibration import Calibration
from .errors import (
    ConfigurationError,
    DataError,
    DownloadError,
    EGTRError,
    PredictionError,
    TrainingError,
    WeightsError,
    WriteError,
)
from .explanation import EdgeExplanation, ExplainedObject
from .ground_truth import GroundTruth
from .model_info import ModelInfo
from .predicted_image import PredictedImage, Predictor
from .prediction import Prediction, all_pairs
from .ranking import (
    CandidatePairs,
    RankedTriplets,
    best_pairs,
    candidate_pairs,
    check_max_rank,
    rank_candidates,
    rank_triplets,
    top_indices,
)
from .relations import not_crowd, remap_relations
from .scene_graph import SceneGraph
from .triplet_counts import TripletCounts

__all__ = [
    "Calibration",
    "CandidatePairs",
    "ConfigurationError",
    "DataError",
    "DownloadError",
    "EGTRError",
    "EdgeExplanation",
    "ExplainedObject",
    "GroundTruth",
    "ModelInfo",
    "PredictedImage",
    "Prediction",
    "PredictionError",
    "Predictor",
    "RankedTriplets",
    "SceneGraph",
    "TrainingError",
    "TripletCounts",
    "WeightsError",
    "WriteError",
    "all_pairs",
    "best_pairs",
    "candidate_pairs",
    "check_max_rank",
    "not_crowd",
    "paired_iou",
    "pairwise_iou",
    "rank_candidates",
    "rank_triplets",
    "remap_relations",
    "top_indices",
]
