"""Bilinear samples as weighted sums of rows: which rows, which weights, and the gradients of the weights.

A map of S cells and M heads of D channels is a table of S * M rows of D numbers, row ``cell * M + head``. A sample
reads four rows, the corners of the square of cell centres around it. Along each axis a corner at distance e from the
sample has weight max(0, 1 - abs(e)). A corner outside the map therefore needs no special case: the square is moved
into the map, and a corner that then lies one cell or more away has weight 0.

Letters: Q queries, M heads, L levels, P points, K = L * P samples of a query and head.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..spatial_shapes import SpatialShapes, hashable


class LevelTable(NamedTuple):
    """Everything about a sample that follows from the sizes of the levels. Axis 0 is x, axis 1 is y.

    Attributes:
        size: (2, 1, M, K) float, width and height of the level that the sample reads.
        last: (2, 1, M, K) int32, the last column and line at which a square of four cells can start.
        corners: (2, 2, 1, M, K) float, position of first and second corner in the square, by axis: 0 and 1, or 0 and
            infinity if the level is one cell wide, so that the second corner is never near.
        first_row: (M, K) int32, row of the level's first cell.
        line: (M, K) int32, rows from a cell to the cell below.
        square: (4, K) int32, rows from the square's first cell to its four cells: itself, right, below, below right.
    """

    size: Tensor
    last: Tensor
    corners: Tensor
    first_row: Tensor
    line: Tensor
    square: Tensor


def level_table(spatial_shapes: SpatialShapes, locations: Tensor) -> LevelTable:
    """Make the table for sampling locations (B, Q, M, L, P, 2), and keep it for the next call with these sizes."""
    heads, points = locations.shape[2], locations.shape[4]
    return _level_table(hashable(spatial_shapes), heads, points, locations.dtype, locations.device)


@lru_cache(maxsize=64)
def _level_table(shapes: tuple, heads: int, points: int, dtype: torch.dtype, device: torch.device) -> LevelTable:
    # Inference may ask first, and training must still be able to use the table.
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
        distance: (2, 2, Q, M, K), first and second corner by x and y: the sample's position minus the corner's.
    """

    first_row: Tensor
    distance: Tensor


def find_squares(locations: Tensor, table: LevelTable) -> Squares:
    """Find the square around each sample.

    Args:
        locations: (Q, M, L, P, 2), x and y in 0..1 over the map; any other value is allowed too.
        table: the table of the levels.
    """
    queries, heads = locations.shape[:2]
    position = locations.new_empty(2, queries, heads, table.size.shape[-1])
    torch.addcmul(locations.new_full((), -0.5), locations.flatten(2, 3).movedim(-1, 0), table.size, out=position)
    # Rounding towards zero is as good as rounding down, since negative cells become 0. The bounds apply to integers,
    # so that not even the NaN of a diverging training run can lead out of the table.
    cell = torch.minimum(position.to(torch.int32).clamp_(min=0), table.last)
    first_row = torch.addcmul(table.first_row, cell[1], table.line).add_(cell[0], alpha=heads)
    return Squares(first_row, position.sub_(cell) - table.corners)


def near(distance: Tensor) -> Tensor:
    """Compute the weight of a corner along one axis, max(0, 1 - abs(distance))."""
    return torch.rsub(distance.abs(), 1).relu_()


def near_slope(distance: Tensor) -> Tensor:
    """Differentiate :func:`near`; at a kink the derivative is that from the right, as in grid_sample."""
    floor = distance.floor()
    return (floor == -1).to(distance.dtype) - (floor == 0).to(distance.dtype)


def corner_rows(squares: Squares, attention_weights: Tensor, table: LevelTable) -> tuple[Tensor, Tensor]:
    """Tell which rows to read, and the weight of each.

    Args:
        squares: the squares around the samples.
        attention_weights: (Q, M, L, P).
        table: the table of the levels.

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
    """Compute the gradients of the samples' positions and attention weights.

    Args:
        squares: the squares around the samples.
        attention_weights: (Q, M, L, P).
        table: the table of the levels.
        products: (Q * M, 4, K), the product of each row with the gradient of the sum that it enters.

    Returns:
        Gradients of the positions (Q, M, L, P, 2) and of the attention weights (Q, M, L, P).
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
