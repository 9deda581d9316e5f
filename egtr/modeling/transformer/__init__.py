"""The detectors after the backbone: the transformers of Deformable DETR, RT-DETR and DETR.

- ``deformable_transformer``  Deformable DETR: projections, ``encoder``, ``decoder``, heads; ``two_stage`` proposals
- ``rtdetr_transformer``     RT-DETR: ``hybrid_encoder``, query selection, decoder, heads
- ``detr_transformer``        DETR: dense attention over one map
- ``layer``                   the base of all encoder and decoder layers
- ``geometry``                positions of the cells of feature maps
- ``box_queries``             boxes that enter the decoder as queries
- ``build``                   the registry, with its contract
"""

from .build import TRANSFORMER_REGISTRY, TransformerOutput, build_transformer
from .deformable_transformer import DeformableTransformer
from .detr_transformer import DETRTransformer
from .rtdetr_transformer import RTDETRTransformer

__all__ = [
    "TRANSFORMER_REGISTRY",
    "DETRTransformer",
    "DeformableTransformer",
    "RTDETRTransformer",
    "TransformerOutput",
    "build_transformer",
]
