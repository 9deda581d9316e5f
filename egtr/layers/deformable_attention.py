"""Multi-scale deformable attention (Zhu et al., Deformable DETR, section 4.1), in pure PyTorch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .cpu.linear import apply_linear
from .deformable_sampling import sampling_function
from .spatial_shapes import SpatialShapes, level_sizes


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: SpatialShapes,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    implementation: str = "auto",
) -> Tensor:
    """Compute weighted sums of bilinear samples.

    B is the batch, S the cells of all levels, M heads, D channels of a head, Q queries, L levels, P points.

    Args:
        value: (B, S, M, D), the cells of one level after the other, row-major.
        spatial_shapes: (height, width) of each level as plain ints, so that the host never waits for the device.
        sampling_locations: (B, Q, M, L, P, 2), x and y in 0..1 over the padded map; points outside read zero.
        attention_weights: (B, Q, M, L, P).
        implementation: entry of DEFORMABLE_ATTENTION_REGISTRY, or "auto" for the fastest one for the device.

    Returns:
        (B, Q, M * D) in the type of locations and weights.

    Raises:
        ConfigurationError: the implementation is not registered.
        ValueError: ``value`` has another number of cells than the levels.
    """
    cells = sum(height * width for height, width in spatial_shapes)
    if value.shape[1] != cells:
        raise ValueError(f"value has {value.shape[1]} cells, but the levels {list(spatial_shapes)} have {cells}")
    dtype = torch.promote_types(sampling_locations.dtype, attention_weights.dtype)
    # Positions and sums stay in full precision even under autocast: bfloat16 has only about 256 positions on a map.
    exact = torch.promote_types(dtype, torch.float32)
    sample = sampling_function(implementation, value.device)
    with torch.autocast(value.device.type, enabled=False):
        out = sample(value.to(exact), spatial_shapes, sampling_locations.to(exact), attention_weights.to(exact))
    return out.to(dtype)


class MultiScaleDeformableAttention(nn.Module):
    """Attention in which each query reads a few points around its reference on every level.

    Args:
        dim: width d of queries and values.
        num_heads: heads M; must divide ``dim``.
        num_levels: levels L.
        num_points: sampling points P per head and level; a list has the number of each level.
        implementation: entry of DEFORMABLE_ATTENTION_REGISTRY, or "auto" for the fastest one for the device.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or ``num_points`` has not one number for each level.
        ConfigurationError: the implementation is not registered.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int | Sequence[int] = 4,
        implementation: str = "auto",
    ):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}")
        # A wrong name fails when the model is built, not when it first sees an image.
        sampling_function(implementation, torch.device("cpu"))
        points = [num_points] * num_levels if isinstance(num_points, int) else list(num_points)
        if len(points) != num_levels or min(points) < 1:
            raise ValueError(f"num_points {points} must be one positive number for each of {num_levels} levels")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, max(points)
        self.points_per_level = points
        if min(points) < max(points):
            self.register_buffer("point_counts", torch.tensor(points)[:, None, None], persistent=False)
        self.implementation = implementation
        self.sampling_offsets = nn.Linear(dim, num_heads * sum(points) * 2)
        self.attention_weights = nn.Linear(dim, num_heads * sum(points))
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let heads look in different directions, points lie at growing distances, and all weights be equal."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        ring = torch.stack([angles.cos(), angles.sin()], dim=-1)
        ring = ring / ring.abs().amax(dim=-1, keepdim=True)
        distance = torch.cat([torch.arange(1.0, points + 1) for points in self.points_per_level])
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((ring[:, None, :] * distance[:, None]).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend from queries to cells.

        Args:
            query: (B, Q, d), position embedding added.
            reference_points: (B, Q, L, 2) points or (B, Q, L, 4) cxcywh boxes, in 0..1 of each level's padded map.
            value: (B, S, d), cells of all levels.
            spatial_shapes: (height, width) of each level.
            padding_mask: (B, S) bool, True at padding, which then reads as zero.

        Returns:
            (B, Q, d).
        """
        return self.attend(query, reference_points, self.project_value(value, padding_mask), spatial_shapes)

    def project_value(self, value: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Project what all queries read: (B, S, d) to (B, S, M, D), zero at padding, in float32 or float64."""
        value = apply_linear(self.value_proj, value)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask[..., None], 0.0)
        return value.view(*value.shape[:2], self.num_heads, -1).to(torch.promote_types(value.dtype, torch.float32))

    def attend(
        self, query: Tensor, reference_points: Tensor, projected: Tensor, spatial_shapes: SpatialShapes
    ) -> Tensor:
        """Attend as :meth:`forward` does, given the result of :meth:`project_value`, which calls can share."""
        locations, weights = self.sampling_points(query, reference_points, spatial_shapes)
        out = multi_scale_deformable_attention(projected, spatial_shapes, locations, weights, self.implementation)
        return apply_linear(self.output_proj, out)

    def sampling_points(
        self, query: Tensor, reference_points: Tensor, spatial_shapes: SpatialShapes
    ) -> tuple[Tensor, Tensor]:
        """Compute where queries read, and the weight of each point.

        Args:
            query, reference_points, spatial_shapes: as in :meth:`forward`.

        Returns:
            Locations (B, Q, M, L, P, 2), x and y in 0..1 of the padded map, and weights (B, Q, M, L, P), which sum
            to 1 over levels and points. A level with fewer points than P has further ones of weight 0.
        """
        shape = (*query.shape[:2], self.num_heads, self.num_levels, self.num_points)
        offsets = apply_linear(self.sampling_offsets, query).view(*shape[:3], -1, 2)
        weights = apply_linear(self.attention_weights, query).view(*shape[:3], -1).softmax(-1)
        num_points = self.num_points
        if min(self.points_per_level) < num_points:
            offsets, weights = self._fill_levels(offsets), self._fill_levels(weights)
            num_points = self.point_counts
        offsets, weights = offsets.view(*shape, 2), weights.view(shape)
        if reference_points.shape[-1] == 2:
            # The last axes are flattened to L * P * 2 numbers: a loop over a last axis of 2 is several times slower.
            sizes = level_sizes(spatial_shapes, like=reference_points)[:, None].expand(shape[3:] + (2,)).flatten()
            points = reference_points[:, :, None, :, None].expand(-1, -1, -1, -1, self.num_points, -1).flatten(3)
            locations = (offsets.flatten(3) / sizes).add_(points).view(offsets.shape)
        else:
            centre, size = reference_points[:, :, None, :, None].split(2, dim=-1)
            locations = centre + offsets / num_points * size * 0.5
        return locations, weights

    def _fill_levels(self, x: Tensor) -> Tensor:
        """Give all levels as many points: (B, Q, M, points of all levels, ...) to (B, Q, M, L, P, ...) with zeros."""
        filled = x.new_zeros(*x.shape[:3], self.num_levels, self.num_points, *x.shape[4:])
        for level, part in enumerate(x.split(self.points_per_level, dim=3)):
            filled[:, :, :, level, : part.shape[3]] = part
        return filled
