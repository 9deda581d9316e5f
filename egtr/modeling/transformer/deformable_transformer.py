"""The detector after the backbone: projections, encoder, decoder, class and box heads."""

import copy
import math

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from egtr.layers import MLP, MultiScaleDeformableAttention, sine_box_embedding
from egtr.layers.spatial_shapes import map_size
from egtr.structures import ConfigurationError

from .box_queries import BoxQueries
from .build import TRANSFORMER_REGISTRY, EncodedImages, EncoderDecoder, TransformerOutput, shared_arguments
from .decoder import Decoder
from .encoder import Encoder
from .geometry import map_geometry
from .two_stage import TwoStage


@TRANSFORMER_REGISTRY.register()
class DeformableTransformer(EncoderDecoder):
    """Deformable DETR (Zhu et al., ICLR 2021) without its backbone.

    Args:
        input_shape: the backbone's maps, finest first.
        num_classes: C.
        num_queries: N.
        hidden_dim: d.
        num_heads: attention heads; must divide ``hidden_dim``.
        enc_layers, dec_layers: layers of encoder and decoder.
        enc_ffn_dim, dec_ffn_dim: width of their feed-forward networks.
        enc_points, dec_points: sampling points per head and level.
        num_feature_levels: levels; after those of the backbone, stride-2 convolutions make further ones.
        deformable_attention: implementation, see :class:`~egtr.layers.MultiScaleDeformableAttention`.
        dropout: probability of dropout after attention and feed-forward networks.
        with_box_refine: give each layer its own heads, and let it correct the reference boxes.
        two_stage: use encoder proposals instead of learned queries; needs ``with_box_refine``.
        aux_loss: return predictions of every decoder layer, for losses on each, not only of the last one.
        box_queries: also take boxes as queries, see :mod:`egtr.modeling.transformer.box_queries`; needs
            ``with_box_refine``. The first reference of learned queries then is a box, too: sigmoid(Linear(position
            half)), 4 coordinates, as in DAB-DETR.

    Raises:
        ConfigurationError: settings contradict each other.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        num_queries: int = 200,
        hidden_dim: int = 256,
        num_heads: int = 8,
        enc_layers: int = 6,
        dec_layers: int = 6,
        enc_ffn_dim: int = 1024,
        dec_ffn_dim: int = 1024,
        enc_points: int = 4,
        dec_points: int = 4,
        num_feature_levels: int = 4,
        deformable_attention: str = "auto",
        dropout: float = 0.1,
        with_box_refine: bool = False,
        two_stage: bool = False,
        aux_loss: bool = False,
        box_queries: bool = False,
    ):
        super().__init__()
        if two_stage and not with_box_refine:
            raise ConfigurationError("MODEL.EGTR.TWO_STAGE needs MODEL.EGTR.WITH_BOX_REFINE True")
        if box_queries and not with_box_refine:
            raise ConfigurationError("MODEL.EGTR.DENOISING needs MODEL.EGTR.WITH_BOX_REFINE True")
        if hidden_dim % 32 or hidden_dim % num_heads:
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.HIDDEN_DIM {hidden_dim} must be a multiple of 32 (GroupNorm's groups) and "
                f"of NHEADS {num_heads}"
            )
        if num_feature_levels < len(input_shape):
            raise ConfigurationError(
                f"MODEL.EGTR.TRANSFORMER.NUM_FEATURE_LEVELS {num_feature_levels} is less than the backbone's "
                f"{len(input_shape)} maps ({', '.join(input_shape)}). Raise it, or let the backbone return fewer: "
                "MODEL.EGTR.BACKBONE.OUT_INDICES of a timm model, MODEL.FPN.IN_FEATURES of an FPN"
            )
        self.with_box_refine, self.aux_loss, self.hidden_dim = with_box_refine, aux_loss, hidden_dim

        widths = [shape.channels for shape in input_shape.values()]
        projections = [nn.Conv2d(width, hidden_dim, 1) for width in widths]
        for level in range(len(widths), num_feature_levels):
            width = widths[-1] if level == len(widths) else hidden_dim
            projections.append(nn.Conv2d(width, hidden_dim, 3, stride=2, padding=1))
        self.input_proj = nn.ModuleList(nn.Sequential(conv, nn.GroupNorm(32, hidden_dim)) for conv in projections)
        self.level_embed = nn.Parameter(torch.empty(num_feature_levels, hidden_dim))
        shared = {
            "dim": hidden_dim,
            "num_heads": num_heads,
            "num_levels": num_feature_levels,
            "dropout": dropout,
            "deformable_attention": deformable_attention,
        }
        self.encoder = Encoder(enc_layers, num_points=enc_points, ffn_dim=enc_ffn_dim, **shared)
        self.decoder = Decoder(dec_layers, num_points=dec_points, ffn_dim=dec_ffn_dim, **shared)
        self.two_stage = TwoStage(hidden_dim, num_queries) if two_stage else None
        if not two_stage:
            # The first half is the position, the second half the content.
            self.query_embed = nn.Embedding(num_queries, 2 * hidden_dim)
            self.reference_points = nn.Linear(hidden_dim, 4 if box_queries else 2)
        if box_queries:
            self.label_embed = nn.Embedding(num_classes + 1, hidden_dim)
            if not two_stage:
                self.box_position = nn.Linear(2 * hidden_dim, hidden_dim)

        copies = dec_layers + two_stage if with_box_refine else 1
        class_head, box_head = nn.Linear(hidden_dim, num_classes), MLP(hidden_dim, hidden_dim, 4)
        self.class_heads = nn.ModuleList(copy.deepcopy(class_head) for _ in range(copies))
        self.box_heads = nn.ModuleList(copy.deepcopy(box_head) for _ in range(copies))
        self.reset_parameters()

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        egtr, transformer = cfg.MODEL.EGTR, cfg.MODEL.EGTR.TRANSFORMER
        return shared_arguments(cfg, input_shape) | {
            "enc_points": transformer.ENC_POINTS,
            "dec_points": transformer.DEC_POINTS,
            "num_feature_levels": transformer.NUM_FEATURE_LEVELS,
            "deformable_attention": transformer.DEFORMABLE_ATTENTION,
            "with_box_refine": egtr.WITH_BOX_REFINE,
            "two_stage": egtr.TWO_STAGE,
            "box_queries": egtr.DENOISING.ENABLED,
        }

    def reset_parameters(self) -> None:
        """Draw initial values as Deformable DETR's authors do: normal(0, 0.02), except attention, references, heads.

        The released EGTR intends the same, but draws again after it has set the heads. There the class bias starts
        at 0, the last layer of the box head like every other one, and query embeddings with deviation 0.02.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()
        nn.init.normal_(self.level_embed)
        if self.two_stage is None:
            nn.init.normal_(self.query_embed.weight)
            nn.init.xavier_uniform_(self.reference_points.weight)
            # Boxes start small, by their reference if it is a box, else by the first layer's box head.
            nn.init.constant_(self.reference_points.bias[2:], -2.0)
        for head in self.class_heads:
            # As focal loss asks, every class starts at probability 0.01.
            nn.init.constant_(head.bias, -math.log(99))
        for index, head in enumerate(self.box_heads):
            nn.init.zeros_(head.layers[-1].weight)
            if index == 0 and self.two_stage is None and self.reference_points.out_features == 2:
                nn.init.constant_(head.layers[-1].bias[2:], -2.0)

    def _encode(self, features: dict[str, Tensor], valid: Tensor | None) -> EncodedImages:
        cells, spatial_shapes = [], []
        maps = list(features.values())
        projected = maps[-1]
        for level, project in enumerate(self.input_proj):
            # The first extra level is made from the backbone's last map, each later one from the level before it.
            convolution, norm = project
            # With channels last, GroupNorm squares before it subtracts and loses digits.
            projected = norm(
                convolution(maps[min(level, len(maps) - 1)] if level <= len(maps) else projected).contiguous()
            )
            cells.append(projected.flatten(2).transpose(1, 2))
            spatial_shapes.append(map_size(projected))
        x = torch.cat(cells, dim=1)
        if not self.training:
            # Under autocast, every sum of the residual connections would be rounded otherwise.
            x = x.to(torch.promote_types(x.dtype, torch.float32))
        geometry = map_geometry(valid, spatial_shapes, self.hidden_dim, x.device)
        position = torch.cat(
            [p.to(x.dtype) + level for p, level in zip(geometry.positions, self.level_embed, strict=True)], dim=1
        )
        memory = self.encoder(x, position, geometry.reference_points, spatial_shapes, geometry.padding_mask)
        return EncodedImages(memory, spatial_shapes, valid, geometry)

    def _decode(
        self, encoded: EncodedImages, box_queries: BoxQueries | None, only_boxes: bool = False
    ) -> TransformerOutput:
        memory, spatial_shapes = encoded.memory, encoded.spatial_shapes
        valid_ratios, padding_mask = encoded.geometry.valid_ratios, encoded.geometry.padding_mask
        proposal_logits = proposal_boxes = None
        if self.two_stage is not None:
            if encoded.start is None:
                encoded.start = self.two_stage(
                    memory, spatial_shapes, padding_mask, self.class_heads[-1], self.box_heads[-1]
                )
            content, query_position, reference, proposal_logits, proposal_boxes = encoded.start
        else:
            query_position, content = self.query_embed.weight[None].expand(len(memory), -1, -1).chunk(2, dim=-1)
            reference = self.reference_points(query_position).float().sigmoid()
        query_mask = None
        if box_queries is not None:
            query_mask = box_queries.attention_mask(content.shape[1])
            boxed = self.label_embed(box_queries.labels), self._box_position(box_queries.boxes), box_queries.boxes
            if only_boxes:
                (content, query_position, reference), query_mask = boxed, query_mask[:, :, : len(box_queries)]
            else:
                own = content, query_position, reference
                content, query_position, reference = (
                    torch.cat(halves, dim=1) for halves in zip(boxed, own, strict=True)
                )
        decoded = self.decoder(
            content,
            query_position,
            reference,
            memory,
            spatial_shapes,
            valid_ratios,
            padding_mask,
            self.box_heads,
            refine=self.with_box_refine,
            all_boxes=self.aux_loss,
            query_mask=query_mask,
            others=encoded.entered if only_boxes else None,
        )
        if box_queries is None and not self.training:
            encoded.entered = [(x, query_position) for x in (content, *decoded.hidden_states[:-1])]
        layers = range(len(decoded.hidden_states))
        logits = [
            self.class_heads[layer if self.with_box_refine else 0](decoded.hidden_states[layer])
            for layer in (layers if self.aux_loss else layers[-1:])
        ]
        return TransformerOutput(
            logits=logits,
            pred_boxes=decoded.pred_boxes[-len(logits) :],
            hidden_states=decoded.hidden_states,
            queries=decoded.queries,
            keys=decoded.keys,
            memory=memory,
            proposal_logits=proposal_logits,
            proposal_boxes=proposal_boxes,
        )

    def _box_position(self, boxes: Tensor) -> Tensor:
        """Embed the positions of box queries: (B, P, 4) cxcywh in 0..1 to (B, P, d)."""
        if self.two_stage is not None:
            return self.two_stage.embed(boxes)[0]
        embedded = sine_box_embedding(boxes, self.box_position.in_features)
        return self.box_position(embedded.to(self.box_position.weight.dtype))
