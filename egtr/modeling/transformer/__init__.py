"""Deformable DETR's transformer."""

from .deformable_transformer import DeformableTransformer, TransformerOutput

__all__ = ["DeformableTransformer", "TransformerOutput"]
