"""Detectors behind the backbone: Deformable DETR's transformer, and DETR's."""

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
