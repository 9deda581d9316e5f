"""Positions of the cells of feature maps in the image."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList
from torch import Tensor

from egtr.layers import sine_position_embedding
from egtr.layers.spatial_shapes import SpatialShapes
from egtr.structures import ConfigurationError

from .encoder import encoder_reference_points


class MapGeometry(NamedTuple):
    """Positions of the S cells of L levels. B is the number of images, or 1 if all images of a batch agree.

    Attributes:
        positions: sine embedding of each level's cells, (B, height * width, d) float32.
        reference_points: (B, S, L, 2), see :func:`encoder_reference_points`.
        valid_ratios: (B, L, 2), share of each padded map's width and height that the image fills.
        padding_mask: (B, S) bool, True at padding; None if there is no padding.
    """

    positions: tuple[Tensor, ...]
    reference_points: Tensor
    valid_ratios: Tensor
    padding_mask: Tensor | None


def valid_pixels(images: ImageList) -> Tensor | None:
    """Mark the pixels of a padded batch that belong to images: (B, H, W) bool, or None if there is no padding.

    The sizes are known to the host, so it never waits for the device.
    """
    padded = images.tensor
    # torch.jit.trace turns sizes into tensors; these become plain numbers here.
    whole = [int(size) for size in padded.shape[-2:]]
    sizes = [[int(height), int(width)] for height, width in images.image_sizes]
    if all(size == whole for size in sizes):
        return None
    valid = torch.zeros(len(sizes), *whole, dtype=torch.bool, device=padded.device)
    for index, (height, width) in enumerate(sizes):
        valid[index, :height, :width] = True
    return valid


@contextmanager
def refusing_single_cells(images: ImageList) -> Iterator[None]:
    """Raise ConfigurationError where PyTorch's norms refuse a map of a single cell: the image is too small."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        height, width = images.tensor.shape[-2:]
        raise ConfigurationError(
            f"An image of {height} x {width} pixels is too small: no norm can normalize a map of 1 x 1. "
            "Enlarge INPUT.MIN_SIZE_TRAIN and INPUT.MIN_SIZE_TEST, or lower "
            "MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS"
        ) from error


def map_geometry(
    valid: Tensor | None, spatial_shapes: SpatialShapes, dim: int, device: torch.device | str
) -> MapGeometry:
    """Compute the geometry of a batch; without padding, the results for the last few shapes are kept.

    Args:
        valid: (B, H, W) bool over the padded batch, True inside images; None if there is no padding.
        spatial_shapes: (height, width) of the levels.
        dim: width d of the embedding.
        device: device of the result and of ``valid``.
    """
    if valid is None:
        # A symbol is no key of a cache, and a cached tensor would outlive the export.
        unpadded = _unpadded_geometry.__wrapped__ if torch.compiler.is_compiling() else _unpadded_geometry
        return unpadded(tuple(spatial_shapes), dim, torch.device(device))
    masks = [
        F.interpolate(valid[:, None].float(), size=shape, mode="nearest")[:, 0].bool() for shape in spatial_shapes
    ]
    return _geometry(masks, spatial_shapes, dim)._replace(
        padding_mask=~torch.cat([m.flatten(1) for m in masks], dim=1)
    )


@lru_cache(maxsize=4)
def _unpadded_geometry(spatial_shapes: tuple[tuple[int, int], ...], dim: int, device: torch.device) -> MapGeometry:
    # Inference may ask first, and training must still be able to use the tensors.
    with torch.inference_mode(False), torch.no_grad():
        masks = [torch.ones(1, *shape, dtype=torch.bool, device=device) for shape in spatial_shapes]
        return _geometry(masks, spatial_shapes, dim)


def _geometry(masks: list[Tensor], spatial_shapes: SpatialShapes, dim: int) -> MapGeometry:
    ratios = [torch.stack([m[:, 0].float().mean(-1), m[:, :, 0].float().mean(-1)], dim=-1) for m in masks]
    valid_ratios = torch.stack(ratios, dim=1)
    return MapGeometry(
        positions=tuple(sine_position_embedding(mask, dim).flatten(1, 2) for mask in masks),
        reference_points=encoder_reference_points(spatial_shapes, valid_ratios),
        valid_ratios=valid_ratios,
        padding_mask=None,
    )
