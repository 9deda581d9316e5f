"""Sine embeddings of positions on a map and of boxes."""

import math

import torch
from torch import Tensor


def _sine(values: Tensor, dim: int, temperature: float) -> Tensor:
    """Map (...) angles to (..., dim): sine and cosine in turn, wavelengths from 2 pi to ``temperature`` * 2 pi."""
    index = torch.arange(dim, dtype=torch.float32, device=values.device)
    wavelength = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / dim)
    angles = values[..., None] / wavelength
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=-1).flatten(-2)


def sine_position_embedding(valid: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Embed the position of each cell of a map, measured over the valid part of the image (DETR, appendix A.4).

    Args:
        valid: (B, H, W) bool, True in the image, False in its padding.
        dim: width d of the result; one half describes y, the other x.
        temperature: ratio of the longest to the shortest wavelength.

    Returns:
        (B, H, W, dim) float32, y before x.
    """
    y = valid.cumsum(1, dtype=torch.float32)
    x = valid.cumsum(2, dtype=torch.float32)
    y = (y - 0.5) / (y[:, -1:, :] + 1e-6) * (2 * math.pi)
    x = (x - 0.5) / (x[:, :, -1:] + 1e-6) * (2 * math.pi)
    return torch.cat([_sine(y, dim // 2, temperature), _sine(x, dim // 2, temperature)], dim=-1)


def sine_box_embedding(boxes: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Embed boxes for two-stage queries (Deformable DETR, appendix A.4).

    Args:
        boxes: (..., 4) cxcywh in 0..1.
        dim: width of the result, a quarter for each coordinate.
        temperature: ratio of the longest to the shortest wavelength.

    Returns:
        (..., dim).
    """
    return _sine(boxes * (2 * math.pi), dim // 4, temperature).flatten(-2)


def grid_position_table(height: int, width: int, dim: int, column_major: bool, device: torch.device | str) -> Tensor:
    """Embed the positions of the cells of a map for RT-DETR's encoder: cell numbers 0, 1, 2, ..., not normalised.

    Row n of the table is added to cell n of a map that is flattened row by row. It holds the embeddings of two
    numbers a and b: each dim / 4 sines, then dim / 4 cosines, of wavelengths from 2 pi to nearly 10,000 * 2 pi.

    Args:
        height, width: of the map.
        dim: width of the embedding, a multiple of 4.
        column_major: True: a = n div height, b = n mod height, as in the code of RT-DETR's authors. On a map that is
            not square, these are not the row and column of cell n. False: a = n div width, b = n mod width, which
            are. Both agree on square maps.
        device: device of the table.

    Returns:
        (height * width, dim) float32.
    """
    sides = (width, height) if column_major else (height, width)
    axes = (torch.arange(side, dtype=torch.float32, device=device) for side in sides)
    numbers = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float32, device=device) / (dim // 4))
    angles = numbers[..., None] * omega  # (cells, 2, dim / 4)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
