"""Building blocks of networks that need no configuration; ``egtr.layers.cpu`` holds the fast ways of CPUs."""

from egtr import _detectron2  # noqa: F401 - says how to install Detectron2 if it is missing

from .boxes import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, generalized_box_iou, inverse_sigmoid
from .deformable_attention import MultiScaleDeformableAttention, multi_scale_deformable_attention
from .deformable_sampling import DEFORMABLE_ATTENTION_REGISTRY
from .mlp import MLP
from .position_encoding import sine_box_embedding, sine_position_embedding
from .self_attention import QueryKeySelfAttention

__all__ = [
    "DEFORMABLE_ATTENTION_REGISTRY",
    "MLP",
    "MultiScaleDeformableAttention",
    "QueryKeySelfAttention",
    "box_cxcywh_to_xyxy",
    "box_xyxy_to_cxcywh",
    "generalized_box_iou",
    "inverse_sigmoid",
    "multi_scale_deformable_attention",
    "sine_box_embedding",
    "sine_position_embedding",
]
