"""Detectors after the backbone: the transformers of Deformable DETR and of DETR."""

from .build import TRANSFORMER_REGISTRY, TransformerOutput, build_transformer
from .deformable_transformer import DeformableTransformer
from .detr_transformer import DETRTransformer

__all__ = [
    "TRANSFORMER_REGISTRY",
    "DETRTransformer",
    "DeformableTransformer",
    "TransformerOutput",
    "build_transformer",
]
