"""Bilinear samples as weighted sums of rows: which rows, which weights, and how the weights move with the points.

A map of S cells and M heads of D channels is a table of S * M rows of D numbers, row ``cell * M + head``. A sample
reads four of them, the corners of the square of cell centres around it. Along each axis a corner at distance e from
the sample has weight max(0, 1 - abs(e)), so a corner outside the map needs no special case: the square is moved into
the map, and what then lies a cell or more away weighs nothing.

Letters: Q queries, M heads, L levels, P points, K = L * P samples of a query and head.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

SpatialShapes = list[tuple[int, int]]


class LevelTable(NamedTuple):
    """What the sizes of the levels say about each sample. Axis 0 is x, axis 1 is y.

    Attributes:
        size: (2, 1, M, K) float, width and height of the level that the sample reads.
        last: (2, 1, M, K) int32, the last column and line at which a square of four cells can start.
        corners: (2, 2, 1, M, K) float, cell of first and second corner in the square, by axis: 0 and 1; 0 and
            infinity where the level is a single cell wide, so that the second corner is never near.
        first_row: (M, K) int32, row of the level's first cell.
        line: (M, K) int32, rows from a cell to the one below.
        square: (4, K) int32, rows from the square's first cell to its four: itself, right, below, below right.
    """

    size: Tensor
    last: Tensor
    corners: Tensor
    first_row: Tensor
    line: Tensor
    square: Tensor


@lru_cache(maxsize=64)
def _level_sizes(shapes: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([(width, height) for height, width in shapes], dtype=dtype, device=device)


def level_sizes(spatial_shapes: SpatialShapes, like: Tensor) -> Tensor:
    """(L, 2), width and height of each level in the type and on the device of ``like``, kept for the next call."""
    return _level_sizes(_hashable(spatial_shapes), like.dtype, like.device)


def level_table(spatial_shapes: SpatialShapes, locations: Tensor) -> LevelTable:
    """The table for sampling locations (B, Q, M, L, P, 2), kept for further layers and images of this size."""
    heads, points = locations.shape[2], locations.shape[4]
    return _level_table(_hashable(spatial_shapes), heads, points, locations.dtype, locations.device)


def _hashable(spatial_shapes: SpatialShapes) -> tuple[tuple[int, int], ...]:
    return tuple((int(height), int(width)) for height, width in spatial_shapes)


@lru_cache(maxsize=64)
def _level_table(shapes: tuple, heads: int, points: int, dtype: torch.dtype, device: torch.device) -> LevelTable:
    # A table that is first asked for in inference mode must be of use in training too.
    with torch.inference_mode(False), torch.no_grad():
        height, width = torch.tensor(shapes).repeat_interleave(points, dim=0).unbind(-1)  # (K,)
        size = torch.stack([width, height])
        start = torch.tensor([0] + [h * w for h, w in shapes[:-1]]).cumsum(0).repeat_interleave(points)
        corners = torch.stack([torch.zeros_like(size), torch.ones_like(size)]).to(dtype)
        corners[1][size == 1] = float("inf")
        by_sample = (2, 1, heads, len(width))
        right, below = (width > 1).long(), width * (height > 1)
        table = LevelTable(
            size=size[:, None, None].expand(by_sample).to(dtype),
            last=(size - 2).clamp(min=0)[:, None, None].expand(by_sample).int(),
            corners=corners[:, :, None, None].expand(2, *by_sample),
            first_row=(start * heads + torch.arange(heads)[:, None]).int(),
            line=(width * heads).expand(heads, -1).int(),
            square=(torch.stack([0 * right, right, below, right + below]) * heads).int(),
        )
        return LevelTable(*(tensor.contiguous().to(device) for tensor in table))


class Squares(NamedTuple):
    """The square of four cells around each sample.

    Attributes:
        first_row: (Q, M, K) int32, row of the square's first cell.
        distance: (2, 2, Q, M, K), first and second corner by x and y: the sample's position less the corner's.
    """

    first_row: Tensor
    distance: Tensor


def find_squares(locations: Tensor, table: LevelTable) -> Squares:
    """Where samples lie.

    Args:
        locations: (Q, M, L, P, 2), x and y in 0..1 over the map; anything is allowed.
        table: of the levels.
    """
    queries, heads = locations.shape[:2]
    position = locations.new_empty(2, queries, heads, table.size.shape[-1])
    torch.addcmul(locations.new_full((), -0.5), locations.flatten(2, 3).movedim(-1, 0), table.size, out=position)
    # Rounding towards zero is as good as down, since negative cells become 0. Bounds are put on integers, so that
    # not even a NaN, which a diverging training run will produce, can lead out of the table.
    cell = torch.minimum(position.to(torch.int32).clamp_(min=0), table.last)
    first_row = torch.addcmul(table.first_row, cell[1], table.line).add_(cell[0], alpha=heads)
    return Squares(first_row, position.sub_(cell) - table.corners)


def near(distance: Tensor) -> Tensor:
    """Weight of a corner along one axis, max(0, 1 - abs(distance))."""
    return torch.rsub(distance.abs(), 1).relu_()


def near_slope(distance: Tensor) -> Tensor:
    """Derivative of :func:`near`; from the right where it has a kink, as grid_sample has it."""
    floor = distance.floor()
    return (floor == -1).to(distance.dtype) - (floor == 0).to(distance.dtype)


def corner_rows(squares: Squares, attention_weights: Tensor, table: LevelTable) -> tuple[Tensor, Tensor]:
    """Rows to read, and what each counts.

    Args:
        attention_weights: (Q, M, L, P).

    Returns:
        rows (Q * M, 4, K) int32 and weights (Q * M, 4, K), corners in the order of ``table.square``.
    """
    samples = squares.first_row.shape[-1]
    rows = squares.first_row.view(-1, 1, samples) + table.square
    x, y = near(squares.distance).view(2, 2, -1, samples).unbind(1)  # (corner, Q * M, K)
    y = y * attention_weights.reshape(-1, samples)
    weights = y.new_empty(y.shape[1], 2, 2, samples)
    torch.mul(y.movedim(0, 1)[:, :, None], x.movedim(0, 1)[:, None], out=weights)
    return rows, weights.flatten(1, 2)


def sample_gradients(
    squares: Squares, attention_weights: Tensor, table: LevelTable, products: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the samples' positions and attention weights.

    Args:
        products: (Q * M, 4, K), each row that is read times the gradient of the sum that it enters.

    Returns:
        (Q, M, L, P, 2) and (Q, M, L, P).
    """
    (x0, y0), (x1, y1) = near(squares.distance).unbind(0)
    (slope_x0, slope_y0), (slope_x1, slope_y1) = near_slope(squares.distance).unbind(0)
    top_left, top_right, low_left, low_right = products.view(*x0.shape[:2], 4, -1).unbind(2)
    top, low = x0 * top_left + x1 * top_right, x0 * low_left + x1 * low_right
    d_weights = y0 * top + y1 * low
    d_x = y0 * (slope_x0 * top_left + slope_x1 * top_right) + y1 * (slope_x0 * low_left + slope_x1 * low_right)
    d_y = slope_y0 * top + slope_y1 * low
    d_positions = torch.stack([d_x, d_y]).mul_(table.size).movedim(0, -1).view(*attention_weights.shape, 2)
    return d_positions * attention_weights[..., None], d_weights.view_as(attention_weights)
