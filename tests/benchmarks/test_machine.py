"""Bytes of small layers, counted by hand; float32, four bytes a number."""

import pytest
import torch
from torch import nn

from benchmarks.case import Case
from benchmarks.machine import count_bytes, count_work
from egtr.config import load_config
from egtr.hub.model_zoo import get_config_file
from egtr.layers import MLP, MultiScaleDeformableAttention
from egtr.modeling.transformer.encoder import EncoderLayer


def test_layers_that_move_memory_and_others():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Identity()
    ).eval()
    found = count_bytes(model, lambda: model(torch.zeros(1, 3, 5, 6)))
    # 30 cells: 3 channels in, 4 out, 12 weights; then 4 in, 4 out, 4 weights and 4 biases.
    assert found == {"0": 4 * (90 + 120 + 12), "3": 4 * (120 + 120 + 8)}


def test_weights_count_once():
    linear = nn.Linear(2, 3)
    model = nn.ModuleDict({"linear": linear})
    found = count_bytes(model, lambda: [linear(torch.zeros(5, 2)) for _ in range(4)])
    # 6 weights and 3 biases once; four times 5 rows of 2 in and 3 out.
    assert found == {"linear": 4 * (9 + 4 * 5 * (2 + 3))}
    assert not linear._forward_hooks


def test_hidden_layers_stay_in_the_cache():
    mlp = MLP(2, 8, 1)
    found = count_bytes(mlp, lambda: mlp(torch.zeros(10, 2)))
    # 10 rows. The first layer's output is written; between the last two, 8 numbers a row are not.
    assert found == {
        "layers.0": 4 * (10 * 2 + 2 * 8 + 8 + 10 * 8),
        "layers.1": 4 * (10 * 8 + 8 * 8 + 8),
        "layers.2": 4 * (8 + 1 + 10 * 1),
    }


def test_rows_that_attention_reads():
    """An encoder layer of width 8 with 2 heads, one level of 3 x 4 cells, 2 points; it asks in parts."""
    layer = EncoderLayer(8, num_heads=2, num_levels=1, num_points=2, ffn_dim=16, dropout=0.0).eval()
    assert isinstance(layer.self_attn, MultiScaleDeformableAttention)
    x, reference = torch.zeros(1, 12, 8), torch.full((1, 12, 1, 2), 0.5)
    found = count_bytes(layer, lambda: layer(x, x, reference, [(3, 4)], None))
    # 12 queries, 2 heads, 2 points; 4 corners of 4 numbers each.
    assert found.pop("self_attn") == 4 * (12 * 2 * 2 * 4 * 4)
    square = 12 * 8 + 12 * 8 + 8 * 8 + 8
    assert found == {
        "self_attn.value_proj": 4 * square,
        "self_attn.sampling_offsets": 4 * square,  # 2 heads, 2 points, x and y are 8 numbers, too
        "self_attn.attention_weights": 4 * (12 * 8 + 12 * 4 + 8 * 4 + 4),
        "self_attn.output_proj": 4 * square,
        "self_attn_norm": 4 * (12 * 8 + 12 * 8 + 8 + 8),
        "linear1": 4 * (12 * 8 + 8 * 16 + 16),
        "linear2": 4 * (16 * 8 + 8 + 12 * 8),
        "ffn_norm": 4 * (12 * 8 + 12 * 8 + 8 + 8),
    }


def test_relations_of_a_model_are_dense():
    cfg = load_config(
        get_config_file("vg150_egtr.yaml"),
        ["MODEL.DEVICE", "cpu", "MODEL.EGTR.NUM_CLASSES", 5, "MODEL.EGTR.NUM_PREDICATES", 4]
        + ["MODEL.EGTR.NUM_QUERIES", 6, "MODEL.EGTR.BACKBONE.NAME", "resnet10t"]
        + ["MODEL.EGTR.BACKBONE.CHANNELS", [8, 8, 8, 16], "MODEL.EGTR.TRANSFORMER.HIDDEN_DIM", 32]
        + ["MODEL.EGTR.TRANSFORMER.ENC_LAYERS", 1, "MODEL.EGTR.TRANSFORMER.DEC_LAYERS", 1],
    )
    mb = count_work(Case.from_config(cfg, 96, 128))["relations"]["mb"]
    # After the sums over sources, two perceptrons of 36 pairs: 32 numbers in, 4 or 1 out, 32 x 32 weights between.
    heads = sum(36 * 32 + 32 * 32 + 32 + 32 * out + out + 36 * out for out in (4, 1))
    # Sources: queries and keys of the decoder layer, hidden states twice, 6 x 32 in and out, each with its weights.
    sources = 4 * (2 * 6 * 32 + 32 * 32 + 32)
    assert mb == pytest.approx(4 * (heads + sources) / 1e6)
