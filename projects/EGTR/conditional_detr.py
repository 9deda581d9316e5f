"""Conditional DETR (Meng et al., ICCV 2021) of transformers under EGTR: an example of a detector of your own.

    pip install transformers
    egtr train --config-file projects/EGTR/configs/vg150_egtr.yaml --extension projects/EGTR/conditional_detr.py \
        MODEL.EGTR.TRANSFORMER.NAME ConditionalDETRTransformer

docs/method.md says what a detector has to give to EGTR.
"""

from torch import nn
from transformers import ConditionalDetrConfig
from transformers.models.conditional_detr import modeling_conditional_detr as theirs

from egtr.layers import MLP, inverse_sigmoid
from egtr.modeling.transformer import TRANSFORMER_REGISTRY, TransformerOutput
from egtr.modeling.transformer.geometry import map_geometry


@TRANSFORMER_REGISTRY.register()
class ConditionalDETRTransformer(nn.Module):
    """Encoder and decoder of transformers, which reads only the coarsest map, with heads of this library."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        egtr, sizes = cfg.MODEL.EGTR, cfg.MODEL.EGTR.TRANSFORMER
        config = ConditionalDetrConfig(
            d_model=sizes.HIDDEN_DIM,
            encoder_layers=sizes.ENC_LAYERS,
            decoder_layers=sizes.DEC_LAYERS,
            encoder_ffn_dim=sizes.ENC_FFN_DIM,
            decoder_ffn_dim=sizes.DEC_FFN_DIM,
            encoder_attention_heads=sizes.NHEADS,
            decoder_attention_heads=sizes.NHEADS,
            dropout=sizes.DROPOUT,
        )
        self.dim, self.aux_loss = sizes.HIDDEN_DIM, egtr.AUX_LOSS
        self.input_proj = nn.Conv2d(list(input_shape.values())[-1].channels, self.dim, 1)
        self.encoder, self.decoder = theirs.ConditionalDetrEncoder(config), theirs.ConditionalDetrDecoder(config)
        self.query_embed = nn.Embedding(egtr.NUM_QUERIES, self.dim)
        self.class_head = nn.Linear(self.dim, egtr.NUM_CLASSES)
        self.box_head = MLP(self.dim, self.dim, 4)

    def forward(self, features, valid):
        cells = self.input_proj(list(features.values())[-1])
        geometry = map_geometry(valid, [tuple(cells.shape[-2:])], self.dim, cells.device)
        position = geometry.positions[0].expand(len(cells), -1, -1)
        mask = None if geometry.padding_mask is None else (~geometry.padding_mask).long()
        memory = self.encoder(cells.flatten(2).transpose(1, 2), mask, position).last_hidden_state

        out = TransformerOutput([], [], [], [], [], memory)
        hooks = []
        for layer in self.decoder.layers:
            hooks.append(layer.self_attn.register_forward_pre_hook(by_products(out), with_kwargs=True))
            hooks.append(layer.register_forward_hook(lambda _, __, state: out.hidden_states.append(state)))
        queries = self.query_embed.weight.expand(len(cells), -1, -1)
        decoded = self.decoder(queries * 0, None, memory, mask, position, queries)
        for hook in hooks:
            hook.remove()

        out.hidden_states = [self.decoder.layernorm(state) for state in out.hidden_states]
        centre = inverse_sigmoid(decoded.reference_points.transpose(0, 1))
        for state in out.hidden_states if self.aux_loss else out.hidden_states[-1:]:
            box = self.box_head(state)
            out.logits.append(self.class_head(state))
            out.pred_boxes.append((box + nn.functional.pad(centre, (0, 2))).sigmoid())
        return out


def by_products(out: TransformerOutput):
    """Make a hook that keeps the projected queries and keys of a self-attention, heads joined and not scaled."""

    def keep(attention, args, kwargs):
        state, position = kwargs["hidden_states"], kwargs["query_position_embeddings"]
        out.queries.append(attention.q_content_proj(state) + attention.q_pos_proj(position))
        out.keys.append(attention.k_content_proj(state) + attention.k_pos_proj(position))

    return keep
