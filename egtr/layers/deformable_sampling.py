"""Implementations of multi-scale deformable sampling (Zhu et al., Deformable DETR, section 4.1), in pure PyTorch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from detectron2.utils.registry import Registry
from torch import Tensor

from egtr.structures import ConfigurationError

from . import cpu
from .cpu.row_sampling import embedding_bag, gather
from .spatial_shapes import SpatialShapes

DEFORMABLE_ATTENTION_REGISTRY = Registry("DEFORMABLE_ATTENTION")
DEFORMABLE_ATTENTION_REGISTRY.__doc__ = """
Ways to take and sum up bilinear samples (MODEL.EGTR.TRANSFORMER.DEFORMABLE_ATTENTION).

An entry is a function of ``value`` (B, S, M, D), ``spatial_shapes``, ``sampling_locations`` (B, Q, M, L, P, 2) and
``attention_weights`` (B, Q, M, L, P), as :func:`egtr.layers.multi_scale_deformable_attention` describes them. It
returns (B, Q, M * D), differentiable in all three tensors. The tensors have one type, float32 or float64, and are on
one device; autocast is off, and Q may be 0.
"""


def sampling_function(name: str, device: torch.device) -> Callable[..., Tensor]:
    """Look up an entry of the registry; "auto" is the fastest one for the device, in inference and training.

    Raises:
        ConfigurationError: the name is not registered.
    """
    if name == "auto":
        name = "embedding_bag" if cpu.is_used(device) else "grid_sample"
    if name not in DEFORMABLE_ATTENTION_REGISTRY:
        known = ", ".join(["auto", *sorted(name for name, _ in DEFORMABLE_ATTENTION_REGISTRY)])
        raise ConfigurationError(
            f"MODEL.EGTR.TRANSFORMER.DEFORMABLE_ATTENTION: {name!r} is not registered. Known: {known}. Import an "
            f"entry of your own before the model is built"
        )
    return DEFORMABLE_ATTENTION_REGISTRY.get(name)


@DEFORMABLE_ATTENTION_REGISTRY.register()
def grid_sample(
    value: Tensor, spatial_shapes: SpatialShapes, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Sample level by level with PyTorch's grid_sample: the plainest way. Tests compare the others with it."""
    batch, _, heads, head_dim = value.shape
    queries, levels, points = sampling_locations.shape[1], len(spatial_shapes), sampling_locations.shape[4]
    # Queries come last: exported models join and sum up long rows several times faster than rows of a few points.
    grids = (2 * sampling_locations - 1).permute(0, 2, 3, 4, 1, 5).flatten(0, 1)  # (B*M, L, P, Q, 2)
    sampled = []
    for level, (cells, (height, width)) in enumerate(
        zip(value.split([h * w for h, w in spatial_shapes], dim=1), spatial_shapes, strict=True)
    ):
        feature = cells.permute(0, 2, 3, 1).reshape(batch * heads, head_dim, height, width)
        sampled.append(F.grid_sample(feature, grids[:, level], "bilinear", "zeros", align_corners=False))
    weights = attention_weights.permute(0, 2, 3, 4, 1).reshape(batch * heads, 1, levels * points, queries)
    out = (torch.cat(sampled, dim=2) * weights).sum(2)  # (B*M, D, Q)
    return out.view(batch, heads * head_dim, queries).transpose(1, 2)


# Both compute the same faster on CPUs.
DEFORMABLE_ATTENTION_REGISTRY.register(gather)
DEFORMABLE_ATTENTION_REGISTRY.register(embedding_bag)
