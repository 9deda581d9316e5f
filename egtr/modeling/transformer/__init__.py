"""The detectors after the backbone: the transformers of Deformable DETR and of DETR.

- ``deformable_transformer``  Deformable DETR: projections, ``encoder``, ``decoder``, heads; ``two_stage`` proposals
- ``detr_transformer``        DETR: dense attention over one map
- ``layer``                   the base of all encoder and decoder layers
- ``geometry``                positions of the cells of feature maps
- ``box_queries``             boxes that enter the decoder as queries
- ``build``                   the registry, with its contract
"""

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
