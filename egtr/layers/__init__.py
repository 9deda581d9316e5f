"""Building blocks of networks that need no configuration.

- ``deformable_attention``  multi-scale deformable attention; ``deformable_sampling`` its implementations by name
- ``self_attention``        decoder self-attention that also returns queries and keys
- ``feed_forward``, ``dropout``, ``mlp``, ``conv_norm``   parts of layers and heads
- ``norm_folding``, ``folded_weights``                     norms as parts of convolutions, folded once for a stream
- ``position_encoding``, ``boxes``, ``spatial_shapes``      positions, boxes, sizes of maps
- ``cpu/``                  code that exists only to be fast on CPUs, behind one switch
"""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 if it is missing

from .boxes import box_cxcywh_to_xyxy, box_iou, box_xyxy_to_cxcywh, generalized_box_iou, inverse_sigmoid
from .conv_norm import ConvNorm
from .deformable_attention import MultiScaleDeformableAttention, multi_scale_deformable_attention
from .deformable_sampling import DEFORMABLE_ATTENTION_REGISTRY
from .mlp import MLP
from .position_encoding import grid_position_table, sine_box_embedding, sine_position_embedding
from .self_attention import QueryKeySelfAttention

__all__ = [
    "DEFORMABLE_ATTENTION_REGISTRY",
    "MLP",
    "ConvNorm",
    "MultiScaleDeformableAttention",
    "QueryKeySelfAttention",
    "box_cxcywh_to_xyxy",
    "box_iou",
    "box_xyxy_to_cxcywh",
    "generalized_box_iou",
    "grid_position_table",
    "inverse_sigmoid",
    "multi_scale_deformable_attention",
    "sine_box_embedding",
    "sine_position_embedding",
]
