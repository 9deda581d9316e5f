"""The decoder of Deformable DETR, which also returns the queries and keys of each self-attention."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from egtr.layers import MultiScaleDeformableAttention, QueryKeySelfAttention, inverse_sigmoid
from egtr.layers.spatial_shapes import SpatialShapes

from .layer import PostNormLayer


class DecoderOutput(NamedTuple):
    """Output of the decoder, lists with one entry per layer.

    Attributes:
        hidden_states: (B, N, d).
        pred_boxes: (B, N, 4) cxcywh in 0..1; only those of the last layer if nothing needs the others.
        queries, keys: (B, N, d), by-products of self-attention (paper, section 3.2).
    """

    hidden_states: list[Tensor]
    pred_boxes: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]


class DecoderLayer(PostNormLayer):
    """Self-attention among queries, deformable attention to the image, feed-forward network; post-norm."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_levels: int,
        num_points: int | Sequence[int],
        ffn_dim: int,
        dropout: float,
        deformable_attention: str = "auto",
    ):
        super().__init__(dim, ffn_dim, dropout)
        self.self_attn = QueryKeySelfAttention(dim, num_heads)
        self.self_attn_norm = nn.LayerNorm(dim)
        self.cross_attn = MultiScaleDeformableAttention(dim, num_heads, num_levels, num_points, deformable_attention)
        self.cross_attn_norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference_points: Tensor,
        memory: Tensor,
        spatial_shapes: SpatialShapes,
        padding_mask: Tensor | None,
        query_mask: Tensor | None = None,
        others: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run one layer.

        Args:
            x, position: (B, N, d), content half and position half of the queries.
            reference_points: (B, N, L, 2 or 4), already multiplied by the valid ratios.
            memory: (B, S, d), encoded cells.
            spatial_shapes, padding_mask: as in :class:`~egtr.modeling.transformer.encoder.Encoder`.
            query_mask: (B, 1, N, N + M) bool, True where the row's query sees the column's; None: all do.
            others: x and position of M queries that are only seen, see :class:`~egtr.layers.QueryKeySelfAttention`.

        Returns:
            x (B, N, d) and the self-attention's queries and keys (B, N, d).
        """
        attended, queries, keys = self.self_attn(x, position, query_mask, others)
        x = self.add(x, attended, self.self_attn_norm)
        attended = self.cross_attn(x + position, reference_points, memory, spatial_shapes, padding_mask)
        x = self.add(x, attended, self.cross_attn_norm)
        x = self.feed_forward(x)
        return x, queries, keys


def apply_box_delta(delta: Tensor, reference: Tensor) -> Tensor:
    """Compute boxes from the output of a box head and the reference that entered the layer.

    Args:
        delta: (..., 4), output of the box head.
        reference: (..., 2) points or (..., 4) boxes in 0..1. A point moves only x and y.

    Returns:
        (..., 4) cxcywh in 0..1.
    """
    # Boxes stay in full precision even under autocast: bfloat16 has only about 256 positions across an image.
    anchor = inverse_sigmoid(reference.float())
    if reference.shape[-1] == 2:
        anchor = torch.cat([anchor, torch.zeros_like(anchor)], dim=-1)
    return (delta.float() + anchor).sigmoid()


class Decoder(nn.Module):
    """A stack of :class:`DecoderLayer`, without a norm after the last one."""

    def __init__(self, num_layers: int, **layer):
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(**layer) for _ in range(num_layers))

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        spatial_shapes: SpatialShapes,
        valid_ratios: Tensor,
        padding_mask: Tensor | None,
        box_heads: nn.ModuleList,
        refine: bool,
        all_boxes: bool,
        query_mask: Tensor | None = None,
        others: list[tuple[Tensor, Tensor]] | None = None,
    ) -> DecoderOutput:
        """Decode the queries.

        Args:
            x, position: (B, N, d), content half and position half of the queries.
            reference: (B, N, 2 or 4) in 0..1 of the valid image.
            memory: (B, S, d), encoded cells.
            spatial_shapes: (height, width) of each level.
            valid_ratios, padding_mask: as in :class:`~egtr.modeling.transformer.geometry.MapGeometry`.
            box_heads: one box head, or one for each layer.
            refine: use a layer's boxes as the next layer's reference, without gradient.
            all_boxes: compute the boxes of every layer, not only of the last one.
            query_mask: (B, 1, N, N + M) bool, True where the row's query sees the column's; None: all do.
            others: for each layer x and position of M queries that are only seen; None: M is 0.
        """
        out = DecoderOutput([], [], [], [])
        for index, layer in enumerate(self.layers):
            scale = valid_ratios if reference.shape[-1] == 2 else torch.cat([valid_ratios, valid_ratios], dim=-1)
            points = reference[:, :, None] * scale[:, None]
            seen = None if others is None else others[index]
            x, queries, keys = layer(x, position, points, memory, spatial_shapes, padding_mask, query_mask, seen)
            out.hidden_states.append(x)
            out.queries.append(queries)
            out.keys.append(keys)
            if refine or all_boxes or layer is self.layers[-1]:
                box_head = box_heads[index if len(box_heads) > 1 else 0]
                out.pred_boxes.append(apply_box_delta(box_head(x), reference))
            if refine:
                reference = out.pred_boxes[-1].detach()
        return out
