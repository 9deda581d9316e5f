"""RT-DETR after the backbone: hybrid encoder, query selection, decoder (arXiv 2304.08069 and 2407.17140)."""

import copy
import math
from collections.abc import Sequence

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from egtr.layers import MLP, ConvNorm, MultiScaleDeformableAttention
from egtr.layers.cpu.linear import apply_linear
from egtr.layers.spatial_shapes import SpatialShapes, map_size
from egtr.structures import ConfigurationError

from .box_queries import BoxQueries
from .build import TRANSFORMER_REGISTRY, EncodedImages, EncoderDecoder, TransformerOutput, shared_arguments
from .decoder import DecoderLayer, apply_box_delta
from .hybrid_encoder import HybridEncoder
from .two_stage import best_proposals, grid_proposals


@TRANSFORMER_REGISTRY.register()
class RTDETRTransformer(EncoderDecoder):
    """RT-DETR and RT-DETRv2 without their backbone.

    No map is masked: the detector also sees padding, and finds boxes in 0..1 of the padded image. They are returned
    in 0..1 of the valid image, as from every detector.

    Args:
        input_shape: the backbone's maps, finest first, each half as large as the one before.
        num_classes: C.
        num_queries: N, the cells with the best class scores become queries.
        hidden_dim: d.
        num_heads: attention heads; must divide ``hidden_dim`` and the encoder's width.
        enc_layers, dec_layers: transformer layers of the encoder, and layers of the decoder.
        enc_ffn_dim, dec_ffn_dim: width of their feed-forward networks.
        dec_points: sampling points per head and level; a list has the number of each level.
        deformable_attention: implementation, see :class:`~egtr.layers.MultiScaleDeformableAttention`.
        dropout: probability of dropout after attention and feed-forward networks.
        encoder_dim: width of the hybrid encoder; 0: d.
        expansion, depth_mult, position_order: see :class:`HybridEncoder`.
        eval_idx: in evaluation the decoder stops after this layer, 0-based; -1: the last. In training all run.
        aux_loss: return predictions of every decoder layer and of the selected cells, for losses on each.
        box_queries: also take boxes as queries, see :mod:`egtr.modeling.transformer.box_queries`.

    Raises:
        ConfigurationError: settings contradict each other.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        num_queries: int = 300,
        hidden_dim: int = 256,
        num_heads: int = 8,
        enc_layers: int = 1,
        dec_layers: int = 6,
        enc_ffn_dim: int = 1024,
        dec_ffn_dim: int = 1024,
        dec_points: int | Sequence[int] = 4,
        deformable_attention: str = "auto",
        dropout: float = 0.0,
        encoder_dim: int = 0,
        expansion: float = 1.0,
        depth_mult: float = 1.0,
        position_order: str = "row_major",
        eval_idx: int = -1,
        aux_loss: bool = False,
        box_queries: bool = False,
    ):
        super().__init__()
        levels, encoder_dim = len(input_shape), encoder_dim or hidden_dim
        if hidden_dim % num_heads:
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.HIDDEN_DIM {hidden_dim} must be a multiple of NHEADS {num_heads}"
            )
        if not -dec_layers <= eval_idx < dec_layers:
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.EVAL_IDX is {eval_idx}: the decoder has layers 0..{dec_layers - 1}; -1 "
                "means the last"
            )
        if not isinstance(dec_points, int) and len(dec_points) != levels:
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.DEC_POINTS_PER_LEVEL {list(dec_points)} must have {levels} numbers, as many "
                "as there are maps of the backbone"
            )
        # Each coarser map must have exactly half the size.
        self.size_divisibility = list(input_shape.values())[-1].stride
        self.num_queries, self.aux_loss = num_queries, aux_loss
        self.num_eval_layers = eval_idx % dec_layers + 1
        self.encoder = HybridEncoder(
            [shape.channels for shape in input_shape.values()],
            encoder_dim,
            num_heads=num_heads,
            num_layers=enc_layers,
            ffn_dim=enc_ffn_dim,
            dropout=dropout,
            expansion=expansion,
            depth_mult=depth_mult,
            position_order=position_order,
        )
        self.input_proj = nn.ModuleList(ConvNorm(encoder_dim, hidden_dim, 1) for _ in range(levels))
        class_head, box_head = nn.Linear(hidden_dim, num_classes), MLP(hidden_dim, hidden_dim, 4)
        self.memory_proj = nn.Linear(hidden_dim, hidden_dim)
        self.memory_norm = nn.LayerNorm(hidden_dim)
        self.proposal_class_head, self.proposal_box_head = copy.deepcopy(class_head), copy.deepcopy(box_head)
        self.decoder = nn.ModuleList(
            DecoderLayer(hidden_dim, num_heads, levels, dec_points, dec_ffn_dim, dropout, deformable_attention)
            for _ in range(dec_layers)
        )
        self.position_mlp = MLP(4, 2 * hidden_dim, hidden_dim, num_layers=2)
        self.class_heads = nn.ModuleList(copy.deepcopy(class_head) for _ in range(dec_layers))
        self.box_heads = nn.ModuleList(copy.deepcopy(box_head) for _ in range(dec_layers))
        self.label_embed = nn.Embedding(num_classes + 1, hidden_dim) if box_queries else None
        self.reset_parameters()

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        egtr, transformer = cfg.MODEL.EGTR, cfg.MODEL.EGTR.TRANSFORMER
        encoder = transformer.HYBRID_ENCODER
        return shared_arguments(cfg, input_shape) | {
            "dec_points": list(transformer.DEC_POINTS_PER_LEVEL) or transformer.DEC_POINTS,
            "deformable_attention": transformer.DEFORMABLE_ATTENTION,
            "encoder_dim": encoder.DIM,
            "expansion": encoder.EXPANSION,
            "depth_mult": encoder.DEPTH_MULT,
            "position_order": encoder.POSITION_ORDER,
            "eval_idx": transformer.EVAL_IDX,
            "box_queries": egtr.DENOISING.ENABLED,
        }

    def reset_parameters(self) -> None:
        """Draw initial values of projections and heads; convolutions and attention have drawn theirs already."""
        for module in (self.memory_proj, *self.position_mlp.layers, *(proj.conv for proj in self.input_proj)):
            nn.init.xavier_uniform_(module.weight)
        for module in self.decoder.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()
        for head in (self.proposal_class_head, *self.class_heads):
            # As focal loss asks, every class starts at probability 0.01.
            nn.init.constant_(head.bias, -math.log(99))
        for head in (self.proposal_box_head, *self.box_heads):
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)

    def _encode(self, features: dict[str, Tensor], valid: Tensor | None) -> EncodedImages:
        maps = self.encoder(list(features.values()))
        maps = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        memory = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        return EncodedImages(memory, [map_size(x) for x in maps], valid)

    def _select(self, memory: Tensor, spatial_shapes: SpatialShapes) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the N cells that become queries.

        Args:
            memory: (B, S, d).
            spatial_shapes: (height, width) of the levels.

        Returns:
            content (B, N, d), class logits (B, N, C) and boxes (B, N, 4), cxcywh in 0..1 of the padded image.
        """
        everywhere = memory.new_ones(1, memory.shape[1], dtype=torch.bool)
        anchors, usable = grid_proposals(spatial_shapes, everywhere)
        content = self.memory_norm(apply_linear(self.memory_proj, memory.masked_fill(~usable[..., None], 0.0)))
        logits = apply_linear(self.proposal_class_head, content)
        best = best_proposals(logits.amax(-1), self.num_queries)[..., None]
        content, logits, anchors = (
            x.expand(len(best), -1, -1).gather(1, best.expand(-1, -1, x.shape[-1]))
            for x in (content, logits, anchors)
        )
        boxes = (self.proposal_box_head(content).float() + anchors).sigmoid()
        return content, logits, boxes

    def _decode(
        self, encoded: EncodedImages, box_queries: BoxQueries | None, only_boxes: bool = False
    ) -> TransformerOutput:
        memory, spatial_shapes = encoded.memory, encoded.spatial_shapes
        # Share of the padded image's width and height that each image fills.
        filled = 1.0 if encoded.valid is None else valid_share(encoded.valid)
        if encoded.start is None:
            encoded.start = self._select(memory, spatial_shapes)
        content, proposal_logits, proposal_boxes = encoded.start
        x, reference, query_mask = content.detach(), proposal_boxes.detach(), None
        if box_queries is not None:
            query_mask = box_queries.attention_mask(x.shape[1])
            boxed = self.label_embed(box_queries.labels), box_queries.boxes * filled
            if only_boxes:
                (x, reference), query_mask = boxed, query_mask[:, :, : len(box_queries)]
            else:
                x, reference = (torch.cat(pair, dim=1) for pair in zip(boxed, (x, reference), strict=True))
        entered_layers = []

        out = TransformerOutput([], [], [], [], [], memory)
        if self.aux_loss:
            out.proposal_logits, out.proposal_boxes = proposal_logits, proposal_boxes / filled
            out.proposal_classes = True
        layers = self.decoder if self.training else self.decoder[: self.num_eval_layers]
        for index, layer in enumerate(layers):
            entered = reference.detach()
            position = self.position_mlp(entered.to(self.position_mlp.layers[0].weight.dtype))
            others = encoded.entered[index] if only_boxes else None
            entered_layers.append((x, position))
            x, queries, keys = layer(
                x, position, entered[:, :, None], memory, spatial_shapes, None, query_mask, others
            )
            out.hidden_states.append(x)
            out.queries.append(queries)
            out.keys.append(keys)
            delta = self.box_heads[index](x)
            boxes = refined = apply_box_delta(delta, entered)
            if self.aux_loss or layer is layers[-1]:
                if self.training and index > 0:
                    # The same boxes, but their loss also teaches the layer before, whose boxes are the reference.
                    boxes = apply_box_delta(delta, reference)
                out.logits.append(self.class_heads[index](x))
                out.pred_boxes.append(boxes / filled)
            reference = refined
        if box_queries is None and not self.training:
            encoded.entered = entered_layers
        return out


def valid_share(valid: Tensor) -> Tensor:
    """Compute the share of width, height, width, height that each image of a padded batch fills.

    Args:
        valid: (B, H, W) bool, True inside images.

    Returns:
        (B, 1, 4) float32.
    """
    width, height = valid[:, 0].float().mean(-1), valid[:, :, 0].float().mean(-1)
    return torch.stack([width, height, width, height], dim=-1)[:, None]
