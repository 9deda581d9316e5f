"""DETR's transformer: dense attention over one map."""

import math

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from egtr.layers import MLP, QueryKeySelfAttention
from egtr.layers.spatial_shapes import map_size
from egtr.structures import ConfigurationError

from .build import TRANSFORMER_REGISTRY, TransformerOutput, shared_arguments
from .geometry import map_geometry
from .layer import PostNormLayer


class DETREncoderLayer(PostNormLayer):
    """Self-attention over all cells, then a feed-forward network; norms after each (post-norm)."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float):
        super().__init__(dim, ffn_dim, dropout)
        self.self_attn = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.self_attn_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, padding_mask: Tensor | None) -> Tensor:
        """Encode (B, S, d) to (B, S, d). ``padding_mask`` is (B, S), True at padding, or None."""
        located = x + position
        attended, _ = self.self_attn(located, located, x, key_padding_mask=padding_mask, need_weights=False)
        x = self.add(x, attended, self.self_attn_norm)
        return self.feed_forward(x)


class DETRDecoderLayer(PostNormLayer):
    """Self-attention among queries, attention to all cells, feed-forward network; post-norm."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float):
        super().__init__(dim, ffn_dim, dropout)
        self.self_attn = QueryKeySelfAttention(dim, num_heads)
        self.self_attn_norm = nn.LayerNorm(dim)
        self.cross_attn = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)
        self.cross_attn_norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, query_position: Tensor, memory: Tensor, position: Tensor, padding_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run one layer.

        Args:
            x, query_position: (B, N, d), content and position of the queries.
            memory, position: (B, S, d), encoded cells and the embedding of their positions.
            padding_mask: (B, S) bool, True at padding; None if there is no padding.

        Returns:
            x (B, N, d) and the self-attention's queries and keys (B, N, d).
        """
        attended, queries, keys = self.self_attn(x, query_position)
        x = self.add(x, attended, self.self_attn_norm)
        attended, _ = self.cross_attn(
            x + query_position, memory + position, memory, key_padding_mask=padding_mask, need_weights=False
        )
        x = self.add(x, attended, self.cross_attn_norm)
        x = self.feed_forward(x)
        return x, queries, keys


@TRANSFORMER_REGISTRY.register()
class DETRTransformer(nn.Module):
    """DETR (Carion et al., ECCV 2020) without its backbone, with the sigmoid classes and losses of this library.

    It reads only the coarsest map, and its cost grows with the square of that map's number of cells.

    Args:
        input_shape: the backbone's maps, finest first; only the last one is used.
        num_classes: C.
        num_queries: N, learned positions; the content of queries starts at zero.
        hidden_dim: d.
        num_heads: attention heads; must divide ``hidden_dim``.
        enc_layers, dec_layers: layers of encoder and decoder.
        enc_ffn_dim, dec_ffn_dim: width of their feed-forward networks.
        dropout: probability of dropout in and after attention, and after feed-forward networks.
        aux_loss: return predictions of every decoder layer, for losses on each, not only of the last one.

    Raises:
        ConfigurationError: ``num_heads`` does not divide ``hidden_dim``, or an option of Deformable DETR is on.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        num_queries: int = 100,
        hidden_dim: int = 256,
        num_heads: int = 8,
        enc_layers: int = 6,
        dec_layers: int = 6,
        enc_ffn_dim: int = 2048,
        dec_ffn_dim: int = 2048,
        dropout: float = 0.1,
        aux_loss: bool = False,
    ):
        super().__init__()
        if hidden_dim % 4 or hidden_dim % num_heads:
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.HIDDEN_DIM {hidden_dim} must be a multiple of 4 (position embedding) and of "
                f"NHEADS {num_heads}"
            )
        self.hidden_dim, self.aux_loss = hidden_dim, aux_loss
        self.input_proj = nn.Conv2d(list(input_shape.values())[-1].channels, hidden_dim, 1)
        self.encoder = nn.ModuleList(
            DETREncoderLayer(hidden_dim, num_heads, enc_ffn_dim, dropout) for _ in range(enc_layers)
        )
        self.decoder = nn.ModuleList(
            DETRDecoderLayer(hidden_dim, num_heads, dec_ffn_dim, dropout) for _ in range(dec_layers)
        )
        # The heads read the state of every layer through one norm.
        self.norm = nn.LayerNorm(hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.class_head = nn.Linear(hidden_dim, num_classes)
        self.box_head = MLP(hidden_dim, hidden_dim, 4)
        self.reset_parameters()

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        egtr = cfg.MODEL.EGTR
        for key, value in (
            ("WITH_BOX_REFINE", egtr.WITH_BOX_REFINE),
            ("TWO_STAGE", egtr.TWO_STAGE),
            ("DENOISING.ENABLED", egtr.DENOISING.ENABLED),
        ):
            if value:
                raise ConfigurationError(
                    f"MODEL.EGTR.{key} True needs MODEL.EGTR.TRANSFORMER.NAME DeformableTransformer"
                )
        return shared_arguments(cfg, input_shape)

    def reset_parameters(self) -> None:
        """Draw matrices by Xavier's rule, as DETR does, and set the class bias to probability 0.01."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.query_embed.weight)
        nn.init.constant_(self.class_head.bias, -math.log(99))

    def forward(self, features: dict[str, Tensor], valid: Tensor | None) -> TransformerOutput:
        """Detect.

        Args:
            features: the backbone's maps, finest first.
            valid: (B, H, W) bool over the padded batch, True where an image is; None without padding.
        """
        cells = self.input_proj(list(features.values())[-1])
        geometry = map_geometry(valid, [map_size(cells)], self.hidden_dim, cells.device)
        position, padding_mask = geometry.positions[0].to(cells.dtype), geometry.padding_mask

        memory = cells.flatten(2).transpose(1, 2)
        for layer in self.encoder:
            memory = layer(memory, position, padding_mask)
        query_position = self.query_embed.weight[None].expand(len(memory), -1, -1)
        x = query_position.new_zeros(query_position.shape)
        out = TransformerOutput([], [], [], [], [], memory)
        for layer in self.decoder:
            x, queries, keys = layer(x, query_position, memory, position, padding_mask)
            hidden = self.norm(x)
            out.hidden_states.append(hidden)
            out.queries.append(queries)
            out.keys.append(keys)
            if self.aux_loss or layer is self.decoder[-1]:
                out.logits.append(self.class_head(hidden))
                # Boxes stay in full precision even under autocast: bfloat16 has only about 256 positions per image.
                out.pred_boxes.append(self.box_head(hidden).float().sigmoid())
        return out
