"""The encoder in chunks of cells, as it runs in inference on a CPU."""

import pytest
import torch

from egtr.layers import MultiScaleDeformableAttention
from egtr.modeling.transformer import encoder
from egtr.modeling.transformer.encoder import Encoder

SHAPES = [(5, 7), (3, 4)]
CELLS = 5 * 7 + 3 * 4


@pytest.mark.parametrize("cells", [1, 10, CELLS, 1000])
@pytest.mark.parametrize("amp", [False, True])
def test_parts_of_the_cells_are_as_good_as_all_at_once(monkeypatch, cells, amp):
    """Two images, the second one padded; positions of one image serve both."""
    torch.manual_seed(0)
    layer = {"dim": 32, "num_heads": 4, "num_levels": 2, "num_points": 3, "ffn_dim": 48, "dropout": 0.1}
    stack = Encoder(2, **layer).eval()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, position = torch.randn(2, CELLS, 32), torch.randn(1, CELLS, 32)
    reference = torch.rand(2, CELLS, 2, 2)
    padding = torch.zeros(2, CELLS, dtype=torch.bool)
    padding[1, ::3] = True
    inputs = (x, position, reference, SHAPES, padding)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        whole = stack(*inputs)
        assert whole.requires_grad
        monkeypatch.setattr(encoder, "CELLS", cells)
        with torch.no_grad():
            parts = stack(*inputs)
    assert parts.dtype == torch.float32
    # In bfloat16 (8 bits), products may be rounded differently if the number of rows is different.
    torch.testing.assert_close(parts, whole.detach(), rtol=0, atol=2**-7 if amp else 2e-6)


def test_no_part_is_longer_than_it_should_be(monkeypatch):
    monkeypatch.setattr(encoder, "CELLS", 20)
    stack = Encoder(1, dim=32, num_heads=4, num_levels=2, num_points=3, ffn_dim=48, dropout=0.0).eval()
    seen = []
    stack.layers[0].linear2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        stack(torch.randn(1, CELLS, 32), torch.zeros(1, CELLS, 32), torch.rand(1, CELLS, 2, 2), SHAPES, None)
    assert seen == [20, 20, 7]


def test_an_attention_that_is_watched_or_replaced_is_called(monkeypatch):
    monkeypatch.setattr(encoder, "CELLS", 20)

    class Other(MultiScaleDeformableAttention):
        def forward(self, *inputs):
            calls.append("other")
            return super().forward(*inputs)

    for replace in (False, True):
        calls = []
        stack = Encoder(1, dim=32, num_heads=4, num_levels=2, num_points=3, ffn_dim=48, dropout=0.0).eval()
        if replace:
            stack.layers[0].self_attn = Other(32, 4, 2, 3)
        else:
            stack.layers[0].self_attn.register_forward_hook(lambda *_, calls=calls: calls.append("hook"))
        with torch.no_grad():
            stack(torch.randn(1, CELLS, 32), torch.zeros(1, CELLS, 32), torch.rand(1, CELLS, 2, 2), SHAPES, None)
        assert calls == ["other" if replace else "hook"]
