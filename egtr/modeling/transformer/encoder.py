"""Deformable DETR's encoder."""

import torch
from torch import Tensor, nn

from egtr.layers import MultiScaleDeformableAttention, cpu
from egtr.layers.cpu.chunks import in_chunks
from egtr.layers.spatial_shapes import SpatialShapes, level_sizes

from .layer import PostNormLayer

# Cells in a chunk, in inference on a CPU.
CELLS = 4096


def encoder_reference_points(spatial_shapes: SpatialShapes, valid_ratios: Tensor) -> Tensor:
    """Compute where each cell of each level lies on every level.

    Args:
        spatial_shapes: (height, width) of the L levels; S cells in all.
        valid_ratios: (B, L, 2), share of each padded map's width and height that the image fills.

    Returns:
        (B, S, L, 2): centres of the cells as shares of the valid part, times the valid ratios of the level to read.
    """
    sizes = valid_ratios * level_sizes(spatial_shapes, like=valid_ratios)
    references = []
    for level, (height, width) in enumerate(spatial_shapes):
        y = torch.arange(height, device=valid_ratios.device) + 0.5
        x = torch.arange(width, device=valid_ratios.device) + 0.5
        y, x = torch.meshgrid(y, x, indexing="ij")
        cells = torch.stack([x.flatten(), y.flatten()], dim=-1)  # (H*W, 2)
        references.append(cells[None] / sizes[:, None, level])
    return torch.cat(references, dim=1)[:, :, None] * valid_ratios[:, None]


class EncoderLayer(PostNormLayer):
    """Deformable self-attention over all levels, then a feed-forward network; norms after each (post-norm)."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_levels: int,
        num_points: int,
        ffn_dim: int,
        dropout: float,
        deformable_attention: str = "auto",
    ):
        super().__init__(dim, ffn_dim, dropout)
        self.self_attn = MultiScaleDeformableAttention(dim, num_heads, num_levels, num_points, deformable_attention)
        self.self_attn_norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference_points: Tensor,
        spatial_shapes: SpatialShapes,
        padding_mask: Tensor | None,
    ) -> Tensor:
        """Encode (B, S, d) to (B, S, d); see :class:`Encoder`."""
        if not self._takes_chunks(x):
            attended = self.self_attn(x + position, reference_points, x, spatial_shapes, padding_mask)
            return self.feed_forward(self.add(x, attended, self.self_attn_norm))
        # All cells read the same values, and apart from that, cells do not depend on each other.
        projected = self.self_attn.project_value(x, padding_mask)

        def encode(x: Tensor, position: Tensor, reference_points: Tensor) -> Tensor:
            attended = self.self_attn.attend(x + position, reference_points, projected, spatial_shapes)
            return self.feed_forward(self.add(x, attended, self.self_attn_norm))

        return in_chunks(encode, CELLS, x, position, reference_points)

    def _takes_chunks(self, x: Tensor) -> bool:
        # Chunks bypass the attention's forward, so neither a hook nor a subclass may depend on it.
        is_plain = type(self.self_attn) is MultiScaleDeformableAttention and not cpu.has_hooks(self.self_attn)
        return cpu.is_used(x.device) and not torch.is_grad_enabled() and is_plain


class Encoder(nn.Module):
    """A stack of :class:`EncoderLayer`, without a norm after the last one."""

    def __init__(self, num_layers: int, **layer):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(**layer) for _ in range(num_layers))

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference_points: Tensor,
        spatial_shapes: SpatialShapes,
        padding_mask: Tensor | None,
    ) -> Tensor:
        """Encode the cells of all levels.

        Args:
            x: (B, S, d) cells of all levels.
            position: (B or 1, S, d) sine and level embedding.
            reference_points: (B or 1, S, L, 2), see :func:`encoder_reference_points`.
            spatial_shapes: (height, width) of each level.
            padding_mask: (B, S) bool, True at padding; None if there is no padding.

        Returns:
            (B, S, d).
        """
        for layer in self.layers:
            x = layer(x, position, reference_points, spatial_shapes, padding_mask)
        return x
