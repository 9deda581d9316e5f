"""The model: backbone, transformer, relation part, losses and postprocessing.

- ``egtr``             the meta-architecture: normalisation of pixels, forward pass, losses, inference
- ``backbone``         timm networks as Detectron2 backbones
- ``transformer/``     the detectors after the backbone
- ``relation/``        everything that EGTR adds to a detector
- ``outputs``          the dense output; ``postprocessing`` turns it into detections and records
- ``target``           ground truth and matches; ``matcher`` finds the matches (Hungarian matching)
- ``criterion``        all losses: ``detection_loss``, ``relation_loss``; ``loss_normalizer`` has their divisors
- ``smoothing``        softer targets for relations between badly found objects
- ``denoising``        noised true boxes as further queries in training
- ``detector_cache``   the output of a frozen detector on disk
- ``names``            names of the classes and predicates of a model
- ``explain``          explanations of single relations
"""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 if it is missing

from .backbone import TimmBackbone, build_timm_backbone
from .criterion import SetCriterion
from .egtr import EGTR
from .matcher import HungarianMatcher
from .outputs import EGTROutput
from .relation.build import (
    CONNECTIVITY_HEAD_REGISTRY,
    PAIR_FUNCTION_REGISTRY,
    RELATION_HEAD_REGISTRY,
    RELATION_TASK_REGISTRY,
)
from .relation.pair_features import PairFeatures
from .relation.tasks import RelationTask
from .smoothing import SMOOTHING_REGISTRY, Smoothing
from .target import Target
from .transformer.build import TRANSFORMER_REGISTRY
from .transformer.deformable_transformer import DeformableTransformer
from .transformer.detr_transformer import DETRTransformer

__all__ = [
    "CONNECTIVITY_HEAD_REGISTRY",
    "EGTR",
    "PAIR_FUNCTION_REGISTRY",
    "RELATION_HEAD_REGISTRY",
    "RELATION_TASK_REGISTRY",
    "SMOOTHING_REGISTRY",
    "DeformableTransformer",
    "EGTROutput",
    "HungarianMatcher",
    "PairFeatures",
    "RelationTask",
    "TRANSFORMER_REGISTRY",
    "DETRTransformer",
    "SetCriterion",
    "Smoothing",
    "Target",
    "TimmBackbone",
    "build_timm_backbone",
]
