"""Sizes of feature maps."""

from functools import lru_cache

import torch
from torch import Tensor

# (height, width) of each level, as plain ints, so that the host never waits for the device.
SpatialShapes = list[tuple[int, int]]


def map_size(maps: Tensor) -> tuple[int, int]:
    """Return height and width of maps (..., H, W)."""
    height, width = maps.shape[-2:]
    # torch.export must keep sizes as symbols. torch.jit.trace turns them into tensors, which become numbers again.
    return (height, width) if torch.compiler.is_compiling() else (int(height), int(width))


def level_sizes(spatial_shapes: SpatialShapes, like: Tensor) -> Tensor:
    """Return width and height of each level, (L, 2), in the type and on the device of ``like``.

    The tensor is kept for the next call.
    """
    if torch.compiler.is_compiling():
        # A symbol is no key of a cache, and a cached tensor would outlive the export.
        sizes = [torch.ones(side, device=like.device).sum() for shape in spatial_shapes for side in reversed(shape)]
        return torch.stack(sizes).view(-1, 2).to(like.dtype)
    return _level_sizes(hashable(spatial_shapes), like.dtype, like.device)


def hashable(spatial_shapes: SpatialShapes) -> tuple[tuple[int, int], ...]:
    """Turn shapes into a key for caches."""
    return tuple((int(height), int(width)) for height, width in spatial_shapes)


@lru_cache(maxsize=64)
def _level_sizes(shapes: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    # Inference may ask first, and training must still be able to use the tensor.
    with torch.inference_mode(False):
        return torch.tensor([(width, height) for height, width in shapes], dtype=dtype, device=device)
