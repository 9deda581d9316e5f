"""RT-DETR's detector after the backbone: hybrid encoder, query selection, decoder with by-products."""

import copy
import math

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from egtr.layers import MLP, MultiScaleDeformableAttention, inverse_sigmoid
from egtr.layers.spatial_shapes import SpatialShapes, map_size
from egtr.structures import ConfigurationError

from .box_queries import BoxQueries
from .build import TRANSFORMER_REGISTRY, TransformerOutput, shared_arguments
from .decoder import DecoderLayer
from .hybrid_encoder import ConvNorm, HybridEncoder
from .two_stage import grid_proposals


@TRANSFORMER_REGISTRY.register()
class RTDETRTransformer(nn.Module):
    """RT-DETR (Zhao et al., CVPR 2024) without its backbone; images must have sides that 32 divides.

    Args:
        input_shape: the backbone's maps, finest first, each with half the sides of the one before it.
        num_classes: C.
        num_queries: N.
        hidden_dim: d.
        num_heads, enc_layers, enc_ffn_dim, dropout, expansion, depth, position_order: of the hybrid encoder.
        dec_layers, dec_ffn_dim, dec_points: of the decoder.
        eval_idx: the last layer that runs in evaluation mode, from 0; -1: all run.
        aux_loss: return predictions of every decoder layer, and the selected proposals.
        box_queries: also take boxes as queries, see :mod:`egtr.modeling.transformer.box_queries`.
        deformable_attention: see :class:`~egtr.layers.MultiScaleDeformableAttention`.
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
        dec_points: int = 4,
        dropout: float = 0.0,
        expansion: float = 1.0,
        depth: float = 1.0,
        position_order: str = "row",
        eval_idx: int = -1,
        aux_loss: bool = False,
        box_queries: bool = False,
        deformable_attention: str = "auto",
    ):
        super().__init__()
        self.num_queries, self.num_classes, self.aux_loss, self.eval_idx = num_queries, num_classes, aux_loss, eval_idx
        levels = len(input_shape)
        widths = [shape.channels for shape in input_shape.values()]
        self.encoder = HybridEncoder(
            widths, hidden_dim, num_heads=num_heads, ffn_dim=enc_ffn_dim, num_layers=enc_layers, dropout=dropout,
            expansion=expansion, depth=depth, position_order=position_order,
        )  # fmt: skip
        self.input_proj = nn.ModuleList(ConvNorm(hidden_dim, hidden_dim, 1, act=False) for _ in range(levels))
        self.proposal_proj = nn.Linear(hidden_dim, hidden_dim)
        self.proposal_norm = nn.LayerNorm(hidden_dim)
        self.proposal_class_head = nn.Linear(hidden_dim, num_classes)
        self.proposal_box_head = MLP(hidden_dim, hidden_dim, 4)
        self.position_head = _position_mlp(hidden_dim)
        layer = DecoderLayer(
            hidden_dim, num_heads, levels, dec_points, dec_ffn_dim, dropout, deformable_attention
        )
        self.decoder = nn.ModuleList(copy.deepcopy(layer) for _ in range(dec_layers))
        class_head, box_head = nn.Linear(hidden_dim, num_classes), MLP(hidden_dim, hidden_dim, 4)
        self.class_heads = nn.ModuleList(copy.deepcopy(class_head) for _ in range(dec_layers))
        self.box_heads = nn.ModuleList(copy.deepcopy(box_head) for _ in range(dec_layers))
        if box_queries:
            self.label_embed = nn.Embedding(num_classes + 1, hidden_dim)
        self.reset_parameters()

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        egtr, transformer = cfg.MODEL.EGTR, cfg.MODEL.EGTR.TRANSFORMER
        return shared_arguments(cfg, input_shape) | {
            "dec_points": transformer.DEC_POINTS,
            "deformable_attention": transformer.DEFORMABLE_ATTENTION,
            "expansion": transformer.EXPANSION,
            "depth": transformer.DEPTH,
            "position_order": transformer.POSITION_ORDER,
            "eval_idx": transformer.EVAL_IDX,
            "box_queries": egtr.DENOISING.ENABLED,
        }

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()
        for head in (self.proposal_class_head, *self.class_heads):
            nn.init.constant_(head.bias, -math.log(99))
        for head in (self.proposal_box_head, *self.box_heads):
            nn.init.zeros_(head.layers[-1].weight)
            nn.init.zeros_(head.layers[-1].bias)

    def forward(
        self, features: dict[str, Tensor], valid: Tensor | None, box_queries: BoxQueries | None = None
    ) -> TransformerOutput:
        """Detect objects.

        Args:
            features: the backbone's maps, finest first.
            valid: not used: RT-DETR treats padding as image.
            box_queries: further queries; in all results they come before the N queries of the detector.
        """
        maps = self.encoder(list(features.values()))
        maps = [project(x) for project, x in zip(self.input_proj, maps, strict=True)]
        spatial_shapes = [map_size(x) for x in maps]
        memory = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        if self.training:
            return self._decode(memory, spatial_shapes, box_queries)
        with torch.autocast(memory.device.type, enabled=False):
            return self._decode(memory.float(), spatial_shapes, box_queries)

    def _select(self, memory: Tensor, spatial_shapes: SpatialShapes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        everywhere = memory.new_ones(1, memory.shape[1], dtype=torch.bool)
        proposals, usable = grid_proposals(spatial_shapes, everywhere)
        cells = self.proposal_norm(self.proposal_proj(memory * usable[..., None]))
        logits = self.proposal_class_head(cells)
        if logits.shape[1] < self.num_queries:
            raise ConfigurationError(
                f"MODEL.EGTR.NUM_QUERIES is {self.num_queries}, but images of this size give only "
                f"{logits.shape[1]} proposals: enlarge INPUT.MIN_SIZE_* or ask for fewer queries"
            )
        best = logits.amax(-1).topk(self.num_queries, dim=1).indices[..., None]
        cells = cells.gather(1, best.expand(-1, -1, cells.shape[-1]))
        logits = logits.gather(1, best.expand(-1, -1, logits.shape[-1]))
        anchors = proposals.expand(len(memory), -1, -1).gather(1, best.expand(-1, -1, 4))
        boxes = (self.proposal_box_head(cells).float() + anchors).sigmoid()
        return cells.detach(), boxes.detach(), logits, boxes

    def _decode(
        self, memory: Tensor, spatial_shapes: SpatialShapes, box_queries: BoxQueries | None
    ) -> TransformerOutput:
        x, reference, proposal_logits, proposal_boxes = self._select(memory, spatial_shapes)
        query_mask = None
        if box_queries is not None:
            x = torch.cat([self.label_embed(box_queries.labels).to(x.dtype), x], dim=1)
            reference = torch.cat([box_queries.boxes.to(reference.dtype), reference], dim=1)
            query_mask = box_queries.attention_mask(self.num_queries)
        out = TransformerOutput(
            [], [], [], [], [], memory, proposal_logits, proposal_boxes, proposal_classes=True
        )
        last = len(self.decoder) - 1 if self.training or self.eval_idx < 0 else self.eval_idx
        undetached = reference
        levels = len(spatial_shapes)
        for index, layer in enumerate(self.decoder[: last + 1]):
            points = reference[:, :, None].expand(-1, -1, levels, -1)
            x, queries, keys = layer(x, self.position_head(reference), points, memory, spatial_shapes, None, query_mask)
            out.hidden_states.append(x)
            out.queries.append(queries)
            out.keys.append(keys)
            delta = self.box_heads[index](x).float()
            refined = (delta + inverse_sigmoid(reference.float())).sigmoid()
            if self.aux_loss or index == last:
                out.logits.append(self.class_heads[index](x))
                # In training the gradient of a box reaches one layer back.
                own = refined if index == 0 or not self.training else (delta + inverse_sigmoid(undetached)).sigmoid()
                out.pred_boxes.append(own)
            undetached, reference = refined, refined.detach()
        return out


def _position_mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
