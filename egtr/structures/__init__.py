"""Records that every other part of the library exchanges. Plain numpy: no torch, no Detectron2."""

from .errors import EGTRError
from .ground_truth import GroundTruth
from .prediction import Prediction, all_pairs
from .ranking import RankedTriplets, best_pairs, rank_triplets
from .scene_graph import SceneGraph

__all__ = [
    "EGTRError",
    "GroundTruth",
    "Prediction",
    "RankedTriplets",
    "SceneGraph",
    "all_pairs",
    "best_pairs",
    "rank_triplets",
]
